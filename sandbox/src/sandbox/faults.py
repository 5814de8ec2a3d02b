"""Fault injection: rules that a request matches, what they do to the answer, and the list of requests seen.

A rule is a JSON object: `method` (any where left out), `path` (regular expression searched in path and query), `skip`
and `times` (how many matching requests to let pass first, and how many to disturb; `times` null: all), `action`, and the
action's own keys: status (`status`, `headers`, `body`), reset, truncate (`bytes`), bad_json, slow (`seconds`), hold.
Faults of the API's data: count (`count`), field (`id`, `set`, `drop`). Of a proxy: `contains` (regular expression
searched in the request's body), `when` (`after`: the request goes through first), replace (`find`, `with`).
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PREFIX = "/__sandbox__"
# Each action with the keys of its own.
ACTIONS = {
    "status": {"status", "headers", "body"},
    "reset": set[str](),
    "truncate": {"bytes"},
    "bad_json": set[str](),
    "slow": {"seconds"},
    "hold": set[str](),
    "count": {"count"},
    "field": {"id", "set", "drop"},
    "replace": {"find", "with", "status"},
}
COMMON = {"action", "path", "method", "skip", "times", "contains"}
KEYS = COMMON.union({"when"}, *ACTIONS.values())


@dataclass
class Rule:
    """One fault, and how many requests it still applies to."""

    action: str
    path: str = ""
    method: str | None = None
    skip: int = 0
    times: int | None = 1
    contains: str = ""
    hits: int = 0
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, rule: Any) -> Rule:  # noqa: ANN401 (JSON)
        """Return a rule read from JSON.

        Raises:
            ValueError: It is not an object, its action or a key is unknown, a key is missing, or what it searches is not a regular expression.
        """
        if not isinstance(rule, dict) or rule.get("action") not in ACTIONS:
            raise ValueError(
                f"expected an object with an action of {', '.join(sorted(ACTIONS))}, got {rule!r}"
            )
        if unknown := rule.keys() - KEYS:
            raise ValueError(f"unknown key {', '.join(sorted(unknown))}")
        if rule["action"] == "replace" and (missing := {"find", "with"} - rule.keys()):
            raise ValueError(f"replace needs {' and '.join(sorted(missing))}")
        for key in ("path", "contains", "find"):
            try:
                re.compile(rule.get(key, ""))
            except (re.error, TypeError) as error:
                raise ValueError(f"{key} {rule[key]!r}: {error}") from error
        return cls(
            **{key: value for key, value in rule.items() if key in COMMON},
            options={key: value for key, value in rule.items() if key not in COMMON},
        )

    def matches(self, method: str, path: str, body: bytes) -> bool:
        """Return whether the rule applies to this request, and count it."""
        if self.times == 0 or (self.method and self.method != method) or not re.search(self.path, path):
            return False
        if self.contains and not re.search(self.contains.encode(), body):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        self.hits += 1
        return True


class Faults:
    """The rules in force and the requests seen."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []
        self.requests: list[dict[str, Any]] = []
        self._connections: dict[int, int] = {}
        self._released = asyncio.Event()
        self._held = 0

    def add_routes(self, app: web.Application) -> None:
        """Add the control routes."""
        app.router.add_put(f"{PREFIX}/faults", self._put_rules)
        app.router.add_get(f"{PREFIX}/faults", self._count_hits)
        app.router.add_delete(f"{PREFIX}/faults", self._clear_rules)
        app.router.add_get(f"{PREFIX}/requests", self._list_requests)
        app.router.add_get(f"{PREFIX}/held", self._count_held)
        app.router.add_delete(f"{PREFIX}/requests", self._forget_requests)

    async def _put_rules(self, request: web.Request) -> web.Response:
        try:
            body = await request.json()
            rules = [Rule.parse(rule) for rule in body]
        except (ValueError, TypeError) as error:
            return web.json_response({"error": str(error)}, status=400)
        self.rules = rules
        return web.json_response({"rules": len(rules)})

    async def _count_hits(self, _: web.Request) -> web.Response:
        return web.json_response([rule.hits for rule in self.rules])

    async def _clear_rules(self, _: web.Request) -> web.Response:
        self.rules = []
        self._released.set()
        self._released = asyncio.Event()
        return web.json_response({"rules": 0})

    async def _list_requests(self, _: web.Request) -> web.Response:
        return web.json_response(self.requests)

    async def _count_held(self, _: web.Request) -> web.Response:
        return web.json_response(self._held)

    async def _forget_requests(self, _: web.Request) -> web.Response:
        self.requests = []
        return web.json_response([])

    def record(self, request: web.Request) -> dict[str, Any]:
        """Add a request to the list and return its entry; its status is null until it is answered."""
        connection = self._connections.setdefault(id(request.transport), len(self._connections) + 1)
        seen = {
            "method": request.method,
            "path": request.path,
            "query": request.query_string,
            "status": None,
            "connection": connection,
            "body_bytes": request.content_length or 0,
        }
        self.requests.append(seen)
        return seen

    def rule(self, request: web.Request, body: bytes = b"") -> Rule | None:
        """Return the first rule that matches this request."""
        path = request.path_qs
        return next((rule for rule in self.rules if rule.matches(request.method, path, body)), None)

    async def apply(
        self, request: web.Request, rule: Rule, answer: Callable[[], Awaitable[web.Response]]
    ) -> web.StreamResponse:
        """Return the answer that the rule makes of this one."""
        options = rule.options
        if rule.action == "status":
            return web.Response(
                status=options.get("status", 503),
                headers=options.get("headers"),
                text=options.get("body", ""),
            )
        if rule.action == "reset":
            return _reset(request)
        if rule.action == "slow":
            await asyncio.sleep(options.get("seconds", 1.0))
            return await answer()
        if rule.action == "hold":
            self._held += 1
            try:
                await self._released.wait()
            finally:
                self._held -= 1
            return _reset(request)
        good = await answer()
        body = good.body if isinstance(good.body, bytes) else b""
        if rule.action == "bad_json":
            return web.Response(
                status=good.status, body=body[: len(body) // 2], content_type="application/json"
            )
        cut = web.StreamResponse(status=good.status, headers={"Content-Type": "application/json"})
        cut.content_length = len(body)
        await cut.prepare(request)
        await cut.write(body[: options.get("bytes", 100)])
        return _close(request, cut)


def _reset(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        sock: socket.socket | None = request.transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return _close(request, web.Response())


def _close(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return response
