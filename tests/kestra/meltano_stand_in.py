"""Meltano's place in the tests of flows, adapter and Batch: what it is to do, what it was called with, and what the adapter prints."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from testkit.programs import eventually
from testkit.project_files import ROOT

# Where `make install` puts meltano and meltano-job, as the image's PATH has them.
PROGRAMS = ROOT / ".venvs" / "meltano" / "bin"
MELTANO_JOB = PROGRAMS / "meltano-job"
FAKE_MELTANO = Path(__file__).with_name("fake_meltano.py")


class MeltanoStandIn:
    """The folder that fake_meltano.py reads its behaviour from and writes its calls to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.variables = {"FAKES": str(folder), "MELTANO": str(FAKE_MELTANO)}
        self._calls = folder / "calls.jsonl"
        self.behave()

    def behave(self, **behaviour: dict[str, Any]) -> None:
        """Forget the calls, and set how each job behaves."""
        self._calls.unlink(missing_ok=True)
        self.folder.joinpath("behaviour.json").write_text(json.dumps(behaviour))

    def calls(self, what: str, job: str | None = None) -> list[dict[str, Any]]:
        """The calls' beginnings (`begin`) or ends (`end`), in order."""
        lines = self._calls.read_text().splitlines() if self._calls.exists() else []
        calls = [json.loads(line) for line in lines if line.endswith("}")]
        return [call for call in calls if call["what"] == what and job in {None, call["job"]}]

    def begun(self, job: str | None = None) -> list[dict[str, Any]]:
        """The calls that have begun."""
        return self.calls("begin", job)

    @property
    def times(self) -> dict[str, int]:
        """How often each job was called."""
        return dict(Counter(call["job"] for call in self.begun()))

    @property
    def run_ids(self) -> set[str]:
        """The run ids of all calls."""
        return {call["environment"]["MELTANO_RUN_ID"] for call in self.begun()}

    def until(self, job: str) -> dict[str, Any]:
        """Wait for a job's beginning."""
        found: list[dict[str, Any]] = eventually(lambda: self.begun(job), f"{job} has not begun")
        return found[0]

    def go_on(self) -> None:
        """End the wait of a job that waits for another to begin (`together`)."""
        with self._calls.open("a") as calls:
            calls.write('{"job": "nobody", "what": "begin", "time": 0}\n')


class Output:
    """What a program printed in Kestra's protocol."""

    def __init__(self, status: int, output: str) -> None:
        self.status = status
        whole = [line for line in output.splitlines() if line.startswith("::{") and line.endswith("}::")]
        frames = [json.loads(line[2:-2]) for line in whole]
        self.lines = [(log["level"], log["message"]) for frame in frames for log in frame.get("logs", [])]
        self.outputs: dict[str, Any] = {}
        for frame in frames:
            self.outputs |= frame.get("outputs", {})

    def at(self, level: str) -> list[str]:
        """The messages of a level."""
        return [message for found, message in self.lines if found == level]
