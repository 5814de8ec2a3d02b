"""A local API for the tap's tests, with real HTTP and faults on request; and how the tap is run on it."""

import json
import os
import re
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PAGE = 20
TRUST = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
RESOURCES = {"characters": "character", "episodes": "episode", "locations": "location"}


def character(number: int, **changes: Any) -> dict[str, Any]:
    """A record as the API gives it."""
    return {
        "id": number,
        "name": f"Nobody {number}",
        "status": "Alive",
        "species": "Human",
        "type": "",
        "gender": "unknown",
        "origin": {"name": "unknown", "url": ""},
        "location": {"name": "Nowhere", "url": "https://rickandmortyapi.com/api/location/1"},
        "image": f"https://rickandmortyapi.com/api/character/avatar/{number}.jpeg",
        "episode": ["https://rickandmortyapi.com/api/episode/1"],
        "url": f"https://rickandmortyapi.com/api/character/{number}",
        "created": "2017-11-04T18:48:46.250Z",
        **changes,
    }


def episode(number: int) -> dict[str, Any]:
    """A record as the API gives it."""
    return {
        "id": number,
        "name": f"Part {number}",
        "air_date": "December 2, 2013",
        "episode": f"S01E{number:02}",
        "characters": [],
        "url": f"https://rickandmortyapi.com/api/episode/{number}",
        "created": "2017-11-10T12:56:33.798Z",
    }


def location(number: int) -> dict[str, Any]:
    """A record as the API gives it."""
    return {
        "id": number,
        "name": f"Place {number}",
        "type": "Planet",
        "dimension": "unknown",
        "residents": [],
        "url": f"https://rickandmortyapi.com/api/location/{number}",
        "created": "2017-11-10T12:42:04.162Z",
    }


@dataclass
class Rule:
    """Applies a fault to requests whose path matches: `times` times, after `skip` of them."""

    path: str
    fault: "Fault"
    times: int = 1
    skip: int = 0


class Handler(BaseHTTPRequestHandler):
    """Answers as the API does."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def log_message(self, *_: Any) -> None:
        """Log nothing: the tests count requests."""

    def do_GET(self) -> None:
        """Answer with a page, or with a fault."""
        api = self.server.api
        with api.lock:
            api.requests.append((self.path, dict(self.headers)))
            api.connections.add(self.client_address)
            rule = next((r for r in api.faults if re.search(r.path, self.path) and r.times > 0), None)
            if rule and rule.skip:
                rule.skip -= 1
                rule = None
            elif rule:
                rule.times -= 1
            denied = api.denies()
        if denied:
            self.answer(429, b"slow down")
        elif rule:
            rule.fault(self)
        else:
            self.serve()

    def serve(self) -> None:
        """The API's own answer to the request."""
        self.answer(*self.server.api.page(self.path))

    do_CONNECT = do_GET  # noqa: N815 (http.server's: as a proxy, for faults)

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        """A whole answer."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json; charset=utf-8")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


Fault = Callable[[Handler], None]


class Server(ThreadingHTTPServer):
    """The server of an Api."""

    daemon_threads = True
    request_queue_size = 128
    api: "Api"

    def handle_error(self, *_: Any) -> None:
        """Log nothing: clients that go away are part of the tests."""


@dataclass
class Api:
    """The API's records and faults, and the requests that it got."""

    url: str
    records: dict[str, list[dict[str, Any]]]
    faults: list[Rule] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    connections: set[Any] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    allowed: tuple[int, float] | None = None
    served: list[float] = field(default_factory=list)

    def limit(self, allowed: int, seconds: float) -> None:
        """Allow this many requests per seconds; answer the others with 429, without Retry-After."""
        self.allowed = (allowed, seconds)

    def denies(self) -> bool:
        """Return whether the limit denies a request now; the caller holds the lock."""
        if self.allowed is None:
            return False
        now = time.monotonic()
        self.served = [at for at in self.served if now - at < self.allowed[1]]
        if len(self.served) >= self.allowed[0]:
            return True
        self.served.append(now)
        return False

    def page(self, path: str) -> tuple[int, bytes]:
        """Status and body of a page, or of the records that the path names by ids."""
        parts = urlsplit(path)
        resource, _, ids = parts.path.partition("/api/")[2].partition("/")
        if resource not in self.records:
            return 404, b'{"error":"There is nothing here."}'
        if ids:
            wanted = {int(number) for number in ids.split(",")}
            records = [record for record in self.records[resource] if record["id"] in wanted]
            return 200, json.dumps(records, separators=(",", ":"), ensure_ascii=False).encode()
        number = int(parse_qs(parts.query).get("page", ["1"])[0])
        records = self.records[resource]
        pages = -(-len(records) // PAGE)
        if number > pages:
            return 404, b'{"error":"There is nothing here"}'
        info = {
            "count": self.counts.get(path.removeprefix("/api/"), len(records)),
            "pages": pages,
            "next": f"https://rickandmortyapi.com/api/{resource}?page={number + 1}"
            if number < pages
            else None,
            "prev": None,
        }
        body = {"info": info, "results": records[(number - 1) * PAGE : number * PAGE]}
        return 200, json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()

    def fault(self, path: str, fault: Fault, times: int = 1, skip: int = 0) -> None:
        """Apply a fault to requests whose path matches a pattern."""
        self.faults.append(Rule(path, fault, times, skip))

    def asked(self, resource: str) -> list[str]:
        """The paths requested of a resource."""
        return [path for path, _ in self.requests if f"/api/{resource}" in path]


def status(code: int, body: bytes = b'{"error":"no"}', **headers: str) -> Fault:
    """The fault of an answer with this status."""
    return lambda handler: handler.answer(code, body, **headers)


def reset(handler: Handler) -> None:
    """The fault of a connection reset before the answer."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RD)
    handler.connection.close()


def bad_header(handler: Handler) -> None:
    """The fault of a header that is none, after which urllib3 reads no other."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 1\r\n\r\nx")
    handler.close_connection = True


