"""Weights by file, folder, address and hub id."""

from __future__ import annotations

import collections
import os
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import trustme
from huggingface_hub import errors as hub

from sift_ray.features import checkpoints
from sift_ray.features.checkpoints import (
    CheckpointError,
    checkpoint_identity,
    find_checkpoint,
)

NAMES = ("model.safetensors", "pytorch_model.bin")


def test_a_file_is_itself_and_a_folder_gives_the_first_name(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"b")
    assert find_checkpoint(str(tmp_path / "pytorch_model.bin"), filenames=NAMES) == tmp_path / "pytorch_model.bin"
    assert find_checkpoint(str(tmp_path), filenames=NAMES) == tmp_path / "pytorch_model.bin"
    (tmp_path / "model.safetensors").write_bytes(b"s")
    assert find_checkpoint(str(tmp_path), filenames=NAMES) == tmp_path / "model.safetensors"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("/nowhere/model.bin", "no such file or folder"),
        ("./model", "no such file or folder"),
        ("model", "no such file or folder"),
        ("a/b/c", "no such file or folder"),
        ("", "no such file or folder"),
        ("http://127.0.0.1/model.bin", "over https alone"),
        ("file:///etc/passwd", "over https alone"),
    ],
)
def test_what_names_nothing_is_refused(
    source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        find_checkpoint(source, filenames=NAMES)
    with pytest.raises(CheckpointError, match=message):
        checkpoint_identity(source, filenames=NAMES)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    for function in (find_checkpoint, checkpoint_identity):
        with pytest.raises(CheckpointError, match=r"holds no model.safetensors or pytorch_model.bin") as caught:
            function(str(tmp_path), filenames=NAMES)
        assert str(tmp_path) in str(caught.value)


def test_identity_follows_what_the_files_hold(tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(b"one")
    file, folder = (checkpoint_identity(str(source), filenames=NAMES) for source in (path, tmp_path))
    (tmp_path / "README.md").write_text("no weights")
    os.utime(path, (0, 0))
    assert checkpoint_identity(str(path), filenames=NAMES) == file
    assert checkpoint_identity(str(tmp_path), filenames=NAMES) == folder
    assert file == folder
    assert len(file) == 16
    path.write_bytes(b"two")
    assert (
        file != checkpoint_identity(str(path), filenames=NAMES) == checkpoint_identity(str(tmp_path), filenames=NAMES)
    )


def test_identity_of_what_lies_elsewhere_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", None)
    assert checkpoint_identity("some/model", filenames=NAMES) == "some/model@main"
    assert checkpoint_identity("some/model", filenames=NAMES, revision="abc") == "some/model@abc"
    assert checkpoint_identity("https://a.invalid/m.pth", filenames=NAMES) == "https://a.invalid/m.pth"
    signed = checkpoint_identity("https://a.invalid/m.pth?X-Amz-Signature=SECRET", filenames=NAMES)
    assert re.fullmatch(r"https://a\.invalid/m\.pth\?[0-9a-f]{16}", signed)
    with pytest.raises(CheckpointError, match="without credentials") as raised:
        checkpoint_identity("https://user:SECRET@a.invalid/m.pth", filenames=NAMES)
    assert "SECRET" not in str(raised.value)


# ---- downloading


class _Handler(BaseHTTPRequestHandler):
    asked: collections.Counter[str]

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.asked[path] += 1
        answers: dict[str, Callable[[], None]] = {
            "/models/net.pth": lambda: self._answer(200, b"weights"),
            "/moved": lambda: self._answer(302, Location="/models/net.pth"),
            "/insecure": lambda: self._answer(
                302, Location=f"http://127.0.0.1:{self.server.server_port}/models/net.pth"
            ),  # type: ignore[attr-defined]
            "/round": lambda: self._answer(302, Location="/round"),
            "/flaky": lambda: self._answer(200, b"weights") if self.asked[path] > 2 else self._answer(503),
            "/private": lambda: self._answer(403),
            "/short": lambda: self._answer(200, b"weig", Content_Length="7"),
        }
        answers.get(path, lambda: self._answer(404))()

    def _answer(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class Site:
    def __init__(self, url: str, cache: Path, asked: collections.Counter[str]) -> None:
        self.url, self.cache, self.asked = url, cache, asked


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An https server whose certificate is trusted, and an empty cache."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(checkpoints, "_BACKOFF_S", 0.0)
    asked: collections.Counter[str] = collections.Counter()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"asked": asked}))
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield Site(f"https://127.0.0.1:{server.server_port}", tmp_path / "cache", asked)
    server.shutdown()
    server.server_close()


