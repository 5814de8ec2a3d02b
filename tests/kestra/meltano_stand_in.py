"""Meltano's place in the tests of flows, adapter and Batch: what it is to do, what it was called with, and what the adapter prints; a webhook."""

import json
import os
import shutil
import subprocess
import uuid
from collections import Counter
from email.message import Message
from pathlib import Path
from typing import IO, Any

from testkit.programs import eventually
from testkit.project_files import ROOT
from testkit.servers import Server

from testkit import warm

# Where `make install` puts meltano and meltano-job, as the image's PATH has them.
PROGRAMS = ROOT / ".venvs" / "meltano" / "bin"
MELTANO_JOB = PROGRAMS / "meltano-job"
# What it imports, for its warm process.
IMPORTS = ("meltano_job.job", "meltano_job.result")
FAKE_MELTANO = Path(__file__).with_name("fake_meltano.py")
MANIFEST = {
    "nodes": {
        f"model.p.{name}": {
            "name": name,
            "resource_type": "model",
            "fqn": ["p", *path, name],
            "tags": path[:1],
        }
        for name, path in {"stg_episodes": ["staging"], "dim_episodes": ["marts", "core"]}.items()
    }
}
# The end of a block of `meltano run`, but for its success.
BLOCK = {"event": "…", "block_type": "ExtractLoadBlocks", "set_number": 0}


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


class Meltano(MeltanoStandIn):
    """A stand-in of Meltano, or another program in its place; and meltano-job, started on it."""

    def becomes(self, script: str) -> None:
        """Take a script in Meltano's place; `$FAKES` is the folder."""
        program = self.folder / "meltano"
        program.write_text(script)
        program.chmod(0o755)
        self.variables["MELTANO"] = str(program)

    def says(
        self, *lines: Any, status: int = 0, target: dict[str, Any] | None = None, ran: bool = True
    ) -> None:
        """Become one that prints these lines and the end of a block, and leaves these files in dbt's target folder: JSON, or a text as it is."""
        lines = (*lines, BLOCK | {"success": status == 0}) if ran else lines
        folder = self.folder / "target"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, content in (target or {}).items():
            (folder / name).write_text(as_text(content))
        (self.folder / "log").write_text("\n".join(map(as_text, lines)))
        script = 'echo run >>"$FAKES/runs"; mkdir -p "$DBT_TARGET_PATH"; cp -r "$FAKES/target/." "$DBT_TARGET_PATH"'
        self.becomes(f'#!/bin/sh\n{script}\ncat "$FAKES/log"\nexit {status}\n')

    @property
    def runs(self) -> int:
        """How often that one was run."""
        path = self.folder / "runs"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def start(
        self, job: str = "episode", *, stdout: int | IO[str] = subprocess.PIPE, **more: Any
    ) -> subprocess.Popen[str]:
        """Start the program."""
        private = ("MELTANO_", "DBT_", "TARGET_")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(private)} | self.variables
        environment |= {"MELTANO_JOB": job, "MELTANO_RUN_ID": str(uuid.uuid4()), "RETRY_SECONDS": "0", **more}
        return subprocess.Popen(
            warm.script(MELTANO_JOB, *IMPORTS),
            env=environment,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, job: str = "episode", **more: Any) -> Output:
        """Start the program and wait for its end."""
        with self.start(job, **more) as process:
            output, errors = process.communicate()
        assert not errors, errors
        return Output(process.returncode, output)

    def pid(self, name: str) -> int:
        """The process id that a script has left in a file."""
        return int((self.folder / name).read_text())


class Webhook(Server):
    """Takes what the alert posts, and the heartbeats."""

    def __init__(self) -> None:
        super().__init__()
        self.answer()

    def respond(self, method: str, _: str, __: Message, body: bytes) -> tuple[int, bytes]:
        """Keep a message."""
        if method == "GET":
            self.heartbeats += 1
        else:
            self.posts.append(json.loads(body))
        # As Slack answers; Discord has no body.
        return self.statuses.pop(0) if self.statuses else 200, b"ok" if self.posts else b""

    def answer(self, *statuses: int) -> None:
        """Forget the messages; answer the next ones with these statuses, then with 200."""
        self.posts: list[dict[str, str]] = []
        self.heartbeats = 0
        self.statuses = list(statuses)


def as_text(content: Any) -> str:
    """Return a text as it is, anything else as JSON."""
    return content if isinstance(content, str) else json.dumps(content)


def point(metric: str, value: float, stream: str, **tags: str) -> dict[str, Any]:
    """A METRIC point as Meltano logs it."""
    info = {"type": "counter", "metric": metric, "value": value, "tags": {"stream": stream, **tags}}
    return {"event": "METRIC", "level": "info", "metric_info": info}


def loaded(metric: str, value: float, version: str, *, before: str = "false") -> dict[str, Any]:
    """A METRIC point of a version that the target has loaded."""
    tags = {"table_version": version, "job_id": f"l_{version}", "proof": "tap", "loaded_before": before}
    return point(metric, value, "my-stream", **tags)


def results(nodes: dict[str, str]) -> dict[str, Any]:
    """What dbt writes, given the outcome of each node."""
    rows = [
        {"unique_id": node, "status": status, "execution_time": 0.5, "message": None}
        for node, status in nodes.items()
    ]
    return {"run_results.json": {"results": rows}, "manifest.json": MANIFEST}
