"""Fault injection: rules that a request matches, what they do to the answer, and the list of requests seen.

A rule is a JSON object: `method` (any where left out), `path` (regular expression searched in path and query), `skip`
and `times` (how many matching requests to let pass first, and how many to disturb; `times` null: all), `action`, and the
action's own keys: status (`status`, `headers`, `body`), reset, truncate (`bytes`), bad_json, slow (`seconds`), hold.
Faults of the data: field (`id`, `set`, `drop`), replace (by a regular expression: `find`, `with`, `status`).
`contains` is a regular expression searched in the request's body. With `"when": "after"` the request goes through first: what a
client sees when the answer to something that has happened is lost. A rule that would change nothing of an answer leaves
it to the next one, and neither counts it nor spends one of its `times`.
"""

import asyncio
import gzip
import json
import re
import socket
import struct
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

PREFIX = "/__sandbox__"


def _is_whole(value: object) -> bool:
    return type(value) is int and value >= 0


def _are_headers(value: Any) -> bool:  # noqa: ANN401 (JSON)
    return isinstance(value, dict) and all(
        re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", name, re.ASCII) and isinstance(text, str) and text.isprintable()
        for name, text in value.items()
    )


# What the value of a key has to be: in words, and as a check, which returns what is not true or raises an error.
TEXT = "a text", lambda value: isinstance(value, str)
METHOD = "a method in capitals", lambda value: re.fullmatch("[A-Z]+", value)
PATTERN = "a regular expression", lambda value: [re.compile(value)]
# In bytes, \u is no escape.
PATTERN_OF_BYTES = "a regular expression of bytes", lambda value: [re.compile(value.encode())]
WHOLE = "a whole number", _is_whole
TIMES = "a whole number above 0, or null", lambda value: value is None or (_is_whole(value) and value > 0)
STATUS = "a status from 200 to 599", lambda value: _is_whole(value) and 200 <= value <= 599  # noqa: PLR2004 (HTTP's)
HEADERS = "an object of headers, each a text in one line", _are_headers
SECONDS = "a number of seconds", lambda value: type(value) in {int, float} and 0 <= value < float("inf")
AFTER = '"after"', lambda value: value == "after"
RECORD_KEY = "a whole number or a text", lambda value: type(value) in {int, str}
OBJECT = "an object", lambda value: isinstance(value, dict)
NAMES = "a list of texts", lambda value: isinstance(value, list) and all(isinstance(n, str) for n in value)
COMMON = {
    "action": TEXT,
    "path": PATTERN,
    "method": METHOD,
    "skip": WHOLE,
    "times": TIMES,
    "contains": PATTERN_OF_BYTES,
}
# Each action with the keys of its own. Without `when`, the request does not go through; actions without that key change its answer.
ACTIONS = {
    "status": {"status": STATUS, "headers": HEADERS, "body": TEXT, "when": AFTER},
    "reset": {"when": AFTER},
    "slow": {"seconds": SECONDS, "when": AFTER},
    "hold": {"when": AFTER},
    "truncate": {"bytes": WHOLE},
    "bad_json": {},
    "field": {"id": RECORD_KEY, "set": OBJECT, "drop": NAMES},
    "replace": {"find": PATTERN, "with": TEXT, "status": STATUS},
}
# Of each of these sets an action needs a key.
NEEDED = {"field": [{"set", "drop"}], "replace": [{"find"}, {"with"}]}
OF_THE_BODY = {"content-encoding", "content-length", "etag"}


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
    def parse(cls, rule: Any) -> "Rule":  # noqa: ANN401 (JSON)
        """Return a rule read from JSON.

        Raises:
            ValueError: It is not an object, its action is unknown, a key is unknown to its action or missing, or a value is of another kind.
        """
        action = rule.get("action") if isinstance(rule, dict) else None
        if not isinstance(action, str) or action not in ACTIONS:
            raise ValueError(
                f"expected an object with an action of {', '.join(sorted(ACTIONS))}, got {rule!r}"
            )
        keys = COMMON | ACTIONS[action]
        if unknown := rule.keys() - keys:
            raise ValueError(
                f"{action}: unknown key {', '.join(sorted(unknown))}; expected {', '.join(sorted(keys))}"
            )
        for names in NEEDED.get(action, ()):
            if not names & rule.keys():
                raise ValueError(f"{action} needs {' or '.join(sorted(names))}")
        for key, value in rule.items():
            words, fits = keys[key]
            reason = ""
            try:
                fit = fits(value)
            except (re.error, AttributeError, TypeError, OverflowError, RecursionError) as error:
                fit, reason = None, f": {error}"
            if not fit:
                raise ValueError(f"{action}: {key} {value!r}: expected {words}{reason}")
        if action == "replace":
            try:
                re.sub(rule["find"], rule["with"], "")
            except (re.error, IndexError) as error:
                raise ValueError(f"{action}: with {rule['with']!r}: {error}") from error
        return cls(
            **{key: value for key, value in rule.items() if key in COMMON},
            options={key: value for key, value in rule.items() if key not in COMMON},
        )

    def matches(self, method: str, path: str, body: bytes) -> bool:
        """Return whether the rule applies to this request; count it where it is one to let pass."""
        if self.times == 0 or (self.method and self.method != method) or not re.search(self.path, path):
            return False
        if self.contains and not re.search(self.contains.encode(), body):
            return False
        if self.skip:
            self.skip -= 1
            return False
        return True

    def hit(self) -> None:
        """Count a request that is disturbed."""
        if self.times is not None:
            self.times -= 1
        self.hits += 1


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
            if not isinstance(body, list):
                raise TypeError("expected a list of rules")  # noqa: TRY301 (as what is wrong in one)
            # What is no Unicode could not be sent: a lone surrogate.
            json.dumps(body, ensure_ascii=False).encode()
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
        answer = await self._answer(request, handler, await request.read())
        seen["status"] = answer.status
        return answer

    async def _answer(self, request: web.Request, handler: Handler, asked: bytes) -> web.StreamResponse:
        answer = None
        for rule in self.rules:
            if not rule.matches(request.method, request.path_qs, asked):
                continue
            if "when" in ACTIONS[rule.action]:
                rule.hit()
                return await self._answer_instead(request, handler, rule)
            answer = answer or await handler(request)
            if not isinstance(answer, web.Response):
                break
            status, body = _changed(answer, rule)
            # Another request may have spent the rule meanwhile.
            if (status, body) != (answer.status, _body(answer)) and rule.times != 0:
                rule.hit()
                if rule.action == "truncate":
                    return await _send_part(request, answer, body)
                kept = {n: v for n, v in answer.headers.items() if n.lower() not in OF_THE_BODY}
                return web.Response(status=status, body=body, headers=kept)
        return answer or await handler(request)

    async def _answer_instead(self, request: web.Request, handler: Handler, rule: Rule) -> web.StreamResponse:
        options = rule.options
        answer = await handler(request) if "when" in options else None
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
        return _reset(request)


