"""JSON schemas to BigQuery columns.

Every JSON schema has a column: of one of BigQuery's own types where every allowed value fits it, else JSON.
Types: https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-json#details_of_loading_json_data
"""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from functools import cached_property, partial
from typing import Any

from google.cloud.bigquery import SchemaField

from target_bigquery.alternatives import (
    Place,
    RecursiveSchemaError,
    alternatives_of,
    is_open,
    properties_of,
    required_of,
)
from target_bigquery.columns import Column, record_converter
from target_bigquery.errors import TargetError
from target_bigquery.names import clean_all, described
from target_bigquery.values import DECIMALS, converters

DEEPEST = 15
# Decimals as text: singer-python's and the SDK's.
DECIMAL_TEXTS = {"singer.decimal": "BIGNUMERIC", "x-singer.decimal": "BIGNUMERIC"}
FORMATS = {"date-time": "TIMESTAMP", "date": "DATE", "time": "TIME", **DECIMAL_TEXTS}
SCALARS = {"string": "STRING", "integer": "INTEGER", "number": "FLOAT", "boolean": "BOOLEAN"}
LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
EXTRA = "_additional_properties"
METADATA_PREFIX = "_sdc_"
METADATA = {
    "_sdc_extracted_at": ("TIMESTAMP", "When the tap read the record from the source."),
    "_sdc_received_at": ("TIMESTAMP", "When the target read the record from the tap."),
    "_sdc_batched_at": ("TIMESTAMP", "When the target began this version; one instant for all its rows."),
    "_sdc_deleted_at": ("TIMESTAMP", "When the source deleted the record, where the tap reports it."),
    "_sdc_sequence": ("INTEGER", "Order of the records as they were received: epoch milliseconds."),
    "_sdc_table_version": (
        "INTEGER",
        "The version of the stream this row belongs to, as the tap numbers it.",
    ),
    "_sdc_run_id": ("STRING", "The run that loaded this row."),
}


@dataclass(frozen=True)
class Translated:
    """A stream's schema in BigQuery: its columns without metadata, and what its records must have.

    `moment` checks a time of the target's own metadata, and cuts nanoseconds. `extra` is the JSON column of the fields that the schema allows and
    does not list, None where it allows none.
    """

    columns: tuple[Column, ...]
    required: frozenset[str]
    moment: Callable[[Any], str]
    extra: Column | None = None

    @cached_property
    def row(self) -> Callable[[Any], dict[str, Any]]:
        """Return the row for a record; metadata that the schema does not allow is left out (`record_converter`)."""
        ignored = METADATA.__contains__ if self.extra else _is_metadata
        return record_converter(self.columns, self.required, self.extra, ignored)

    def fields(self) -> list[SchemaField]:
        """Return the columns as Google's client has them, the one of further fields last."""
        return [column.field() for column in (*self.columns, *([self.extra] if self.extra else []))]


def translate(
    stream: str,
    schema: dict[str, Any],
    key_properties: Sequence[str],
    *,
    lossy: bool = False,
    wide: Callable[[str], None] = lambda _: None,
) -> Translated:
    """Return the columns for a stream's JSON schema, without the target's own metadata.

    Args:
        stream: Its name, for messages.
        schema: With `properties` (`root`).
        key_properties: Names of the key's fields.
        lossy: Whether digits that a column cannot hold are cut instead of refused.
        wide: Called with the name of the column for each integer or decimal in it that a FLOAT would round.
    """
    translator = _Translator(lossy=lossy, wide=wide)
    place = Place(stream, schema)
    # A tap's field with the name of the target's own metadata is dropped, unless it is a key.
    names = {
        name: value
        for name, value in properties_of(schema, stream).items()
        if name not in METADATA or name in key_properties
    }
    columns = {column.source: column for column in translator.columns(names, place, taken={*METADATA, EXTRA})}
    for key in key_properties:
        column = columns.get(key)
        if column is None and is_open(schema):
            continue
        if column is None:
            raise TargetError(f"{stream}: the key {key!r} is not in the schema; the tap must send it")
        if column.mode == "REPEATED" or column.type in {"RECORD", "JSON"}:
            raise TargetError(
                f"{stream}: the key {key!r} is {column.mode} {column.type}; a key must be one plain value"
            )
        columns[key] = replace(column, mode="REQUIRED")
    required = frozenset(name for name in required_of(schema) if name not in METADATA)
    extra = None
    if is_open(schema):
        description = "Fields that the schema allows and does not list."
        extra = replace(translator.json, source=EXTRA, name=EXTRA, description=description)
    moment = converters(lossy=True)["TIMESTAMP"]
    return Translated(tuple(columns.values()), required, moment, extra)


def metadata_fields() -> list[SchemaField]:
    """Return the metadata columns."""
    return [SchemaField(name, kind, description=text) for name, (kind, text) in METADATA.items()]


def _is_metadata(name: str) -> bool:
    return name.startswith(METADATA_PREFIX)


