"""Existing tables: what is changed, used as it is, or refused."""

from typing import Any

import pytest
from google.cloud import bigquery
from testkit.proxies import proxied
from testkit.target_bench import SCHEMA, STATE, Bench, record, refused, schema, succeeded, whole
from testkit.whole_pipeline import program

F = bigquery.SchemaField


def make(bench: Bench, *fields: bigquery.SchemaField, **layout: Any) -> None:
    """Create the table `things`."""
    client = bench.owner()
    table = bigquery.Table(f"{client.project}.{bench.dataset}.things", schema=fields)
    for name, value in layout.items():
        setattr(table, name, value)
    client.create_table(table)


def columns(bench: Bench) -> dict[str, str]:
    """The table's columns: mode and type."""
    table = bench.owner().get_table(f"{bench.dataset}.things")
    return {field.name: f"{field.mode} {field.field_type}" for field in table.schema}


def test_required_becomes_nullable_where_the_stream_is(bench: Bench) -> None:
    """A column that the stream may leave out is relaxed, and the run loads."""
    make(bench, F("id", "INTEGER", "REQUIRED"), F("name", "STRING", "REQUIRED"))
    succeeded(bench.load(SCHEMA, record(1, name=None), whole(), STATE))
    assert columns(bench)["name"] == "NULLABLE STRING"


def test_a_column_that_the_stream_no_longer_sends_stays(bench: Bench) -> None:
    """Its older values stay, the new rows have none there."""
    bench.load(SCHEMA, record(1, 1), whole(1))
    bench.run_id = "narrower"
    narrow = record(2, 2)
    del narrow["record"]["name"]
    succeeded(bench.load(schema(name=None), narrow, whole(2), STATE))
    assert {row["id"]: row["name"] for row in bench.rows()} == {1: "Ünna", 2: None}


@pytest.mark.parametrize(
    ("field", "value", "now"),
    [
        ({"type": "integer"}, 5, "NULLABLE INTEGER"),
        ({"type": "array", "items": {"type": "string"}}, ["x"], "REPEATED STRING"),
    ],
    ids=["type", "array"],
)
def test_a_column_that_becomes_another_is_refused(
    bench: Bench, field: dict[str, Any], value: object, now: str
) -> None:
    """The line names column, old and new; the table is as it was."""
    bench.load(SCHEMA, record(1, 1), whole(1))
    bench.run_id = "changed"
    run = bench.load(schema(name=field), record(2, 2, name=value), whole(2), STATE)
    refused(run, f"column name is NULLABLE STRING in the table, the stream sends {now}")
    assert [row["id"] for row in bench.rows()] == [1]


def test_a_changed_table_is_refused_with_create_tables_off(bench: Bench) -> None:
    """The line names the new column."""
    bench.load(SCHEMA, record(1, 1), whole(1))
    bench.run_id = "fixed"
    run = bench.load(
        schema(planet={"type": "string"}), record(2, 2, planet="x"), whole(2), create_tables="false"
    )
    refused(run, "column planet (NULLABLE STRING) is new", "Terraform")


def test_a_table_that_expires_is_a_warning(bench: Bench) -> None:
    """Its dataset's default would delete it in silence; the line says when, and how to keep it."""
    expiring = {
        "action": "replace",
        "path": "/tables/things",
        "find": '"type": ?"TABLE"',
        "with": '"type":"TABLE","expirationTime":"1798761600000"',
        "times": None,
    }
    sandbox = program("SANDBOX_COMMAND", ".venvs/sandbox/bin/sandbox")
    with proxied(sandbox, bench.env["BIGQUERY_EMULATOR_HOST"]) as bigquery_proxy:
        bigquery_proxy.inject(expiring)
        bench.env = {**bench.env, "BIGQUERY_EMULATOR_HOST": bigquery_proxy.url}
        run = bench.load(SCHEMA, record(1), whole(), STATE)
    succeeded(run)
    (line,) = [line for line in run.stderr.splitlines() if "BigQuery deletes it" in line]
    assert "WARNING" in line
    assert "things: BigQuery deletes it with all its rows at 2027-01-01 00:00:00+00:00" in line
    assert "SET OPTIONS (expiration_timestamp = NULL)" in line


def test_a_failed_job_is_reported_with_its_reason(bench: Bench) -> None:
    """A REQUIRED column that the stream does not know: the line names job, reason and where the parts are."""
    make(bench, F("id", "INTEGER", "REQUIRED"), F("planet", "STRING", "REQUIRED"))
    run = bench.load(SCHEMA, record(1), whole(), STATE)
    refused(run, "nothing was loaded into", "planet", f"job {bench.dataset}-things-{bench.run_id}-0-")
    assert bench.rows() == []


def test_another_layout_is_logged_and_used(bench: Bench) -> None:
    """A table without partitions or clustering is loaded; the log names both."""
    make(bench, F("id", "INTEGER", "REQUIRED"))
    run = succeeded(bench.load(SCHEMA, record(1), whole(), STATE))
    assert "partitioned by nothing, not by day on _sdc_batched_at" in run.stderr
    assert "clustered by nothing, not by the key id" in run.stderr


def test_a_table_in_another_location_is_refused(bench: Bench) -> None:
    """The line names both locations."""
    make(bench, F("id", "INTEGER", "REQUIRED"))
    run = bench.load(SCHEMA, record(1), whole(), STATE, location="EU")
    refused(run, "is in US, the location setting says EU")


def test_a_table_that_was_dropped_after_the_load_is_not_loaded_again_in_silence(bench: Bench) -> None:
    """The same run id finds its job, whose rows went with the table: STATE does not go out."""
    succeeded(bench.load(SCHEMA, record(1), whole(), STATE))
    bench.owner().delete_table(f"{bench.dataset}.things")
    refused(bench.load(SCHEMA, record(1), whole(), STATE), "has been dropped since; run with another run id")
