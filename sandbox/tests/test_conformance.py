"""What our code relies on of BigQuery's load jobs and tables and of Cloud Storage, on the local ones.

Each test's docstring ends with the title of the page of Google's documentation that states the behaviour.
"""

from __future__ import annotations

import gzip
import json
import uuid
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery, storage
from testkit.whole_pipeline import local_bigquery

if TYPE_CHECKING:
    from collections.abc import Callable

F = bigquery.SchemaField
SCHEMA = [
    F("id", "INTEGER", "REQUIRED"),
    F("name", "STRING"),
    F("origin", "RECORD", fields=[F("url", "STRING")]),
    F("episode", "STRING", "REPEATED"),
    F("at", "TIMESTAMP"),
]
ROWS = [
    {"id": i, "name": "Ünna", "origin": {"url": "u"}, "episode": ["a", "b"], "at": "2026-01-01T00:00:00Z"}
    for i in range(5)
]
BUCKET = "local-landing"


class Warehouse:
    """Google's clients on the local services, and a dataset of the tests' own."""

    def __init__(self, env: dict[str, str]) -> None:
        self.bigquery = local_bigquery(env)
        self.storage = storage.Client(
            project=env["GOOGLE_CLOUD_PROJECT"],
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": env["STORAGE_EMULATOR_HOST"]},
        )
        self.dataset = f"conformance_{uuid.uuid4().hex[:8]}"
        self.bigquery.create_dataset(self.dataset)

    def table(self, schema: list[bigquery.SchemaField] = SCHEMA) -> bigquery.Table:
        """A new empty table, partitioned by day and clustered by key."""
        table = bigquery.Table(self.new_name(), schema=schema)
        table.time_partitioning = bigquery.TimePartitioning(field="at")
        table.clustering_fields = ["id"]
        return self.bigquery.create_table(table)

    def put(self, rows: list[dict[str, Any]]) -> str:
        """A gzip part of rows; its address."""
        blob = self.blob()
        body = gzip.compress("\n".join(json.dumps(row) for row in rows).encode())
        blob.upload_from_string(body, content_type="application/gzip")
        return f"gs://{BUCKET}/{blob.name}"

    def load(
        self, table: bigquery.Table, uris: str | list[str], job_id: str | None = None, **options: Any
    ) -> Any:
        """A load job as the target makes it, awaited."""
        settings = {
            "source_format": "NEWLINE_DELIMITED_JSON",
            "schema": SCHEMA,
            "write_disposition": "WRITE_APPEND",
            "create_disposition": "CREATE_NEVER",
            **options,
        }
        config = bigquery.LoadJobConfig(**settings)
        job = self.bigquery.load_table_from_uri(uris, table.reference, job_id=job_id, job_config=config)
        job.result(timeout=60)
        return job

    def new_name(self) -> str:
        """The name of a table that does not exist yet."""
        return f"{self.bigquery.project}.{self.dataset}.t{uuid.uuid4().hex[:8]}"

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        return [tuple(row) for row in self.bigquery.query_and_wait(sql, job_retry=None)]

    def count(self, table: bigquery.Table) -> int:
        """The table's rows."""
        ((count,),) = self.query(f"SELECT COUNT(*) FROM `{table}`")
        return int(count)

    def blob(self, **options: Any) -> storage.Blob:
        """A new object."""
        return self.storage.bucket(BUCKET).blob(f"conformance/{uuid.uuid4().hex}", **options)


@pytest.fixture(scope="module")
def warehouse(services: dict[str, str]) -> Warehouse:
    """Clients and a dataset."""
    return Warehouse(services)


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


def test_a_column_can_be_added_and_relaxed(warehouse: Warehouse) -> None:
    """tables.patch adds a NULLABLE column and makes REQUIRED NULLABLE; rows stay: "Modifying table schemas"."""
    table = warehouse.table()
    warehouse.load(table, warehouse.put(ROWS))
    table.schema = [F("id", "INTEGER", "NULLABLE"), *SCHEMA[1:], F("planet", "STRING")]
    table = warehouse.bigquery.update_table(table, ["schema"])
    assert [(f.name, f.mode) for f in table.schema][::5] == [("id", "NULLABLE"), ("planet", "NULLABLE")]
    assert warehouse.count(table) == 5


