"""A small object store on loopback that counts what is asked of it and fails when it is told to."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from sift_ray.config_storage import StorageConfig


class ObjectServer(ThreadingHTTPServer):
    """Serves `objects` ("bucket/key" → bytes) as S3 does, as far as reading needs it.

    Attributes:
        fail: Status and S3 error code of every answer to GET from now on; None: it works.
        ranges: (first byte, bytes) of every answered GET of an object.
        answers: How many GETs of objects were answered, failures among them.
        opened: How many HEADs of objects were answered.
        listed: How many keys all listings told.
        most_at_once: The greatest number of GETs that were being answered at a time.
        latency: Seconds before an answer.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        self.fail: tuple[int, str] | None = None
        self.ranges: list[tuple[int, int]] = []
        self.answers = self.opened = self.listed = self.at_once = self.most_at_once = 0
        self.latency = 0.0
        self.lock = threading.Lock()

    @property
    def storage(self) -> StorageConfig:
        # (the default, ten times, takes two minutes for an object that can't be had)
        return StorageConfig(endpoint_url=f"http://127.0.0.1:{self.server_port}", region="us-east-1", retries=3)

    @property
    def fetched(self) -> int:
        """Bytes of all answers."""
        return sum(size for _, size in self.ranges)

    def forget(self) -> None:
        self.ranges.clear()
        self.answers = self.opened = self.listed = self.most_at_once = 0


@contextmanager
def object_server() -> Iterator[ObjectServer]:
    with ObjectServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: ObjectServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        content = self.server.objects.get(self._key)
        self.server.opened += 1
        self._send(404 if content is None else 200, len(content or b""), b"")

    def do_GET(self) -> None:
        if "list-type" in self.path:
            self._send(200, None, self._listing())
            return
        with self.server.lock:
            self.server.answers += 1
            self.server.at_once += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.at_once)
        time.sleep(self.server.latency)
        self._get()
        with self.server.lock:
            self.server.at_once -= 1

    def _get(self) -> None:
        content = self.server.objects.get(self._key)
        failure = self.server.fail or (None if content is not None else (404, "NoSuchKey"))
        if failure is not None:
            self._send(failure[0], None, f"<Error><Code>{failure[1]}</Code><Message>no</Message></Error>".encode())
            return
        assert content is not None
        first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        part = content[int(first) : int(last) + 1 if last else None]
        self.server.ranges.append((int(first), len(part)))
        self._send(206, None, part, f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}")

    def _listing(self) -> bytes:
        bucket, _, _ = self._key.partition("/")
        query = parse_qs(urlsplit(self.path).query)
        prefix, most = query.get("prefix", [""])[0], int(query.get("max-keys", ["1000000"])[0])
        found = sorted(key for key in self.server.objects if key.startswith(f"{bucket}/{prefix}"))
        cut, found = str(len(found) > most).lower(), found[:most]
        self.server.listed += len(found)
        entries = "".join(
            f"<Contents><Key>{escape(key.removeprefix(f'{bucket}/'))}</Key><Size>{len(self.server.objects[key])}</Size>"
            "</Contents>"
            for key in found
        )
        more = f"<IsTruncated>{cut}</IsTruncated><NextContinuationToken>x</NextContinuationToken>"
        return f"<ListBucketResult>{more}{entries}</ListBucketResult>".encode()

    @property
    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).lstrip("/")

    def _send(self, status: int, size: int | None, body: bytes, content_range: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if size is None else size))
        content = self.server.objects.get(self._key, b"")
        self.send_header("ETag", f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"')
        self.send_header("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
        if content_range is not None:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        self.wfile.write(body)
