"""What was found: one line for each check, and no secrets in any of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum

from cli.doctor.secrets import Secrets


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

    secrets: Secrets = field(default_factory=Secrets)
    findings: list[Finding] = field(default_factory=list)

    def ok(self, check: str, said: str) -> None:
        self._add(check, Verdict.OK, said, "")

    def warn(self, check: str, said: str, do: str) -> None:
        self._add(check, Verdict.WARN, said, do)

    def fail(self, check: str, said: str, do: str) -> None:
        self._add(check, Verdict.FAIL, said, do)

    def words_of(self, error: BaseException) -> str:
        """What an error says: its first line without secrets (a driver's words are not ours), or its name."""
        first = (str(error).splitlines() or [""])[0]
        return self.secrets.hidden_in(first) or type(error).__name__

    def _add(self, check: str, verdict: Verdict, said: str, do: str) -> None:
        self.findings.append(Finding(check, verdict, " ".join(said.split()), " ".join(do.split())))