def test_an_integer_column_can_be_widened_to_float(warehouse: Warehouse) -> None:
    """ALTER COLUMN SET DATA TYPE widens INT64 to FLOAT64; the rows and the other columns stay: "Modifying table schemas"."""
    table = warehouse.table([*SCHEMA, F("size", "INTEGER", description="In metres.")])
    warehouse.load(table, warehouse.put([{**ROWS[0], "size": 5}]), schema=list(table.schema))
    warehouse.query(f"ALTER TABLE `{table}` ALTER COLUMN size SET DATA TYPE FLOAT64")
    changed = warehouse.bigquery.get_table(table.reference)
    assert [(f.name, f.field_type, f.mode) for f in changed.schema] == [
        *((f.name, f.field_type, f.mode) for f in SCHEMA),
        ("size", "FLOAT", "NULLABLE"),
    ]
    assert warehouse.query(f"SELECT size FROM `{table}`") == [(5.0,)]


RESERVED = ["default", "order", "end", "from", "group", "select", "struct"]
NAMES = [*RESERVED, "名前", "größe", "grüße", "two words", "a-b"]
NAMED = [F(name, "STRING") for name in NAMES]
NAMED_VALUES = {name: f"value of {name}" for name in NAMES}
NAME_PLACES: dict[str, tuple[list[bigquery.SchemaField], dict[str, Any]]] = {
    "top-level": (NAMED, NAMED_VALUES),
    "nested": ([F("label", "RECORD", fields=NAMED)], {"label": NAMED_VALUES}),
    "nested-in-arrays": (
        [F("group", "RECORD", "REPEATED", fields=[F("end", "RECORD", "REPEATED", fields=NAMED)])],
        {"group": [{"end": [NAMED_VALUES, NAMED_VALUES]}, {"end": []}]},
    ),
}


@pytest.mark.parametrize(("schema", "row"), NAME_PLACES.values(), ids=NAME_PLACES.keys())
def test_a_column_may_have_a_reserved_or_foreign_name(
    warehouse: Warehouse, schema: list[bigquery.SchemaField], row: dict[str, Any]
) -> None:
    """Reserved words, letters of any script, spaces and dashes are column names, at each depth: "Flexible column names"."""
    table = warehouse.bigquery.create_table(bigquery.Table(warehouse.new_name(), schema=schema))
    warehouse.load(table, warehouse.put([row]), schema=schema)
    copy = warehouse.new_name()
    warehouse.query(f"CREATE TABLE `{copy}` AS SELECT * FROM `{table}`")
    for name in (str(table), copy):
        assert warehouse.bigquery.get_table(name).schema == schema
        assert [dict(item) for item in warehouse.bigquery.query_and_wait(f"SELECT * FROM `{name}`")] == [row]


def test_a_reserved_name_is_read_by_its_path(warehouse: Warehouse) -> None:
    """After a dot a reserved word needs no back-quotes: "Lexical structure and syntax"."""
    sql = "SELECT label.default, label.`order` FROM (SELECT STRUCT(1 AS `default`, 2 AS `order`) AS label)"
    assert warehouse.query(sql) == [(1, 2)]


def test_a_table_has_2000_columns(warehouse: Warehouse) -> None:
    """A table may have up to 10,000 columns; a row of 2,000 is loaded and counted: "Quotas and limits"."""
    schema = [F(f"c{i}", "STRING") for i in range(2000)]
    table = warehouse.bigquery.create_table(bigquery.Table(warehouse.new_name(), schema=schema))
    warehouse.load(table, warehouse.put([{field.name: "x" for field in schema}]), schema=schema)
    stored = warehouse.bigquery.get_table(table.reference)
    assert (stored.num_rows, len(stored.schema)) == (1, 2000)
    warehouse.bigquery.delete_table(table)


def test_a_table_has_no_more_than_10000_columns(warehouse: Warehouse) -> None:
    """Nested ones count, and a load job that would add too many fails: "Quotas and limits"."""
    many = [F(f"c{i}", "STRING") for i in range(10_001)]
    for schema in (many, [F("r", "RECORD", fields=many)]):
        with pytest.raises(exceptions.BadRequest, match="Too many total leaf fields: 10001"):
            warehouse.bigquery.create_table(bigquery.Table(warehouse.new_name(), schema=schema))
    table = warehouse.bigquery.create_table(bigquery.Table(warehouse.new_name(), schema=[F("a", "STRING")]))
    with pytest.raises(exceptions.BadRequest, match="Too many total leaf fields: 10001"):
        warehouse.load(
            table,
            warehouse.put([{"a": "x"}]),
            schema=many[:10_000],
            schema_update_options=["ALLOW_FIELD_ADDITION"],
        )


