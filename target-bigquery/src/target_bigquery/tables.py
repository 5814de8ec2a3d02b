"""Landing tables: made where that is the target's to do, else checked; widened, never narrowed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from google.api_core.exceptions import BadRequest, NotFound, PreconditionFailed
from google.cloud import bigquery
from google.cloud.bigquery import DEFAULT_RETRY, SchemaField

from target_bigquery.errors import TargetError

if TYPE_CHECKING:
    from target_bigquery.settings import Settings

logger = logging.getLogger("target-bigquery.tables")

PARTITION_COLUMN = "_sdc_batched_at"
CLUSTERABLE = {"STRING", "INTEGER", "BOOLEAN", "DATE", "TIMESTAMP"}
MOST_CLUSTERED = 4
# BigQuery's API answers with the names on the right (https://cloud.google.com/bigquery/docs/reference/rest/v2/tables).
SAME = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN", "STRUCT": "RECORD"}
MAKES_IT = "create it (Terraform does in production), or set create_tables to true"


def ensure(
    client: bigquery.Client,
    reference: bigquery.TableReference,
    fields: list[SchemaField],
    keys: list[str],
    settings: Settings,
) -> tuple[list[SchemaField], bigquery.Table]:
    """Makes or checks a landing table; gives the columns to load, with the table's modes, and the table.

    Raises:
        TargetError: The table is missing and not the target's to make, is elsewhere, or a column cannot hold what the
            stream sends.
        GoogleAPIError: BigQuery refused.
    """
    retry = DEFAULT_RETRY.with_timeout(settings.timeout)
    wanted = bigquery.Table(reference, schema=fields)
    wanted.time_partitioning = bigquery.TimePartitioning(field=PARTITION_COLUMN)
    types = {item.name: item.field_type for item in fields}
    wanted.clustering_fields = [key for key in keys if types[key] in CLUSTERABLE][:MOST_CLUSTERED] or None
    try:
        table = client.get_table(reference, timeout=settings.timeout, retry=retry)
    except NotFound as error:
        if not settings.create_tables:
            raise TargetError(
                f"table {reference} is not there; {MAKES_IT}; the run can then be repeated"
            ) from error
        dataset = bigquery.Dataset(f"{reference.project}.{reference.dataset_id}")
        dataset.location = settings.location
        client.create_dataset(dataset, exists_ok=True, timeout=settings.timeout, retry=retry)
        client.create_table(wanted, exists_ok=True, timeout=settings.timeout, retry=retry)
        table = client.get_table(reference, timeout=settings.timeout, retry=retry)
    if table.location and table.location.lower() != settings.location.lower():
        raise TargetError(
            f"table {reference} is in {table.location}, the location setting says {settings.location}; change the setting"
        )
    _say_layout(table, wanted)
    while True:
        before = shape(list(table.schema))
        try:
            merged, table = _widened(client, table, fields, settings)
            break
        except (PreconditionFailed, BadRequest):
            # Another run may have changed the table since it was read; then what it added is merged too.
            table = client.get_table(reference, timeout=settings.timeout, retry=retry)
            if shape(list(table.schema)) == before:
                raise
    sent = {item.name.lower() for item in fields}
    return [item for item in merged if item.name.lower() in sent], table


def ensure_plain(
    client: bigquery.Client, reference: bigquery.TableReference, fields: list[SchemaField], settings: Settings
) -> None:
    """Makes a table without partitions, or adds the columns that it lacks."""
    retry = DEFAULT_RETRY.with_timeout(settings.timeout)
    wanted = bigquery.Table(reference, schema=fields)
    client.create_table(wanted, exists_ok=True, timeout=settings.timeout, retry=retry)
    table = client.get_table(reference, timeout=settings.timeout, retry=retry)
    _widened(client, table, fields, settings)


def _widened(
    client: bigquery.Client, table: bigquery.Table, fields: list[SchemaField], settings: Settings
) -> tuple[list[SchemaField], bigquery.Table]:
    """Changes a table so that it holds what the stream sends; gives its columns and the table.

    Raises:
        TargetError: A column cannot hold it, or changes are not the target's to make.
        GoogleAPIError: BigQuery refused, or the table has changed since it was read.
    """
    retry = DEFAULT_RETRY.with_timeout(settings.timeout)
    reference = table.reference
    merged, widened = merge(list(table.schema), fields, str(reference))
    if shape(merged) == shape(list(table.schema)):
        return merged, table
    if not settings.create_tables:
        raise TargetError(
            f"table {reference} cannot hold what the stream sends: {_differences(list(table.schema), merged)}; "
            "change it (Terraform does in production), or set create_tables to true"
        )
    for name in widened:
        client.query_and_wait(
            f"ALTER TABLE `{reference.project}.{reference.dataset_id}.{reference.table_id}` "
            f"ALTER COLUMN `{name}` SET DATA TYPE FLOAT64",
            project=settings.project,
            location=settings.location,
        )
        logger.warning("%s: column %s widened from INTEGER to FLOAT", reference, name)
    if widened:
        table = client.get_table(reference, timeout=settings.timeout, retry=retry)
    if shape(merged) != shape(list(table.schema)):
        logger.info("%s: %s", reference, _differences(list(table.schema), merged))
        table.schema = merged
        # With the table's etag: a change by another run in the meantime is refused, not undone.
        table = client.update_table(table, ["schema"], timeout=settings.timeout, retry=retry)
    return merged, table


def shape(fields: list[SchemaField]) -> list[object]:
    """Gives names, types and modes, descriptions left out."""
    return [
        (f.name, SAME.get(f.field_type, f.field_type), f.mode or "NULLABLE", shape(list(f.fields)))
        for f in fields
    ]


def merge(
    old: list[SchemaField], new: list[SchemaField], where: str, *, top: bool = True
) -> tuple[list[SchemaField], list[str]]:
    """Gives the table's columns with what the stream adds, and the names of those widened from INTEGER to FLOAT.

    New columns come last; REQUIRED is relaxed where the stream is; BigQuery widens columns at the top level only.

    Raises:
        TargetError: A column has another type or is an array on one side only; the message names old and new.
    """
    by_name = {item.name.lower(): item for item in new}
    merged, widened = [], []
    for item in old:
        other = by_name.pop(item.name.lower(), None)
        if other is None:
            merged.append(item)
            continue
        was, now = SAME.get(item.field_type, item.field_type), SAME.get(other.field_type, other.field_type)
        arrays = (item.mode == "REPEATED") != (other.mode == "REPEATED")
        widens = top and (was, now) == ("INTEGER", "FLOAT") and item.mode != "REPEATED"
        if (was != now and (was, now) != ("FLOAT", "INTEGER") and not widens) or arrays:
            raise TargetError(
                f"{where}: column {item.name} is {item.mode} {was} in the table, the stream sends {other.mode} {now}; "
                "nothing was loaded; change the stream's schema, or rebuild the table"
            )
        if widens:
            widened.append(item.name)
            was = now
        mode = item.mode if item.mode != "REQUIRED" or other.mode == "REQUIRED" else "NULLABLE"
        inner, _ = merge(list(item.fields), list(other.fields), f"{where}.{item.name}", top=False)
        merged.append(SchemaField(item.name, was, mode=mode, description=item.description, fields=inner))
    for item in by_name.values():
        mode = "NULLABLE" if item.mode == "REQUIRED" else item.mode
        merged.append(
            SchemaField(
                item.name, item.field_type, mode=mode, description=item.description, fields=item.fields
            )
        )
    return merged, widened


def merge_statement(
    table: bigquery.TableReference,
    staging: bigquery.TableReference,
    fields: list[SchemaField],
    keys: list[str],
) -> str:
    """Gives the MERGE that brings the last record of each key from the staging table into the table."""

    def name(reference: bigquery.TableReference) -> str:
        return f"`{reference.project}.{reference.dataset_id}.{reference.table_id}`"

    columns = [f"`{item.name}`" for item in fields]
    on = " AND ".join(f"old.`{key}` = new.`{key}`" for key in keys)
    by = ", ".join(f"`{key}`" for key in keys)
    updates = ", ".join(f"{c} = new.{c}" for c in columns)
    # The names are a dataset's, a table's and columns', cleaned: letters, digits and underscores.
    return (
        f"MERGE {name(table)} AS old USING (SELECT * FROM {name(staging)} "  # noqa: S608
        f"QUALIFY ROW_NUMBER() OVER (PARTITION BY {by} ORDER BY `_sdc_sequence` DESC) = 1) AS new ON {on} "
        f"WHEN MATCHED THEN UPDATE SET {updates} "
        f"WHEN NOT MATCHED THEN INSERT ({', '.join(columns)}) VALUES ({', '.join(f'new.{c}' for c in columns)})"
    )


def _differences(old: list[SchemaField], new: list[SchemaField]) -> str:
    """Names the columns that differ, in the table and in the stream."""
    known = {item.name.lower(): item for item in old}
    texts = []
    for item in new:
        was = known.get(item.name.lower())
        if was is None:
            texts.append(f"column {item.name} ({item.mode} {item.field_type}) is new")
        elif shape([was]) != shape([item]):
            same = (was.field_type, was.mode) == (item.field_type, item.mode)
            texts.append(
                f"column {item.name}: {_differences(list(was.fields), list(item.fields))}"
                if same
                else f"column {item.name} is {was.mode} {was.field_type}, must be {item.mode} {item.field_type}"
            )
    return ", ".join(texts)


def _say_layout(table: bigquery.Table, wanted: bigquery.Table) -> None:
    by = table.time_partitioning.field if table.time_partitioning else None
    if by != PARTITION_COLUMN:
        logger.warning(
            "%s: partitioned by %s, not by day on %s; it is used as it is, queries of one version read more",
            table.reference,
            by or "nothing",
            PARTITION_COLUMN,
        )
    if (table.clustering_fields or None) != wanted.clustering_fields:
        logger.warning(
            "%s: clustered by %s, not by the key %s; it is used as it is",
            table.reference,
            ", ".join(table.clustering_fields or ()) or "nothing",
            ", ".join(wanted.clustering_fields or ()) or "(none)",
        )
