"""A small server on loopback that imitates what the hub's client asks for when it fills a dataset repository."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repository:
    """What the hub holds and was told."""

    files: dict[str, bytes] = field(default_factory=dict)
    created: list[dict[str, Any]] = field(default_factory=list)
    commits: list[dict[str, Any]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    refuses_commits: bool = False

    @property
    def private(self) -> list[bool]:
        """Whether each repository that was asked for was to be private, as older and newer clients say it."""
        return [bool(one.get("private")) or one.get("visibility") == "private" for one in self.created]


class _Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    repository: Repository
    name: str

    def do_GET(self) -> None:
        path = self._path()
        if path in (f"/api/datasets/{self.name}", f"/api/datasets/{self.name}/revision/main"):
            files = [{"rfilename": name} for name in self.repository.files]
            self._send({"id": self.name, "sha": COMMIT, "siblings": files})
        elif path == f"/api/datasets/{self.name}/tree/main":
            held = self.repository.files.items()
            self._send([{"type": "file", "path": name, "size": len(data), "oid": "0"} for name, data in held])
        else:
            self._send({"error": f"GET {path} is not imitated"}, 404)

    def do_POST(self) -> None:
        path = self._path()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if path == "/api/repos/create":
            self.repository.created.append(json.loads(body))
            self._send({"url": f"{self._address()}/datasets/{self.name}", "id": "1"})
        elif path == "/api/validate-yaml":
            self._send({"errors": [], "warnings": []})
        elif path == f"/api/datasets/{self.name}/preupload/main":
            files = [{"path": file["path"], "uploadMode": "regular"} for file in json.loads(body)["files"]]
            self._send({"files": [{**file, "shouldIgnore": False, "oid": None} for file in files]})
        elif path == f"/api/datasets/{self.name}/commit/main":
            self._commit([json.loads(line) for line in body.splitlines()])
        else:
            self._send({"error": f"POST {path} is not imitated"}, 404)

    def _commit(self, lines: list[dict[str, Any]]) -> None:
        if self.repository.refuses_commits:
            self._send({"error": "no room left"}, 507)
            return
        self.repository.commits.append(next(line["value"] for line in lines if line["key"] == "header"))
        for line in lines:
            if line["key"] == "file":
                self.repository.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "deletedFile":
                del self.repository.files[line["value"]["path"]]
        url = f"{self._address()}/datasets/{self.name}/commit/{COMMIT}"
        self._send({"success": True, "commitOid": COMMIT, "commitUrl": url})

    def _path(self) -> str:
        if token := self.headers.get("Authorization"):
            self.repository.tokens.add(token)
        return urlsplit(self.path).path

    def _address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def _send(self, value: Any, status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def hub_of(name: str) -> Iterator[tuple[str, Repository]]:
    """Serve one dataset repository; yields the hub's address, and what it holds."""
    repository = Repository()
    handler = type("Hub", (_Hub,), {"repository": repository, "name": name})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", repository
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
