"""What a build reads of the landing tables: partitions and bytes, by the constants in the statements that dbt has sent.

BigQuery prunes partitions by constants only, and reads of a table what is left. A view is read as its own statement says.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from google.cloud import bigquery
from testkit.project_files import ROOT
from testkit.whole_pipeline import BuiltPipeline
from warehouse import ENTITIES, Warehouse, character, episode, location

LANDING = "local_rickandmorty_landing"
READERS = ("run", "--select", "stg_rickandmorty__loads", "int_build_versions", "staging", "int_landed",
           "int_record_changes", "history", "--threads", "1")  # fmt: skip
# With what its own query says of it: a condition may come after a join, and not after the query's end.
TABLE = re.compile(r"(?:FROM|JOIN)\s+`[^`]+`\.`([^`]+)`\.`([^`]+)`(?=(.*?)(?:\bFROM\b|\)|\Z))", re.DOTALL)
# A view's text is the sandbox's: TIMESTAMP '…' is a CAST there.
FLOOR = re.compile(r"_sdc_batched_at >= (?:TIMESTAMP |CAST\()'(\d{4}-\d\d-\d\d)")


@dataclass
class Reader:
    """Follows statements to the landing tables."""

    client: bigquery.Client
    sizes: dict[str, dict[date, int]]
    read: dict[str, list[set[date]]] = field(default_factory=dict)

    def follow(self, sql: str) -> None:
        """Take note of every partition that a statement reads, through views."""
        for dataset, table, rest in TABLE.findall(re.sub(r"--[^\n]*", "", sql)):
            if dataset == LANDING and table in ENTITIES:
                floor = FLOOR.search(rest)
                nothing = re.search(r"WHERE\s+FALSE", rest)
                since = date.fromisoformat(floor[1]) if floor else date.min
                days = set() if nothing else {day for day in self.sizes[table] if day >= since}
                self.read.setdefault(table, []).append(days)
            elif dataset != LANDING and table.startswith(("stg_", "int_")):
                found = self.client.get_table(f"{dataset}.{table}")
                if found.view_query:
                    self.follow(found.view_query)

    def figures(self) -> dict[str, tuple[int, int, int]]:
        """Return, for each landing table: how often it is read, partitions at most, and bytes in all."""
        return {
            table: (
                len(reads),
                max(map(len, reads)),
                sum(self.sizes[table][day] for days in reads for day in days),
            )
            for table, reads in self.read.items()
        }


def land(warehouse: Warehouse, days: range) -> None:
    """Load a version of every entity on each of these days before today, three records each, in one job per table."""
    rows: dict[str, list[dict[str, Any]]] = {table: [] for table in (*ENTITIES, "_loads")}
    made: Any = {"characters": character, "episodes": episode, "locations": location}
    for day in days:
        at = datetime.now(UTC).replace(hour=1, minute=0, second=0, microsecond=0) - timedelta(days=day)
        version = {"_sdc_batched_at": at.isoformat(), "_sdc_table_version": int(at.timestamp() * 1000)}
        for stream, record in made.items():
            rows[stream] += [{**record(i), **version, "_sdc_run_id": f"{day}"} for i in (1, 2, 3)]
            rows["_loads"].append(
                {
                    "run_id": f"{day}", "stream": stream, "table_version": version["_sdc_table_version"], "rows": 3,
                    "replication": "full", "proof": "tap", "started_at": at.isoformat(), "finished_at": at.isoformat(),
                }
            )  # fmt: skip
    for table, landed in rows.items():
        warehouse.append(table, landed)


def what_a_build_reads(warehouse: Warehouse, versions: int) -> dict[str, tuple[int, int, int]]:
    """Load so many versions and build; load one more, build again; return what the second build has read."""
    warehouse.empty()
    land(warehouse, range(versions, 0, -1))
    warehouse.dbt(*READERS).succeeded()
    land(warehouse, range(1))
    client = warehouse.sandbox.client()
    before = {job.job_id for job in client.list_jobs()}
    warehouse.dbt(*READERS).succeeded()
    sizes: dict[str, dict[date, int]] = {}
    for table in ENTITIES:
        days = client.query(
            f"SELECT DATE(_sdc_batched_at), SUM(LENGTH(TO_JSON_STRING(t))) FROM `{LANDING}.{table}` AS t GROUP BY 1"
        )
        sizes[table] = {row[0]: row[1] for row in days.result()}
        assert len(sizes[table]) == versions + 1
    reader = Reader(client, sizes)
    for job in client.list_jobs():
        if isinstance(job, bigquery.QueryJob) and job.job_id not in before and job.query.startswith("/* {"):
            made = json.loads(job.query[3 : job.query.index("*/")])
            # A view that is made reads nothing; a reader of it does.
            if "CREATE OR REPLACE VIEW" not in job.query.upper() and "node" in made:
                reader.follow(job.query)
    for view in ("stg_rickandmorty__characters", "int_landed", "int_record_changes"):
        reader.follow(f"SELECT * FROM `p`.`local_rickandmorty_staging`.`{view}`")
    return reader.figures()


@pytest.mark.slow
def test_a_build_reads_no_more_at_1000_versions_than_at_2(dbt_warehouse: Warehouse) -> None:
    """Of each landing table the same number of partitions, at most the newest three days, and as many bytes."""
    with dbt_warehouse.without_verdict():
        few, many = (what_a_build_reads(dbt_warehouse, versions) for versions in (2, 1000))
    assert set(few) == set(ENTITIES)
    for table in ENTITIES:
        reads, partitions, read = many[table]
        assert (reads, partitions) == few[table][:2]
        assert partitions <= 3
        # The texts of the versions' numbers and days differ in nothing but digits.
        assert abs(read - few[table][2]) <= 0.05 * few[table][2]
    whole = f"SELECT COUNT(*) FROM `{LANDING}.characters`"
    assert dbt_warehouse.ask(whole) == [(3 * 1001,)]


# How the bytes of a kind of table grow: after 1 run, after 1,000, after 1,000 at 1,000 times the size.
# With a run a day three versions of a landing table are read: its partitions' floor, and the version before for comparison.
GROWTH = {"landing tables": (1, 3, 3000), "ledger": (1, 1000, 1000), "history and marts": (1, 1, 1000)}
LEDGER = {"_loads", "int_build_versions", "rpt_loads"}


def reads_per_table(manifest: dict[str, Any]) -> Counter[str]:
    """Return how many tables and tests of a build read each table, by their compiled SQL; a view is read by its readers."""
    relations = {
        node["relation_name"]: node
        for node in (*manifest["nodes"].values(), *manifest["sources"].values())
        if node["resource_type"] in {"model", "source"}
    }

    def tables(node: dict[str, Any]) -> set[str]:
        sql = re.sub(r"--[^\n]*", "", node["compiled_code"])
        read = [other for name, other in relations.items() if name in sql and other is not node]
        views = [other for other in read if other.get("config", {}).get("materialized") == "view"]
        return {t["name"] for t in read if t not in views}.union(*map(tables, views))

    built = [
        node for node in manifest["nodes"].values() if node["config"]["materialized"] in {"table", "test"}
    ]
    return Counter(table for node in built for table in tables(node))


def logical_bytes(value: Any) -> int:
    """Return a value's size as BigQuery bills it (cloud.google.com/bigquery/docs/reference/standard-sql/data-types)."""
    if isinstance(value, dict | list):
        return sum(map(logical_bytes, value.values() if isinstance(value, dict) else value))
    if isinstance(value, str):
        return 2 + len(value.encode())
    return 0 if value is None else 1 if isinstance(value, bool) else 8


