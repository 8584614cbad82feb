"""The steps of the demo and what each of them proves."""

import hashlib
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cli.demo.progress import upload_bar
from cli.demo.samples import MIB, Sample
from cli.demo.service import DemoFailedError
from cli.output import human_size
from cli.stack import python_module
from client.models import FileInfo, Upload
from client.options import UploadOptions, UploadResult
from client.state import FileStateStore, state_key
from client.sync import Client

PARALLEL = 4
DIE_AT = 0.5  # share of the bytes after which the first client is killed
INTERRUPTED_SECONDS = 120.0  # no client may take longer to reach its middle
JOB_SECONDS = 60.0
RANGE = 1000  # bytes read out of the middle
KILLED = -9


@dataclass(frozen=True)
class Row:
    """One line of the final table; `seconds` from the first request until the file was ready."""

    sample: Sample
    chunks: int
    seconds: float
    state: str
    same: bool


class Show:
    """Runs the steps against one service; `folder` takes downloads and the memory of interrupted uploads."""

    def __init__(self, client: Client, folder: Path, console: Console) -> None:
        self._client = client
        self._folder = folder
        self._console = console
        self._store = FileStateStore(folder / "state")

    def run(self, samples: list[Sample]) -> bool:
        """Send, check and fetch every sample; whether every comparison held."""
        began = time.perf_counter()
        big, *others = samples
        seconds, missing = self._interrupt(big)
        rows = [self._send_and_check(big, seconds, missing), *(self._send_and_check(sample) for sample in others)]
        self._console.print(table(rows))
        self._console.print(
            f"{time.perf_counter() - began:.1f} s in all; every file was downloaded whole and in part, and compared."
        )
        return all(row.same for row in rows)

    def _interrupt(self, sample: Sample) -> tuple[float, int]:
        """Let a client be killed in the middle of `sample`; the seconds it worked, the bytes still missing."""
        name = sample.path.name
        self._say(f"uploading {name} ({human_size(sample.size)}) over {PARALLEL} connections; killed at {DIE_AT:.0%}")
        command = python_module("cli.demo.interrupted", self._client.base_url, str(sample.path))
        ended = subprocess.run(
            (*command, str(self._store.folder), str(DIE_AT)),
            stdout=subprocess.PIPE,
            timeout=INTERRUPTED_SECONDS,
            check=False,
        )
        Console(stderr=True).show_cursor()  # the killed one could not
        if ended.returncode != KILLED:
            raise DemoFailedError(f"the client should have been killed, but ended with status {ended.returncode}")
        upload = self._unfinished(sample)
        there = human_size(upload.received_bytes)
        self._say(f"client killed (SIGKILL); the server holds {there} of {human_size(upload.size)}; resuming")
        return float(ended.stdout), upload.size - upload.received_bytes

    def _unfinished(self, sample: Sample) -> Upload:
        facts = sample.path.stat()
        key = state_key(self._client.base_url, sample.path, facts.st_size, facts.st_mtime_ns)
        state = self._store.load(key)
        if state is None or state.upload_id is None:
            raise DemoFailedError("the killed client left no trace to resume from")
        return self._client.get_upload(state.upload_id)

    def _send_and_check(self, sample: Sample, seconds_before: float = 0.0, missing: int | None = None) -> Row:
        """Upload (with `missing`: resume), wait for both jobs, fetch and compare."""
        began = time.perf_counter()
        with upload_bar(sample.path.name) as move:
            options = UploadOptions(
                content_type=sample.content_type,
                parallel=PARALLEL,
                store=self._store,
                progress=move,
                job_timeout=JOB_SECONDS,
            )
            result = self._client.upload_file(sample.path, options)
        seconds = seconds_before + time.perf_counter() - began
        if result.file_id is None:
            raise DemoFailedError(f"{sample.path.name} ended as {result.job.state}")
        thrifty = missing is None or self._sent_only(missing, result)
        file = self._after_metadata(result.file_id)
        same = thrifty and result.sha256 == file.sha256 == sample.sha256 and self._comes_back(sample, file.id)
        chunks = self._client.get_upload(result.upload_id).chunk_count
        return Row(sample, chunks, seconds, file.state or result.job.state, same)

    def _sent_only(self, missing: int, result: UploadResult) -> bool:
        """Whether the resumed upload sent no more than was missing when its first client died."""
        kept = result.size - result.sent_bytes
        self._say(f"resumed: {human_size(kept)} were there, {human_size(result.sent_bytes)} sent")
        return result.resumed and 0 < result.sent_bytes <= missing < result.size

    def _after_metadata(self, file_id: str) -> FileInfo:
        """The file after its metadata job, and what that found."""
        for job in self._client.list_jobs(kind="metadata"):
            if job.file_id == file_id:
                self._client.wait_for_job(job.id, timeout=JOB_SECONDS)
        file = self._client.get_file(file_id)
        self._say(f"found in {file.filename}: {facts(file)}")
        return file

    def _comes_back(self, sample: Sample, file_id: str) -> bool:
        """Whether a download and a range of it are the bytes that were sent."""
        target = self._folder / f"{sample.path.name}.back"
        download = self._client.download(file_id, target)
        with target.open("rb") as back:
            whole = hashlib.file_digest(back, "sha256").hexdigest() == sample.sha256
        target.unlink()
        start = sample.size // 2
        with sample.path.open("rb") as original:
            original.seek(start)
            expected = original.read(RANGE)
        part = not expected or self._client.read_range(file_id, start, RANGE) == expected
        return whole and download.verified and part

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


