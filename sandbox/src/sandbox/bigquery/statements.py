"""Statements that the emulator's translation to DuckDB gets wrong or refuses."""

import base64
import itertools
import re
from collections.abc import Callable
from typing import Any

from bqemulator.domain.errors import InvalidQueryError
from sqlglot import exp

from . import patches

NULL_IN_REQUIRED = re.compile(r"NOT NULL constraint failed: [^.\s]+\.(\w+)")
CTAS = "sql.rewriter.create_table_schema_ctas"
_script = patches.get("scripting.parser", "Parser")
_type_name = _script._read_type_name  # noqa: SLF001 (replaced below)
_value = patches.get("sql.parameters", "_extract_value")
_body = patches.get("udf.sql_udf", "_translate_body")
_first = patches.get(CTAS, "_first_select")
_casts = patches.get(CTAS, "_cast_projections_to_schema")
_translated = patches.get("jobs.error_mapper", "translate_runtime_error")


@patches.replaces_method(_script, "_read_type_name", why="DECLARE x DEFAULT 1: the type is the value's")
def read_type_name(self: Any) -> str:  # noqa: ANN401 (the emulator's parser)
    """Return the type of a declaration, '' where it has none."""
    return "" if self._cursor.match_keyword("DEFAULT") else str(_type_name(self))


@patches.replaces("sql.parameters", "_extract_value", why="BYTES come in base64")
def parameter_value(parameter: dict[str, Any]) -> Any:  # noqa: ANN401 (of any type)
    """Return the value of a query's parameter."""
    value = _value(parameter)
    if (parameter.get("parameterType") or {}).get("type") == "BYTES" and isinstance(value, str):
        return base64.b64decode(value)
    return value


@patches.replaces("udf.sql_udf", "_translate_body", why="the value of a function has no name")
def function_body(sql: str, translator: Any) -> str:  # noqa: ANN401 (the emulator's)
    """Return what a function computes, in DuckDB's words; without a name of ours, _select would give it one."""
    return str(_body(f"{sql} AS value", translator)).removesuffix(" AS value")


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


def _offsets(select: exp.Select) -> list[exp.Identifier]:
    sources = [select.args.get("from_"), *(select.args.get("joins") or ())]
    unnested = [one.this for one in sources if one and isinstance(one.this, exp.Unnest)]
    return [one.args["offset"] for one in unnested if one.args.get("offset")]


@patches.replaces(
    "sql.rewriter.unnest_offset",
    "_rebase_offset_columns",
    why="an offset counts from 0 in `*` too, and is taken once",
)
def rebase(tree: exp.Expr, _: set[str]) -> bool:
    """Count each offset of UNNEST from 0, where DuckDB counts from 1, in the query that has it and those within."""
    for column in list(tree.find_all(exp.Column)):
        select = None if column.table else column.find_ancestor(exp.Select)
        while select and all(one.name != column.name for one in _offsets(select)):
            select = select.find_ancestor(exp.Select)
        if select and not isinstance(column.parent, exp.Star):
            named = isinstance(column.parent, exp.Select)
            column.replace(exp.alias_(column - 1, column.name) if named else exp.paren(column - 1))
    for star in list(tree.find_all(exp.Star)):
        if isinstance(star.parent, exp.Select) and (offsets := _offsets(star.parent)):
            kept = star.args.get("replace") or []
            known = {one.name for one in (*(star.args.get("except_") or ()), *kept)}
            added = [
                exp.alias_(exp.column(one.copy()) - 1, one.copy()) for one in offsets if one.name not in known
            ]
            star.set("replace", [*kept, *added])
    return True


def _select(node: exp.Select) -> exp.Expr | None:
    """Columns without a name are f0_, f1_ … in what a query returns."""
    if node.parent is not None or node.args.get("kind"):
        return None
    unnamed = [one for one in node.expressions if not isinstance(one, (exp.Alias, exp.Column, exp.Star))]
    names = map("f{}_".format, itertools.count())
    for one in unnamed:
        is_field = isinstance(one, exp.Dot) and isinstance(one.expression, exp.Identifier)
        one.replace(exp.alias_(one.copy(), one.name if is_field else next(names)))
    return node if unnamed else None


def _columns(node: exp.Schema) -> exp.Expr | None:
    """Drop keys NOT ENFORCED of CREATE TABLE, and give the columns of CREATE VIEW to its query."""
    create = node.parent
    if not isinstance(create, exp.Create):
        return None
    if create.kind == "VIEW":
        return named_view(create).this  # type: ignore[no-any-return]
    for key in list(
        node.find_all(exp.PrimaryKey, exp.ForeignKey, exp.PrimaryKeyColumnConstraint, exp.Reference)
    ):
        if "NOT ENFORCED" not in key.sql("bigquery"):
            raise InvalidQueryError(f"{key.sql('bigquery')}: enforced keys are not supported")
        if key.parent:
            (key.parent if isinstance(key.parent, exp.ColumnConstraint) else key).pop()
    return node


def named_view(create: exp.Create) -> Any:  # noqa: ANN401 (the same statement)
    """Move the columns' names of CREATE VIEW v (x, y) into its query.

    Raises:
        InvalidQueryError: The query does not list as many columns.
    """
    columns, query = create.this.expressions, create.expression.unnest()
    if not isinstance(query, exp.Select) or query.is_star or len(query.expressions) != len(columns):
        raise InvalidQueryError(
            "The sandbox's BigQuery takes a view's columns from a SELECT that lists as many"
        )
    for column, item in zip(columns, query.expressions, strict=True):
        item.replace(exp.alias_(item.unalias().copy(), column.name, quoted=True))
    create.set("this", create.this.this)
    return create


