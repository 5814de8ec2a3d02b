"""Load jobs as BigQuery runs them: every row checked against the schema, all or nothing, one transaction.

The files are read in blocks. Each block is converted by one SQL statement into a staging table of the job's own
connection; only a block at which that fails is read again row by row, to tell which row is bad and why. When all
files are staged the table is changed in one DuckDB transaction, together with the catalog's rows when the emulator
keeps its catalog in DuckDB: after a crash a job is either there with its rows, or neither is.
"""

import asyncio
import gzip
import json
import re
import uuid
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
from bqemulator.api.routes import tables as rest
from bqemulator.catalog.duckdb_repository import DuckDBCatalogRepository
from bqemulator.catalog.etag import generate_etag
from bqemulator.catalog.models import Clustering, JobMeta, TableMeta, TableSchema, TimePartitioning
from bqemulator.domain.errors import DomainError, ErrorDetail, NotFoundError, ValidationError
from bqemulator.jobs import executor
from bqemulator.storage.sql_identifiers import quoted_table_ref
from bqemulator.storage.type_map import bq_schema_to_duckdb_columns, duckdb_type_to_bq_field

from . import patching, rows, tables
from .rows import quoted

BLOCK = 32 << 20  # bytes of text converted at a time
MAX_ROW = 100 << 20  # BigQuery's limit for a row of JSON
PARTITION_ID = {"HOUR": "%Y%m%d%H", "DAY": "%Y%m%d", "MONTH": "%Y%m", "YEAR": "%Y"}
JSON_FORMATS = ("NEWLINE_DELIMITED_JSON", "JSON")


class JobFailed(Exception):
    """Ends the job with this errorResult; `others` follow it in errors[]."""

    def __init__(self, reason, message, location=None, others=(), bad=0):
        super().__init__(message)
        self.result = {"reason": reason, "message": message} | ({"location": location} if location else {})
        self.errors, self.bad = [self.result, *others], bad


def not_found(message):
    return NotFoundError(message, details=[ErrorDetail(reason="notFound", message=message)])


