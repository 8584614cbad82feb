"""A storage in a bucket as `sluice doctor` sees it: each thing broken once, on a store that speaks HTTP."""

from __future__ import annotations

import time
from typing import Any

import botocore.session
import pytest

from cli.doctor.report import Finding
from tests.fixtures.faulty_store import FaultyStore, Request
from tests.fixtures.s3 import KEYS, S3Server, new_bucket
from tests.integration.doctor.examined import FAIL, OK, WARN, failed, found, silent_server

HOUR = 3600.0
KEEP = {"Status": "Enabled", "ID": "one", "Filter": {"Prefix": ""}}


@pytest.fixture
def bucket(moto_server: S3Server) -> str:
    """A bucket of this test's own; its name."""
    return new_bucket(moto_server)


def client(server: S3Server) -> Any:
    return botocore.session.get_session().create_client(
        "s3", region_name="us-east-1", endpoint_url=server.endpoint,
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"], aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
    )  # fmt: skip


async def looked_at(server: S3Server, bucket: str, endpoint: str | None = None, **case: Any) -> dict[str, Finding]:
    settings = {name: value for name, value in server.settings.items() if name.startswith("SLUICE_")}
    settings |= {"SLUICE_STORAGE_URL": f"s3://{bucket}/some/prefix"}
    if endpoint:
        settings["SLUICE_S3_ENDPOINT_URL"] = endpoint
    return await found("storage", environ=settings, **case)


async def test_a_bucket_that_is_right_has_no_failure_and_nothing_is_left_in_it(
    moto_server: S3Server, bucket: str
) -> None:
    findings = await looked_at(moto_server, bucket)
    assert failed(findings) == set()
    assert {"storage.reachable", "storage.rights", "storage.clock"} <= {
        check for check, finding in findings.items() if finding.verdict == OK
    }
    store = client(moto_server)
    assert store.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    assert "Uploads" not in store.list_multipart_uploads(Bucket=bucket)
    store.close()


async def test_what_the_store_lacks_is_a_warning_with_its_price(moto_server: S3Server, bucket: str) -> None:
    finding = (await looked_at(moto_server, bucket))["storage.capabilities"]
    assert finding.verdict == WARN
    assert "listed_crc64=False" in finding.said
    assert "without listed_crc64: no direct uploads" in finding.do


async def test_a_bucket_that_is_not_there_is_a_failure(moto_server: S3Server) -> None:
    finding = (await looked_at(moto_server, "no-such-bucket"))["storage.reachable"]
    assert (finding.verdict, "NoSuchBucket" in finding.said) == (FAIL, True)


@pytest.mark.parametrize(
    ("request_kind", "right"),
    [
        ("put", "s3:PutObject"),
        ("get", "s3:GetObject"),
        ("create", "s3:PutObject of a multipart upload"),
        ("part", "s3:PutObject of a part"),
        ("delete", "s3:AbortMultipartUpload"),
    ],
)
async def test_a_right_that_is_missing_is_named(
    moto_server: S3Server, bucket: str, request_kind: Request, right: str
) -> None:
    async with FaultyStore(moto_server.endpoint) as store:
        store.next(request_kind, "refuse")
        finding = (await looked_at(moto_server, bucket, store.endpoint))["storage.rights"]
    assert finding.verdict == FAIL
    assert f"{right} (AccessDenied)" in finding.said


async def test_no_right_to_list_is_a_failure(moto_server: S3Server, bucket: str) -> None:
    async with FaultyStore(moto_server.endpoint) as store:
        store.next("list", "refuse")
        findings = await looked_at(moto_server, bucket, store.endpoint)
    assert failed(findings) == {"storage.rights"}


async def test_a_clock_that_is_off_is_a_failure(moto_server: S3Server, bucket: str) -> None:
    findings = await looked_at(moto_server, bucket, now=lambda: time.time() + HOUR)
    assert failed(findings) == {"storage.clock"}


@pytest.mark.parametrize(
    ("rule", "verdict"),
    [
        ({"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 30}}, OK),
        ({"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2}}, WARN),
        ({"Expiration": {"Days": 30}}, FAIL),
    ],
    ids=["late enough", "too early", "files expire"],
)
async def test_the_rules_of_the_bucket_are_read(
    moto_server: S3Server, bucket: str, rule: dict[str, Any], verdict: str
) -> None:
    store = client(moto_server)
    store.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [KEEP | rule]})
    store.close()
    assert (await looked_at(moto_server, bucket))["storage.lifecycle"].verdict == verdict


async def test_without_a_rule_for_what_is_left_behind_there_is_a_warning(moto_server: S3Server, bucket: str) -> None:
    assert (await looked_at(moto_server, bucket))["storage.lifecycle"].verdict == WARN


async def test_a_store_that_says_nothing_is_a_failure_in_seconds(moto_server: S3Server) -> None:
    with silent_server() as port:
        began = time.monotonic()
        findings = await looked_at(moto_server, "some-bucket", f"http://127.0.0.1:{port}", seconds=2.0)
    assert time.monotonic() - began < 10
    assert failed(findings) == {"storage"}
