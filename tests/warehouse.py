"""A warehouse of the tests' own: landing tables filled row by row, and dbt kept running beside them.

Nothing of tap and target takes part, so that a test can say exactly which versions were loaded, and when.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from google.cloud import bigquery
from landing_schemas import landing_tables
from testkit.project_files import ROOT
from testkit.whole_pipeline import IMPORTS, Sandbox

from testkit import warm

ENTITIES = ("characters", "episodes", "locations")
DBT_PYTHON = ROOT / ".meltano/utilities/dbt-bigquery/venv/bin/python"
SITE = "https://rickandmortyapi.com/api"
MARTS = "local_rickandmorty_marts"
FINDINGS = "rule STRING, severity STRING, entity STRING, record_id INT64, record_name STRING, detail STRING"
# The verdict, on no finding: `empty` makes a table of none, and to make it of the records is the dearest part of a build.
VERSIONS = ("stg_rickandmorty__loads", "int_build_versions")
VERDICT_MODELS = (*VERSIONS, "int_landed", "rpt_verdict")
# With the verdict's own test alone: the others are tested elsewhere.
VERDICT = ("--select", *VERDICT_MODELS, "verdict_passes", "--indirect-selection", "empty")


@dataclass
class Done:
    """What dbt says of one invocation."""

    ok: bool
    error: str
    results: list[tuple[str, str, str]]

    def of(self, status: str) -> list[str]:
        """Return the names of the nodes that ended so."""
        return sorted(name for name, ended, _ in self.results if ended == status)

    def succeeded(self) -> None:
        """Assert that dbt ended well; else say what went wrong."""
        assert self.ok, self.messages()

    def messages(self) -> str:
        """Return what went wrong, in dbt's words."""
        return "\n".join([self.error, *(f"{n}: {m}" for n, s, m in self.results if s in ("error", "fail"))])


def thirty_hours_ago() -> datetime:
    """Return when the first version of a test is loaded: there is room for thirty."""
    return datetime.now(UTC).replace(microsecond=0) - timedelta(hours=30)


@dataclass
class Warehouse:
    """Landing tables with an empty ledger, a copy of transform/, and a dbt process on both."""

    sandbox: Sandbox
    folder: Path
    process: subprocess.Popen[str]
    clock: datetime = field(default_factory=thirty_hours_ago)

    def dbt(self, *arguments: str, **environment: str) -> Done:
        """Run one dbt command in the process that is kept."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"arguments": arguments, "environment": environment}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, self.log()[-4000:]
        outcome = json.loads(line)
        return Done(outcome["ok"], outcome["error"], [tuple(result) for result in outcome["results"]])

    def build(self, *arguments: str, **environment: str) -> Done:
        """Run `dbt build` as Meltano does."""
        return self.dbt("build", "--exclude-resource-type", "unit_test", *arguments, **environment)

    def log(self) -> str:
        """Return what dbt has printed so far."""
        return (self.folder / "dbt.log").read_text(errors="replace")

    def land(self, stream: str, records: list[dict[str, Any]], run_id: str, **ledger: Any) -> int:
        """Load a version an hour after the one before, and its row of the ledger; return its number."""
        self.clock += timedelta(hours=1)
        version: int = ledger.pop("table_version", int(self.clock.timestamp() * 1000))
        landed = [
            {
                **r,
                "_sdc_batched_at": self.clock.isoformat(),
                "_sdc_table_version": version,
                "_sdc_run_id": run_id,
            }
            for r in records
        ]
        if landed:
            self.append(stream, landed)
        row = {
            "run_id": run_id, "stream": stream, "table_version": version, "method": "append-only",
            "replication": "full", "proof": "tap", "source": "the tests", "rows": len(records),
            "started_at": self.clock.isoformat(),
            "finished_at": (self.clock + timedelta(seconds=30)).isoformat(),
        }  # fmt: skip
        self.append("_loads", [{**row, **ledger}])
        return version

    def append(self, table: str, rows: list[dict[str, Any]]) -> None:
        """Load rows into a landing table, by one job."""
        config = bigquery.LoadJobConfig(schema=schema(table), write_disposition="WRITE_APPEND")
        client = self.sandbox.client()
        client.load_table_from_json(rows, f"local_rickandmorty_landing.{table}", job_config=config).result()

    @contextmanager
    def without_verdict(self) -> Iterator[None]:
        """Build models alone that otherwise need a verdict."""
        macro = self.folder / "transform" / "macros" / "after_the_verdict.sql"
        text = macro.read_text()
        macro.write_text("{% macro after_the_verdict() %}{% endmacro %}\n")
        try:
            yield
        finally:
            macro.write_text(text)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        return self.sandbox.ask(sql)

    def empty(self) -> None:
        """Make the landing tables anew, and drop everything that dbt has made."""
        self.clock = thirty_hours_ago()
        client = self.sandbox.client()
        for dataset in list(client.list_datasets()):
            client.delete_dataset(dataset.reference, delete_contents=True)
        client.create_dataset("local_rickandmorty_landing")
        for table in (*ENTITIES, "_loads"):
            made = bigquery.Table(
                f"{client.project}.local_rickandmorty_landing.{table}", schema=schema(table)
            )
            client.create_table(made)
        client.create_dataset("local_rickandmorty_staging")
        client.query(f"CREATE TABLE `local_rickandmorty_staging.int_findings` ({FINDINGS})").result()


@cache
def landing_columns() -> dict[str, list[dict[str, Any]]]:
    """Return the columns of every landing table, as BigQuery's API has them."""
    return {name: content["fields"] for name, content in landing_tables().items()}


