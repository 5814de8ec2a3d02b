"""The target as a process on a dataset of its own, and the messages that tests send it."""

import json
import os
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from google.api_core.exceptions import NotFound
from google.cloud import bigquery

from testkit import warm
from testkit.programs import eventually, run
from testkit.project_files import ROOT
from testkit.whole_pipeline import local_bigquery

SCHEMA = {
    "type": "SCHEMA",
    "stream": "things",
    "key_properties": ["id"],
    "schema": {
        "type": "object",
        "properties": {
            "id": {"type": "integer", "description": "Number of the thing."},
            "name": {"type": ["string", "null"]},
            "origin": {"type": "object", "properties": {"url": {"type": "string"}}},
            "links": {"type": "array", "items": {"type": "string"}},
            "created": {"type": "string", "format": "date-time"},
        },
    },
}
EMULATORS = ("BIGQUERY_EMULATOR_HOST", "STORAGE_EMULATOR_HOST")
# The roles that the target's README states.
STATED = json.loads((ROOT / "sandbox/src/sandbox/strict/rules.json").read_text())["accounts"]["sandbox"]
STATE = {"type": "STATE", "value": {"bookmarks": {"things": {}}}}


def schema(**properties: Any) -> dict[str, Any]:
    """The SCHEMA message with other or more properties; None takes one away."""
    changed: dict[str, Any] = json.loads(json.dumps(SCHEMA))
    changed["schema"]["properties"].update(properties)
    wanted = changed["schema"]["properties"]
    changed["schema"]["properties"] = {name: value for name, value in wanted.items() if value is not None}
    return changed


def record(number: int | None, version: int | None = 1, **changes: Any) -> dict[str, Any]:
    """A RECORD message."""
    value = {
        "id": number,
        "name": "Ünna",
        "origin": {"url": "u"},
        "links": ["a", "b"],
        "created": "2026-01-01T00:00:00Z",
        **changes,
    }
    common = {"type": "RECORD", "stream": "things", "time_extracted": "2026-01-01T00:00:01Z"}
    return {**common, "record": value} | ({} if version is None else {"version": version})


def whole(version: int = 1) -> dict[str, Any]:
    """An ACTIVATE_VERSION message."""
    return {"type": "ACTIVATE_VERSION", "stream": "things", "version": version}


@dataclass
class Pipe:
    """Tap and target in a pipe, as Meltano runs them: their processes, and what the target let out."""

    tap: subprocess.Popen[str]
    target: subprocess.Popen[str]
    out: str = ""
    log: str = ""
    tap_log: str = ""

    def communicate(self) -> None:
        """Wait for both; keep the target's output and both logs."""
        if self.tap.stderr is not None:
            self.tap_log = self.tap.stderr.read()
        self.out, self.log = self.target.communicate()
        self.tap.wait()

    @property
    def statuses(self) -> tuple[int | None, int | None]:
        """The exit statuses of tap and target."""
        return self.tap.returncode, self.target.returncode


