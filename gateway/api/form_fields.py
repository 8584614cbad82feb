"""The text fields of a form: what they say about its files. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from common.errors import InvalidRequest
from gateway.service.requests import Description, parse_tags


def about_of(fields: Mapping[str, str]) -> Description:
    """`description`, `tags`, `metadata`; `client_id`, `timestamp` and all others become metadata.

    Raises InvalidRequest.
    """
    rest = dict(fields)
    description = rest.pop("description", None)
    tags = _tags_of(rest.pop("tags", ""))
    metadata = _object_of("metadata", rest.pop("metadata", "{}"))
    return Description(description, {**metadata, **rest}, tags)


def _tags_of(text: str) -> dict[str, str]:
    if not text.strip():
        return {}
    if text.lstrip().startswith("{"):
        tags = _object_of("tags", text)
        _require_texts(tags.values())
        return tags
    if text.lstrip().startswith("["):
        listed = _parsed("tags", text)
        _require_texts(listed)
        return parse_tags(listed)
    return parse_tags([part for part in text.split(",") if part.strip()])


def _require_texts(values: Any) -> None:
    if not all(isinstance(value, str) for value in values):
        raise InvalidRequest('Keys and values of tags are texts, as in {"year": "2026"}.')


def _object_of(field: str, text: str) -> dict[str, Any]:
    value = _parsed(field, text)
    if not isinstance(value, dict):
        raise InvalidRequest(f"The form field {field} must be a JSON object.")
    return value


def _parsed(field: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"The form field {field} is not valid JSON.") from error
