"""A proxy before an object store that fails as networks do: errors, throttling, and connections cut in the middle."""

from __future__ import annotations

import http.client
import random
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from sift_ray.config_storage import StorageConfig

FAULTS = ("error", "slow_down", "cut")
_ERROR = '<?xml version="1.0"?><Error><Code>{}</Code><Message>forged</Message></Error>'


class FaultyProxy(ThreadingHTTPServer):
    """Passes requests on to `endpoint`; `share` of them fail instead, in one of `FAULTS` (chosen by the seed).

    While `down`, every connection is closed without an answer.
    """

    daemon_threads = True

    def __init__(self, endpoint: str, share: float = 0.0, seed: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = urlsplit(endpoint).netloc
        self.share = share
        self.down = False
        self.methods: tuple[str, ...] | None = None  # only these fail; None: all
        self.faults: Counter[str] = Counter()
        self.cut: Counter[str] = Counter()  # of `faults`, by method
        self.passed = 0
        self._dice = random.Random(seed)
        self._lock = threading.Lock()

    @property
    def endpoint(self) -> str:
        """Its own address."""
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def storage(self) -> StorageConfig:
        """The config section of it."""
        return StorageConfig(endpoint_url=self.endpoint)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that are gone: some tests kill them."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def fate(self, method: str) -> str | None:
        """Return the fault of the next request, None where it passes."""
        with self._lock:
            spared = self.methods is not None and method not in self.methods
            if spared or self._dice.random() >= self.share:
                self.passed += 1
                return None
            fault = self._dice.choice(FAULTS)
            self.faults[fault] += 1
            if fault == "cut":
                self.cut[method] += 1
            return fault


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyProxy

    def log_message(self, *_: Any) -> None:
        pass

    def _pass_on(self) -> None:
        if self.server.down:
            self.close_connection = True
            self.connection.close()
            return
        fault = self.server.fate(self.command)
        if fault == "cut" and self.command == "PUT":
            self.rfile.read(int(self.headers.get("Content-Length") or 2) // 2)
            self._hang_up()
            return
        body = self._body()
        if fault in ("error", "slow_down"):
            status, code = (500, "InternalError") if fault == "error" else (503, "SlowDown")
            self._answer(status, [("Content-Type", "application/xml")], _ERROR.format(code).encode())
            return
        connection = http.client.HTTPConnection(self.server.target, timeout=60)
        try:
            # the host's name is part of what is signed: headers go through as they came
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            data = response.read()
            headers = [
                (name, value)
                for name, value in response.getheaders()
                if name.lower() not in ("transfer-encoding", "connection")
            ]
        finally:
            connection.close()
        if fault == "cut":
            self._answer(response.status, headers, data, sent=len(data) // 2)
            self._hang_up()
            return
        self._answer(response.status, headers, data)

    def _body(self) -> bytes:
        """Return the request's body as it came, chunks and all."""
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        raw = b""
        while True:
            line = self.rfile.readline()
            raw += line
            size = int(line.split(b";")[0], 16)
            if size == 0:
                break
            raw += self.rfile.read(size + 2)
        while line not in (b"\r\n", b""):
            line = self.rfile.readline()  # trailers, and the empty line behind them
            raw += line
        return raw

    def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes, sent: int | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() != "content-length":
                self.send_header(name, value)
        length = {name.lower(): value for name, value in headers}.get("content-length", str(len(data)))
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[:sent])

    def _hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(2)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass_on


@contextmanager
def faulty_proxy(endpoint: str, share: float = 0.0, seed: int = 0) -> Iterator[FaultyProxy]:
    """Run a proxy."""
    proxy = FaultyProxy(endpoint, share, seed)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()
