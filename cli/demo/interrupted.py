"""A client that dies in the middle: uploads like any other and kills itself with SIGKILL at a share of the bytes.

`python -m cli.demo.interrupted URL FILE STATE_FOLDER SHARE`. It dies from inside, not by a timer outside, so that the
middle is the middle on any machine. Its last words on stdout are the seconds it has lived.
"""

import os
import signal
import sys
import time
from pathlib import Path

from cli.demo.progress import upload_bar
from client.options import UploadOptions
from client.state import FileStateStore
from client.sync import Client


def main() -> None:
    url, path, state_folder, share = sys.argv[1], Path(sys.argv[2]), sys.argv[3], float(sys.argv[4])
    began = time.perf_counter()
    with upload_bar(path.name) as move, Client(url) as client:

        def die_in_the_middle(sent: int, total: int) -> None:
            move(sent, total)
            if sent >= total * share:
                os.write(1, f"{time.perf_counter() - began:.3f}\n".encode())  # sys.stdout belongs to the bar now
                os.kill(os.getpid(), signal.SIGKILL)

        client.upload_file(path, UploadOptions(store=FileStateStore(state_folder), progress=die_in_the_middle))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(1)  # the demo itself says what there is to say
