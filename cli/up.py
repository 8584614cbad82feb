"""`sluice up`: Redis, migrations, gateways and workers in the foreground, over one data folder."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from cli.brought_redis import trouble
from cli.embedded_redis import find_redis_server, redis_part, redis_url, socket_path
from cli.invocation import invocation
from cli.listener import CannotListenError, base_url, listen
from cli.part import Part, PartFailedError
from cli.pulse import Pulse
from cli.run_folder import DataFolderBusyError, RunFolder
from cli.stack import REDIS_STOP, Stack, parts_environment
from cli.supervisor import StopRequestedError, Supervisor
from common.errors import SettingsError
from common.settings import load_settings

READY_SECONDS = 30.0  # for each step of the start


@dataclass(frozen=True)
class Prepared:
    """A stack whose folder is locked and whose socket listens; `redis` is None if one was brought along."""

    stack: Stack
    folder: RunFolder
    listener: socket.socket
    redis: Part | None


def up(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes any free one.")] = 8000,
    data_dir: Annotated[Path, typer.Option(help="Folder for all data.")] = Path("data"),
    gateways: Annotated[int, typer.Option(min=1, max=64, help="Gateway processes.")] = 1,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")] = 1,
    silence: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Restart a part that gives no answer for so long; 0: never.")
    ] = Pulse.silence,
) -> None:
    """Run the whole service in the foreground until Ctrl-C.

    Starts Redis (unless SLUICE_REDIS_URL names one), brings the database up to date, then runs gateways and
    workers and restarts any that die or hang. SLUICE_* settings of the environment reach every part.
    """
    try:
        with prepared(host, port, data_dir.absolute(), gateways, workers) as ready_to_start:
            code = asyncio.run(run(ready_to_start, Pulse(silence)))
    except (DataFolderBusyError, CannotListenError, PartFailedError) as error:
        say(str(error))
        raise typer.Exit(1) from error
    except SettingsError as error:
        for problem in error.extras["problems"]:
            say(problem)
        raise typer.Exit(1) from error
    except OSError as error:
        say(f"cannot use data folder {data_dir}: {error.strerror or error}")
        raise typer.Exit(1) from error
    raise typer.Exit(code)


def say(line: str) -> None:
    """Tell the operator one line."""
    typer.echo(f"sluice up: {line}", err=True)


@contextmanager
def prepared(host: str, port: int, data: Path, gateways: int, workers: int) -> Iterator[Prepared]:
    """Look at the settings before any folder is made; take the data folder and the port before anything is started."""
    folder = RunFolder(data / "run")
    embedded = "SLUICE_REDIS_URL" not in os.environ
    with socket_path(folder.path) as redis_socket:
        env = parts_environment(
            os.environ,
            data,
            redis_url=redis_url(redis_socket) if embedded else None,
            on_terminal=sys.stderr.isatty(),
        )
        settings = load_settings(environ=env)
        server = find_redis_server() if embedded else None
        with folder.locked(), listen(host, port) as listener, ExitStack() as opened:
            probes = [opened.enter_context(listen("127.0.0.1", 0)) for _ in range(gateways)]
            redis = redis_part(server, data, redis_socket, env, REDIS_STOP) if server else None
            url = base_url(listener)
            stack = Stack(data, folder.path, url, listener.fileno(), probes, workers, env, settings)
            yield Prepared(stack, folder, listener, redis)


async def run(prepared: Prepared, pulse: Pulse) -> int:
    """Run the stack until it is asked to stop; the exit status."""
    stack, folder = prepared.stack, prepared.folder
    supervisor = Supervisor(folder, say, pulse=pulse)
    stop_on_signals(supervisor)
    folder.write("up.pid", str(os.getpid()))
    code = 0
    try:
        if prepared.redis:
            await supervisor.start([prepared.redis], READY_SECONDS)
        await supervisor.run_to_end(stack.migrate_part())
        await supervisor.start(stack.service_parts(), READY_SECONDS)
        folder.write("url", stack.url)
        announce(stack, embedded_redis=prepared.redis is not None)
        await supervisor.wait_for_stop()
    except StopRequestedError:
        pass
    except PartFailedError as error:
        without = await trouble(stack.settings.redis) if prepared.redis is None else ""
        say("; ".join(filter(None, (str(error), without, "stopping"))))
        code = 1
    finally:
        folder.remove("url")
        prepared.listener.close()  # so that new connections are refused, not left waiting for nobody
        await supervisor.stop()
    say("stopped")
    return code


def stop_on_signals(supervisor: Supervisor) -> None:
    """Turn SIGINT, SIGTERM and, unless it is ignored (nohup), SIGHUP into an orderly stop."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        say("stopping; once more to hurry" if supervisor.request_stop() else "stopping in a hurry")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            loop.add_signal_handler(number, stop)


def announce(stack: Stack, *, embedded_redis: bool) -> None:
    """Print where the service is and how to use and stop it."""
    parts = f"{len(stack.probes)} gateway(s), {stack.workers} worker(s)" + ", redis" * embedded_redis
    typer.echo(
        f"\nSluice is ready at {stack.url}\n"
        f"  data   {stack.data}\n"
        f"  parts  {parts}; process ids in {stack.run}\n"
        f"  try    {invocation()} put FILE --url {stack.url}\n"
        f"  stop   Ctrl-C\n"
    )
