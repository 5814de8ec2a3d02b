"""What a load job is asked for: its configuration, the table and the columns that it fills, and its source files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from bqemulator.api.dependencies import AppContext
from bqemulator.catalog.models import TableFieldSchema as Field
from bqemulator.catalog.models import TableMeta
from bqemulator.domain.errors import NotFoundError, ValidationError
from bqemulator.storage.sql_identifiers import quoted_table_ref

from . import patches, schemas

_path_of = patches.get("jobs.executor", "_resolve_uri")


class JobFailedError(Exception):
    """The job has ended with this errorResult; `others` follow it in errors[]."""

    def __init__(self, reason: str, message: str, location: str = "", *others: dict[str, str]) -> None:
        super().__init__(message)
        self.result = {"reason": reason, "message": message} | ({"location": location} if location else {})
        self.errors = [self.result, *others]


@dataclass(frozen=True)
class Load:
    """What a job's configuration asks for."""

    project: str
    dataset: str
    table: str
    uris: tuple[str, ...]
    write: str
    create: str
    allowed: frozenset[str]
    ignore_unknown: bool
    schema: tuple[Field, ...]
    config: dict[str, Any]
    upload: Path | None

    @property
    def format(self) -> str:
        """CSV, JSON or NEWLINE_DELIMITED_JSON."""
        return source_format(self.config)

    @property
    def name(self) -> str:
        """The table as BigQuery's messages have it."""
        return f"{self.project}:{self.dataset}.{self.table}"

    @property
    def ref(self) -> str:
        """The table in DuckDB."""
        return quoted_table_ref(self.project, self.dataset, self.table)


def source_format(config: dict[str, Any]) -> str:
    """Return the format that a load's configuration names: CSV where it names none."""
    return config.get("sourceFormat") or "CSV"


def destination(project: str, config: dict[str, Any]) -> tuple[str, str, str]:
    """Return project, dataset and table of a load's configuration; `project` is the job's."""
    table = config.get("destinationTable") or {}
    return table.get("projectId") or project, table.get("datasetId", ""), table.get("tableId", "")


def parse(project: str, config: dict[str, Any], ctx: AppContext, upload: Path | None) -> Load:
    """Return what the configuration asks for.

    Raises:
        DomainError: BigQuery refuses it before it creates a job.
    """
    load = Load(
        *destination(project, config),
        uris=tuple(config.get("sourceUris") or ()),
        write=config.get("writeDisposition") or "WRITE_APPEND",
        create=config.get("createDisposition") or "CREATE_IF_NEEDED",
        allowed=frozenset(option.upper() for option in config.get("schemaUpdateOptions") or ()),
        ignore_unknown=bool(config.get("ignoreUnknownValues")),
        schema=schemas.from_rest((config.get("schema") or {}).get("fields") or []),
        config=config,
        upload=upload,
    )
    if ctx.catalog.get_dataset(load.project, load.dataset) is None:
        raise NotFoundError(f"Not found: Dataset {load.project}:{load.dataset}")
    if load.allowed and load.write != "WRITE_APPEND":
        raise ValidationError("Schema update options should only be specified with WRITE_APPEND disposition")
    if "$" in load.table:
        raise ValidationError("The sandbox's BigQuery loads no partition decorator")
    if load.format == "CSV" and config.get("autodetect"):
        raise ValidationError(
            "The sandbox's BigQuery autodetects nothing of CSV: give a schema, and skipLeadingRows"
        )
    if int(config.get("maxBadRecords") or 0):
        raise ValidationError("The sandbox's BigQuery loads no maxBadRecords")
    return load


def resolve_target(
    load: Load, ctx: AppContext
) -> tuple[TableMeta | None, tuple[Field, ...], tuple[Field, ...]]:
    """Return the table as it is now, the fields that the job fills, and those that the table has afterwards.

    Raises:
        JobFailedError: The table cannot take the job's rows.
    """
    meta = ctx.catalog.get_table(load.project, load.dataset, load.table)
    if meta is None:
        if load.create == "CREATE_NEVER":
            raise JobFailedError("notFound", f"Not found: Table {load.name}")
        if not load.schema:
            raise JobFailedError("invalid", "No schema specified on job or table.")
        return None, load.schema, load.schema
    if meta.table_type != "TABLE":
        raise JobFailedError("invalid", f"Cannot load into {load.name}: it is a {meta.table_type.lower()}")
    if load.write == "WRITE_EMPTY" and count_rows(ctx.engine.connection.cursor(), load.ref):
        raise JobFailedError("duplicate", f"Already Exists: Table {load.name}")
    old = meta.schema_.fields
    if load.write == "WRITE_TRUNCATE" or not load.schema:
        return meta, load.schema or old, load.schema or old
    try:
        new = schemas.evolved(old, load.schema, load.allowed)
    except schemas.Mismatch as error:
        raise JobFailedError(
            "invalid", f"Provided Schema does not match Table {load.name}. {error}"
        ) from None
    names = {field.name.lower() for field in load.schema}
    return meta, tuple(field for field in new if field.name.lower() in names), new


def resolve_sources(load: Load, ctx: AppContext) -> list[tuple[str, Path]]:
    """Return address and file of each source.

    Raises:
        JobFailedError: There is no such object, or no source.
    """
    if load.upload:
        return [("", load.upload)]
    sources: list[tuple[str, Path]] = []
    for uri in load.uris:
        if "*" in uri:
            raise JobFailedError("invalid", f"The sandbox's BigQuery loads no URI with *: {uri}")
        path = Path(_path_of(uri, ctx))
        if not path.is_file():
            raise JobFailedError("notFound", f"Not found: URI {uri}")
        sources.append((uri, path))
    if not sources:
        raise JobFailedError("invalid", "Load configuration must specify at least one source URI")
    return sources


def count_rows(cursor: duckdb.DuckDBPyConnection, table: str) -> int:
    """Return how many rows a table of DuckDB has."""
    (count,) = cursor.execute(f"SELECT COUNT(*) FROM {table}").fetchone() or (0,)  # noqa: S608 (quoted)
    return int(count)
