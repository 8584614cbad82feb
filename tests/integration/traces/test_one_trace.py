"""One trace goes from the client's finalize through the queue to publish, also over attempts that fail."""

import asyncio
import re
from typing import Any, cast

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from client import AsyncClient, Client
from common.errors import StorageUnavailable
from common.states import JobKind, JobState
from common.storage import Storage
from common.storage.base import SealedObject, SealPlan, SealWatch, UploadKey
from tests.fixtures.traces import Spans
from tests.integration.gateway.rig import Gateway
from tests.integration.worker.rig import Rig, with_settings

FINALIZE = "POST /v1/uploads/{upload_id}/finalize"
CONTENT = b"one line\n" * 300


async def finalize(gateway: Gateway, content: bytes = CONTENT, **headers: str) -> str:
    """Upload and finalize as a client would; the job."""
    async with AsyncClient(str(gateway.http.base_url), headers=headers) as client:
        upload = await client.create_upload({"filename": "secret-name.txt", "size": len(content)})
        await client.put_chunk(upload.id, 0, content, size=len(content))
        return (await client.finalize(upload.id)).id


def attempts(spans: Spans) -> list[ReadableSpan]:
    return sorted(spans.named("process finalize"), key=lambda span: span.start_time or 0)


def said(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


class BrokenOnce:
    """The real storage, but the first seal fails."""

    def __init__(self, real: Storage) -> None:
        self._real, self._seals = real, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def seal(self, upload: UploadKey, plan: SealPlan, watch: SealWatch) -> SealedObject:
        self._seals += 1
        if self._seals == 1:
            raise StorageUnavailable("The disk at /secret is away.")
        return await self._real.seal(upload, plan, watch)


async def test_one_trace_leads_from_the_clients_finalize_to_the_metadata(
    gateway: Gateway, rig: Rig, spans: Spans
) -> None:
    with spans.tracer.span("caller") as caller:
        await finalize(gateway)
    await rig.run()
    spans.one(FINALIZE)

    assert spans.line_of(spans.one("save")) == [
        "save",
        "process metadata",
        "publish",
        "process finalize",
        "send finalize",
        FINALIZE,
        "caller",
    ]
    assert {spans.parent_of(spans.one(name)) for name in ("seal", "publish")} == {"process finalize"}
    assert {spans.parent_of(span) for span in spans.named("claim")} == {"process finalize", "process metadata"}
    assert spans.parent_of(spans.one("examine")) == "process metadata"
    assert spans.traces() == {int(caller.trace_id or "0", 16)}


async def test_a_client_without_a_trace_begins_one_with_each_request(gateway: Gateway, rig: Rig, spans: Spans) -> None:
    await finalize(gateway)
    await rig.run()
    assert spans.one(FINALIZE).parent is None
    spans.one("PUT /v1/uploads/{upload_id}/chunks/{index}")
    assert len(spans.traces()) == 3  # create, chunk, finalize with all that follows


def test_the_client_for_threads_is_part_of_it(gateway: Gateway, spans: Spans) -> None:
    with Client(str(gateway.http.base_url)) as client, spans.tracer.span("caller"):
        client.limits()
    assert spans.parent_of(spans.one("GET /v1/limits")) == "caller"


async def test_sender_and_receiver_say_what_the_conventions_ask_for(gateway: Gateway, rig: Rig, spans: Spans) -> None:
    job_id = await finalize(gateway)
    await rig.run()
    sent, processed = spans.one("send finalize"), spans.one("process finalize")
    assert (sent.kind, processed.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    for span, verb in ((sent, "send"), (processed, "process")):
        told = said(span)
        assert told["messaging.system"] == "arq"
        assert told["messaging.destination.name"] == "finalize"
        assert (told["messaging.operation.type"], told["messaging.operation.name"]) == (verb, verb)
    told = said(processed)
    assert told["messaging.message.id"] == job_id
    assert (told["sluice.attempt"], told["sluice.outcome"]) == (1, "succeeded")


async def test_no_name_of_a_span_has_an_id_or_the_name_of_a_file(gateway: Gateway, rig: Rig, spans: Spans) -> None:
    await finalize(gateway)
    await rig.run()
    assert [span.name for span in spans.all() if re.search(r"[0-9a-f]{8}-|secret-name", span.name)] == []
    assert [span.name for span in spans.all() if "secret-name" in span.to_json()] == []


async def test_a_retry_is_one_more_span_of_the_trace(gateway: Gateway, rig: Rig, spans: Spans) -> None:
    storage = cast("Storage", BrokenOnce(rig.storage))
    job_id = await finalize(gateway)
    worker = Rig(with_settings(rig.settings), rig.database, storage, rig.redis, tracer=spans.tracer)
    await worker.parts.runner.run_job({}, job_id, 0)
    await worker.shift(job_id, -1, "next_attempt_at")
    await worker.parts.runner.run_job({}, job_id, 1)

    spans.one(FINALIZE)
    first, second = attempts(spans)
    assert (said(first)["sluice.attempt"], said(first)["sluice.outcome"]) == (1, "retried")
    assert (first.status.status_code, said(first)["error.type"]) == (StatusCode.ERROR, "storage_unavailable")
    assert (said(second)["sluice.attempt"], said(second)["sluice.outcome"]) == (2, "succeeded")
    assert second.status.status_code is StatusCode.UNSET
    assert spans.line_of(first) == spans.line_of(second) == ["process finalize", "send finalize", FINALIZE]
    assert [span.status.status_code for span in spans.named("seal")] == [StatusCode.ERROR, StatusCode.UNSET]
    assert "/secret" not in "".join(span.to_json() for span in spans.all())


async def test_a_job_that_another_worker_lost_goes_on_in_its_trace(gateway: Gateway, rig: Rig, spans: Spans) -> None:
    job_id = await finalize(gateway)
    assert await rig.parts.leases.claim([job_id])
    await rig.shift(job_id, -1, "lease_until")
    await rig.parts.sweep.take_back_lost()

    survivor = rig.second()
    await survivor.parts.runner.run_job({}, job_id, 1)

    [attempt] = attempts(spans)
    assert said(attempt)["sluice.attempt"] == 2
    assert spans.parent_of(attempt) == "send finalize"


async def test_jobs_that_share_transactions_and_a_ring_keep_their_own_traces(
    gateway: Gateway, rig: Rig, spans: Spans
) -> None:
    async def call() -> tuple[str, str | None]:
        with spans.tracer.span("caller") as caller:
            return await finalize(gateway), caller.trace_id

    called = dict(await asyncio.gather(*(call() for _ in range(8))))
    await rig.parts.runner.run_jobs({}, list(called))

    found = {said(span)["messaging.message.id"]: span.context for span in attempts(spans)}
    assert {job: f"{context.trace_id:032x}" for job, context in found.items() if context} == called
    published = {span.context.trace_id for span in spans.named("publish") if span.context}
    assert {f"{trace:032x}" for trace in published} == set(called.values())


async def test_files_of_one_request_are_one_trace(gateway: Gateway, rig: Rig, spans: Spans) -> None:
    answer = gateway.http.post("/v1/files", files=[("file", (f"{n}.txt", CONTENT, "text/plain")) for n in range(3)])
    assert answer.status_code == 202, answer.text
    await rig.run()
    spans.one("POST /v1/files")
    sent = spans.one("send finalize")
    assert said(sent)["messaging.batch.message_count"] == 3
    assert [spans.line_of(span) for span in attempts(spans)] == 3 * [
        ["process finalize", "send finalize", "POST /v1/files"]
    ]


async def test_a_job_of_nobodys_trace_begins_one(rig: Rig, spans: Spans) -> None:
    """As of a gateway without traces, of the version before, or of `sluice fsck --repair`."""
    job = await rig.finalize(await rig.upload(CONTENT))
    assert job.trace_context is None
    await rig.run()
    assert spans.one("process finalize").parent is None
    assert spans.parent_of(spans.one("process metadata")) == "publish"


async def test_lines_of_gateway_and_worker_carry_the_trace(
    gateway: Gateway, rig: Rig, spans: Spans, lines: list[dict[str, Any]]
) -> None:
    with spans.tracer.span("caller") as caller:
        await finalize(gateway)
    await rig.run()
    for event in ("upload.finalizing", "request", "file.published", "job.ended"):
        found = [line for line in lines if line["event"] == event]
        assert found, event
        assert {line.get("trace_id") for line in found} == {caller.trace_id}, event


async def test_without_traces_rows_and_lines_have_none(plain_rig: Rig, lines: list[dict[str, Any]]) -> None:
    job = await plain_rig.finalize(await plain_rig.upload(CONTENT))
    await plain_rig.run()
    jobs = await plain_rig.jobs()
    assert [other.trace_context for other in jobs] == [None, None]
    assert (await plain_rig.job(job.id)).state == JobState.SUCCEEDED
    assert [line for line in lines if "trace_id" in line] == []


@pytest.mark.parametrize("flag", ["00", "01"])
async def test_the_clients_choice_not_to_sample_is_kept(gateway: Gateway, rig: Rig, spans: Spans, flag: str) -> None:
    trace = f"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flag}"
    await finalize(gateway, traceparent=trace)
    await rig.run()
    assert bool(spans.all()) is (flag == "01")
    [job] = await rig.jobs(JobKind.METADATA)
    assert (job.trace_context or "").startswith("00-0af7651916cd43dd8448eb211c80319c-")
    assert (job.trace_context or "").endswith(f"-{flag}")
