"""From measured costs to replicas and loads. Pure arithmetic; every assumption is a field of `Plant` with its source.

Rates are bytes, requests or CPU seconds per second. A load divided by a capacity is a share; the shared part with the
largest share is the first bottleneck, because pods and nodes can be added and it cannot.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from common.chunking import GIB, MIB, default_chunk_size
from common.queue import GROUP_BYTES

GB = 10**9
WRITES = {
    "CreateMultipartUpload",
    "UploadPart",
    "CompleteMultipartUpload",
    "AbortMultipartUpload",
    "PutObject",
    "DeleteObject",
    "DeleteObjects",
}
"""S3 operations that count against the limit of writes; the rest reads."""

Reading = Mapping[str, float]


@dataclass(frozen=True)
class Costs:
    """What one upload, one chunk and one MiB of a large file cost, and all of a small file, by counter."""

    upload: Reading
    chunk: Reading
    mib: Reading
    small: Reading
    look: Mapping[str, float]
    """CPU seconds of Redis for one look at a queue, by the ids in it."""
    idle: Reading = field(default_factory=dict)
    """What one worker does in a second when there is nothing to do: heartbeat, sweep, looks."""

    def of_file(self, size: int) -> dict[str, float]:
        """All counters of one file of `size` bytes; up to 1 MiB it is one request and shares rings."""
        if size <= GROUP_BYTES:
            return dict(self.small)
        chunks = math.ceil(size / default_chunk_size(size))
        parts = ((self.upload, 1.0), (self.chunk, float(chunks)), (self.mib, size / MIB))
        names = {name for part, _ in parts for name in part}
        return {name: sum(part.get(name, 0.0) * times for part, times in parts) for name in names}


@dataclass(frozen=True)
class Plant:
    """What is assumed of the machines. Utilisation targets are parts of 1."""

    cpu_target: float = 0.7
    """As the HPA of deploy/k8s; a gateway or worker pod is counted as one core."""
    node_cores: int = 16
    node_bytes: float = 25e9 / 8
    """Network of a node in each direction, per second: 25 Gbit/s."""
    network_target: float = 0.6
    commits: float = 10_000.0
    """Writing transactions per second of one PostgreSQL primary with a fast flush and group commit: an assumption."""
    postgres_cores: int = 32
    redis_target: float = 0.7
    """Of one core: Redis runs commands in one thread."""
    connections: float = 5_000.0
    """Connections to PostgreSQL that one pooler layer is trusted with: an assumption."""
    read_limit: int = 1000
    """Ids that one look at a queue reads (worker/polling.py); running ones count."""
    put_limit: float = 3500.0
    get_limit: float = 5500.0
    """Requests per second of one partition of a bucket, as AWS documents them."""
    pool_size: int = 5
    store_wait: float = 0.2
    """Seconds of a finalize job that are waiting for the store and the database, not CPU: an assumption."""


@dataclass(frozen=True)
class Mix:
    """Parts of the bytes by file size; the parts add up to 1."""

    name: str
    parts: Mapping[int, float]

    def files(self, rate: float) -> dict[int, float]:
        """Files per second of each size at `rate` bytes per second."""
        return {size: rate * part / size for size, part in self.parts.items()}


MIXES = (
    Mix("large: 1 GiB", {GIB: 1.0}),
    Mix("mixed: 70 % in 1 GiB, 29 % in 100 MiB, 1 % in 64 KiB", {GIB: 0.7, 100 * MIB: 0.29, 65536: 0.01}),
    Mix("small: 64 KiB", {65536: 1.0}),
)


@dataclass(frozen=True)
class Load:
    """What a rate asks for. `shares` are of parts that cannot be multiplied: 1.0 is full at its target."""

    rate: float
    files: float
    gateways: int
    workers: int
    nodes_cpu: int
    nodes_network: int
    ingress: float
    egress: float
    statements: float
    writes: float
    redis: float
    herd: float
    """Commands by which every worker looks when one ring is heard, at most: a worker that is full does not look."""
    puts: float
    gets: float
    partitions: int
    running: float
    shares: Mapping[str, float]

    @property
    def bottleneck(self) -> str:
        """The shared part that is full first."""
        return max(self.shares, key=lambda name: self.shares[name])

    @property
    def full_at(self) -> float:
        """Bytes per second at which it is."""
        return self.rate / self.shares[self.bottleneck]


def load(costs: Costs, mix: Mix, rate: float, plant: Plant | None = None) -> Load:
    """The load of `rate` bytes per second of this mix."""
    plant = plant or Plant()
    total: dict[str, float] = {}
    running = 0.0
    for size, files in mix.files(rate).items():
        costs_of_file = costs.of_file(size)
        for name, value in costs_of_file.items():
            total[name] = total.get(name, 0.0) + value * files
        running += files * _slot_seconds(costs_of_file, size, plant)
    gateways = _pods(total.get("cpu.gateway", 0.0), plant)
    workers = _pods(total.get("cpu.worker", 0.0), plant)
    for name in ("sql.worker.statements", "sql.worker.writes", "redis.all", "cpu.redis"):
        total[name] = total.get(name, 0.0) + costs.idle.get(name, 0.0) * workers
    ingress, egress = _network(total)
    puts, gets = _requests(total)
    writes = total.get("sql.gateway.writes", 0.0) + total.get("sql.worker.writes", 0.0)
    rings = total.get("redis.zadd", 0.0)
    return Load(
        rate=rate,
        files=sum(mix.files(rate).values()),
        gateways=gateways,
        workers=workers,
        nodes_cpu=math.ceil((gateways + workers) / plant.node_cores),
        nodes_network=math.ceil(max(ingress, egress) / (plant.node_bytes * plant.network_target)),
        ingress=ingress,
        egress=egress,
        statements=total.get("sql.gateway.statements", 0.0) + total.get("sql.worker.statements", 0.0),
        writes=writes,
        redis=total.get("redis.all", 0.0),
        herd=rings * max(0, workers - 1) * (1 + math.ceil(min(running, plant.read_limit) / 100)),
        puts=puts,
        gets=gets,
        partitions=max(math.ceil(puts / plant.put_limit), math.ceil(gets / plant.get_limit)),
        running=running,
        shares={
            "PostgreSQL commits": writes / plant.commits,
            "PostgreSQL CPU": total.get("cpu.postgres", 0.0) / (plant.postgres_cores * plant.cpu_target),
            "PostgreSQL connections": (gateways + workers) * plant.pool_size / plant.connections,
            "Redis CPU": total.get("cpu.redis", 0.0) / plant.redis_target,
            "ids in one look": running / plant.read_limit,
        },
    )


def herd_cpu(costs: Costs, found: Load, plant: Plant | None = None) -> float:
    """CPU seconds of Redis per second if every ring made every worker look: what limits the number of workers."""
    plant = plant or Plant()
    ids = min(found.running, plant.read_limit)
    looks = found.herd / (1 + math.ceil(ids / 100))
    return looks * look_seconds(costs.look, ids)


def herd_full_at(costs: Costs, mix: Mix, plant: Plant | None = None) -> float:
    """Bytes per second at which Redis is at its target if every ring makes every worker look; by halving."""
    plant = plant or Plant()
    low, high = 0.0, 10_000.0 * GB
    while high - low > 0.001 * high:
        rate = (low + high) / 2
        found = load(costs, mix, rate, plant)
        full = herd_cpu(costs, found, plant) + found.shares["Redis CPU"] * plant.redis_target >= plant.redis_target
        low, high = (low, rate) if full else (rate, high)
    return high


def look_seconds(look: Mapping[str, float], ids: float) -> float:
    """CPU seconds of a look at so many ids: on the line between the measured lengths."""
    points = sorted((int(length), seconds) for length, seconds in look.items())
    for (low, below), (high, above) in pairwise(points):
        if ids <= high:
            return below + (above - below) * max(0.0, ids - low) / (high - low)
    return points[-1][1]


def _slot_seconds(costs_of_file: Reading, size: int, plant: Plant) -> float:
    """How long a ring of one file holds its place in the queue; small files share one."""
    rings = 2.0 if size > GROUP_BYTES else costs_of_file.get("redis.zadd", 2.0)
    return costs_of_file.get("cpu.worker", 0.0) / plant.cpu_target + plant.store_wait * rings


def _pods(cpu: float, plant: Plant) -> int:
    return max(1, math.ceil(cpu / plant.cpu_target))


def _network(total: Reading) -> tuple[float, float]:
    """Bytes per second into and out of the pods: from clients, to and from the store."""
    ingress = total.get("bytes.client.sent", 0.0) + total.get("bytes.store.received", 0.0)
    egress = total.get("bytes.client.received", 0.0) + total.get("bytes.store.sent", 0.0)
    return ingress, egress


def _requests(total: Reading) -> tuple[float, float]:
    """S3 requests per second that write, and that read; through the pods and direct."""
    by_kind = [0.0, 0.0]
    for name, value in total.items():
        group, _, rest = name.partition(".")
        place, _, operation = rest.partition(".")
        if group == "http" and place in {"store", "direct"} and operation != "requests":
            by_kind[operation not in WRITES] += value
    return by_kind[0], by_kind[1]