# --- the job's configuration ------------------------------------------------------------------------------------
class Load:
    def __init__(self, project_id, config, ctx, upload=None):
        c = config["load"]
        to = c.get("destinationTable") or {}
        self.project, self.dataset = to.get("projectId") or project_id, to.get("datasetId", "")
        self.table, _, self.partition = to.get("tableId", "").partition("$")
        self.name = f"{self.project}:{self.dataset}.{self.table}"
        self.ref = quoted_table_ref(self.project, self.dataset, self.table)
        self.ctx, self.upload, self.config = ctx, upload, c
        self.uris = c.get("sourceUris") or []
        self.format = (c.get("sourceFormat") or "CSV").upper()
        self.write = c.get("writeDisposition") or "WRITE_APPEND"
        self.create = c.get("createDisposition") or "CREATE_IF_NEEDED"
        self.options = {o.upper() for o in c.get("schemaUpdateOptions") or []}
        self.ignore_unknown = bool(c.get("ignoreUnknownValues"))
        self.max_bad = int(c.get("maxBadRecords") or 0)
        self.given = rest._parse_schema_fields((c.get("schema") or {}).get("fields") or [])
        layout = c.get("timePartitioning")
        self.partitioning = rest._rest_to_time_partitioning(layout, None) if layout else None
        self.clustering = (
            Clustering(fields=tuple(c["clustering"]["fields"]))
            if (c.get("clustering") or {}).get("fields")
            else None
        )
        self.check_request()

    def check_request(self):
        """What BigQuery refuses before there is a job."""
        if self.ctx.catalog.get_dataset(self.project, self.dataset) is None:
            raise not_found(f"Not found: Dataset {self.project}:{self.dataset}")
        if self.options and not (
            self.write == "WRITE_APPEND" or self.write == "WRITE_TRUNCATE" and self.partition
        ):
            raise ValidationError(
                "Schema update options should only be specified with WRITE_APPEND disposition, or with WRITE_TRUNCATE disposition on a table partition."
            )
        if self.format not in executor._LOAD_FORMAT_HANDLERS:
            raise ValidationError(f"Invalid value for sourceFormat: {self.format} is not a valid value")

    def target(self):
        """The table as it is now, and what the job makes of it: (meta or None, fields to fill, all fields)."""
        meta = self.ctx.catalog.get_table(self.project, self.dataset, self.table)
        if meta is None:
            if self.create == "CREATE_NEVER" or self.partition and not self.partitioning:
                raise JobFailed("notFound", f"Not found: Table {self.name}")
            fields = self.given or self.detected()
            return None, fields, fields
        if meta.table_type in ("VIEW", "MATERIALIZED_VIEW", "EXTERNAL", "SNAPSHOT"):
            raise JobFailed(
                "invalid",
                f"Cannot load into {self.name}: it is a {meta.table_type.lower().replace('_', ' ')}",
            )
        if (
            self.write == "WRITE_EMPTY"
            and self.ctx.engine.connection.cursor().execute(f"SELECT 1 FROM {self.ref} LIMIT 1").fetchone()
        ):
            raise JobFailed("duplicate", f"Already Exists: Table {self.name}")
        self.check_layout(meta)
        old = meta.schema_.fields
        if self.write == "WRITE_TRUNCATE" and not self.partition:
            fields = self.given or old
            return meta, fields, fields
        if not self.given:
            return meta, old, old
        try:
            merged = merge(old, self.given, self.options)
        except Mismatch as e:
            raise JobFailed("invalid", f"Provided Schema does not match Table {self.name}. {e}") from None
        names = {f.name.lower() for f in self.given}
        return meta, tuple(f for f in merged if f.name.lower() in names), merged

    def check_layout(self, meta):
        if self.partitioning is None and self.clustering is None:
            return
        was, now = (
            spec(meta.time_partitioning, meta.clustering),
            spec(self.partitioning, self.clustering or meta.clustering),
        )
        if was != now:
            raise JobFailed(
                "invalid",
                f"Incompatible table partitioning specification. Expected partitioning specification {was}, but input partitioning specification is {now}",
            )

    def detected(self):
        if not self.config.get("autodetect"):
            raise JobFailed("invalid", "No schema specified on job or table.")
        read = {"CSV": "read_csv_auto", "PARQUET": "read_parquet"}.get(self.format, "read_json_auto")
        uri, path = self.files()[0]
        packed = ", compression='gzip'" if is_gzip(path) and self.format != "PARQUET" else ""
        try:
            found = (
                self.ctx.engine.connection.cursor()
                .execute(f"DESCRIBE SELECT * FROM {read}(?{packed})", [str(path)])
                .fetchall()
            )
            return rest._parse_schema_fields([duckdb_type_to_bq_field(n, t) for n, t, *_ in found])
        except Exception as e:
            raise JobFailed("invalid", f"Error while reading data, error message: {e}", uri) from None

    def files(self):
        """[(uri, path)] of the sources, patterns expanded."""
        if self.upload is not None:
            return [("", Path(self.upload))]
        found = []
        for uri in self.uris:
            if not uri.startswith("gs://"):
                path = Path(executor._resolve_uri(uri, self.ctx))
                matches = [(uri, path)] if path.is_file() else []
            elif "*" in uri:
                matches = self.matching(uri)
            else:
                path = Path(executor._resolve_uri(uri, self.ctx))
                matches = [(uri, path)] if path.is_file() else []
            if not matches:
                raise JobFailed("notFound", f"Not found: URI {uri}")
            found += matches
        if not found:
            raise JobFailed("invalid", "Load configuration must specify at least one source URI")
        return found

    def matching(self, uri):
        bucket, _, pattern = uri[5:].partition("/")
        if pattern.count("*") > 1 or "*" in bucket:
            raise JobFailed(
                "invalid",
                f"Invalid source URI {uri}: only one wildcard is allowed, and not in the bucket's name",
            )
        top = Path(executor._resolve_uri(f"gs://{bucket}", self.ctx))
        before, _, after = pattern.partition("*")
        folder = top / before.rpartition("/")[0]
        names = (
            sorted(p.relative_to(top).as_posix() for p in folder.rglob("*") if p.is_file())
            if folder.is_dir()
            else []
        )
        fits = re.compile(re.escape(before) + ".*" + re.escape(after), re.S).fullmatch
        return [(f"gs://{bucket}/{n}", top / n) for n in names if fits(n)]


def spec(partitioning, clustering):
    words = (
        f"interval(type:{partitioning.type.lower()}"
        + (f",field:{partitioning.field}" if partitioning.field else "")
        + ")"
        if partitioning
        else "none"
    )
    return words + (f" clustering({','.join(clustering.fields)})" if clustering else "")


class Mismatch(Exception):
    pass


def wire(field):
    return {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN", "STRUCT": "RECORD"}.get(
        rows.kind(field), rows.kind(field)
    )


