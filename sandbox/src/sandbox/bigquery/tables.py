"""Tables: all options kept, numbers that follow every change, expiry, added columns, REQUIRED held for DML too."""

import re
from datetime import datetime, timezone
from typing import Annotated

import sqlglot
from bqemulator.api.dependencies import AppContext, get_context
from bqemulator.api.routes import tables as rest
from bqemulator.catalog.etag import generate_etag
from bqemulator.catalog.models import Clustering, TableSchema
from bqemulator.domain.errors import ResourceRef, ValidationError, resource_not_found
from bqemulator.storage.sql_identifiers import quoted_table_ref
from bqemulator.versioning.snapshots import SnapshotManager
from fastapi import Depends, Request
from sqlglot import exp

from . import patching, rows

Ctx = Annotated[AppContext, Depends(get_context)]
# TableFieldSchema in REST <-> in the emulator's catalog
EXTRAS = {
    "maxLength": "max_length",
    "precision": "precision",
    "scale": "scale",
    "defaultValueExpression": "default_value_expression",
    "collation": "collation",
    "roundingMode": "rounding_mode",
}
NUMBERS = ("max_length", "precision", "scale")
MEASURED = set()  # etags of tables whose numbers a job has just written itself
PATH = "/projects/{project_id}/datasets/{dataset_id}/tables"


def purge(ctx):
    """Drop the tables whose time is over, as BigQuery does."""
    now = ctx.clock.now()
    for d in ctx.catalog.list_all_datasets():
        for t in ctx.catalog.list_tables(d.project_id, d.dataset_id):
            if t.expiration_time and t.expiration_time <= now:
                ctx.engine.execute(
                    f"DROP TABLE IF EXISTS {quoted_table_ref(t.project_id, t.dataset_id, t.table_id)}"
                )
                ctx.catalog.delete_table(t.project_id, t.dataset_id, t.table_id, not_found_ok=True)


def measure(engine, meta):
    """numRows and numBytes of a table as they are now."""
    sizes = rows.total([rows.size(f, rows.quoted(f.name)) for f in meta.schema_.fields])
    ref = quoted_table_ref(meta.project_id, meta.dataset_id, meta.table_id)
    return (
        engine.connection.cursor()
        .execute(f"SELECT count(*), coalesce(sum({sizes}), 0) FROM {ref}")
        .fetchone()
    )


def rows_now(ctx, meta):
    ref = quoted_table_ref(meta.project_id, meta.dataset_id, meta.table_id)
    return ctx.engine.connection.cursor().execute(f"SELECT count(*) FROM {ref}").fetchone()[0]


def measured(engine, meta, now):
    count, size = measure(engine, meta)
    return meta.model_copy(
        update={
            "num_rows": count,
            "num_bytes": int(size),
            "last_modified_time": now,
            "etag": generate_etag(meta.project_id, meta.dataset_id, meta.table_id, str(now), str(count)),
        }
    )


def option(tree, name):
    properties = tree.args.get("properties")
    for p in properties.expressions if properties else ():
        if type(p) is exp.Property and p.name.lower() == name:
            return p.args["value"]
    return None


WIDENED = re.compile(r"(SET\s+DATA\s+TYPE)\s+(NUMERIC|BIGNUMERIC)\b(?!\s*\()", re.IGNORECASE)
PRECISE = {"NUMERIC": "NUMERIC(38, 9)", "BIGNUMERIC": "BIGNUMERIC(38, 18)"}


def take_names_of_every_script():
    """Table names: letters, marks and digits of every script, and what the emulator takes
    (https://cloud.google.com/bigquery/docs/tables#table_naming)."""
    for name, attr, was, now in (
        (
            "storage.sql_identifiers",
            "_SQL_SAFE_ID_RE",
            r"^[A-Za-z0-9_][A-Za-z0-9_\-]{0,254}$",
            r"^\w[\w\-]{0,254}$",
        ),
        ("domain.ids", "_TABLE_RE", r"^[A-Za-z0-9_\-]{1,1024}$", r"^[\w\-]{1,1024}$"),
    ):
        module = patching.module(name)
        if getattr(module, attr).pattern != was:
            raise patching.Moved(f"launcher: {name}.{attr} is another pattern now")
        setattr(module, attr, re.compile(now))
        patching.REASONS.append((f"{name}.{attr}", "table names in every script"))


