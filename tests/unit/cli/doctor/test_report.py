"""Lines of a report: one line each; what others say is in them without the secrets of the settings."""

import pytest

from cli.doctor.report import Report, Verdict
from cli.doctor.secrets import Secrets
from common.settings import load_settings


def secrets_of(database: str = "sqlite:///x.db", redis: str = "redis://h/0", **environ: str) -> Secrets:
    settings = load_settings(environ={"SLUICE_DATABASE_URL": database, "SLUICE_REDIS_URL": redis})
    return Secrets.of(settings, environ)


def heard(said: str, secrets: Secrets) -> str:
    return Report(secrets).words_of(RuntimeError(said))


@pytest.mark.parametrize("secret", ["of%2Fpg1", "of/pg1", "of-redis", "of+aws"])
def test_secrets_of_all_addresses_and_of_aws_are_hidden_wherever_they_stand(secret: str) -> None:
    secrets = secrets_of(
        "postgresql://u:of%2Fpg1@h/d", "redis://:of-redis@h/0", AWS_SECRET_ACCESS_KEY="of+aws", AWS_SESSION_TOKEN=""
    )
    assert heard(f"cannot use '{secret}' here", secrets) == "cannot use '***' here"


@pytest.mark.parametrize("password", ["sluice", "5432", "password", "p@ss", "x1"])
def test_a_password_that_is_a_word_is_hidden_in_addresses_and_leaves_sentences_alone(password: str) -> None:
    url = f"postgresql://sluice:{password}@db:5432/sluice"
    secrets = secrets_of(url)
    sentence = 'password authentication failed for user "sluice" at port 5432, x1'
    assert heard(sentence, secrets) == sentence
    assert heard(f"cannot connect to {url}", secrets) == "cannot connect to postgresql://db:5432/sluice"
    again = f"tried postgresql+asyncpg://sluice:{password}@db:5432/sluice?ssl=1"
    assert heard(again, secrets) == "tried postgresql+asyncpg://***@db:5432/sluice?ssl=1"


def test_our_own_lines_are_left_as_they_are_but_for_their_ends() -> None:
    report = Report(secrets_of("postgresql://sluice:fail-12@db/sluice"))
    report.fail("x", "it says:\n  fail-12", "forget\nfail-12")
    [finding] = report.findings
    assert (finding.verdict, finding.said, finding.do) == (Verdict.FAIL, "it says: fail-12", "forget fail-12")


def test_an_error_without_words_is_its_name() -> None:
    assert Report().words_of(TimeoutError()) == "TimeoutError"
