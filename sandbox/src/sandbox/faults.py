"""Fault injection: rules that a request matches, what they do to the answer, and the list of requests seen.

A rule is a JSON object: `method` (any where left out), `path` (regular expression searched in path and query), `skip`
and `times` (how many matching requests to let pass first, and how many to disturb; `times` null: all), `action`, and the
action's own keys: status (`status`, `headers`, `body`), reset, truncate (`bytes`), bad_json, slow (`seconds`), hold.
Faults of the data: count (`count`), field (`id`, `set`, `drop`), replace (by a regular expression: `find`, `with`, `status`).
`contains` is a regular expression searched in the request's body. With `"when": "after"` the request goes through first: what a
client sees when the answer to something that has happened is lost.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import socket
import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

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
# Unless `when` is `after`, the request does not go through.
INSTEAD = {"status", "reset", "hold", "slow"}
COMMON = {"action", "path", "method", "skip", "times", "contains"}
OF_THE_BODY = {"content-encoding", "content-length", "etag"}
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
        self._released = asyncio.Event()
        self._held = 0

    def add_to(self, app: web.Application) -> None:
        """Inject faults into an application, and add the control routes to it."""
        app.middlewares.append(self._handle)
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

    @web.middleware
    async def _handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """List a request, whose status is null until it is answered, and answer it as the first rule says that matches it."""
        if request.path.startswith(PREFIX):
            return await handler(request)
        seen: dict[str, Any] = {
            "method": request.method,
            "path": request.path,
            "query": request.query_string,
            "status": None,
            # One per connection.
            "client_port": request.transport and request.transport.get_extra_info("peername")[1],
        }
        self.requests.append(seen)
        body = await request.read()
        rule = next((r for r in self.rules if r.matches(request.method, request.path_qs, body)), None)
        answer = await (handler(request) if rule is None else self._disturbed(request, handler, rule))
        seen["status"] = answer.status
        return answer

    async def _disturbed(self, request: web.Request, handler: Handler, rule: Rule) -> web.StreamResponse:
        options, answer = rule.options, None
        if rule.action not in INSTEAD or options.get("when") == "after":
            answer = await handler(request)
        if rule.action == "status":
            text = options.get("body", "")
            return web.Response(status=options.get("status", 503), headers=options.get("headers"), text=text)
        if rule.action == "slow":
            await asyncio.sleep(options.get("seconds", 1.0))
            return answer or await handler(request)
        if rule.action == "hold":
            self._held += 1
            try:
                await self._released.wait()
            finally:
                self._held -= 1
        if not isinstance(answer, web.Response) or rule.action in INSTEAD:
            return _reset(request)
        if rule.action == "truncate":
            return await _truncated(request, answer, options.get("bytes", 100))
        text = _text(answer)
        changed = text[: len(text) // 2] if rule.action == "bad_json" else _changed(text, rule)
        if changed is None:
            rule.hits -= 1
            return answer
        headers = {name: value for name, value in answer.headers.items() if name.lower() not in OF_THE_BODY}
        status = options.get("status", answer.status)
        return web.Response(status=status, body=changed.encode(), headers=headers)


def _text(answer: web.Response) -> str:
    body = answer.body if isinstance(answer.body, bytes) else b""
    packed = answer.headers.get("Content-Encoding") == "gzip"
    try:
        return (gzip.decompress(body) if packed else body).decode()
    except (OSError, zlib.error, UnicodeDecodeError):
        return ""


def _changed(text: str, rule: Rule) -> str | None:
    """Return the text of an answer with its data changed as the rule says; None where it has nothing of what is to be changed."""
    if rule.action == "replace":
        replaced, count = re.subn(rule.options["find"], rule.options["with"], text)
        return replaced if count else None
    try:
        document = json.loads(text)
    except ValueError:
        return None
    listing = isinstance(document, dict) and "results" in document
    if rule.action == "count":
        if not listing:
            return None
        document["info"]["count"] = rule.options["count"]
    else:
        records = document["results"] if listing else document if isinstance(document, list) else []
        chosen = [record for record in records if rule.options.get("id") in (None, record.get("id"))]
        if not chosen:
            return None
        for record in chosen:
            record.update(rule.options.get("set", {}))
            for name in rule.options.get("drop", ()):
                record.pop(name, None)
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


async def _truncated(request: web.Request, answer: web.Response, length: int) -> web.StreamResponse:
    body = answer.body if isinstance(answer.body, bytes) else b""
    cut = web.StreamResponse(status=answer.status, headers={"Content-Type": "application/json"})
    cut.content_length = len(body)
    await cut.prepare(request)
    await cut.write(body[:length])
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
