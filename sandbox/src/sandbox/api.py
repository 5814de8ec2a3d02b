"""The API server: answers as the makers' own server program does, on local data, with faults to order.

What it answers is proved against recorded answers of that program: status, body and etag.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import math
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from aiohttp import web

from sandbox import serving
from sandbox.faults import Faults, Rule

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
        self._by_id = {name: {record["id"]: record for record in found} for name, found in records.items()}
        self._latency = latency
        self._faults = Faults()

    def app(self) -> web.Application:
        """Gives the application."""
        app = web.Application()
        self._faults.add_routes(app)
        app.router.add_route("*", "/{path:.*}", self._handle)
        return app

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        seen = self._faults.note(request)
        rule = self._faults.rule(request)
        if self._latency:
            await asyncio.sleep(self._latency)

        async def answer() -> web.Response:
            return self._answer(request, rule)

        if rule is None or rule.action in {"count", "field"}:
            response: web.StreamResponse = await answer()
        else:
            response = await self._faults.spoil(request, rule, answer)
        seen["status"] = response.status
        return response

    def _answer(self, request: web.Request, rule: Rule | None) -> web.Response:
        status, body = self._route(request)
        if rule is not None:
            _bend(body, rule)
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        digest = base64.b64encode(hashlib.sha1(text, usedforsecurity=False).digest()).decode()[:27]
        etag = f'W/"{len(text):x}-{digest}"'
        headers = {"X-Powered-By": "Express", "Access-Control-Allow-Origin": "*", "ETag": etag}
        known = request.headers.get("If-None-Match")
        no_cache = "no-cache" in request.headers.get("Cache-Control", "")
        if status == 200 and known == etag and not no_cache:  # noqa: PLR2004 (HTTP's)
            return web.Response(status=304, headers=headers)
        return web.Response(
            status=status, body=text, headers=headers, content_type="application/json", charset="utf-8"
        )

    def _route(self, request: web.Request) -> tuple[int, Any]:
        parts = [part for part in request.path.split("/") if part]
        nothing = 404, {"error": "There is nothing here."}
        if request.method not in {"GET", "HEAD"} or parts[:1] != ["api"] or len(parts) > 3:  # noqa: PLR2004 (/api/x/y)
            return nothing
        if len(parts) == 1:
            return 200, {f"{name}s": f"{SITE}/{name}" for name in ("character", "location", "episode")}
        if parts[1] not in self._records:
            return nothing
        if len(parts) == 2:  # noqa: PLR2004 (/api/x)
            return self._listing(parts[1], request.query_string)
        return self._by_path(parts[1], parts[2])

    def _listing(self, resource: str, query: str) -> tuple[int, Any]:
        given = dict(parse_qsl(query))
        wanted = {key: value.lower() for key, value in given.items() if key in FILTERS[resource]}
        records = self._records[resource]
        if wanted:
            records = [
                r for r in records if all(_matches(k, str(r.get(k, "")), v) for k, v in wanted.items())
            ]
        number = int(given.get("page", "")) if given.get("page", "").isdecimal() else 1
        number = number or 1
        pages = math.ceil(len(records) / PAGE)
        if number > pages:
            return 404, {"error": "There is nothing here"}
        tail = "".join(f"&{key}={value}" for key, value in given.items() if key in wanted)

        def link(page: int) -> str | None:
            return f"{SITE}/{resource}?page={page}{tail}" if 1 <= page <= pages else None

        info = {"count": len(records), "pages": pages, "next": link(number + 1), "prev": link(number - 1)}
        return 200, {"info": info, "results": records[(number - 1) * PAGE : number * PAGE]}

    def _by_path(self, resource: str, text: str) -> tuple[int, Any]:
        model = resource.capitalize()
        known = self._by_id[resource]
        if "," in text or text.startswith("["):
            ids = text.strip("[]").split(",")
            if not all(i.strip().isdecimal() for i in ids):
                return 500, {
                    "error": f'Cast to Number failed for value "NaN" at path "id" for model "{model}"'
                }
            return 200, [known[i] for i in sorted({int(i) for i in ids}) if i in known]
        if not text[:1].isdecimal():
            return 500, {"error": "Hey! you must provide an id"}
        if not text.isdecimal():
            return 500, {
                "error": f'Cast to Number failed for value "{text}" at path "id" for model "{model}"'
            }
        if resource == "location" and int(text) == 0:
            return 200, NO_PLACE
        record = known.get(int(text))
        return (200, record) if record is not None else (404, {"error": f"{model} not found"})


def _matches(key: str, value: str, wanted: str) -> bool:
    # `male` must not find Female.
    return value.lower().startswith(wanted) if key == "gender" else wanted in value.lower()


def _bend(body: Any, rule: Rule) -> None:  # noqa: ANN401 (JSON)
    """Changes a listing as a fault of the data says; records are copied, never changed."""
    if not isinstance(body, dict) or "results" not in body:
        return
    if rule.action == "count":
        body["info"] = {**body["info"], "count": rule.options["count"]}
    elif rule.action == "field":
        dropped = rule.options.get("drop", ())
        body["results"] = [
            {k: v for k, v in {**r, **rule.options.get("set", {})}.items() if k not in dropped}
            if rule.options.get("id") in (None, r["id"])
            else r
            for r in body["results"]
        ]


def serve(records: Records, port: int, latency_ms: int) -> int:
    """Serves in the foreground until SIGTERM or SIGINT; prints one JSON line when ready.

    Raises:
        SandboxError: The port is in use.
    """
    return serving.serve(lambda: Api(records, latency_ms / 1000).app(), port, "/api")
