"""JSON schema to BigQuery columns, and a record's values to what a JSON load job reads.

Types: https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-json#details_of_loading_json_data
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import msgspec
from google.cloud.bigquery import SchemaField

from target_bigquery.errors import TargetError, ValueRefusedError
from target_bigquery.names import clean_all

LONGEST_DESCRIPTION = 1024
DEEPEST = 15
INT64 = range(-(2**63), 2**63)
FORMATS = {"date-time": "TIMESTAMP", "date": "DATE", "time": "TIME"}
SCALARS = {"string": "STRING", "integer": "INTEGER", "number": "FLOAT", "boolean": "BOOLEAN"}
PARSERS: dict[str, Any] = {
    "TIMESTAMP": datetime.fromisoformat,
    "DATE": date.fromisoformat,
    "TIME": time.fromisoformat,
}
METADATA = {
    "_sdc_extracted_at": ("TIMESTAMP", "When the tap read the record from the source."),
    "_sdc_received_at": ("TIMESTAMP", "When the target read the record from the tap."),
    "_sdc_batched_at": ("TIMESTAMP", "When the target began this version; one instant for all its rows."),
    "_sdc_deleted_at": ("TIMESTAMP", "When the source deleted the record, where a tap tells."),
    "_sdc_sequence": ("INTEGER", "Order of the records as they were received: epoch milliseconds."),
    "_sdc_table_version": (
        "INTEGER",
        "The version of the stream this row belongs to, as the tap numbers it.",
    ),
    "_sdc_run_id": ("STRING", "The run that loaded this row."),
}


@dataclass(frozen=True)
class Column:
    """One column: its name at the source and in BigQuery, and how values get there."""

    source: str
    name: str
    type: str
    mode: str = "NULLABLE"
    description: str = ""
    columns: tuple[Column, ...] = ()
    required: frozenset[str] = field(default_factory=frozenset)

    def field(self) -> SchemaField:
        """Gives the column as Google's client has it."""
        fields = [column.field() for column in self.columns]
        if not self.description:
            return SchemaField(self.name, self.type, mode=self.mode, fields=fields)
        return SchemaField(self.name, self.type, mode=self.mode, description=self.description, fields=fields)

    def convert(self, value: Any, path: str) -> Any:  # noqa: ANN401 (JSON in, JSON out)
        """Gives the value as a JSON load job reads it.

        Raises:
            ValueRefusedError: The column cannot hold the value; `path` names it.
        """
        if self.mode != "REPEATED":
            return self._one(value, path)
        if not isinstance(value, list):
            raise _refused(path, "an array", value)
        return [self._one(item, f"{path}[{i}]") for i, item in enumerate(value)]

    def _one(self, value: Any, path: str) -> Any:  # noqa: ANN401, C901, PLR0911 (one branch a type)
        match self.type:
            case "STRING" if isinstance(value, str):
                return value
            case "INTEGER" if (
                isinstance(value, int | Decimal) and not isinstance(value, bool) and value == int(value)
            ):
                if int(value) in INT64:
                    return int(value)
                raise _refused(path, "a whole number of 64 bits", value)
            case "FLOAT" if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
                if math.isfinite(value):
                    return value
            case "BOOLEAN" if isinstance(value, bool):
                return value
            case "TIMESTAMP" | "DATE" | "TIME" if isinstance(value, str):
                try:
                    PARSERS[self.type](value)
                except ValueError:
                    raise _refused(path, f"a {self.type} from year 1 to 9999 in ISO 8601", value) from None
                return value
            case "JSON":
                return value
            case "RECORD" if isinstance(value, dict):
                return convert_record(self.columns, self.required, value, path + ".")
        raise _refused(path, self.type, value)


def _refused(path: str, expected: str, value: object) -> ValueRefusedError:
    text = str(value)
    shown = text if len(text) <= 60 else text[:57] + "..."  # noqa: PLR2004 (a log line)
    return ValueRefusedError(f"field {path}: expected {expected}, got {type(value).__name__} {shown!r}")


def convert_record(
    columns: tuple[Column, ...], required: frozenset[str], record: dict[str, Any], path: str = ""
) -> dict[str, Any]:
    """Gives a row of a record: column names, no nulls.

    Raises:
        ValueRefusedError: A field is not in the schema, a required one is missing, or a value does not fit.
    """
    row = {}
    known = 0
    for column in columns:
        if column.source in record:
            known += 1
            value = record[column.source]
            if value is not None:
                row[column.name] = column.convert(value, path + column.source)
                continue
        if column.source in required and column.source not in record:
            raise ValueRefusedError(f"field {path}{column.source}: the schema requires it, and it is missing")
    if known != len(record):
        names = {column.source for column in columns}
        extra = next(name for name in record if name not in names)
        raise ValueRefusedError(
            f"field {path}{extra}: not in the stream's schema; add it there, or deselect it"
        )
    return row


