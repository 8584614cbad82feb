"""How far a transfer is: a bar on stderr where somebody looks, a line when it gets stuck where nobody does."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, RenderableType
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.text import Text

from cli.output import complain, plain
from client.options import ProgressCallback
from client.retry import RetryCallback, RetryNotice

STUCK_ATTEMPT = 3  # one failure in a row is a hiccup, and the next attempt follows at once
STUCK_SECONDS = 1.0


@dataclass(frozen=True)
class Watch:
    """The callbacks of one transfer."""

    progress: ProgressCallback | None
    on_retry: RetryCallback


class _Bar(Progress):
    """A bar with room for one line of text below it."""

    note = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.note:
            yield Text(self.note)


@contextmanager
def watching(name: str, size: int | None, *, finishing: str = "", quiet: bool = False) -> Iterator[Watch]:
    """Show a transfer of `size` bytes (None: not known yet); `finishing` replaces the name when all bytes are there.
    Without a terminal, or `quiet`, there is no bar, and the first time that it is stuck is one line."""
    if quiet or not sys.stderr.isatty():
        yield Watch(None, _once(name))
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(binary_units=True))
    console = Console(stderr=True)
    with _Bar(*columns, TransferSpeedColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(plain(name), total=size)
        started = False

        def move(done: int, total: int) -> None:
            nonlocal started
            bar.note = ""
            if not started:
                # What was there already is not part of the rate.
                bar.reset(task, total=total or size, completed=done)
                started = True
            description = finishing if finishing and done >= total else plain(name)
            bar.update(task, completed=done, description=description)

        def tell(notice: RetryNotice) -> None:
            bar.note = plain(_line(notice))

        try:
            yield Watch(move, tell)
        finally:
            bar.note = ""


def _once(name: str) -> RetryCallback:
    told = False

    def tell(notice: RetryNotice) -> None:
        nonlocal told
        if not told and (notice.attempt >= STUCK_ATTEMPT or notice.delay >= STUCK_SECONDS):
            told = True
            complain(f"{name}: {_line(notice)}")

    return tell


def _line(notice: RetryNotice) -> str:
    return f"{notice.reason}; attempt {notice.attempt} of {notice.attempts}"
