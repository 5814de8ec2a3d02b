"""What our code relies on of BigQuery's tables and statements, on the local one.

Each test's docstring ends with the title of the page of Google's documentation that states the behaviour.
"""

from decimal import Decimal
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from google.cloud.bigquery import dbapi
from local_warehouse import ROWS, SCHEMA, F, Warehouse


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


def test_a_numeric_has_nine_digits_after_the_point(warehouse: Warehouse) -> None:
    """Declared, nested, widened from INT64, or made by a query, a NUMERIC keeps its digits: "Data types"."""
    table, price = warehouse.new_name(), Decimal("1234567890123456789.123456789")
    warehouse.query(f"CREATE TABLE `{table}` (id INT64, price NUMERIC, item STRUCT<price NUMERIC>)")
    warehouse.query(f"ALTER TABLE `{table}` ALTER COLUMN id SET DATA TYPE NUMERIC")
    value = f"CAST('{price}' AS NUMERIC)"
    warehouse.query(f"INSERT INTO `{table}` VALUES ({value}, {value}, STRUCT({value}))")
    copy = warehouse.new_name()
    warehouse.query(
        f"CREATE TABLE `{copy}` AS SELECT id, CAST(price AS NUMERIC) AS price, item FROM `{table}`"
    )
    # As dbt makes a model with a contract.
    contract = warehouse.new_name()
    columns = "id NUMERIC, price NUMERIC, item STRUCT<price NUMERIC>"
    warehouse.query(f"CREATE TABLE `{contract}` ({columns}) AS (SELECT id, price, item FROM `{copy}`)")
    for name in (table, copy, contract):
        assert warehouse.query(f"SELECT * FROM `{name}`") == [(price, price, {"price": price})]
        kinds = [field.field_type for field in warehouse.bigquery.get_table(name).schema]
        assert kinds == ["NUMERIC", "NUMERIC", "RECORD"]
    casts = f"CAST([NUMERIC '{price}'] AS ARRAY<NUMERIC>), CAST('1.225' AS NUMERIC(5, 2)), SAFE_CAST('1e9' AS NUMERIC(5, 2))"
    assert warehouse.query(f"SELECT {casts}") == [([price], Decimal("1.23"), None)]


def test_a_query_and_its_table_have_the_same_columns(warehouse: Warehouse) -> None:
    """JSON and sums are what they are within structs and arrays too; what has no name is f0_, f1_: "Query syntax"."""
    sql = "SELECT 'a', COUNT(*), ANY_VALUE(s.a.b), {} FROM (SELECT STRUCT(STRUCT(1 AS b) AS a) AS s)"
    made = "JSON '1' AS j, [JSON '1'] AS js, STRUCT(JSON '{}' AS j, SUM(1) AS n) AS r, SUM(1) AS n, [SUM(1)] AS ns"
    rows = warehouse.bigquery.query_and_wait(sql.format(made))
    assert [field.name for field in rows.schema[:3]] == ["f0_", "f1_", "f2_"]
    assert list(*rows)[3:] == [1, ["1"], {"j": {}, "n": 1}, 1, [1]]
    table = warehouse.new_name()
    warehouse.query(f"CREATE TABLE `{table}` AS SELECT {made}")
    assert warehouse.bigquery.get_table(table).schema == [
        F("j", "JSON"),
        F("js", "JSON", "REPEATED"),
        F("r", "RECORD", fields=[F("j", "JSON"), F("n", "INTEGER")]),
        F("n", "INTEGER"),
        F("ns", "INTEGER", "REPEATED"),
    ]


def test_a_table_may_have_a_long_name(warehouse: Warehouse) -> None:
    """It has up to 1,024 bytes: "Create and use tables"."""
    name = f"{warehouse.dataset}.{'t' * 1024}"
    warehouse.query(f"CREATE TABLE `{name}` AS SELECT 1 AS a")
    assert warehouse.query(f"SELECT a FROM `{name}`") == [(1,)]


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
    assert view.view_query == "SELECT 1 AS x"
    view.schema, view.labels = [F("x", "INTEGER", description="A number.")], {"a": None}
    assert warehouse.bigquery.update_table(view, ["schema", "labels"]).schema == view.schema
    assert warehouse.bigquery.get_table(name).labels == {"c": "d"}


