"""curl as a client of the draft: cut in the middle by the link, resumed from where the service stopped."""

import asyncio
import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import pytest

from tests.fixtures.bad_link import BadLink, Manner
from tests.integration.gateway.ietf.client import PARTIAL
from tests.integration.gateway.rig import Gateway, until

SIZE = 8_000_000  # bytes
CUT_AT = 3_000_000

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")


async def curl(*arguments: str | Path) -> tuple[int, str]:
    """Exit status, and the head and body of the answer."""
    process = await asyncio.create_subprocess_exec(
        "curl", "-sSi", "--noproxy", "*", *map(str, arguments), stdout=asyncio.subprocess.PIPE
    )
    answer, _ = await process.communicate()
    return process.returncode or 0, answer.decode()


def field(name: str, answer: str) -> str:
    found = re.search(rf"^{name}: (.*?)\r?$", answer, re.MULTILINE | re.IGNORECASE)
    assert found is not None, answer
    return found[1]


async def test_an_upload_that_is_cut_is_resumed(gateway: Gateway, tmp_path: Path) -> None:
    whole, rest = tmp_path / "whole.bin", tmp_path / "rest.bin"
    whole.write_bytes(os.urandom(SIZE))
    cut = Manner("cut", ends_at=CUT_AT)
    async with BadLink("127.0.0.1", gateway.port, seed=1, draw=lambda _: cut) as link:
        url = f"http://127.0.0.1:{gateway.port}"
        named = 'Content-Disposition: inline; filename="whole.bin"'
        status, answer = await curl("-X", "POST", "-H", "Upload-Complete: ?0", "-H", named, f"{url}/resumable")
        path = field("Location", answer)
        append = ("-X", "PATCH", "-H", f"Content-Type: {PARTIAL}", "-H", "Upload-Complete: ?1")
        status, _ = await curl(*append, "-H", "Upload-Offset: 0", "-T", whole, link.url + path)
    assert status != 0
    upload = {"id": path.rpartition("/")[2]}
    await asyncio.to_thread(until, lambda: gateway.look(upload)["received_bytes"] > CUT_AT - 100_000)

    status, answer = await curl("-I", url + path)
    offset = int(field("Upload-Offset", answer))
    assert CUT_AT - 100_000 < offset < CUT_AT  # all that passed the link but its request head, and what the cut tore
    assert field("Upload-Length", answer) == str(SIZE)
    rest.write_bytes(whole.read_bytes()[offset:])
    status, answer = await curl(*append, "-H", f"Upload-Offset: {offset}", "-T", rest, url + path)

    assert (status, field("Upload-Complete", answer)) == (0, "?1")
    job = await asyncio.to_thread(gateway.ended, json.loads(answer.rpartition("\r\n\r\n")[2])["id"])
    file = gateway.http.get(job["links"]["file"]).json()
    assert file["filename"] == "whole.bin"
    assert file["digests"]["sha-256"] == hashlib.sha256(whole.read_bytes()).hexdigest()
