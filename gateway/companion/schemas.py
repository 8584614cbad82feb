"""JSON shapes of the companion's routes, with the names that Uppy uses. What we do not know is ignored."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from common.chunking import MAX_CHUNKS
from gateway.service.parts import Part
from gateway.service.requests import Description

MOST_METADATA = 100  # members; what has more is refused before each is looked at
Tag = Annotated[str, StringConstraints(max_length=255)]


class Shape(BaseModel):
    model_config = ConfigDict(populate_by_name=True)


class MultipartCreate(Shape):
    """`type` is the media type; `metadata` what the page allows to be sent of Uppy's `file.meta`."""

    filename: str
    type: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict, max_length=MOST_METADATA)


class MultipartView(Shape):
    key: str
    upload_id: str = Field(serialization_alias="uploadId")


class LinkView(Shape):
    """Where a part is sent with `PUT`."""

    url: str


class PartView(Shape):
    part_number: int = Field(serialization_alias="PartNumber")
    size: int = Field(serialization_alias="Size")
    etag: str = Field(serialization_alias="ETag")

    @classmethod
    def of(cls, part: Part) -> PartView:
        return cls(part_number=part.number, size=part.size, etag=quoted(part.tag))


class NamedPart(Shape):
    part_number: int = Field(alias="PartNumber", ge=1, le=MAX_CHUNKS)
    etag: Tag = Field("", alias="ETag")


class MultipartComplete(Shape):
    parts: list[NamedPart] = Field(max_length=MAX_CHUNKS)

    def tags(self) -> dict[int, str]:
        """ETags by part number, without the quotes that some versions of the plugin leave."""
        return {part.part_number: part.etag.strip('"') for part in self.parts}


class FormView(Shape):
    """Where a whole file is sent as a form: these fields, then the file."""

    method: str = "POST"
    url: str
    fields: dict[str, str]
    headers: dict[str, str] = Field(default_factory=dict)


class StoredView(Shape):
    """`location` answers with the file as soon as it is published; `job_id` says when."""

    location: str
    key: str
    upload_id: str
    job_id: str


def about_of(metadata: dict[str, Any]) -> Description:
    """What the plugin says about a file, without what it says twice."""
    return Description(None, {name: value for name, value in metadata.items() if name not in ("name", "type")})


def quoted(tag: str) -> str:
    """A strong entity tag (RFC 9110 section 8.8.3)."""
    return f'"{tag}"'
