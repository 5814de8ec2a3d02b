#!/usr/bin/env python3
"""Try the flows on a real Kestra server: a run that succeeds, a run that fails and is restarted, a run that is killed.

    KESTRA_URL=http://localhost:8080 KESTRA_TOKEN=user:password KESTRA_NAMESPACE=rickandmorty.local try_kestra.py

Ends with 1 and one line where the server does something else than Kestra's engine does in tests/test_kestra_flows.py.
"""
# ruff: noqa: T201 (a program)

from __future__ import annotations

import base64
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from typing import Any, NoReturn

PIPELINE = "rick_and_morty_pipeline"
ENDED = {"SUCCESS", "WARNING", "FAILED", "KILLED", "CANCELLED"}
SECONDS = 60
# What matches nothing: dbt refuses it before it builds, each time.
NOTHING = "staging.landing_dataset.*"


def fail(message: str) -> NoReturn:
    """End the program with one line."""
    print(f"try_kestra: {message}", file=sys.stderr)
    raise SystemExit(1)


class Kestra:
    """The few calls of Kestra's API that a person's clicks are: https://kestra.io/docs/api-reference/open-source."""

    def __init__(self) -> None:
        self._address = (
            f"{os.environ['KESTRA_URL'].rstrip('/')}/api/v1/{os.environ.get('KESTRA_TENANT') or 'main'}"
        )
        self._namespace = os.environ.get("KESTRA_NAMESPACE") or "rickandmorty"
        token = os.environ["KESTRA_TOKEN"]
        self._authorization = (
            f"Basic {base64.b64encode(token.encode()).decode()}" if ":" in token else f"Bearer {token}"
        )

    def call(self, method: str, path: str, fields: dict[str, str] | None = None) -> Any:  # noqa: ANN401 - JSON
        """Send one request, `fields` as a form; return the answer's JSON."""
        headers = {"Authorization": self._authorization, "Accept": "application/json"}
        body = None
        if fields is not None:
            boundary = uuid.uuid4().hex
            headers["Content-Type"] = f"multipart/form-data; boundary={boundary}"
            parts = [
                f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
                for name, value in fields.items()
            ]
            body = f"{''.join(parts)}--{boundary}--\r\n".encode()
        request = urllib.request.Request(  # noqa: S310 (the address is the caller's)
            f"{self._address}/{path}", data=body, method=method, headers=headers
        )
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310 (the same)
                text = answer.read()
        except urllib.error.HTTPError as error:
            fail(f"{method} {path}: status {error.code}: {error.read(400).decode('utf-8', 'replace')}")
        except OSError as error:
            fail(f"{method} {path}: {error}; look at KESTRA_URL")
        return json.loads(text) if text else None

    def start(self, **inputs: str) -> str:
        """Start the pipeline; return the execution's id."""
        return str(self.call("POST", f"executions/{self._namespace}/{PIPELINE}", inputs)["id"])

    def until(self, execution: str, states: set[str], after: int = 0) -> dict[str, Any]:
        """Wait until an execution is in one of these states, and has been in more than `after`; return it."""
        deadline = time.monotonic() + 20 * 60
        while time.monotonic() < deadline:
            found: dict[str, Any] = self.call("GET", f"executions/{execution}")
            if found["state"]["current"] in states and len(found["state"]["histories"]) > after:
                return found
            time.sleep(float(os.environ.get("POLL_SECONDS") or 2))
        fail(f"execution {execution} is {found['state']['current']}: expected {', '.join(sorted(states))}")

    def ended(self, execution: str, expected: str, after: int = 0) -> dict[str, Any]:
        """Wait for an execution's end in the state that is expected; return it."""
        found = self.until(execution, ENDED, after)
        if found["state"]["current"] != expected:
            fail(f"execution {execution} ended as {found['state']['current']}: expected {expected}")
        print(f"{execution}: {expected}")
        return found


def main() -> int:
    """Try it; return the exit status."""
    for variable in ("KESTRA_URL", "KESTRA_TOKEN"):
        if not os.environ.get(variable):
            fail(f"{variable} is not set; the first lines of this program explain it")
    kestra = Kestra()
    whole = kestra.ended(kestra.start(), "SUCCESS")
    jobs = (whole.get("outputs") or {}).get("jobs") or {}
    if set(jobs) != {"character", "episode", "location", "dbt"} or not jobs["character"].get("rows"):
        fail(f"outputs of the whole run: {json.dumps(jobs)[:400]}: expected rows of three jobs, and dbt")
    failing = kestra.start(execute_fetch="false", dbt_select_pattern=NOTHING)
    before = len(kestra.ended(failing, "FAILED")["state"]["histories"])
    kestra.call("POST", f"executions/{failing}/restart")
    again = kestra.ended(failing, "FAILED", after=before)
    if "RESTARTED" not in [history["state"] for history in again["state"]["histories"]]:
        fail(f"execution {failing} was not restarted")
    killed = kestra.start(jobs=json.dumps(["character"]), execute_dbt="false")
    kestra.until(killed, {"RUNNING"})
    kestra.call("DELETE", f"executions/{killed}/kill")
    kestra.ended(killed, "KILLED")
    kestra.ended(kestra.start(jobs=json.dumps(["episode"]), execute_dbt="false"), "SUCCESS")
    print("A run, a Restart, a kill and the run after it: as on the engine.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
