"""docs/protocol.md and the OpenAPI document say the same: routes, error codes, shapes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from common.settings import load_settings
from gateway.api.documented import EVERYWHERE
from gateway.api.parts import PartPage
from gateway.api.schemas import AcceptedFiles, ChunkView, FileView, JobView, Limits, UploadView
from gateway.app import create_app

HEADING = re.compile(r"^### `([A-Z, ]+) (/\S+)`$", re.MULTILINE)
FENCED = re.compile(r"^```(json|http)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROBLEM = "application/problem+json"
SHAPES: dict[tuple[str, str], type[BaseModel]] = {
    ("GET", "/v1/limits"): Limits,
    ("POST", "/v1/uploads"): UploadView,
    ("PUT", "/v1/uploads/{upload_id}/chunks/{index}"): ChunkView,
    ("GET", "/v1/uploads/{upload_id}/parts"): PartPage,
    ("POST", "/v1/uploads/{upload_id}/finalize"): JobView,
    ("GET", "/v1/jobs/{job_id}"): JobView,
    ("POST", "/v1/files"): AcceptedFiles,
    ("GET", "/v1/files/{file_id}"): FileView,
}

Call = tuple[str, str]


@pytest.fixture(scope="module")
def openapi() -> dict[Call, dict[str, Any]]:
    """(method, path) -> operation."""
    paths = create_app(load_settings(environ={})).openapi()["paths"]
    return {
        (method.upper(), path): operation for path, methods in paths.items() for method, operation in methods.items()
    }


@pytest.fixture(scope="module")
def sections(root: Path) -> dict[Call, str]:
    """(method, path) -> what stands below its heading."""
    text = (root / "docs/protocol.md").read_text()
    found = list(HEADING.finditer(text))
    ends = [*(match.start() for match in found[1:]), len(text)]
    return {
        (method, match[2]): re.split(r"^## ", text[match.end() : end], flags=re.MULTILINE)[0]
        for match, end in zip(found, ends, strict=True)
        for method in match[1].split(", ")
    }


def test_every_route_is_documented_and_no_other(openapi: dict[Call, dict[str, Any]], sections: dict[Call, str]) -> None:
    assert set(sections) == set(openapi)


def test_every_call_lists_the_codes_of_the_openapi_document(
    openapi: dict[Call, dict[str, Any]], sections: dict[Call, str]
) -> None:
    wrong = {
        call: {"openapi": sorted(codes_of(operation)), "docs": sorted(listed(sections[call]))}
        for call, operation in openapi.items()
        if codes_of(operation) != listed(sections[call])
    }
    assert wrong == {}


def codes_of(operation: dict[str, Any]) -> set[str]:
    """Codes of an operation beside those that every call has."""
    answers = (answer.get("content", {}).get(PROBLEM, {}) for answer in operation["responses"].values())
    return {code for answer in answers for code in answer.get("examples", {})} - {kind.code for kind in EVERYWHERE}


def listed(section: str) -> set[str]:
    line = re.search(r"^Errors: (.*?)\.$", section, re.MULTILINE | re.DOTALL)
    return set(re.findall(r"`(\w+)`", line[1])) if line else set()


def test_the_codes_of_every_call_are_named_once_for_all(root: Path) -> None:
    head = (root / "docs/protocol.md").read_text().partition("\n## ")[0]
    assert [kind.code for kind in EVERYWHERE if f"`{kind.code}`" not in head] == []


@pytest.mark.parametrize("call", SHAPES, ids=" ".join)
def test_an_example_has_the_members_of_the_answer(call: Call, sections: dict[Call, str]) -> None:
    model = SHAPES[call]
    examples = [body for _, text in FENCED.findall(sections[call]) if (body := json_of(text)) is not None]
    fitting = [body for body in examples if set(body) == set(model.model_fields)]
    assert fitting, f"no example under {call} has exactly the members {sorted(model.model_fields)}"
    for body in fitting:
        model.model_validate(body)


def test_every_json_example_is_json(sections: dict[Call, str]) -> None:
    for section in sections.values():
        for _, text in FENCED.findall(section):
            json_of(text)


def json_of(block: str) -> dict[str, Any] | None:
    """The JSON object of a block or of the message in it; None where it has none."""
    body = block if block.startswith("{") else block.partition("\n\n")[2]
    return dict(json.loads(body)) if body.lstrip().startswith("{") else None