def megabytes(built: BuiltPipeline) -> dict[str, list[float]]:
    """Return, for each kind of table, the megabytes that a build reads at each stage of its growth."""
    client, read = built.sandbox.client(), reads_per_table(built.manifest)
    sizes = {
        table.table_id: sum(logical_bytes(dict(row)) for row in client.list_rows(table))
        for dataset in client.list_datasets()
        for table in client.list_tables(dataset.reference)
        if table.table_id in read
    }
    real = 826 / built.sandbox.value("SELECT COUNT(*) FROM `local_rickandmorty_marts.dim_characters`")
    once = dict.fromkeys(GROWTH, 0.0)
    for table, times in read.items():
        kind = "ledger" if table in LEDGER else "landing tables" if table in ENTITIES else "history and marts"
        once[kind] += times * sizes[table] / 1e6 * (1 if kind == "ledger" else real)
    return {kind: [once[kind] * factor for factor in factors] for kind, factors in GROWTH.items()}


def test_the_documented_bytes_of_a_build(built_pipeline: BuiltPipeline) -> None:
    """The table of docs/performance.md agrees with the manifest's statements and the tables' sizes, within a third."""
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    table = re.findall(
        r"^\| (landing tables|ledger|history and marts) \| ([\d,.]+) \| ([\d,.]+) \| ([\d,.]+) \|$",
        page,
        re.MULTILINE,
    )
    documented = {kind: [float(figure.replace(",", "")) for figure in figures] for kind, *figures in table}
    counted = megabytes(built_pipeline)
    within = {kind: [pytest.approx(n, rel=1 / 3) for n in figures] for kind, figures in counted.items()}
    assert documented == within, f"counted: {counted}"
