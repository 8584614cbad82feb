"""This machine and this Python: versions, open files, ports."""

from __future__ import annotations

import errno
import os
import platform
import resource
import socket
import sys
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement
from packaging.version import Version

from cli.doctor.examination import Case
from cli.doctor.report import Report
from common.bucket import SCHEME
from common.settings import Settings

OLDEST_SAFE_PYTHON = {(3, 11): 14, (3, 12): 12}  # minor -> patch: archives could write outside of their folder before
# Older ones let a request through that another party reads differently, or read what they should not.
SAFE = ("python-multipart>=0.0.31", "starlette>=1.0.1", "h11>=0.16", "PyJWT>=2.15", "Pillow>=13")
SPARE_FILES = 256  # database, Redis, logs, journals


async def check(case: Case, report: Report) -> None:
    _user(report)
    _python(report)
    _libraries(report)
    _open_files(case.settings, report)
    worker = case.settings.worker
    _port(report, "machine.port", case.host, case.port, "--port")
    _port(report, "machine.health_port", worker.health_host, worker.health_port, "SLUICE_HEALTH_PORT")


def _user(report: Report) -> None:
    if os.geteuid() == 0:
        report.warn(
            "machine.user", "these lines are true for root", "run it as the user of the service, who may do less"
        )
    else:
        report.ok("machine.user", f"uid {os.geteuid()}")


def _python(report: Report) -> None:
    safe = OLDEST_SAFE_PYTHON.get(sys.version_info[:2], 0)
    if sys.version_info.micro < safe:
        newest = f"{sys.version_info.major}.{sys.version_info.minor}.{safe}"
        report.warn("machine.python", f"Python {platform.python_version()}", f"run {newest} or newer: security fixes")
    else:
        report.ok("machine.python", f"Python {platform.python_version()}")


def _libraries(report: Report) -> None:
    try:
        wanted = requires("sluice") or []
    except PackageNotFoundError:  # run from a folder
        wanted = []
    problems = [problem for line in (*wanted, *SAFE) if (problem := too_old(Requirement(line), line in wanted))]
    if problems:
        report.fail("machine.libraries", "; ".join(problems), "install the versions of requirements/runtime.txt")
    else:
        report.ok("machine.libraries", f"{len(wanted)} requirements are met")


def too_old(wanted: Requirement, needed: bool = True) -> str:
    """What is wrong with the installed version; empty where nothing is, or where it need not be there."""
    if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
        needed = False
    try:
        found = Version(version(wanted.name))
    except PackageNotFoundError:
        return f"{wanted.name} is missing" if needed else ""
    return (
        "" if wanted.specifier.contains(found, prereleases=True) else f"{wanted.name} {found} is not {wanted.specifier}"
    )


def _open_files(settings: Settings, report: Report) -> None:
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    each = 1 + 2 * (not settings.storage.storage_url.startswith(SCHEME))  # the connection; the data, the journal
    needed = settings.http.max_requests * each + SPARE_FILES
    if most != resource.RLIM_INFINITY and most < needed:
        do = f"raise it to {needed} (`ulimit -n`, LimitNOFILE), or lower SLUICE_MAX_REQUESTS"
        report.warn("machine.open_files", f"at most {most} open files, a full gateway needs {needed}", do)
    else:
        report.ok("machine.open_files", f"at most {'any number of' if most < 0 else most} open files")


def _port(report: Report, check_name: str, host: str, port: int, setting: str) -> None:
    if port == 0:
        report.ok(check_name, "any free port")
        return
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            report.warn(
                check_name, f"{host}:{port} cannot be listened on: {error.strerror}", f"choose another ({setting})"
            )
            return
        report.warn(
            check_name, f"{host}:{port} is taken", f"fine if that is the service; else choose another ({setting})"
        )
    else:
        report.ok(check_name, f"{host}:{port} is free")
