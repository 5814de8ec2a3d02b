"""Landing tables: created where `create_tables` is on, else checked; widened, never narrowed."""

import hashlib
import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import msgspec
from google.api_core.exceptions import BadRequest, Forbidden, NotFound, PreconditionFailed
from google.cloud import bigquery
from google.cloud.bigquery import SchemaField

from target_bigquery.cloud import Cloud
from target_bigquery.errors import TargetError
from target_bigquery.names import at_source, clean, described

logger = logging.getLogger("target-bigquery.tables")

PARTITION_COLUMN = "_sdc_batched_at"
CLUSTERABLE = {"STRING", "INTEGER", "BOOLEAN", "DATE", "TIMESTAMP", "NUMERIC", "BIGNUMERIC"}
MOST_CLUSTERED = 4
# SQL's names of the types that BigQuery's API names otherwise.
SQL = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL", "RECORD": "STRUCT"}
# What columns can be widened to (https://cloud.google.com/bigquery/docs/managing-table-schemas#change_column_data_type);
# widening to FLOAT64 rounds values of more than 15 digits.
LOSSLESS = {("INTEGER", "NUMERIC"), ("INTEGER", "BIGNUMERIC"), ("NUMERIC", "BIGNUMERIC")}
LOSSY = {("INTEGER", "FLOAT"), ("NUMERIC", "FLOAT"), ("BIGNUMERIC", "FLOAT")}
# Types that need no change of the column: the table's, the stream's.
COMPATIBLE = {
    ("FLOAT", "INTEGER"),
    ("FLOAT", "NUMERIC"),
    ("FLOAT", "BIGNUMERIC"),
    ("NUMERIC", "INTEGER"),
    ("BIGNUMERIC", "INTEGER"),
    ("BIGNUMERIC", "NUMERIC"),
}
# Versions and records are ordered by this machine's clock, which may differ this much from BigQuery's.
CLOCKS_DIFFER = timedelta(minutes=1)
HOW_TO_RENAME = "rename a field with a stream map, or the column: ALTER TABLE … RENAME COLUMN {} TO {}"


def ensure(
    cloud: Cloud, reference: bigquery.TableReference, stream: str, fields: list[SchemaField], keys: list[str]
) -> list[SchemaField]:
    """Create or check a stream's landing table; return the columns to load, with the table's modes.

    Raises:
        GoogleAPIError: BigQuery refused.
    """
    wanted = bigquery.Table(reference, schema=fields)
    wanted.description = described("", "stream", stream)
    wanted.time_partitioning = bigquery.TimePartitioning(field=PARTITION_COLUMN)
    types = {item.name: item.field_type for item in fields}
    wanted.clustering_fields = [key for key in keys if types[key] in CLUSTERABLE][:MOST_CLUSTERED] or None
    table = _created(cloud, wanted)
    location = cloud.settings.location
    if table.location and table.location.lower() != location.lower():
        raise TargetError(
            f"table {reference} is in {table.location}, the location setting says {location}; change the setting"
        )
    if (other := at_source(table.description, "stream")) not in {
        None,
        at_source(wanted.description, "stream"),
    }:
        raise TargetError(
            f"table {reference} holds the source's stream {other!r}, as its description says, and the stream {stream!r} would "
            "go there too; nothing was loaded; rename it with a stream map"
        )
    if table.modified and datetime.now(UTC) < table.modified - CLOCKS_DIFFER:
        raise TargetError(
            f"table {reference} was changed at {table.modified}, and this machine's clock says {datetime.now(UTC)}: what is loaded now "
            "would count as older than what is there; nothing was loaded; set the clock, then run again with the same run id"
        )
    _warn_of_layout(table, wanted)
    sent = {item.name.lower() for item in fields}
    return [item for item in _fitted(cloud, table, fields) if item.name.lower() in sent]


