"""What is measured: parts, who does them and how, and how the rows of each run are verified."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.api_core.exceptions import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from services import Services

ROOT = Path(__file__).resolve().parent.parent
PEERS_FOLDER = ROOT / "benchmarks" / "peers"
STREAMS = ("characters", "episodes", "locations")
# Records of each stream, in the real API's proportions; the sandbox's universe keeps them when it is told the characters alone.
SIZES = {
    "small": {"characters": 826, "episodes": 51, "locations": 126},
    "100k": {"characters": 100_000, "episodes": 6_175, "locations": 15_255},
    "1m": {"characters": 1_000_000, "episodes": 61_744, "locations": 152_543},
}
PARTS = {
    "extract": "Extraction",
    "load": "Load",
    "both": "Extraction and load",
    "meltano": "The whole `meltano run` with dbt",
}
# Peer → its name in the tables.
NAMES = {
    "ours": "ours",
    "limit": "the limit: threads, no framework",
    "requests": "`requests.get` in a loop",
    "session": "`requests.Session` in a loop",
    "template": "tap as the SDK's template makes it",
    "dlt": "dlt 1.31",
    "z3": "z3-target-bigquery 0.7.2",
    "template-z3": "template tap and z3-target-bigquery 0.7.2",
    "import": "`import singer_sdk` alone",
}
WHO = {
    "extract": ("ours", "template", "requests", "session", "dlt", "limit", "import"),
    "load": ("ours", "z3", "dlt", "limit"),
    "both": ("ours", "template-z3", "dlt", "limit"),
    "meltano": ("ours", "template-z3"),
}
COLD, WARM = "first run", "tables there"
STATES = {"extract": ("",), "load": (COLD, WARM), "both": (COLD, WARM), "meltano": (WARM,)}
MELTANO_RUNS = {
    "ours": ["tap-rickandmorty", "target-bigquery", "dbt-bigquery:build"],
    "template-z3": ["tap-template", "target-bigquery", "dbt-bigquery:build"],
}
LANDING = {"ours": "local_rickandmorty_landing", "template-z3": "z3_raw"}
MARTS = {"ours": "local_rickandmorty_marts", "template-z3": "z3_rickandmorty_marts"}
SINGER_RECORD = re.compile(rb'^\{"type": ?"RECORD", ?"stream": ?"(\w+)", ?"record": ?\{"id": ?(\d+)')
PLAIN_RECORD = re.compile(rb'^\{"stream": ?"(\w+)", ?"record": ?\{"id": ?(\d+)')

Counts = dict[str, dict[str, int]]


def python(environment: str) -> str:
    """Gives the Python of a peer's environment."""
    return str(ROOT / f".venvs/bench-{environment}/bin/python")


TAP = str(ROOT / ".meltano/extractors/tap-rickandmorty/venv/bin/tap-rickandmorty")
TARGET = str(ROOT / ".meltano/loaders/target-bigquery/venv/bin/target-bigquery")
DBT = ROOT / ".meltano/utilities/dbt-bigquery/venv/bin/dbt"
MELTANO = os.environ.get("MELTANO_COMMAND") or str(ROOT / ".venvs/meltano/bin/meltano")


@dataclass
class Command:
    """A program in a pipe: what it is called, its arguments, what its environment has besides, where it runs."""

    name: str
    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)
    cwd: Path = ROOT


@dataclass
class Job:
    """One run to be measured, and what gives the rows that it left."""

    commands: list[Command]
    check: Callable[[Path], Counts]
    stdin: Path | None = None
    times: int = 1


