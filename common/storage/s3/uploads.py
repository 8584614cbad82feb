"""Uploads that are here: begun, found again by any process, given a multipart upload, and removed.

No process keeps state of its own: `begun` says that the upload is here, `multipart` which multipart upload its parts
go to. Both are made with `If-None-Match: *`, so that of several who begin at once all go on with the same one.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from common.errors import StorageUnavailable
from common.storage.base import UploadKey, UploadShape
from common.storage.s3.context import Store
from common.storage.s3.keys import LifeKeys
from common.storage.s3.probe import multipart_checksum
from common.storage.s3.records import Begun

REMEMBERED = 4096  # uploads whose facts one process keeps
DELETED_AT_ONCE = 1000  # what one DeleteObjects takes


class Upload:
    """An upload that is here, with the keys of its present life."""

    def __init__(self, key: UploadKey, begun: Begun, keys: LifeKeys) -> None:
        self.key = key
        self.begun = begun
        self.keys = keys
        self.multipart: str | None = None  # once it is known; it may be out of date


class Uploads:
    """See the module. Remembers what never changes, and which multipart upload was in use at the last look."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: OrderedDict[UploadKey, Upload] = OrderedDict()

    async def begin(self, key: UploadKey, shape: UploadShape) -> None:
        """Make it, or leave it as it is. One whose multipart upload was removed by somebody else begins anew."""
        if (upload := await self._standing(key)) is not None:
            if not await self._lost(upload):
                return
            await self.remove(key, life=upload.begun.life)
        begun = Begun.of(secrets.token_hex(8), shape)
        await self._store.put_once(self._store.keys.begun(key), begun.pack())
        upload = await self.look(key)
        if not upload.begun.single and not upload.begun.stream and upload.begun.size is not None:
            await self.multipart(upload)

    async def measure(self, upload: Upload, chunk_size: int) -> None:
        """Let the record say how large the parts of a direct upload are: nobody else has counted with it yet."""
        if upload.begun.chunk_size == chunk_size:
            return
        measured = replace(upload.begun, chunk_size=chunk_size)
        await self._store.client.call("put_object", Key=self._store.keys.begun(upload.key), Body=measured.pack())

    async def find(self, key: UploadKey) -> Upload:
        """From memory, where it is known: it may be gone meanwhile. Raises FileNotFoundError."""
        known = self._known.get(key)
        if known is None:
            return await self.look(key)
        self._known.move_to_end(key)
        return known

    async def look(self, key: UploadKey) -> Upload:
        """As it is now. Raises FileNotFoundError."""
        upload = await self._standing(key)
        if upload is None:
            raise FileNotFoundError("upload")
        return upload

    async def require(self, upload: Upload) -> None:
        """Raises FileNotFoundError unless this life of the upload is still the one that is here."""
        if (await self.look(upload.key)).begun.life != upload.begun.life:
            raise FileNotFoundError("upload")

    async def require_for(self, upload: Upload, name: str) -> None:
        """The same behind a small object `name` that was just written: it goes again where the upload has ended
        meanwhile. `remove` looks once more after `begun` is gone, so one of the two sees it."""
        try:
            await self.require(upload)
        except FileNotFoundError:
            await self._store.client.call("delete_object", Key=name)
            raise

    async def _standing(self, key: UploadKey) -> Upload | None:
        try:
            content, _ = await self._store.client.get(self._store.keys.begun(key))
        except FileNotFoundError:
            self.forget(key)
            return None
        begun = Begun.unpack(content)
        known = self._known.get(key)
        if known is None or known.begun != begun:
            known = Upload(key, begun, LifeKeys(f"{self._store.keys.upload(key)}{begun.life}/"))
        self._known[key] = known
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return known

    def forget(self, key: UploadKey) -> None:
        self._known.pop(key, None)

    async def multipart(self, upload: Upload, *, fresh: bool = False) -> str:
        """The id of the multipart upload in use, made where there is none. Raises FileNotFoundError where the upload
        has ended meanwhile."""
        if upload.multipart is None or fresh:
            upload.multipart = await self.recorded(upload) or await self._make_multipart(upload)
        return upload.multipart

    async def recorded(self, upload: Upload) -> str | None:
        """The id that stands in the record; None where no part was ever expected."""
        try:
            content, _ = await self._store.client.get(upload.keys.multipart)
        except FileNotFoundError:
            return None
        return content.decode()

    async def _make_multipart(self, upload: Upload) -> str:
        """What goes wrong on the way is left for `remove`: the record may name ours, and others may be using it."""
        made = await self.new_multipart(upload)
        await self._store.put_once(upload.keys.multipart, made.encode())
        standing = await self.recorded(upload)
        try:
            await self.require(upload)
        except FileNotFoundError:  # aborted meanwhile: nobody would find what we leave
            await self.abort_multipart(upload, made)
            await self._store.client.call("delete_object", Key=upload.keys.multipart)
            raise
        if standing is not None and standing != made:
            await self.abort_multipart(upload, made)
        return standing or made

    async def new_multipart(self, upload: Upload) -> str:
        """Make one that nothing knows of yet."""
        can = await self._store.capabilities()
        answer = await self._store.client.call(
            "create_multipart_upload",
            Key=self._store.keys.object(upload.begun.target),
            ContentType="application/octet-stream",
            **multipart_checksum(can.trailer),
        )
        return str(answer["UploadId"])

    async def abort_multipart(self, upload: Upload, multipart: str) -> None:
        with suppress(FileNotFoundError):
            await self._store.client.call(
                "abort_multipart_upload", Key=self._store.keys.object(upload.begun.target), UploadId=multipart
            )

    async def _lost(self, upload: Upload) -> bool:
        """Whether the store has given up the parts (a lifecycle rule), and no seal has used them."""
        multipart = await self.recorded(upload)
        if multipart is None:
            return False
        target = self._store.keys.object(upload.begun.target)
        try:
            await self._store.client.call("list_parts", Key=target, UploadId=multipart, MaxParts=1)
            return False
        except FileNotFoundError:
            pass
        try:
            await self._store.client.call("head_object", Key=upload.keys.seal)
            return False
        except FileNotFoundError:
            return True

    async def remove(self, key: UploadKey, *, life: str | None = None) -> None:
        """Everything that is not published: parts, then small objects, then `begun`, so that a crash can be repeated.

        With `life` nothing, where another life of the upload has begun.
        """
        self.forget(key)
        upload = await self._standing(key)
        if life is not None and (upload is None or upload.begun.life != life):
            return
        if upload is not None and not upload.begun.single:
            await remove_multiparts(self._store, self._store.keys.object(upload.begun.target))
        self.forget(key)
        await self._remove_small(key)
        if upload is not None:
            await self._store.client.call("delete_object", Key=self._store.keys.begun(key))
            await self._remove_small(key)  # what others wrote before they could see that the upload has ended

    async def _remove_small(self, key: UploadKey) -> None:
        """Everything but `begun`."""
        begun = self._store.keys.begun(key)
        names: list[str] = []
        async for page in self._store.client.objects(self._store.keys.upload(key)):
            names += [found["Key"] for found in page.get("Contents", ()) if found["Key"] != begun]
        await delete_objects(self._store, names)

    async def last_change(self, key: UploadKey) -> datetime | None:
        """When the store last took something of this upload; None where it is not here."""
        upload = await self._standing(key)
        if upload is None:
            return None
        times: list[datetime] = []
        async for page in self._store.client.objects(self._store.keys.upload(key)):
            times += [found["LastModified"] for found in page.get("Contents", ())]
        multipart = await self.recorded(upload)
        if multipart is not None:
            marks = {"NextPartNumberMarker": "PartNumberMarker"}
            target = self._store.keys.object(upload.begun.target)
            with suppress(FileNotFoundError):  # sealed meanwhile
                async for page in self._store.client.pages("list_parts", marks, Key=target, UploadId=multipart):
                    times += [found["LastModified"] for found in page.get("Parts", ())]
        return max(times, default=None)


async def remove_multiparts(store: Store, target: str) -> None:
    """Abort every multipart upload at this key, whoever made it."""
    marks = {"NextKeyMarker": "KeyMarker", "NextUploadIdMarker": "UploadIdMarker"}
    found: list[str] = []
    async for page in store.client.pages("list_multipart_uploads", marks, Prefix=target):
        found += [item["UploadId"] for item in page.get("Uploads", ()) if item["Key"] == target]
    for upload_id in found:
        with suppress(FileNotFoundError):
            await store.client.call("abort_multipart_upload", Key=target, UploadId=upload_id)


async def delete_objects(store: Store, names: Sequence[str]) -> None:
    """Absent ones are fine. Raises StorageUnavailable where one is left."""
    for start in range(0, len(names), DELETED_AT_ONCE):
        some = [{"Key": name} for name in names[start : start + DELETED_AT_ONCE]]
        answer = await store.client.call("delete_objects", Delete={"Objects": some, "Quiet": True})
        if answer.get("Errors"):
            raise StorageUnavailable(f"The store could not remove everything ({answer['Errors'][0].get('Code')}).")
