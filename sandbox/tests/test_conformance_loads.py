"""What our code relies on of BigQuery's load jobs, on the local one.

Each test's docstring ends with the title of the page of Google's documentation that states the behaviour.
"""

import uuid
from datetime import UTC, date, datetime, time
from decimal import Decimal
from io import BytesIO
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from local_warehouse import BUCKET, ROWS, SCHEMA, F, Warehouse


def test_a_job_id_is_used_once(warehouse: Warehouse) -> None:
    """A second job with the id of a finished one is refused with 409 and loads nothing: "Running jobs programmatically"."""
    table, uri, job_id = warehouse.table(), warehouse.put(ROWS), uuid.uuid4().hex
    warehouse.load(table, uri, job_id)
    with pytest.raises(exceptions.Conflict):
        warehouse.load(table, uri, job_id)
    assert warehouse.count(table) == 5


def test_a_failed_job_keeps_its_id_and_its_error(warehouse: Warehouse) -> None:
    """A job that failed is found by its id with errorResult, and the id stays taken: "Method: jobs.insert"."""
    table, job_id = warehouse.table(), uuid.uuid4().hex
    with pytest.raises(exceptions.GoogleAPICallError):
        warehouse.load(table, f"gs://{BUCKET}/conformance/nothing.jsonl.gz", job_id)
    job = warehouse.bigquery.get_job(job_id)
    assert job.state == "DONE"
    assert job.error_result["reason"] == "notFound"
    with pytest.raises(exceptions.Conflict):
        warehouse.load(table, warehouse.put(ROWS), job_id)


def test_output_rows_are_the_jobs_own(warehouse: Warehouse) -> None:
    """statistics.load.outputRows counts what this job loaded, not the table: "REST Resource: jobs"."""
    table = warehouse.table()
    warehouse.load(table, warehouse.put(ROWS))
    assert warehouse.load(table, [warehouse.put(ROWS[:2]), warehouse.put(ROWS[2:])]).output_rows == 5
    assert warehouse.count(table) == 10


def test_labels_are_kept_with_the_job(warehouse: Warehouse) -> None:
    """Labels given with a job are given back with it: "REST Resource: jobs"."""
    job = warehouse.load(warehouse.table(), warehouse.put(ROWS), labels={"rows": "5"})
    assert warehouse.bigquery.get_job(job.job_id).labels == {"rows": "5"}


BAD_ROWS: dict[str, dict[str, Any]] = {
    "unknown-field": {"id": 9, "planet": "x"},
    "missing-required": {"name": "x"},
    "null-required": {"id": None},
    "text-for-a-number": {"id": "x"},
    "bad-timestamp": {"id": 9, "at": "soon"},
    "object-for-text": {"id": 9, "name": {"a": 1}},
    "unknown-nested-field": {"id": 9, "origin": {"x": 1}},
    "null-in-an-array": {"id": 9, "episode": ["a", None]},
    "an-array-for-text": {"id": 9, "name": ["a"]},
    "a-boolean-for-a-number": {"id": True},
    "a-day-not-in-the-calendar": {"id": 9, "at": "2026-02-30T00:00:00Z"},
    "an-hour-beyond-the-day": {"id": 9, "at": "2026-02-20T24:00:01Z"},
}


