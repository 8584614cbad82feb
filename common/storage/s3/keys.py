"""Names of objects in the bucket. Pure: builds keys from ids and reads them back.

PREFIX.sluice-storage                                    which storage this is (`identity`)
PREFIX<tenant>/uploads/<upload_id>/begun                 made first, removed last; immutable (`records.Begun`)
PREFIX<tenant>/uploads/<upload_id>/<life>/multipart      the id of the multipart upload in use
PREFIX<tenant>/uploads/<upload_id>/<life>/claims/<part>  what the bytes of a part have to be (`records.Claim`)
PREFIX<tenant>/uploads/<upload_id>/<life>/data           the bytes of an upload of a single chunk
PREFIX<tenant>/uploads/<upload_id>/<life>/log/<offset>   what one append has brought (`records.Entry`)
PREFIX<tenant>/uploads/<upload_id>/<life>/pieces/<...>   its bytes; the name is their offset and something random
PREFIX<tenant>/uploads/<upload_id>/<life>/seal           what a seal has put together (`records.SealRecord`)
PREFIX<tenant>/files/<last two of file_id>/<file_id>     a file; multipart uploads are made at this key

`life` is random: what a late writer of an aborted upload leaves is no part of one that began again under its id.
"""

from __future__ import annotations

from dataclasses import dataclass

from common.storage.base import ObjectKey, UploadKey
from common.storage.layout import is_plain_id

SINGLE = 0  # the part number that stands for the bytes of an upload of a single chunk


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys below a prefix that is empty or ends with a slash. Raises ValueError for what is not made of ids."""

    prefix: str

    @property
    def mark(self) -> str:
        return f"{self.prefix}.sluice-storage"

    def scratch(self, name: str) -> str:
        """For what tries the store out."""
        return f"{self.prefix}.probe/{name}"

    def tenant(self, tenant: str) -> str:
        return f"{self.prefix}{_checked(tenant)}/"

    def uploads(self, tenant: str) -> str:
        return f"{self.tenant(tenant)}uploads/"

    def upload(self, key: UploadKey) -> str:
        """Everything of one upload begins with this."""
        return f"{self.uploads(key.tenant)}{_checked(key.upload_id)}/"

    def begun(self, key: UploadKey) -> str:
        return f"{self.upload(key)}begun"

    def files(self, tenant: str) -> str:
        return f"{self.tenant(tenant)}files/"

    def object(self, key: ObjectKey) -> str:
        # The end of a UUIDv7 is random, its beginning is the time: a store splits its load by the front of a key.
        file_id = _checked(key.file_id)
        return f"{self.files(key.tenant)}{file_id[-2:]}/{file_id}"

    def object_at(self, tenant: str, key: str) -> ObjectKey | None:
        """The file whose bytes are at `key`; None for what is not ours."""
        file_id = key.rpartition("/")[2]
        if not is_plain_id(file_id) or key != self.object(ObjectKey(tenant, file_id)):
            return None
        return ObjectKey(tenant, file_id)


@dataclass(frozen=True, slots=True)
class LifeKeys:
    """Keys of one life of an upload; `root` ends with a slash."""

    root: str

    @property
    def multipart(self) -> str:
        return f"{self.root}multipart"

    @property
    def data(self) -> str:
        return f"{self.root}data"

    @property
    def seal(self) -> str:
        return f"{self.root}seal"

    @property
    def claims(self) -> str:
        return f"{self.root}claims/"

    def claim(self, part: int) -> str:
        return f"{self.claims}{part:05}"

    @property
    def entries(self) -> str:
        return f"{self.root}log/"

    def entry(self, offset: int) -> str:
        """In the order of the offsets, as the store lists them."""
        return f"{self.entries}{offset:020}"

    def piece(self, offset: int, name: str) -> str:
        return f"{self.root}pieces/{offset:020}-{name}"


def part_of_claim(key: str) -> int:
    """The part number that a key of `LifeKeys.claim` is for."""
    return int(key.rpartition("/")[2])


def offset_of_entry(key: str) -> int:
    """The offset that a key of `LifeKeys.entry` is for."""
    return int(key.rpartition("/")[2])


def _checked(part: str) -> str:
    if not is_plain_id(part):
        raise ValueError(f"not an id: {part[:80]!r}")
    return part
