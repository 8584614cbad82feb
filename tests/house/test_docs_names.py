"""What the documents name exists: settings, metrics, log events, commands, pages and headings."""

import re
from pathlib import Path, PurePosixPath

import pytest

from cli.main import COMMANDS
from common.settings import FOREIGN, variable_names
from docs.generate import catalogue, exported_name

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
EVENTS_OF = ("request", "upload", "file", "job", "worker", "gateway", "bell", "lease", "sweep", "signals", "delivery")
SUFFIXES = ("_bucket", "_sum", "_count")


@pytest.fixture(scope="module")
def documents(texts: dict[str, str]) -> dict[str, str]:
    return {name: text for name, text in texts.items() if name.endswith(".md")}


def code_of(text: str) -> str:
    """Only what stands in backticks or fences."""
    return "\n".join(CODE.findall(text))


def test_every_setting_that_is_named_exists(texts: dict[str, str], documents: dict[str, str]) -> None:
    known = {*variable_names(), *FOREIGN}
    pages = {**documents, "Makefile": texts["Makefile"], ".ci/run": texts[".ci/run"]}
    unknown = {
        f"{name}: {variable}"
        for name, text in pages.items()
        for variable in re.findall(r"\bSLUICE_[A-Z_]*[A-Z]\b", text)
        if variable not in known
    }
    assert unknown == set()


def test_every_metric_that_is_named_exists(documents: dict[str, str]) -> None:
    known = {exported_name(metric) for _, metric in catalogue()}
    known |= {name + suffix for name in known for suffix in SUFFIXES}
    unknown = {
        f"{page}: {name}"
        for page, text in documents.items()
        for name in re.findall(r"\bsluice_[a-z_]+\b", text)
        if name not in known
    }
    assert unknown == set()


def test_every_log_event_that_is_named_exists(documents: dict[str, str], modules: dict[str, str]) -> None:
    code = "\n".join(text for name, text in modules.items() if not name.startswith("tests/"))
    named = {
        event
        for text in documents.values()
        for event in re.findall(r"`([a-z]+\.[a-z_]+)`", text)
        if event.split(".")[0] in EVENTS_OF and not event.endswith((".py", ".md", ".pid", ".port"))
    }
    assert len(named) > 5
    assert {event for event in named if f'"{event}"' not in code} == set()


def test_every_command_that_is_named_exists(documents: dict[str, str]) -> None:
    known = {name for name, *_ in COMMANDS}
    unknown = {
        f"{page}: sluice {command}"
        for page, text in documents.items()
        for command in re.findall(r"(?:^|[`/ ])sluice ([a-z]+)\b", code_of(text), re.MULTILINE)
        if command not in known
    }
    assert unknown == set()


def test_every_command_is_documented(root: Path) -> None:
    page = (root / "docs/operations.md").read_text()
    assert [name for name, *_ in COMMANDS if f"`sluice {name}" not in page] == []


def test_every_page_is_reached_from_the_readme(documents: dict[str, str]) -> None:
    reached, waiting = set(), ["README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page not in documents:
            continue
        reached.add(page)
        waiting += [target for target, _ in links(page, documents[page])]
    assert {name for name in documents if name.startswith("docs/")} - reached == set()


def test_every_relative_link_leads_to_a_file_and_a_heading(root: Path, documents: dict[str, str]) -> None:
    broken = [
        f"{page}: {target}{'#' + anchor if anchor else ''}"
        for page, text in documents.items()
        for target, anchor in links(page, text)
        if not (root / target).exists() or (anchor and anchor not in anchors(documents.get(target, "")))
    ]
    assert broken == []


def links(page: str, text: str) -> list[tuple[str, str]]:
    """(path from the top, anchor) of every relative link of a page."""
    found = []
    for link in LINK.findall(re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)):
        if "://" in link:
            continue
        target, _, anchor = link.partition("#")
        path = PurePosixPath(page).parent / target if target else PurePosixPath(page)
        found.append((normal(path), anchor))
    return found


def normal(path: PurePosixPath) -> str:
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


def anchors(text: str) -> set[str]:
    """Headings as GitHub makes anchors of them."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