class _Translator:
    """Makes columns of schemas."""

    def __init__(self, *, lossy: bool, wide: Callable[[str], None]) -> None:
        self._lossy, self._wide = lossy, wide
        self.converters = converters(lossy=lossy)
        self.json = self._scalar("JSON")

    def columns(
        self, properties: dict[str, Any], place: Place, taken: Container[str] = ()
    ) -> tuple[Column, ...]:
        """Return the columns of an object's properties, with names that are not `taken`."""
        names = clean_all(properties, taken)
        columns = []
        for key, value in properties.items():
            if place.depth == 1:
                self.converters = converters(lossy=self._lossy, wide=partial(self._wide, names[key]))
            columns.append(self.column(key, names[key], value, place.into(f".{key}")))
        return tuple(columns)

    def column(self, source: str, name: str, schema: Any, place: Place) -> Column:  # noqa: ANN401
        """Return the column of one field."""
        used: set[str] = set()
        try:
            alternatives = alternatives_of(schema, place, used)
            column = self._merged(alternatives, place.into("", refs=used))
        except RecursiveSchemaError as error:
            # A recursive structure has no finite columns: the field where it begins is JSON.
            if error.ref in place.refs and place.depth > 1:
                raise
            alternatives, column = [], self.json
        stated = [schema, *alternatives] if isinstance(schema, dict) else alternatives
        text = next((str(one["description"]) for one in stated if one.get("description")), "")
        text = described(text, "field", "" if name == source else source)
        return replace(column, source=source, name=name, description=text)

    def _merged(self, alternatives: list[dict[str, Any]], place: Place) -> Column:
        by_kind: dict[str, list[dict[str, Any]]] = {}
        for one in alternatives:
            kind = one.get("type") or _implied(one)
            if kind is None:
                return self.json
            by_kind.setdefault(kind, []).append(one)
        by_kind.pop("null", None)
        if by_kind.keys() == {"integer", "number"}:
            del by_kind["integer"]
        if len(by_kind) != 1:
            return self.json
        ((kind, schemas),) = by_kind.items()
        if kind == "array":
            columns = [self._array(one, place) for one in schemas]
        elif kind == "object":
            columns = [self._object(one, place) for one in schemas]
        else:
            columns = [self._scalar(_scalar_type(kind, one)) for one in schemas]
        first = columns[0]
        if any(other != first for other in columns):
            return self._scalar("STRING") if kind == "string" else self._wider(columns)
        return replace(first, required=frozenset.intersection(*(one.required for one in columns)))

    def _wider(self, columns: list[Column]) -> Column:
        types = {column.type for column in columns}
        if types <= {"FLOAT", "NUMERIC", "BIGNUMERIC"} and not any(c.mode == "REPEATED" for c in columns):
            return self._scalar("FLOAT" if "FLOAT" in types else "BIGNUMERIC")
        return self.json

    def _array(self, schema: dict[str, Any], place: Place) -> Column:
        items = schema.get("items", True)
        if isinstance(items, list) or "prefixItems" in schema:
            return self.json
        place = place.into("[]")
        # BigQuery's arrays hold no NULL and no arrays.
        if any(one.get("type") == "null" for one in alternatives_of(items, place)):
            return self.json
        column = self.column("", "", items, place)
        if column.mode == "REPEATED" or column.type == "JSON":
            return self.json
        return replace(column, mode="REPEATED")

    def _object(self, schema: dict[str, Any], place: Place) -> Column:
        properties = properties_of(schema, place.where)
        if not properties or is_open(schema) or place.depth == DEEPEST:
            return self.json
        columns = self.columns(properties, place.into("", deeper=True))
        return Column("RECORD", columns=columns, required=required_of(schema))

    def _scalar(self, kind: str) -> Column:
        return Column(kind, convert_one=self.converters[kind])


def _implied(schema: dict[str, Any]) -> str | None:
    """Return the type that the keywords of a schema without one imply; None where it may be anything."""
    if "properties" in schema:
        return "object"
    if schema.get("format") in FORMATS:
        return "string"
    return "array" if "items" in schema or "prefixItems" in schema else None


def _scalar_type(kind: str, schema: dict[str, Any]) -> str:
    if kind == "string":
        return FORMATS.get(str(schema.get("format")), "STRING")
    scale = _scale(schema) if kind == "number" else None
    if scale is None:
        return SCALARS[kind]
    limits = [abs(schema[word]) for word in LIMITS if isinstance(schema.get(word), int | float | Decimal)]
    before, after = DECIMALS["NUMERIC"]
    fits = scale <= after and all(limit <= Decimal(10) ** before for limit in limits)
    return "NUMERIC" if fits else "BIGNUMERIC"


def _scale(schema: dict[str, Any]) -> int | None:
    """Return the digits after the point that a number's multipleOf allows, None where there is none."""
    try:
        step = Decimal(str(schema["multipleOf"]))
        exponent = step.normalize().as_tuple().exponent
    except (KeyError, InvalidOperation):
        return None
    return max(0, -exponent) if isinstance(exponent, int) and step > 0 else None
