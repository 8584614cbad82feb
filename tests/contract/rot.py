"""One bit of an upload changes where it is stored, and the storage is not told."""

from pathlib import Path
from typing import Any

import boto3

from common.bucket import parse_bucket_url
from common.storage.base import UploadKey
from tests.contract.storage_parts import CHUNK


def flip_in_folder(place: dict[str, Any], upload: UploadKey, offset: int) -> None:
    root = Path(place["storage_url"].removeprefix("file://"))
    _flip(root / upload.tenant / "uploads" / upload.upload_id / "data", offset)


def flip_in_bucket(place: dict[str, Any], upload: UploadKey, offset: int, content: bytes, folder: Path | None) -> None:
    """A part cannot be changed, nor read. In versitygw's folder it can; moto, which lists no checksums, takes a
    changed one in its place without anybody seeing a difference."""
    part = offset // CHUNK + 1
    if _flipped_piece(place, upload, offset):
        return
    if folder is not None:
        _flip(
            max(folder.glob(f"**/.sgwtmp/multipart/*/*/{part}"), key=lambda path: path.stat().st_mtime), offset % CHUNK
        )
        return
    chunk = bytearray(content[(part - 1) * CHUNK : part * CHUNK])
    chunk[offset % CHUNK] ^= 1
    bucket = parse_bucket_url(place["storage_url"])
    target = f"{bucket.prefix}{upload.tenant}/files/{upload.upload_id[-2:]}/{upload.upload_id}"
    client = boto3.client("s3", region_name="us-east-1", endpoint_url=place["s3_endpoint_url"])
    found = client.list_multipart_uploads(Bucket=bucket.name, Prefix=target)["Uploads"][0]["UploadId"]
    client.upload_part(Bucket=bucket.name, Key=target, UploadId=found, PartNumber=part, Body=bytes(chunk))
    client.close()


def _flipped_piece(place: dict[str, Any], upload: UploadKey, offset: int) -> bool:
    """The same in an upload that came as a stream; False where it did not."""
    bucket = parse_bucket_url(place["storage_url"])
    client = boto3.client("s3", region_name="us-east-1", endpoint_url=place["s3_endpoint_url"])
    prefix = f"{bucket.prefix}{upload.tenant}/uploads/{upload.upload_id}/"
    listed = client.list_objects_v2(Bucket=bucket.name, Prefix=prefix).get("Contents", [])
    pieces = {int(key.split("/pieces/")[1][:20]): key for key in (one["Key"] for one in listed) if "/pieces/" in key}
    if pieces:
        start = max(start for start in pieces if start <= offset)
        content = bytearray(client.get_object(Bucket=bucket.name, Key=pieces[start])["Body"].read())
        content[offset - start] ^= 1
        client.put_object(Bucket=bucket.name, Key=pieces[start], Body=bytes(content))
    client.close()
    return bool(pieces)


def _flip(path: Path, offset: int) -> None:
    with path.open("r+b") as data:
        data.seek(offset)
        byte = data.read(1)[0]
        data.seek(offset)
        data.write(bytes([byte ^ 1]))
