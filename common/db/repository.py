"""All SQL of one unit of work, by table. Built by `Database`, alive until its transaction ends."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from common.db.backlog import Backlog
from common.db.files import Files
from common.db.jobs import Jobs
from common.db.parts import Parts
from common.db.passes import Passes
from common.db.storages import Storages
from common.db.uploads import Uploads


class Repository:
    """Groups the statements by table. `session` is for the few who need a raw statement (probes)."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session
        self.uploads = Uploads(session)
        self.jobs = Jobs(session)
        self.files = Files(session)
        self.parts = Parts(session)
        self.passes = Passes(session)
        self.storages = Storages(session)
        self.backlog = Backlog(session)
