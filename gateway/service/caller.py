"""Who is asking. Every use case takes a Caller first."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """The tenant owns uploads, files and jobs; `request_id` follows the work into the job and its logs."""

    tenant: str
    request_id: str
