"""The names in a bucket as a folder of empty files, laid out like a local storage: for a verdict about orphans."""

from pathlib import Path

import boto3

from common.bucket import parse_bucket_url
from common.storage.layout import is_plain_id


def mirrored(settings: dict[str, str], folder: Path) -> Path:
    """`folder`, with a name for everything that the storage holds; an open multipart upload is one as well."""
    bucket = parse_bucket_url(settings["SLUICE_STORAGE_URL"])
    client = boto3.client("s3", region_name="us-east-1", endpoint_url=settings["SLUICE_S3_ENDPOINT_URL"])
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket.name, Prefix=bucket.prefix)
    names = [item["Key"].removeprefix(bucket.prefix) for page in pages for item in page.get("Contents", ())]
    for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket.name, Prefix=bucket.prefix):
        names += [f"{item['Key'].removeprefix(bucket.prefix)}.unsealed" for item in page.get("Uploads", ())]
    client.close()
    folder.mkdir()
    for name in names:
        if is_plain_id(name.partition("/")[0]):  # the mark and what probes leave belong to no tenant
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return folder
