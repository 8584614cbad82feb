"""Storage in an S3 bucket (AWS or compatible). This is its manual; the verbs are in `storage`.

What it needs. A bucket, and credentials from the usual AWS places that may get, put, delete and list objects below the
prefix, and list and abort multipart uploads (docs/operations.md has the policy). Strong read-after-write consistency.
`probe` finds out the rest: what is missing is done without, at a price that `docs/adr` tells.

What it makes. The objects in `keys`: no name contains text from a client. No local disk is used.

How bytes come in. A chunk is a part of a multipart upload at the key of the future file; an upload of one chunk is one
object that the seal copies. Bytes stream through (`body`), about one batch of each body is in memory. A body whose
length is not known is held, part by part, within `SLUICE_S3_BUFFER_MEMORY`.

Who keeps whom away. Everything rests on three things: small objects that only the first can make (`If-None-Match`), a
Complete that names its parts, and a multipart upload that is gone afterwards. Nothing is locked, so a dead process
holds nothing; two seals at once come to the same object.

Reading down: `storage` (verbs), `writing`, `seal`, `restore`, `verify`, `reading`, `listing`; below them `uploads`,
`receipts`, `body`; `context`, `probe`, `client` (the store), `keys`, `records` (pure).
"""

from common.storage.s3.storage import S3Storage

__all__ = ["S3Storage"]
