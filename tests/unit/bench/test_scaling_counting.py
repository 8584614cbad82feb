"""What is counted between the parts: requests, bytes, statements. And the figures that show it."""

import socket
import threading
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.scaling.counters import difference, sql_counters
from bench.scaling.plot import figure
from bench.scaling.relay import relay, s3_operations

LOG = """\
11 sluice-gateway LOG:  statement: BEGIN;
11 sluice-gateway LOG:  execute __asyncpg_stmt_1__: SELECT jobs.id
\tFROM jobs FOR UPDATE SKIP LOCKED
12 sluice-worker LOG:  statement: BEGIN ISOLATION LEVEL READ COMMITTED;
12 sluice-worker LOG:  execute __asyncpg_stmt_2__: WITH one AS (SELECT 1)
\tUPDATE jobs SET state='running'
11 sluice-gateway LOG:  statement: COMMIT;
12 sluice-worker LOG:  statement: COMMIT;
12 sluice-worker host-7 4242 LOG:  statement: BEGIN;
12 sluice-worker host-7 4242 LOG:  execute __asyncpg_stmt_3__: INSERT INTO files VALUES ($1)
12 sluice-worker LOG:  statement: ROLLBACK;
12 sluice-worker LOG:  execute __asyncpg_stmt_4__: DELETE FROM files
13 psql LOG:  statement: DELETE FROM jobs
"""


def test_statements_are_counted_by_process_and_writes_by_commit(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(LOG)
    assert sql_counters(log) == {
        "sql.gateway.statements": 1,
        "sql.gateway.transactions": 1,
        "sql.gateway.writes": 0,
        "sql.worker.statements": 3,
        "sql.worker.transactions": 3,
        "sql.worker.writes": 2,
    }


def test_a_difference_takes_what_is_new_from_nothing() -> None:
    assert difference({"a": 3.0, "b": 2.0}, {"a": 1.0}) == {"a": 2.0, "b": 2.0}


@pytest.mark.parametrize(
    ("request_line", "operation"),
    [
        ("POST /b/k?uploads", "CreateMultipartUpload"),
        ("PUT /b/k?partNumber=1&uploadId=x&X-Amz-Signature=y", "UploadPart"),
        ("POST /b/k?uploadId=x", "CompleteMultipartUpload"),
        ("GET /b/k?uploadId=x&max-parts=1000", "ListParts"),
        ("GET /b?list-type=2&prefix=p", "ListObjects"),
        ("GET /b?uploads&prefix=p", "ListMultipartUploads"),
        ("POST /b?delete", "DeleteObjects"),
        ("PUT /b/k", "PutObject"),
        ("HEAD /b/k", "HeadObject"),
    ],
)
def test_s3_requests_are_counted_by_operation(request_line: str, operation: str) -> None:
    assert s3_operations([request_line]) == {operation: 1}


def test_a_relay_counts_requests_also_behind_bodies_and_in_pieces() -> None:
    first = b"PUT /one?partNumber=1 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"
    second = b"GET /two HTTP/1.1\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as server, relay(*server.getsockname()[:2]) as counted:
        echo = threading.Thread(target=_answer_all, args=(server,))
        echo.start()
        host, port = counted.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(first + second[:9])
            assert client.recv(1) == b"!"  # the first piece has passed
            client.sendall(second[9:])
            client.shutdown(socket.SHUT_WR)
            while client.recv(100):
                pass
        echo.join()
    assert counted.requests == ["PUT /one?partNumber=1", "GET /two"]
    assert counted.sent == len(first + second)
    assert counted.received >= 2


def _answer_all(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        while connection.recv(4096):
            connection.sendall(b"!")


def test_a_figure_is_well_formed_and_names_its_lines() -> None:
    text = figure("a & b", {"files": {"one <x>": [(0, 0), (5, 3), (10, 1)]}, "pods": {"one <x>": [(0, 2), (10, 2)]}})
    texts = [element.text for element in ElementTree.fromstring(text).iter() if element.tag.endswith("text")]
    assert {"a & b", "files", "pods", "one <x>", "10 s"} <= set(texts)
