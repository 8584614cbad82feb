"""`python -m bench.scaling.report [--check]`: the tables and figures of docs/scaling.md, from costs.json alone."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from bench.scaling.model import GB, MIXES, Costs, Load, Mix, Plant, herd_full_at, load
from bench.scaling.plot import figure
from bench.scaling.scenarios import FLEETS, SCENARIOS, SHIPPED, group_of, predicted_drain, simulate
from bench.scaling.simulation import Outcome
from common.chunking import GIB, MIB

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "scaling.md"
FIGURES = ROOT / "docs" / "figures"
COSTS = Path(__file__).with_name("costs.json")
BEGIN, END = "<!-- {}: written by `make scaling`: do not edit below -->", "<!-- end of {} -->"
GATEWAYS = 10  # maxReplicas of deploy/k8s/components/autoscale-gateway
RATES = (1 * GB, 10 * GB, 100 * GB)
WAYS = {"s3": "through the gateway", "s3-direct": "direct", "s3-direct-receipts": "direct, `verify=receipts`"}
COUNTED = {
    "gateway CPU, ms": ("cpu.gateway", 1e3),
    "worker CPU, ms": ("cpu.worker", 1e3),
    "PostgreSQL CPU, ms": ("cpu.postgres", 1e3),
    "Redis CPU, ms": ("cpu.redis", 1e3),
    "statements, gateway": ("sql.gateway.statements", 1.0),
    "statements, worker": ("sql.worker.statements", 1.0),
    "transactions, gateway": ("sql.gateway.transactions", 1.0),
    "transactions, worker": ("sql.worker.transactions", 1.0),
    "of these writing, gateway": ("sql.gateway.writes", 1.0),
    "of these writing, worker": ("sql.worker.writes", 1.0),
    "Redis commands": ("redis.all", 1.0),
    "rings (ZADD)": ("redis.zadd", 1.0),
    "looks (ZRANGEBYSCORE)": ("redis.zrangebyscore", 1.0),
    "HTTP requests of the client": ("http.client.requests", 1.0),
    "S3 requests of the service": ("http.store.requests", 1.0),
    "S3 requests of the client": ("http.direct.requests", 1.0),
}
BYTES = {
    "client to gateway": "bytes.client.sent",
    "service to store": "bytes.store.sent",
    "store to service": "bytes.store.received",
    "client to store": "bytes.direct.sent",
}
Row = Iterable[object]
Measured = dict[str, Any]


def main() -> None:
    """Write the page and the figures, or say which are stale."""
    wanted = pages(json.loads(COSTS.read_text()))
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv[1:]:
        raise SystemExit(f"stale: {', '.join(path.name for path in stale)}" if stale else 0)
    FIGURES.mkdir(exist_ok=True)
    for path in stale:
        path.write_text(wanted[path])
        print(f"written: {path.relative_to(ROOT)}")


def costs_of(measured: Measured, way: str) -> Costs:
    """The costs of one way; small files go through the gateway on all of them."""
    large = measured["large"][way]
    small = measured["small"]["s3" if way.startswith("s3") else way]["file"]
    return Costs(large["upload"], large["chunk"], large["mib"], small, measured["look"], measured["idle"][way])


def pages(measured: Measured) -> dict[Path, str]:
    """The whole text of every file that is written."""
    outcomes = {
        scenario.name: {name: simulate(scenario, fleet, costs_of(measured, "s3")) for name, fleet in FLEETS.items()}
        for scenario in SCENARIOS
    }
    parts = {
        "summary": _summary(measured),
        "measured costs": _costs(measured),
        "measured counts of S3": _operations(measured),
        "model": model_table(measured),
        "network": _network(measured),
        "bottlenecks": _bottlenecks(measured),
        "simulation": _simulation(outcomes),
        "validation": _validation(measured),
    }
    text = PAGE.read_text()
    for name, table in parts.items():
        begin, end = BEGIN.format(name), END.format(name)
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n\n{table}\n\n{end}{rest.partition(end)[2]}"
    figures = {
        FIGURES / f"scaling-{number}.svg": _figure(name, of) for number, (name, of) in enumerate(outcomes.items(), 1)
    }
    return {PAGE: text, **figures}


def _table(head: Row, rows: Iterable[Row]) -> str:
    lines = ["| " + " | ".join(map(str, cells)) + " |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(list(head)), *lines[1:]])


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return "0" if value < 0.0005 else f"{value:.2g}"


def _costs(measured: Measured) -> str:
    about = measured["about"]
    small, ways = measured["small"], measured["large"]
    files = [(f"64 KiB, {place}", found["file"]) for place, found in small.items() if "workers" not in place]
    for size, label in ((100 * MIB, "100 MiB"), (10 * GIB, "10 GiB")):
        files += [(f"{label}, {way}", costs_of(measured, way).of_file(size)) for way in ways]
    rows: list[Row] = []
    for label, counters in files:
        cells = [_number(counters.get(name, 0.0) * unit) for name, unit in COUNTED.values()]
        rows.append([label, *cells, *(_number(counters.get(name, 0.0) / MIB) for name in BYTES.values())])
    turned = [
        list(column) for column in zip(["per file", *COUNTED, *(f"MiB {name}" for name in BYTES)], *rows, strict=True)
    ]
    said = (
        f"Measured {about['date']} at commit {about['commit']} on {about['machine']}, load {about['load']}; "
        f"{about['rounds']} rounds, {about['small_files']} small files in each over 16 connections."
    )
    looks = [_looks(small[place]["file"]) for place in ("local", "local, 3 workers")]
    said += f" Looks at a queue for each ring: {looks[0]} with one worker, {looks[1]} with three."
    return f"{said}\n\n{_table(turned[0], turned[1:])}\n\n{_table(*_spreads(measured))}"


def _looks(file: Mapping[str, float]) -> str:
    return _number(file.get("redis.zrangebyscore", 0.0) / file["redis.zadd"])


def _spreads(measured: Measured) -> tuple[Row, list[Row]]:
    rows: list[Row] = []
    for place, found in measured["small"].items():
        for part in ("gateway", "worker"):
            low, high = found["spread"][f"cpu.{part}"]
            rows.append([f"64 KiB, {place}", part, f"{low * 1e3:.2f}-{high * 1e3:.2f} ms a file"])
    for way, found in measured["large"].items():
        for part in ("gateway", "worker"):
            low, high = found["spread"]["mib"][f"cpu.{part}"]
            rows.append([way, part, f"{low * 1024:.2f}-{high * 1024:.2f} s/GiB (the part that grows with the bytes)"])
    return ["spread of CPU seconds", "process", "least-most"], rows


def _operations(measured: Measured) -> str:
    large, small = measured["large"], measured["small"]["s3"]["file"]
    columns: list[tuple[str, dict[str, float]]] = [("64 KiB file", small)]
    for way in WAYS:
        columns += [(f"{way}: {part}", large[way][part]) for part in ("upload", "chunk", "mib")]
    names = sorted({name for _, found in columns for name in found if name.startswith(("http.store.", "http.direct."))})
    rows = [
        [name.removeprefix("http."), *(_number(found.get(name, 0.0)) for _, found in columns)]
        for name in names
        if not name.endswith(".requests") and any(found.get(name, 0.0) >= 0.0005 for _, found in columns)
    ]
    return _table(["operation (who asks)", *(label for label, _ in columns)], rows)


def _loads(measured: Measured) -> Iterator[tuple[Mix, str, Costs, Load]]:
    for mix in MIXES:
        for way, label in WAYS.items():
            if mix.name.startswith("small") and way != "s3":
                continue  # a small file is one request through the gateway
            costs = costs_of(measured, way)
            for rate in RATES:
                yield mix, label, costs, load(costs, mix, rate)


def model_table(measured: Measured) -> str:
    """Replicas and loads of every mix, way and rate."""
    head = [
        "mix",
        "way",
        "GB/s",
        "files/s",
        "gateways",
        "workers",
        "nodes: CPU",
        "nodes: network",
        "GB/s in",
        "GB/s out",
    ]
    head += [
        "SQL statements/s",
        "SQL writes/s",
        "Redis commands/s",
        "S3 writes/s",
        "S3 reads/s",
        "partitions",
        "running",
    ]
    rows: list[Row] = []
    for mix, way, _, found in _loads(measured):
        cells: list[float] = [found.files, found.gateways, found.workers, found.nodes_cpu, found.nodes_network]
        cells += [found.ingress / GB, found.egress / GB, found.statements, found.writes, found.redis]
        cells += [found.puts, found.gets, found.partitions, found.running]
        rows.append([mix.name.partition(":")[0], way, f"{found.rate / GB:.0f}", *map(_number, cells)])
    return _table(head, rows)


def _bottlenecks(measured: Measured) -> str:
    names = list(next(_loads(measured))[3].shares)
    rows: list[Row] = []
    for mix, way, costs, found in _loads(measured):
        if found.rate != RATES[-1]:
            continue
        limits = [_number(found.rate / share / GB) if share else "-" for share in found.shares.values()]
        shipped = [
            _number(found.rate * most / pods / GB)
            for most, pods in ((GATEWAYS, found.gateways), (SHIPPED.most, found.workers))
        ]
        first = f"**{found.bottleneck}** at {_number(found.full_at / GB)}"
        herd = _number(herd_full_at(costs, mix) / GB)
        rows.append([mix.name.partition(":")[0], way, *shipped, *limits, herd, first])
    head = ["mix", "way", f"{GATEWAYS} gateways", f"{SHIPPED.most} workers", *names]
    return _table([*head, "Redis CPU if all look at each ring", "first of the shared parts"], rows)


def _summary(measured: Measured) -> str:
    head = ["at 100 GB/s", "way", "gateways", "workers", "nodes", "because of", "first shared part that is full", "at"]
    rows: list[Row] = []
    for mix, way, _, found in _loads(measured):
        if found.rate != RATES[-1]:
            continue
        nodes = {"the network": found.nodes_network, "CPU": found.nodes_cpu}
        more, less = sorted(nodes, key=lambda name: -nodes[name])
        why = f"{more} ({nodes[more] / nodes[less]:.1f} times those for {less})"
        counts = (f"{number:,}" for number in (found.gateways, found.workers, nodes[more]))
        rows.append([mix.name, way, *counts, why, found.bottleneck, f"{_number(found.full_at / GB)} GB/s"])
    return _table(head, rows)


def _network(measured: Measured) -> str:
    """Gbit/s of pods that are busy to their CPU target with files of 1 GiB, and what a node full of them would need."""
    plant, rows = Plant(), []
    for way, label in WAYS.items():
        file = costs_of(measured, way).of_file(GIB)
        cells: list[float] = []
        for part, ways in (("gateway", ("client.sent", "store.sent")), ("worker", ("store.received",))):
            pods_seconds = file[f"cpu.{part}"] / plant.cpu_target
            streams = [file.get(f"bytes.{name}", 0.0) * 8 / 1e9 / pods_seconds for name in ways]
            cells += [*streams, max(streams) * plant.node_cores]
        rows.append([label, *map(_number, cells)])
    head = ["way", "gateway pod in", "gateway pod out", f"node of {plant.node_cores} gateways"]
    return _table([*head, "worker pod in", f"node of {plant.node_cores} workers"], rows)


def _simulation(outcomes: dict[str, dict[str, Outcome]]) -> str:
    head = ["load", "workers", "most files waiting or running", "most pods", "p50", "p95", "p99", "all ready after"]
    rows: list[Row] = []
    for load_name, of in outcomes.items():
        for name, outcome in of.items():
            times = [f"{outcome.percentile(part):.0f} s" for part in (0.5, 0.95, 0.99)]
            rows.append([load_name, name, f"{outcome.backlog:,}", outcome.most_pods, *times, f"{outcome.ended:.0f} s"])
    return _table(head, rows)


def _figure(name: str, of: dict[str, Outcome]) -> str:
    files = {label: [(when, float(count)) for when, count, *_ in outcome.trace] for label, outcome in of.items()}
    pods = {label: [(when, float(count)) for when, *_, count in outcome.trace] for label, outcome in of.items()}
    return figure(name, {"files waiting or running": files, "pods ready": pods})


def _validation(measured: Measured) -> str:
    cpu = measured["small"]["local, 64 connections"]["file"]["cpu.worker"]
    rows: list[Row] = []
    errors = []
    for one in measured["drain"]:
        free, busy = (predicted_drain(cpu * by, int(one["files"]), int(one["rings"])) for by in (1.0, one["stretch"]))
        errors.append((free / one["seconds"] - 1, busy / one["seconds"] - 1))
        cells = [
            f"{one['files']:.0f}",
            f"{one['rings']:.0f}",
            f"{one['seconds']:.2f} s",
            f"{free:.2f} s",
            f"{busy:.2f} s",
        ]
        rows.append(
            [
                *cells,
                "{:+.0%} to {:+.0%}".format(*errors[-1]),
                f"{one['cpu'] / one['files'] * 1e3:.1f} ms",
                f"{one['stretch']:.2f}",
            ]
        )
    head = ["files of 64 KiB", "rings", "measured", "simulated, free cores", "simulated, stretched"]
    table = _table([*head, "error", "CPU of a file", "stretch"], rows)
    group = group_of(costs_of(measured, "s3"))
    low, high = (median(error[side] for error in errors) for side in (0, 1))
    said = f"Median error {low:+.0%} with free cores, {high:+.0%} stretched."
    return f"{table}\n\n{said} Files behind one ring under load, over S3: {group}."


if __name__ == "__main__":
    main()
