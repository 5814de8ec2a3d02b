"""The sandbox and the real Meltano project, as the tests that cross the parts use them.

`SANDBOX_COMMAND` and `MELTANO_COMMAND` name the programs; the Makefile sets them, and `.venvs/` is where they are.
"""

import json
import os
import shlex
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.oauth2.credentials import Credentials

from testkit import warm
from testkit.programs import afterwards, succeed
from testkit.project_files import ROOT
from testkit.proxies import Proxy

SHARED_DATA = ROOT.parent / "shared" / "data" / "rickandmorty"
RUN_ALL = ["tap-rickandmorty", "target-bigquery", "dbt-bigquery:build"]
RESOURCES: dict[str, str] = {
    entity["name"]: entity["resource"]
    for entity in yaml.safe_load((ROOT / "entities.yml").read_text(encoding="utf-8"))["entities"]
}


def program(variable: str, default: str) -> str:
    """Return the program that `variable` names; skip the test where there is none."""
    path = os.environ.get(variable) or str(ROOT / default)
    if not Path(path).is_file():
        pytest.skip(f"{variable} names no program ({path}); `make test` installs it")
    return path


def python_program(path: Path, code: str) -> Path:
    """Write a program of Python code; a shebang cannot name an interpreter whose path has a space."""
    source = path.with_name(f"{path.name}.py")
    source.write_text(code)
    path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(source))} "$@"\n')
    path.chmod(0o755)
    return path


def local_bigquery(env: Mapping[str, str], account: str = "") -> bigquery.Client:
    """Return Google's client on the local BigQuery that a sandbox's environment names; a strict one knows accounts."""
    return bigquery.Client(
        project=env["GOOGLE_CLOUD_PROJECT"],
        credentials=Credentials(account) if account else AnonymousCredentials(),
        client_options={"api_endpoint": env["BIGQUERY_EMULATOR_HOST"]},
    )


@dataclass
class Sandbox:
    """A running sandbox of the tests' own: its home, and the environment it gives."""

    command: str
    home: Path
    _env: dict[str, str] = field(default_factory=dict)

    def start(self, *options: str) -> None:
        """Start what is not running, or restart the API with other data."""
        self._env = {}
        subprocess.run(
            # Whatever it serves, its versions are of one source.
            [self.command, "--home", str(self.home), "start", "--source", "data of the tests", *options],
            check=True,
        )

    @property
    def env(self) -> dict[str, str]:
        """The addresses, project, bucket and credentials since the last start."""
        if not self._env:
            self._env = json.loads(succeed(self.command, "--home", self.home, "env", "--format", "json"))
        return dict(self._env)

    @property
    def api_url(self) -> str:
        """The API's address, ending in /api."""
        return self.env["TAP_RICKANDMORTY_API_URL"]

    @property
    def api(self) -> Proxy:
        """The API's own faults, and the requests it has seen."""
        return Proxy(self.api_url.removesuffix("/api"))

    def served(self, resource: str) -> list[dict[str, Any]]:
        """Every record of a resource, as the API serves it now."""
        url = f"{self.api_url}/{resource}"
        pages = requests.get(url).json()["info"]["pages"]
        return [
            record
            for page in range(1, pages + 1)
            for record in requests.get(url, params={"page": page}).json()["results"]
        ]

    def client(self) -> bigquery.Client:
        """Google's client on the local BigQuery."""
        return local_bigquery(self.env)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        return [tuple(row.values()) for row in self.client().query(sql).result()]

    def value(self, sql: str) -> Any:
        """The one value of a query."""
        ((value,),) = self.ask(sql)
        return value


@contextmanager
def running_sandbox(home: Path, *options: str) -> Iterator[Sandbox]:
    """A sandbox started with these options, stopped at the end; skips the test where there is no program."""
    running = Sandbox(program("SANDBOX_COMMAND", ".venvs/sandbox/bin/sandbox"), home)
    with afterwards(running.command, "--home", home, "stop"):
        running.start(*options)
        yield running