@dataclass
class Bench:
    """Everything that a run needs to know."""

    services: Services
    work: Path
    size: str

    @property
    def expected(self) -> dict[str, int]:
        """Records of each stream."""
        return SIZES[self.size]

    @property
    def universe(self) -> str:
        """What the sandbox's API serves."""
        return ",".join(f"{stream}={number}" for stream, number in self.expected.items())

    def input(self, kind: str) -> Path:
        """Gives the file that loads are fed with: `ours`, `template` or `plain`."""
        return self.work / f"input-{self.size}-{kind}.jsonl"

    # --- the programs ------------------------------------------------------------------------------------------
    def tap(self, api_url: str) -> Command:
        """Gives our tap."""
        return Command("tap", [TAP, "--config=ENV"], {"TAP_RICKANDMORTY_API_URL": api_url})

    def template_tap(self, api_url: str) -> Command:
        """Gives the template's tap."""
        env = {"TAP_TEMPLATE_API_URL": api_url, "PYTHONPATH": str(PEERS_FOLDER)}
        return Command("tap", [python("tap-template"), "-m", "tap_template", "--config=ENV"], env)

    def target(self, dataset: str) -> Command:
        """Gives our target, with a run id of its own."""
        env = {"TARGET_BIGQUERY_DATASET": dataset, "TARGET_BIGQUERY_RUN_ID": str(uuid.uuid4())}
        return Command("target", [TARGET, "--config=ENV"], env)

    def z3(self, dataset: str) -> Command:
        """Gives z3-target-bigquery, loading as ours does: columns, staged in Cloud Storage, appended."""
        config = self.work / f"z3-{dataset}.json"
        config.write_text(json.dumps(z3_config(self.services.environment, dataset)))
        return Command(
            "target", [str(Path(python("z3")).with_name("target-bigquery")), "--config", str(config)]
        )

    def limit(self, *arguments: str) -> Command:
        """Gives the limit."""
        return Command("limit", [python("limit"), str(PEERS_FOLDER / "limit.py"), *arguments])

    def dlt(self, folder: Path, *arguments: str) -> Command:
        """Gives dlt; the first variable is what gcsfs needs on a Cloud Storage that has no gRPC side."""
        env = {
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
            "RUNTIME__DLTHUB_TELEMETRY": "false",
            "RUNTIME__LOG_LEVEL": "ERROR",
        }
        program = str(PEERS_FOLDER / "dlt_pipeline.py")
        return Command("dlt", [python("dlt"), program, str(folder), *arguments], env)

    def meltano(self, peer: str, api_url: str) -> Command:
        """Gives the whole run: our project, or one with the peers in it."""
        folder = self.work / f"meltano-{peer}"
        env = {
            "TAP_RICKANDMORTY_API_URL": api_url,
            "TAP_TEMPLATE_API_URL": api_url,
            "MELTANO_RUN_ID": str(uuid.uuid4()),
            "MELTANO_DATABASE_URI": f"sqlite:///{folder}/meltano.db",
            "MELTANO_SEND_ANONYMOUS_USAGE_STATS": "false",
            "DBT_TARGET_PATH": str(folder / "dbt-target"),
            "DBT_LOG_PATH": str(folder / "dbt-logs"),
            "NO_COLOR": "1",
        }
        cwd = ROOT
        if peer != "ours":
            cwd = folder / "project"
            env |= {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "TRANSFORM": str(ROOT / "transform")}
        argv = [MELTANO, "--log-format", "json", "run", *MELTANO_RUNS[peer]]
        return Command("meltano", argv, env, cwd)

    # --- the jobs ----------------------------------------------------------------------------------------------
    def job(self, part: str, peer: str, api_url: str, dataset: str) -> Job:  # noqa: PLR0911, PLR0912, C901 (one a cell)
        """Gives one run of a part by a peer."""
        folder = self.work / f"dlt-{dataset}"
        match part, peer:
            case "extract", "ours":
                return Job([self.tap(api_url)], singer_records)
            case "extract", "template":
                return Job([self.template_tap(api_url)], singer_records)
            case "extract", "requests" | "session":
                loop = [python("requests"), str(PEERS_FOLDER / "requests_loop.py"), api_url]
                more = ["--session"] if peer == "session" else []
                return Job([Command("loop", [*loop, *more])], plain_records)
            case "extract", "limit":
                return Job([self.limit("extract", api_url)], plain_records)
            case "extract", "dlt":
                shutil.rmtree(folder, ignore_errors=True)
                return Job([self.dlt(folder, "extract", api_url)], lambda _: dlt_records(folder))
            case "extract", _:
                program = [str(Path(TAP).with_name("python")), "-c", "import singer_sdk"]
                return Job([Command("import", program)], lambda _: {})
            case "load", "ours":
                return Job([self.target(dataset)], self._landed(dataset), self.input("ours"))
            case "load", "z3":
                return Job([self.z3(dataset)], self._landed(dataset), self.input("template"))
            case "load", "dlt":
                return Job(
                    [self.dlt(folder, "load", str(self.input("plain")), dataset)], self._landed(dataset)
                )
            case "load", _:
                return Job([self.limit("load", str(self.input("plain")), dataset)], self._landed(dataset))
            case "both", "ours":
                return Job([self.tap(api_url), self.target(dataset)], self._landed(dataset))
            case "both", "template-z3":
                return Job([self.template_tap(api_url), self.z3(dataset)], self._landed(dataset))
            case "both", "dlt":
                return Job([self.dlt(folder, "both", api_url, dataset)], self._landed(dataset))
            case "both", _:
                return Job([self.limit("both", api_url, dataset)], self._landed(dataset))
            case _:
                return Job([self.meltano(peer, api_url)], lambda _: self._built(peer))

    def _landed(self, dataset: str) -> Callable[[Path], Counts]:
        return lambda _: self.rows({stream: f"{dataset}.{stream}" for stream in STREAMS}, "id")

    def rows(self, tables: dict[str, str], key: str) -> Counts:
        """Counts rows and keys of each table; none where it is not there."""
        client, found = self.services.client(), {}
        for stream, table in tables.items():
            try:
                ((rows, keys),) = (
                    tuple(row.values())
                    for row in client.query(
                        f"SELECT COUNT(*), COUNT(DISTINCT {key.format(stream[:-1])}) FROM `{table}`"  # noqa: S608
                    ).result()
                )
            except NotFound:
                rows = keys = 0
            found[stream] = {"rows": rows, "keys": keys}
        return found

    def _built(self, peer: str) -> Counts:
        return self.rows({stream: f"{MARTS[peer]}.dim_{stream}" for stream in STREAMS}, "{}_id")

    # --- before and after --------------------------------------------------------------------------------------
    def drop(self, dataset: str) -> None:
        """Removes a dataset, and what dlt knows of it."""
        self.services.client().delete_dataset(dataset, delete_contents=True, not_found_ok=True)
        shutil.rmtree(self.work / f"dlt-{dataset}", ignore_errors=True)

    def set_up_meltano(self, peer: str) -> None:
        """Makes the folders of a whole run, and for the peers the project."""
        folder = self.work / f"meltano-{peer}"
        folder.mkdir(parents=True, exist_ok=True)
        if peer == "ours":
            return
        shutil.copytree(ROOT / "benchmarks/z3_project", folder / "project", dirs_exist_ok=True)
        programs = folder / "bin"
        programs.mkdir(exist_ok=True)
        scripts = {
            "tap-template": f'PYTHONPATH="{PEERS_FOLDER}" exec "{python("tap-template")}" -m tap_template "$@"',
            "target-bigquery": f'exec "{Path(python("z3")).with_name("target-bigquery")}" "$@"',
            "dbt": f'exec "{DBT}" "$@"',
        }
        for name, line in scripts.items():
            (programs / name).write_text(f"#!/bin/sh\n{line}\n")
            (programs / name).chmod(0o755)

    def adapt_z3(self) -> None:
        """Makes views over z3's tables that our dbt project can read: they have neither run ids, versions nor a ledger."""
        client = self.services.client()
        client.create_dataset("z3_rickandmorty_landing", exists_ok=True)
        for stream in STREAMS:
            # Each by its name: the local BigQuery does not see through a star with an exception in every place.
            columns = [field.name for field in client.get_table(f"z3_raw.{stream}").schema]
            kept = ", ".join(f"raw.{name}" for name in columns if name != "_sdc_table_version")
            client.query(
                f"CREATE OR REPLACE VIEW `z3_rickandmorty_landing.{stream}` AS "  # noqa: S608
                f"SELECT {kept}, CAST(NULL AS JSON) AS new_fields, 1 AS _sdc_table_version, 'bench' AS _sdc_run_id FROM `z3_raw.{stream}` AS raw"
            ).result()
        ledger = " UNION ALL ".join(
            f"SELECT 'bench' AS run_id, '{stream}' AS stream, 1 AS table_version, 'append-only' AS method, "  # noqa: S608
            "COUNT(*) AS `rows`, 0 AS bytes, 0 AS parts, 'bench' AS job_id, MIN(_sdc_batched_at) AS started_at, "
            f"MAX(_sdc_batched_at) AS finished_at, '' AS schema_fingerprint FROM `z3_raw.{stream}`"
            for stream in STREAMS
        )
        client.query(f"CREATE OR REPLACE VIEW `z3_rickandmorty_landing._loads` AS {ledger}").result()

    def empty_z3(self) -> None:
        """Empties z3's tables, so that what its next run appends is all there is."""
        client = self.services.client()
        for stream in STREAMS:
            client.query(f"DELETE FROM `z3_raw.{stream}` WHERE TRUE").result()  # noqa: S608


