"""A proxy in front of a local service: passes everything on, lists what it passed, and injects faults."""

from collections.abc import Mapping

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, web
from yarl import URL

from sandbox.faults import Faults

# Headers of one connection, or that change when the body is read here (RFC 9110, 7.6.1).
OWN_HEADERS = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "content-length", "te", "trailer", "upgrade", "host"}
)
LARGEST_BODY = 1 << 32


class Proxy:
    """Passes requests on to one upstream."""

    def __init__(self, upstream: str) -> None:
        self.address = upstream.rstrip("/")

    def app(self) -> web.Application:
        """Return the application."""
        app = web.Application(client_max_size=LARGEST_BODY)
        Faults().add_to(app)
        app.router.add_route("*", "/{path:.*}", self._handle)
        app.cleanup_ctx.append(self._session)
        return app

    async def _session(self, app: web.Application):  # type: ignore[no-untyped-def]  # noqa: ANN202, ARG002
        async with ClientSession(
            connector=TCPConnector(limit=0, force_close=True),
            timeout=ClientTimeout(total=None),
            auto_decompress=False,
        ) as self.client:
            yield

    async def _handle(self, request: web.Request) -> web.Response:
        try:
            return await self.answer(request, await request.read())
        except ClientError as error:
            message = f"{self.address}, the service behind this proxy, gives no answer: {error}"
            return web.json_response({"error": {"code": 502, "message": message}}, status=502)

    async def answer(self, request: web.Request, body: bytes) -> web.Response:
        """Return the answer to a request: the upstream's."""
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