def apply():
    take_names_of_every_script()
    types = patching.module("storage.type_map")
    if types._BQ_TO_DUCKDB.get("BIGNUMERIC") != "DECIMAL(76, 38)":
        raise patching.Moved("launcher: BIGNUMERIC has another DuckDB type now")
    types._BQ_TO_DUCKDB["BIGNUMERIC"] = "DECIMAL(38, 18)"  # DuckDB has 38 digits at most
    patching.REASONS.append(
        ("storage.type_map BIGNUMERIC", "DECIMAL(76, 38) is no DuckDB type: 20 + 18 digits instead")
    )

    parse, render = rest._parse_schema_fields, rest._field_to_rest

    def parse_fields(raw):
        return tuple(
            f.model_copy(
                update={
                    to: int(r[k]) if to in NUMBERS else r[k]
                    for k, to in EXTRAS.items()
                    if r.get(k) is not None
                }
                | ({"fields": parse_fields(r["fields"])} if r.get("fields") else {})
                | {"mode": (r.get("mode") or "NULLABLE").upper(), "type": f.type.upper()}
            )
            for f, r in zip(parse(raw), raw)
        )

    def render_field(field):
        out = render(field) | {
            k: str(v) if a in NUMBERS else v
            for k, a in EXTRAS.items()
            if (v := getattr(field, a)) is not None
        }
        return out | ({"fields": [render_field(f) for f in field.fields]} if field.fields else {})

    patching.replace(
        "api.routes.tables",
        "_parse_schema_fields",
        parse_fields,
        "maxLength, precision, scale, default value, collation kept",
    )
    patching.replace("api.routes.tables", "_field_to_rest", render_field, "the same, given back")

    meta_of, body_of = rest._rest_to_table_meta, rest._table_to_rest

    def table_meta(project_id, dataset_id, body, clock, existing=None):
        meta = meta_of(project_id, dataset_id, body, clock, existing)
        until = existing.expiration_time if existing else None
        if "expirationTime" in body:
            until = (
                datetime.fromtimestamp(int(body["expirationTime"]) / 1000, timezone.utc)
                if body["expirationTime"]
                else None
            )
        kept = (
            {
                "base_table": existing.base_table,
                "snapshot_time": existing.snapshot_time,
                "range_partitioning": existing.range_partitioning,
            }
            if existing
            else {}
        )
        return meta.model_copy(update={"expiration_time": until, **kept})

    def table_body(t):
        until = (
            {"expirationTime": str(int(t.expiration_time.timestamp() * 1000))} if t.expiration_time else {}
        )
        location = {"location": t_location(t)} if t_location(t) else {}
        return body_of(t) | until | location

    homes = {}

    def t_location(t):
        return homes.get((t.project_id, t.dataset_id))

    patching.replace("api.routes.tables", "_rest_to_table_meta", table_meta, "expirationTime kept")
    patching.replace(
        "api.routes.tables", "_table_to_rest", table_body, "expirationTime and location given back"
    )

    columns = rest.bq_schema_to_duckdb_columns

    def with_constraints(fields):
        return [
            (n, t + (" NOT NULL" if (f.get("mode") or "").upper() == "REQUIRED" else ""))
            for (n, t), f in zip(columns(fields), fields)
        ]

    patching.replace(
        "api.routes.tables",
        "bq_schema_to_duckdb_columns",
        with_constraints,
        "REQUIRED columns refuse NULL from DML",
    )

    def home(ctx, project_id, dataset_id):
        if d := ctx.catalog.get_dataset(project_id, dataset_id):
            homes[project_id, dataset_id] = d.location

    async def get_table(project_id: str, dataset_id: str, table_id: str, ctx: Ctx):
        purge(ctx)
        home(ctx, project_id, dataset_id)
        table_id = table_id.partition("$")[0]
        meta = ctx.catalog.get_table(project_id, dataset_id, table_id)
        if (
            meta is not None
            and meta.table_type in ("TABLE", "CLONE")
            and rows_now(ctx, meta) != meta.num_rows
        ):
            ctx.catalog.update_table(measured(ctx.engine, meta, ctx.clock.now()))  # changed by a script
        return old_get(project_id, dataset_id, table_id, ctx)

    async def list_tables(project_id: str, dataset_id: str, ctx: Ctx, maxResults: int = 1000):
        purge(ctx)
        if ctx.catalog.get_dataset(project_id, dataset_id) is None:
            raise resource_not_found(ResourceRef("dataset", project_id, dataset_id))
        return old_list(project_id, dataset_id, ctx, maxResults)

    old_get = patching.replace_route(
        "api.routes.tables",
        "GET",
        PATH + "/{table_id}",
        get_table,
        "expired tables are gone; table$partition is the table",
    )
    old_list = patching.replace_route(
        "api.routes.tables", "GET", PATH, list_tables, "expired tables are gone"
    )

    async def change_schema(project_id, dataset_id, table_id, request, ctx):
        """The columns a tables.patch or tables.update adds or relaxes, made in DuckDB too."""
        from . import load

        body = await request.json()
        meta = ctx.catalog.get_table(project_id, dataset_id, table_id)
        given = (body.get("schema") or {}).get("fields")
        if meta is None or not given or meta.table_type not in ("TABLE", "CLONE"):
            return
        new = rest._parse_schema_fields(given)
        try:
            for f in meta.schema_.fields:
                if f.name.lower() not in {g.name.lower() for g in new}:
                    raise load.Mismatch(f"Field {f.name} is missing in new schema")
            merged = load.merge(meta.schema_.fields, new, {"ALLOW_FIELD_ADDITION", "ALLOW_FIELD_RELAXATION"})
        except load.Mismatch as e:
            raise ValidationError(
                f"Provided Schema does not match Table {project_id}:{dataset_id}.{table_id}. {e}"
            ) from None
        async with ctx.engine.write_lock():
            for statement in load.alterations(
                quoted_table_ref(project_id, dataset_id, table_id), meta.schema_.fields, merged
            ):
                ctx.engine.execute(statement)

    olds = {}

    async def changed(project_id: str, dataset_id: str, table_id: str, request: Request, ctx: Ctx):
        await change_schema(project_id, dataset_id, table_id, request, ctx)
        home(ctx, project_id, dataset_id)
        return await olds[request.method](project_id, dataset_id, table_id, request, ctx)

    for method in ("PATCH", "PUT"):
        olds[method] = patching.replace_route(
            "api.routes.tables",
            method,
            PATH + "/{table_id}",
            changed,
            "columns added or relaxed in storage too",
        )

    record = SnapshotManager.record_change

    def record_change(self, project_id, dataset_id, table_id):
        meta = self._catalog.get_table(project_id, dataset_id, table_id)
        if meta is not None and meta.etag in MEASURED:
            MEASURED.discard(meta.etag)
        elif meta is not None and meta.table_type in ("TABLE", "CLONE"):
            self._catalog.update_table(measured(self._engine, meta, self._clock.now()))
        return record(self, project_id, dataset_id, table_id)

    patching.replace_method(
        SnapshotManager,
        "record_change",
        record_change,
        "numRows, numBytes, lastModifiedTime, etag follow every change",
    )

    sync = patching.get("catalog.ddl_sync", "sync_created_table")
    detect, split = (
        patching.get("catalog.ddl_sync", "_detect_plain_create_table"),
        patching.get("catalog.ddl_sync", "_split_target"),
    )

    def sync_created(bq_sql, project_id, ctx):
        sync(bq_sql, project_id, ctx)
        sync_altered(bq_sql, project_id, ctx)
        target = detect(bq_sql)
        meta = ctx.catalog.get_table(*split(target, project_id)) if target is not None else None
        if meta is None:
            return
        tree = sqlglot.parse_one(bq_sql, read="bigquery")
        until = option(tree, "expiration_timestamp")
        new = {"expiration_time": moment(until, ctx)} if until is not None else {}
        if (cluster := tree.find(exp.ClusterProperty)) is not None:
            new["clustering"] = Clustering(fields=tuple(c.name for c in cluster.expressions))
        labels = option(tree, "labels")
        if isinstance(labels, exp.Array):
            new["labels"] = {
                pair.expressions[0].name: pair.expressions[1].name for pair in labels.expressions
            }
        ctx.catalog.update_table(measured(ctx.engine, meta, ctx.clock.now()).model_copy(update=new))

    introspect = patching.get("catalog.ddl_sync", "_introspect_schema")

    def sync_altered(bq_sql, project_id, ctx):
        if not bq_sql.lstrip().upper().startswith("ALTER"):
            return
        tree = sqlglot.parse_one(bq_sql, read="bigquery")
        if not isinstance(tree, exp.Alter):
            return
        retyped = {c.name.lower() for c in tree.find_all(exp.AlterColumn) if c.args.get("dtype") is not None}
        names = split(tree.this, project_id)
        meta = ctx.catalog.get_table(*names)
        if meta is None or meta.table_type not in ("TABLE", "CLONE"):
            return
        was = {f.name: f for f in meta.schema_.fields}
        fields = tuple(
            made
            if (known := was.get(made.name)) is None
            else known.model_copy(
                update=({"type": made.type} if made.name.lower() in retyped else {})
                | ({"mode": made.mode} if known.mode != "REPEATED" else {})
            )
            for made in introspect(*names, ctx).fields
        )
        changed = meta.model_copy(update={"schema_": TableSchema(fields=fields)})
        ctx.catalog.update_table(measured(ctx.engine, changed, ctx.clock.now()))

    patching.replace(
        "catalog.ddl_sync",
        "sync_created_table",
        sync_created,
        "expiration_timestamp, CLUSTER BY, labels and sizes of CREATE TABLE; the columns of ALTER TABLE",
        also=["jobs.executor", "scripting.interpreter"],
    )

    run_query = patching.get("jobs.executor", "execute_query_job")

    async def execute_query_job(project_id, job_id, bq_sql, query_params, ctx, **k):
        purge(ctx)
        if bq_sql.lstrip().upper().startswith("ALTER"):
            bq_sql = WIDENED.sub(lambda m: f"{m[1]} {PRECISE[m[2].upper()]}", bq_sql)
        return await run_query(project_id, job_id, bq_sql, query_params, ctx, **k)

    patching.replace(
        "jobs.executor",
        "execute_query_job",
        execute_query_job,
        "expired tables are gone; a column widened to NUMERIC has BigQuery's digits, not DuckDB's 18 with 3",
        also=["api.routes.jobs"],
    )


def moment(expression, ctx):
    """A TIMESTAMP expression's value."""
    value = (
        ctx.engine.connection.cursor()
        .execute("SELECT CAST(" + expression.sql("duckdb") + " AS TIMESTAMPTZ)")
        .fetchone()[0]
    )
    return value.astimezone(timezone.utc)
