"""Which servers stand beside each other: ours in its settings, the rivals, the handler that drops the body."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from bench import servers
from bench.rivals.catalogue import RIVALS
from bench.servers import Server
from bench.setting import Setting

DEFAULT = "Sluice, SHA-256"
RECEIPTS = "Sluice, receipts"
BY_TUS = "Sluice, SHA-256, by tus"
SAFE = "Sluice, SHA-256, fsync"
BARE = "bare handler"
COPY = "cp + sha256sum"
NODE = "@tus/server"
TUSD = "tusd"

Start = tuple[str, AbstractContextManager[Server]]

OURS = {
    DEFAULT: {"SLUICE_DURABILITY": "none", "SLUICE_VERIFY": "read"},
    RECEIPTS: {"SLUICE_DURABILITY": "none", "SLUICE_VERIFY": "receipts"},
    SAFE: {"SLUICE_DURABILITY": "chunk", "SLUICE_VERIFY": "read"},
}


def ours(folder: Path, *names: str) -> Iterator[Start]:
    """One stack for each of these settings, with one gateway and one worker."""
    for name in names or OURS:
        yield name, servers.ours(_sub(folder, name), name, **OURS[name])


def rivals(folder: Path) -> Iterator[Start]:
    for kind in RIVALS:
        yield kind.name, servers.rival(kind, folder)


def conditions(*more: str) -> list[str]:
    """What stands above a table: who ran how, and what was made durable."""
    fsync = "; ".join(f"{kind.name} ({kind.about}): {kind.fsync}" for kind in RIVALS)
    return [
        "Sluice: `sluice up`, 1 gateway, 1 worker, Redis, SQLite; fsync off unless the row says so.",
        f"fsync of the rivals, by their own code: {fsync}.",
        *more,
    ]


def rounds(setting: Setting) -> str:
    """How often, in words."""
    number = setting.form.rounds
    return f"{number} interleaved rounds, medians" if number > 1 else "one round"


def _sub(folder: Path, name: str) -> Path:
    path = folder / name.replace(", ", "-").replace(" ", "-")
    path.mkdir(parents=True)
    return path
