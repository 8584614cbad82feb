"""Numbers that have to agree: connections, slots, memory, chunk sizes, queue names."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.quantities import parse_size
from common.queue import queue_name
from common.states import JobKind
from tests.manifests.checks.environment import settings
from tests.manifests.checks.pods import quantity
from tests.manifests.objects import Manifests, Pod
from worker.polling import READ_LIMIT

README = Path(__file__).parents[2] / "deploy" / "k8s" / "README.md"
GATEWAY_MEMORY = parse_size("160MiB")  # budget of one process with 256 slow uploads (docs/performance.md)
MARGIN = 10  # connections for the migration, its waiters and people
LONG_ENOUGH = 60  # seconds after which common proxies end a request
SLOW_LINK = 10e6 / 8  # bytes per second of a client that should still get a chunk through


def connections(manifests: Manifests) -> int:
    """What all pods together keep open to the database, during a rollout too."""
    return sum(
        (manifests.most_pods(pod) + surge(manifests, pod)) * settings(manifests, pod.main).database.database_pool_size
        for pod in manifests.ours()
        if pod.kind == "Deployment"
    )


def surge(manifests: Manifests, pod: Pod) -> int:
    more: int = manifests.one(pod.kind, pod.name)["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
    return more


def served_connections(manifests: Manifests) -> int:
    """`max_connections` of the PostgreSQL in the overlay."""
    (word,) = [word for word in manifests.pod("postgres").main["args"] if word.startswith("max_connections=")]
    return int(word.partition("=")[2])


def disagreements(manifests: Manifests) -> Iterator[str]:
    """One line for each number that does not fit to another."""
    for kind in JobKind:
        pod = manifests.pod(kind.value)
        if manifests.most_pods(pod) * settings(manifests, pod.main).worker.worker_slots > READ_LIMIT:
            yield f"{kind}: more slots than one look at the queue reads"
    gateway = manifests.pod("gateway")
    those = settings(manifests, gateway.main)
    if quantity(gateway.main["resources"]["requests"]["memory"]) < GATEWAY_MEMORY + those.http.intake_memory:
        yield "gateway: requests less memory than its budget"
    if those.limits.chunk_size_max / SLOW_LINK > LONG_ENOUGH:
        yield "gateway: a chunk takes longer than proxies wait"
    for scaled in manifests.of("ScaledObject"):
        yield from _queue(manifests, scaled["metadata"]["name"], scaled["spec"]["triggers"][0]["metadata"])


def _queue(manifests: Manifests, name: str, trigger: dict[str, str]) -> Iterator[str]:
    (pod,) = [pod for pod in manifests.ours() if pod.name == name]
    those = settings(manifests, pod.main)
    kind = JobKind(those.worker.worker_queues[0])
    if trigger["listName"] != queue_name(those.redis, kind):
        yield f"{name}: scaled by {trigger['listName']}, works on {queue_name(those.redis, kind)}"
    if int(trigger["listLength"]) != those.worker.worker_slots:
        yield f"{name}: scaled by {trigger['listLength']} jobs a pod, has {those.worker.worker_slots} slots"


def test_the_numbers_agree(manifests: Manifests) -> None:
    assert list(disagreements(manifests)) == []


def test_both_kinds_of_workers_are_scaled_by_their_queue(production_s3: Manifests) -> None:
    assert {thing["metadata"]["name"] for thing in production_s3.of("ScaledObject")} == {
        f"worker-{kind}" for kind in JobKind
    }


def test_the_database_of_the_overlay_has_enough_connections(dev: Manifests) -> None:
    assert connections(dev) + MARGIN <= served_connections(dev)


def test_the_readme_says_how_many_connections_each_overlay_needs(manifests: Manifests) -> None:
    assert f"| `{manifests.overlay}` | {connections(manifests)} |" in README.read_text()


def more_slots(manifests: Manifests) -> None:
    manifests.pod("finalize").main["env"].append({"name": "SLUICE_WORKER_SLOTS", "value": "51"})


def bigger_chunks(manifests: Manifests) -> None:
    manifests.pod("gateway").main["env"].append({"name": "SLUICE_CHUNK_SIZE_MAX", "value": "100MiB"})


def other_queue(manifests: Manifests) -> None:
    manifests.pod("finalize").main["env"].append({"name": "SLUICE_REDIS_QUEUE_PREFIX", "value": "other"})


CONTROLS: list[tuple[str, Callable[[Manifests], object]]] = [
    ("finalize: more slots", more_slots),
    ("worker-finalize: scaled by 8 jobs a pod", more_slots),
    ("worker-finalize: scaled by sluice:queue:finalize, works on other", other_queue),
    ("gateway: a chunk takes longer", bigger_chunks),
    ("gateway: requests less", lambda m: m.pod("gateway").main["resources"]["requests"].update(memory="128Mi")),
]


@pytest.mark.parametrize(("finding", "breaking"), CONTROLS)
def test_a_number_that_does_not_fit_is_found(
    production_s3: Manifests, finding: str, breaking: Callable[[Manifests], object]
) -> None:
    assert any(line.startswith(finding) for line in disagreements(production_s3.but(breaking)))


def test_more_pods_need_more_connections(dev: Manifests) -> None:
    crowded = dev.but(lambda manifests: manifests.one("Deployment", "gateway")["spec"].update(replicas=20))
    assert connections(crowded) + MARGIN > served_connections(crowded)
