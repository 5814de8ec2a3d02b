"""What is measured: parts, who does them and how, and how the rows of each run are verified."""

import gzip
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.api_core.exceptions import NotFound
from testkit.project_files import ROOT
from testkit.warm import stand_in
from testkit.whole_pipeline import RUN_ALL, Sandbox

PEERS_FOLDER = ROOT / "benchmarks" / "peers"
# Records of each stream, in the real API's proportions.
SIZES = {
    "small": {"characters": 826, "episodes": 51, "locations": 126},
    "100k": {"characters": 100_000, "episodes": 6_175, "locations": 15_255},
    "1m": {"characters": 1_000_000, "episodes": 61_744, "locations": 152_543},
}
STREAMS = tuple(SIZES["small"])
PARTS = {
    "extract": "Extraction",
    "load": "Load",
    "both": "Extraction and load",
    "meltano": "The whole `meltano run` with dbt",
}
# Peer → its name in the tables.
NAMES = {
    "ours": "ours",
    "template": "tap as the SDK's template makes it",
    "dlt": "dlt 1.31",
    "z3": "z3-target-bigquery 0.7.2",
    "template-z3": "template tap and z3-target-bigquery 0.7.2",
    "import": "`import singer_sdk` alone",
}
PEERS = {
    "extract": ("ours", "template", "dlt", "import"),
    "load": ("ours", "z3", "dlt"),
    "both": ("ours", "template-z3", "dlt"),
    "meltano": ("ours", "template-z3"),
}
FIRST, LATER = "first run", "tables there"
STATES = {"extract": ("",), "load": (FIRST, LATER), "both": (FIRST, LATER), "meltano": (LATER,)}
RECORD = re.compile(rb'^\{"type": ?"RECORD", ?"stream": ?"(\w+)", ?"record": ?\{"id": ?(\d+)')
# z3 has neither run ids, versions nor a ledger, which our dbt project reads: views over its tables stand in for them.
Z3_LANDING = """
CREATE OR REPLACE VIEW `z3_rickandmorty_landing.{stream}` AS
SELECT {columns}, CAST(NULL AS JSON) AS new_fields, 1 AS _sdc_table_version, 'bench' AS _sdc_run_id FROM `z3_raw.{stream}`
"""
Z3_LEDGER = """
SELECT 'bench' AS run_id, '{stream}' AS stream, 1 AS table_version, 'append-only' AS method, 'full' AS replication, 'tap' AS proof,
  CAST(NULL AS STRING) AS source, CAST(NULL AS STRING) AS extractor, COUNT(*) AS `rows`, 0 AS bytes, 0 AS parts, 'bench' AS job_id,
  MIN(_sdc_batched_at) AS started_at, MAX(_sdc_batched_at) AS finished_at, '' AS schema_fingerprint,
  CAST(NULL AS TIMESTAMP) AS retracted_at, CAST(NULL AS STRING) AS retraction_reason
FROM `z3_raw.{stream}`
"""

Counts = dict[str, tuple[int, int]]
"""Rows and distinct ids of each stream."""


def python(environment: str) -> str:
    """Return the Python of a peer's environment."""
    return str(ROOT / f".venvs/bench-{environment}/bin/python")


TAP = str(ROOT / ".meltano/extractors/tap-rickandmorty/venv/bin/tap-rickandmorty")
TARGET = str(ROOT / ".meltano/loaders/target-bigquery/venv/bin/target-bigquery")
TEMPLATE_TAP = [python("tap-template"), str(PEERS_FOLDER / "tap_template.py")]
Z3_TARGET = str(Path(python("z3")).with_name("target-bigquery"))
DBT = str(ROOT / ".meltano/utilities/dbt-bigquery/venv/bin/dbt")
MELTANO = os.environ.get("MELTANO_COMMAND") or str(ROOT / ".venvs/meltano/bin/meltano")


@dataclass
class Command:
    """A program in a pipe: its name, its arguments, variables beside the sandbox's, the folder it runs in."""

    name: str
    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)
    cwd: Path = ROOT


@dataclass
class Job:
    """One run to be measured; `check` counts the rows that it left, given the folder of its output."""

    commands: list[Command]
    check: Callable[[Path], Counts] = lambda _: {}
    stdin: Path | None = None


