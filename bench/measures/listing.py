"""Listing and polling with few and with very many files, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench import servers
from bench.measures.contenders import rounds
from bench.measures.databases import fill, job_id, migrate, postgres_url
from bench.rows import FAILURES, Result, Take, interleave
from bench.servers import Server
from bench.setting import Setting

P50, P99 = "ms p50", "ms p99"
LIMIT = 50  # files of a page
FOLLOWED = 20  # pages after each first one


def measure(setting: Setting) -> Result:
    form = setting.form
    numbers = " and ".join(f"{count:,}" for count in form.listing)
    result = Result(
        [
            "Sluice: `sluice up`, 1 gateway, 1 worker, Redis; PostgreSQL on a unix socket without fsync. No scrub.",
            f"Tables with {numbers} files and as many jobs, put there by SQL; pages of {LIMIT}.",
            f"{form.looks} requests of each kind in each round, one after the other; {rounds(setting)}.",
        ]
    )
    with ExitStack() as opened:
        stacks: list[tuple[str, int, Server]] = []
        for name in ("SQLite", "PostgreSQL"):
            for count in form.listing:
                try:
                    setting.say(f"{name}: {count:,} files")
                    stacks.append((name, count, opened.enter_context(_stack(setting, name, count))))
                except FAILURES as error:
                    result.skipped[f"{name}, {count:,} files"] = str(error)[:200]
                    setting.say(f"left out: {error}")
        by_stack = [_takes(setting, result, server, name, count) for name, count, server in stacks]
        takes = [take for kind in zip(*by_stack, strict=True) for take in kind]  # what is compared is done in a row
        interleave(takes, form.rounds, result, setting.say)
    setting.driver_load()
    return result


@contextmanager
def _stack(setting: Setting, name: str, count: int) -> Iterator[Server]:
    """A stack over a database that is filled first."""
    folder = setting.subfolder(f"listing-{name}-{count}")
    with ExitStack() as opened:
        if name == "SQLite":
            (folder / "data").mkdir()
            url = f"sqlite:///{folder / 'data' / 'sluice.db'}"
        else:
            url = opened.enter_context(postgres_url())
        migrate(url)
        fill(url, count)
        settings = {"SLUICE_DATABASE_URL": url, "SLUICE_SCRUB_PERIOD": "0"}
        yield opened.enter_context(servers.ours(folder, f"{name}, {count:,} files", **settings))


def _takes(setting: Setting, result: Result, server: Server, name: str, count: int) -> list[Take]:
    looks = setting.form.looks
    some = [job_id(1 + number * (count - 1) // looks) for number in range(looks)]
    kinds = {
        "first page": (["/v1/files?limit=50"] * looks, 0),
        "following pages": (["/v1/files?limit=50"] * max(1, looks // FOLLOWED), FOLLOWED),
        "page of a file name": ([f"/v1/files?limit=50&filename=report-{n % 20}.csv" for n in range(looks)], 0),
        "page of a tag": (["/v1/files?limit=50&tag=kind%3Dreport"] * looks, 0),
        "page of finished jobs": (["/v1/jobs?limit=50&state=succeeded"] * looks, 0),
        "poll of a job": ([f"/v1/jobs/{job}" for job in some], 0),
    }

    def take(kind: str) -> Take:
        paths, follow = kinds[kind]

        def run() -> None:
            done = setting.call("plain.latencies", url=server.url, paths=paths, follow=follow).value
            who = f"{name}, {count:,} files"
            result.add(kind, who, P50, done["p50"])
            result.add(kind, who, P99, done["p99"])

        return Take(f"{server.name}, {kind}", run)

    return [take(kind) for kind in kinds]
