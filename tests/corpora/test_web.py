from __future__ import annotations

import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from sift_ray.config_storage import StorageConfig
from sift_ray.corpora import web
from sift_ray.corpora.audio_source import AudioSource
from sift_ray.corpora.audio_uri import AudioUri
from sift_ray.corpora.storage_errors import AudioUnavailableError
from sift_ray.corpora.web import fetch, may_fetch

CLIP = bytes(range(256)) * 1000


@dataclass
class Site:
    """A web server on this machine: where it is, and how often each path was asked for."""

    url: str = ""
    asked: Counter[str] = field(default_factory=Counter)


class _Handler(BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        self.site.asked[self.path] += 1
        name = self.path.partition("?")[0].strip("/")
        if name == "flaky" and self.site.asked[self.path] > 2:
            name = "clip.flac"
        getattr(self, f"_{name.partition('.')[0]}", self._missing)()

    def _answer(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def _clip(self) -> None:
        self._answer(200, CLIP, Content_Length=str(len(CLIP)))

    def _missing(self) -> None:
        self._answer(404, b"no such clip")

    def _gone(self) -> None:
        self._answer(410)

    def _private(self) -> None:
        self._answer(403)

    def _broken(self) -> None:
        self._answer(500)

    def _flaky(self) -> None:
        self._answer(503, Retry_After="3600")

    def _moved(self) -> None:
        self._answer(302, Location=f"{self.site.url}/clip.flac")

    def _large(self) -> None:
        self._answer(200, b"", Content_Length=str(10**12))

    def _endless(self) -> None:
        self._answer(200)
        while True:
            self.wfile.write(CLIP)

    def _slow(self) -> None:
        self._answer(200)
        while True:
            self.wfile.write(CLIP)
            time.sleep(0.05)

    def _short(self) -> None:
        self._answer(200, CLIP[:10], Content_Length=str(len(CLIP)))

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The certificate of an authority, and a chain with key that it gave to 127.0.0.1."""
    folder = tmp_path_factory.mktemp("certificate")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    return folder / "authority.pem", folder / "server.pem"


@pytest.fixture(scope="module")
def server(certificate: tuple[Path, Path]) -> Iterator[Site]:
    site = Site()
    handler = type("Handler", (_Handler,), {"site": site})
    listener = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    listener.daemon_threads = True
    listener.handle_error = lambda *args: None  # type: ignore[method-assign]  # (clients hang up here on purpose)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate[1])
    listener.socket = context.wrap_socket(listener.socket, server_side=True)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    site.url = f"https://127.0.0.1:{listener.server_port}"
    yield site
    listener.shutdown()
    listener.server_close()


@pytest.fixture
def site(server: Site, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The server, its certificate trusted, and retries without a pause."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    monkeypatch.setattr(web, "_BACKOFF", 0.0)
    web._pool.cache_clear()
    server.asked.clear()
    yield server
    web._pool.cache_clear()


def refusal(url: str, most_bytes: int = 1 << 30) -> AudioUnavailableError:
    with pytest.raises(AudioUnavailableError) as caught:
        fetch(url, most_bytes)
    assert url in caught.value.detail
    return caught.value


def test_what_lies_there_is_returned(site: Site) -> None:
    assert fetch(f"{site.url}/clip.flac", len(CLIP)) == CLIP
    assert fetch(f"{site.url}/clip.flac?a=b%20c", len(CLIP)) == CLIP
    assert site.asked == {"/clip.flac": 1, "/clip.flac?a=b%20c": 1}


def test_an_address_is_opened_like_any_other(site: Site) -> None:
    with AudioSource(StorageConfig()).open(AudioUri(f"{site.url}/clip.flac", start_s=1.0)) as file:
        assert not isinstance(file, str)
        assert file.read() == CLIP


@pytest.mark.parametrize(
    ("name", "reason", "detail", "times"),
    [
        ("missing.flac", "missing_audio", "HTTP 404", 1),
        ("gone", "missing_audio", "HTTP 410", 1),
        ("private", "storage_error", "HTTP 403", 1),
        ("moved", "web_refused", "HTTP 302, redirects to https://127.0.0.1", 1),
        ("broken", "storage_error", "500", 4),
        ("large", "too_large", "1,000,000,000,000 bytes", 1),
        ("endless", "too_large", "more than 1,000,000 bytes", 1),
        ("short", "storage_error", "10 bytes read", 1),
    ],
)
def test_what_cant_be_had_has_its_reason(site: Site, name: str, reason: str, detail: str, times: int) -> None:
    error = refusal(f"{site.url}/{name}", most_bytes=1_000_000)
    assert error.reason == reason
    assert detail in error.detail
    assert site.asked == {f"/{name}": times}  # above all, nothing else was asked for


def test_a_server_that_stumbles_is_asked_again_at_once(site: Site) -> None:
    started = time.monotonic()
    assert fetch(f"{site.url}/flaky", len(CLIP)) == CLIP
    assert site.asked == {"/flaky": 3}
    assert time.monotonic() - started < 60  # not after the hour that the server asks for


def test_a_server_may_not_take_for_ever(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "_MOST_SECONDS", 0.3)
    error = refusal(f"{site.url}/slow")
    assert error.reason == "storage_error"
    assert "not all there" in error.detail


def test_a_certificate_that_nobody_vouches_for_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    web._pool.cache_clear()
    error = refusal(f"{site.url}/clip.flac")
    assert error.reason == "storage_error"
    assert "CERTIFICATE_VERIFY_FAILED" in error.detail
    assert not site.asked


def test_a_certificate_for_another_host_is_refused(site: Site) -> None:
    error = refusal(f"{site.url.replace('127.0.0.1', 'localhost')}/clip.flac")
    assert error.reason == "storage_error"
    assert "localhost" in error.detail
    assert not site.asked


def test_nobody_there() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(web, "_BACKOFF", 0.0)
        web._pool.cache_clear()
        assert refusal("https://127.0.0.1:9/a.flac").reason == "storage_error"
    web._pool.cache_clear()


def test_http_is_never_asked() -> None:
    assert refusal("http://127.0.0.1:9/a.flac").reason == "web_refused"


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://audio.example.org/a.flac", True),
        ("https://AUDIO.example.org:8443/a%20b.flac?x=y", True),
        ("https://audio.example.org#@evil.example", True),
        ("http://audio.example.org/a.flac", False),
        ("https://example.org/a.flac", False),
        ("https://x.audio.example.org/a.flac", False),
        ("https://audio.example.org.evil.example/a.flac", False),
        ("https://audio.example.org@evil.example/a.flac", False),
        ("https://me:secret@audio.example.org/a.flac", False),
        ("https://evil.example/audio.example.org", False),
        ("https://audio.example.org%2eevil.example/", False),
        ("https://audio.exa\nmple.org/a.flac", False),
        ("https:///a.flac", False),
        ("https://[::1/a.flac", False),
        ("s3://audio.example.org/a.flac", False),
        ("audio.example.org", False),
    ],
)
def test_only_https_of_named_hosts_may_be_fetched(url: str, allowed: bool) -> None:
    assert may_fetch(url, ("audio.Example.org",)) == allowed
    assert not may_fetch(url, ())
