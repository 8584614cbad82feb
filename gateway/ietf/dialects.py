"""What changed between the interop versions of the draft that released clients speak. Pure.

| version | drafts | completeness | append | answer to an append that is not the last |
|---|---|---|---|---|
| 3 | -01 | `Upload-Incomplete`, the other way round | any type | 201 |
| 4, 5 | -02, -03 | `Upload-Complete` | any type | 201 |
| 6, 7 | -04 to -08 | `Upload-Complete` | `application/partial-upload` | 204 |
| 8, or none said | -09 to -12 | the same | the same | the same |
"""

from __future__ import annotations

from dataclasses import dataclass

from starlette.datastructures import Headers

from gateway.ietf.fields import boolean, format_boolean, integer

FIELD = "Upload-Draft-Interop-Version"
NEWEST = 8

_INVERTED = 3  # the last version that says Upload-Incomplete
_ANY_TYPE = 5  # the last version whose appends have no media type of their own
_TUS_JS = 6  # the last version that tus-js-client 4 speaks


@dataclass(frozen=True, slots=True)
class Dialect:
    """One interop version."""

    version: int

    @property
    def partial_type(self) -> bool:
        """Whether an append must be `application/partial-upload`."""
        return self.version > _ANY_TYPE

    @property
    def length_ends(self) -> bool:
        """Whether an upload is complete as soon as its length is reached, whatever is said: tus-js-client, which speaks
        these versions, says of its last bytes that they are not, unless it sends the whole file in one request."""
        return _INVERTED < self.version <= _TUS_JS

    @property
    def appended_status(self) -> int:
        return 204 if self.version > _ANY_TYPE else 201

    @property
    def completeness(self) -> str:
        """The name of the field that says whether this is the end."""
        return "Upload-Incomplete" if self.version <= _INVERTED else "Upload-Complete"

    def complete_of(self, headers: Headers) -> bool | None:
        """What a request says; None where it says nothing that is understood."""
        value = boolean(headers, self.completeness)
        return value if value is None or self.version > _INVERTED else not value

    def fields(self, *, complete: bool) -> dict[str, str]:
        """Of an answer."""
        value = complete if self.version > _INVERTED else not complete
        return {self.completeness: format_boolean(value), FIELD: str(self.version)}


def dialect_of(headers: Headers) -> Dialect:
    """The one that a request asks for. Versions that are newer, or none at all, are the newest: a client of the final
    RFC names none."""
    version = integer(headers, FIELD)
    return Dialect(NEWEST if version is None else min(max(version, _INVERTED), NEWEST))
