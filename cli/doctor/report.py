"""What was found: one line for each check, and no secrets in any of them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from urllib.parse import unquote, urlsplit

from common.settings import Settings

_SECRET_VARIABLES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
HIDDEN = "***"


class Verdict(StrEnum):
    """`fail`: the service does not work, or loses something. `warn`: it works, and something is worth knowing."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line. `said` is what was seen, `do` what an operator does about it (empty where all is well)."""

    check: str
    verdict: Verdict
    said: str
    do: str = ""

    def as_row(self) -> dict[str, str]:
        return asdict(self)

    def as_line(self) -> str:
        return f"{self.verdict:<4}  {self.check:<22}  {self.said}{f' -> {self.do}' if self.do else ''}"


@dataclass(slots=True)
class Report:
    """The lines of one group of checks, in the order in which they were found."""

    secrets: tuple[str, ...] = ()
    findings: list[Finding] = field(default_factory=list)

    def ok(self, check: str, said: str) -> None:
        self._add(check, Verdict.OK, said, "")

    def warn(self, check: str, said: str, do: str) -> None:
        self._add(check, Verdict.WARN, said, do)

    def fail(self, check: str, said: str, do: str) -> None:
        self._add(check, Verdict.FAIL, said, do)

    def _add(self, check: str, verdict: Verdict, said: str, do: str) -> None:
        self.findings.append(Finding(check, verdict, self._clean(said), self._clean(do)))

    def _clean(self, text: str) -> str:
        """One line, without passwords: what a driver says is not ours."""
        for secret in self.secrets:
            text = text.replace(secret, HIDDEN)
        return " ".join(text.split())


def secrets_of(settings: Settings) -> tuple[str, ...]:
    """What must not be printed, whoever says it."""
    passwords = [urlsplit(url).password for url in (settings.database.database_url, settings.redis.redis_url)]
    found: Iterable[str] = filter(None, (*passwords, *map(os.environ.get, _SECRET_VARIABLES)))
    return tuple({form for secret in found for form in (secret, unquote(secret))})


def first_line(error: BaseException) -> str:
    """What an error says, for a report: its first line, or its name."""
    return (str(error).splitlines() or [""])[0] or type(error).__name__