def merge(old, new, options, path=""):
    """The table's fields after an append with the schema `new`; Mismatch when that is not allowed."""
    given = {f.name.lower(): f for f in new}
    out = []
    for f in old:
        g = given.pop(f.name.lower(), None)
        if g is None:
            if f.mode == "REQUIRED":
                raise Mismatch(f"Field {path}{f.name} is missing in new schema")
            out.append(f)
            continue
        if wire(f) != wire(g):
            raise Mismatch(f"Field {path}{f.name} has changed type from {wire(f)} to {wire(g)}")
        change = {}
        if f.mode != g.mode:
            if (f.mode, g.mode) != ("REQUIRED", "NULLABLE") or "ALLOW_FIELD_RELAXATION" not in options:
                raise Mismatch(f"Field {path}{f.name} has changed mode from {f.mode} to {g.mode}")
            change["mode"] = "NULLABLE"
        if f.fields:
            change["fields"] = merge(f.fields, g.fields, options, f"{path}{f.name}.")
        out.append(f.model_copy(update=change) if change else f)
    for g in given.values():
        if "ALLOW_FIELD_ADDITION" not in options:
            raise Mismatch(f"Cannot add fields (field: {path}{g.name})")
        if g.mode == "REQUIRED":
            raise Mismatch(f"Cannot add required fields to an existing schema. (field: {path}{g.name})")
        out.append(g)
    return tuple(out)


def duck(field):
    """The DuckDB type of a field."""
    return bq_schema_to_duckdb_columns([rest._field_to_rest(field)])[0][1]


def leaf(field):
    return duck(field.model_copy(update={"mode": "NULLABLE"}))


def column(field):
    """A column of CREATE TABLE. No DEFAULT [] for a REPEATED one: after a crash DuckDB 1.5.5 cannot replay an ALTER
    of a table that has such a default from its log, and the whole database does not open any more."""
    return f"{quoted(field.name)} {duck(field)}" + (" NOT NULL" if field.mode == "REQUIRED" else "")


# --- reading ----------------------------------------------------------------------------------------------------
def is_gzip(path):
    with open(path, "rb") as f:
        return f.read(2) == b"\x1f\x8b"


def blocks(path):
    """(position, line number, bytes) of runs of whole lines."""
    with (gzip.open if is_gzip(path) else open)(path, "rb") as f:
        rest_, position, number = [], 0, 1
        held = 0
        while True:
            piece = f.read(BLOCK)
            cut = piece.rfind(b"\n") + 1
            if piece and not cut:
                rest_.append(piece)
                held += len(piece)
                if held > MAX_ROW:
                    raise rows.BadRow(f"Row size is larger than: {MAX_ROW}.")
                continue
            block = b"".join([*rest_, piece[:cut]])
            rest_, held = [piece[cut:]], len(piece) - cut
            if block:
                yield position, number, block
                position += len(block)
                number += block.count(b"\n")
            if not piece:
                return


