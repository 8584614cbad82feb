"""What may not stand in any file of the repository."""

import re

MACHINE_PATHS = re.compile(r"(?<![\w.*-])/(?:work|root|Users|home/\w+)/")
INDEX_HOSTS = re.compile(
    r"pypi\.org|pythonhosted\.org|registry\.npmjs|proxy\.golang"
    r"|(?<!\w)--(?:extra-)?index-url|(?<!\w)--trusted-host|PIP_INDEX_URL|UV_INDEX"
)
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|NotImplementedError)\b")
THIS_FILE = "tests/house/test_text.py"  # has to name what it forbids


def hits(pattern: re.Pattern[str], texts: dict[str, str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in texts.items()
        for number, line in enumerate(text.splitlines(), 1)
        if name != THIS_FILE and pattern.search(line)
    ]


def test_no_file_names_a_path_of_one_machine(texts: dict[str, str]) -> None:
    assert hits(MACHINE_PATHS, texts) == []


def test_no_file_names_a_package_index(texts: dict[str, str]) -> None:
    assert hits(INDEX_HOSTS, texts) == []


def test_no_code_is_marked_unfinished(texts: dict[str, str]) -> None:
    assert hits(UNFINISHED, texts) == []


def test_every_text_ends_with_one_newline(texts: dict[str, str]) -> None:
    wrong = [name for name, text in texts.items() if text and (not text.endswith("\n") or text.endswith("\n\n"))]
    assert wrong == []
