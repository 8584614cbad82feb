"""One flat reading of everything that is counted, and the difference of two. Names are `group.part.what`."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import psutil
from redis import Redis

from bench.scaling.relay import s3_operations
from bench.scaling.stack import Stack

Reading = dict[str, float]

LINE = re.compile(r"^(\d+) (\S*)(?: [^:]*)? LOG:  (?:execute [^:]+|statement): (.*)$")
CONTINUED = "\t"  # how PostgreSQL's log begins the further lines of a statement
WRITE = re.compile(r"\b(?:INSERT INTO|UPDATE|DELETE FROM)\b", re.IGNORECASE)
LOCKING = re.compile(r"\bFOR (?:NO KEY )?UPDATE\b", re.IGNORECASE)
OUR_QUESTIONS = {"info", "zcard", "config|resetstat"}  # what the measuring itself asks of Redis
QUEUES = ("sluice:queue:finalize", "sluice:queue:metadata")


def read(stack: Stack) -> Reading:
    """All counters since the start of the stack. CPU in seconds, the rest are numbers or bytes."""
    found: Reading = {"clock": time.monotonic()}
    for name, pid in stack.pids.items():
        part = name.partition("-")[0]
        found[f"cpu.{part}"] = found.get(f"cpu.{part}", 0.0) + _cpu(pid, children=part == "postgres")
    found |= _redis(stack.redis_url)
    found |= sql_counters(stack.sql_log)
    for name, counted in (("client", stack.front), ("store", stack.store), ("direct", stack.public_store)):
        if counted is not None:
            found[f"bytes.{name}.sent"], found[f"bytes.{name}.received"] = counted.sent, counted.received
            operations = Counter({"requests": len(counted.requests)})
            if name != "client":
                operations |= s3_operations(counted.requests)
            found |= {f"http.{name}.{what}": float(number) for what, number in operations.items()}
    return found


def difference(after: Mapping[str, float], before: Mapping[str, float]) -> Reading:
    """What came between two readings."""
    return {name: value - before.get(name, 0.0) for name, value in after.items()}


def await_idle(stack: Stack, seconds: float = 120.0) -> None:
    """Until neither queue holds a ring, waiting or running. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    with Redis.from_url(stack.redis_url) as redis:
        while any(redis.zcard(queue) for queue in QUEUES):
            if time.monotonic() > deadline:
                raise TimeoutError("the queues do not run empty")
            time.sleep(0.02)


def _cpu(pid: int, *, children: bool) -> float:
    process = psutil.Process(pid)
    times = [process.cpu_times()] + [child.cpu_times() for child in process.children() if children]
    return float(sum(one.user + one.system for one in times))


def _redis(url: str) -> Reading:
    with Redis.from_url(url, decode_responses=True) as redis:
        stats, whole = redis.info("commandstats"), redis.info()
    calls = {name.removeprefix("cmdstat_").lower(): float(stat["calls"]) for name, stat in stats.items()}
    calls = {name: number for name, number in calls.items() if name not in OUR_QUESTIONS}
    return {
        "redis.all": sum(calls.values()),
        "cpu.redis": float(whole["used_cpu_user"] + whole["used_cpu_sys"]),
        "bytes.redis.in": float(whole["total_net_input_bytes"]),
        "bytes.redis.out": float(whole["total_net_output_bytes"]),
        **{f"redis.{name}": number for name, number in calls.items()},
    }


def sql_counters(log: Path) -> Reading:
    """Statements, transactions and writing transactions by process, from a log with `%p %a` before each line."""
    found: Counter[str] = Counter()
    wrote: dict[str, bool] = {}  # open transactions by the process of PostgreSQL
    for pid, application, text in _statements(log.read_text(errors="replace")):
        if not application.startswith("sluice"):
            continue
        part = "worker" if "worker" in application else "gateway"
        verb = text.split(None, 1)[0].rstrip(";").upper() if text.strip() else ""
        if verb in {"BEGIN", "START"}:
            wrote[pid] = False
        elif verb in {"COMMIT", "ROLLBACK"}:
            changed = wrote.pop(pid, False)
            found[f"sql.{part}.transactions"] += 1
            found[f"sql.{part}.writes"] += changed and verb == "COMMIT"
        else:
            found[f"sql.{part}.statements"] += 1
            changes = bool(WRITE.search(LOCKING.sub("", text)))
            if pid in wrote:
                wrote[pid] = wrote[pid] or changes
            else:
                found[f"sql.{part}.transactions"] += 1
                found[f"sql.{part}.writes"] += changes
    return {name: float(number) for name, number in found.items()}


def _statements(text: str) -> list[tuple[str, str, str]]:
    """Process of PostgreSQL, application and the whole text of each statement, in the order of the log."""
    found: list[tuple[str, str, str]] = []
    for line in text.splitlines():
        if begun := LINE.match(line):
            found.append((begun[1], begun[2], begun[3]))
        elif line.startswith(CONTINUED) and found:
            pid, application, before = found[-1]
            found[-1] = (pid, application, f"{before} {line.strip()}")
    return found