class Stage:
    """A staging table on a connection of the job's own."""

    def __init__(self, job, fields):
        self.job, self.fields = job, fields
        self.cursor = job.ctx.engine.connection.cursor()
        self.cursor.execute("SET TimeZone = 'UTC'")
        self.name = f"temp.main.stage_{uuid.uuid4().hex}"
        self.cursor.execute(
            f"CREATE TEMP TABLE {self.name} ({', '.join(quoted(f.name) + ' ' + duck(f) for f in fields)})"
        )
        self.select = rows.Select(fields, leaf, job.ignore_unknown)
        self.checker = rows.Checker(fields, job.ignore_unknown)
        self.rows = self.bytes = self.files = self.bad = self.seen = 0
        self.problems = []

    def close(self):
        self.cursor.close()

    def read(self, uri, path):
        self.files += 1
        self.bytes += path.stat().st_size
        try:
            for position, number, block in blocks(path):
                self.block(uri, position, number, block)
        except rows.BadRow as e:
            self.problem(uri, 0, 0, str(e))
            raise self.failed(uri) from None
        except (OSError, EOFError, gzip.zlib.error) as e:  # a damaged or cut-off gzip file
            raise JobFailed(
                "invalid", f"Error while reading data, error message: {e}. File: {uri}", uri
            ) from None

    def block(self, uri, position, number, block):
        block = block.removeprefix(b"\xef\xbb\xbf") if position == 0 else block
        try:
            lines = pa.array([line for line in block.decode().split("\n") if line], pa.large_string())
            self.seen += self.insert(lines)
        except Exception:  # noqa: BLE001 - something is wrong or unusual: look at each row
            self.row_by_row(uri, position, number, block)

    def insert(self, lines, regular=False):
        if not len(lines):
            return 0
        batches = [pa.record_batch([lines.slice(i, 8192)], ["line"]) for i in range(0, len(lines), 8192)]
        self.cursor.register("block", pa.Table.from_batches(batches))
        try:
            n = self.cursor.execute(
                f"INSERT INTO {self.name} {self.select.statement('(SELECT 0 AS pos, line FROM block)', regular)}"
            ).fetchone()[0]
        finally:
            self.cursor.unregister("block")
        self.rows += n
        return n

    def row_by_row(self, uri, position, number, block):
        good, where = [], []
        for line in block.split(b"\n"):
            if line.strip():
                self.seen += 1
                try:
                    good.append(self.checker.line(line))
                    where.append((position, number))
                except rows.BadRow as e:
                    self.problem(uri, position, number, str(e))
                    if self.bad > self.job.max_bad:
                        raise self.failed(uri) from None
            position += len(line) + 1
            number += 1
        self.insert_found(uri, good, where)

    def insert_found(self, uri, good, where):
        """Insert rows that look right; halve down to the ones DuckDB refuses all the same."""
        if not good:
            return
        try:
            self.insert(pa.array(good, pa.large_string()), regular=True)
        except Exception as e:  # noqa: BLE001
            if len(good) > 1:
                middle = len(good) // 2
                self.insert_found(uri, good[:middle], where[:middle])
                self.insert_found(uri, good[middle:], where[middle:])
                return
            self.problem(uri, *where[0], str(e).splitlines()[0])
            if self.bad > self.job.max_bad:
                raise self.failed(uri) from None

    def problem(self, uri, position, number, words):
        self.bad += 1
        file = f" File: {uri}" if uri else ""
        if len(self.problems) < 5:
            self.problems.append(
                {
                    "reason": "invalid",
                    "message": f"Error while reading data, error message: JSON parsing error in row starting at position {position}: {words}{file} (line {number})",
                }
                | ({"location": uri} if uri else {})
            )

    def failed(self, uri):
        head = "Error while reading data, error message: JSON table encountered too many errors, giving up."
        file = f" File: {uri}" if uri else ""
        return JobFailed(
            "invalid",
            f"{head} Rows: {self.seen}; errors: {self.bad}. Please look into the errors[] collection for more details.{file}"
            f" First error: {self.problems[0]['message'].removeprefix('Error while reading data, error message: ')}",
            uri,
            self.problems,
            self.bad,
        )

    def output_bytes(self):
        sizes = rows.total([rows.size(f, quoted(f.name)) for f in self.fields])
        return int(self.cursor.execute(f"SELECT coalesce(sum({sizes}), 0) FROM {self.name}").fetchone()[0])


def read_other(stage, job):
    """CSV, Parquet, Avro, ORC: the emulator's own readers, into a table of their own that is then staged."""
    ctx, side = job.ctx, f'"_bqemulator_snapshots"."load_{uuid.uuid4().hex}"'
    ctx.engine.execute(
        f"CREATE TABLE {side} ({', '.join(quoted(f.name) + ' ' + duck(f) for f in stage.fields)})"
    )
    try:
        for uri, path in job.files():
            stage.files += 1
            stage.bytes += path.stat().st_size
            executor._validate_local_path(str(path))
            try:
                executor._LOAD_FORMAT_HANDLERS[job.format](str(path), side, ctx)
            except DomainError:
                raise
            except Exception as e:  # noqa: BLE001
                raise JobFailed(
                    "invalid", f"Error while reading data, error message: {e}. File: {uri}", uri
                ) from None
        stage.rows = stage.cursor.execute(f"INSERT INTO {stage.name} SELECT * FROM {side}").fetchone()[0]
        for f in stage.fields:
            if (
                f.mode == "REQUIRED"
                and stage.cursor.execute(
                    f"SELECT 1 FROM {stage.name} WHERE {quoted(f.name)} IS NULL LIMIT 1"
                ).fetchone()
            ):
                raise JobFailed(
                    "invalid", f"Error while reading data, error message: Missing required field: {f.name}."
                )
    finally:
        ctx.engine.execute(f"DROP TABLE {side}")


