"""One group of `sluice doctor` over the settings of a test, and what it found by the names of the checks."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cli.doctor.command import groups_for
from cli.doctor.examination import Case, examine
from cli.doctor.report import Finding, Verdict
from common.settings import load_settings

OK, WARN, FAIL = Verdict.OK, Verdict.WARN, Verdict.FAIL


async def found(*groups: str, environ: Mapping[str, str], **case: Any) -> dict[str, Finding]:
    """What these groups find, by check; of two lines of one check the graver one. No line says a password."""
    settings = load_settings(environ=environ)
    all_groups = groups_for(settings)
    findings = await examine(Case(settings, **case), {name: all_groups[name] for name in groups})
    assert not any("secret" in finding.as_line() for finding in findings)
    grave = [OK, WARN, FAIL]
    return {finding.check: finding for finding in sorted(findings, key=lambda finding: grave.index(finding.verdict))}


def failed(findings: Mapping[str, Finding]) -> set[str]:
    return {check for check, finding in findings.items() if finding.verdict == FAIL}


@contextmanager
def silent_server() -> Iterator[int]:
    """A port that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]