def translate(stream: str, schema: dict[str, Any], key_properties: list[str]) -> tuple[Column, ...]:
    """Gives the columns for a stream's JSON schema, without metadata.

    Raises:
        TargetError: Names collide, a key is not in the schema or no scalar, or the schema nests too deep.
    """
    columns = _columns(schema, stream, schema, 1)
    by_source = {column.source: column for column in columns}
    for key in key_properties:
        column = by_source.get(key)
        if column is None:
            raise TargetError(f"{stream}: the key {key!r} is not in the schema; the tap must send it")
        if column.mode == "REPEATED" or column.type in {"RECORD", "JSON"}:
            raise TargetError(
                f"{stream}: the key {key!r} is {column.mode} {column.type}; a key must be one plain value"
            )
        by_source[key] = replace(column, mode="REQUIRED")
    return tuple(by_source.values())


def metadata_fields() -> list[SchemaField]:
    """Gives the metadata columns."""
    return [SchemaField(name, kind, description=text) for name, (kind, text) in METADATA.items()]


def fingerprint(fields: list[SchemaField]) -> str:
    """Gives 16 hexadecimal digits that change when names, types or modes change, descriptions left out."""
    import hashlib  # noqa: PLC0415 (once a stream)

    def shape(item: SchemaField) -> list[Any]:
        return [item.name, item.field_type, item.mode, [shape(f) for f in item.fields]]

    return hashlib.sha256(msgspec.json.encode([shape(f) for f in fields])).hexdigest()[:16]


def _columns(schema: dict[str, Any], where: str, root: dict[str, Any], depth: int) -> tuple[Column, ...]:
    if depth > DEEPEST:
        raise TargetError(f"{where}: nested deeper than the {DEEPEST} levels that BigQuery takes")
    properties = {k: v for k, v in schema.get("properties", {}).items() if depth > 1 or k not in METADATA}
    names = clean_all(properties, where)
    return tuple(
        _column(key, names[key], value, f"{where}.{key}", root, depth) for key, value in properties.items()
    )


def _column(  # noqa: PLR0911, PLR0913, PLR0917 (a column's place and types)
    source: str, name: str, schema: dict[str, Any], where: str, root: dict[str, Any], depth: int
) -> Column:
    types, resolved = _resolve(schema, root, where)
    description = str(resolved.get("description") or schema.get("description") or "")[:LONGEST_DESCRIPTION]
    column = Column(source, name, "JSON", description=description)
    if len(types) != 1:
        # integer and number together are a number; anything else mixed keeps its form in a JSON column.
        return replace(column, type="FLOAT") if types == {"integer", "number"} else column
    (kind,) = types
    if kind == "array":
        items = _column(source, name, resolved.get("items") or {}, f"{where}[]", root, depth)
        if items.mode == "REPEATED" or items.type == "JSON":
            return column
        return replace(items, mode="REPEATED", description=description)
    if kind == "object":
        if not resolved.get("properties"):
            return column
        columns = _columns(resolved, where, root, depth + 1)
        required = frozenset(resolved.get("required", ()))
        return replace(column, type="RECORD", columns=columns, required=required)
    if kind == "string":
        return replace(column, type=FORMATS.get(resolved.get("format", ""), "STRING"))
    return replace(column, type=SCALARS[kind])


def _resolve(schema: dict[str, Any], root: dict[str, Any], where: str) -> tuple[set[str], dict[str, Any]]:
    """Gives the types a schema allows, null left out, and the schema that describes them."""
    if "$ref" in schema:
        target: Any = root
        for step in str(schema["$ref"]).removeprefix("#/").split("/"):
            if not isinstance(target, dict) or step not in target:
                raise TargetError(f"{where}: {schema['$ref']} points nowhere in the stream's schema")
            target = target[step]
        return _resolve(target, root, where)
    for combined in ("anyOf", "oneOf", "allOf"):
        if combined in schema:
            found = [_resolve(s, root, where) for s in schema[combined]]
            real = [(types, s) for types, s in found if types]
            if len(real) == 1:
                return real[0]
            formats = {str(s.get("format")) for _, s in real}
            types = set().union(*(types for types, _ in real)) if real else set()
            return types, real[0][1] if real and len(types) == 1 and len(formats) == 1 else {}
    kinds = schema.get("type")
    if kinds is None:
        return ({"object"} if "properties" in schema else set()), schema
    types = {kinds} if isinstance(kinds, str) else set(kinds)
    unknown = types - {"null", "array", "object", *SCALARS}
    if unknown:
        raise TargetError(f"{where}: unknown type {', '.join(sorted(unknown))} in the stream's schema")
    return types - {"null"}, schema
