"""Every SQL text that the target writes, through Google's own analyzer: each column type, each key type."""

import pytest
from google.cloud.bigquery import SchemaField, TableReference
from googlesql import Analyzer, SqlRefusedError
from target_bigquery import ledger, tables
from target_bigquery.schema import metadata_fields

SCALARS = ("STRING", "INTEGER", "FLOAT", "NUMERIC", "BIGNUMERIC", "BOOLEAN", "TIMESTAMP", "DATE", "TIME")
# Words that GoogleSQL reserves, and one of another script.
NAMES = ("new", "old", "order", "größe", "顧客")
LANDING = TableReference.from_string("project.dataset.things")
STAGING = TableReference.from_string("project.dataset._upsert_things")
LEDGER = TableReference.from_string("project.dataset._loads")
FIELDS = [
    *(SchemaField(f"a_{kind.lower()}", kind) for kind in (*SCALARS, "JSON")),
    *(SchemaField(f"many_{kind.lower()}", kind, "REPEATED") for kind in SCALARS),
    SchemaField("part", "RECORD", fields=[SchemaField("default", "STRING"), SchemaField("n", "NUMERIC")]),
    SchemaField("parts", "RECORD", "REPEATED", fields=[SchemaField("end", "STRING")]),
    *(SchemaField(name, "STRING") for name in NAMES),
    *metadata_fields(),
]


def analyzer(*keys: SchemaField) -> Analyzer:
    """Both tables, with these keys beside every kind of column."""
    columns = [*keys, *FIELDS]
    found = {f"{table.project}.{table.dataset_id}.{table.table_id}": columns for table in (LANDING, STAGING)}
    parameters = {"batched_at": "TIMESTAMP", "run_id": "STRING", "version": "INTEGER", "entries": "STRING"}
    return Analyzer(found | {"project.dataset._loads": ledger.FIELDS}, parameters)


@pytest.mark.parametrize("kind", SCALARS)
def test_the_merge_of_upsert_with_a_key_of_each_type(kind: str) -> None:
    """Also with a second key; every column type is set and inserted."""
    key, second = SchemaField("key", kind, "REQUIRED"), SchemaField("group", "STRING", "REQUIRED")
    columns = [key, second, *FIELDS]
    for keys in (["key"], ["key", "group"]):
        analyzer(key, second).check(tables.merge_statement(LANDING, STAGING, columns, keys))


@pytest.mark.parametrize(("was", "now"), sorted({*tables.LOSSLESS, *tables.LOSSY}))
def test_a_column_that_is_widened(was: str, now: str) -> None:
    """ALTER COLUMN SET DATA TYPE, of each type to each that a table may take."""
    key = SchemaField("order", was)
    found = [field for field in FIELDS if field.name != "order"]
    Analyzer({"project.dataset.things": [key, *found]}).check(tables.widen_statement(LANDING, "order", now))


def test_the_ledgers_merge_and_the_count_of_a_version() -> None:
    """Both with the parameters that they are run with."""
    checked = analyzer()
    checked.check(ledger.statement(LEDGER))
    checked.check(tables.count_statement(LANDING))


def test_the_analyzer_refuses_what_bigquery_refuses() -> None:
    """A reserved word for an alias, as the MERGE once had: this proof can fail."""
    with pytest.raises(SqlRefusedError):
        analyzer().check(
            "MERGE `project.dataset.things` AS new USING (SELECT 1 AS x) AS old ON TRUE WHEN MATCHED THEN DELETE"
        )
