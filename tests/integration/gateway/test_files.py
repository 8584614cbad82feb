"""Published files: lists, changes, deletion."""

from collections.abc import Callable

import pytest

from common.ids import new_id
from tests.integration.gateway.rig import UNKNOWN, Gateway, Json, assert_problem, until

INSERT = """INSERT INTO files (id, tenant, upload_id, state, filename, size, content_type, digests, verified, metadata,
    tags, created_at) VALUES (?, ?, ?, 'ready', ?, 1, ?, '{}', 'read', '{}', '{}', ?)"""
TAG = "INSERT INTO file_tags (file_id, tenant, key, value, created_at) VALUES (?, ?, ?, ?, ?)"

AddFile = Callable[..., str]


@pytest.fixture
def add_file(own_gateway: Gateway) -> AddFile:
    """Puts a row of a published file into the database; newer ones come later."""
    clock = iter(range(100))

    def add(name: str = "a.txt", content_type: str = "text/plain", tenant: str = "default", **tags: str) -> str:
        file_id, moment = new_id(), f"2026-01-01 00:00:{next(clock):02}.000000"
        own_gateway.sql(INSERT, file_id, tenant, new_id(), name, content_type, moment)
        for key, value in tags.items():
            own_gateway.sql(TAG, file_id, tenant, key, value, moment)
        return file_id

    return add


def listed(gateway: Gateway, **query: object) -> list[str]:
    answer = gateway.http.get("/v1/files", params=query)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


def test_pages_go_through_all_files_newest_first(own_gateway: Gateway, add_file: AddFile) -> None:
    added = [add_file() for _ in range(7)]
    seen, cursor, pages = [], None, 0
    while pages == 0 or cursor:
        page = own_gateway.http.get("/v1/files", params={"limit": 3, **({"cursor": cursor} if cursor else {})}).json()
        seen += [item["id"] for item in page["items"]]
        cursor, pages = page["next_cursor"], pages + 1
    assert (seen, pages) == (added[::-1], 3)


def test_a_file_that_comes_between_two_pages_shifts_nothing(own_gateway: Gateway, add_file: AddFile) -> None:
    added = [add_file() for _ in range(4)]
    first = own_gateway.http.get("/v1/files", params={"limit": 2}).json()
    add_file()
    assert listed(own_gateway, limit=2, cursor=first["next_cursor"]) == [added[1], added[0]]


def test_filters_select(own_gateway: Gateway, add_file: AddFile) -> None:
    plain = add_file("a.txt")
    tagged = add_file("b.csv", "text/csv", colour="red", size="")
    other = add_file("b.csv", "text/csv", colour="blue")
    assert listed(own_gateway, filename="b.csv") == [other, tagged]
    assert listed(own_gateway, content_type="text/plain") == [plain]
    assert listed(own_gateway, tag="colour") == [other, tagged]
    assert listed(own_gateway, tag="colour=red") == [tagged]
    assert listed(own_gateway, tag="size=") == [tagged]
    assert listed(own_gateway, tag="colour=red", filename="a.txt") == []
    assert listed(own_gateway, created_after="2026-01-01T00:00:00Z") == [other, tagged]
    assert listed(own_gateway, created_before="2026-01-01T01:00:01+01:00") == [plain]
    assert listed(own_gateway, created_after="2026-01-01T00:00:00") == [other, tagged]


def test_files_of_another_tenant_do_not_exist(own_gateway: Gateway, add_file: AddFile) -> None:
    foreign = add_file(tenant="other", colour="red")
    assert listed(own_gateway) == []
    assert listed(own_gateway, tag="colour") == []
    for method, path in [("GET", ""), ("DELETE", ""), ("GET", "/content"), ("HEAD", "/content")]:
        answer = own_gateway.http.request(method, f"/v1/files/{foreign}{path}")
        assert answer.status_code == 404
    answer = own_gateway.http.patch(f"/v1/files/{foreign}", json={"description": "mine"})
    assert_problem(answer, 404, "file_not_found")
    assert own_gateway.sql("SELECT state, description FROM files") == [("ready", None)]


@pytest.mark.parametrize(
    "query",
    [
        "cursor=nonsense", "cursor=AAAA", "cursor=%00", "cursor=ä", "cursor=MDAwMS0wMS0wMVQwMDowMDowMCsxNDowMHxh",
        "limit=0", "limit=1001", "limit=x", "limit=1.0", "limit=%2B5", "limit=1_0", "limit=-1",
        "created_after=yesterday", "created_after=0001-01-01T00:00:00%2B14:00",
        "created_before=9999-12-31T23:59:59-14:00", "filename=%00", "tag=%00", "tag=a=%00", "content_type=%00",
    ],
)  # fmt: skip
def test_a_query_that_makes_no_sense_is_refused(gateway: Gateway, query: str) -> None:
    assert_problem(gateway.http.get(f"/v1/files?{query}"), 422, "invalid_request")


