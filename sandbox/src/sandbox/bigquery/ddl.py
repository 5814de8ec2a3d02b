"""Writes what DDL declares of tables and views into the catalog: labels, descriptions, clustering, NOT NULL, changed columns."""

import re
from collections.abc import Iterable
from typing import Any

import sqlglot
from bqemulator.api.dependencies import AppContext
from bqemulator.catalog.models import Clustering, TableFieldSchema, TableMeta, TableSchema
from bqemulator.domain.errors import InvalidQueryError
from bqemulator.storage.sql_identifiers import quoted_table_ref
from sqlglot import exp

from . import patches
from .columns import quoted
from .schemas import introspect
from .statements import named_view

SYNC = "catalog.ddl_sync"
# dbt writes a comment before its statements.
ALTER = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*ALTER\b", re.IGNORECASE | re.DOTALL)
USERS = ("jobs.executor", "scripting.interpreter")
_table = patches.get(SYNC, "sync_created_table")
_view = patches.get(SYNC, "sync_created_view")
_detect_table = patches.get(SYNC, "_detect_plain_create_table")
_detect_view = patches.get(SYNC, "_detect_plain_create_view")
_split = patches.get(SYNC, "_split_target")


def _parse_as(sql: str, kind: type[exp.Expr]) -> Any:  # noqa: ANN401 (a statement of that kind)
    tree = sqlglot.parse_one(sql, read="bigquery")
    return tree if isinstance(tree, kind) else None


def _options(properties: exp.Expr | None) -> dict[str, Any]:
    """Return description, labels and clustering of properties, among them OPTIONS(…), as the catalog has them."""
    if not isinstance(properties, exp.Properties):
        return {}
    options = {
        item.name.lower(): item.args["value"] for item in properties.expressions if type(item) is exp.Property
    }
    changes: dict[str, Any] = {}
    if "description" in options:
        changes["description"] = options["description"].name
    if isinstance(options.get("labels"), exp.Array):
        pairs = (pair.expressions for pair in options["labels"].expressions)
        changes["labels"] = {key.name: value.name for key, value in pairs}
    if (cluster := properties.find(exp.ClusterProperty)) is not None:
        changes["clustering"] = Clustering(fields=tuple(item.name for item in cluster.expressions))
    return changes


@patches.replaces(
    "sql.translator",
    "rewrite_alter_table_set_options",
    why="ALTER TABLE SET OPTIONS changes the catalog, DuckDB has no options; those of a column are refused",
)
def without_options(sql: str) -> str:
    """Return what DuckDB is to do.

    Raises:
        InvalidQueryError: The options are a column's.
    """
    words = re.search(r"\b(ALTER\s+COLUMN\s.*)?SET\s+OPTIONS\s*\(", sql, re.IGNORECASE | re.DOTALL)
    if not words or not ALTER.match(sql):
        return sql
    if words[1]:
        raise InvalidQueryError("The sandbox's BigQuery sets the options of a column by tables.patch only")
    return "SELECT 1"


@patches.replaces("jobs.ddl_result", "_has_not_null_constraint", why="a column may have OPTIONS")
def is_required(column: exp.Expr) -> bool:
    """Whether a statement's column is NOT NULL."""
    constraints = column.args.get("constraints") or ()
    return any(isinstance(one.args["kind"], exp.NotNullColumnConstraint) for one in constraints)


def _declared(fields: tuple[TableFieldSchema, ...], columns: Iterable[exp.Expr]) -> TableSchema:
    """Return the fields with the NOT NULL and the descriptions of a statement's columns."""
    changes: dict[str, dict[str, Any]] = {}
    for column in columns:
        change: dict[str, Any] = {"mode": "REQUIRED"} if is_required(column) else {}
        for constraint in column.args.get("constraints") or ():
            change |= _options(constraint.args["kind"])
        changes[column.name.lower()] = change
    return TableSchema(
        fields=tuple(field.model_copy(update=changes.get(field.name.lower(), {})) for field in fields)
    )


@patches.replaces(
    SYNC, "sync_created_table", why="labels, clustering, NOT NULL; the columns of ALTER TABLE", also=USERS
)
def sync_table(sql: str, project_id: str, ctx: AppContext) -> None:
    """Write a table that was created or altered into the catalog."""
    if ALTER.match(sql):
        _sync_altered(sql, project_id, ctx)
    if (target := _detect_table(sql)) is None:
        return
    create, table = _parse_as(sql, exp.Create), _split(target, project_id)
    if create.args.get("exists") and ctx.catalog.get_table(*table):
        return
    _table(sql, project_id, ctx)
    meta = ctx.catalog.get_table(*table)
    if meta is None:
        return
    columns = [one for one in create.this.expressions if isinstance(one, exp.ColumnDef)]
    schema = _declared(meta.schema_.fields, columns)
    if create.expression is not None and (
        required := [f.name for f in schema.fields if f.mode == "REQUIRED"]
    ):
        # In DuckDB a query's columns come without constraints; statements.py refuses NULL.
        alter = f"ALTER TABLE {quoted_table_ref(*table)} ALTER COLUMN"
        ctx.engine.execute("; ".join(f"{alter} {quoted(name)} SET NOT NULL" for name in sorted(required)))
    ctx.catalog.update_table(
        meta.model_copy(update={**_options(create.args.get("properties")), "schema_": schema})
    )


@patches.replaces(SYNC, "sync_created_view", why="labels and description of a view", also=USERS)
def sync_view(sql: str, project_id: str, ctx: AppContext) -> None:
    """Write a view that was created into the catalog."""
    target, _ = _detect_view(sql)
    if target is None:
        return
    create = _parse_as(sql, exp.Create)
    columns = create.this.expressions
    _view(named_view(create.copy()).sql("bigquery") if columns else sql, project_id, ctx)
    if (meta := ctx.catalog.get_table(*_split(target, project_id))) is not None:
        change = {
            **_options(create.args.get("properties")),
            "schema_": _declared(meta.schema_.fields, columns),
        }
        ctx.catalog.update_table(meta.model_copy(update=change))


def _sync_altered(sql: str, project_id: str, ctx: AppContext) -> None:
    """Keep what the catalog knows of the columns, and take types and modes from DuckDB where they changed."""
    alter = _parse_as(sql, exp.Alter)
    meta: TableMeta | None = ctx.catalog.get_table(*_split(alter.this, project_id)) if alter else None
    if meta is None or meta.table_type != "TABLE":
        return
    if options := alter.find(exp.AlterSet):
        ctx.catalog.update_table(meta.model_copy(update=_options(options.expressions[0])))
        return
    if renamed := alter.find(exp.AlterRename):
        ctx.catalog.delete_table(meta.project_id, meta.dataset_id, meta.table_id)
        ctx.catalog.create_table(meta.model_copy(update={"table_id": renamed.this.name}))
        return
    retyped = {i.name.lower() for i in alter.find_all(exp.AlterColumn) if i.args.get("dtype") is not None}
    known = {field.name: field for field in meta.schema_.fields}
    fields = []
    for stored in introspect(meta.project_id, meta.dataset_id, meta.table_id, ctx).fields:
        field = known.get(stored.name, stored)
        change: dict[str, Any] = {"type": stored.type} if stored.name.lower() in retyped else {}
        if field.mode != "REPEATED":
            change["mode"] = stored.mode
        fields.append(field.model_copy(update=change))
    schema = _declared(tuple(fields), alter.find_all(exp.ColumnDef))
    change = {"schema_": schema, "last_modified_time": ctx.clock.now()}
    ctx.catalog.update_table(meta.model_copy(update=change))