@dataclass
class Bench:
    """The sandbox, a folder for files, and the programs that run on them."""

    sandbox: Sandbox
    work: Path

    def input(self, peer: str) -> Path:
        """Return the file that a peer's load reads."""
        return self.work / f"input-{'template' if peer == 'z3' else 'ours'}.jsonl"

    def tap(self, peer: str) -> Command:
        """Return a peer's extraction."""
        url = self.sandbox.api_url
        if peer == "ours":
            return Command("tap", [TAP, "--config=ENV"])
        if peer == "import":
            return Command("import", [str(Path(TAP).with_name("python")), "-c", "import singer_sdk"])
        if peer == "dlt":
            return self.dlt("", "extract", url)
        return Command("tap", [*TEMPLATE_TAP, "--config=ENV"], {"TAP_TEMPLATE_API_URL": url})

    def target(self, peer: str, dataset: str) -> Command:
        """Return a peer's load."""
        if peer == "ours":
            env = {"TARGET_BIGQUERY_DATASET": dataset, "TARGET_BIGQUERY_RUN_ID": str(uuid.uuid4())}
            return Command("target", [TARGET, "--config=ENV"], env)
        if peer == "dlt":
            return self.dlt(dataset, "load", str(self.input(peer)), dataset)
        return Command("target", z3_target(self.sandbox, dataset, self.work))

    def dlt(self, dataset: str, *arguments: str) -> Command:
        """Return dlt; the first variable is what gcsfs needs on a Cloud Storage without gRPC."""
        env = {
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
            "RUNTIME__DLTHUB_TELEMETRY": "false",
            "RUNTIME__LOG_LEVEL": "ERROR",
        }
        program = str(PEERS_FOLDER / "dlt_pipeline.py")
        return Command("dlt", [python("dlt"), program, str(self.dlt_folder(dataset)), *arguments], env)

    def dlt_folder(self, dataset: str) -> Path:
        """Return the folder in which dlt keeps what it knows of a dataset."""
        return self.work / f"dlt-{dataset}"

    def meltano(self, peer: str) -> Command:
        """Return the whole run: our project, or one with the peers in it."""
        folder = self.work / f"meltano-{peer}"
        env = {
            "MELTANO_RUN_ID": str(uuid.uuid4()),
            "MELTANO_DATABASE_URI": f"sqlite:///{folder}/meltano.db",
            "MELTANO_SEND_ANONYMOUS_USAGE_STATS": "false",
            "DBT_TARGET_PATH": str(folder / "dbt-target"),
            "DBT_LOG_PATH": str(folder / "dbt-logs"),
            "NO_COLOR": "1",
        }
        if peer == "ours":
            return Command("meltano", [MELTANO, "--log-format", "json", "run", *RUN_ALL], env)
        env |= {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "TRANSFORM": str(ROOT / "transform"),
            "TAP_TEMPLATE_API_URL": self.sandbox.api_url,
        }
        argv = [MELTANO, "--log-format", "json", "run", "tap-template", *RUN_ALL[1:]]
        return Command("meltano", argv, env, folder / "project")

    def job(self, part: str, peer: str, dataset: str) -> Job:
        """Return one run of a part by a peer."""
        if part == "meltano":
            marts = f"{'local' if peer == 'ours' else 'z3'}_rickandmorty_marts.dim_"
            return Job([self.meltano(peer)], lambda _: self.rows(marts, "{}_id"))
        if part == "extract":
            checks = {"import": lambda _: {}, "dlt": lambda _: dlt_records(self.dlt_folder(""))}
            shutil.rmtree(self.dlt_folder(""), ignore_errors=True)
            return Job([self.tap(peer)], checks.get(peer, singer_records))

        def landed(_: Path) -> Counts:
            return self.rows(f"{dataset}.", "id")

        if part == "load":
            return Job([self.target(peer, dataset)], landed, None if peer == "dlt" else self.input(peer))
        if peer == "dlt":
            return Job([self.dlt(dataset, "both", self.sandbox.api_url, dataset)], landed)
        return Job([self.tap(peer), self.target(peer, dataset)], landed)

    def rows(self, prefix: str, key: str) -> Counts:
        """Count rows and keys of each stream's table; none where it is not there."""
        counts: Counts = {}
        for stream in STREAMS:
            columns = f"COUNT(*), COUNT(DISTINCT {key.format(stream[:-1])})"
            try:
                ((rows, keys),) = self.sandbox.ask(f"SELECT {columns} FROM `{prefix}{stream}`")  # noqa: S608
            except NotFound:
                rows = keys = 0
            counts[stream] = (rows, keys)
        return counts

    def drop(self, dataset: str) -> None:
        """Remove a dataset, and what dlt knows of it."""
        self.sandbox.client().delete_dataset(dataset, delete_contents=True, not_found_ok=True)
        shutil.rmtree(self.dlt_folder(dataset), ignore_errors=True)

    def set_up_meltano(self, peer: str) -> None:
        """Make the folders of a whole run, and for the peers the project and its programs."""
        folder = self.work / f"meltano-{peer}"
        (folder / "bin").mkdir(parents=True, exist_ok=True)
        if peer == "ours":
            return
        shutil.copytree(ROOT / "benchmarks/z3_project", folder / "project", dirs_exist_ok=True)
        programs = {"tap-template": TEMPLATE_TAP, "target-bigquery": [Z3_TARGET], "dbt": [DBT]}
        for name, command in programs.items():
            stand_in(folder / "bin" / name, command)

    def adapt_z3(self) -> None:
        """Make views over z3's tables that our dbt project can read."""
        client = self.sandbox.client()
        client.create_dataset("z3_rickandmorty_landing", exists_ok=True)
        for stream in STREAMS:
            # Each by its name: the local BigQuery does not see through a star with an exception in every place.
            names = [column.name for column in client.get_table(f"z3_raw.{stream}").schema]
            columns = ", ".join(name for name in names if name != "_sdc_table_version")
            self.sandbox.ask(Z3_LANDING.format(stream=stream, columns=columns))
        ledger = "UNION ALL".join(Z3_LEDGER.format(stream=stream) for stream in STREAMS)
        self.sandbox.ask(f"CREATE OR REPLACE VIEW `z3_rickandmorty_landing._loads` AS {ledger}")

    def empty_z3(self) -> None:
        """Empty z3's tables: dbt could not tell the rows of its next run from the rest."""
        for stream in STREAMS:
            self.sandbox.ask(f"DELETE FROM `z3_raw.{stream}` WHERE TRUE")  # noqa: S608