def ensure_ledger(cloud: Cloud, reference: bigquery.TableReference, fields: list[SchemaField]) -> None:
    """Create the ledger, or add the columns that it lacks, where `create_tables` is on.

    Raises:
        GoogleAPIError: BigQuery refused.
    """
    if cloud.settings.create_tables:
        _fitted(cloud, _created(cloud, bigquery.Table(reference, schema=fields)), fields)


def _created(cloud: Cloud, wanted: bigquery.Table) -> bigquery.Table:
    """Return the table of that name, created where it is missing and `create_tables` is on."""
    table = _read_or_created(cloud, wanted)
    # A dataset's default, which a project without billing cannot change.
    if table.expires:
        logger.warning(
            "%s: BigQuery deletes it with all its rows at %s; to keep it: ALTER TABLE %s SET OPTIONS (expiration_timestamp = NULL), "
            "and ALTER SCHEMA %s SET OPTIONS (default_table_expiration_days = NULL) for new tables",
            table.reference,
            table.expires,
            quoted(table.reference),
            f"`{table.project}.{table.dataset_id}`",
        )
    return table


def _read_or_created(cloud: Cloud, wanted: bigquery.Table) -> bigquery.Table:
    reference = wanted.reference
    try:
        return cloud.bigquery.get_table(reference, **cloud.call)
    except NotFound as error:
        if not cloud.settings.create_tables:
            raise TargetError(
                f"table {reference} does not exist; create it (Terraform does in production), or set create_tables to true; the run can "
                "then be repeated"
            ) from error
        _ensure_dataset(cloud)
    except Forbidden:
        # BigQuery may refuse a table of a missing dataset instead of not finding it.
        if not cloud.settings.create_tables or not _ensure_dataset(cloud):
            raise
    cloud.bigquery.create_table(wanted, exists_ok=True, **cloud.call)
    return cloud.bigquery.get_table(reference, **cloud.call)


def _ensure_dataset(cloud: Cloud) -> bool:
    """Create the dataset if it is missing; return whether it was.

    BigQuery checks the permission to create one before it looks whether the dataset exists.
    """
    with suppress(NotFound):
        cloud.bigquery.get_dataset(cloud.dataset, **cloud.call)
        return False
    dataset = bigquery.Dataset(cloud.dataset)
    dataset.location = cloud.settings.location
    try:
        cloud.bigquery.create_dataset(dataset, exists_ok=True, **cloud.call)
    except Forbidden as error:
        raise TargetError(
            f"dataset {cloud.dataset} does not exist, and may not be created here; create it (Terraform does), or grant "
            f"roles/bigquery.user on project {cloud.settings.project}"
        ) from error
    return True


def _fitted(cloud: Cloud, table: bigquery.Table, fields: list[SchemaField]) -> list[SchemaField]:
    """Change a table so that it holds what the stream sends; return its columns."""
    while True:
        before = shape(table.schema)
        try:
            return _widened(cloud, table, fields)
        except (PreconditionFailed, BadRequest):
            # Another run may have changed the table since it was read: merge what it added.
            table = cloud.bigquery.get_table(table.reference, **cloud.call)
            if shape(table.schema) == before:
                raise


def _widened(cloud: Cloud, table: bigquery.Table, fields: list[SchemaField]) -> list[SchemaField]:
    reference = table.reference
    # An empty table has nothing to round.
    lossy = cloud.settings.allow_loss or not (table.num_rows or table.streaming_buffer)
    merged, widened = merge(list(table.schema), fields, str(reference), lossy=lossy)
    if shape(merged) == shape(table.schema):
        return merged
    if not cloud.settings.create_tables:
        raise TargetError(
            f"table {reference} cannot hold what the stream sends: {_differences(table.schema, merged)}; "
            "change it (Terraform does in production), or set create_tables to true"
        )
    for name, kind in widened.items():
        cloud.query(widen_statement(reference, name, kind))
        logger.warning("%s: column %s widened to %s", reference, name, kind)
    if widened:
        table = cloud.bigquery.get_table(reference, **cloud.call)
    if shape(merged) != shape(table.schema):
        logger.info("%s: %s", reference, _differences(table.schema, merged))
        table.schema = merged
        # The table's etag makes BigQuery refuse this where another run has changed it in the meantime.
        cloud.bigquery.update_table(table, ["schema"], **cloud.call)
    return merged


