"""The scripted upload as a small file in one request, and what must hold of it after a fault."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common.errors import SluiceError
from common.states import UploadState
from gateway.assembly import Services
from gateway.intake import Pieces
from gateway.service.requests import Description
from tests.faults.points import script
from tests.faults.points.checks import Findings, check_files, orphans, query
from tests.faults.points.streams import CALLER, TRIES, body_of

MARK = "small"
"""A file in the folder of a point: its upload came in one request."""

MEMORY = "1MiB"  # of `INTAKE_BUFFER`: the file fits into it


@dataclass
class SmallClient:
    """Sends the file; the chunks of one that was damaged, once it knows its upload."""

    services: Services
    acks: script.Acks
    upload_id: str | None = None

    async def upload(self) -> list[int]:
        """No chunk is ever missing but of a file that was damaged."""
        if self.upload_id is None:
            await self._post()
            return []
        status = await self.services.uploads.status(CALLER, self.upload_id)
        if status.upload.state == UploadState.OPEN:
            pieces = Pieces(body_of(script.CONTENT))
            await self.services.chunks.put(CALLER, self.upload_id, 0, pieces, script.SIZE, {})
            job = await self.services.finalizing.finalize(CALLER, self.upload_id, {})
            self.acks.note(job=job.id)
        return []

    async def _post(self) -> None:
        for _ in range(TRIES):
            try:
                job = await self.services.ingest.take_whole(
                    CALLER,
                    Pieces(body_of(script.CONTENT)),
                    filename="fault.bin",
                    content_type=None,
                    about=Description(None, {}, {}),
                    length=script.SIZE,
                )
            except SluiceError as error:
                if error.status < 500:
                    raise
                self.acks.note(refused=f"file: {error.code}")
            except Exception as error:
                self.acks.note(unexpected=f"file: {error!r}")
            else:
                self.acks.note(upload=job.upload_id, job=job.id)
                return
        raise RuntimeError("the file was refused")


def returning(services: Services, acks: script.Acks, folder: Path) -> SmallClient | None:
    """The client that comes back after a fault; None where the upload came otherwise."""
    return SmallClient(services, acks, script.told(folder).upload) if (folder / MARK).exists() else None


def check_end(folder: Path, content: bytes, *, damage_reported: bool) -> Findings:
    """After recovery: the file that was accepted is there. One that nobody was told of has failed, or is there too."""
    found, told = check_files(folder, content), script.told(folder)
    jobs = query(folder, "SELECT id, kind, state, error_code FROM jobs")
    found.stuck += [f"job {kind} is {state}" for _, kind, state, _ in jobs if state in ("queued", "running")]
    ends = {job_id: state for job_id, _, state, _ in jobs}
    if told.job is None or ends.get(told.job) != "succeeded":
        found.lost.append(f"the accepted job ended as {ends.get(told.job or '')}")
    allowed = {"upload_gone", "chunks_damaged"} if damage_reported else {"upload_gone"}
    found.wrong += [
        f"job {kind} failed with {code}" for _, kind, state, code in jobs if state == "failed" and code not in allowed
    ]
    uploads = query(folder, "SELECT id, state FROM uploads WHERE state NOT IN ('complete', 'failed')")
    found.stuck += [f"upload {upload_id} is {state}" for upload_id, state in uploads]
    described = [state for _, kind, state, _ in jobs if kind == "metadata"]
    if described != ["succeeded"] * found.files_checked:
        found.wrong.append(f"{found.files_checked} files, and metadata jobs that are {described}")
    found.orphans += list(orphans(folder))
    return found
