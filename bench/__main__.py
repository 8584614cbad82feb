"""`python -m bench [--form short|full] [--only large,small] [--write]`: measure beside the rivals.

Each workload stands by itself: its part of the JSON file is written when it is done, so `--only` repeats one of them
and leaves the others. With `--write` the tables and figures of docs/performance.md are made anew.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import profile, report
from bench.apart import Driver
from bench.forms import FORMS
from bench.measures.catalogue import BY_NAME, WORKLOADS, Workload
from bench.rows import Result
from bench.setting import ROOT, Setting, machine

RESULTS = Path(__file__).with_name("results.json")
CACHE = ROOT / ".cache" / "bench"


def main() -> int:
    """Run the workloads; 1 when one of them ended with an error of its own, after all the others."""
    given = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that every server is ended
    if given.report:
        report.write(report.load(RESULTS))
        return 0
    form = FORMS[given.form]
    if given.rounds:
        form = replace(form, rounds=given.rounds, queue_rounds=min(given.rounds, form.queue_rounds))
    target = RESULTS if given.write else CACHE / f"results-{form.name}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    failed = []
    with tempfile.TemporaryDirectory(prefix="sluice-bench-", dir=given.folder) as name, Driver() as driver:
        setting = Setting(Path(name), form, driver, started=time.monotonic())
        for workload in _chosen(given.only):
            setting.workload = workload.name
            try:
                result = workload.measure(setting)
                if not given.no_profile:
                    result.profiles = profile.profiles(workload.name, setting)
            except Exception:  # noqa: BLE001 - the other workloads are worth their time all the same
                failed.append(workload.name)
                setting.say("gave up:\n" + traceback.format_exc())
                continue
            _store(target, setting, workload, result)
            print(report.section(workload, result), flush=True)
        print(f"written: {target.relative_to(ROOT)}, after {time.monotonic() - setting.started:.0f} s")
    if target.exists():
        print(report.verdicts(report.load(target)))
        if given.write:
            report.write(report.load(target))
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--form", choices=sorted(FORMS), default="short", help="how much is measured")
    parser.add_argument("--only", default="", help=f"some of {', '.join(BY_NAME)} (or their letters a to h)")
    parser.add_argument("--rounds", type=int, default=0, help="another number of interleaved rounds")
    parser.add_argument("--folder", default=None, help="where the data goes: names the file system to measure")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md and its figures")
    parser.add_argument("--report", action="store_true", help="only that, from the numbers that are there")
    parser.add_argument("--no-profile", action="store_true", help="leave py-spy out")
    return parser.parse_args()


def _chosen(only: str) -> list[Workload]:
    wanted = {name.strip() for name in only.split(",") if name.strip()}
    known = {*BY_NAME, *(letter for workload in WORKLOADS for letter in workload.letters)}
    if wanted - known:
        raise SystemExit(f"no such workload: {', '.join(sorted(wanted - known))}; there are {', '.join(BY_NAME)}")
    return [one for one in WORKLOADS if not wanted or wanted & {one.name, *one.letters}]


def _store(target: Path, setting: Setting, workload: Workload, result: Result) -> None:
    document: dict[str, Any] = json.loads(target.read_text()) if target.exists() else {"workloads": {}}
    about = {
        "form": setting.form.name,
        "machine": machine(setting.folder),
        "at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "load": Path("/proc/loadavg").read_text().split()[0],
    }
    document["workloads"][workload.name] = {**result.to_json(), **about}
    target.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
