"""The address of a storage in an S3 bucket: `s3://bucket` or `s3://bucket/prefix`. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

SCHEME = "s3://"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
_PREFIX = re.compile(r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Bucket:
    """`prefix` is empty or ends with a slash."""

    name: str
    prefix: str


def parse_bucket_url(url: str) -> Bucket:
    """Raises ValueError with a sentence that says what is wrong."""
    name, _, prefix = url.removeprefix(SCHEME).partition("/")
    prefix = prefix.rstrip("/")
    if not url.startswith(SCHEME) or not _BUCKET.fullmatch(name):
        raise ValueError("must be s3://bucket or s3://bucket/prefix; the bucket has 3 to 63 of a-z, 0-9, `.` and `-`")
    if prefix and not _PREFIX.fullmatch(prefix):
        raise ValueError("the prefix may have letters, digits, `.`, `_`, `-` and single slashes")
    return Bucket(name, f"{prefix}/" if prefix else "")