@contextmanager
def piped(
    tap_env: Mapping[str, str], target_env: Mapping[str, str], *, tap_log: bool = True
) -> Iterator[Pipe]:
    """Start our tap and our target in a pipe; both are waited for at the end."""
    with (
        subprocess.Popen(
            warm.command("tap_rickandmorty", "--config=ENV"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if tap_log else subprocess.DEVNULL,
            text=True,
            env=dict(tap_env),
        ) as tap,
        subprocess.Popen(
            warm.command("target_bigquery", "--config=ENV"),
            stdin=tap.stdout,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=dict(target_env),
        ) as target,
    ):
        assert tap.stdout is not None
        tap.stdout.close()
        yield Pipe(tap, target)


@dataclass
class Bench:
    """A dataset of its own, and the target run on it."""

    env: dict[str, str]
    dataset: str = field(default_factory=lambda: f"t_{uuid.uuid4().hex[:8]}")
    run_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def environment(self, **settings: str) -> dict[str, str]:
        """The target's environment."""
        named = {"dataset": self.dataset, "bucket": "local-landing", "run_id": self.run_id, **settings}
        return {**os.environ, **self.env, **{f"TARGET_BIGQUERY_{k.upper()}": v for k, v in named.items()}}

    def start(self, *messages: dict[str, Any], **settings: str) -> subprocess.Popen[str]:
        """Start the target and send it these messages."""
        process = subprocess.Popen(
            warm.command("target_bigquery", "--config=ENV"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment(**settings),
        )
        assert process.stdin is not None
        for message in messages:
            process.stdin.write(json.dumps(message) + "\n")
        process.stdin.flush()
        return process

    def load(self, *messages: dict[str, Any], **settings: str) -> subprocess.CompletedProcess[str]:
        """Run the target on these messages."""
        return self.load_text("".join(json.dumps(m) + "\n" for m in messages), **settings)

    def load_text(self, text: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run the target on this input."""
        return self._run(text, **settings)

    def check(self, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run the target's `--check`."""
        return self._run("", "--check", **settings)

    def _run(self, text: str, *options: str, **settings: str) -> subprocess.CompletedProcess[str]:
        command = warm.command("target_bigquery", "--config=ENV", *options)
        return run(*command, stdin=text, env=self.environment(**settings))

    @contextmanager
    def as_account(self, token: str = "", **roles: Any) -> Iterator[None]:
        """Run the target as an account with the stated roles, but these, where the sandbox is strict.

        Google's client of Cloud Storage carries no token to a local one: there the sandbox's own account has them meanwhile.
        """
        file = Path(self.env["GOOGLE_APPLICATION_CREDENTIALS"])
        credentials = json.loads(file.read_text(encoding="utf-8"))
        accounts = {name: f"{self.env[name]}/__sandbox__/accounts" for name in EMULATORS}
        token, roles = token or f"a{uuid.uuid4().hex[:8]}", {**STATED, **roles}
        requests.put(accounts[EMULATORS[0]], json={token: roles}).raise_for_status()
        requests.put(accounts[EMULATORS[1]], json={"sandbox": roles}).raise_for_status()
        with tempfile.NamedTemporaryFile("w", suffix=".json") as theirs:
            theirs.write(
                json.dumps({**credentials, "token": token, "client_secret": token, "refresh_token": token})
            )
            theirs.flush()
            self.env = {**self.env, "GOOGLE_APPLICATION_CREDENTIALS": theirs.name}
            try:
                yield
            finally:
                self.env = {**self.env, "GOOGLE_APPLICATION_CREDENTIALS": str(file)}
                requests.put(accounts[EMULATORS[1]], json={"sandbox": STATED}).raise_for_status()

    def client(self) -> bigquery.Client:
        """Google's client on the local BigQuery."""
        return local_bigquery(self.env)

    def owner(self) -> bigquery.Client:
        """Google's client of an account that may do everything, where the sandbox is strict."""
        return local_bigquery(self.env, "owner")

    def rows(self, table: str = "things") -> list[dict[str, Any]]:
        """The table's rows; none when it is not there."""
        try:
            return [dict(r) for r in self.client().query(f"SELECT * FROM `{self.dataset}.{table}`").result()]
        except NotFound:
            return []

    def await_table(self, table: str = "things") -> None:
        """Wait until the table is there: the target makes it when the first record has come."""
        client = self.client()

        def created() -> bigquery.Table | None:
            with suppress(NotFound):
                return client.get_table(f"{self.dataset}.{table}")
            return None

        eventually(created, f"{table} was not made")


def succeeded(run: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """Assert that a run succeeded; return it."""
    assert run.returncode == 0, run.stderr
    return run


def refused(run: subprocess.CompletedProcess[str], *messages: str) -> None:
    """Assert that a run failed, with these texts in its last line, and let no STATE out."""
    assert run.returncode == 1, run.stderr
    assert run.stdout == ""
    assert "Traceback" not in run.stderr
    last = run.stderr.strip().rpartition("\n")[2]
    for text in messages:
        assert text in last
