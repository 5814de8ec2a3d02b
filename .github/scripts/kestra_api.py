"""Calls of a Kestra server's API, for the programs beside it: https://kestra.io/docs/api-reference/open-source.

The environment names the server: KESTRA_URL, KESTRA_TOKEN (an API token, or user:password for open-source Kestra) and
KESTRA_TENANT (main by default).
"""
# ruff: noqa: INP001, T201 (for the programs beside it)

from __future__ import annotations

import base64
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import NoReturn

SECONDS = 60


def fail(message: str) -> NoReturn:
    """End the program with one line."""
    print(f"{Path(sys.argv[0]).stem}: {message}", file=sys.stderr)
    raise SystemExit(1)


def needed(variable: str) -> str:
    """Return a variable that must be set."""
    value = os.environ.get(variable, "")
    return value or fail(f"{variable} is not set; the first lines of this program explain it")


class Server:
    """The server that the environment names; the token stays out of every message."""

    def __init__(self) -> None:
        url, token = needed("KESTRA_URL"), needed("KESTRA_TOKEN")
        if not url.startswith(("http://", "https://")):
            fail(f"KESTRA_URL is {url!r}: expected https://…")
        self._address = f"{url.rstrip('/')}/api/v1/{os.environ.get('KESTRA_TENANT') or 'main'}"
        basic = f"Basic {base64.b64encode(token.encode()).decode()}"
        self._authorization = basic if ":" in token else f"Bearer {token}"

    def send(self, method: str, path: str, body: bytes | None = None, content_type: str = "") -> bytes:
        """Send one request; return the content of the answer. A refusal ends the program."""
        address = f"{self._address}/{path}"
        headers = {"Authorization": self._authorization, "Accept": "application/json"}
        headers |= {"Content-Type": content_type} if body is not None else {}
        request = urllib.request.Request(address, body, headers, method=method)  # noqa: S310 (http and https only, see above)
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310 (the same)
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            text = " ".join(error.read(2000).decode("utf-8", "replace").split())[:400]
            fail(f"{method} {address}: status {error.code}: {text or error.reason}")
        except OSError as error:
            fail(f"{method} {address}: {error}; look at KESTRA_URL")