def widen_statement(table: bigquery.TableReference, column: str, kind: str) -> str:
    """Return the statement that widens a column of the table's top level."""
    return f"ALTER TABLE {quoted(table)} ALTER COLUMN `{column}` SET DATA TYPE {SQL.get(kind, kind)}"


def quoted(table: bigquery.TableReference) -> str:
    """Return a table's quoted name."""
    return f"`{table.project}.{table.dataset_id}.{table.table_id}`"


def shape(fields: Iterable[SchemaField]) -> list[object]:
    """Return names, types and modes, without descriptions."""
    return [(f.name, f.field_type, f.mode or "NULLABLE", shape(f.fields)) for f in fields]


def fingerprint(fields: Iterable[SchemaField]) -> str:
    """Return 16 hexadecimal digits that change with the columns' `shape`."""
    return hashlib.sha256(msgspec.json.encode(shape(fields))).hexdigest()[:16]


def merge(
    old: list[SchemaField], new: list[SchemaField], where: str, *, top: bool = True, lossy: bool = False
) -> tuple[list[SchemaField], dict[str, str]]:
    """Return the table's columns with those that the stream adds, and the new types of columns to widen.

    New columns come last; REQUIRED becomes NULLABLE where the stream's column is; BigQuery widens top-level columns only.
    A column that cannot hold both, or holds another field of the source, is refused.
    """
    added = {item.name.lower(): item for item in new}
    columns = {_field(item): item.name for item in old}
    merged: list[SchemaField] = []
    widened: dict[str, str] = {}
    for item in old:
        sent = added.pop(item.name.lower(), None)
        if sent is None:
            merged.append(item)
            continue
        was, now = _field(item), _field(sent)
        # A name that ends in the hash of a field's name is that field's alone.
        if was not in {now, clean(now, mark=True)}:
            raise TargetError(
                f"{where}: column {item.name} holds the source's field {was!r}, and {now!r} would go there too; nothing was "
                f"loaded; {HOW_TO_RENAME.format(item.name, clean(was, mark=True))}"
            )
        kind = _merged_type(item, sent, where, top=top, lossy=lossy)
        if kind != item.field_type:
            widened[item.name] = kind
        mode = "NULLABLE" if item.mode == "REQUIRED" and sent.mode != "REQUIRED" else item.mode
        inner, _ = merge(list(item.fields), list(sent.fields), f"{where}.{item.name}", top=False)
        merged.append(_changed(item, kind, mode, inner))
    for item in added.values():
        if column := columns.get(_field(item)):
            raise TargetError(
                f"{where}: the source's field {_field(item)!r} is column {column}, and would be {item.name} beside what the stream "
                f"sends now; nothing was loaded; {HOW_TO_RENAME.format(column, item.name)}"
            )
        mode = "NULLABLE" if item.mode == "REQUIRED" else item.mode
        merged.append(_changed(item, item.field_type, mode, item.fields))
    return merged, widened


def _field(column: SchemaField) -> str:
    """Return the name of a column's field at the source."""
    return at_source(column.description, "field") or column.name


def _merged_type(old: SchemaField, new: SchemaField, where: str, *, top: bool, lossy: bool) -> str:
    """Return the type of the table's column that holds its own values and the stream's."""
    was, now = types = old.field_type, new.field_type
    differ = f"{where}: column {old.name} is {old.mode} {was} in the table, the stream sends {new.mode} {now}; nothing was loaded"
    if (old.mode == "REPEATED") == (new.mode == "REPEATED"):
        if was == now or types in COMPATIBLE:
            return was
        if top and old.mode != "REPEATED" and types in LOSSLESS | LOSSY:
            if types in LOSSLESS or lossy:
                return now
            raise TargetError(
                f"{differ}: widening would round what the table holds; make the field an integer in the stream's schema or "
                "give its multipleOf, or set allow_loss"
            )
    raise TargetError(f"{differ}; change the stream's schema, or rebuild the table")


