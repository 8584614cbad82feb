"""Forms as streams: however the body is cut, the parts are the same."""

import itertools
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import BodyIncomplete, InvalidDigest, InvalidRequest, MetadataTooLarge
from gateway.api.form_fields import about_of
from gateway.api.forms import FormReader, read_field
from tests.unit.gateway.conftest import BodyOf

TYPE = "multipart/form-data; boundary=BOUND"
FILE = b"\r\n--BOUN\r\n\r--BOUND \x00\xff" * 3  # almost a boundary, again and again
BODY = (
    b'--BOUND\r\nContent-Disposition: form-data; name="first"\r\n\r\nvalue \xc3\xa4\r\n'
    b'--BOUND\r\ncontent-disposition: form-data; name="f"; filename="n\xc3\xa4me;.txt"\r\n'
    b"Content-Type: text/x-test\r\n\r\n" + FILE + b"\r\n"
    b'--BOUND\r\nContent-Disposition: form-data; name="empty"; filename="e"\r\n\r\n\r\n'
    b'--BOUND\r\nContent-Disposition: form-data; name="last"\r\n\r\n\r\n'
    b"--BOUND--\r\nepilogue"
)
PARTS = [
    ("first", None, None, "value ä".encode()),
    ("f", "näme;.txt", "text/x-test", FILE),
    ("empty", "e", None, b""),
    ("last", None, None, b""),
]


async def parts_of(body: AsyncIterator[bytes]) -> list[tuple[str, str | None, str | None, bytes]]:
    found = []
    async for part in FormReader(TYPE, body).parts():
        data = b"".join([piece async for piece in part.data])
        found.append((part.name, part.filename, part.content_type, data))
    return found


async def test_the_parts_of_a_whole_form(body_of: BodyOf) -> None:
    assert await parts_of(body_of([BODY])) == PARTS


async def test_a_form_cut_at_any_one_byte_has_the_same_parts(body_of: BodyOf) -> None:
    for at in range(1, len(BODY)):
        assert await parts_of(body_of([BODY[:at], BODY[at:]])) == PARTS, at


async def test_a_form_that_comes_byte_by_byte_has_the_same_parts(body_of: BodyOf) -> None:
    assert await parts_of(body_of([BODY[at : at + 1] for at in range(len(BODY))])) == PARTS


@settings(max_examples=100, deadline=None)
@given(cuts=st.lists(st.integers(0, len(BODY)), max_size=12))
async def test_a_form_cut_anyhow_has_the_same_parts(cuts: list[int]) -> None:
    async def body() -> AsyncIterator[bytes]:
        edges = [0, *sorted(cuts), len(BODY)]
        for start, end in itertools.pairwise(edges):
            yield BODY[start:end]

    assert await parts_of(body()) == PARTS


async def test_a_part_that_nobody_reads_is_skipped(body_of: BodyOf) -> None:
    assert [part.name async for part in FormReader(TYPE, body_of([BODY])).parts()] == [name for name, *_ in PARTS]


@pytest.mark.parametrize("at", [len(BODY) - 13, len(BODY) - 40, 200, 120, 70, 12, 0])
async def test_a_form_that_ends_early_is_incomplete(body_of: BodyOf, at: int) -> None:
    with pytest.raises(BodyIncomplete):
        await parts_of(body_of([BODY[:at]]))


@pytest.mark.parametrize(
    "body", [b"--BOUND\r\nno colon\r\n\r\n", b"--BOUND\r\n: x\r\n\r\n", b"--BOUND\r\nA: b\rc\r\n\r\n", b"--BOUNDx"]
)
async def test_a_malformed_form_is_refused(body_of: BodyOf, body: bytes) -> None:
    with pytest.raises((InvalidRequest, BodyIncomplete)):
        await parts_of(body_of([body + b"\r\n--BOUND--\r\n"]))


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=", "x"])
async def test_a_form_without_a_boundary_is_refused(body_of: BodyOf, content_type: str) -> None:
    with pytest.raises(InvalidRequest):
        FormReader(content_type, body_of([]))


