"""A file server with faults, and a cache of a test's own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

DATA = bytes(range(256)) * 4000


class Server:
    """A file server with faults; ``log`` holds the ranges asked for."""

    def __init__(self) -> None:
        self.log: list[str | None] = []
        self.data, self.version = DATA, '"one"'
        self.cut_after: int | None = None
        self.cuts = self.corruptions = 0
        self.ranges = self.lengths = True
        self.code = 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *words: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.base = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Send the file, or the rest of it, with the faults that are due."""
        asked = handler.headers.get("Range")
        self.log.append(asked)
        if self.code != 200:
            handler.send_error(self.code)
            return
        start = 0
        if asked and self.ranges and handler.headers.get("If-Range") == self.version:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            handler.send_response(206)
        else:
            handler.send_response(200)
        body = self.data[start:]
        if self.corruptions:
            self.corruptions -= 1
            body = bytes([body[0] ^ 1]) + body[1:]
        if self.version:
            handler.send_header("ETag", self.version)
        if self.lengths:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if self.cuts and self.cut_after is not None:
            self.cuts -= 1
            body = body[: self.cut_after]
        handler.wfile.write(body)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of this test's own."""
    monkeypatch.setenv("DRETRIEVE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def server() -> Iterator[Server]:
    """A running server."""
    made = Server()
    yield made
    made.server.shutdown()
    made.server.server_close()