# What Meltano and each program that it starts import at their start.
IMPORTS = {
    "meltano": (
        "meltano.cli",
        "meltano.core.plugin_invoker",
        "meltano.core.block.block_parser",
        "meltano.core.state_service",
    ),
    "tap-rickandmorty": ("tap_rickandmorty.*",),
    "target-bigquery": ("target_bigquery.*",),
    "dbt": ("dbt.cli.main", "dbt.adapters.bigquery", "dbt.task.build"),
    "report": ("rickandmorty_report.*",),
}


@dataclass
class Project:
    """The real Meltano project with a system database and dbt folders of its own; its programs start warm (testkit.warm)."""

    sandbox: Sandbox
    folder: Path

    @property
    def command(self) -> str:
        """Meltano."""
        command = self.folder / "meltano-command"
        if not command.exists():
            meltano = Path(program("MELTANO_COMMAND", ".venvs/meltano/bin/meltano"))
            warm.stand_in(command, warm.script(meltano, *IMPORTS["meltano"]))
        return str(command)

    def environment(self, run_id: str | None = None) -> dict[str, str]:
        """What a run needs: the sandbox's variables, a database and folders of the test's own."""
        return {
            **os.environ,
            **self.sandbox.env,
            # What the tests load, one after the other, stands for one source that changes.
            "TARGET_BIGQUERY_SOURCE": "the tests",
            "MELTANO_RUN_ID": run_id or str(uuid.uuid4()),
            "MELTANO_DATABASE_URI": f"sqlite:///{self.folder}/meltano.db",
            "MELTANO_SYS_DIR_ROOT": str(self.system_folder()),
            "MELTANO_SEND_ANONYMOUS_USAGE_STATS": "false",
            "MELTANO_CLI_LOG_FORMAT": "uncolored",
            "DBT_TARGET_PATH": str(self.folder / "dbt-target"),
            "DBT_LOG_PATH": str(self.folder / "dbt-logs"),
            "NO_COLOR": "1",
        }

    def system_folder(self) -> Path:
        """Meltano's own folder: the project's plugins, but run files of the test's own.

        Two runs of one plugin at the same time would delete each other's catalog.
        """
        folder = self.folder / "meltano"
        if not folder.exists():
            for venv in (ROOT / ".meltano").glob("*/*/venv"):
                own = folder / venv.relative_to(ROOT / ".meltano")
                (own / "bin").mkdir(parents=True)
                for entry in (*venv.iterdir(), *(venv / "bin").iterdir()):
                    copy = own / entry.relative_to(venv)
                    if entry.name in IMPORTS:
                        warm.stand_in(copy, warm.script(entry, *IMPORTS[entry.name]))
                    elif entry.name != "bin":
                        copy.symlink_to(entry)
        return folder

    def start(self, *blocks: str, run_id: str | None = None) -> subprocess.Popen[str]:
        """Start `meltano run`, its log on stdout."""
        return subprocess.Popen(
            [self.command, "run", *blocks],
            cwd=ROOT,
            env=self.environment(run_id),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )

    def run(self, *blocks: str, run_id: str | None = None) -> tuple[int, str]:
        """Run `meltano run`; return its exit status and its log."""
        with self.start(*blocks, run_id=run_id) as process:
            log, _ = process.communicate()
        return process.returncode, log


@dataclass
class BuiltPipeline:
    """What one whole run has left: its project, and dbt's target folder with compiled/ and run/."""

    project: Project
    target_dir: Path

    @property
    def sandbox(self) -> Sandbox:
        """The sandbox it ran on."""
        return self.project.sandbox

    @property
    def manifest(self) -> dict[str, Any]:
        """Dbt's manifest.json."""
        found: dict[str, Any] = json.loads((self.target_dir / "manifest.json").read_text(encoding="utf-8"))
        return found