def truncate(handler: Handler) -> None:
    """The fault of a body that ends before its length."""
    _, body = handler.server.api.page(handler.path)
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[:100])
    handler.close_connection = True


def drip_headers(handler: Handler) -> None:
    """The fault of headers that come byte by byte, and never end."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    _drip(handler)


def drip_body(handler: Handler) -> None:
    """The fault of a body that comes byte by byte, and never ends."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    _drip(handler)


def _drip(handler: Handler) -> None:
    handler.close_connection = True
    with suppress(OSError):
        while True:
            handler.wfile.write(b" ")
            time.sleep(0.1)


def hang_up(handler: Handler) -> None:
    """The fault of a kept-alive connection that is closed after an answer that did not announce it."""
    handler.serve()
    handler.close_connection = True


def early_hints(handler: Handler) -> None:
    """The answer after informational ones, as CDNs send them (RFC 8297)."""
    handler.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n")
    handler.serve()


def no_status(handler: Handler) -> None:
    """The fault of a body without a status line, as HTTP/0.9 has it."""
    handler.close_connection = True
    handler.wfile.write(handler.server.api.page(handler.path)[1])


def bad_json(handler: Handler) -> None:
    """The fault of a body of right length whose JSON is cut."""
    _, body = handler.server.api.page(handler.path)
    handler.answer(200, body[: len(body) // 2])


def slow(seconds: float) -> Fault:
    """The fault of an answer that comes late."""

    def apply(handler: Handler) -> None:
        time.sleep(seconds)
        handler.serve()

    return apply


def move_on(number: int) -> Fault:
    """The fault of a source that loses its fifth character and gains one with this number, just before it answers."""

    def apply(handler: Handler) -> None:
        records = handler.server.api.records["character"]
        records[:] = [*records[:4], *records[5:], character(number)]
        handler.serve()

    return apply


@dataclass
class Outcome:
    """The result of a run of the tap."""

    status: int
    messages: list[dict[str, Any]]
    log: str
    out: str = ""

    def records(self, stream: str, version: int | None = None) -> list[dict[str, Any]]:
        """The records of a stream, of one version where given."""
        return [
            m["record"]
            for m in self.messages
            if m["type"] == "RECORD" and m["stream"] == stream and version in (None, m.get("version"))
        ]

    def activated(self, stream: str) -> list[int]:
        """The versions activated."""
        return [
            m["version"] for m in self.messages if m["type"] == "ACTIVATE_VERSION" and m["stream"] == stream
        ]

    def succeeded(self) -> "Outcome":
        """Assert that the run succeeded; return its outcome."""
        assert self.status == 0, self.log
        return self

    def failed(self, *named: str) -> "Outcome":
        """Assert that the run failed without a traceback, with these texts in its last line; return its outcome."""
        assert self.status == 1, self.log
        assert "Traceback" not in self.log
        for text in named:
            assert text in self.last_line()
        assert len(self.last_line()) < 1000
        return self

    def last_line(self) -> str:
        """The last line of the log."""
        return self.log.strip().rpartition("\n")[2]


RunTap = Callable[..., Outcome]


def environment(api: Api, **settings: Any) -> dict[str, str]:
    """The tap's environment, with its settings as variables and no others of its kind."""
    all_settings = {"api_url": api.url, "retry_seconds": 20, **settings}
    variables = {f"TAP_RICKANDMORTY_{name.upper()}": str(value) for name, value in all_settings.items()}
    return {k: v for k, v in os.environ.items() if not k.startswith("TAP_RICKANDMORTY_")} | variables


def started(api: Api) -> subprocess.Popen[str]:
    """The tap, started on an API."""
    return subprocess.Popen(
        [sys.executable, "-m", "tap_rickandmorty", "--config=ENV"],
        env=environment(api),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Api]:
    """An API of 45 characters, 3 episodes and 21 locations on a free port, by HTTPS where a context is given."""
    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    server.api = Api(
        f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}/api",
        {
            "character": [character(i) for i in range(1, 46)],
            "episode": [episode(i) for i in range(1, 4)],
            "location": [location(i) for i in range(1, 22)],
        },
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