def z3_target(sandbox: Sandbox, dataset: str, work: Path) -> list[str]:
    """Return the command of z3-target-bigquery, loading as ours does: columns, staged in Cloud Storage, appended."""
    config = work / f"z3-{dataset}.json"
    settings: dict[str, Any] = {
        "project": sandbox.env["GOOGLE_CLOUD_PROJECT"],
        "dataset": dataset,
        "bucket": sandbox.env["TARGET_BIGQUERY_BUCKET"],
        "method": "gcs_stage",
        "denormalized": True,
    }
    config.write_text(json.dumps(settings))
    return [Z3_TARGET, "--config", str(config)]


def singer_records(folder: Path) -> Counts:
    """Count the RECORD messages of a run's output."""
    rows = dict.fromkeys(STREAMS, 0)
    keys: dict[str, set[int]] = {stream: set() for stream in STREAMS}
    with (folder / "stdout").open("rb") as lines:
        for line in lines:
            if match := RECORD.match(line):
                stream = match[1].decode()
                rows[stream] += 1
                keys[stream].add(int(match[2]))
    return {stream: (rows[stream], len(keys[stream])) for stream in STREAMS}


def dlt_records(folder: Path) -> Counts:
    """Count the records of the files that dlt has extracted; a line is a page of records or one."""
    counts: Counts = {}
    for stream in STREAMS:
        ids: list[int] = []
        for file in folder.glob(f"*/normalize/extracted/*/new_jobs/{stream}.*.gz"):
            with gzip.open(file, "rb") as lines:
                for page in map(json.loads, lines):
                    ids += [record["id"] for record in (page if isinstance(page, list) else [page])]
        counts[stream] = (len(ids), len(set(ids)))
    return counts


def lost(counts: Counts, expected: dict[str, int], times: int) -> list[str]:
    """Return what is not there as often as it was loaded, a text per stream."""
    return [
        f"{stream}: {counts[stream][0]} rows of {counts[stream][1]} ids, expected {number * times}"
        for stream, number in expected.items()
        if counts[stream] != (number * times, number)
    ]