def test_an_address_is_downloaded_once(site: Site) -> None:
    url = f"{site.url}/models/net.pth"
    path = find_checkpoint(url, filenames=NAMES)
    assert path.read_bytes() == b"weights"
    assert path.name == "net.pth"
    assert path.is_relative_to(site.cache / "sift-ray")
    assert find_checkpoint(url, filenames=NAMES) == path
    assert site.asked == {"/models/net.pth": 1}
    assert find_checkpoint(f"{url}?version=2", filenames=NAMES) != path  # another address, another file
    assert [file.name for file in path.parent.iterdir()] == ["net.pth"]


@pytest.mark.parametrize(("name", "times"), [("moved", 1), ("flaky", 3)])
def test_redirects_and_stumbling_servers_are_borne(site: Site, name: str, times: int) -> None:
    assert find_checkpoint(f"{site.url}/{name}", filenames=NAMES).read_bytes() == b"weights"
    assert site.asked[f"/{name}"] == times


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "HTTP 404"),
        ("private", "HTTP 403"),
        ("short", "4 bytes read, 3 more expected"),
        ("insecure", "leads to http://127"),
        ("round", "one redirect after another"),
    ],
)
def test_what_cant_be_downloaded_leaves_nothing(site: Site, name: str, message: str) -> None:
    url = f"{site.url}/{name}"
    with pytest.raises(CheckpointError, match=message) as caught:
        find_checkpoint(url, filenames=NAMES)
    assert str(caught.value).startswith(f"{url}: can't be downloaded")
    assert not [path for path in site.cache.rglob("*") if path.is_file()]
    assert "/models/net.pth" not in site.asked


def test_a_server_that_is_not_there_is_an_error(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(CheckpointError, match="CERTIFICATE_VERIFY_FAILED"):
        find_checkpoint(f"{site.url}/models/net.pth", filenames=NAMES)
    with pytest.raises(CheckpointError, match="give the file's path") as raised:
        find_checkpoint("https://127.0.0.1:9/net.pth?token=SECRET", filenames=NAMES)
    assert "SECRET" not in str(raised.value)


# ---- the hub, whose answers are forged


def hub_answers(monkeypatch: pytest.MonkeyPatch, answers: dict[str, Path | Exception]) -> list[tuple[str, str | None]]:
    asked: list[tuple[str, str | None]] = []

    def download(repo_id: str, filename: str, *, revision: str | None = None) -> str:
        asked.append((filename, revision))
        answer = answers[filename]
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return asked


def refused(kind: type[Exception], text: str = "") -> Exception:
    """The SDK's error, without the HTTP answer that most of them want."""
    error = kind.__new__(kind, text)
    error.args = (text,)
    return error


def test_the_first_file_that_the_hub_has_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    missing = refused(hub.RemoteEntryNotFoundError)
    asked = hub_answers(monkeypatch, {NAMES[0]: missing, NAMES[1]: tmp_path / "found"})
    assert find_checkpoint("some/model", filenames=NAMES, revision="v2") == tmp_path / "found"
    assert asked == [(NAMES[0], "v2"), (NAMES[1], "v2")]


def test_a_file_in_the_cache_is_found_while_the_hub_is_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    away = hub.LocalEntryNotFoundError("not in the cache")
    hub_answers(monkeypatch, {NAMES[0]: away, NAMES[1]: tmp_path / "found"})
    assert find_checkpoint("some/model", filenames=NAMES) == tmp_path / "found"


@pytest.mark.parametrize(
    ("error", "messages"),
    [
        (refused(hub.GatedRepoError), ("accept its terms", "https://huggingface.co/some/model", "hf auth login")),
        (refused(hub.RepositoryNotFoundError), ("no such file or folder", "check the name", "hf auth login")),
        (refused(hub.RevisionNotFoundError), ("no such revision",)),
        (refused(hub.RemoteEntryNotFoundError), ("holds no model.safetensors or pytorch_model.bin",)),
        (hub.LocalEntryNotFoundError("no net"), ("the hub does not answer (no net)", "give the file's path")),
        (refused(hub.HfHubHTTPError, "502 Bad\nGateway"), ("can't be downloaded from the hub (502 Bad Gateway)",)),
    ],
)
def test_what_the_hub_refuses_is_told(
    error: Exception, messages: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_answers(monkeypatch, dict.fromkeys(NAMES, error))
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint("some/model", filenames=NAMES)
    assert str(caught.value).startswith("some/model@main: ")
    for message in messages:
        assert message in str(caught.value)


def test_the_hubs_own_offline_mode_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"the hub does not answer .*offline mode.*give the file's path"):
        find_checkpoint("some/model", filenames=NAMES)
