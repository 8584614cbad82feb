"""`s3://bucket/prefix`."""

import pytest

from common.bucket import Bucket, parse_bucket_url


@pytest.mark.parametrize(
    ("url", "bucket"),
    [
        ("s3://uploads", Bucket("uploads", "")),
        ("s3://uploads/", Bucket("uploads", "")),
        ("s3://my-bucket.eu/a/b_c", Bucket("my-bucket.eu", "a/b_c/")),
        ("s3://my-bucket/a/", Bucket("my-bucket", "a/")),
    ],
)
def test_a_bucket_and_its_prefix_are_read(url: str, bucket: Bucket) -> None:
    assert parse_bucket_url(url) == bucket


@pytest.mark.parametrize(
    "url",
    ["s3://", "s3://ab", "s3://Upper", "s3:///key", "s3://bucket//x", "s3://bucket/a b", "file://bucket", "s3://-x-"],
)
def test_what_is_no_bucket_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"must be|may have"):
        parse_bucket_url(url)