def test_every_permission_on_a_table_is_held(warehouse: Warehouse) -> None:
    """tables.testIamPermissions, which `target-bigquery --check` asks; roles are `--strict`'s."""
    asked = ["bigquery.tables.get", "bigquery.tables.updateData"]
    table = bigquery.Table(warehouse.new_name(), schema=[F("a", "STRING")])
    with pytest.raises(exceptions.NotFound):
        warehouse.bigquery.test_iam_permissions(table.reference, asked)
    warehouse.bigquery.create_table(table)
    assert warehouse.bigquery.test_iam_permissions(table.reference, asked)["permissions"] == asked


def test_a_column_is_added_by_ddl(warehouse: Warehouse) -> None:
    """ALTER TABLE ADD COLUMN, DROP COLUMN and DROP NOT NULL are in the table's schema: "Data definition language"."""
    table = warehouse.table()
    for change in (
        "ADD COLUMN `group` STRUCT<`end` STRING>",
        "DROP COLUMN name",
        "ALTER COLUMN id DROP NOT NULL",
    ):
        warehouse.query(f"ALTER TABLE `{table}` {change}")
    assert warehouse.bigquery.get_table(table.reference).schema == [
        F("id", "INTEGER"),
        *SCHEMA[2:],
        F("group", "RECORD", fields=[F("end", "STRING")]),
    ]


DECLARED = """
CREATE OR REPLACE TABLE {name} (id INT64 NOT NULL, name STRING, tags ARRAY<STRING>)
OPTIONS(description="What it \\"is\\"", labels=[("layer", "mart")])
AS (SELECT id, name, tags FROM (SELECT {id} AS id, "a" AS name, ["x"] AS tags) AS model)
"""


def test_a_declared_column_is_required(warehouse: Warehouse) -> None:
    """NOT NULL columns of CREATE TABLE AS are REQUIRED; a NULL fails the statement, and the old table stays: "Data definition language"."""
    name = f"{warehouse.dataset}.declared"
    warehouse.query(DECLARED.format(name=name, id=1))
    table = warehouse.bigquery.get_table(name)
    assert [field.mode for field in table.schema] == ["REQUIRED", "NULLABLE", "REPEATED"]
    assert (table.description, table.labels) == ('What it "is"', {"layer": "mart"})
    for sql in (
        DECLARED.format(name=name, id="CAST(NULL AS INT64)"),
        f"INSERT INTO {name} VALUES (NULL, 'b', [])",
    ):
        with pytest.raises(exceptions.BadRequest, match="id cannot be null"):
            warehouse.query(sql)
    assert warehouse.query(f"SELECT * FROM {name}") == [(1, "a", ["x"])]


def test_a_view_has_labels_and_descriptions(warehouse: Warehouse) -> None:
    """CREATE VIEW … OPTIONS, and the columns' descriptions by tables.patch: "Data definition language"."""
    name = f"{warehouse.dataset}.labelled"
    warehouse.query(
        f"CREATE OR REPLACE VIEW {name} OPTIONS(description=\"\"\"Two\nlines\"\"\", labels=[('a', 'b'), ('c', 'd')]) AS SELECT 1 AS x"
    )
    view = warehouse.bigquery.get_table(name)
    assert (view.table_type, view.description, view.labels) == ("VIEW", "Two\nlines", {"a": "b", "c": "d"})
    view.schema = [F("x", "INTEGER", description="A number.")]
    assert warehouse.bigquery.update_table(view, ["schema"]).schema == view.schema
    assert warehouse.bigquery.get_table(name).labels == {"a": "b", "c": "d"}


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


UNSUPPORTED = [
    "SELECT * FROM ML.PREDICT(MODEL m, TABLE t)",
    "SELECT ST_GEOGPOINT(1, 2)",
    "SELECT NO_SUCH_FUNCTION(1)",
]


@pytest.mark.parametrize("sql", UNSUPPORTED)
def test_a_statement_that_cannot_be_run_is_refused_at_once(warehouse: Warehouse, sql: str) -> None:
    """It is a 4xx with a message, never a 500, which the clients would retry until their time-out: "Error messages"."""
    with pytest.raises(exceptions.ClientError) as caught:
        warehouse.query(sql)
    assert caught.value.message


def test_what_is_not_understood_is_refused_at_once(warehouse: Warehouse) -> None:
    """A request that cannot be carried out is 400, never a 500, which the clients would retry: "Error messages"."""
    table = {"tableReference": {"projectId": "p", "datasetId": warehouse.dataset, "tableId": "t"}}
    with pytest.raises(exceptions.BadRequest):
        warehouse.bigquery._connection.api_request(  # noqa: SLF001 (a body that the client does not let through)
            method="POST",
            path=f"/projects/{warehouse.bigquery.project}/datasets/{warehouse.dataset}/tables",
            data={**table, "schema": {"fields": [{"type": "STRING"}]}},
        )


