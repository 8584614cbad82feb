"""Power goes while small files come, one request each: every file that was acknowledged is ready afterwards."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from random import Random

import httpx

from common.storage.layout import COMING, WHOLE
from tests.faults.points.checks import Findings, query
from tests.faults.points.script import TENANT, storage_root
from tests.faults.power.cuts import Moment, Outcome, PowerCuts
from tests.faults.power.image import Image
from tests.faults.power.site import END_SECONDS, SENDERS, Heard, Site

FILES = 60
MOST_BYTES = 20_000


@dataclass
class SmallFiles:
    """Sends files of random sizes; `accepted` are the contents of those that were answered, by job."""

    http: httpx.Client
    heard: Heard
    accepted: dict[str, bytes] = field(default_factory=dict)

    def run(self) -> bool:
        with ThreadPoolExecutor(SENDERS) as pool:
            return all(pool.map(self._post, range(FILES)))

    def _post(self, number: int) -> bool:
        random = Random(number)
        content = random.randbytes(random.randrange(MOST_BYTES))
        try:
            answer = self.http.post("/v1/files", params={"filename": f"{number}.bin"}, content=content)
        except httpx.HTTPError:
            return False
        if answer.is_success:
            self.accepted[answer.json()["id"]] = content
            self.heard("accepted", len(self.accepted))
        return answer.is_success


def small_cut(power: PowerCuts, moment: Moment) -> Outcome:
    """Small files, the cut, the power back, and what became of those that were acknowledged."""
    outcome = Outcome()
    with power.place() as (image, aside):
        site = Site(power.nursery, image.folder, aside, power.redis_url)
        try:
            client = power.interrupted(image, site, moment, SmallFiles)
            _check(image, client, outcome.found)
            began = time.monotonic()
            with closing(site.start()) as http:
                for job_id, content in client.accepted.items():
                    _check_file(http, job_id, content, outcome.found)
            outcome.recovery = time.monotonic() - began
        finally:
            site.kill()
    return outcome


def _check(image: Image, client: SmallFiles, found: Findings) -> None:
    """Right after the cut: the rows of what was acknowledged, and no bytes without a row."""
    jobs = {row[0] for row in query(image.folder, "SELECT id FROM jobs")}
    uploads = {row[0] for row in query(image.folder, "SELECT id FROM uploads")}
    found.lost += [f"the job {job_id} is gone" for job_id in client.accepted.keys() - jobs]
    there = (storage_root(image.folder) / TENANT / "uploads").glob("*")
    names = {path.name.removesuffix(WHOLE).removesuffix(COMING) for path in there}
    found.orphans += [f"the upload {name} has bytes and no row" for name in names - uploads]


def _check_file(http: httpx.Client, job_id: str, content: bytes, found: Findings) -> None:
    found.files_checked += 1
    job = http.get(f"/v1/jobs/{job_id}", params={"wait": END_SECONDS}).json()
    if job.get("state") != "succeeded":
        found.lost.append(f"a file that was acknowledged is {job.get('state')}: {job.get('error')}")
    elif http.get(job["links"]["content"]).content != content:
        found.altered.append(f"the file {job['file_id']} is not what was sent")
