"""Statements that the emulator's translation to DuckDB gets wrong or refuses."""

import re
from typing import Any

from bqemulator.domain.errors import InvalidQueryError
from sqlglot import exp

from . import patches

NULL_IN_REQUIRED = re.compile(r"NOT NULL constraint failed: [^.\s]+\.(\w+)")
CTAS = "sql.rewriter.create_table_schema_ctas"
MADE_OF = re.compile(r"CREATE (?:OR REPLACE )?(?:TABLE|VIEW) [^(]*?\sAS\s")
_engine = patches.get("storage.engine", "DuckDBEngine")
_execute = _engine.execute
_first = patches.get(CTAS, "_first_select")
_casts = patches.get(CTAS, "_cast_projections_to_schema")
_translated = patches.get("jobs.error_mapper", "translate_runtime_error")


@patches.replaces(CTAS, "_first_select", why="CREATE TABLE t (columns) AS (SELECT …), as of a dbt contract")
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


@patches.replaces_method(
    _engine, "execute", why="no columns without a name, or of one: DuckDB makes up count_star() and id_1"
)
def execute(self: Any, sql: str, parameters: list[Any] | None = None) -> Any:  # noqa: ANN401 (the emulator's)
    """Execute a statement of DuckDB's.

    Raises:
        InvalidQueryError: A column of the table or view that it makes has no name, or that of another.
    """
    if made := MADE_OF.match(sql):
        columns = _execute(self, f"DESCRIBE {sql[made.end() :]}", parameters).fetchall()
        names = [name.lower() for name, *_ in columns]
        for place, name in enumerate(names):
            if "(" in name:
                wrong = f"CREATE TABLE columns must be named, but column {place + 1} has no name"
            elif name in names[:place]:
                wrong = f"CREATE TABLE has columns with duplicate name {name}"
            else:
                continue
            raise InvalidQueryError(wrong, location="query")
    return _execute(self, sql, parameters)