# --- changing the table -----------------------------------------------------------------------------------------
def change(cursor, job, stage, meta, fields):
    """The statements that put the staged rows in the table; inside the transaction."""
    part = None
    if job.partition:
        part = partition_test(job, meta.time_partitioning if meta else job.partitioning)
        if cursor.execute(f"SELECT 1 FROM {stage.name} WHERE ({part}) IS NOT TRUE LIMIT 1").fetchone():
            raise JobFailed(
                "invalid",
                f"Some rows belong to different partitions rather than destination partition {job.name}${job.partition}",
            )
    if meta is None or job.write == "WRITE_TRUNCATE" and not job.partition:
        cursor.execute(f"CREATE OR REPLACE TABLE {job.ref} ({', '.join(map(column, fields))})")
    else:
        for statement in alterations(job.ref, meta.schema_.fields, fields):
            cursor.execute(statement)
        if job.write == "WRITE_TRUNCATE":
            cursor.execute(f"DELETE FROM {job.ref} WHERE {part}")
        elif job.write == "WRITE_TRUNCATE_DATA":
            cursor.execute(f"DELETE FROM {job.ref}")
    staged = {f.name for f in stage.fields}
    values = [
        quoted(f.name) if f.name in staged else "[]" if f.mode == "REPEATED" else "NULL" for f in fields
    ]
    cursor.execute(
        f"INSERT INTO {job.ref} ({', '.join(quoted(f.name) for f in fields)}) SELECT {', '.join(values)} FROM {stage.name}"
    )


def alterations(ref, old, new):
    was = {f.name: f for f in old}
    for f in new:
        o = was.get(f.name)
        if o is None:
            yield f"ALTER TABLE {ref} ADD COLUMN {quoted(f.name)} {duck(f)}"
            if f.mode == "REPEATED":  # see column() for why not by a DEFAULT
                yield f"UPDATE {ref} SET {quoted(f.name)} = []"
            continue
        if duck(o) != duck(f):
            yield f"ALTER TABLE {ref} ALTER COLUMN {quoted(f.name)} TYPE {duck(f)}"
        if o.mode == "REQUIRED" and f.mode == "NULLABLE":
            yield f"ALTER TABLE {ref} ALTER COLUMN {quoted(f.name)} DROP NOT NULL"


def partition_test(job, partitioning):
    if partitioning is None or partitioning.field is None:
        raise JobFailed(
            "invalid",
            f"{job.name}${job.partition}: the emulator keeps partitions of a column only, and this table has none",
        )
    return f"strftime({quoted(partitioning.field)}, '{PARTITION_ID[partitioning.type]}') = {rows.text(job.partition)}"


def described(job, meta, fields, now, count, size):
    """The table's catalog entry after the load."""
    etag = generate_etag(job.project, job.dataset, job.table, "TABLE", str(now), str(count))
    new = {
        "schema_": TableSchema(fields=fields),
        "num_rows": count,
        "num_bytes": size,
        "last_modified_time": now,
        "etag": etag,
    }
    if meta is not None:
        return meta.model_copy(update=new)
    new["schema"] = new.pop("schema_")
    return TableMeta(
        project_id=job.project,
        dataset_id=job.dataset,
        table_id=job.table,
        creation_time=now,
        time_partitioning=job.partitioning,
        clustering=job.clustering,
        **new,
    )


def work(job, stage, done):
    """In the job's thread, under the write lock. Gives the table's and the job's catalog entries."""
    meta, _, fields = job.target()  # again: another job may have changed the table meanwhile
    c = stage.cursor
    c.execute("BEGIN")
    try:
        change(c, job, stage, meta, fields)
        count = c.execute(f"SELECT count(*) FROM {job.ref}").fetchone()[0]
        written = stage.output_bytes()
        size = (
            written
            if meta is None or job.write.startswith("WRITE_TRUNCATE") and not job.partition
            else meta.num_bytes + written
        )
        if job.partition and job.write == "WRITE_TRUNCATE":
            sizes = rows.total([rows.size(f, quoted(f.name)) for f in fields])
            size = int(c.execute(f"SELECT coalesce(sum({sizes}), 0) FROM {job.ref}").fetchone()[0])
        table = described(job, meta, fields, job.ctx.clock.now(), count, size)
        finished = done(written)
        if isinstance(job.ctx.catalog, DuckDBCatalogRepository):
            here = SimpleNamespace(_engine=SimpleNamespace(execute=c.execute))
            DuckDBCatalogRepository._write_table(here, table)
            DuckDBCatalogRepository._write_job(here, finished)
        c.execute("COMMIT")
    except BaseException:
        c.execute("ROLLBACK")
        raise
    return meta, table, finished


