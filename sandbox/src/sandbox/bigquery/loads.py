"""Load jobs of newline-delimited JSON as BigQuery runs them: each row checked, all or nothing.

Files are staged in a table of the job's own connection. Then the table is changed in one DuckDB transaction, together with the
catalog's rows of table and job: after a crash either both exist, the job and its rows, or neither does.
"""

import asyncio
import gzip
import uuid
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pyarrow as pa
from bqemulator.api.dependencies import AppContext
from bqemulator.catalog.etag import generate_etag
from bqemulator.catalog.models import Clustering, JobMeta, TableMeta, TableSchema
from bqemulator.catalog.models import TableFieldSchema as Field
from bqemulator.domain.errors import DomainError

from . import patches, rows, schemas
from .columns import quoted
from .errors import refusal
from .load_request import JobFailedError, Load, count_rows, parse, resolve_sources, resolve_target

FORMATS = ("NEWLINE_DELIMITED_JSON", "JSON", "CSV")
GZIP = b"\x1f\x8b"
READING = "Error while reading data, error message: "
_partitioning = patches.get("api.routes.tables", "_rest_to_time_partitioning")
_repository = patches.get("catalog.duckdb_repository", "DuckDBCatalogRepository")


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(GZIP)) == GZIP


class _Stage:
    """A job's rows, in a temporary table of a connection of its own."""

    def __init__(self, load: Load, fields: tuple[Field, ...], ctx: AppContext) -> None:
        self.load, self.fields = load, fields
        self.cursor = ctx.engine.connection.cursor()
        self.cursor.execute("SET TimeZone = 'UTC'")
        self.table = f"temp.main.stage_{uuid.uuid4().hex}"
        columns = ", ".join(f"{quoted(field.name)} {schemas.duckdb_type(field)}" for field in fields)
        self.cursor.execute(f"CREATE TEMP TABLE {self.table} ({columns})")
        self.files = self.bytes = 0

    def read(self, uri: str, path: Path) -> None:
        self.files += 1
        self.bytes += path.stat().st_size
        where = f" File: {uri}" if uri else ""
        try:
            with gzip.open(path) if _is_gzip(path) else path.open("rb") as file:
                if self.load.format == "CSV":
                    for table in rows.read_csv(file, self.fields, self.load.config):
                        self._insert(table)
                    return
                for position, block in rows.blocks(file):
                    self._block(position, block)
        except rows.BadRowError as error:
            row = {"reason": "invalid", "message": f"{READING}{error}{where}", "location": uri}
            kind = self.load.format.rpartition("_")[2]
            message = f"{READING}{kind} table encountered too many errors, giving up. Rows: 1; errors: 1. {error}{where}"
            raise JobFailedError("invalid", message, uri, row) from None
        except (OSError, EOFError, zlib.error, duckdb.Error) as error:
            words = str(error).splitlines()[0]
            raise JobFailedError("invalid", f"{READING}{words}.{where}", uri) from None

    def _block(self, position: int, block: bytes) -> None:
        ignore = self.load.ignore_unknown
        try:
            self._insert(rows.read_plain(block, self.fields, ignore_unknown=ignore))
        except (ValueError, pa.ArrowException, duckdb.Error):
            self._insert(rows.read_each(block, position, self.fields, ignore_unknown=ignore))

    def _insert(self, table: pa.Table) -> None:
        self.cursor.register("block", table)
        try:
            self.cursor.execute(f"INSERT INTO {self.table} SELECT * FROM block")  # noqa: S608 (our own names)
        finally:
            self.cursor.unregister("block")

    def move(self, meta: TableMeta | None, fields: tuple[Field, ...]) -> None:
        """Move the rows into the table, inside the transaction."""
        ref = self.load.ref
        if meta is None or self.load.write == "WRITE_TRUNCATE":
            columns = ", ".join(schemas.definition(field) for field in fields)
            self.cursor.execute(f"CREATE OR REPLACE TABLE {ref} ({columns})")
        else:
            for statement in schemas.alterations(ref, meta.schema_.fields, fields):
                self.cursor.execute(statement)
            if self.load.write == "WRITE_TRUNCATE_DATA":
                self.cursor.execute(f"DELETE FROM {ref}")  # noqa: S608 (quoted)
        filled = {field.name for field in self.fields}
        values = [
            quoted(field.name) if field.name in filled else "[]" if field.mode == "REPEATED" else "NULL"
            for field in fields
        ]
        names = ", ".join(quoted(field.name) for field in fields)
        self.cursor.execute(f"INSERT INTO {ref} ({names}) SELECT {', '.join(values)} FROM {self.table}")  # noqa: S608


