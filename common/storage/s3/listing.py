"""What lies in the bucket: for `fsck`. Names that are not ours are passed over."""

from __future__ import annotations

from collections.abc import AsyncIterator

from common.storage.base import ObjectKey, UploadKey
from common.storage.layout import is_plain_id
from common.storage.s3.context import Store


async def tenants(store: Store) -> list[str]:
    """Tenants that have anything here."""
    prefix = store.keys.prefix
    found: list[str] = []
    async for page in store.client.objects(prefix, "/"):
        names = [item["Prefix"].removeprefix(prefix).rstrip("/") for item in page.get("CommonPrefixes", ())]
        found += filter(is_plain_id, names)
    return found


async def stored_uploads(store: Store) -> AsyncIterator[list[UploadKey]]:
    """Uploads that have any object, also one that an abort left half removed."""
    for tenant in await tenants(store):
        prefix = store.keys.uploads(tenant)
        async for page in store.client.objects(prefix, "/"):
            names = [item["Prefix"].removeprefix(prefix).rstrip("/") for item in page.get("CommonPrefixes", ())]
            yield [UploadKey(tenant, name) for name in names if is_plain_id(name)]


async def stored_objects(store: Store) -> AsyncIterator[list[ObjectKey]]:
    for tenant in await tenants(store):
        async for page in store.client.objects(store.keys.files(tenant)):
            found = (store.keys.object_at(tenant, item["Key"]) for item in page.get("Contents", ()))
            yield [key for key in found if key is not None]


async def open_multiparts(store: Store) -> AsyncIterator[list[ObjectKey]]:
    """Files that a multipart upload is being made for."""
    marks = {"NextKeyMarker": "KeyMarker", "NextUploadIdMarker": "UploadIdMarker"}
    prefix = store.keys.prefix
    more = {"Prefix": prefix} if prefix else {}
    async for page in store.client.pages("list_multipart_uploads", marks, **more):
        keys = {item["Key"] for item in page.get("Uploads", ())}
        found = (store.keys.object_at(key.removeprefix(prefix).partition("/")[0], key) for key in sorted(keys))
        yield [key for key in found if key is not None]
