"""A server of OpenAI's chat API on loopback that says what a test has scripted."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """One HTTP reply: `body` is sent as JSON unless it is bytes, after `delay_s`."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0


def chat(text: str | None, finish: str = "stop", cached: int | None = None) -> Reply:
    """A chat completion of 100 prompt and 20 generated tokens, `cached` of them from the prefix cache."""
    details = None if cached is None else {"cached_tokens": cached}
    return Reply(
        {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}}],
            "usage": {
                "prompt_tokens": 100,
                "completion_tokens": 20,
                "total_tokens": 120,
                "prompt_tokens_details": details,
            },
        }
    )


def error(status: int, message: str, **headers: str) -> Reply:
    """An error as OpenAI and vLLM word them."""
    return Reply({"error": {"message": message, "type": "x", "code": status}}, status, headers)


class ChatServer:
    """Serves `models`; chats get the replies of `script` in turn, then `always`. All it is asked is kept."""

    def __init__(self, *models: str) -> None:
        self.models: Any = Reply({"object": "list", "data": [{"id": m, "object": "model"} for m in models]})
        self.script: list[Reply] = []
        self.always = chat("{}", cached=0)
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.in_flight = self.most_in_flight = 0
        self.url = ""
        self._lock = threading.Lock()

    def take(self, body: dict[str, Any] | None, key: str | None) -> Reply:
        with self._lock:
            self.keys.append(key)
            if body is None:
                return self.models
            self.asked.append(body)
            return self.script.pop(0) if self.script else self.always

    def counted(self, step: int) -> None:
        with self._lock:
            self.in_flight += step
            self.most_in_flight = max(self.most_in_flight, self.in_flight)


@contextmanager
def serving(*models: str) -> Iterator[ChatServer]:
    """A server on a free port of loopback, for as long as the block runs."""
    server = ChatServer(*models)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            self._reply(server.take(None, self.headers["Authorization"]))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.counted(+1)
            try:
                self._reply(server.take(body, self.headers["Authorization"]))
            finally:
                server.counted(-1)

        def _reply(self, reply: Reply) -> None:
            time.sleep(reply.delay_s)
            raw = isinstance(reply.body, bytes)
            data = reply.body if raw else json.dumps(reply.body).encode()
            headers = {"Content-Type": "text/html" if raw else "application/json", **reply.headers}
            try:
                self.send_response(reply.status)
                for name, value in {**headers, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)
            except OSError:  # the caller did not wait
                pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_port}/v1"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
