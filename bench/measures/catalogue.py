"""All workloads in the order of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.measures import download, finalize, large, listing, memory, queue, small, streams
from bench.rows import Result
from bench.setting import Setting


@dataclass(frozen=True)
class Workload:
    """`reference` is the candidate that the ratios of a table are taken against, by unit; None: no ratios."""

    letters: tuple[str, ...]
    name: str
    title: str
    measure: Callable[[Setting], Result]
    reference: dict[str, str]


WORKLOADS = (
    Workload(
        ("a", "h"),
        "large",
        "One large file, and CPU per GiB",
        large.measure,
        {large.READY: "@tus/server", large.RECEIVED: "bare handler"},
    ),
    Workload(("b",), "small", "Small files", small.measure, {small.RATE: "@tus/server"}),
    Workload(("c",), "finalize", "Finalize alone", finalize.measure, {finalize.RATE: "hashlib"}),
    Workload(("d",), "queue", "The queue", queue.measure, {}),
    Workload(("e",), "memory", "Memory with slow uploads", memory.measure, {}),
    Workload(("f",), "download", "Downloads", download.measure, {download.RATE: "nginx", large.CPU: "nginx"}),
    Workload(("g",), "listing", "Listing and polling", listing.measure, {}),
    Workload(
        ("i",),
        "streams",
        "One large file as one stream",
        streams.measure,
        {large.READY: streams.CHUNKS, large.RECEIVED: streams.CHUNKS},
    ),
)
BY_NAME = {workload.name: workload for workload in WORKLOADS}
