"""`python -m worker`: one worker process, configured by `SLUICE_*` settings."""

import argparse
import os
import sys
from pathlib import Path

from common.startup import importing


def main() -> int:
    """Run a worker until SIGTERM or SIGINT; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m worker", description="Run one Sluice worker process.")
    parser.add_argument("--queues", help="job kinds to run, comma-separated (default: SLUICE_WORKER_QUEUES)")
    parser.add_argument("--env-file", type=Path, help="settings that the environment does not name")
    given = parser.parse_args()
    with importing():
        from common.errors import SettingsError
        from common.settings import load_settings
        from worker.app import run
    chosen = {"SLUICE_WORKER_QUEUES": given.queues} if given.queues is not None else {}
    try:
        settings = load_settings(given.env_file, {**os.environ, **chosen})
    except SettingsError as error:
        sys.stderr.writelines(f"settings: {problem}\n" for problem in error.extras["problems"])
        return 1
    return run(settings, queues=settings.worker.worker_queues)


if __name__ == "__main__":
    sys.exit(main())
