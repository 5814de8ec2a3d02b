"""BigQuery's columns as DuckDB's, and back: names that SQL reserves, other scripts, spaces."""

import re
from typing import Any

from . import patches

RECORDS = ("RECORD", "STRUCT")
# DuckDB has 38 digits at most: 20 before the point and 18 after it.
BIGNUMERIC = ("DECIMAL(76, 38)", "DECIMAL(38, 18)")
# Table names: https://cloud.google.com/bigquery/docs/tables#table_naming.
NAMES = (
    (
        "storage.sql_identifiers",
        "_SQL_SAFE_ID_RE",
        r"^[A-Za-z0-9_][A-Za-z0-9_\-]{0,254}$",
        r"^\w[\w\-]{0,1023}$",
    ),
    ("domain.ids", "_TABLE_RE", r"^[A-Za-z0-9_\-]{1,1024}$", r"^[\w\-]{1,1024}$"),
)
_leaf = patches.get("storage.type_map", "bq_schema_to_duckdb_columns")
_types = patches.get("storage.type_map", "_BQ_TO_DUCKDB")

if _types["BIGNUMERIC"] != BIGNUMERIC[0]:
    raise patches.PatchTargetMissing("sandbox: BIGNUMERIC has another DuckDB type now")
_types["BIGNUMERIC"] = BIGNUMERIC[1]
for _module, _pattern, _was, _now in NAMES:
    if patches.get(_module, _pattern).pattern != _was:
        raise patches.PatchTargetMissing(f"sandbox: bqemulator.{_module}.{_pattern} is another pattern now")
    patches.replace(_module, _pattern, re.compile(_now), "table names in every script")


def quoted(name: str) -> str:
    """Return the name as DuckDB's identifier."""
    return '"' + name.replace('"', '""') + '"'


@patches.replaces(
    "storage.type_map",
    "bq_schema_to_duckdb_columns",
    also=("api.routes.tables", "commands.seed"),
    why="a nested field may be called default, order, end, from, group: names are quoted",
)
def columns(fields: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return (name, DuckDB type) of each field of a TableSchema as REST has it."""
    return [(field["name"], _type(field)) for field in fields]


def _type(field: dict[str, Any]) -> str:
    if field["type"].upper() not in RECORDS:
        return str(_leaf([field])[0][1])
    inner = ", ".join(f"{quoted(name)} {kind}" for name, kind in columns(field.get("fields") or []))
    return f"STRUCT({inner})" + ("[]" if (field.get("mode") or "").upper() == "REPEATED" else "")
