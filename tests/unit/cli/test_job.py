"""`sluice job` and `sluice jobs`."""

import pytest

from tests.unit.cli.conftest import Sluice
from tests.unit.client.stand_in import StandIn


@pytest.fixture
def jobs(stand_in: StandIn) -> None:
    stand_in.jobs["j-1"] = {"id": "j-1", "kind": "finalize", "state": "running", "progress": {"done": 1, "total": 4}}
    stand_in.jobs["j-2"] = {"id": "j-2", "kind": "finalize", "state": "failed"}
    stand_in.jobs["j-2"]["error"] = {"code": "chunks_damaged", "detail": "send them again"}


@pytest.mark.usefixtures("jobs")
def test_a_job_is_shown(sluice: Sluice) -> None:
    outcome = sluice("job", "j-1")
    assert outcome.status == 0
    assert "running" in outcome.out
    assert "1 of 4" in outcome.out


@pytest.mark.usefixtures("jobs")
def test_a_failed_job_is_status_1_and_says_why(sluice: Sluice) -> None:
    outcome = sluice("job", "j-2")
    assert outcome.status == 1
    assert "send them again (chunks_damaged)" in outcome.out


@pytest.mark.usefixtures("jobs")
def test_a_job_that_is_not_finished_in_time_is_status_1(sluice: Sluice) -> None:
    outcome = sluice("job", "j-1", "--wait", "0.05", "--json")
    assert outcome.status == 1
    assert outcome.objects()[0]["state"] == "running"


def test_an_unknown_job_says_where_ids_are(sluice: Sluice, stand_in: StandIn) -> None:
    stand_in.fault("GET", "/v1/jobs/unknown", "answer", status=404, code="job_not_found")
    outcome = sluice("job", "unknown")
    assert outcome.status == 1
    assert outcome.err.endswith("[request r-1]; `sluice jobs` lists the jobs\n")


@pytest.mark.parametrize(
    ("option", "valid"),
    [("--state", "'queued', 'running', 'succeeded', 'failed', 'cancelled'"), ("--kind", "'finalize', 'metadata'")],
)
def test_a_state_or_kind_that_is_none_is_wrong_usage(
    sluice: Sluice, stand_in: StandIn, option: str, valid: str
) -> None:
    outcome = sluice("jobs", option, "nope")
    assert outcome.status == 2
    assert f"'nope' is not one of {valid}" in outcome.err
    assert stand_in.seen == []


def test_the_help_of_jobs_names_retry_and_the_states(sluice: Sluice) -> None:
    out = sluice("jobs", "--help").out
    assert "retry" in out
    assert "queued|running|succeeded|failed|cancelled" in out


@pytest.mark.parametrize("arguments", [["retry"], ["again", "j-1"], ["retry", "--nope", "j-1"]])
def test_a_retry_without_ids_and_any_other_action_is_wrong_usage(
    sluice: Sluice, stand_in: StandIn, arguments: list[str]
) -> None:
    assert sluice("jobs", *arguments).status == 2
    assert stand_in.seen == []


@pytest.mark.usefixtures("jobs")
def test_a_retry_that_is_refused_does_not_stop_the_others(sluice: Sluice, stand_in: StandIn) -> None:
    stand_in.fault("POST", "/v1/jobs/unknown/retry", "answer", status=404, code="job_not_found")
    outcome = sluice("jobs", "retry", "unknown", "j-2")
    assert (outcome.status, outcome.out) == (1, "j-2 is queued again\n")
    assert outcome.err.startswith("sluice: unknown: refused: job_not_found")
    assert outcome.err.endswith("; `sluice jobs` lists the jobs\n")


@pytest.mark.usefixtures("jobs")
def test_jobs_are_listed_by_state(sluice: Sluice) -> None:
    assert [job["id"] for job in sluice("jobs", "--state", "failed", "--json").objects()] == ["j-2"]
    assert "chunks_damaged" in sluice("jobs").out
