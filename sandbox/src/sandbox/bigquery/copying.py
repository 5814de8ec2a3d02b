"""Copy jobs and CREATE [OR REPLACE] TABLE ... COPY/CLONE: several sources, layout kept, atomic, write dispositions."""

import asyncio
import re
from dataclasses import dataclass

import sqlglot
from bqemulator.catalog.etag import generate_etag
from bqemulator.catalog.models import JobMeta
from bqemulator.domain.errors import (
    AlreadyExistsError,
    DomainError,
    ErrorDetail,
    NotFoundError,
    ValidationError,
)
from bqemulator.storage.sql_identifiers import quoted_table_ref
from bqemulator.versioning.ddl import VersioningDDLRouter

from . import load, patching, tables
from .rows import quoted

PART = r"(?:`[^`]+`|[A-Za-z0-9_\-]+)"
DDL = re.compile(
    rf"\s*CREATE\s+(?P<replace>OR\s+REPLACE\s+)?TABLE\s+(?P<quiet>IF\s+NOT\s+EXISTS\s+)?(?P<to>{PART}(?:\.{PART})*)\s+"
    rf"(?P<how>COPY|CLONE)\s+(?P<source>{PART}(?:\.{PART})*)\s*(?P<options>OPTIONS\s*\(.*\))?\s*;?\s*",
    re.I | re.S,
)


@dataclass
class CopyDDL:
    to: tuple
    source: tuple
    kind: str
    replace: bool
    quiet: bool
    options: str
    view_query: None = None


def shown(ref):
    return f"{ref[0]}:{ref[1]}.{ref[2]}"


def missing(what, name):
    message = f"Not found: {what} {name}"
    return NotFoundError(message, details=[ErrorDetail(reason="notFound", message=message)])


async def copy(ctx, sources, to, write, create="CREATE_IF_NEEDED", kind="TABLE"):
    """Copy the tables `sources` into `to`, in one transaction."""
    metas = []
    for s in sources:
        if (meta := ctx.catalog.get_table(*s)) is None:
            raise missing("Table", shown(s))
        metas.append(meta)
    if ctx.catalog.get_dataset(*to[:2]) is None:
        raise missing("Dataset", f"{to[0]}:{to[1]}")
    fields = metas[0].schema_.fields
    async with ctx.engine.write_lock():
        old = ctx.catalog.get_table(*to)
        if old is None and create == "CREATE_NEVER":
            raise missing("Table", shown(to))
        ref, cursor = quoted_table_ref(*to), ctx.engine.connection.cursor()
        try:
            if (
                old is not None
                and write == "WRITE_EMPTY"
                and cursor.execute(f"SELECT 1 FROM {ref} LIMIT 1").fetchone()
            ):
                message = f"Already Exists: Table {shown(to)}"
                raise AlreadyExistsError(message, details=[ErrorDetail(reason="duplicate", message=message)])
            anew = old is None or write == "WRITE_TRUNCATE"
            for s, meta in zip(sources, metas):
                try:
                    load.merge(fields if anew else old.schema_.fields, meta.schema_.fields, set())
                except load.Mismatch as e:
                    raise ValidationError(f"Provided Schema does not match Table {shown(to)}. {e}") from None

            def work():
                cursor.execute("BEGIN")
                try:
                    if anew:
                        cursor.execute(
                            f"CREATE OR REPLACE TABLE {ref} ({', '.join(map(load.column, fields))})"
                        )
                    for s, meta in zip(sources, metas):
                        names = ", ".join(quoted(f.name) for f in meta.schema_.fields)
                        cursor.execute(
                            f"INSERT INTO {ref} ({names}) SELECT {names} FROM {quoted_table_ref(*s)}"
                        )
                    cursor.execute("COMMIT")
                except BaseException:
                    cursor.execute("ROLLBACK")
                    raise

            await asyncio.to_thread(work)
        finally:
            cursor.close()
        now = ctx.clock.now()
        if anew:
            made = {
                "project_id": to[0],
                "dataset_id": to[1],
                "table_id": to[2],
                "table_type": kind,
                "last_modified_time": now,
                "expiration_time": None,
                "base_table": ".".join(sources[0]) if kind == "CLONE" else None,
                "snapshot_time": None,
                "creation_time": old.creation_time if old and kind == "TABLE" else now,
                "etag": generate_etag(*to, kind, str(now)),
            }
            (ctx.catalog.update_table if old else ctx.catalog.create_table)(metas[0].model_copy(update=made))
        ctx.snapshots.record_change(*to)