SCRIPTS: dict[str, tuple[str, list[Any]]] = {
    "function": ("CREATE TEMP FUNCTION double(x INT64) AS (x * 2); SELECT double(21)", [42]),
    "declared-by-value": ("DECLARE x DEFAULT (SELECT 7); SELECT x + 1", [8]),
    "keys": (
        "CREATE TABLE {0} (id INT64 PRIMARY KEY NOT ENFORCED, FOREIGN KEY (id) REFERENCES {0}(id) NOT ENFORCED); INSERT INTO {0} VALUES (1), (1); SELECT COUNT(*) FROM {0}",
        [2],
    ),
    "view-columns": ("CREATE VIEW {0} (x, y) AS SELECT 7 AS y, COUNT(*); SELECT y FROM {0}", [1]),
    "64-bits": (
        "CREATE TABLE {0} AS SELECT 1 AS id; INSERT INTO {0} VALUES (3000000000); SELECT MAX(id) FROM {0}",
        [3_000_000_000],
    ),
    "project-with-dashes": ("CREATE TABLE {1} AS SELECT 1 AS a; SELECT t.a FROM {1} AS t", [1]),
    "tuples": ("SELECT SUM(n) FROM UNNEST([STRUCT('a' AS name, 1 AS n), ('b', 2)]) GROUP BY ALL", [3]),
}


@pytest.mark.parametrize(("sql", "row"), SCRIPTS.values(), ids=SCRIPTS)
def test_a_script_gives_its_last_rows(warehouse: Warehouse, sql: str, row: list[Any]) -> None:
    """What it makes is there for the statements that follow: "Procedural language", "Data definition language"."""
    name = warehouse.new_name()
    assert warehouse.query(sql.format(f"`{name}`", name)) == [tuple(row)]


def test_ddl_describes_tables_and_columns(warehouse: Warehouse) -> None:
    """OPTIONS of a table, of columns and of ALTER TABLE are kept, also by CREATE TABLE IF NOT EXISTS: "Data definition language"."""
    name = warehouse.new_name()
    for sql in (
        "CREATE TABLE `{}` (a BIGNUMERIC OPTIONS(description='A.') ) OPTIONS(description='T.')",
        "/* dbt */ ALTER TABLE `{}` ADD COLUMN b INT64 OPTIONS(description='B.')",
        "ALTER TABLE `{}` SET OPTIONS (labels=[('k', 'v')])",
        "CREATE TABLE IF NOT EXISTS `{}` (c INT64)",
    ):
        warehouse.query(sql.format(name))
    table = warehouse.bigquery.get_table(name)
    assert (table.description, table.labels) == ("T.", {"k": "v"})
    assert table.schema == [F("a", "BIGNUMERIC", description="A."), F("b", "INTEGER", description="B.")]


UNSUPPORTED = [
    "SELECT * FROM ML.PREDICT(MODEL m, TABLE t)",
    "SELECT ST_GEOGPOINT(1, 2)",
    "SELECT NO_SUCH_FUNCTION(1)",
    "-- a comment alone",
    "CREATE TABLE {} AS SELECT x.*, y.* FROM (SELECT 1 AS id) AS x CROSS JOIN (SELECT 2 AS ID) AS y",
    "CREATE OR REPLACE TABLE {} AS SELECT COUNT(*) FROM UNNEST([1])",
    "SELECT @@project_id",
    "SELECT APPROX_TOP_COUNT(x, 1) FROM UNNEST([1]) AS x",
    "SELECT INSTR('banana', 'an', -1)",
    "SELECT REGEXP_INSTR('foo bar', 'ba(r)')",
    "SELECT * FROM (SELECT 'a' AS q, 1 AS v) PIVOT (SUM(v) AS s FOR q IN ('a' AS x))",
    "CREATE TABLE {} (a INT64, PRIMARY KEY (a))",
    "ALTER TABLE {} ALTER COLUMN a SET OPTIONS(description='A.')",
    # DuckDB's own.
    "DESCRIBE SELECT 1",
    "EXPLAIN SELECT 1",
    "SHOW TABLES",
    "PRAGMA version",
    "COPY (SELECT 1) TO '/dev/null'",
]


@pytest.mark.parametrize("sql", UNSUPPORTED)
def test_a_statement_that_cannot_be_run_is_refused_at_once(warehouse: Warehouse, sql: str) -> None:
    """It is a 4xx with a message, never a 500, which the clients would retry until their time-out: "Error messages"."""
    with pytest.raises(exceptions.ClientError) as caught:
        warehouse.query(sql.format(f"`{warehouse.dataset}.refused`"))
    assert caught.value.message


CHANGES = [
    ("DELETE {}", "must have a WHERE clause"),
    ("INSERT {} SELECT 1.5", "type FLOAT64 which cannot be inserted into column a, which has type INT64"),
    ("UPDATE {} SET a = TRUE WHERE a = 1", "type BOOL"),
    ("MERGE {} USING UNNEST(['2']) AS n ON FALSE WHEN NOT MATCHED THEN INSERT (a) VALUES (n)", "type STRING"),
    ("UPDATE {} SET a = 2", "must have a WHERE clause"),
    ("UPDATE {} SET a = n FROM UNNEST([2, 3]) AS n WHERE a = 1", "at most one source row"),
    (
        "MERGE {} AS t USING UNNEST([2, 3]) AS n ON t.a = 1 WHEN MATCHED THEN UPDATE SET a = n",
        "at most one source row",
    ),
]


