"""`python -m cli.demo`: exit status 0 only if every comparison held; nothing is left behind either way."""

import argparse
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from cli.demo.samples import BIG_SIZE, MIB, write_samples
from cli.demo.service import DemoFailedError, running_service
from cli.demo.show import Show, by_hand
from client.errors import SluiceClientError
from client.sync import Client

SPACE_FACTOR = 4  # of the big file: the sample, the stored file, its download, and some air
ENDED_BY_SIGNAL = 130  # as shells say it


def main() -> int:
    """Run the demo; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m cli.demo", description="Show the main job on real input.")
    parser.add_argument("--mib", type=int, default=BIG_SIZE // MIB, help="size of the big file (default: %(default)s)")
    size = parser.parse_args().mib * MIB
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, give_up)
    try:
        require_space(SPACE_FACTOR * size)
        with tempfile.TemporaryDirectory(prefix="sluice-demo-") as name:
            held = show(Path(name), size)
    except (DemoFailedError, SluiceClientError, OSError) as error:
        sys.stderr.write(f"demo failed: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("demo stopped; nothing is left behind\n")
        return ENDED_BY_SIGNAL
    if held:
        by_hand()
    else:
        sys.stderr.write("demo failed: not everything came back as it was sent\n")
    return 0 if held else 1


def show(folder: Path, big_size: int) -> bool:
    """Start the service in `folder`, run the steps, stop it; whether every comparison held."""
    console = Console()
    console.print("starting the service and writing the sample files")
    with running_service(folder) as url, Client(url) as client:
        return Show(client, folder, console).run(write_samples(folder, big_size))


def give_up(number: int, frame: object) -> None:
    """Leave through every `finally`, undisturbed by a second signal."""
    del number, frame
    for other in (signal.SIGINT, signal.SIGTERM):
        signal.signal(other, signal.SIG_IGN)
    raise KeyboardInterrupt


def require_space(needed: int) -> None:
    """Raise DemoFailedError if the temporary folder has less than `needed` bytes left."""
    folder = tempfile.gettempdir()
    if shutil.disk_usage(folder).free < needed:
        raise DemoFailedError(f"needs {needed / 1e9:.1f} GB in {folder}; TMPDIR names another folder")


if __name__ == "__main__":
    sys.exit(main())
