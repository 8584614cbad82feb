"""All groups of checks side by side. What hangs costs its own lines and no others'."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from cli.doctor.report import Finding, Report
from cli.doctor.secrets import Secrets
from common.settings import Settings

GROUP_SECONDS = 10.0  # a server that hangs is a line after this
CLOCK_WARN, CLOCK_FAIL = 1.0, 5.0  # seconds between two clocks

T = TypeVar("T")


class Unknown:
    """Stands where a group could not find something out."""


UNKNOWN = Unknown()


def _future() -> asyncio.Future[str | Unknown | None]:
    return asyncio.get_running_loop().create_future()


@dataclass(slots=True)
class Case:
    """What the groups share. `now` is this machine's clock, in seconds since 1970."""

    settings: Settings
    gateways: int | None = None
    workers: int | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    now: Callable[[], float] = time.time
    seconds: float = GROUP_SECONDS
    # the id of the storage that the database knows, and the one that the storage bears; None: none yet
    known: asyncio.Future[str | Unknown | None] = field(default_factory=_future)
    borne: asyncio.Future[str | Unknown | None] = field(default_factory=_future)


Group = Callable[[Case, Report], Awaitable[None]]


async def examine(case: Case, groups: dict[str, Group]) -> list[Finding]:
    """The findings of all groups, in the order of the groups."""
    secrets = Secrets.of(case.settings)
    reports = {name: Report(secrets) for name in groups}
    async with asyncio.TaskGroup() as tasks:
        for name, group in groups.items():
            tasks.create_task(_bounded(name, group, case, reports[name]))
    return [finding for report in reports.values() for finding in report.findings]


async def _bounded(name: str, group: Group, case: Case, report: Report) -> None:
    try:
        async with asyncio.timeout(case.seconds):
            await group(case, report)
    except TimeoutError:
        report.fail(
            name, f"no answer within {case.seconds:g} s", "see whether it hangs, and whether the way to it is open"
        )
    except Exception as error:  # noqa: BLE001 - one group does not keep the others
        report.fail(name, f"{type(error).__name__}: {report.words_of(error)}", "see docs/operations.md")


def learn(future: asyncio.Future[str | Unknown | None], value: str | Unknown | None) -> None:
    """Tell the other groups, once."""
    if not future.done():
        future.set_result(value)


def compare_clocks(report: Report, check: str, whose: str, difference: float, most: float = CLOCK_FAIL) -> None:
    """`difference` in seconds: theirs less ours."""
    said = f"{whose} is {abs(difference):.1f} s {'ahead of' if difference > 0 else 'behind'} this machine"
    if abs(difference) > most:
        report.fail(check, said, "keep the clocks of all machines in step (NTP)")
    elif abs(difference) > CLOCK_WARN:
        report.warn(check, said, "keep the clocks of all machines in step (NTP)")
    else:
        report.ok(check, f"the clocks of {whose} and of this machine agree")


async def in_thread(work: Callable[[], T]) -> T:
    """Run what may block for ever (a mount whose server is gone) where the end of the process does not wait for it."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def tell(set_it: Callable[..., None], value: object) -> None:
        if not outcome.done():
            set_it(value)

    def run() -> None:
        try:
            value: Any = work()
            set_it: Callable[..., None] = outcome.set_result
        except Exception as error:  # noqa: BLE001 - raised where it is awaited
            value, set_it = error, outcome.set_exception
        with suppress(RuntimeError):  # nobody waits any more, and the loop is closed
            loop.call_soon_threadsafe(tell, set_it, value)

    threading.Thread(target=run, name="doctor", daemon=True).start()
    return await outcome
