"""The script of the workflow kestra.yml, against a stand-in of the calls of Kestra's API that it makes."""

from __future__ import annotations

import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
from testkit.programs import run

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

SCRIPT = Path(__file__).resolve().parent.parent / ".github" / "scripts" / "try_kestra.py"
WHOLE = {job: {"state": "SUCCESS", "rows": 1} for job in ("character", "episode", "location", "dbt")}


class Kestra(ThreadingHTTPServer):
    """Executions that go one state further each time they are looked at."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.executions: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        self.wrong: dict[str, str] = {}
        Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def start(self, form: str) -> dict[str, Any]:
        """POST /executions/{namespace}/{flow}."""
        inputs = dict(re.findall(r'name="(\w+)"\r\n\r\n(.*?)\r\n', form))
        end = "FAILED" if "dbt_select_pattern" in inputs else "SUCCESS"
        end = "RUNNING" if inputs.get("jobs") == '["character"]' else self.wrong.get(end, end)
        found = {"id": f"e{len(self.executions)}", "states": ["CREATED"], "next": ["RUNNING", end]}
        self.executions[str(found["id"])] = found
        return self.shown(found)

    def shown(self, found: dict[str, Any]) -> dict[str, Any]:
        """An execution as the API shows it."""
        histories = [{"state": state} for state in found["states"]]
        state = {"current": found["states"][-1], "histories": histories}
        return {"id": found["id"], "state": state, "outputs": {"jobs": WHOLE}}

    def answer(self, call: str, form: str) -> dict[str, Any]:
        """Answer one call."""
        self.calls.append(call)
        if re.fullmatch(r"POST /api/v1/main/executions/rickandmorty.local/rick_and_morty_pipeline", call):
            return self.start(form)
        parts = re.fullmatch(r"(\w+) /api/v1/main/executions/(\w+)(/\w+)?", call)
        assert parts is not None
        found = self.executions[parts[2]]
        if parts[3] == "/restart":
            found["states"].append(self.wrong.get("RESTARTED", "RESTARTED"))
            found["next"] = ["RUNNING", "FAILED"]
        elif parts[3] == "/kill":
            found["next"] = ["KILLING", self.wrong.get("KILLED", "KILLED")]
        elif found["next"]:
            found["states"].append(found["next"].pop(0))
        return self.shown(found)


class Handler(BaseHTTPRequestHandler):
    """One call."""

    def one(self) -> None:
        """Answer."""
        server = self.server
        assert isinstance(server, Kestra)
        form = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        content = json.dumps(server.answer(f"{self.command} {self.path}", form)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = one  # noqa: N815 - http.server's names

    def log_message(self, *_: Any) -> None:
        """Stay silent."""


@pytest.fixture
def kestra() -> Iterator[Kestra]:
    """The stand-in."""
    server = Kestra()
    yield server
    server.shutdown()
    server.server_close()


def tried(kestra: Kestra) -> subprocess.CompletedProcess[str]:
    """Run the script."""
    address = f"http://127.0.0.1:{kestra.server_port}"
    variables = {"KESTRA_URL": address, "KESTRA_TOKEN": "me:secret", "KESTRA_NAMESPACE": "rickandmorty.local"}
    return run(sys.executable, SCRIPT, env={**variables, "POLL_SECONDS": "0.01"})


def test_it_runs_restarts_and_kills(kestra: Kestra) -> None:
    """Four runs are started, one is restarted, one is killed, and each ends as it should."""
    done = tried(kestra)
    assert done.returncode == 0, done.stderr
    assert [call for call in kestra.calls if not call.startswith("GET")] == [
        "POST /api/v1/main/executions/rickandmorty.local/rick_and_morty_pipeline",
        "POST /api/v1/main/executions/rickandmorty.local/rick_and_morty_pipeline",
        "POST /api/v1/main/executions/e1/restart",
        "POST /api/v1/main/executions/rickandmorty.local/rick_and_morty_pipeline",
        "DELETE /api/v1/main/executions/e2/kill",
        "POST /api/v1/main/executions/rickandmorty.local/rick_and_morty_pipeline",
    ]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"SUCCESS": "FAILED"}, "e0 ended as FAILED: expected SUCCESS"),
        ({"FAILED": "SUCCESS"}, "e1 ended as SUCCESS: expected FAILED"),
        ({"RESTARTED": "CREATED"}, "e1 was not restarted"),
        ({"KILLED": "SUCCESS"}, "e2 ended as SUCCESS: expected KILLED"),
    ],
)
def test_what_the_server_does_otherwise_is_one_line(kestra: Kestra, wrong: dict[str, str], said: str) -> None:
    """Exit status 1, and no secret."""
    kestra.wrong = wrong
    done = tried(kestra)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert said in done.stderr
    assert "secret" not in done.stderr