def schema(table: str) -> list[bigquery.SchemaField]:
    """Return a landing table's columns, as Terraform and the target make them."""
    return [bigquery.SchemaField.from_api_repr(column) for column in landing_columns()[table]]


@contextmanager
def open_warehouse(sandbox: Sandbox, folder: Path) -> Iterator[Warehouse]:
    """Keep a dbt process on a copy of transform/ and on this sandbox."""
    transform = folder / "transform"
    shutil.copytree(ROOT / "transform", transform, ignore=shutil.ignore_patterns("target", "logs"))
    with kept_dbt(sandbox, folder, transform) as warehouse:
        warehouse.empty()
        yield warehouse


@contextmanager
def kept_dbt(sandbox: Sandbox, folder: Path, transform: Path) -> Iterator[Warehouse]:
    """Keep a dbt process on a dbt project and on this sandbox; its log and target lie in `folder`."""
    if not DBT_PYTHON.is_file():
        pytest.skip(f"{DBT_PYTHON} is not there; `make install` makes it")
    environment = {
        **sandbox.env,
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
        "DATASET_PREFIX": "local_",
        "DBT_PROJECT_DIR": str(transform),
        "DBT_PROFILES_DIR": str(transform),
        "DBT_TARGET_PATH": str(folder / "target"),
        "DBT_LOG_PATH": str(folder / "logs"),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        # What nobody reads is not written: its manifest and its debug log.
        "DBT_WRITE_JSON": "false",
        "DBT_LOG_LEVEL_FILE": "none",
    }
    with (
        (folder / "dbt.log").open("w") as log,
        subprocess.Popen(
            warm.script(Path(__file__).with_name("kept_dbt.py"), *IMPORTS["dbt"], python=DBT_PYTHON),
            env=environment,
            cwd=folder,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        ) as process,
    ):
        yield Warehouse(sandbox, folder, process)
        assert process.stdin is not None
        process.stdin.close()


def place(number: int | None) -> dict[str, str]:
    """Return a character's place; None is the API's unknown one."""
    if number is None:
        return {"name": "unknown", "url": ""}
    return {"name": f"Place {number}", "url": f"{SITE}/location/{number}"}


def character(i: int, episodes: tuple[int, ...] = (), at: int | None = None, **values: Any) -> dict[str, Any]:
    """Return a landed character."""
    given = {"name": f"Who {i}", "status": "Alive", "species": "Human", "type": "", "gender": "Female"}
    return {
        "id": i,
        **given,
        "origin": place(None),
        "location": place(at),
        "image": f"{SITE}/character/avatar/{i}.jpeg",
        "episode": [f"{SITE}/episode/{e}" for e in episodes],
        "url": f"{SITE}/character/{i}",
        "created": "2017-11-04T18:48:46.250Z",
        **values,
    }


def episode(i: int, cast: tuple[int, ...] = (), **values: Any) -> dict[str, Any]:
    """Return a landed episode."""
    return {
        "id": i,
        "name": f"Part {i}",
        "air_date": f"December {i}, 2013",
        "episode": f"S01E{i:02}",
        "characters": [f"{SITE}/character/{c}" for c in cast],
        "url": f"{SITE}/episode/{i}",
        "created": "2017-11-10T12:56:33.798Z",
        **values,
    }


def location(i: int, residents: tuple[int, ...] = (), **values: Any) -> dict[str, Any]:
    """Return a landed location."""
    return {
        "id": i,
        "name": f"Place {i}",
        "type": "Planet",
        "dimension": "unknown",
        "residents": [f"{SITE}/character/{c}" for c in residents],
        "url": f"{SITE}/location/{i}",
        "created": "2017-11-10T12:42:04.162Z",
        **values,
    }


def land(warehouse: Warehouse, run_id: str, characters: int = 20, **ledger: Any) -> dict[str, int]:
    """Load a world of so many characters; return each entity's version."""
    everybody = tuple(range(1, characters + 1))
    world = {
        "characters": [character(i, (1,), 1) for i in everybody],
        "episodes": [episode(1, everybody)],
        "locations": [location(1, everybody)],
    }
    return {entity: warehouse.land(entity, records, run_id, **ledger) for entity, records in world.items()}


def verdict(warehouse: Warehouse, status: str) -> list[tuple[Any, ...]]:
    """Return the checks of the last verdict that ended so."""
    sql = f"SELECT check_name, entity FROM `{MARTS}.rpt_verdict` WHERE status = '{status}'"
    return sorted(warehouse.ask(sql), key=repr)


def retract(warehouse: Warehouse, **arguments: Any) -> None:
    """Run the operation."""
    warehouse.dbt("run-operation", "retract", "--args", json.dumps(arguments)).succeeded()
