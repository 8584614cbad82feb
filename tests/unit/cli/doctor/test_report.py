"""Lines of a report: one line each, and without the secrets of the settings."""

import pytest

from cli.doctor.report import Report, Verdict, secrets_of
from common.settings import load_settings


def test_passwords_of_all_addresses_and_of_aws_are_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-aws")
    settings = load_settings(
        environ={
            "SLUICE_DATABASE_URL": "postgresql://u:of%2Fpg@h/d",
            "SLUICE_REDIS_URL": "redis://:of-redis@h/0",
        }
    )
    assert set(secrets_of(settings)) == {"of-aws", "of%2Fpg", "of/pg", "of-redis"}


def test_what_a_driver_says_is_cleaned() -> None:
    report = Report(("hush",))
    report.fail("x", "it says:\n  hush", "forget hush")
    [finding] = report.findings
    assert (finding.verdict, finding.said, finding.do) == (Verdict.FAIL, "it says: ***", "forget ***")
