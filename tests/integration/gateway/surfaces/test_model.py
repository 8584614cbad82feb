"""Random sequences of what clients do, on two gateways at once, against a model (tus and resumable uploads)."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    multiple,
    rule,
    run_state_machine_as_test,
)

from gateway.service.concatenations import MOST_FINALS
from tests.integration.gateway.processes import part
from tests.integration.gateway.rig import Gateway, environment_of, serve, until
from tests.integration.gateway.surfaces.model import Expected, State, Uploads

WHICH = st.integers(0, 1)
"""The gateway that a request goes to."""
COUNT = st.integers(0, 20_000)
EXAMPLES = int(os.environ.get("SURFACE_EXAMPLES", "15"))


@pytest.fixture(scope="module")
def gateways(
    empty_database: Path,
    tmp_path_factory: pytest.TempPathFactory,
    redis_server: str,
    storage_settings: dict[str, str],
) -> Iterator[list[Gateway]]:
    """Two gateways and a worker on one folder."""
    folder = tmp_path_factory.mktemp("two")
    shutil.copy(empty_database, folder / "sluice.db")
    environment = environment_of(folder, redis_server, REDIS_QUEUE_PREFIX="surfaces-model", **storage_settings)
    port_file = folder / "health.port"
    worker = environment | {"SLUICE_HEALTH_PORT_FILE": str(port_file)}
    with (
        serve(folder, environment) as one,
        serve(folder, environment) as two,
        part("worker", environment=worker, log=folder / "worker.log"),
    ):
        until(port_file.exists)
        yield [one, two]


class Clients(RuleBasedStateMachine):
    """Every rule is one thing that a client does; what must follow is asserted at once, on the other gateway too."""

    gateways: list[Gateway]
    uploads = Bundle("uploads")
    partials = Bundle("partials")

    def __init__(self) -> None:
        super().__init__()
        self.client = Uploads(self.gateways, seed=1)
        self.known: list[Expected] = []

    def keep(self, upload: Expected) -> Expected:
        self.known.append(upload)
        return upload

    @initialize(target=uploads, size=COUNT)
    def begin(self, size: int) -> object:
        """So that no sequence spends its steps on creating."""
        return multiple(
            self.keep(self.client.create(0, "tus", size)),
            self.keep(self.client.create(1, "ietf", size)),
            self.keep(self.client.create(1, "tus", None)),
        )

    @initialize(target=partials, size=COUNT)
    def begin_parts(self, size: int) -> object:
        return multiple(*(self.keep(self.client.create(0, "tus", size, partial=True)) for _ in range(2)))

    @rule(target=uploads, which=WHICH, kind=st.sampled_from(["tus", "ietf"]), size=st.none() | COUNT)
    def create(self, which: int, kind: str, size: int | None) -> Expected:
        return self.keep(self.client.create(which, "tus" if kind == "tus" else "ietf", size))

    @rule(target=partials, which=WHICH, size=COUNT)
    def create_partial(self, which: int, size: int) -> Expected:
        return self.keep(self.client.create(which, "tus", size, partial=True))

    @rule(which=WHICH, upload=uploads | partials, share=st.floats(0, 1), whole=st.booleans())
    def append(self, which: int, upload: Expected, share: float, whole: bool) -> None:
        body = self.client.some(upload.room if whole else int(upload.room * share))
        answer = self.client.append(which, upload, len(upload.data), body)
        if upload.state == State.OPEN:
            assert answer.status_code == 204, answer.text
            upload.add(body)
        elif upload.state == State.ENDED:
            assert answer.status_code == 410, answer.text
        else:
            assert answer.status_code == (204 if upload.kind == "tus" else 400), answer.text
        self.client.check(1 - which, upload)

    @rule(which=WHICH, upload=uploads | partials, distance=st.integers(-5000, 5000).filter(bool))
    def append_elsewhere(self, which: int, upload: Expected, distance: int) -> None:
        offset = max(0, len(upload.data) + distance)
        if upload.state == State.OPEN and offset != len(upload.data):
            assert self.client.append(which, upload, offset, b"x").status_code == 409
            self.client.check(1 - which, upload)

    @rule(which=WHICH, upload=uploads | partials)
    def append_too_much(self, which: int, upload: Expected) -> None:
        if upload.state == State.OPEN and upload.size is not None:
            answer = self.client.append(which, upload, len(upload.data), bytes(upload.room + 1))
            assert answer.status_code == (413 if upload.kind == "tus" else 400), answer.text
            if upload.kind == "ietf":
                upload.state = State.ENDED  # section 4.4.2 of the draft
            self.client.check(1 - which, upload)

    @rule(which=WHICH, upload=uploads | partials, share=st.floats(0, 1))
    def cut(self, which: int, upload: Expected, share: float) -> None:
        sent = self.client.some(int((upload.room - 1) * share)) if upload.room else b""
        if upload.state == State.OPEN and sent:
            self.client.cut(which, upload, sent)
            upload.add(sent)
            self.client.check(1 - which, upload)

    @rule(which=WHICH, upload=uploads | partials)
    def cut_with_a_digest(self, which: int, upload: Expected) -> None:
        if upload.state == State.OPEN and upload.room > 1:
            digest = base64.b64encode(hashlib.sha256(b"xy").digest()).decode()
            field = {"Upload_Checksum": f"sha256 {digest}"} if upload.kind == "tus" else {}
            field = field or {"Content_Digest": f"sha-256=:{digest}:"}
            self.client.cut(which, upload, b"x", **field)
            self.client.check(1 - which, upload)

    @rule(which=WHICH, upload=uploads | partials, wrong=st.booleans())
    def append_with_a_digest(self, which: int, upload: Expected, wrong: bool) -> None:
        if upload.state == State.OPEN and upload.room > 1:
            body = self.client.some(upload.room - 1)
            digest = base64.b64encode(hashlib.sha256(body + b"x" * wrong).digest()).decode()
            field = {"Upload_Checksum": f"sha256 {digest}"} if upload.kind == "tus" else {}
            field = field or {"Content_Digest": f"sha-256=:{digest}:"}
            answer = self.client.append(which, upload, len(upload.data), body, **field)
            assert answer.status_code == ((460 if upload.kind == "tus" else 422) if wrong else 204), answer.text
            upload.add(b"" if wrong else body)
            self.client.check(1 - which, upload)

    @rule(which=WHICH, upload=uploads)
    def complete(self, which: int, upload: Expected) -> None:
        """The last append says how long the upload is, each in its own way."""
        if upload.state == State.OPEN and upload.size in (None, len(upload.data)):
            more = {"Upload_Length": len(upload.data)} if upload.kind == "tus" else {}
            answer = self.client.append(which, upload, len(upload.data), b"", True, **more)
            assert answer.status_code in (200, 202, 204), answer.text
            upload.size, upload.state = len(upload.data), State.COMPLETE
            self.client.check(1 - which, upload)

    @rule(which=WHICH, upload=consumes(uploads))
    def delete(self, which: int, upload: Expected) -> None:
        """What is complete may be in verification at this moment; then it is left alone."""
        answer = self.client.delete(which, upload)
        if upload.state == State.ENDED:
            assert answer.status_code == 410
        elif upload.state == State.OPEN or answer.status_code != 409:
            assert answer.status_code == 204, answer.text
            upload.state = State.ENDED
            self.client.check(1 - which, upload)

    @rule(upload=consumes(uploads))
    def expire(self, upload: Expected) -> None:
        """As the sweep does it."""
        statement = "UPDATE uploads SET state = 'expired' WHERE id = ? AND state = 'open'"
        self.gateways[0].sql(statement, upload.id)
        upload.state = State.ENDED if upload.state == State.OPEN else upload.state

    @rule(which=WHICH, parts=st.lists(partials, min_size=1, max_size=4))
    def concatenate(self, which: int, parts: list[Expected]) -> None:
        """What may be done with a final upload is in tests of its own; here its bytes count."""
        answer = self.client.concatenate(which, parts)
        if max(self.waiting_for(part) for part in parts) >= MOST_FINALS:
            assert answer.status_code == 422, answer.text
        else:
            assert answer.status_code == 201, answer.text
            self.keep(Expected("tus", answer.headers["location"], None, parts=parts))

    def waiting_for(self, part: Expected) -> int:
        return sum(part in upload.parts for upload in self.known if upload.waiting)

    @rule(which=WHICH, upload=uploads | partials)
    def head(self, which: int, upload: Expected) -> None:
        self.client.check(which, upload)

    def teardown(self) -> None:
        for upload in self.known:
            if upload.parts and not upload.waiting:
                self.client.check_file(upload, b"".join(part.data for part in upload.parts))
            elif upload.state == State.COMPLETE:
                self.client.check_file(upload, upload.data)


def test_two_gateways_do_as_the_model_says(gateways: list[Gateway]) -> None:
    Clients.gateways = gateways
    bounds = settings(
        max_examples=EXAMPLES,
        stateful_step_count=25,
        deadline=None,
        phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shortening a sequence takes minutes
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    run_state_machine_as_test(Clients, settings=bounds)