@pytest.fixture(scope="module")
def file(gateway: Gateway) -> Json:
    """A published file that the tests change; its own metadata job has ended."""
    made = gateway.publish(b"content", filename="c.txt", description="old", tags={"a": "1"}, metadata={"m": 1})
    until(lambda: gateway.http.get(made["links"]["self"]).json()["attributes"] is not None)
    return made


def patch(gateway: Gateway, file: Json, **members: object) -> Json:
    answer = gateway.http.patch(file["links"]["self"], json=members)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_a_change_touches_only_what_it_names(gateway: Gateway, file: Json) -> None:
    changed = patch(gateway, file, tags={"b": "2"})
    assert (changed["tags"], changed["metadata"], changed["description"]) == ({"b": "2"}, {"m": 1}, "old")
    assert patch(gateway, file, description=None)["description"] is None
    assert patch(gateway, file, metadata={"n": []})["metadata"] == {"n": []}
    assert patch(gateway, file)["tags"] == {"b": "2"}
    assert listed(gateway, tag="b=2") == [file["id"]]
    assert listed(gateway, tag="a", filename="c.txt") == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ('{"filename": "x"}', "invalid_request"),
        ('{"tags": null}', "invalid_request"),
        ('{"metadata": {"a": NaN}}', "invalid_request"),
        ('{"description": "\\u0000"}', "invalid_request"),
        ('{"tags": {"k": "' + "v" * 257 + '"}}', "invalid_request"),
        ('{"metadata": {"a": "' + "v" * 20_000 + '"}}', "metadata_too_large"),
    ],
)
def test_a_change_that_is_not_allowed_changes_nothing(gateway: Gateway, file: Json, body: str, code: str) -> None:
    before = gateway.http.get(file["links"]["self"]).json()
    answer = gateway.http.patch(file["links"]["self"], content=body, headers={"Content-Type": "application/json"})
    assert_problem(answer, 422, code)
    assert gateway.http.get(file["links"]["self"]).json() == before


@pytest.mark.parametrize("file_id", [UNKNOWN, "nonsense", "%20", "%C2%85"])
def test_an_unknown_file_is_404(gateway: Gateway, file_id: str) -> None:
    for method, path in [("GET", ""), ("DELETE", ""), ("GET", "/content")]:
        assert_problem(gateway.http.request(method, f"/v1/files/{file_id}{path}"), 404, "file_not_found")


def test_a_deleted_file_is_gone_with_its_bytes(gateway: Gateway) -> None:
    file = gateway.publish(b"short-lived", tags={"gone": ""})
    [stored] = (gateway.folder / "storage").glob(f"*/files/*/{file['id']}")
    assert gateway.http.delete(file["links"]["self"]).status_code == 204
    assert not stored.exists()
    assert_problem(gateway.http.get(file["links"]["self"]), 404, "file_not_found")
    assert_problem(gateway.http.get(file["links"]["content"]), 404, "file_not_found")
    assert_problem(gateway.http.delete(file["links"]["self"]), 404, "file_not_found")
    assert listed(gateway, tag="gone") == []


def test_a_file_whose_bytes_were_lost_is_503_and_never_a_short_body(gateway: Gateway) -> None:
    file = gateway.publish(b"lost")
    [stored] = (gateway.folder / "storage").glob(f"*/files/*/{file['id']}")
    stored.unlink()
    answer = gateway.http.get(file["links"]["content"])
    assert_problem(answer, 503, "storage_unavailable")
    assert "retry-after" in answer.headers
    assert gateway.http.head(file["links"]["content"]).status_code == 503


def test_head_is_get_without_the_body(gateway: Gateway, file: Json) -> None:
    upload, job = gateway.create(1), gateway.http.get("/v1/jobs?limit=1&state=succeeded").json()["items"][0]
    paths = ["/livez", "/v1/limits", "/v1/files?tag=none", "/v1/jobs?state=cancelled"]
    for path in [*paths, file["links"]["self"], upload["links"]["self"], job["links"]["self"]]:
        whole, head = gateway.http.get(path), gateway.http.head(path)
        assert (head.status_code, head.content) == (200, b""), path
        assert head.headers["content-length"] == str(len(whole.content))
    assert gateway.http.head("/readyz").status_code == gateway.http.get("/readyz").status_code
    assert gateway.http.head("/v1/files/nonsense").status_code == 404


def test_a_page_ends_where_it_has_many_bytes(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [gateway.publish(b"", tags={"long": ""}, metadata={"a": "x" * 5000})["id"] for _ in range(5)]
    monkeypatch.setattr("gateway.service.files.PAGE_BYTES", 10_000)
    pages = [gateway.http.get("/v1/files?tag=long&limit=4").json()]
    while pages[-1]["next_cursor"]:
        query = {"tag": "long", "limit": 4, "cursor": pages[-1]["next_cursor"]}
        pages.append(gateway.http.get("/v1/files", params=query).json())
    assert [len(page["items"]) for page in pages] == [2, 2, 1]
    assert [item["id"] for page in pages for item in page["items"]] == files[::-1]