@pytest.mark.parametrize("row", BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_one_bad_row_loads_nothing(warehouse: Warehouse, row: dict[str, Any]) -> None:
    """With maxBadRecords 0 a bad row fails the job and no row of it is loaded: "Loading JSON data from Cloud Storage"."""
    table = warehouse.table()
    with pytest.raises(exceptions.BadRequest):
        warehouse.load(table, warehouse.put([*ROWS[:2], row, *ROWS[2:]]))
    assert warehouse.count(table) == 0


CONVERTED: list[tuple[str, Any, Any]] = [
    ("INTEGER", "5", 5),
    ("INTEGER", 5.0, 5),
    ("FLOAT", "1.5", 1.5),
    ("FLOAT", 2, 2.0),
    ("BOOLEAN", "true", True),
    ("BOOLEAN", "N", False),
    ("STRING", 5, "5"),
    ("STRING", True, "true"),
    ("NUMERIC", 1.25, Decimal("1.25")),
    ("NUMERIC", "-1.000000001", Decimal("-1.000000001")),
    ("BYTES", "aGk=", b"hi"),
    ("DATE", "2026/1/2", date(2026, 1, 2)),
    ("TIME", "03:04:05", time(3, 4, 5)),
    ("DATETIME", "2026-01-02 03:04:05.123456", datetime(2026, 1, 2, 3, 4, 5, 123456)),  # noqa: DTZ001 (what DATETIME is)
    ("TIMESTAMP", "2026-01-02 03:04:05+01:00", datetime(2026, 1, 2, 2, 4, 5, tzinfo=UTC)),
    ("TIMESTAMP", 1.5, datetime(1970, 1, 1, 0, 0, 1, 500000, tzinfo=UTC)),
    ("JSON", {"a": [1, None]}, {"a": [1, None]}),
    ("JSON", "text", "text"),
]
# The sandbox gives arrays of JSON back as arrays of text.
LISTS = [case for case in CONVERTED if case[0] != "JSON"]


def test_a_value_is_converted_where_nothing_is_lost(warehouse: Warehouse) -> None:
    """Numbers as text, times in each documented form, base64, any JSON: "Loading JSON data from Cloud Storage"."""
    schema = [F(f"c{place}", kind) for place, (kind, _, _) in enumerate(CONVERTED)]
    schema += [F(f"list{place}", kind, "REPEATED") for place, (kind, _, _) in enumerate(LISTS)]
    table = warehouse.table([F("at", "TIMESTAMP"), F("id", "INTEGER"), *schema])
    row = {f"c{place}": value for place, (_, value, _) in enumerate(CONVERTED)}
    rows = [row, {f"list{place}": [value] for place, (_, value, _) in enumerate(LISTS)}]
    warehouse.load(table, warehouse.put(rows), schema=list(table.schema))
    one, other = warehouse.bigquery.query_and_wait(f"SELECT * FROM `{table}` ORDER BY c0 IS NULL")
    wanted = [value for _, _, value in CONVERTED]
    lists = [value for _, _, value in LISTS]
    assert [one[f"c{place}"] for place in range(len(wanted))] == wanted
    assert [other[f"c{place}"] for place in range(len(wanted))] == [None] * len(wanted)
    assert [one[f"list{place}"] for place in range(len(lists))] == [[]] * len(lists)
    assert [other[f"list{place}"] for place in range(len(lists))] == [[value] for value in lists]


def test_a_bad_row_is_named(warehouse: Warehouse) -> None:
    """errors[] has the file and where in it the row starts: "REST Resource: jobs"."""
    uri = warehouse.put([{"id": 1}, {"id": 2, "name": {}}])
    with pytest.raises(exceptions.BadRequest) as caught:
        warehouse.load(warehouse.table(), uri)
    assert any(uri in one["message"] and "position 10" in one["message"] for one in caught.value.errors)


def test_bytes_are_text(warehouse: Warehouse) -> None:
    """A number is no base64, whatever its digits, and the error names the row: "Loading JSON data from Cloud Storage"."""
    schema = [F("id", "INTEGER"), F("at", "TIMESTAMP"), F("body", "BYTES")]
    with pytest.raises(exceptions.BadRequest, match="Could not convert value to bytes"):
        warehouse.load(warehouse.table(schema), warehouse.put([{"id": 1, "body": 12345678}]), schema=schema)


def test_values_come_back_as_they_were_sent(warehouse: Warehouse) -> None:
    """RECORD, REPEATED, TIMESTAMP and text beyond ASCII come back whole: "Loading JSON data from Cloud Storage"."""
    table = warehouse.table()
    warehouse.load(table, warehouse.put(ROWS[:1]))
    (row,) = warehouse.bigquery.query_and_wait(f"SELECT * FROM `{table}`")
    assert {**dict(row), "at": row["at"].isoformat()} == {**ROWS[0], "at": "2026-01-01T00:00:00+00:00"}


def test_create_never_refuses_a_missing_table(warehouse: Warehouse) -> None:
    """A job with CREATE_NEVER on a missing table fails with notFound: "REST Resource: jobs"."""
    table = bigquery.Table(warehouse.new_name())
    with pytest.raises(exceptions.NotFound):
        warehouse.load(table, warehouse.put(ROWS))


def test_truncating_the_data_keeps_schema_and_policies(warehouse: Warehouse) -> None:
    """WRITE_TRUNCATE_DATA replaces rows alone; WRITE_TRUNCATE takes the job's schema and drops policies: "REST Resource: jobs"."""
    table = warehouse.table([*SCHEMA[:-1], F("at", "TIMESTAMP", description="When.")])
    warehouse.query(
        f"CREATE ROW ACCESS POLICY mine ON `{table}` GRANT TO ('user:a@example.com') FILTER USING (id = 1)"
    )
    path = f"/projects/{table.project}/datasets/{table.dataset_id}/tables/{table.table_id}/rowAccessPolicies"

    def after(disposition: str, schema: list[bigquery.SchemaField]) -> tuple[int, int, str | None, list[str]]:
        warehouse.load(table, warehouse.put(ROWS[:2]), write_disposition=disposition, schema=schema)
        stored = warehouse.bigquery.get_table(table.reference)
        policies = warehouse.bigquery._connection.api_request(method="GET", path=path)  # noqa: SLF001 (no method of the client)
        names = [one["rowAccessPolicyReference"]["policyId"] for one in policies.get("rowAccessPolicies", [])]
        return stored.num_rows, len(stored.schema), stored.schema[-1].description, names

    assert after("WRITE_TRUNCATE_DATA", SCHEMA) == (2, 5, "When.", ["mine"])
    with pytest.raises(exceptions.BadRequest):
        after("WRITE_TRUNCATE_DATA", [*SCHEMA, F("more", "STRING")])
    assert after("WRITE_TRUNCATE", [*SCHEMA, F("more", "STRING")]) == (2, 6, None, [])


def test_a_failed_truncate_keeps_the_rows(warehouse: Warehouse) -> None:
    """WRITE_TRUNCATE replaces the rows when the job succeeds and changes nothing when it fails: "REST Resource: jobs"."""
    table = warehouse.table()
    warehouse.load(table, warehouse.put(ROWS))
    with pytest.raises(exceptions.BadRequest):
        warehouse.load(table, warehouse.put([{"id": "x"}]), write_disposition="WRITE_TRUNCATE")
    assert warehouse.count(table) == 5
    warehouse.load(table, warehouse.put(ROWS[:1]), write_disposition="WRITE_TRUNCATE")
    assert warehouse.count(table) == 1


FILES: list[tuple[dict[str, Any], str, list[tuple[Any, ...]] | str]] = [
    ({}, "1,a\n2,\n", [(1, "a"), (2, None)]),
    (
        {"skip_leading_rows": 1, "field_delimiter": ";", "null_marker": "NA"},
        "id;name\n1;NA\n2;\n",
        [(1, None), (2, "")],
    ),
    ({"allow_quoted_newlines": True, "allow_jagged_rows": True}, '1,"a\n,b"\n2\n', [(1, "a\n,b"), (2, None)]),
    ({}, "1,a\nx,b\n", "row 2: Could not convert value to integer. Field: id; Value: x"),
    ({}, "1\n", "row 1: Missing columns"),
    ({}, "1,a,b\n", "row 1: Too many values"),
    ({"source_format": "PARQUET", "schema": []}, "PAR1", "no schema from a file of PARQUET"),
    ({"autodetect": True}, "id,name\n1,a\n", "autodetects nothing of CSV"),
]


@pytest.mark.parametrize(("options", "text", "expected"), FILES)
def test_a_file_is_read_by_the_options_of_its_job(
    warehouse: Warehouse, options: dict[str, Any], text: str, expected: list[tuple[Any, ...]] | str
) -> None:
    """The first row is one, and each has every column: "Loading CSV data from Cloud Storage"."""
    name = warehouse.new_name()
    config = bigquery.LoadJobConfig(**{"schema": [F("id", "INTEGER"), F("name", "STRING")], **options})

    def load() -> None:
        warehouse.bigquery.load_table_from_file(BytesIO(text.encode()), name, job_config=config).result()

    if isinstance(expected, str):
        with pytest.raises(exceptions.BadRequest, match=expected):
            load()
        return
    load()
    assert warehouse.query(f"SELECT * FROM `{name}` ORDER BY id") == expected
