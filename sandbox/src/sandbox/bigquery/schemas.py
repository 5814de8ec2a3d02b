"""What an append or a patch may change in a table's schema, and the statements that change the table in DuckDB."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from bqemulator.api.dependencies import AppContext
from bqemulator.catalog.models import TableFieldSchema as Field
from bqemulator.catalog.models import TableSchema
from bqemulator.domain.errors import ValidationError
from bqemulator.storage.sql_identifiers import quoted_table_ref
from sqlglot import exp

from . import patches
from .columns import columns, quoted

# https://cloud.google.com/bigquery/quotas#all_tables
MOST_COLUMNS = 10_000
ADDITION, RELAXATION = "ALLOW_FIELD_ADDITION", "ALLOW_FIELD_RELAXATION"
STANDARD = {
    "INTEGER": "INT64",
    "FLOAT": "FLOAT64",
    "BOOLEAN": "BOOL",
    "RECORD": "STRUCT",
    "DECIMAL": "NUMERIC",
    "BIGDECIMAL": "BIGNUMERIC",
}
# TableFieldSchema in REST, and in the emulator's catalog.
NUMBERS = {"maxLength": "max_length", "precision": "precision", "scale": "scale"}
TEXTS = {
    "defaultValueExpression": "default_value_expression",
    "collation": "collation",
    "roundingMode": "rounding_mode",
}
_parse = patches.get("api.routes.tables", "_parse_schema_fields")
_render = patches.get("api.routes.tables", "_field_to_rest")


# What DuckDB has of these is a text in Arrow, and a decimal.
NUMERIC_SCALE = 9
LOST_IN_ARROW = {exp.DataType.Type.JSON: "JSON", exp.DataType.Type.INT128: "INTEGER"}
_response = patches.get("jobs.executor", "build_response_schema")
_introspect = patches.get("catalog.ddl_sync", "_introspect_schema")


class Mismatch(Exception):  # noqa: N818 (a schema, not an error of the program)
    """A schema that the table cannot take."""


@patches.replaces("api.routes.tables", "_parse_schema_fields", why="keeps lengths, precision, scale, default")
def from_rest(raw: list[dict[str, Any]]) -> tuple[Field, ...]:
    """Return the fields of a TableSchema as REST has it.

    Raises:
        ValidationError: There are more than a table may have.
    """
    return _checked(tuple(_field(field, one) for field, one in zip(_parse(raw), raw, strict=True)))


def _checked(fields: tuple[Field, ...]) -> tuple[Field, ...]:
    count = sum(map(_leaves, fields))
    if count > MOST_COLUMNS:
        raise ValidationError(f"Too many total leaf fields: {count}, max allowed field count: {MOST_COLUMNS}")
    return fields


def _leaves(field: Field) -> int:
    return sum(map(_leaves, field.fields)) or 1


def _field(field: Field, raw: dict[str, Any]) -> Field:
    changes: dict[str, Any] = {
        **{name: int(raw[key]) for key, name in NUMBERS.items() if raw.get(key) is not None},
        **{name: raw[key] for key, name in TEXTS.items() if raw.get(key) is not None},
        "mode": (raw.get("mode") or "NULLABLE").upper(),
        "type": field.type.upper(),
        "fields": from_rest(raw.get("fields") or []),
    }
    return field.model_copy(update=changes)


@patches.replaces("api.routes.tables", "_field_to_rest", why="the same, given back")
def to_rest(field: Field) -> dict[str, Any]:
    """Return a field as REST has it."""
    rest: dict[str, Any] = _render(field)
    for key, name in {**NUMBERS, **TEXTS}.items():
        if (value := getattr(field, name)) is not None:
            rest[key] = str(value) if key in NUMBERS else value
    if field.fields:
        rest["fields"] = [to_rest(inner) for inner in field.fields]
    return rest


def kind(field: Field) -> str:
    """Return the field's type by its name in GoogleSQL."""
    return STANDARD.get(field.type.upper(), field.type.upper())


def duckdb_type(field: Field) -> str:
    """Return the field's type in DuckDB."""
    return columns([to_rest(field)])[0][1]


def definition(field: Field) -> str:
    """Return the column as CREATE TABLE has it.

    An array has no DEFAULT []: after a crash DuckDB 1.5.5 cannot replay an ALTER of a table that has one.
    """
    return f"{quoted(field.name)} {duckdb_type(field)}" + (" NOT NULL" if field.mode == "REQUIRED" else "")