def _array(node: exp.Array) -> exp.Expr | None:
    """The first STRUCT of an array names the fields of what follows it, tuples too."""
    first, *others = node.expressions or [None]
    tuples = [other for other in others if isinstance(other, exp.Tuple)]
    if not isinstance(first, exp.Struct):
        return None
    for other in tuples:
        other.replace(exp.Struct(expressions=[value.copy() for value in other.expressions]))
    return node if tuples else None


def _struct(node: exp.Struct) -> exp.Expr | None:
    """A field without a name has its column's, where nothing before the struct names the fields: DuckDB would match names."""
    outer = node.find_ancestor(exp.JSONFormat, exp.ArrayAgg, exp.Dot, exp.Array, exp.Struct, exp.Query)
    place: exp.Expr = node
    while isinstance(place.parent, (exp.Alias, exp.Order, exp.Limit, exp.Distinct, exp.Paren)):
        place = place.parent
    first = not isinstance(outer, exp.Array) or outer.expressions[0] is node
    others = (exp.SetOperation, exp.Insert, exp.Merge, exp.Update, exp.Schema)
    meets = isinstance(outer, exp.Query) and node.root().find(*others)
    fields = [
        exp.PropertyEQ(this=exp.to_identifier(one.name), expression=one.copy())
        if isinstance(one, exp.Column)
        else one.copy()
        for one in node.expressions
    ]
    names = {one.name.lower() for one in fields if isinstance(one, exp.PropertyEQ)}
    if (
        place.parent is not outer
        or not first
        or meets
        or len(names) != len(fields)
        or fields == node.expressions
    ):
        return None
    return exp.Struct(expressions=fields)


def _table(node: exp.Table) -> exp.Expr | None:
    """A project's dashes need no back-quotes."""
    project = node.args.get("catalog")
    if not isinstance(project, exp.Identifier) or project.args.get("quoted") or "-" not in project.name:
        return None
    project.set("quoted", value=True)
    return node


def _literal(node: exp.Literal) -> exp.Expr | None:
    """A text has characters by number; an integer that is a value, or the first of a sum or product, has 64 bits, DuckDB's has 32."""
    if node.is_string:
        text = CHARACTER.sub(lambda match: chr(int(match[1] or match[2], 16)), node.name)
        return None if text == node.name else exp.Literal.string(text)
    if not node.is_int:
        return None
    value: exp.Expr = node
    while isinstance(value.parent, (exp.Neg, exp.Paren, exp.Alias)):
        value = value.parent
    keys = VALUES_IN.get(type(value.parent or value), ())
    return exp.cast(node.copy(), "BIGINT") if value.arg_key in keys else None


def _rows(node: exp.Delete | exp.Update) -> exp.Expr | None:
    if node.parent is None and not node.args.get("where"):
        raise InvalidQueryError(f"{node.key.upper()} must have a WHERE clause")
    if node.this or not node.args.get("tables"):
        return None
    # DELETE t, without FROM
    node.set("this", node.args["tables"][0])
    node.set("tables", None)
    return node


def _foreign(node: exp.Describe | exp.Pragma | exp.Copy | exp.Command) -> exp.Expr | None:
    """Refuse DuckDB's own statements."""
    word = node.name.upper() if isinstance(node, exp.Command) else node.key.upper()
    if word in {"COPY", "DESCRIBE", "EXPLAIN", "PRAGMA", "SHOW"}:
        raise InvalidQueryError(f'Syntax error: Unexpected identifier "{word}" at [1:1]', location="query")
    return None


def _parameter(node: exp.Parameter) -> exp.Expr | None:
    if isinstance(node.this, exp.Identifier) and node.this.args.get("quoted"):
        # As Google's DB-API writes it, and so SQLAlchemy.
        return exp.Parameter(this=exp.to_identifier(node.name))
    if isinstance(node.this, exp.Parameter):
        raise InvalidQueryError(f"The sandbox's BigQuery has no system variables: @@{node.this.name}")
    return None


CHARACTER = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))")
# Where a literal is a value: not a count, a place or a digit.
VALUES_IN: dict[type[exp.Expr], tuple[str, ...]] = {
    **dict.fromkeys((exp.Select, exp.Array, exp.Struct, exp.Coalesce), ("this", "expressions")),
    **dict.fromkeys((exp.Add, exp.Sub, exp.Mul, exp.BitwiseLeftShift), ("this",)),
    exp.PropertyEQ: ("expression",),
    exp.If: ("true", "false"),
    exp.Case: ("default",),
}
# What becomes of a node of BigQuery's statement (functions.py).
CHANGES: dict[type[exp.Expr], Callable[[Any], exp.Expr | None]] = {
    exp.Select: _select,
    exp.Literal: _literal,
    exp.Struct: _struct,
    exp.Table: _table,
    exp.Schema: _columns,
    exp.Array: _array,
    exp.Delete: _rows,
    exp.Update: _rows,
    exp.Describe: _foreign,
    exp.Pragma: _foreign,
    exp.Copy: _foreign,
    exp.Command: _foreign,
    exp.Parameter: _parameter,
}
