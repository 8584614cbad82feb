"""What the supervisor knows about one child process."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


class PartFailedError(Exception):
    """A part cannot be brought up; the message is one line for the operator."""


Probe = Callable[[], Awaitable[str]]
"""Says what is in the way of being ready, or alive; nothing (an empty text) when the part is."""


async def ready_at_once() -> str:
    """The probe of a part that nobody waits for."""
    return ""


@dataclass(frozen=True)
class Part:
    """One process of the stack.

    `unready` is asked again and again until it has nothing to say for the first time. `stop_seconds` is how long the
    process may take to end after SIGTERM. `alive` says in the same way why the process is of no use any more; a part
    without it is never taken for hung. `stop_order`: lower ones are stopped first. `leftovers` are files
    of a former life, removed before each start. With `log` the output goes to that file, and the last line
    of it is quoted when the process dies; without, it goes to the terminal.
    """

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    stop_seconds: float
    unready: Probe = ready_at_once
    alive: Probe | None = None
    stop_order: int = 0
    pass_fds: tuple[int, ...] = ()
    leftovers: tuple[Path, ...] = ()
    log: Path | None = None
