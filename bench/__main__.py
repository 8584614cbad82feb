"""`python -m bench [--size-mib 1024] [--rounds 5] [--small 2000] [--folder DIR]`: measure and print one table."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from bench import servers, workloads
from bench.workloads import MIB

Samples = dict[str, list[float]]


def main() -> None:
    """Warm the memory, interleave the candidates, print medians with their spread."""
    given = _arguments()
    with tempfile.TemporaryDirectory(prefix="sluice-bench-", dir=given.folder) as name, ExitStack() as running:
        folder = Path(name)
        source = _source(folder, given.size_mib * MIB)
        fast, safe = folder / "none", folder / "chunk"
        fast.mkdir()
        safe.mkdir()
        url, data = running.enter_context(servers.sluice(fast, SLUICE_DURABILITY="none"))
        safe_url, _ = running.enter_context(servers.sluice(safe, SLUICE_DURABILITY="chunk"))
        bare_url = running.enter_context(servers.bare(folder))
        print(_machine(folder, given))
        samples = _rounds(given, source, url, safe_url, bare_url)
        cpu = servers.cpu_seconds(data)
        workloads.big_file(url, source, 4)
        cpu = (servers.cpu_seconds(data) - cpu) * 1024 / given.size_mib
        print(_table(samples, given, cpu, servers.resident(data)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("--size-mib", type=int, default=1024, help="size of the big file")
    parser.add_argument("--rounds", type=int, default=5, help="rounds; medians are printed")
    parser.add_argument("--small", type=int, default=2000, help="number of 64 KiB files in a round")
    parser.add_argument("--folder", default=None, help="where the data goes: names the file system to measure")
    return parser.parse_args()


def _source(folder: Path, size: int) -> Path:
    """A file of random bytes; writing it, and a copy that is deleted, touches the memory that the run will use."""
    path = folder / "source.bin"
    for name in ("warm-1", "warm-2", path.name):
        with (folder / name).open("wb") as file:
            for _ in range(size // MIB):
                file.write(os.urandom(MIB))
    for name in ("warm-1", "warm-2"):
        (folder / name).unlink()
    return path


def _rounds(given: argparse.Namespace, source: Path, url: str, safe_url: str, bare_url: str) -> Samples:
    samples: Samples = defaultdict(list)
    one_round: list[Callable[[], None]] = []

    def big(label: str, server: str, connections: int) -> None:
        result = workloads.big_file(server, source, connections)
        samples[f"receive {label}"].append(result.receive)
        samples[f"finalize {label}"].append(result.finalize)

    for connections in (1, 4):
        text = f"{connections} conn"
        one_round += [
            lambda c=connections, t=text: samples[f"bare {t}"].append(workloads.dropped(bare_url, source, c)),  # type: ignore[misc]
            lambda c=connections, t=text: big(f"{t}, fsync off", url, c),  # type: ignore[misc]
            lambda c=connections, t=text: big(f"{t}, fsync on", safe_url, c),  # type: ignore[misc]
        ]
    one_round += [
        lambda: samples["sha256"].append(workloads.bare_sha256(source)),
        lambda: samples["small, fsync off"].append(workloads.small_files(url, given.small, 16)),
        lambda: samples["small, fsync on"].append(workloads.small_files(safe_url, given.small, 16)),
    ]
    for _ in range(given.rounds):
        for measure in one_round:
            measure()
    return samples


def _table(samples: Samples, given: argparse.Namespace, cpu: float, resident: dict[str, int]) -> str:
    rows = ["| what | median | spread | ratio |", "|---|---|---|---|"]
    size = given.size_mib
    for label in sorted(samples):
        values = samples[label]
        unit, amount = ("files/s", given.small) if label.startswith("small") else ("MiB/s", size)
        rates = sorted(amount / value for value in values)
        ratio = _ratio(label, samples)
        rows.append(f"| {label} | {median(rates):.0f} {unit} | {rates[0]:.0f}-{rates[-1]:.0f} | {ratio} |")
    rows.append(f"| CPU of gateway and worker, 4 conn, fsync off | {cpu:.2f} s/GiB | | |")
    rows += [f"| RSS {part} at the end | {size / MIB:.0f} MiB | | |" for part, size in resident.items()]
    return "\n".join(rows)


def _ratio(label: str, samples: Samples) -> str:
    """Our rate as a part of the reference's in the same run."""
    if label.startswith("receive"):
        reference = f"bare {label.removeprefix('receive ').partition(',')[0]}"
        return f"{median(samples[reference]) / median(samples[label]):.2f} of bare handler"
    if label.startswith("finalize"):
        return f"{median(samples['sha256']) / median(samples[label]):.2f} of bare hashlib"
    return ""


def _machine(folder: Path, given: argparse.Namespace) -> str:
    kind = subprocess.run(["stat", "-f", "-c", "%T", str(folder)], capture_output=True, text=True, check=True)
    return (
        f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}, "
        f"file system {kind.stdout.strip()}; 1 gateway, 1 worker, SQLite; {given.size_mib} MiB in chunks of 16 MiB, "
        f"{given.small} files of 64 KiB over 16 connections; {given.rounds} interleaved rounds\n"
    )


if __name__ == "__main__":
    main()
