"""A project of its own for a source that is nothing like the example's: made by `make new EMPTY=1` and `make entity`, run, looked at."""

import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.cloud import bigquery
from run_summary import LOADS
from testkit.programs import succeed
from testkit.project_files import ROOT
from testkit.whole_pipeline import Sandbox

from testkit import warm

FOREIGN = ROOT / "tests" / "foreign"
WHOLE = """

class WholeStream(ApiStream):
    primary_keys = ("id",)

    def get_new_paginator(self):
        from singer_sdk.pagination import SinglePagePaginator

        return SinglePagePaginator()
"""


@dataclass
class OwnProject:
    """A project of a foreign source; `state` is what Meltano would keep."""

    name: str
    source: Any
    folder: Path
    sandbox: Sandbox = field(default_factory=lambda: Sandbox("", Path()))
    state: dict[str, Any] | None = None
    # Of its datasets; dbt's are local.
    prefix: str = "local_"
    # Of the source's own, beside schemas.
    lines: int = 0

    def script(self, script: str, *arguments: str, folder: Path = ROOT) -> None:
        """Run a script of the project in `folder`."""
        succeed(sys.executable, folder / "scripts" / script, *arguments, cwd=folder)

    def make(self, samples: dict[str, tuple[list[dict[str, Any]], list[str]]], settings: str = "") -> None:
        """Make it as docs/onboarding.md says: `make new`, `make entity` for each, then streams and settings."""
        self.script("new_project.py", "--empty", "--api", self.source.url, self.name, str(self.folder))
        for entity, (records, options) in samples.items():
            sample = self.folder.parent / f"{entity}.jsonl"
            sample.write_text("".join(f"{json.dumps(record)}\n" for record in records))
            self.script("new_entity.py", entity, "--sample", str(sample), *options, folder=self.folder)
        package = self.folder / f"tap-{self.name}" / "src" / f"tap_{self.name}"
        # What an installation would leave; the environment is this project's.
        metadata = package.parent / f"{self.name}_tap-0.1.0.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text(f"Metadata-Version: 2.1\nName: {self.name}-tap\nVersion: 0.1.0\n")
        own = package / "streams.py"
        if (FOREIGN / self.name).is_dir():
            shutil.copy(FOREIGN / self.name / "streams.py", own)
        else:
            # One answer holds everything.
            bases = re.sub(r"\((Api|Listing)Stream\)", "(WholeStream)", own.read_text())
            own.write_text(bases.replace("\n\nclass", WHOLE + "\n\nclass", 1))
        known = package / "settings.json"
        mark = '    "source": {'
        assert known.read_text().count(mark) == 1
        known.write_text(known.read_text().replace(mark, settings + mark))
        self.lines = len((own.read_text() + settings).splitlines())

    def extract(self, status: int = 0, **config: Any) -> Path:
        """Run the tap; return the file of its messages."""
        config_file, state_file = self.folder / "config.json", self.folder / "state.json"
        config_file.write_text(json.dumps({"api_url": self.source.url, "retry_seconds": 20, **config}))
        command = warm.command(f"tap_{self.name}", "--config", str(config_file), imports="tap_rickandmorty.*")
        if self.state is not None:
            state_file.write_text(json.dumps(self.state))
            command += ["--state", str(state_file)]
        messages = self.folder / "messages.singer"
        with messages.open("wb") as out:
            tap = subprocess.run(
                command,
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(self.folder / f"tap-{self.name}" / "src")},
                check=False,
                stdout=out,
                stderr=subprocess.PIPE,
            )
        assert tap.returncode == status, tap.stderr.decode()[-3000:]
        return messages

    def start(self, messages: Path, *, stdout: int = subprocess.PIPE, **env: Any) -> subprocess.Popen[bytes]:
        """Start the target on a file of messages."""
        return subprocess.Popen(
            # Where it is killed it must be the target itself that dies.
            warm.command("target_bigquery", "--config=ENV")
            if stdout == subprocess.PIPE
            else [sys.executable, "-m", "target_bigquery", "--config=ENV"],
            env={
                **os.environ,
                **self.sandbox.env,
                "TARGET_BIGQUERY_DATASET": f"{self.prefix}{self.name}_landing",
                "TARGET_BIGQUERY_SOURCE": self.source.url,
                "MELTANO_RUN_ID": str(uuid.uuid4()),
                **env,
            },
            stdin=messages.open("rb"),
            stdout=stdout,
            stderr=subprocess.PIPE,
        )

    def load(self, env: dict[str, Any] | None = None, tap: int = 0, target: int = 0, **config: Any) -> None:
        """Run tap and target, which end with these statuses; keep the last STATE that the target let out."""
        with self.start(self.extract(tap, **config), **env or {}) as loader:
            out, err = loader.communicate()
        assert loader.returncode == target, err.decode()[-3000:]
        states = [json.loads(line) for line in out.splitlines()]
        if states and not config.get("full_read"):
            self.state = states[-1]

    def loads(self, stream: str) -> list[tuple[Any, ...]]:
        """Return what the ledger says of a stream's loads, in their order: replication and rows."""
        return self.sandbox.ask(
            f"SELECT replication, `rows` FROM `{self.prefix}{self.name}_landing._loads` WHERE stream = '{stream}' ORDER BY finished_at"
        )

    def shown(self, run_id: str, entity: str) -> tuple[int | None, ...]:
        """Return what `make run` shows of an entity after a run: rows loaded, landed and in the mart."""
        client = self.sandbox.client()
        config = bigquery.QueryJobConfig(default_dataset=f"{client.project}.local_{self.name}_marts")
        rows = client.query(LOADS.format(run_id=run_id), job_config=config).result()
        return next(
            (row["row_count"], row["landed_row_count"], row["mart_row_count"])
            for row in rows
            if row["entity"] == entity
        )

    def mart(self, entity: str) -> list[dict[str, Any]]:
        """Return the rows of an entity's mart."""
        rows = self.sandbox.client().query(f"SELECT * FROM `local_{self.name}_marts.dim_{entity}`")
        return [dict(row) for row in rows.result()]
