"""What both strict services share: accounts, the control routes, and refusals as answers.

`PUT /__sandbox__/accounts` takes accounts as `rules.json` has them: {"token": {"project": [roles], "datasets": {"*": [roles]},
"buckets": {"name": [roles]}}}. A client is an account by its bearer token; one without a token is the pipeline's.
"""

import json
import traceback
from typing import Any
from urllib.parse import quote

from aiohttp import ClientPayloadError, web
from yarl import URL

from sandbox.faults import PREFIX
from sandbox.proxy import Proxy
from sandbox.strict.rules import Account, Refused, Rules, invalid

OK = 200


class StrictProxy(Proxy):
    """Passes on what the account may do."""

    def __init__(self, upstream: str, rules: Rules) -> None:
        super().__init__(upstream)
        self.rules = rules

    def app(self) -> web.Application:
        """Return the application."""
        app = super().app()
        app.router.add_put(f"{PREFIX}/accounts", self._accounts)
        return app

    async def _accounts(self, request: web.Request) -> web.Response:
        try:
            self.rules.add_accounts(await request.json())
        except (ValueError, TypeError, AttributeError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({"accounts": sorted(self.rules.accounts)})

    async def answer(self, request: web.Request, body: bytes) -> web.Response:
        """Ask the rules, then the service."""
        try:
            account = self.rules.account(request.headers.get("Authorization"))
            return await self.ask(request, body, account)
        except Refused as refused:
            return web.json_response(refused.body(), status=refused.status)
        except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
            # JSON of another shape than the method's; where it is not the client's fault, the log says whose.
            traceback.print_exception(error)
            return web.json_response(invalid(f"Parse Error: {error}").body(), status=400)

    async def ask(self, request: web.Request, body: bytes, account: Account) -> web.Response:
        """Return the service's answer.

        Raises:
            Refused: The account may not do this, or does it too often, or it is too large.
        """
        raise NotImplementedError

    async def upstream(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:  # noqa: ANN401 (JSON)
        """Return status and JSON of the service itself, without the rules; names in the path may be in any script."""
        url = URL(self.address + quote(path, safe="/?&=%:,"), encoded=True)
        async with self.client.request(method, url, json=body) as answer:
            text = await answer.read()
            try:
                return answer.status, json.loads(text) if text else None
            except ValueError as error:
                raise ClientPayloadError(f"status {answer.status}, {text[:80]!r} is no JSON") from error

    async def exists(self, path: str) -> bool:
        """Return whether the service has what this path names."""
        status, _ = await self.upstream("GET", path)
        return status == OK


def described(body: bytes) -> dict[str, Any]:
    """Return the JSON that describes an upload: the body of a resumable one, the first part of a multipart one."""
    text = body
    if body.startswith(b"--"):
        start = body.find(b"\r\n\r\n") + 4
        text = body[start : body.find(b"\r\n--", start)]
    try:
        description = json.loads(text or b"{}")
    except ValueError:
        return {}
    return description if isinstance(description, dict) else {}