def form_of(*heads: bytes, content: bytes = b"x") -> bytes:
    parts = (b"--BOUND\r\n" + head + b"\r\n\r\n" + content + b"\r\n" for head in heads)
    return b"".join(parts) + b"--BOUND--\r\n"


NAMED = b'Content-Disposition: form-data; name="f"; '


async def test_a_file_part_may_have_an_empty_name(body_of: BodyOf) -> None:
    assert await parts_of(body_of([form_of(NAMED + b'filename=""')])) == [("f", "", None, b"x")]


async def test_a_file_name_inside_another_value_makes_no_file(body_of: BodyOf) -> None:
    head = b'Content-Disposition: form-data; name="a; filename*=UTF-8\'\'evil; filename=\\"x\\""'
    [part] = await parts_of(body_of([form_of(head)]))
    assert part == ("a; filename*=UTF-8''evil; filename=\"x\"", None, None, b"x")


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Disposition: form-data",
        b'Content-Disposition: form-data; filename="f"',
        b'Content-Disposition: form-data; name=""',
        b'Content-Disposition: form-data; name="\xff"',
        b"Content-Type: text/plain",
    ],
)
async def test_a_part_without_a_name_is_refused(body_of: BodyOf, head: bytes) -> None:
    with pytest.raises(InvalidRequest, match="name"):
        await parts_of(body_of([form_of(head)]))


async def test_a_part_brings_its_digests(body_of: BodyOf) -> None:
    head = NAMED + b'filename="a"\r\nContent-Digest: crc32c=:4waSgw==:\r\nRepr-Digest: crc64nvme=:AAAAAAAAAAA=:'
    parts = [part async for part in FormReader(TYPE, body_of([form_of(head)])).parts()]
    assert set(parts[0].declared) == {"crc32c", "crc64nvme"}
    with pytest.raises(InvalidDigest):
        await parts_of(body_of([form_of(NAMED + b"\r\nContent-Digest: nonsense")]))


async def test_a_field_that_is_no_utf_8_is_refused(body_of: BodyOf) -> None:
    part = await anext(FormReader(TYPE, body_of([form_of(NAMED, content=b"\xff")])).parts())
    with pytest.raises(InvalidRequest, match="UTF-8"):
        await read_field(part, 5)


async def test_a_form_that_does_not_stop_after_its_end_is_refused(body_of: BodyOf) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield BODY
        for _ in range(1000):
            yield bytes(1024)

    with pytest.raises(InvalidRequest, match="last boundary"):
        await parts_of(body())


async def test_a_field_is_read_up_to_its_limit(body_of: BodyOf) -> None:
    body = b'--BOUND\r\nContent-Disposition: form-data; name="k"\r\n\r\n12345\r\n--BOUND--\r\n'
    part = await anext(FormReader(TYPE, body_of([body])).parts())
    assert await read_field(part, 5) == "12345"
    part = await anext(FormReader(TYPE, body_of([body])).parts())
    with pytest.raises(MetadataTooLarge):
        await read_field(part, 4)


@pytest.mark.parametrize(
    ("fields", "metadata", "tags"),
    [
        ({}, {}, {}),
        ({"client_id": "7", "metadata": '{"a": {"b": 1}}'}, {"a": {"b": 1}, "client_id": "7"}, {}),
        ({"metadata": '{"client_id": "inner"}', "client_id": "outer"}, {"client_id": "outer"}, {}),
        ({"tags": " a = 1 ,, b"}, {}, {"a": "1", "b": ""}),
    ],
)
def test_fields_become_metadata_and_tags(fields: dict[str, str], metadata: object, tags: object) -> None:
    about = about_of(fields)
    assert (about.metadata, about.tags, about.description) == (metadata, tags, None)


@pytest.mark.parametrize("text", ['{"a": 1}', '{"a": null}', '{"a": ["b"]}', '["a=1", 2]', "[1", "{"])
def test_tags_that_are_no_texts_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        about_of({"tags": text})
