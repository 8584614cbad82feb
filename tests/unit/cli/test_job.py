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


@pytest.mark.usefixtures("jobs")
def test_jobs_are_listed_by_state(sluice: Sluice) -> None:
    assert [job["id"] for job in sluice("jobs", "--state", "failed", "--json").objects()] == ["j-2"]
    assert "chunks_damaged" in sluice("jobs").out
