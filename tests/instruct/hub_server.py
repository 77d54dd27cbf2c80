"""A small server on loopback that imitates what the Hugging Face hub's client asks for when it fetches a repository."""

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SAFE = {"config.json": b"{}", "model.safetensors": b"weights", "tokenizer.json": b"[]", "chat_template.jinja": b"x"}
PICKLED = {"config.json": b"{}", "pytorch_model.bin": b"pickle"}
INDEX = b'{"weight_map": {"a": "model-00002-of-00002.safetensors"}}'
REPOSITORIES = {
    "org/tiny": {**SAFE, "pytorch_model.bin": b"pickle", "README.md": b"#", "original/params.json": b"{}"},
    "org/pickled": PICKLED,
    "org/sharded": {
        **SAFE,
        "model.safetensors.index.json": b'{"weight_map": {"a": "model-00002-of-00002.safetensors"}}',
    },
}
GATED = "org/gated"
CODES = {"gated": (403, "GatedRepo"), "repository": (404, "RepoNotFound"), "revision": (404, "RevisionNotFound")}


class _Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fetched: Counter[str]
    tokens: list[str]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        if token := self.headers.get("Authorization"):
            self.tokens.append(token)
        path = self.path.partition("?")[0].strip("/").removeprefix("api/models/")
        repository = "/".join(path.split("/")[:2])
        rest = path.split("/")[2:]
        if repository == GATED:
            self._refuse("gated", body=body)
        elif repository not in REPOSITORIES:
            self._refuse("repository", body=body)
        elif rest[1] not in ("main", COMMIT):
            self._refuse("revision", body=body)
        else:
            files = REPOSITORIES[repository]
            if rest[0] == "resolve":
                name = "/".join(rest[2:])
                if body:
                    self.fetched[f"{repository}/{name}"] += 1
                self._send(200, files[name], body=body)
            elif rest[0] == "tree":
                listing = [{"type": "file", "path": n, "size": len(d), "oid": _tag(d)} for n, d in files.items()]
                self._send(200, json.dumps(listing).encode(), body=body)
            else:
                about = {"id": repository, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
                self._send(200, json.dumps(about).encode(), body=body)

    def _refuse(self, what: str, *, body: bool) -> None:
        status, code = CODES[what]
        self._send(status, b"{}", body=body, code=code)

    def _send(self, status: int, data: bytes, *, body: bool, code: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{_tag(data)}"')
        if code is not None:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _tag(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


@contextmanager
def serving() -> Iterator[tuple[str, Counter[str], list[str]]]:
    """Yield the server's address, how often each file was fetched, and the tokens that it was sent."""
    fetched: Counter[str] = Counter()
    tokens: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Hub", (_Hub,), {"fetched": fetched, "tokens": tokens}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", fetched, tokens
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
