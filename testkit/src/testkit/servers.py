"""A local HTTP server for a test, on a free port."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


class Server(ABC, ThreadingHTTPServer):
    """Runs from its making until `close` or the end of its `with` block; a subclass says in `respond` what it answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @abstractmethod
    def respond(
        self, method: str, path: str, headers: Message, body: bytes
    ) -> tuple[int, bytes] | tuple[int, bytes, Mapping[str, str]]:
        """Return the status and the content of the answer to a request, and headers beside the usual ones."""

    def close(self) -> None:
        """Stop listening."""
        self.shutdown()
        self.server_close()

    def __exit__(self, *_: object) -> None:
        """Stop listening."""
        self.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        assert isinstance(self.server, Server)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, content, *others = self.server.respond(self.command, self.path, self.headers, body)
        self.send_response(status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        for more in others:
            headers |= more
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815 (http.server's names)

    def log_message(self, *_: Any) -> None:
        """Log nothing; a test looks at what its server has kept."""
