"""`python -m gateway`: one gateway process, configured by `SLUICE_*` settings."""

import argparse
import sys
from pathlib import Path

from common.startup import importing


def main() -> int:
    """Run a gateway until SIGTERM or SIGINT; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m gateway", description="Run one Sluice gateway process.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on, 0: any (default: %(default)s)")
    parser.add_argument("--fd", type=int, help=argparse.SUPPRESS)  # a socket that listens already, from `sluice up`
    parser.add_argument("--probe-fd", type=int, help=argparse.SUPPRESS)  # one more, of this process alone
    parser.add_argument("--env-file", type=Path, help="settings that the environment does not name")
    given = parser.parse_args()
    with importing():
        from common.errors import SettingsError
        from common.settings import load_settings
        from gateway.server import run
    try:
        settings = load_settings(given.env_file)
    except SettingsError as error:
        sys.stderr.writelines(f"settings: {problem}\n" for problem in error.extras["problems"])
        return 1
    return run(
        settings, host=given.host, port=given.port, fds=[fd for fd in (given.fd, given.probe_fd) if fd is not None]
    )


if __name__ == "__main__":
    sys.exit(main())
