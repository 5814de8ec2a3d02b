"""Calls of a Kestra server's API, for the programs beside it: https://kestra.io/docs/api-reference/open-source.

The environment names the server: KESTRA_URL, KESTRA_TOKEN (an API token, or user:password for open-source Kestra) and
KESTRA_TENANT (main by default).
"""

import base64
import http.client
import json
import os
import re
import sys
import urllib.error
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import Any, NoReturn

SECONDS = 60


def fail(message: str) -> NoReturn:
    """End the program with one line."""
    print(f"{Path(sys.argv[0]).stem}: {message}", file=sys.stderr)
    raise SystemExit(1)


def needed(variable: str, like: str, expected: str) -> str:
    """Return a variable that must be set; no message has its value, which may be a secret."""
    value = os.environ.get(variable, "").strip()
    if not value:
        fail(f"{variable} is not set; the first lines of this program explain it")
    return value if re.fullmatch(like, value) else fail(f"{variable} is of another form: expected {expected}")


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: of a POST it would make a GET that changes nothing, and it would take the token along."""

    def redirect_request(self, *_: object) -> None:
        """Return nothing: a redirect is an error with its status."""


class Server:
    """The server that the environment names; the token stays out of every message."""

    def __init__(self) -> None:
        url = needed("KESTRA_URL", r"https?://[^\s@/]+(/[^\s@]*)?", "https://…, without a password")
        token = needed("KESTRA_TOKEN", r"[!-9;-~]+|[^\s:]+:.+", "an API token, or user:password")
        self._address = f"{url.rstrip('/')}/api/v1/{os.environ.get('KESTRA_TENANT') or 'main'}"
        basic = f"Basic {base64.b64encode(token.encode()).decode()}"
        self._authorization = basic if ":" in token else f"Bearer {token}"
        self._opener = urllib.request.build_opener(NoRedirect)

    def send(self, method: str, path: str, body: bytes | None = None, content_type: str = "") -> Any:  # noqa: ANN401 - JSON
        """Send one request; return the JSON of the answer. A refusal ends the program, and so does an answer that is not Kestra's."""
        address = f"{self._address}/{path}"
        headers = {"Authorization": self._authorization, "Accept": "application/json"}
        headers |= {"Content-Type": content_type} if body is not None else {}
        request = urllib.request.Request(address, body, headers, method=method)  # noqa: S310 (http and https only, see above)
        try:
            with self._opener.open(request, timeout=SECONDS) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            said = " ".join(error.read(2000).decode("utf-8", "replace").split())[:400]
            if moved := error.headers["Location"]:
                said = f"it redirects to {moved}; set KESTRA_URL to that"
            if error.code == HTTPStatus.UNAUTHORIZED:
                said += " look at KESTRA_TOKEN; a password of fewer than 8 characters, or without a capital, a small letter and a digit, is not taken"
            fail(f"{method} {address}: status {error.code}: {said.strip() or error.reason}")
        except (OSError, ValueError, http.client.HTTPException) as error:
            fail(f"{method} {address}: {error}; look at KESTRA_URL")
        try:
            return json.loads(text) if text else None
        except ValueError:
            fail(
                f"{method} {address}: {text[:80]!r} is no answer of Kestra's; look at KESTRA_URL, and at what stands before Kestra"
            )