def apply():
    original = patching.get("jobs.executor", "execute_copy_job")
    extract = patching.get("jobs.executor", "execute_extract_job")

    def guarded(kind, run):
        """What fails in the job is the job's errorResult, not an HTTP error (the clients retry a 5xx for minutes)."""

        async def job(project_id, job_id, config, ctx):
            began, error = ctx.clock.now(), None
            try:
                await run(project_id, job_id, config, ctx)
            except DomainError as e:
                error = {"reason": e.bq_reason, "message": e.message}
            except Exception as e:  # noqa: BLE001
                error = {"reason": "invalid", "message": f"{type(e).__name__}: {e}"}
            return JobMeta(
                project_id=project_id,
                job_id=job_id,
                job_type=kind,
                state="DONE",
                configuration=config,
                error_result=error,
                statistics={},
                creation_time=began,
                start_time=began,
                end_time=ctx.clock.now(),
                etag=generate_etag(project_id, job_id, str(began)),
            )

        return job

    async def copy_job(project_id, job_id, config, ctx):
        c = config["copy"]
        if (c.get("operationType") or "COPY") not in ("COPY", "OPERATION_TYPE_UNSPECIFIED"):
            return await original(project_id, job_id, config, ctx)
        triple = lambda t: (t.get("projectId") or project_id, t.get("datasetId", ""), t.get("tableId", ""))
        sources = [triple(t) for t in c.get("sourceTables") or [c.get("sourceTable") or {}]]
        await copy(
            ctx,
            sources,
            triple(c.get("destinationTable") or {}),
            c.get("writeDisposition") or "WRITE_EMPTY",
            c.get("createDisposition") or "CREATE_IF_NEEDED",
        )

    patching.replace(
        "jobs.executor",
        "execute_copy_job",
        guarded("COPY", copy_job),
        "copy jobs: sources, dispositions, schema and layout, atomic",
        also=["api.routes.jobs"],
    )
    patching.replace(
        "jobs.executor",
        "execute_extract_job",
        guarded("EXTRACT", extract),
        "a failed extract is the job's error",
        also=["api.routes.jobs"],
    )

    is_ddl, execute = (
        patching.get("versioning.ddl", "is_versioning_ddl"),
        patching.get("versioning.ddl", "execute_versioning_ddl"),
    )
    parse = VersioningDDLRouter.parse

    def parse_more(self, sql):
        m = DDL.fullmatch(sql)
        if m is None:
            return parse(self, sql)
        return CopyDDL(
            self._split_qualified(m["to"]),
            self._split_qualified(m["source"]),
            "CLONE" if m["how"].upper() == "CLONE" else "TABLE",
            bool(m["replace"]),
            bool(m["quiet"]),
            m["options"] or "",
        )

    async def execute_more(parsed, ctx):
        if not isinstance(parsed, CopyDDL):
            return await execute(parsed, ctx)
        if not parsed.replace and ctx.catalog.get_table(*parsed.to) is not None:
            if parsed.quiet:
                return None
            message = f"Already Exists: Table {shown(parsed.to)}"
            raise AlreadyExistsError(message, details=[ErrorDetail(reason="duplicate", message=message)])
        await copy(ctx, [parsed.source], parsed.to, "WRITE_TRUNCATE", kind=parsed.kind)
        if parsed.options:
            tree = sqlglot.parse_one(f"CREATE TABLE t (x INT64) {parsed.options}", read="bigquery")
            until, words = tables.option(tree, "expiration_timestamp"), tables.option(tree, "description")
            new = ({"expiration_time": tables.moment(until, ctx)} if until is not None else {}) | (
                {"description": words.name} if words is not None else {}
            )
            ctx.catalog.update_table(ctx.catalog.get_table(*parsed.to).model_copy(update=new))

    patching.replace_method(
        VersioningDDLRouter, "parse", parse_more, "CREATE [OR REPLACE] TABLE ... COPY / CLONE"
    )
    users = ["jobs.executor", "scripting.interpreter"]
    patching.replace("versioning.ddl", "execute_versioning_ddl", execute_more, "the same, run", also=users)
    patching.replace(
        "versioning.ddl",
        "is_versioning_ddl",
        lambda sql: is_ddl(sql) or DDL.fullmatch(sql) is not None,
        "the same, seen",
        also=users,
    )
