"""A storage in an S3 bucket: may the credentials do what the service does, and what can the store do?"""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Any

from cli.doctor.bucket_rights import CREDENTIALS, GONE, HANDLED, SKEWED, Trial
from cli.doctor.examination import UNKNOWN, Case, compare_clocks, learn
from cli.doctor.report import Report
from common.bucket import parse_bucket_url
from common.errors import InsufficientStorage, StorageUnavailable
from common.names import address_of
from common.settings import Settings, StorageSettings
from common.storage.s3.client import Client, Refusal
from common.storage.s3.keys import Keys
from common.storage.s3.probe import Capabilities, probe, scratch_name

PATIENCE = {"s3_timeout": 4.0, "s3_attempts": 1}
CLOCK_FAIL = 240.0  # seconds; AWS refuses a signature that is 15 minutes off, and clocks drift on
DAY = 86400.0
POLICY = "allow it, as in docs/operations.md (S3)"
LIFECYCLE = "add a rule (docs/operations.md, S3)"
_CONSEQUENCE = {
    "trailer": "bytes are compared by MD5 on the way",
    "listed_crc64": "no direct uploads; a request more for each chunk",
    "whole_crc64": "keep SLUICE_VERIFY=read",
    "conditional_put": "clients that send different bytes for one chunk at once may both succeed",
    "conditional_complete": "two seals at once may write an object twice",
    "md5_etags": "",
}


async def check(case: Case, report: Report) -> None:
    storage = case.settings.storage.model_copy(update=PATIENCE)
    bucket = parse_bucket_url(storage.storage_url)
    client, keys = Client(bucket, storage, storage.s3_endpoint_url), Keys(bucket.prefix)
    try:
        if await _reachable(case, report, client, keys, storage):
            if await _rights(report, client, keys):
                learn(case.borne, await _mark(client, keys))
                _told(report, await probe(client, keys.scratch(scratch_name())))
            await _lifecycle(case.settings, report, client, bucket.prefix)
    except (StorageUnavailable, InsufficientStorage) as error:
        report.fail("storage.bucket", report.words_of(error), "look at the store and its log")
    finally:
        learn(case.borne, UNKNOWN)
        await client.close()


async def _reachable(case: Case, report: Report, client: Client, keys: Keys, settings: StorageSettings) -> bool:
    where = f"{settings.storage_url} at {address_of(settings.s3_endpoint_url) if settings.s3_endpoint_url else 'AWS'}"
    check_name = "storage.reachable"
    try:
        answer = await client.call("list_objects_v2", Prefix=keys.prefix, MaxKeys=1, handled=HANDLED)
    except Refusal as refusal:
        if refusal.code in SKEWED:
            report.fail("storage.clock", "the store refuses our signature: the clocks differ", "set the clock (NTP)")
        elif refusal.code in GONE:
            do = "create the bucket, or put SLUICE_STORAGE_URL, SLUICE_S3_ENDPOINT_URL and SLUICE_S3_REGION right"
            report.fail(check_name, f"{where}: {refusal.code}", do)
        elif refusal.code in CREDENTIALS:
            report.fail(check_name, f"{where}: {refusal.code}", "put the AWS credentials of this process right")
        else:
            report.fail("storage.rights", f"may not s3:ListBucket ({refusal.code})", POLICY)
        return False
    except FileNotFoundError:
        report.fail(check_name, f"{where}: not found", "create the bucket, or put SLUICE_STORAGE_URL right")
        return False
    except StorageUnavailable as error:
        cause = error.__cause__ or error
        do = "is SLUICE_S3_ENDPOINT_URL right, and are there AWS credentials?"
        report.fail(check_name, f"{where}: {report.words_of(cause)}", do)
        return False
    report.ok(check_name, where)
    _clock(case, report, answer)
    return True


def _clock(case: Case, report: Report, answer: dict[str, Any]) -> None:
    said = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    if said is not None:
        difference = parsedate_to_datetime(said).timestamp() + 0.5 - case.now()  # it tells whole seconds
        compare_clocks(report, "storage.clock", "the store", difference, CLOCK_FAIL)


async def _mark(client: Client, keys: Keys) -> str | None:
    try:
        content, _ = await client.get(keys.mark)
    except FileNotFoundError:
        return None
    return content.decode("ascii", "replace").strip()


async def _rights(report: Report, client: Client, keys: Keys) -> bool:
    """Do all of it below the prefix, and leave nothing behind."""
    refused = await Trial(client, keys).refused()
    if refused:
        report.fail("storage.rights", f"may not {', '.join(refused)}", POLICY)
    else:
        report.ok("storage.rights", "objects and multipart uploads were made, read, listed and removed")
    return not refused


def _told(report: Report, can: Capabilities) -> None:
    described = can.described()
    lacking = [name for name, value in described.items() if not value and _CONSEQUENCE.get(name)]
    said = ", ".join(f"{name}={value}" for name, value in described.items())
    if lacking:
        report.warn(
            "storage.capabilities", said, "; ".join(f"without {name}: {_CONSEQUENCE[name]}" for name in lacking)
        )
    else:
        report.ok("storage.capabilities", said)


async def _lifecycle(settings: Settings, report: Report, client: Client, prefix: str) -> None:
    nothing = frozenset({"NoSuchLifecycleConfiguration", "NoSuchLifecycle"})
    try:
        answer = await client.call("get_bucket_lifecycle_configuration", handled=HANDLED | nothing)
    except (Refusal, FileNotFoundError, StorageUnavailable) as error:
        if isinstance(error, Refusal) and error.code in nothing:
            report.warn("storage.lifecycle", "no rule removes multipart uploads that were left behind", LIFECYCLE)
        else:
            do = "see that a rule aborts old multipart uploads, and none expires objects below the prefix"
            report.warn("storage.lifecycle", "these credentials may not look at the rules", do)
        return
    ours = [rule for rule in answer.get("Rules", []) if _applies(rule, prefix)]
    if any("Expiration" in rule and {"Days", "Date"} & set(rule["Expiration"]) for rule in ours):
        report.fail(
            "storage.lifecycle", "a rule expires objects below the prefix", "remove it: it deletes published files"
        )
    days = [rule["AbortIncompleteMultipartUpload"].get("DaysAfterInitiation", 0) for rule in ours if _aborts(rule)]
    least = (settings.limits.upload_ttl + settings.limits.retention) / DAY
    if not days:
        report.warn("storage.lifecycle", "no rule removes multipart uploads that were left behind", LIFECYCLE)
    elif min(days) <= least:
        said = f"multipart uploads are aborted after {min(days)} days"
        report.warn("storage.lifecycle", said, f"wait more than {least:.0f} (SLUICE_UPLOAD_TTL and SLUICE_RETENTION)")
    else:
        report.ok("storage.lifecycle", f"multipart uploads are aborted after {min(days)} days")


def _aborts(rule: dict[str, Any]) -> bool:
    return "AbortIncompleteMultipartUpload" in rule


def _applies(rule: dict[str, Any], prefix: str) -> bool:
    """Whether the rule is on and touches what lies below `prefix`. One by tag touches none: we set no tags."""
    about = rule.get("Filter") or {}
    if rule.get("Status") != "Enabled" or "Tag" in about or about.get("And", {}).get("Tags"):
        return False
    of_rule = str(rule.get("Prefix") or about.get("Prefix") or about.get("And", {}).get("Prefix") or "")
    return prefix.startswith(of_rule) or of_rule.startswith(prefix)
