"""The API server: local data, served as the Rick and Morty API's own program serves it, with fault injection.

Its answers are compared with recordings of that program: status, body and etag.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import math
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from aiohttp import web

from sandbox import javascript as js
from sandbox.faults import Faults
from sandbox.records import KEYS

if TYPE_CHECKING:
    from sandbox.records import Records

SITE = "https://rickandmortyapi.com/api"
PAGE = 20
FILTERS = {
    "character": ("name", "status", "species", "type", "gender"),
    "location": ("name", "type", "dimension"),
    "episode": ("name", "episode"),
}
NO_PLACE = {"id": 0, "name": "unknown", "residents": [], "url": "", "created": "2018-01-11T17:11:26.574Z"}


class Api:
    """Routes of the API over records."""

    def __init__(self, records: Records, latency: float) -> None:
        self._records = records
        self._by_id = {
            name: {record[KEYS[name][0]]: record for record in found} for name, found in records.items()
        }
        # Lacks type and dimension, so no listing has it, as each is filtered by those.
        self._by_id.get("location", {}).setdefault(0, NO_PLACE)
        self._latency = latency

    def app(self) -> web.Application:
        """Return the application."""
        app = web.Application()
        Faults().add_to(app)
        app.router.add_route("*", "/{path:.*}", self._handle)
        app.on_response_prepare.append(_without_server)
        return app

    async def _handle(self, request: web.Request) -> web.Response:
        if self._latency:
            await asyncio.sleep(self._latency)
        if request.method == "OPTIONS":
            return _preflight(request)
        status, body = self._route(request)
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        digest = base64.b64encode(hashlib.sha1(text, usedforsecurity=False).digest()).decode()[:27]
        etag = f'W/"{len(text):x}-{digest}"'
        headers = {"X-Powered-By": "Express", "Access-Control-Allow-Origin": "*", "ETag": etag}
        if status == 200 and request.method in {"GET", "HEAD"} and _is_fresh(request, etag):  # noqa: PLR2004 (HTTP's)
            return web.Response(status=304, headers=headers)
        return web.Response(
            status=status, body=text, headers=headers, content_type="application/json", charset="utf-8"
        )

    def _route(self, request: web.Request) -> tuple[int, Any]:  # noqa: PLR0911 (one answer per path)
        """Return what a path names, as Express finds it: routes in any case, one slash at the end, names as they are."""
        raw, _, query = request.raw_path.partition("?")
        parts = raw.partition("#")[0].split("/")[1:]
        if len(parts) > 1 and not parts[-1]:
            parts.pop()
        if parts[1:2] == [""]:
            del parts[1]
        nothing = 404, {"error": "There is nothing here."}
        if request.method not in {"GET", "HEAD"} or parts[0].lower() != "api" or len(parts) > 3:  # noqa: PLR2004 (/api/x/y)
            return nothing
        if len(parts) == 1:
            return 200, {
                f"{name}s": f"{SITE}/{name}" for name in (*FILTERS, *self._records) if name in self._records
            }
        name = parts[1].lower()
        if name not in self._records or "" in parts:
            return nothing
        if len(parts) == 2:  # noqa: PLR2004 (/api/x)
            return _refuse_wrong_case(parts[1], name, "findAndCount") or self._listing(name, raw, query)
        if name == "character" and parts[2].lower() == "avatar":
            return 404, {"error": "There is nothing here"}
        try:
            text = unquote(parts[2], errors="strict")
        except UnicodeDecodeError:
            return 400, {"error": f"Failed to decode param '{parts[2]}'"}
        return self._by_path(name, text, parts[1])

    def _listing(self, resource: str, raw: str, query: str) -> tuple[int, Any]:
        parameters = _parse_query(query)
        filters = {key: _trimmed(parameters[key]) for key in FILTERS.get(resource, ()) if key in parameters}
        parameters.update(filters)
        page: Any = parameters.get("page", "")
        number = js.number(js.to_string(page))
        page, number = (page, number) if number > 0 else ("1", 1.0)
        records = self._records[resource]
        for key, value in filters.items():
            try:
                records = [r for r in records if _matches(resource, str(r.get(key) or ""), value)]
            except re.error:
                return 500, {"error": f"Invalid regular expression: /^{value}/: Unterminated group"}
        pages = math.ceil(len(records) / PAGE)
        if number > pages:
            return 404, {"error": "There is nothing here"}
        tail = "".join(
            f"&{k}={js.to_string(v)}" for k, v in parameters.items() if v and k in FILTERS.get(resource, ())
        )
        requested, path = js.parse_int(js.to_string(page)), raw[len("/api") :]

        def link(to: int) -> str:
            return f"{SITE}{path}?page={to}{tail}"

        info = {
            "count": len(records),
            "pages": pages,
            "next": None if number >= pages else link(requested + 1),
            "prev": None if number < 2 else link(requested - 1),  # noqa: PLR2004 (the second page)
        }
        skip = int((number - 1) * PAGE)
        return 200, {"info": info, "results": records[skip : skip + PAGE]}

    def _by_path(  # noqa: PLR0911 (one answer per form of id)
        self, resource: str, text: str, spelled: str
    ) -> tuple[int, Any]:
        model, records = resource.capitalize(), self._by_id[resource]
        values: list[Any] | None = None
        if re.search(r"\[.+\]$", text):
            try:
                values = json.loads(text, parse_constant=_no_constant)
            except ValueError:
                return 500, {"error": "Bad... bad array :/"}
        elif "[" in text or "]" in text:
            return 500, {"error": "Bad... bad array :/"}
        elif "," in text and len(text) > 1:
            values = [js.number(part) for part in text.split(",")]
        if values is None and math.isnan(js.parse_int(text)):
            return 500, {"error": "Hey! you must provide an id"}
        if error := _refuse_wrong_case(spelled, resource, "find" if values is not None else "findOne"):
            return error
        try:
            ids = {js.cast(value) for value in (values if values is not None else [text])}
        except ValueError as error:
            return 500, {
                "error": f'Cast to Number failed for value "{error}" at path "id" for model "{model}"'
            }
        matches = [records[number] for number in sorted(n for n in ids if n is not None) if number in records]
        if values is not None:
            return 200, matches
        return (200, matches[0]) if matches else (404, {"error": f"{model} not found"})


async def _without_server(_: web.Request, response: web.StreamResponse) -> None:
    # Express names itself in X-Powered-By alone.
    response.headers.pop("Server", None)


def _preflight(request: web.Request) -> web.Response:
    """Return what the package cors answers before any route."""
    headers = {
        "X-Powered-By": "Express",
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Methods": "GET,HEAD,PUT,PATCH,POST,DELETE",
        "Vary": "Access-Control-Request-Headers",
    }
    if requested := request.headers.get("Access-Control-Request-Headers"):
        headers["Access-Control-Allow-Headers"] = requested
    return web.Response(status=204, headers={**headers, "Content-Length": "0"})


def _is_fresh(request: web.Request, etag: str) -> bool:
    """Return whether the client has this answer (the package fresh): a list of tags, or *; weak and strong are equal."""
    etags = request.headers.get("If-None-Match", "")
    if (
        not etags
        or "If-Modified-Since" in request.headers
        or re.search(r"(?:^|,)\s*?no-cache\s*?(?:,|$)", request.headers.get("Cache-Control", ""))
    ):
        return False
    tags = [tag.strip(" ") for tag in etags.split(",")]
    return etags == "*" or any(etag in {tag, f"W/{tag}"} or f"W/{etag}" == tag for tag in tags)


def _refuse_wrong_case(spelled: str, name: str, method: str) -> tuple[int, Any] | None:
    # Express finds the route in any case, the program its model by the name as it was written.
    if spelled == name:
        return None
    return 500, {"error": f"Cannot read properties of undefined (reading '{method}')"}


def _parse_query(query: str) -> dict[str, Any]:
    """Return a query as the package qs reads it, as far as one bracket: text, an array for repeated keys, or an object."""
    parameters: dict[str, Any] = {}
    for item in query.partition("#")[0].split("&"):
        key, _, value = (js.decode_part(part) for part in item.partition("="))
        name, bracket, inner = key.partition("[")
        inner = inner.removesuffix("]")
        if not name or hasattr(js.PLAIN_OBJECT, name):
            continue
        earlier = parameters.get(name)
        if bracket and inner and not inner.isdecimal():
            parameters[name] = {**(earlier if isinstance(earlier, dict) else {}), inner: value}
        elif bracket or earlier is not None:
            parameters[name] = [
                *(earlier if isinstance(earlier, list) else [] if earlier is None else [earlier]),
                value,
            ]
        else:
            parameters[name] = value
    return parameters


def _trimmed(value: Any) -> str:  # noqa: ANN401 (text, array or object)
    # express-validator takes the first of several.
    return js.trim(js.to_string(value[0] if isinstance(value, list) and value else value))


def _male(text: str) -> bool:
    return text[:4].lower() == "male"


def _matches(resource: str, value: str, text: str) -> bool:
    # `male` must not find Female; the program does so for every filter of a character, and takes it for a pattern.
    if resource == "character" and _male(text):
        return re.match(text, value, re.IGNORECASE) is not None
    return text.lower() in value.lower()


def _no_constant(name: str) -> None:
    raise ValueError(name)
