"""A proxy in front of a local service: passes everything on, lists what it passed, and injects faults.

A rule with `"when": "after"` lets the request through first and disturbs its answer: what a client sees when the answer
to something that has happened is lost. `replace` changes the answer's text by a regular expression (`find`, `with`).
"""

from __future__ import annotations

import gzip
import re
import zlib
from typing import TYPE_CHECKING

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web
from yarl import URL

from sandbox import serving
from sandbox.faults import Faults, Rule

if TYPE_CHECKING:
    from collections.abc import Mapping

# Headers of one connection, or that change when the body is read here (RFC 9110, 7.6.1).
OWN_HEADERS = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "content-length", "te", "trailer", "upgrade", "host"}
)
LARGEST_BODY = 1 << 32


class Proxy:
    """Passes requests on to one upstream."""

    def __init__(self, upstream: str) -> None:
        self.address = upstream.rstrip("/")
        self._faults = Faults()

    def app(self) -> web.Application:
        """Return the application."""
        app = web.Application(client_max_size=LARGEST_BODY)
        self.add_routes(app)
        app.router.add_route("*", "/{path:.*}", self._handle)
        app.cleanup_ctx.append(self._session)
        return app

    def add_routes(self, app: web.Application) -> None:
        """Add the control routes."""
        self._faults.add_routes(app)

    async def _session(self, app: web.Application):  # type: ignore[no-untyped-def]  # noqa: ANN202, ARG002
        async with ClientSession(
            connector=TCPConnector(limit=0, force_close=True),
            timeout=ClientTimeout(total=None),
            auto_decompress=False,
        ) as self.client:
            yield

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        seen = self._faults.record(request)
        body = await request.read()
        rule = self._faults.rule(request, body)
        if rule is None or rule.action in {"count", "field"}:
            response: web.StreamResponse = await self.pass_on(request, body)
        elif rule.action == "replace":
            response = _replace(await self.pass_on(request, body), rule)
        else:
            passed = await self.pass_on(request, body) if rule.options.get("when") == "after" else None

            async def answer() -> web.Response:
                return passed or await self.pass_on(request, body)

            response = await self._faults.apply(request, rule, answer)
        seen["status"] = response.status
        return response

    async def pass_on(self, request: web.Request, body: bytes) -> web.Response:
        """Return the upstream's answer."""
        return await self.forward(request, body)

    async def forward(
        self, request: web.Request, body: bytes, headers: dict[str, str] | None = None
    ) -> web.Response:
        """Return the upstream's answer to the request with these headers added."""
        url = URL(self.address + request.raw_path, encoded=True)
        sent = _end_to_end(request.headers) | (headers or {})
        async with self.client.request(
            request.method, url, headers=sent, data=body, allow_redirects=False
        ) as answer:
            headers = _end_to_end(answer.headers)
            if "Location" in headers:
                # An upload continues at the address in Location, which must be this proxy's.
                here = f"{request.scheme}://{request.host}"
                headers["Location"] = headers["Location"].replace(self.address, here)
            return web.Response(status=answer.status, body=await answer.read(), headers=headers)


def _end_to_end(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in OWN_HEADERS}


def _replace(answer: web.Response, rule: Rule) -> web.Response:
    body = answer.body if isinstance(answer.body, bytes) else b""
    packed = answer.headers.get("Content-Encoding") == "gzip"
    try:
        text = (gzip.decompress(body) if packed else body).decode()
    except (OSError, zlib.error, UnicodeDecodeError):
        text = ""
    text, count = re.subn(rule.options["find"], rule.options["with"], text)
    if not count:
        rule.hits -= 1
        return answer
    headers = {
        k: v for k, v in answer.headers.items() if k.lower() not in {"content-encoding", "content-length"}
    }
    return web.Response(status=rule.options.get("status", answer.status), body=text.encode(), headers=headers)


def serve(upstream: str, port: int) -> int:
    """Serve in the foreground until SIGTERM or SIGINT; print one JSON line when ready.

    Raises:
        SandboxError: The port is in use.
    """
    return serving.serve(lambda: Proxy(upstream).app(), port)
