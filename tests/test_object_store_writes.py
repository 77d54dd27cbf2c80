"""What data is written with, where pyarrow's own client can't: each request as a store receives it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sift_ray.config_storage import StorageConfig
from sift_ray.object_store import S3Connection

s3fs = pytest.importorskip("s3fs")

SSE, KEY, PAYER = (
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-request-payer",
)
PART = 5 << 20


class Asked(NamedTuple):
    """A request: what it does, and its headers with small letters."""

    what: str
    headers: dict[str, str]


class Recorder(ThreadingHTTPServer):
    """Takes whatever is written, keeps its size alone, and records all that is asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[Asked] = []
        self.sizes: dict[str, int] = {}
        self.parts: dict[str, int] = {}

    def of(self, what: str) -> list[Asked]:
        return [one for one in self.asked if one.what == what]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Recorder

    def do_PUT(self) -> None:
        size, asked = len(self._body()), self._query()
        if "partNumber" in asked:
            self._record("part")
            self.server.parts[self._path()] = self.server.parts.get(self._path(), 0) + size
        else:
            self._record("put")
            self.server.sizes[self._path()] = size
        self._answer(200, ETag='"0"')

    def do_POST(self) -> None:
        self._body()
        if "uploads" in self._query():
            self._record("begin")
            body = "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
        else:
            self._record("complete")
            self.server.sizes[self._path()] = self.server.parts.pop(self._path())
            body = "<CompleteMultipartUploadResult><ETag>0</ETag></CompleteMultipartUploadResult>"
        self._answer(200, body)

    def do_HEAD(self) -> None:
        self._record("head")
        size = self.server.sizes.get(self._path())
        self._answer(404 if size is None else 200, length=size, ETag='"0"')

    def do_GET(self) -> None:
        self._record("list")
        self._answer(200, "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")

    def _path(self) -> str:
        return urlsplit(self.path).path.strip("/")

    def _query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.path).query, keep_blank_values=True)

    def _record(self, what: str) -> None:
        self.server.asked.append(Asked(what, {name.lower(): value for name, value in self.headers.items()}))

    def _body(self) -> bytes:
        assert "chunked" not in self.headers.get("Transfer-Encoding", "")
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, status: int, body: str = "", length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body) if length is None else length)}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def recorder() -> Iterator[Recorder]:
    with Recorder() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def write(monkeypatch: pytest.MonkeyPatch, **more: Any) -> Recorder:
    """Write a small file and one of several parts through the filesystem; return what the store was asked."""
    monkeypatch.setattr(s3fs.S3FileSystem, "default_block_size", PART)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    table = pa.table({"x": np.random.default_rng(0).standard_normal(1_500_000)})  # 12 MB that do not compress
    with recorder() as server:
        storage = StorageConfig(endpoint_url=f"http://127.0.0.1:{server.server_port}", region="eu-west-1", **more)
        filesystem = S3Connection(storage).filesystem
        assert filesystem.type_name == "py::fsspec+('s3', 's3a')"
        pq.write_table(table.slice(0, 100), "bucket/job/small.parquet", filesystem=filesystem)
        pq.write_table(table, "bucket/job/large.parquet", filesystem=filesystem)
        assert filesystem.get_file_info("bucket/job/large.parquet").size == server.sizes["bucket/job/large.parquet"]
    assert sorted(server.sizes) == ["bucket/job/large.parquet", "bucket/job/small.parquet"]
    assert server.sizes["bucket/job/large.parquet"] > 2 * PART
    assert len(server.of("put")) == len(server.of("begin")) == len(server.of("complete")) == 1
    assert len(server.of("part")) >= 2
    return server


@pytest.mark.parametrize(
    ("options", "headers"),
    [
        ({"encryption": "AES256"}, {SSE: "AES256"}),
        ({"encryption": "aws:kms"}, {SSE: "aws:kms"}),
        ({"encryption": "aws:kms", "kms_key_id": "key-1"}, {SSE: "aws:kms", KEY: "key-1"}),
    ],
)
def test_data_is_encrypted_as_asked_in_one_piece_and_in_parts(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, str], headers: dict[str, str]
) -> None:
    asked = write(monkeypatch, **options).asked
    for one in asked:
        # (a store refuses the header where nothing begins to be written, with each part among the rest)
        told = {name: value for name, value in one.headers.items() if name.startswith(SSE)}
        assert told == (headers if one.what in ("put", "begin") else {}), one.what
        assert PAYER not in one.headers


def test_every_request_for_data_is_paid_for_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = write(monkeypatch, request_payer=True).asked
    assert {one.what for one in asked} >= {"put", "begin", "part", "complete", "head"}
    assert [one.what for one in asked if one.headers.get(PAYER) != "requester"] == []
    assert [one.what for one in asked if SSE in one.headers] == []


def test_s3fs_takes_the_times_and_certificates_of_the_config() -> None:
    times: dict[str, Any] = {"connect_timeout_s": 3.5, "read_timeout_s": 7.5, "retries": 4, "ca_file": "/ca/own.pem"}
    storage = StorageConfig(endpoint_url="http://127.0.0.1:9", region="eu-west-1", request_payer=True, **times)
    store = S3Connection(storage).filesystem.handler.fs
    client = store.s3
    assert (client.meta.config.connect_timeout, client.meta.config.read_timeout) == (3.5, 7.5)
    assert client.meta.config.retries == {"total_max_attempts": 5, "mode": "standard"}
    assert client._endpoint.http_session._verify == "/ca/own.pem"
