"""The main job over HTTP: create, chunks, finalize, poll, download."""

import hashlib

from tests.integration.gateway.rig import Gateway


def test_an_upload_becomes_a_file_with_the_same_bytes(gateway: Gateway) -> None:
    content = bytes(range(256)) * 40
    file = gateway.publish(content, filename="all bytes.bin", chunk_size=1000)
    assert file["size"] == len(content)
    assert file["digests"]["sha-256"] == hashlib.sha256(content).hexdigest()
    assert gateway.http.get(f"/v1/files/{file['id']}/content").content == content
