"""The progress bar of the demo, on stderr; nothing where nobody looks."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from client.options import ProgressCallback


@contextmanager
def upload_bar(name: str) -> Iterator[ProgressCallback]:
    """Show how far the upload of `name` is; yields the callback that moves the bar."""
    columns = (TextColumn("  {task.description:<14}"), BarColumn(), DownloadColumn(binary_units=True))
    console = Console(stderr=True)
    with Progress(*columns, TransferSpeedColumn(), console=console, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(name, total=None)

        def move(sent: int, total: int) -> None:
            bar.update(task, completed=sent, total=total)

        yield move