def _body(answer: web.Response) -> bytes:
    return answer.body if isinstance(answer.body, bytes) else b""


def _changed(answer: web.Response, rule: Rule) -> tuple[int, bytes]:
    """Return the status and the body of an answer as the rule changes them; its own where there is nothing to change."""
    status, body, options = answer.status, _body(answer), rule.options
    if rule.action == "truncate":
        return status, body[: options.get("bytes", 100)]
    packed = answer.headers.get("Content-Encoding") == "gzip"
    try:
        text = (gzip.decompress(body) if packed else body).decode()
    except (OSError, zlib.error, UnicodeDecodeError):
        return status, body
    if rule.action == "bad_json":
        changed = text[: len(text) // 2]
    elif rule.action == "replace":
        changed, count = re.subn(options["find"], options["with"], text)
        status = options.get("status", status) if count else status
    else:
        changed = _with_other_data(text, rule)
    return status, body if changed == text else changed.encode()


def _with_other_data(text: str, rule: Rule) -> str:
    try:
        document = json.loads(text)
    except ValueError:
        return text
    before = json.dumps(document)
    listing = document if isinstance(document, dict) else {"results": document}
    records = listing.get("results")
    for record in records if isinstance(records, list) else ():
        if isinstance(record, dict) and rule.options.get("id") in (None, record.get("id")):
            record.update(rule.options.get("set", {}))
            for name in rule.options.get("drop", ()):
                record.pop(name, None)
    if json.dumps(document) == before:
        return text
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


async def _send_part(request: web.Request, answer: web.Response, part: bytes) -> web.StreamResponse:
    cut = web.StreamResponse(status=answer.status, headers={"Content-Type": "application/json"})
    cut.content_length = len(_body(answer))
    await cut.prepare(request)
    await cut.write(part)
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
