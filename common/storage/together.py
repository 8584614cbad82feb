"""The power to seal many small uploads in one go. What is around each seal costs more than the seal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from common.storage.base import SealedObject, SealPlan, SealWatch, UploadKey

Look = Callable[[bytes], Any]
"""Told the verified bytes of one upload, in a thread. What it raises is the outcome of its upload."""


@dataclass(frozen=True, slots=True)
class Small:
    """One upload that came by `put`, and who wants to see its bytes before they are in place."""

    upload: UploadKey
    plan: SealPlan
    watch: SealWatch
    look: Look | None = None


@dataclass(frozen=True, slots=True)
class Sealed:
    """What was sealed, and what the look has given."""

    file: SealedObject
    seen: Any


@runtime_checkable
class SealsTogether(Protocol):
    """A storage that seals many uploads that came by `put` faster than one after the other. Nothing is left of them
    but the files: there is nothing to `abort`."""

    async def seal_together(self, smalls: Sequence[Small]) -> list[Sealed | Exception]:
        """As `Storage.seal` of each: what it gives, or what it raises. Each stands for itself."""
        ...
