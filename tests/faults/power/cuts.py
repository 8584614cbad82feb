"""One power cut: when it comes, and what must hold once the power is back."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer
from typing import Protocol, TypeVar

import pytest

from tests.faults.points.checks import Findings, check_acknowledged, check_end, check_files, query
from tests.faults.points.nursery import Nursery
from tests.faults.power.image import Image, mounted, why_not
from tests.faults.power.site import CHUNK, CONTENT, END_SECONDS, Client, Site, nothing_waits, until


class Runs(Protocol):
    """A client; `run` ends when the power goes."""

    def run(self) -> bool: ...


Sender = TypeVar("Sender", bound=Runs)


@dataclass(frozen=True)
class Moment:
    """`delay` seconds after the client heard the `count`-th `event`; events: created, chunk, accepted, published."""

    event: str
    count: int = 1
    delay: float = 0.0


@dataclass
class Outcome:
    """What one cut showed."""

    found: Findings = field(default_factory=lambda: Findings(points=1))
    recovery: float = 0.0


def power_cuts(children: Nursery, folder: Path, database: Path, redis_url: str) -> PowerCuts:
    """A maker of cuts in `folder`; the test is skipped where the machine cannot make them."""
    reason = why_not(folder)
    if reason is not None:
        pytest.skip(reason)
    return PowerCuts(children, folder, database, redis_url)


@dataclass
class PowerCuts:
    """Runs cuts one after another, each on a file system of its own."""

    nursery: Nursery
    folder: Path
    database: Path
    redis_url: str
    made: int = 0

    def cut(self, moment: Moment, *, database_aside: bool = False, without: str | None = None) -> Outcome:
        """An upload, the cut, the power back, the checks, and the rest of the upload.

        With `database_aside` only the storage loses power. `without` breaks the processes (`controls.removals`); then
        only what the cut left is checked.
        """
        outcome = Outcome()
        with self.place(database_aside) as (image, aside):
            site = Site(self.nursery, image.folder, aside, self.redis_url, without)
            try:
                client = self.interrupted(image, site, moment, Client)
                self._check(image, client, outcome.found)
                if without is None:
                    self._go_on(site, client, outcome)
            finally:
                site.kill()
        return outcome

    @contextmanager
    def place(self, database_aside: bool = False) -> Iterator[tuple[Image, Path]]:
        """A new file system with an empty database on it or aside, and a folder aside."""
        self.made += 1
        aside = self.folder / f"cut-{self.made}"
        with mounted(aside) as image:
            name = image.folder / "sluice.db"
            shutil.copy(self.database, aside / "sluice.db" if database_aside else name)
            if database_aside:
                name.symlink_to(aside / "sluice.db")  # SQLite follows it and puts its log beside the real file
            image.sync()
            yield image, aside

    def interrupted(self, image: Image, site: Site, moment: Moment, sender: Callable[..., Sender]) -> Sender:
        """Let a client send until the power goes; afterwards the file system is what the disk has."""
        timers: list[Timer] = []

        def power_off() -> None:
            image.cut()
            site.halt()

        def heard(event: str, count: int) -> None:
            if (event, count) == (moment.event, moment.count):
                timers.append(Timer(moment.delay, power_off))
                if moment.delay == 0:
                    power_off()
                else:
                    timers[0].start()

        with closing(site.start()) as http:
            client = sender(http, heard)
            client.run()
            for timer in timers:
                timer.join() if moment.delay else None
        assert timers, f"{moment} never came:\n{site.log()}"
        site.kill()
        image.unmount()
        image.mount()
        return client

    def _check(self, image: Image, client: Client, found: Findings) -> None:
        truth = image.folder
        if query(truth, "PRAGMA integrity_check") != [("ok",)]:
            found.wrong.append("the database is damaged")
        if client.upload is not None and not query(truth, f"SELECT 1 FROM uploads WHERE id = '{client.upload}'"):
            found.wrong.append("the row of an upload that was answered 201 is gone")
        if client.job is not None and not query(truth, f"SELECT 1 FROM jobs WHERE id = '{client.job}'"):
            found.wrong.append("the row of a job that was answered 202 is gone")
        if client.file is not None and not query(truth, f"SELECT 1 FROM files WHERE id = '{client.file}'"):
            found.wrong.append("the row of a file that was shown as ready is gone")
        found.add(check_acknowledged(truth, CONTENT, CHUNK, client.upload or "", client.chunks, frozenset()))
        found.add(check_files(truth, CONTENT))

    def _go_on(self, site: Site, before: Client, outcome: Outcome) -> None:
        """The same client comes back; for the recovery counts the time from the start of the processes."""
        found, began = outcome.found, time.monotonic()
        with closing(site.start()) as http:
            client = Client(http)
            if not client.run():
                found.stuck.append(f"the upload did not end:\n{site.log()}")
                return
            outcome.recovery = time.monotonic() - began
            asked_again = set(client.asked) & before.chunks.keys()
            found.lost += [f"chunk {index} was asked for again" for index in asked_again]
            if before.job not in (None, client.job):
                found.wrong.append("finalize made a second job")
            if client.download() != CONTENT:
                found.altered.append("the file is not what was sent")
            try:
                until(lambda: nothing_waits(site.truth), END_SECONDS)
            except TimeoutError:
                found.stuck.append(f"something waits for ever:\n{site.log()}")
        found.add(check_end(site.truth, CONTENT))
