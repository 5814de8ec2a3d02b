"""The API server: local data, served as the Rick and Morty API's own program serves it, with fault injection.

Its answers are compared with recordings of that program: status, body and etag. Of addresses in other forms it takes
those that a client may write: ids as numbers, lists and arrays, filters of one value.
"""

import asyncio
import base64
import hashlib
import json
import math
import re
from typing import Any
from urllib.parse import parse_qsl, unquote

from aiohttp import web

from sandbox.faults import Faults
from sandbox.records import Records, entities

SITE = "https://rickandmortyapi.com/api"
PAGE = 20
WHOLE = re.compile(r"\s*[+-]?\d{1,18}\s*")
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
        keys, _ = entities()
        self._by_id = {name: {r[key[0]]: r for r in records[name]} for name, key in keys.items()}
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

    def _route(self, request: web.Request) -> tuple[int, Any]:
        raw, _, query = request.raw_path.partition("?")
        parts = raw.removesuffix("/").split("/")[1:]
        if request.method in {"GET", "HEAD"} and parts[:1] == ["api"]:
            if len(parts) == 1:
                return 200, {
                    f"{name}s": f"{SITE}/{name}"
                    for name in (*FILTERS, *self._records)
                    if name in self._records
                }
            if parts[1] in self._records and len(parts) == 2:  # noqa: PLR2004 (/api/x)
                return self._listing(parts[1], query)
            if parts[1] in self._records and len(parts) == 3 and parts[2]:  # noqa: PLR2004 (/api/x/y)
                return self._by_path(parts[1], unquote(parts[2]))
        return 404, {"error": "There is nothing here."}

    def _listing(self, resource: str, query: str) -> tuple[int, Any]:
        parameters: dict[str, str] = {}
        for key, value in parse_qsl(query, keep_blank_values=True):
            parameters.setdefault(key, value.strip())
        filters = {key: value for key, value in parameters.items() if key in FILTERS.get(resource, ())}
        page = parameters.get("page", "")
        number = max(1, int(page)) if WHOLE.fullmatch(page) else 1
        records = self._records[resource]
        for key, text in filters.items():
            records = [record for record in records if _matches(str(record.get(key) or ""), text)]
        pages = math.ceil(len(records) / PAGE)
        if number > pages:
            return 404, {"error": "There is nothing here"}
        tail = "".join(f"&{key}={text}" for key, text in filters.items() if text)

        def link(to: int) -> str:
            return f"{SITE}/{resource}?page={to}{tail}"

        info = {
            "count": len(records),
            "pages": pages,
            "next": link(number + 1) if number < pages else None,
            "prev": link(number - 1) if number > 1 else None,
        }
        skip = (number - 1) * PAGE
        return 200, {"info": info, "results": records[skip : skip + PAGE]}

    def _by_path(self, resource: str, text: str) -> tuple[int, Any]:
        model, records = resource.capitalize(), self._by_id[resource]
        array = re.fullmatch(r"\[(.+)\]", text)
        if not array and re.search(r"[\[\]]", text):
            return 500, {"error": "Bad... bad array :/"}
        several = array is not None or "," in text
        if not several and not re.match(r"\s*[+-]?\d", text):
            return 500, {"error": "Hey! you must provide an id"}
        ids = [part for part in (array[1] if array else text).split(",") if part.strip()]
        if not all(map(WHOLE.fullmatch, ids)):
            value = "NaN" if several else text
            return 500, {
                "error": f'Cast to Number failed for value "{value}" at path "id" for model "{model}"'
            }
        matches = [records[number] for number in sorted(set(map(int, ids))) if number in records]
        if several:
            return 200, matches
        return (200, matches[0]) if matches else (404, {"error": f"{model} not found"})


async def _without_server(_: web.Request, response: web.StreamResponse) -> None:
    # Express names itself in X-Powered-By alone.
    response.headers.pop("Server", None)


def _is_fresh(request: web.Request, etag: str) -> bool:
    """Return whether the client has this answer: its tags are a list, or *; weak and strong ones are equal."""
    tags = {tag.strip().removeprefix("W/") for tag in request.headers.get("If-None-Match", "").split(",")}
    return bool(tags & {"*", etag.removeprefix("W/")}) and "no-cache" not in request.headers.get(
        "Cache-Control", ""
    )


def _matches(value: str, text: str) -> bool:
    # `male` does not find Female.
    value, text = value.lower(), text.lower()
    return value.startswith(text) if text.startswith("male") else text in value
