#!/usr/bin/env python3
"""Try the flows on a real Kestra server: a run that succeeds, a run that fails and is restarted, a run that is killed.

    KESTRA_URL=http://localhost:8080 KESTRA_TOKEN=user:password KESTRA_NAMESPACE=rickandmorty.local try_kestra.py

Ends with 1 and one line where the server does something else than Kestra's engine does in tests/kestra.
"""

import json
import os
import time
import uuid
from typing import Any

from kestra_api import Server, fail

PIPELINE = "rick_and_morty_pipeline"
ENDED = {"SUCCESS", "WARNING", "FAILED", "KILLED", "CANCELLED"}
# What matches nothing: dbt refuses it before it builds, each time.
NOTHING = "staging.landing_dataset.*"


class Kestra(Server):
    """What a person's clicks are."""

    def __init__(self) -> None:
        super().__init__()
        self._namespace = os.environ.get("KESTRA_NAMESPACE") or "rickandmorty"

    def call(self, method: str, path: str, fields: dict[str, str] | None = None) -> Any:  # noqa: ANN401 - JSON
        """Send one request, `fields` as a form; return the answer's JSON."""
        boundary = uuid.uuid4().hex
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in (fields or {}).items()
        ]
        form = None if fields is None else f"{''.join(parts)}--{boundary}--\r\n".encode()
        return self.send(method, path, form, f"multipart/form-data; boundary={boundary}")

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
        return fail(f"{execution} is {found['state']['current']}: expected {', '.join(sorted(states))}")

    def ended(self, execution: str, expected: str, after: int = 0) -> dict[str, Any]:
        """Wait for an execution's end in the state that is expected; return it."""
        found = self.until(execution, ENDED, after)
        if found["state"]["current"] != expected:
            fail(f"execution {execution} ended as {found['state']['current']}: expected {expected}")
        print(f"{execution}: {expected}")
        return found


def main() -> int:
    """Try it; return the exit status."""
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
