"""The rows of every mart equal those that plain Python makes of the records the API serves."""

from typing import Any

import pytest
from marts_in_python import ENTITIES, MARTS, Load, Marts
from testkit.whole_pipeline import BuiltPipeline, Sandbox

LEDGER = "local_rickandmorty_landing._loads"
SCHEMA = "local_rickandmorty_marts"


def newest_loads(sandbox: Sandbox, age: int = 1) -> dict[str, Load]:
    """What the ledger says of each entity's newest version, or of one before (`age` 2)."""
    found = sandbox.ask(
        f"SELECT stream, run_id, started_at, table_version FROM `{LEDGER}` WHERE TRUE "
        f"QUALIFY DENSE_RANK() OVER (PARTITION BY stream ORDER BY table_version DESC) = {age}"
    )
    return {stream: Load(run_id, started_at, version) for stream, run_id, started_at, version in found}


def served(sandbox: Sandbox) -> dict[str, list[dict[str, Any]]]:
    """Every record the API serves."""
    return {entity: sandbox.served(resource) for entity, resource in ENTITIES.items()}


def differences(sandbox: Sandbox, mart: str, expected: list[dict[str, Any]]) -> tuple[list[Any], list[Any]]:
    """Rows that the mart lacks, and rows that it should not have; none of each when it is right."""
    columns = list(expected[0]) if expected else []
    rows = [dict(row) for row in sandbox.client().query(f"SELECT * FROM `{SCHEMA}.{mart}`").result()]
    if mart not in {"rpt_loads", "rpt_verdict"}:
        assert all(list(row) == columns for row in rows)
    found = [tuple(row[column] for column in columns) for row in rows if row.get("is_newest", True)]
    wanted = [tuple(row.values()) for row in expected]
    assert len(found) == len(set(found)), f"{mart} has rows twice"
    return sorted(set(wanted) - set(found), key=repr), sorted(set(found) - set(wanted), key=repr)


@pytest.fixture(scope="module")
def in_python(built_pipeline: BuiltPipeline) -> Marts:
    """The marts as plain Python makes them."""
    return Marts(served(built_pipeline.sandbox), newest_loads(built_pipeline.sandbox))


@pytest.mark.parametrize("mart", MARTS)
def test_every_row_of_the_mart_is_what_plain_python_makes_of_the_api(
    built_pipeline: BuiltPipeline, in_python: Marts, mart: str
) -> None:
    """No row is missing, none is too many, and every value is the same."""
    missing, surplus = differences(built_pipeline.sandbox, mart, getattr(in_python, mart)())
    assert (missing, surplus) == ([], [])


def test_every_mart_is_compared(built_pipeline: BuiltPipeline) -> None:
    """A new mart needs its plain Python."""
    tables = built_pipeline.sandbox.client().list_tables(SCHEMA)
    assert sorted(table.table_id for table in tables) == MARTS


def test_the_unit_tests_of_the_models_pass(built_pipeline: BuiltPipeline) -> None:
    """`meltano run dbt-bigquery:unit-test` runs each of them on the local BigQuery."""
    written = len(built_pipeline.manifest["unit_tests"])
    status, log = built_pipeline.project.run("dbt-bigquery:unit-test")
    assert status == 0, log[-6000:]
    assert f"Done. PASS={written} WARN=0 ERROR=0 SKIP=0" in log
