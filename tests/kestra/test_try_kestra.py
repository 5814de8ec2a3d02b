"""The script of the workflow kestra.yml, against a stand-in of the calls of Kestra's API that it makes."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from email.message import Message
from typing import Any

import pytest
from testkit.programs import run
from testkit.project_files import ROOT
from testkit.servers import Server

SCRIPT = ROOT / ".github" / "scripts" / "try_kestra.py"
WHOLE = {job: {"state": "SUCCESS", "rows": 1} for job in ("character", "episode", "location", "dbt")}


class Kestra(Server):
    """Executions that go one state further each time they are looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.executions: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        self.wrong: dict[str, str] = {}

    def respond(self, method: str, path: str, _: Message, body: bytes) -> tuple[int, bytes]:
        """Answer one call."""
        return 200, json.dumps(self.answer(f"{method} {path}", body.decode())).encode()

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


@pytest.fixture
def kestra() -> Iterator[Kestra]:
    """The stand-in."""
    with Kestra() as server:
        yield server


def tried(kestra: Kestra) -> subprocess.CompletedProcess[str]:
    """Run the script."""
    server = {"KESTRA_URL": kestra.url, "KESTRA_TOKEN": "me:secret"}
    more = {"KESTRA_NAMESPACE": "rickandmorty.local", "POLL_SECONDS": "0.01"}
    return run(sys.executable, SCRIPT, env=server | more)


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
    ("wrong", "message"),
    [
        ({"SUCCESS": "FAILED"}, "e0 ended as FAILED: expected SUCCESS"),
        ({"FAILED": "SUCCESS"}, "e1 ended as SUCCESS: expected FAILED"),
        ({"RESTARTED": "CREATED"}, "e1 was not restarted"),
        ({"KILLED": "SUCCESS"}, "e2 ended as SUCCESS: expected KILLED"),
    ],
)
def test_what_the_server_does_wrong_is_one_line(kestra: Kestra, wrong: dict[str, str], message: str) -> None:
    """Exit status 1, and no secret."""
    kestra.wrong = wrong
    done = tried(kestra)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert message in done.stderr
    assert "secret" not in done.stderr
