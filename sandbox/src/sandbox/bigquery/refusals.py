"""What DuckDB would execute and BigQuery refuses: columns without a name of their own, values of another type, a row changed twice."""

import re
from collections.abc import Iterator
from typing import Any

import duckdb
import sqlglot
from bqemulator.domain.errors import InvalidQueryError
from sqlglot import exp

from . import patches

MADE_OF = re.compile(r"CREATE (?:OR REPLACE )?(?:TABLE|VIEW) [^(]*?\sAS\s")
# Of a dataset's table: its schema in DuckDB is project__dataset.
CHANGED = re.compile(r'(?:INSERT INTO|UPDATE|MERGE INTO) "[^"]+__[^"]*"\.')
TYPES = {
    "VARCHAR": "STRING", "BIGINT": "INT64", "INTEGER": "INT64", "HUGEINT": "INT64", "DOUBLE": "FLOAT64", "BOOLEAN": "BOOL",
    "DECIMAL": "NUMERIC", "DATE": "DATE", "TIME": "TIME", "TIMESTAMP": "DATETIME", "TIMESTAMP WITH TIME ZONE": "TIMESTAMP",
}  # fmt: skip
# What a column takes besides its own type: literals of times are texts, and a quotient of NUMERIC is a FLOAT64 here.
COERCED = {
    "FLOAT64": {"INT64", "NUMERIC"},
    "NUMERIC": {"INT64", "FLOAT64"},
    "DATETIME": {"DATE", "STRING"},
    **{name: {"STRING"} for name in ("DATE", "TIME", "TIMESTAMP")},
}
_engine = patches.get("storage.engine", "DuckDBEngine")
_execute = _engine.execute


@patches.replaces_method(
    _engine,
    "execute",
    why="columns have names of their own, values their column's type; no row is changed twice",
)
def execute(self: Any, sql: str, parameters: list[Any] | None = None) -> Any:  # noqa: ANN401 (the emulator's)
    """Execute a statement of DuckDB's.

    Raises:
        InvalidQueryError: BigQuery refuses it.
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
    changes_table = CHANGED.match(sql)
    if changes_table or sql.startswith(("MERGE ", "UPDATE ")):
        tree = sqlglot.parse_one(sql, read="duckdb")
        if changes_table:
            _refuse_types(self, tree.copy(), parameters)
        if (twice := _matched_twice(tree)) and _execute(self, twice, parameters).fetchall():
            wrong = "UPDATE/MERGE must match at most one source row for each target row"
            raise InvalidQueryError(wrong, location="query")
    return _execute(self, sql, parameters)


def _refuse_types(engine: Any, tree: exp.Expr, parameters: list[Any] | None) -> None:  # noqa: ANN401 (the emulator's)
    """Refuse a value of a type that BigQuery does not coerce into the column's; DuckDB casts, and rounds."""
    table = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
    described = _execute(
        engine, f"DESCRIBE {exp.table_(table.name, table.db, quoted=True).sql('duckdb')}"
    ).fetchall()
    kinds = {name.lower(): _kind(kind) for name, kind, *_ in described}
    for names, query in _assigned(tree):
        try:
            values = _execute(engine, f"DESCRIBE {query.sql('duckdb')}", parameters).fetchall()
        except duckdb.Error:
            # It has DEFAULT, or the statement itself will say what is wrong.
            continue
        for name, (_, value, *_) in zip(names or kinds, values, strict=False):
            given, column = _kind(value), kinds.get(name.lower())
            if given and column and given not in {column, *COERCED.get(column, ())}:
                wrong = f"Value has type {given} which cannot be inserted into column {name}, which has type {column}"
                raise InvalidQueryError(wrong, location="query")


def _assigned(tree: exp.Expr) -> Iterator[tuple[list[str], exp.Expr]]:
    """Yield the columns that a statement fills, none where all, with a query for their values."""
    match tree:
        case exp.Insert() if tree.expression:
            yield [column.name for column in tree.this.expressions], tree.expression
        case exp.Update() | exp.Merge():
            source = _source(tree)
            whens = tree.args["whens"].expressions if isinstance(tree, exp.Merge) else ()
            for change in (tree, *(when.args["then"] for when in whens)):
                if isinstance(change, exp.Update):
                    query = exp.select(*(one.expression for one in change.expressions)).from_(tree.this)
                    yield (
                        [one.this.name for one in change.expressions],
                        query.join(source) if source else query,
                    )
                elif isinstance(change, exp.Insert) and change.expression:
                    values = exp.select(*change.expression.expressions).from_(source)
                    yield [column.name for column in change.this.expressions], values


def _kind(kind: str) -> str | None:
    """Return a type of DuckDB's in BigQuery's words; None where it is none of those."""
    return TYPES.get(kind.partition("(")[0])


def _source(tree: exp.Expr) -> Any:  # noqa: ANN401 (an expression)
    """Return what MERGE, or UPDATE … FROM, reads beside its table; None where it reads nothing."""
    return (tree.args.get("from_") or exp.From()).this or tree.args.get("using")


def _matched_twice(tree: exp.Expr) -> str | None:
    """Return a query for rows of the target that MERGE, or UPDATE … FROM, would change twice."""
    if isinstance(tree, exp.Merge):
        matched = [one for one in tree.args["whens"].expressions if one.args["matched"]]
        conditions = [one.args.get("condition") or exp.true() for one in matched]
        where = exp.and_(tree.args["on"], exp.or_(*conditions)) if matched else None
    else:
        where = (tree.args.get("where") or exp.Where()).this
    source = _source(tree)
    if source is None or where is None:
        return None
    rows = (
        exp.select("1")
        .from_(tree.this)
        .join(source)
        .where(where)
        .group_by(f"{tree.this.alias_or_name}.rowid")
    )
    return rows.having("COUNT(*) > 1").limit(1).sql("duckdb")