@pytest.mark.parametrize(("sql", "message"), CHANGES)
def test_a_change_that_bigquery_refuses_changes_no_row(warehouse: Warehouse, sql: str, message: str) -> None:
    """Rows are named, and each is changed once at most: "Data manipulation language"."""
    name = warehouse.new_name()
    warehouse.query(f"CREATE TABLE `{name}` AS SELECT 1 AS a")
    with pytest.raises(exceptions.BadRequest, match=message):
        warehouse.query(sql.format(f"`{name}`"))
    assert warehouse.query(f"SELECT a FROM `{name}`") == [(1,)]
    warehouse.query(
        f"MERGE `{name}` AS t USING UNNEST([1, 3]) AS n ON a = n WHEN MATCHED THEN UPDATE SET a = n + 1"
    )
    warehouse.query(f"UPDATE `{name}` SET a = n + 1 FROM UNNEST([2, 4]) AS n WHERE a = n")
    assert warehouse.query(f"SELECT a FROM `{name}`") == [(3,)]
    warehouse.query(f"DELETE `{name}` WHERE a = 3")
    assert warehouse.count(warehouse.bigquery.get_table(name)) == 0


def test_a_table_has_a_new_name(warehouse: Warehouse) -> None:
    """ALTER TABLE RENAME TO: it is there under the new name, and not under the old: "Data definition language"."""
    name = warehouse.new_name()
    warehouse.query(f"CREATE TABLE `{name}` AS SELECT 1 AS a")
    warehouse.query(f"ALTER TABLE `{name}` RENAME TO renamed")
    assert warehouse.count(warehouse.bigquery.get_table(f"{warehouse.dataset}.renamed")) == 1
    with pytest.raises(exceptions.NotFound):
        warehouse.bigquery.get_table(name)


def test_what_is_not_understood_is_refused_at_once(warehouse: Warehouse) -> None:
    """A request that cannot be carried out is 400, never a 500, which the clients would retry: "Error messages"."""
    table = {"tableReference": {"projectId": "p", "datasetId": warehouse.dataset, "tableId": "t"}}
    with pytest.raises(exceptions.BadRequest):
        warehouse.bigquery._connection.api_request(  # noqa: SLF001 (a body that the client does not let through)
            method="POST",
            path=f"/projects/{warehouse.bigquery.project}/datasets/{warehouse.dataset}/tables",
            data={**table, "schema": {"fields": [{"type": "STRING"}]}},
        )


def test_an_answer_to_what_was_not_foreseen_is_the_last_of_its_connection(warehouse: Warehouse) -> None:
    """The server ends the connection; a client that used it again, as `make shell`, would take BigQuery for gone."""
    client = warehouse.bigquery
    url = f"{client._connection.API_BASE_URL}/bigquery/v2/projects/{client.project}/queries"  # noqa: SLF001 (as the client has it)
    answer = client._http.post(url, json={"query": "SELECT STRUCT(1, 2)", "useLegacySql": False})  # noqa: SLF001 (as it is)
    assert (answer.status_code, answer.headers["Connection"]) == (400, "close")


def test_a_row_that_does_not_fit_is_not_streamed(warehouse: Warehouse) -> None:
    """insertAll: neither unknown fields nor other types; without skipInvalidRows no row at all: "REST: tabledata.insertAll"."""
    client, table = warehouse.bigquery, warehouse.table()
    given: list[dict[str, Any]] = [{"id": 1}, {"id": "x"}, {"id": 2, "no": 1}, {"name": "a"}]
    errors = client.insert_rows_json(table, given)
    assert [error["errors"][0]["reason"] for error in errors] == ["stopped", "invalid", "invalid", "invalid"]
    assert warehouse.count(table) == 0
    errors = client.insert_rows_json(table, given, skip_invalid_rows=True)
    assert [error["index"] for error in errors] == [1, 2, 3]
    assert warehouse.count(table) == 1


def test_a_query_has_parameters_as_the_db_api_writes_them(warehouse: Warehouse) -> None:
    """@`name`, as SQLAlchemy's queries have it, and BYTES: "Run parameterized queries"."""
    cursor = dbapi.connect(warehouse.bigquery, prefer_bqstorage_client=False).cursor()
    cursor.execute("SELECT %(number:INT64)s + 1, %(bytes)s", {"number": 4, "bytes": b"a"})
    assert [row.values() for row in cursor.fetchall()] == [(5, b"a")]


def test_a_query_into_a_table_is_refused(warehouse: Warehouse) -> None:
    """A destinationTable would be left unwritten."""
    config = bigquery.QueryJobConfig(destination=warehouse.new_name())
    with pytest.raises(exceptions.BadRequest, match="destinationTable"):
        warehouse.bigquery.query("SELECT 1 AS a", job_config=config)


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
