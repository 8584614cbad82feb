"""`python -m bench.s3 [--size-mib 1024] [--rounds 3]`: what the gateway's CPU costs over S3, through it and direct.

The store is versitygw over a folder of the same file system (`make test-s3` builds it). The client is the SDK, over
four connections; its own CPU and the store's are not counted, the gateway's and the worker's are told apart.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import botocore.session
import psutil

from bench import servers
from bench.workloads import MIB
from client import AsyncClient, UploadOptions

VERSITYGW = Path(__file__).parents[1] / ".cache" / "versitygw"
KEYS = {"AWS_ACCESS_KEY_ID": "sluice-bench", "AWS_SECRET_ACCESS_KEY": "only-on-loopback"}
CHUNK = 16 * MIB
Row = tuple[str, str]


def main() -> None:
    """Interleave the two ways and print medians."""
    given = _arguments()
    if not VERSITYGW.exists():
        raise SystemExit("no versitygw: `make test-s3` builds it where Go is installed")
    os.environ.update(KEYS)
    with tempfile.TemporaryDirectory(prefix="sluice-bench-", dir=given.folder) as name:
        folder = Path(name)
        source = folder / "source.bin"
        with source.open("wb") as file:
            for _ in range(given.size_mib):
                file.write(os.urandom(MIB))
        with _store(folder) as endpoint, _service(folder, endpoint) as (url, data):
            samples: dict[Row, list[float]] = defaultdict(list)
            for _ in range(given.rounds):
                for way in ("through the gateway", "direct"):
                    for what, value in _one(url, data, source, direct=way == "direct").items():
                        samples[way, what].append(value)
    print(f"{given.size_mib} MiB, {given.rounds} rounds, chunks of {CHUNK // MIB} MiB, 4 connections")
    for (way, what), values in samples.items():
        print(f"| {way} | {what} | {median(values):.2f} | {min(values):.2f}-{max(values):.2f} |")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.s3")
    parser.add_argument("--size-mib", type=int, default=1024, help="size of the file")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; medians are printed")
    parser.add_argument("--folder", default=None, help="where the data goes: names the file system to measure")
    return parser.parse_args()


def _one(url: str, data: Path, source: Path, *, direct: bool) -> dict[str, float]:
    """Upload and delete the file once: seconds, and CPU seconds for each GiB."""
    gib = source.stat().st_size / 1024**3
    gateway, worker = _cpu(data, "gateway"), _cpu(data, "worker")
    began = time.monotonic()
    received = asyncio.run(_upload(url, source, direct=direct))
    return {
        "MiB/s until received": source.stat().st_size / MIB / (received - began),
        "MiB/s until ready": source.stat().st_size / MIB / (time.monotonic() - began),
        "CPU of the gateway, s/GiB": (_cpu(data, "gateway") - gateway) / gib,
        "CPU of the worker, s/GiB": (_cpu(data, "worker") - worker) / gib,
    }


async def _upload(url: str, source: Path, *, direct: bool) -> float:
    """When the last chunk had arrived. No digests: hashing in the client is not what is measured."""
    plain = UploadOptions(chunk_digests=False, file_digest=False, chunk_size=CHUNK, direct=direct, wait=False)
    async with AsyncClient(url) as sluice:
        result = await sluice.upload_file(source, plain)
        received = time.monotonic()
        job = await sluice.wait_for_job(result.job.id)
        assert job.succeeded, job
        await sluice.delete_file(job.file_id or "")
    return received


def _cpu(data: Path, part: str) -> float:
    times = psutil.Process(int((data / "run" / f"{part}-1.pid").read_text())).cpu_times()
    return float(times.user + times.system)


@contextmanager
def _service(folder: Path, endpoint: str) -> Iterator[tuple[str, Path]]:
    client = botocore.session.get_session().create_client("s3", region_name="us-east-1", endpoint_url=endpoint)
    client.create_bucket(Bucket="bench")  # type: ignore[attr-defined]
    client.close()
    place = {"SLUICE_STORAGE_URL": "s3://bench", "SLUICE_S3_ENDPOINT_URL": endpoint, "SLUICE_S3_PATH_STYLE": "true"}
    with servers.sluice(folder, **place) as running:
        yield running


@contextmanager
def _store(folder: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "store").mkdir()
    env = {**os.environ, "ROOT_ACCESS_KEY": KEYS["AWS_ACCESS_KEY_ID"]}
    env["ROOT_SECRET_KEY"] = KEYS["AWS_SECRET_ACCESS_KEY"]
    command = [str(VERSITYGW), "--quiet", "--keep-alive", "--port", f"127.0.0.1:{port}", "posix", str(folder / "store")]
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        servers.await_port(process, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


if __name__ == "__main__":
    main()
