"""Runs a command that dies with the process that started it.

`python -I -S tether.py PARENT COMMAND...` asks the kernel to kill this process when its parent ends, then
becomes COMMAND (same process id). A program of its own, not a `preexec_fn`: no Python code runs between
fork and exec of a supervisor that may have threads. Standard library only, so that it starts in a few
milliseconds.

Where the kernel has no such request (anything but Linux) COMMAND runs untied.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h
CANNOT_RUN = 127  # what a shell answers for a command it cannot run


def tie_to(parent: int) -> None:
    """Ask for SIGKILL at the death of `parent`, the process that started this one.

    Not a gentler signal: whoever starts the parent again must not meet the parts of the former run. Raises
    SystemExit if the parent has died already.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit(0)


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    tie_to(parent)
    try:
        os.execvp(command[0], command)  # noqa: S606  the command is the supervisor's own
    except OSError as error:
        sys.stderr.write(f"cannot run {command[0]}: {error.strerror}\n")
        raise SystemExit(CANNOT_RUN) from error


if __name__ == "__main__":
    main()