def _changed(item: SchemaField, kind: str, mode: str, fields: Iterable[SchemaField]) -> SchemaField:
    return SchemaField(item.name, kind, mode=mode, description=item.description, fields=tuple(fields))


def refuse_rounding(where: str, exact: Iterable[SchemaField], fields: Iterable[SchemaField]) -> None:
    """Refuse a load whose values a FLOAT column of the table would round.

    Args:
        where: The table, for the message.
        exact: The stream's columns with values that a FLOAT would round.
        fields: The table's columns.
    """
    by_name = {item.name.lower(): item for item in fields}
    for item in exact:
        there = by_name[item.name.lower()]
        if there.field_type == "FLOAT" and item.field_type != "FLOAT":
            raise TargetError(
                f"{where}: column {item.name} is FLOAT in the table, the stream sends {item.field_type} with digits that a "
                "FLOAT rounds; nothing was loaded; rebuild the table with that type, or set allow_loss"
            )
        refuse_rounding(f"{where}.{item.name}", item.fields, there.fields)


def merge_statement(
    table: bigquery.TableReference,
    staging: bigquery.TableReference,
    fields: list[SchemaField],
    keys: list[str],
) -> str:
    """Return the MERGE that brings the last record of each key from the staging table into the table."""
    columns = [f"`{item.name}`" for item in fields]
    on = " AND ".join(f"kept.`{key}` = sent.`{key}`" for key in keys)
    # BigQuery does not partition by FLOAT64, but by its text; -0.0 equals 0.0, which it is when 0 is added.
    floats = {item.name for item in fields if item.field_type == "FLOAT"}
    by = ", ".join(f"TO_JSON_STRING(`{key}`{' + 0' if key in floats else ''})" for key in keys)
    updates = ", ".join(f"{c} = sent.{c}" for c in columns)
    # The names are a dataset's, a table's and columns', cleaned: letters, digits and underscores.
    return (
        f"MERGE {quoted(table)} AS kept USING (SELECT * FROM {quoted(staging)} WHERE TRUE "  # noqa: S608
        f"QUALIFY ROW_NUMBER() OVER (PARTITION BY {by} ORDER BY `_sdc_sequence` DESC) = 1) AS sent ON {on} "
        f"WHEN MATCHED THEN UPDATE SET {updates} "
        f"WHEN NOT MATCHED THEN INSERT ({', '.join(columns)}) VALUES ({', '.join(f'sent.{c}' for c in columns)})"
    )


def count_statement(table: bigquery.TableReference) -> str:
    """Return the query that counts a version's rows, by the parameters batched_at, run_id and version."""
    return (
        f"SELECT COUNT(*) FROM {quoted(table)} WHERE `{PARTITION_COLUMN}` = @batched_at "  # noqa: S608
        "AND `_sdc_run_id` = @run_id AND `_sdc_table_version` = @version"
    )


def _differences(old: Iterable[SchemaField], new: Iterable[SchemaField]) -> str:
    """Return the columns that differ between the table and the stream, as text."""
    known = dict(_described(old))
    return ", ".join(
        f"column {name} is {known[name]}, must be {kind}"
        if name in known
        else f"column {name} ({kind}) is new"
        for name, kind in _described(new)
        if known.get(name) != kind
    )


def _described(fields: Iterable[SchemaField], under: str = "") -> Iterator[tuple[str, str]]:
    """Yield the path, and mode and type, of columns and of the fields in them."""
    for item in fields:
        yield f"{under}{item.name}", f"{item.mode} {item.field_type}"
        yield from _described(item.fields, f"{under}{item.name}.")


def _warn_of_layout(table: bigquery.Table, wanted: bigquery.Table) -> None:
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
