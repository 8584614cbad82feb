"""The scripted runs that points are made in, and one point from fault to end."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.points import script, small, streams, tracing
from tests.faults.points.checks import Findings, check_acknowledged, check_end, check_files, missing_at_first, orphans
from tests.faults.points.nursery import Nursery
from tests.faults.points.tracing import Place, Point

DAMAGED = 1  # the chunk whose bytes rot before the seal of the third scenario


@dataclass(frozen=True)
class Scenario:
    """`role` is traced; `start` is the folder that it finds; chunks in `excused` are destroyed by the script itself."""

    name: str
    role: str
    start: Path
    excused: frozenset[int] = frozenset()


@dataclass
class Bench:
    """Where points are run: a nursery of its own and a folder for each point."""

    nursery: Nursery
    folder: Path
    made: int = field(default=0)

    def begin(self, scenario: Scenario) -> Path:
        self.made += 1
        folder = self.folder / f"{scenario.name}-{self.made}"
        shutil.copytree(scenario.start, folder)
        return folder

    def count(self, scenario: Scenario, place: Place) -> Counter[str]:
        """The calls of a run in which nothing fails."""
        folder = self.begin(scenario)
        run = tracing.traced(self.nursery, scenario.role, folder, place, None)
        assert run.status == 0, (folder / "log").read_text()
        return run.calls

    def point(self, scenario: Scenario, point: Point, **arguments: Any) -> Findings:
        """One fault, and everything that must hold after it."""

        def run(folder: Path) -> bool:
            return tracing.traced(self.nursery, scenario.role, folder, point.place, point, **arguments).struck

        # after a failed fsync nobody knows what the disk has: the seal calls every chunk damaged, and says so
        unsure = scenario.role == "seal" and (point.kind, point.call) == ("EIO", "fsync")
        return self.fault(scenario, run, damaging=unsure or point.kind == "lost")

    def fault(self, scenario: Scenario, run: Callable[[Path], bool], *, damaging: bool = False) -> Findings:
        """Let `run` do its harm in a fresh folder, check, restart, check. `damaging`: the service may ask for chunks
        again that it has acknowledged, if it says that they are damaged."""
        folder = self.begin(scenario)
        struck = run(folder)
        found = Findings(points=1)
        if not struck:
            found.wrong.append("the fault met no call")
        excused = frozenset(range(script.CHUNK_COUNT)) if damaging else scenario.excused
        told = script.told(folder)
        found.wrong += told.unexpected
        upload = told.upload or script.UPLOAD_ID
        found.add(check_acknowledged(folder, script.CONTENT, script.CHUNK, upload, told.chunks, excused))
        found.add(check_files(folder, script.CONTENT))
        found.add(self._abandoned(folder, scenario))
        self._recovered(folder, told, excused, found)
        if not found.problems:
            shutil.rmtree(folder)
        return found

    def end(self, folder: Path) -> Findings:
        """Let everything that still waits come to its end, and look."""
        self.nursery.run("recover", folder)
        return check_end(folder, script.CONTENT)

    def _recovered(self, folder: Path, told: script.Told, excused: frozenset[int], found: Findings) -> None:
        try:
            self.nursery.run("recover", folder)
        except AssertionError as error:
            found.wrong.append(str(error))
            return
        asked_again = set(missing_at_first(folder)) & (told.chunks.keys() - excused)
        found.lost += [f"chunk {index} was asked for again" for index in asked_again]
        found.wrong += script.told(folder).unexpected[len(told.unexpected) :]
        check = small.check_end if (folder / small.MARK).exists() else check_end
        found.add(check(folder, script.CONTENT, damage_reported=bool(excused)))

    def _abandoned(self, crashed: Path, scenario: Scenario) -> Findings:
        """The same crash, but the client never comes back: nothing is left, or one file."""
        folder = self.begin(Scenario(f"{scenario.name}-abandoned", "", crashed))
        found = Findings()
        try:
            self.nursery.run("abandon", folder)
        except AssertionError as error:
            found.wrong.append(str(error))
            return found
        found.add(check_files(folder, script.CONTENT))
        found.orphans += [f"abandoned: {path}" for path in orphans(folder)]
        if not found.problems:
            shutil.rmtree(folder)
        return found


def prepare(nursery: Nursery, folder: Path, database: Path) -> dict[str, Scenario]:
    """Storing from nothing; sealing what was stored; sealing what was stored and has rotted. The same as a stream:
    appending from nothing; putting parts together that have arrived. The same as a small file: taking it in one
    request; publishing what was taken."""
    names = ("empty", "stored", "rotten", "stream", "parts", "request", "taken")
    empty, stored, rotten, stream, parts, request, taken = (folder / name for name in names)
    empty.mkdir()
    shutil.copy(database, empty / "sluice.db")
    shutil.copytree(empty, stream)
    (stream / streams.MARK).touch()
    shutil.copytree(stream, parts)
    nursery.run("parts", parts)
    shutil.copytree(empty, request)
    (request / small.MARK).touch()
    shutil.copytree(request, taken)
    nursery.run("post", taken)
    shutil.copytree(empty, stored)
    nursery.run("store", stored)
    shutil.copytree(stored, rotten)
    with (script.upload_folder(rotten) / "data").open("r+b") as data:
        data.seek(DAMAGED * script.CHUNK + 5)
        data.write(bytes([script.piece(DAMAGED)[5] ^ 1]))
    return {
        "store": Scenario("store", "store", empty),
        "seal": Scenario("seal", "seal", stored),
        "damage": Scenario("damage", "seal", rotten, frozenset({DAMAGED})),
        "append": Scenario("append", "append", stream),
        "join": Scenario("join", "seal", parts),
        "small": Scenario("small", "post", request),
        "publish": Scenario("publish", "seal", taken),
    }