def facts(file: FileInfo) -> str:
    """What the metadata job found in the bytes, in words; what it was told beforehand is left out."""
    told = ("declared_type", "extension_type", "type_mismatch")
    return "; ".join(
        f"{name.replace('_', ' ')} {value if isinstance(value, str) else json.dumps(value)}"
        for name, value in file.attributes.items()
        if name not in told
    )


def table(rows: list[Row]) -> Table:
    """Return the summary."""
    shown = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("file", "size", "chunks", "seconds", "MB/s", "state", "sha-256 ok"):
        right = name in ("size", "chunks", "seconds", "MB/s")
        shown.add_column(name, justify="right" if right else "left", no_wrap=True)
    for row in rows:
        shown.add_row(
            row.sample.path.name,
            human_size(row.sample.size),
            str(row.chunks),
            f"{row.seconds:.2f}",
            f"{row.sample.size / 1e6 / row.seconds:.0f}" if row.sample.size >= MIB else "-",
            row.state,
            "yes" if row.same else "NO",
        )
    return shown


BY_HAND = """\
The same by hand, in a second terminal while `make up` runs in the first:

  S=http://127.0.0.1:8000/v1; field() { python3 -c 'import json,sys; print(json.load(sys.stdin)[sys.argv[1]])' $1; }
  head -c 12000000 /dev/urandom > sample.bin
  U=$(curl -s $S/uploads -H 'Content-Type: application/json' \\
        -d '{"filename": "sample.bin", "size": 12000000}' | field id)
  for i in 0 1 2; do
    dd if=sample.bin bs=5242880 skip=$i count=1 status=none |
      curl -s -X PUT --data-binary @- -H 'Content-Type: application/octet-stream' $S/uploads/$U/chunks/$i; echo
  done
  J=$(curl -s -X POST $S/uploads/$U/finalize -H 'Content-Type: application/json' -d '{}' | field id)
  F=$(curl -s "$S/jobs/$J?wait=20" | field file_id)
  curl -s $S/files/$F; echo
  curl -s $S/files/$F/content | sha256sum - sample.bin
  curl -s -r 1000-1015 $S/files/$F/content | od -An -tx1
"""


def by_hand() -> None:
    """Print the curl commands as they can be pasted."""
    sys.stdout.write(f"\n{BY_HAND}")
    sys.stdout.flush()