def evolved(
    old: Iterable[Field], new: Iterable[Field], allowed: Iterable[str] = (), path: str = ""
) -> tuple[Field, ...]:
    """Return a table's fields after `new` has been appended or patched in.

    Args:
        old: The table's.
        new: Those given.
        allowed: `schemaUpdateOptions`.
        path: Where these fields are, ending in a dot.

    Raises:
        Mismatch: A field is missing, has another type, or a change is not allowed.
        ValidationError: There would be more fields than a table may have.
    """
    added = {field.name.lower(): field for field in new}
    kept = tuple(_evolved_field(field, added.pop(field.name.lower(), None), allowed, path) for field in old)
    for field in added.values():
        if ADDITION not in allowed:
            raise Mismatch(f"Cannot add fields (field: {path}{field.name})")
        if field.mode == "REQUIRED":
            raise Mismatch(f"Cannot add required fields to an existing schema. (field: {path}{field.name})")
    return _checked((*kept, *added.values()))


def _evolved_field(field: Field, new: Field | None, allowed: Iterable[str], path: str) -> Field:
    name = path + field.name
    if new is None:
        if field.mode == "REQUIRED":
            raise Mismatch(f"Field {name} is missing in new schema")
        return field
    if kind(field) != kind(new):
        raise Mismatch(f"Field {name} has changed type from {field.type} to {new.type}")
    change: dict[str, Any] = {}
    if field.mode != new.mode:
        if (field.mode, new.mode) != ("REQUIRED", "NULLABLE") or RELAXATION not in allowed:
            raise Mismatch(f"Field {name} has changed mode from {field.mode} to {new.mode}")
        change["mode"] = new.mode
    if field.fields:
        change["fields"] = evolved(field.fields, new.fields, allowed, name + ".")
    return field.model_copy(update=change)


def alterations(table: str, old: Iterable[Field], new: Iterable[Field]) -> Iterator[str]:
    """Yield DuckDB's statements that turn a table with the fields `old` into one with the fields `new`."""
    before = {field.name: field for field in old}
    for field in new:
        column, was = quoted(field.name), before.get(field.name)
        if was is None:
            yield f"ALTER TABLE {table} ADD COLUMN {column} {duckdb_type(field)}"
            if field.mode == "REPEATED":
                yield f"UPDATE {table} SET {column} = []"  # noqa: S608 (quoted)
            continue
        if duckdb_type(was) != duckdb_type(field):
            yield f"ALTER TABLE {table} ALTER COLUMN {column} TYPE {duckdb_type(field)}"
        if (was.mode, field.mode) == ("REQUIRED", "NULLABLE"):
            yield f"ALTER TABLE {table} ALTER COLUMN {column} DROP NOT NULL"


def _exact(field: dict[str, Any], kind: exp.DataType) -> dict[str, Any]:
    """Return a field as REST has it, with the types that Arrow has lost; `kind` is DuckDB's."""
    if kind.this in (exp.DataType.Type.ARRAY, exp.DataType.Type.LIST):
        return _exact(field, kind.expressions[0])
    if field.get("fields"):
        inner = zip(field["fields"], kind.expressions, strict=True)
        return field | {"fields": [_exact(one, column.args["kind"]) for one, column in inner]}
    if kind.this == exp.DataType.Type.DECIMAL and int(kind.expressions[1].name) > NUMERIC_SCALE:
        return field | {"type": "BIGNUMERIC"}
    return field | {"type": LOST_IN_ARROW.get(kind.this, field["type"])}


def _parsed(kind: str) -> exp.DataType | None:
    return exp.DataType.build(kind, dialect="duckdb") if re.search("JSON|HUGEINT|DECIMAL", kind) else None


@patches.replaces(
    "jobs.executor",
    "build_response_schema",
    why="JSON and sums within structs and arrays",
    also=("api.routes.jobs",),
)
def response(schema: Any) -> list[dict[str, Any]]:  # noqa: ANN401 (Arrow's)
    """Return the columns of a query's rows."""
    texts = ((field.metadata or {}).get(b"bqemu.duckdb_type", b"").decode() for field in schema)
    # JSON_QUERY_ARRAY of a text has texts, and is JSON[] in DuckDB.
    kinds = [_parsed(text.replace("JSON[]", "VARCHAR[]")) for text in texts]
    return [_exact(one, known) if known else one for one, known in zip(_response(schema), kinds, strict=True)]


@patches.replaces("catalog.ddl_sync", "_introspect_schema", why="JSON, and sums, of CREATE TABLE")
def introspect(project_id: str, dataset_id: str, table_id: str, ctx: AppContext) -> TableSchema:
    """Return the columns of a table that a statement has made or altered."""
    rows = ctx.engine.execute(f"DESCRIBE {quoted_table_ref(project_id, dataset_id, table_id)}").fetchall()
    kinds = [_parsed(row[1]) for row in rows]
    fields = map(to_rest, _introspect(project_id, dataset_id, table_id, ctx).fields)
    exact = [_exact(field, known) if known else field for field, known in zip(fields, kinds, strict=True)]
    return TableSchema(fields=from_rest(exact))
