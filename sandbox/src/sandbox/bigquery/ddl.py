"""Writes what DDL declares of tables and views into the catalog: labels, descriptions, clustering, NOT NULL, changed columns."""

from typing import Any

import sqlglot
from bqemulator.api.dependencies import AppContext
from bqemulator.catalog.models import Clustering, TableFieldSchema, TableMeta, TableSchema
from bqemulator.storage.sql_identifiers import quoted_table_ref
from sqlglot import exp

from . import patches
from .columns import quoted
from .schemas import introspect

SYNC = "catalog.ddl_sync"
USERS = ("jobs.executor", "scripting.interpreter")
_table = patches.get(SYNC, "sync_created_table")
_view = patches.get(SYNC, "sync_created_view")
_detect_table = patches.get(SYNC, "_detect_plain_create_table")
_detect_view = patches.get(SYNC, "_detect_plain_create_view")
_split = patches.get(SYNC, "_split_target")


def _parse_as(sql: str, kind: type[exp.Expr]) -> Any:  # noqa: ANN401 (a statement of that kind)
    tree = sqlglot.parse_one(sql, read="bigquery")
    return tree if isinstance(tree, kind) else None


def _options(create: exp.Create) -> dict[str, Any]:
    """Return description and labels of CREATE … OPTIONS(…), as the catalog has them."""
    properties = create.args.get("properties")
    options = {
        item.name.lower(): item.args["value"]
        for item in (properties.expressions if properties else ())
        if type(item) is exp.Property
    }
    changes: dict[str, Any] = {}
    if "description" in options:
        changes["description"] = options["description"].name
    if isinstance(options.get("labels"), exp.Array):
        pairs = (pair.expressions for pair in options["labels"].expressions)
        changes["labels"] = {key.name: value.name for key, value in pairs}
    if (cluster := create.find(exp.ClusterProperty)) is not None:
        changes["clustering"] = Clustering(fields=tuple(item.name for item in cluster.expressions))
    return changes


def _required(field: TableFieldSchema, names: set[str]) -> TableFieldSchema:
    return field.model_copy(update={"mode": "REQUIRED"}) if field.name in names else field


@patches.replaces(
    SYNC, "sync_created_table", why="labels, clustering, NOT NULL; the columns of ALTER TABLE", also=USERS
)
def sync_table(sql: str, project_id: str, ctx: AppContext) -> None:
    """Write a table that was created or altered into the catalog."""
    _table(sql, project_id, ctx)
    if sql.lstrip()[:5].upper() == "ALTER":
        _sync_altered(sql, project_id, ctx)
    if (target := _detect_table(sql)) is None:
        return
    create, table = _parse_as(sql, exp.Create), _split(target, project_id)
    meta = ctx.catalog.get_table(*table)
    if meta is None or create is None:
        return
    change = _options(create)
    names = {c.name for c in create.find_all(exp.ColumnDef) if c.find(exp.NotNullColumnConstraint)}
    if names and create.expression is not None:
        # In DuckDB a query's columns come without constraints; statements.py has checked the values.
        alter = f"ALTER TABLE {quoted_table_ref(*table)} ALTER COLUMN"
        ctx.engine.execute("; ".join(f"{alter} {quoted(name)} SET NOT NULL" for name in sorted(names)))
        change["schema_"] = TableSchema(fields=tuple(_required(f, names) for f in meta.schema_.fields))
    if change:
        ctx.catalog.update_table(meta.model_copy(update=change))


@patches.replaces(SYNC, "sync_created_view", why="labels and description of a view", also=USERS)
def sync_view(sql: str, project_id: str, ctx: AppContext) -> None:
    """Write a view that was created into the catalog."""
    _view(sql, project_id, ctx)
    target, _ = _detect_view(sql)
    meta = ctx.catalog.get_table(*_split(target, project_id)) if target is not None else None
    if meta is not None and (change := _options(_parse_as(sql, exp.Create))):
        ctx.catalog.update_table(meta.model_copy(update=change))


def _sync_altered(sql: str, project_id: str, ctx: AppContext) -> None:
    """Keep what the catalog knows of the columns, and take types and modes from DuckDB where they changed."""
    alter = _parse_as(sql, exp.Alter)
    meta: TableMeta | None = ctx.catalog.get_table(*_split(alter.this, project_id)) if alter else None
    if meta is None or meta.table_type != "TABLE":
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
    change = {"schema_": TableSchema(fields=tuple(fields)), "last_modified_time": ctx.clock.now()}
    ctx.catalog.update_table(meta.model_copy(update=change))
