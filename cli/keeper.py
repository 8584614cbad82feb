"""Keeps one part alive: start, pid file, readiness, restart with backoff, bounded stop."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.part import Part, PartFailedError
from cli.pulse import Pulse
from cli.run_folder import RunFolder

PROBE_SECONDS = 0.05  # between two readiness probes at start-up
STARTS = 5  # lives without ever being ready before the part is given up
HUNG_SECONDS = 5.0  # for a process that does not answer to end after SIGTERM; it serves nobody
HURRIED_SECONDS = 1.0  # what is left of every stop bound after a second signal
TETHER = Path(__file__).with_name("tether.py")


@dataclass(frozen=True)
class Backoff:
    """Seconds to wait before the n-th restart in a row: `first`, doubled each time, at most `longest`.

    A life of `settled` seconds or more starts the row anew.
    """

    first: float = 0.2
    longest: float = 10.0
    settled: float = 30.0

    def delay(self, deaths_in_a_row: int) -> float:
        return min(self.longest, self.first * 2.0 ** (min(deaths_in_a_row, 32) - 1))


async def first_of(event: asyncio.Event, *works: "asyncio.Future[Any]") -> None:
    """Return when `event` is set or one of `works` is done; raises nothing of them and leaves them alone."""
    waiting = asyncio.create_task(event.wait())
    try:
        await asyncio.wait({waiting, *works}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


def ending(code: int) -> str:
    """Say how a process ended; `code` as in `Popen.returncode`."""
    return f"exited with signal {-code}" if code < 0 else f"exited with status {code}"


class Keeper:
    """One part and its present process. `hurry` is set when the operator is out of patience."""

    def __init__(
        self,
        part: Part,
        folder: RunFolder,
        say: Callable[[str], None],
        backoff: Backoff,
        hurry: asyncio.Event,
        pulse: Pulse,
    ) -> None:
        self.part = part
        self._folder = folder
        self._say = say
        self._backoff = backoff
        self._hurry = hurry
        self._pulse = pulse
        self.obstacle = "not asked yet"  # what the last probe found
        self._ready = asyncio.Event()
        self._retired = asyncio.Event()  # no further life
        self._stopping = asyncio.Event()  # the present one ends
        self._task: asyncio.Task[None] | None = None

    @property
    def was_ready(self) -> bool:
        return self._ready.is_set()

    def start(self) -> None:
        """Keep the part running from now on, in a task of its own."""
        self._task = asyncio.create_task(self._keep(), name=f"keep {self.part.name}")

    async def became_ready(self) -> None:
        """Return at the first readiness. Raises PartFailedError if the part is given up before."""
        assert self._task is not None
        await first_of(self._ready, self._task)
        if self._task.done():
            self._task.result()

    def retire(self) -> None:
        """Restart the part no more; its present process goes on."""
        self._retired.set()

    async def stop(self) -> None:
        """End the process within the part's bound and return when it is gone."""
        self.retire()
        self._stopping.set()
        if self._task is not None:
            with suppress(PartFailedError):
                await self._task

    async def live_once(self) -> int:
        """One life of the process, from start to its end, `stop`, or the moment it is found hung; its return code."""
        for path in self.part.leftovers:
            path.unlink(missing_ok=True)
        process = await self._spawn()
        exited = asyncio.create_task(process.wait())
        watch = asyncio.create_task(self._watch_ready())
        hung = asyncio.create_task(self._pulse.lost(self.part.alive))
        bound = self.part.stop_seconds
        try:
            with suppress(OSError):  # on a full disk the part runs all the same
                self._folder.write(f"{self.part.name}.pid", str(process.pid))
            await first_of(self._stopping, exited, hung)
            if hung.done() and not exited.done():
                self._say(f"{self.part.name} is hung ({hung.result()}); ending it")
                bound = min(bound, HUNG_SECONDS, self._pulse.silence)
        finally:
            watch.cancel()
            hung.cancel()
            await self._end(process, exited, bound)
            self._folder.remove(f"{self.part.name}.pid")
        return exited.result()

    async def _keep(self) -> None:
        clock = asyncio.get_running_loop().time
        deaths = lives = 0
        while not self._retired.is_set():
            born = clock()
            try:
                end = self.how(await self.live_once())
            except OSError as error:
                end = f"cannot be started ({error})"
            if self._retired.is_set():
                return
            lives += 1
            deaths = 1 if clock() - born >= self._backoff.settled else deaths + 1
            if lives >= STARTS and not self._ready.is_set():
                raise PartFailedError(f"{self.part.name} {end}, {lives} times without ever being ready")
            delay = self._backoff.delay(deaths)
            self._say(f"{self.part.name} {end}; restarting in {delay:g} s")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._retired.wait(), delay)

    async def _spawn(self) -> Process:
        """The command behind a tether, in a session of its own so that Ctrl-C reaches the supervisor only."""
        command = (sys.executable, "-I", "-S", str(TETHER), str(os.getpid()), *self.part.command)
        output = self.part.log.open("wb") if self.part.log else None
        try:
            return await asyncio.create_subprocess_exec(
                *command,
                env=dict(self.part.env),
                stdin=DEVNULL,
                stdout=output,
                stderr=STDOUT if output else None,
                pass_fds=self.part.pass_fds,
                start_new_session=True,
            )
        finally:
            if output:
                output.close()

    async def _watch_ready(self) -> None:
        while not self._ready.is_set():
            self.obstacle = await self.part.unready()
            if self.obstacle:
                await asyncio.sleep(PROBE_SECONDS)
            else:
                self._ready.set()

    async def _end(self, process: Process, exited: "asyncio.Task[int]", bound: float) -> None:
        """SIGTERM, the bound in seconds (less in a `hurry`), SIGKILL to the session; returns when all is over."""
        if exited.done():
            return
        with suppress(ProcessLookupError):
            process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(bound):
                await first_of(self._hurry, exited)
            await asyncio.wait({exited}, timeout=HURRIED_SECONDS)
        if not exited.done():
            self._say(f"{self.part.name} did not stop in time; killed")
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        await asyncio.wait({exited})

    def how(self, code: int) -> str:
        """How the process ended; where it ended by itself, with the last line of its log if it has one."""
        if self.part.log is None or code <= 0:
            return ending(code)
        last = self.part.log.read_text(errors="replace").strip().rpartition("\n")[2]
        return f"{ending(code)} ({last})" if last else ending(code)