def z3_config(environment: dict[str, str], dataset: str) -> dict[str, Any]:
    """Gives z3's settings."""
    return {
        "project": environment["GOOGLE_CLOUD_PROJECT"],
        "dataset": dataset,
        "bucket": environment["TARGET_BIGQUERY_BUCKET"],
        "method": "gcs_stage",
        "denormalized": True,
    }


def _counted(lines: Iterable[bytes], pattern: re.Pattern[bytes]) -> Counts:
    rows: dict[str, int] = {}
    keys: dict[str, set[int]] = {}
    for line in lines:
        if found := pattern.match(line):
            stream = sys.intern(found[1].decode())
            rows[stream] = rows.get(stream, 0) + 1
            keys.setdefault(stream, set()).add(int(found[2]))
    return {stream: {"rows": rows[stream], "keys": len(keys[stream])} for stream in rows}


def singer_records(folder: Path) -> Counts:
    """Counts the RECORD messages of a run's output."""
    with (folder / "stdout").open("rb") as lines:
        return _counted(lines, SINGER_RECORD)


def plain_records(folder: Path) -> Counts:
    """Counts the records of a loop's output."""
    with (folder / "stdout").open("rb") as lines:
        return _counted(lines, PLAIN_RECORD)


def dlt_records(folder: Path) -> Counts:
    """Counts the records of the files that dlt has extracted."""
    found: Counts = {}
    for stream in STREAMS:
        rows, keys = 0, set()
        for file in folder.glob(f"*/normalize/extracted/*/new_jobs/{stream}.*.gz"):
            with gzip.open(file, "rb") as lines:
                for line in lines:
                    # A line is a page of records or one.
                    page = json.loads(line)
                    ids = [record["id"] for record in (page if isinstance(page, list) else [page])]
                    rows += len(ids)
                    keys.update(ids)
        found[stream] = {"rows": rows, "keys": len(keys)}
    return found


def lost(counts: Counts, expected: dict[str, int], times: int) -> list[str]:
    """Says what is not as expected; nothing when everything is there as often as it was loaded."""
    said = []
    for stream, number in expected.items():
        found = counts.get(stream, {"rows": 0, "keys": 0})
        if (found["rows"], found["keys"]) != (number * times, number):
            said.append(f"{stream}: {found['rows']} rows of {found['keys']} ids, expected {number * times}")
    return said
