"""A gateway that is killed when all parts of a final upload are there, and it is about to make the job."""

import os
import signal
from typing import Any

from common.db.models import Upload
from gateway.__main__ import main
from gateway.service.finalize import FinalizeService

start_job = FinalizeService.start_job


async def dying(self: FinalizeService, caller: Any, upload: Upload, *more: Any) -> Any:
    if upload.parts is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    return await start_job(self, caller, upload, *more)


if __name__ == "__main__":
    FinalizeService.start_job = dying  # type: ignore[assignment, method-assign]
    main()