async def run(project_id, job_id, config, ctx, upload=None):
    """Run a load job to its end; a failure of the job (not of the request) is in the JobMeta that comes back."""
    began = ctx.clock.now()
    job = Load(project_id, config, ctx, upload)
    stage = None

    def ended(statistics, failure=None):
        now = ctx.clock.now()
        s = {"load": statistics}
        errors = failure.errors if failure else stage.problems if stage else []
        if errors:
            s["_errors"] = errors
        return JobMeta(
            project_id=project_id,
            job_id=job_id,
            job_type="LOAD",
            state="DONE",
            configuration=config,
            statistics=s,
            error_result=failure.result if failure else None,
            creation_time=began,
            start_time=began,
            end_time=now,
            etag=generate_etag(project_id, job_id, str(began)),
        )

    def done(written):
        return ended(
            {
                "inputFiles": str(stage.files),
                "inputFileBytes": str(stage.bytes),
                "outputRows": str(stage.rows),
                "outputBytes": str(written),
                "badRecords": str(stage.bad),
            }
        )

    def read():
        for uri, path in job.files():
            stage.read(uri, path)

    try:
        _, fields, _ = job.target()
        stage = Stage(job, fields)
        if job.format in JSON_FORMATS:
            await asyncio.to_thread(read)
        async with ctx.engine.write_lock():
            if job.format not in JSON_FORMATS:
                read_other(stage, job)
            meta, table, finished = await asyncio.to_thread(work, job, stage, done)
            (ctx.catalog.create_table if meta is None else ctx.catalog.update_table)(table)
            ctx.catalog.upsert_job(finished)
            tables.MEASURED.add(table.etag)
            ctx.snapshots.record_change(job.project, job.dataset, job.table)
        return finished
    except JobFailed as e:
        return ended({"badRecords": str(e.bad)}, e)
    except DomainError as e:
        return ended({}, JobFailed(e.bq_reason, e.message))
    except Exception as e:  # noqa: BLE001 - never a 5xx: the clients would retry for minutes
        return ended(
            {}, JobFailed("invalid", f"Error while reading data, error message: {type(e).__name__}: {e}")
        )
    finally:
        if stage is not None:
            stage.close()


# --- uploads ----------------------------------------------------------------------------------------------------
def apply():
    from . import jobs

    upload = patching.module("api.routes.upload")

    async def handle(project_id, job_id, config, ctx):
        return await run(project_id, job_id, config, ctx)

    patching.replace(
        "api.routes.jobs",
        "_handle_load_job_with_async_envelope",
        handle,
        "load jobs: rows checked, atomic, schema updates, statistics, errors",
    )

    original = patching.get("api.routes.upload", "_load_configuration_from_envelope")

    def configuration(envelope):
        return original(envelope) | {"_reference": envelope.get("jobReference") or {}}

    patching.replace(
        "api.routes.upload",
        "_load_configuration_from_envelope",
        configuration,
        "keep the job id an upload asks for",
    )

    async def run_upload(*, project_id, configuration, media_path, ctx):
        config = {k: v for k, v in configuration.items() if k != "_reference"}
        reference = configuration.get("_reference", {})
        job_id = reference.get("jobId") or upload._new_job_id()
        location = jobs.job_location(project_id, config, reference, ctx)
        with jobs.claim(project_id, job_id, "LOAD", config, ctx, location):
            meta = await run(project_id, job_id, config, ctx, media_path)
            return job_id, jobs.keep(meta, config, location, ctx)

    patching.replace(
        "api.routes.upload", "_run_load", run_upload, "uploads: the load job above, under the id asked for"
    )

    def parts(content_type, body):
        """The JSON part and the media part, byte for byte (an e-mail parser would change line ends)."""
        found = re.search(r'boundary="?([^";]+)"?', content_type)
        if not found:
            raise ValidationError("multipart upload without a boundary")
        mark = b"--" + found[1].encode()
        pieces = body.split(mark)
        first, second = pieces[1], mark.join(pieces[2:-1])
        envelope = json.loads(first.split(b"\r\n\r\n", 1)[1])
        media = second.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")
        return envelope, media

    patching.replace(
        "api.routes.upload",
        "_parse_multipart_related",
        parts,
        "multipart uploads: binary content kept, any content type",
    )
