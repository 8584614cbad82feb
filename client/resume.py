"""Begin an upload, or find the one an earlier run began."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import Any, Protocol

from client.errors import SluiceApiError, SluiceConnectionError
from client.models import FileInfo, Upload
from client.state import ResumeState, StateStore

_USABLE = frozenset({"open", "finalizing", "complete"})
_GONE = frozenset({404, 410})
_DESCRIBES = ("description", "tags", "metadata")


class Api(Protocol):
    """The calls needed here."""

    async def create_upload(self, request: dict[str, Any], *, idempotency_key: str | None = None) -> Upload: ...
    async def get_upload(self, upload_id: str) -> Upload: ...
    async def get_file(self, file_id: str) -> FileInfo: ...


@dataclass
class Opening:
    """What is asked for, and what is remembered about it. `resumed` is set when an earlier upload is used."""

    request: dict[str, Any]
    store: StateStore | None = None
    key: str | None = None
    resumed: bool = False
    state: ResumeState | None = None

    def load(self) -> ResumeState | None:
        return self.store.load(self.key) if self.store and self.key else None

    def keep(self, state: ResumeState) -> None:
        self.state = state
        if self.store and self.key:
            self.store.save(self.key, state)

    def forget(self) -> None:
        if self.store and self.key:
            self.store.delete(self.key)

    def changes(self) -> dict[str, Any]:
        """What this run says about the file and the run that began the upload did not."""
        if not self.resumed or self.state is None:
            return {}
        before = self.state.request
        return {n: self.request[n] for n in _DESCRIBES if n in self.request and self.request[n] != before.get(n)}


async def open_upload(api: Api, opening: Opening) -> Upload:
    """The upload to work on. One whose upload is gone, aborted, expired or failed is begun anew; the create request
    carries an idempotency key that is kept before it is sent, so that a lost answer does not make a second upload."""
    saved = opening.load()
    if saved is not None:
        found = await _find(api, saved)
        if found is not None:
            opening.keep(replace(saved, upload_id=found.id))
            opening.resumed = saved.upload_id is not None or found.received_bytes > 0
            return found
    fresh = ResumeState(secrets.token_urlsafe(24), None, opening.request)
    opening.keep(fresh)
    try:
        upload = await api.create_upload(opening.request, idempotency_key=fresh.idempotency_key)
    except (SluiceApiError, SluiceConnectionError) as error:
        if _made_nothing(error):
            opening.forget()  # the next run asks for what it wants, not for what this one wanted
        raise
    opening.keep(replace(fresh, upload_id=upload.id))
    return upload


def _made_nothing(error: SluiceApiError | SluiceConnectionError) -> bool:
    """Whether a create request that failed like this certainly made no upload."""
    if isinstance(error, SluiceConnectionError):
        return not error.reached
    return error.attempts == 1 and _refused(error)


def _refused(error: SluiceApiError) -> bool:
    return 400 <= error.status < 500 and error.status not in (408, 429)


async def _find(api: Api, saved: ResumeState) -> Upload | None:
    """The upload of an earlier run, by its id or by repeating its create request; None when it cannot be used."""
    try:
        if saved.upload_id is None:
            upload = await api.create_upload(dict(saved.request), idempotency_key=saved.idempotency_key)
        else:
            upload = await api.get_upload(saved.upload_id)
        if upload.state == "complete" and upload.file_id is not None:
            await api.get_file(upload.file_id)
    except SluiceApiError as error:
        if error.status in _GONE or (saved.upload_id is None and _refused(error)):
            return None
        raise
    return upload if upload.state in _USABLE else None