def test_an_array_of_a_row_is_joined_by_its_name(warehouse: Warehouse) -> None:
    """FROM t, t.array is FROM t, UNNEST(t.array), also below a join: "Query syntax"."""
    table = warehouse.table()
    warehouse.load(table, warehouse.put(ROWS))
    sql = f"SELECT COUNT(*), MAX(e) FROM (SELECT t.id, e FROM `{table}` AS t, t.episode AS e) JOIN `{table}` USING (id)"
    assert warehouse.query(sql) == [(10, "b")]


def test_the_past_of_a_table_is_refused(warehouse: Warehouse) -> None:
    """The sandbox keeps no history of tables, and says so rather than reading the present."""
    table = warehouse.table()
    with pytest.raises(exceptions.BadRequest, match="keeps no history"):
        warehouse.query(f"SELECT * FROM `{table}` FOR SYSTEM_TIME AS OF CURRENT_TIMESTAMP()")


def test_partitioning_and_clustering_are_kept(warehouse: Warehouse) -> None:
    """A table shows the partitioning and clustering it was created with: "REST Resource: tables"."""
    table = warehouse.bigquery.get_table(warehouse.table().reference)
    assert table.time_partitioning.field == "at"
    assert table.clustering_fields == ["id"]


def test_a_failed_truncate_keeps_the_rows(warehouse: Warehouse) -> None:
    """WRITE_TRUNCATE replaces the rows when the job succeeds and changes nothing when it fails: "REST Resource: jobs"."""
    table = warehouse.table()
    warehouse.load(table, warehouse.put(ROWS))
    with pytest.raises(exceptions.BadRequest):
        warehouse.load(table, warehouse.put([{"id": "x"}]), write_disposition="WRITE_TRUNCATE")
    assert warehouse.count(table) == 5
    warehouse.load(table, warehouse.put(ROWS[:1]), write_disposition="WRITE_TRUNCATE")
    assert warehouse.count(table) == 1


def test_an_object_is_created_once(warehouse: Warehouse) -> None:
    """IfGenerationMatch 0 on a name in use is refused with 412, the object stays: "Request preconditions"."""
    blob = warehouse.blob()
    blob.upload_from_string(b"one", if_generation_match=0)
    with pytest.raises(exceptions.PreconditionFailed):
        warehouse.storage.bucket(BUCKET).blob(blob.name).upload_from_string(b"two", if_generation_match=0)
    assert blob.download_as_bytes() == b"one"


LARGE = b"0123456789abcdef" * (20 << 16) + b"!"


def test_a_large_object_is_uploaded_in_chunks(warehouse: Warehouse) -> None:
    """A resumable upload of several chunks is one object with its checksum: "Resumable uploads"."""
    blob = warehouse.blob(chunk_size=4 << 20)
    blob.upload_from_string(LARGE, checksum="crc32c")
    assert blob.download_as_bytes() == LARGE


@pytest.mark.xfail(reason="fake-gcs-server forgets the precondition of a resumable upload (README, Limits)")
def test_a_large_object_is_created_once(warehouse: Warehouse) -> None:
    """IfGenerationMatch 0 holds for resumable uploads too: "Request preconditions"."""
    blob = warehouse.blob(chunk_size=4 << 20)
    blob.upload_from_string(LARGE, if_generation_match=0)
    with pytest.raises(exceptions.PreconditionFailed):
        warehouse.storage.bucket(BUCKET).blob(blob.name, chunk_size=4 << 20).upload_from_string(
            LARGE, if_generation_match=0
        )


def test_an_object_has_its_checksum(warehouse: Warehouse) -> None:
    """crc32c is in the object's metadata as base64: "Data validation and change detection"."""
    blob = warehouse.blob()
    blob.upload_from_string(b"123456789")
    blob.reload()
    assert blob.crc32c == "4waSgw=="


@pytest.mark.parametrize(
    "act", [lambda b: b.upload_from_string(b"x"), lambda b: b.reload()], ids=["write", "read"]
)
def test_a_missing_bucket_is_404(warehouse: Warehouse, act: Callable[[Any], Any]) -> None:
    """A request to a bucket that is not there is refused with 404: "HTTP status and error codes for JSON"."""
    with pytest.raises(exceptions.NotFound):
        act(warehouse.storage.bucket("no-such-bucket").blob("x"))
