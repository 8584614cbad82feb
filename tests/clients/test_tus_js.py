"""tus-js-client in Node, by tus and by its two settings for the IETF draft: killed, in parallel, over a bad link."""

import signal
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import pytest

from tests.clients.conftest import MIB, MakeSample, Run, RunNode, Sample
from tests.clients.fleet import Fleet
from tests.fixtures.bad_link import BadLink, Draw, Manner

CHUNK = 5 * MIB
RETRIES = [0, 50, 100, 200, 400] * 12  # milliseconds
SETTINGS = {"tus-v1": "/tus/", "ietf-draft-03": "/resumable/", "ietf-draft-05": "/resumable/"}


def assert_uploaded(fleet: Fleet, run: Run, one: Sample) -> None:
    assert run.status == 0, run.of("error")
    assert fleet.listed(one.name)["digests"]["sha-256"] == one.sha256


def offsets_of(run: Run) -> list[int]:
    """Where each append began."""
    return [int(line["offset"]) for line in run.of("request") if line["method"] == "PATCH"]


@pytest.mark.parametrize("protocol", SETTINGS)
async def test_a_whole_file_in_one_request(fleet: Fleet, run_node: RunNode, sample: MakeSample, protocol: str) -> None:
    one = sample(12 * MIB + 3)
    run = await run_node(
        "tus.js", endpoint=fleet.url + SETTINGS[protocol], protocol=protocol, file=str(one.path), name=one.name
    )
    assert_uploaded(fleet, run, one)


@pytest.mark.parametrize("protocol", SETTINGS)
@pytest.mark.long_form
async def test_chunks_of_5_mib(fleet: Fleet, run_node: RunNode, sample: MakeSample, protocol: str) -> None:
    one = sample(2 * CHUNK + 3)
    endpoint = fleet.url + SETTINGS[protocol]
    run = await run_node(
        "tus.js", endpoint=endpoint, protocol=protocol, file=str(one.path), name=one.name, chunkSize=CHUNK
    )
    assert offsets_of(run)[-1] == 2 * CHUNK
    assert_uploaded(fleet, run, one)


@pytest.mark.parametrize("protocol", SETTINGS)
@pytest.mark.parametrize(
    "chunk", [pytest.param(None, id="one-request"), pytest.param(CHUNK, id="chunks", marks=pytest.mark.long_form)]
)
async def test_a_killed_client_goes_on_where_it_was(
    fleet: Fleet, run_node: RunNode, sample: MakeSample, tmp_path: Path, protocol: str, chunk: int | None
) -> None:
    one = sample(32 * MIB)
    async with link_to(fleet, lambda _: Manner("steady", rate=32 * MIB)) as link:
        options = {
            "endpoint": link.url + SETTINGS[protocol],
            "protocol": protocol,
            "file": str(one.path),
            "name": one.name,
            "store": str(tmp_path / "urls.json"),
            **({"chunkSize": chunk} if chunk else {}),
        }
        killed = await run_node("tus.js", **options, dieAt=8 * MIB)
        link.heal()
        again = await run_node("tus.js", **options)
    assert killed.status == -signal.SIGKILL
    assert again.of("start") == [{"event": "start", "resumed": True}]
    assert 0 < offsets_of(again)[0] < one.size
    assert_uploaded(fleet, again, one)


async def test_four_uploads_in_parallel_become_one_file(fleet: Fleet, run_node: RunNode, sample: MakeSample) -> None:
    one = sample(12 * MIB + 1)
    run = await run_node("tus.js", endpoint=f"{fleet.url}/tus/", file=str(one.path), name=one.name, parallelUploads=4)
    assert_uploaded(fleet, run, one)


async def test_a_stream_whose_length_comes_last(fleet: Fleet, run_node: RunNode, sample: MakeSample) -> None:
    one = sample(6 * MIB + 1)
    run = await run_node(
        "tus.js", endpoint=f"{fleet.url}/tus/", file=str(one.path), name=one.name, stream=True, chunkSize=2 * MIB
    )
    assert_uploaded(fleet, run, one)


@pytest.mark.parametrize("protocol", SETTINGS)
@pytest.mark.long_form
async def test_a_bad_link_is_no_error(fleet: Fleet, run_node: RunNode, sample: MakeSample, protocol: str) -> None:
    one = sample(6 * MIB)
    async with link_to(fleet, Worse()) as link:
        run = await run_node(
            "tus.js",
            endpoint=link.url + SETTINGS[protocol],
            protocol=protocol,
            file=str(one.path),
            name=one.name,
            chunkSize=1 * MIB,
            retryDelays=RETRIES,
        )
    assert len(run.of("retry")) >= 4
    assert_uploaded(fleet, run, one)


def link_to(fleet: Fleet, draw: Draw) -> BadLink:
    target = urlsplit(fleet.url)
    return BadLink(str(target.hostname), int(target.port or 0), seed=1, draw=draw)


class Worse:
    """The first connections of a link: each breaks in a way of its own, the last one keeps."""

    def __init__(self) -> None:
        self._manners = iter(
            [
                Manner("cut", ends_at=700_000),
                Manner("reset", ends_at=500_000, reset=True),
                Manner("black hole", silent_at=400_000, silence=1.0, ends_at=900_000),
                Manner("cut", ends_at=200),
                Manner("late", latency=0.01, ends_at=1_200_000),
            ]
        )

    def __call__(self, _: Random) -> Manner:
        return next(self._manners, Manner())