def _catalog_entry(
    load: Load, meta: TableMeta | None, fields: tuple[Field, ...], count: int, ctx: AppContext
) -> TableMeta:
    """Return the table's entry in the catalog after the load."""
    now = ctx.clock.now()
    etag = generate_etag(load.project, load.dataset, load.table, str(now), str(count))
    if meta is None:
        clustering = (load.config.get("clustering") or {}).get("fields")
        meta = TableMeta(
            project_id=load.project,
            dataset_id=load.dataset,
            table_id=load.table,
            creation_time=now,
            last_modified_time=now,
            etag=etag,
            time_partitioning=_partitioning(load.config.get("timePartitioning"), None),
            clustering=Clustering(fields=tuple(clustering)) if clustering else None,
        )
    changes = {
        "schema_": TableSchema(fields=fields),
        "num_rows": count,
        "last_modified_time": now,
        "etag": etag,
    }
    return meta.model_copy(update=changes)


def _commit(load: Load, stage: _Stage, job: JobMeta, ctx: AppContext) -> JobMeta:
    """Change table and catalog together, under the write lock; return the finished job."""
    # Again: another job may have changed the table meanwhile.
    meta, _, fields = resolve_target(load, ctx)
    loaded, cursor = count_rows(stage.cursor, stage.table), stage.cursor
    cursor.execute("BEGIN")
    try:
        stage.move(meta, fields)
        table = _catalog_entry(load, meta, fields, count_rows(cursor, load.ref), ctx)
        statistics = {
            "inputFiles": str(stage.files),
            "inputFileBytes": str(stage.bytes),
            "outputRows": str(loaded),
            "outputBytes": str(stage.bytes),
            "badRecords": "0",
        }
        done = finished(job, ctx, statistics={"load": statistics})
        transaction = SimpleNamespace(_engine=cursor)
        _repository._write_table(transaction, table)  # noqa: SLF001 (in this transaction)
        _repository._write_job(transaction, done)  # noqa: SLF001
        cursor.execute("COMMIT")
    except BaseException:
        cursor.execute("ROLLBACK")
        raise
    cache: Any = ctx.catalog._cache  # type: ignore[attr-defined]  # noqa: SLF001 (it is written already)
    (cache.create_table if meta is None else cache.update_table)(table)
    cache.upsert_job(done)
    if meta is not None and load.write == "WRITE_TRUNCATE":
        for policy in ctx.catalog.list_row_access_policies(load.project, load.dataset, load.table):
            ctx.catalog.delete_row_access_policy(load.project, load.dataset, load.table, policy.policy_id)
    return done


def finished(job: JobMeta, ctx: AppContext, **change: Any) -> JobMeta:  # noqa: ANN401 (fields of JobMeta)
    """Return the job as one that is done."""
    statistics = {**job.statistics, **change.pop("statistics", {})}
    return job.model_copy(
        update={"state": "DONE", "end_time": ctx.clock.now(), "statistics": statistics, **change}
    )


async def run(job: JobMeta, ctx: AppContext, upload: Path | None = None) -> JobMeta:
    """Run a load job to its end and store it; return it with its error, where it failed.

    Raises:
        DomainError: The request is refused, and there is no job.
    """
    load = parse(job.project_id, job.configuration["load"], ctx, upload)
    stage = None
    try:
        _, fields, _ = resolve_target(load, ctx)
        stage = _Stage(load, fields, ctx)
        for uri, path in resolve_sources(load, ctx):
            await asyncio.to_thread(stage.read, uri, path)
        async with ctx.engine.write_lock():
            done = await asyncio.to_thread(_commit, load, stage, job, ctx)
            ctx.snapshots.record_change(load.project, load.dataset, load.table)
    except JobFailedError as failure:
        failed = {"statistics": {"_errors": failure.errors}, "error_result": failure.result}
        return ctx.catalog.upsert_job(finished(job, ctx, **failed))
    except DomainError as error:
        return ctx.catalog.upsert_job(finished(job, ctx, error_result=_error_result(error)))
    except Exception as error:  # noqa: BLE001 (never a 5xx: the clients would retry for minutes)
        return ctx.catalog.upsert_job(finished(job, ctx, error_result=_error_result(refusal(error))))
    finally:
        if stage is not None:
            stage.cursor.close()
    return done


def _error_result(error: DomainError) -> dict[str, str]:
    return {"reason": error.bq_reason, "message": error.message}
