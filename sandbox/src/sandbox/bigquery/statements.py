"""Statements that the emulator's translation to DuckDB gets wrong or refuses."""

import re
from typing import Any

from bqemulator.domain.errors import InvalidQueryError
from sqlglot import exp

from . import patches

NULL_IN_REQUIRED = re.compile(r"NOT NULL constraint failed: [^.\s]+\.(\w+)")
CTAS = "sql.rewriter.create_table_schema_ctas"
_first = patches.get(CTAS, "_first_select")
_casts = patches.get(CTAS, "_cast_projections_to_schema")
_translated = patches.get("jobs.error_mapper", "translate_runtime_error")


@patches.replaces(
    CTAS, "_first_select", why="CREATE TABLE t (columns) AS (SELECT …), as a dbt contract writes it"
)
def first_select(body: Any) -> Any:  # noqa: ANN401 (expressions)
    """Return the first SELECT of a query, within its parentheses too."""
    while isinstance(body, (exp.Subquery, exp.Paren)):
        body = body.this
    return _first(body)


@patches.replaces(CTAS, "_cast_projections_to_schema", why="NOT NULL columns of CREATE TABLE AS refuse NULL")
def casts(columns: list[exp.ColumnDef], values: list[exp.Expression]) -> list[exp.Expression]:
    """Return the query's values as the declared columns."""
    values_cast: list[exp.Expression] = _casts(columns, values)
    for column, value in zip(columns, values_cast, strict=True):
        if column.find(exp.NotNullColumnConstraint):
            message = exp.Literal.string(f"Required field {column.name} cannot be null")
            refused = exp.Anonymous(this="ERROR", expressions=[message])
            value.set("this", exp.Coalesce(this=value.this, expressions=[refused]))
    return values_cast


@patches.replaces(
    "jobs.error_mapper",
    "translate_runtime_error",
    also=("jobs.executor",),
    why="NULL in a REQUIRED column: BigQuery's message",
)
def translated(error: Exception, **named: Any) -> Exception:  # noqa: ANN401 (the emulator's)
    """Return BigQuery's error in place of DuckDB's."""
    if match := NULL_IN_REQUIRED.search(str(error)):
        return InvalidQueryError(f"Required field {match[1]} cannot be null", location="query")
    mapped: Exception = _translated(error, **named)
    return mapped
