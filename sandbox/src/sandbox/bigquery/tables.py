"""Tables over REST: REQUIRED is held, columns are added and relaxed in storage too, and rows are counted when asked for."""

from collections.abc import Callable
from typing import Annotated, Any

from bqemulator.api.dependencies import AppContext, get_context
from bqemulator.domain.errors import ResourceRef, ValidationError, resource_not_found
from bqemulator.storage.sql_identifiers import quoted_table_ref
from fastapi import Depends, Request

from . import patches, rows, schemas

Ctx = Annotated[AppContext, Depends(get_context)]
TABLES = "/projects/{project_id}/datasets/{dataset_id}/tables"
TABLE = TABLES + "/{table_id}"
ROUTES = "api.routes.tables"
DATA = "api.routes.tabledata"
_insert_all = patches.route(DATA, "POST", TABLE + "/insertAll")
_get = patches.route(ROUTES, "GET", TABLE)
_list = patches.route(ROUTES, "GET", TABLES)
_columns = patches.get(ROUTES, "bq_schema_to_duckdb_columns")
_snapshots = patches.get("versioning.snapshots", "SnapshotManager")
_record = _snapshots.record_change


@patches.replaces(ROUTES, "bq_schema_to_duckdb_columns", why="REQUIRED columns refuse NULL from DML")
def with_constraints(fields: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return (name, DuckDB type and constraint) of each field."""
    return [
        (name, kind + (" NOT NULL" if (field.get("mode") or "").upper() == "REQUIRED" else ""))
        for (name, kind), field in zip(_columns(fields), fields, strict=True)
    ]


def _with_location(resource: dict[str, Any], ctx: AppContext) -> dict[str, Any]:
    reference = resource["tableReference"]
    meta = ctx.catalog.get_table(*(reference[key] for key in ("projectId", "datasetId", "tableId")))
    if meta is not None and meta.view_query:
        resource["view"] = {"query": meta.view_query, "useLegacySql": False}
    dataset = ctx.catalog.get_dataset(reference["projectId"], reference["datasetId"])
    return {**resource, "location": dataset.location} if dataset else resource


@patches.replaces_route(ROUTES, "GET", TABLE, why="numRows is counted, as DML changes it; location")
def get_table(project_id: str, dataset_id: str, table_id: str, ctx: Ctx) -> dict[str, Any]:
    """Return a table."""
    resource: dict[str, Any] = _get(project_id, dataset_id, table_id, ctx)
    meta = ctx.catalog.get_table(project_id, dataset_id, table_id)
    if meta is not None and meta.table_type == "TABLE":
        ref = quoted_table_ref(project_id, dataset_id, table_id)
        (count,) = ctx.engine.connection.cursor().execute(f"SELECT COUNT(*) FROM {ref}").fetchone() or (0,)  # noqa: S608
        resource["numRows"] = str(count)
    return _with_location(resource, ctx)


@patches.replaces_route(ROUTES, "GET", TABLES, why="404 for a dataset that is not there")
def list_tables(project_id: str, dataset_id: str, ctx: Ctx, maxResults: int = 1000) -> dict[str, Any]:  # noqa: N803
    """Return the tables of a dataset."""
    if ctx.catalog.get_dataset(project_id, dataset_id) is None:
        raise resource_not_found(ResourceRef("dataset", project_id, dataset_id))
    return dict(_list(project_id, dataset_id, ctx, maxResults))


@patches.get(ROUTES, "router").post(TABLE + ":testIamPermissions")  # type: ignore[untyped-decorator]
async def permissions_held(
    project_id: str, dataset_id: str, table_id: str, request: Request, ctx: Ctx
) -> dict[str, Any]:
    """Return every permission that is asked for: roles are --strict's."""
    if ctx.catalog.get_table(project_id, dataset_id, table_id) is None:
        raise resource_not_found(ResourceRef("table", project_id, dataset_id, table_id))
    return {"permissions": (await request.json()).get("permissions", [])}


async def _change_columns(
    project_id: str, dataset_id: str, table_id: str, request: Request, ctx: AppContext
) -> None:
    requested = ((await request.json()).get("schema") or {}).get("fields")
    meta = ctx.catalog.get_table(project_id, dataset_id, table_id)
    if meta is None or meta.table_type != "TABLE" or not requested:
        return
    new, old = schemas.from_rest(requested), meta.schema_.fields
    try:
        for field in old:
            if field.name.lower() not in {one.name.lower() for one in new}:
                raise schemas.Mismatch(f"Field {field.name} is missing in new schema")  # noqa: TRY301
        fields = schemas.evolved(old, new, {schemas.ADDITION, schemas.RELAXATION})
    except schemas.Mismatch as error:
        name = f"{project_id}:{dataset_id}.{table_id}"
        raise ValidationError(f"Provided Schema does not match Table {name}. {error}") from None
    async with ctx.engine.write_lock():
        for statement in schemas.alterations(quoted_table_ref(project_id, dataset_id, table_id), old, fields):
            ctx.engine.execute(statement)


def _with_columns(change: Callable[..., Any]) -> Callable[..., Any]:
    """Return the endpoint that changes a table, with its columns changed in storage first."""

    async def endpoint(
        project_id: str, dataset_id: str, table_id: str, request: Request, ctx: Ctx
    ) -> dict[str, Any]:
        body, meta = await request.json(), ctx.catalog.get_table(project_id, dataset_id, table_id)
        if meta is not None and body.get("labels"):
            labels = {**(meta.labels if request.method == "PATCH" else {}), **body["labels"]}
            # The request keeps the body that it has parsed.
            body["labels"] = {key: value for key, value in labels.items() if value is not None}
        await _change_columns(project_id, dataset_id, table_id, request, ctx)
        return _with_location(await change(project_id, dataset_id, table_id, request, ctx), ctx)

    return endpoint


for _method in ("PATCH", "PUT"):
    patches.replaces_route(ROUTES, _method, TABLE, why="columns are added and relaxed in storage too")(
        _with_columns(patches.route(ROUTES, _method, TABLE))
    )


@patches.replaces_route(
    DATA,
    "POST",
    TABLE + "/insertAll",
    why="unknown and missing fields, and values of another type, are insertErrors",
)
async def insert_all(
    project_id: str, dataset_id: str, table_id: str, request: Request, ctx: Ctx
) -> dict[str, Any]:
    """Stream rows into a table: all of them, or those that are right with skipInvalidRows."""
    body, meta = await request.json(), ctx.catalog.get_table(project_id, dataset_id, table_id)
    if meta is None:
        return dict(await _insert_all(project_id, dataset_id, table_id, request, ctx))
    ignore = bool(body.get("ignoreUnknownValues"))
    whys = [rows.refused(row["json"], meta.schema_.fields, ignore_unknown=ignore) for row in body["rows"]]
    stops = any(whys) and not body.get("skipInvalidRows")
    errors = [
        {"index": place, "errors": [{"reason": "invalid" if why else "stopped", "message": why}]}
        for place, why in enumerate(whys)
        if why or stops
    ]
    body["rows"] = [] if stops else [row for row, why in zip(body["rows"], whys, strict=True) if not why]
    answer = await _insert_all(project_id, dataset_id, table_id, request, ctx)
    return {**answer, "insertErrors": errors}


@patches.replaces_method(_snapshots, "record_change", why="lastModifiedTime follows DML")
def record_change(self: Any, project_id: str, dataset_id: str, table_id: str) -> Any:  # noqa: ANN401 (the emulator's)
    """Note that a table's rows have changed."""
    meta = self._catalog.get_table(project_id, dataset_id, table_id)
    if meta is not None and meta.table_type == "TABLE":
        self._catalog.update_table(meta.model_copy(update={"last_modified_time": self._clock.now()}))
    return _record(self, project_id, dataset_id, table_id)
