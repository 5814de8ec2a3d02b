"""JSON schemas to BigQuery columns, and records to the rows that a JSON load job reads.

Every JSON schema has a column: of one of BigQuery's own types where every allowed value fits it, else JSON.
A schema is first expanded into alternatives of one type each (`_alternatives`), which then become one column.
Types: https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-json#details_of_loading_json_data
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec
from google.cloud.bigquery import SchemaField

from target_bigquery.errors import TargetError, ValueRefusedError
from target_bigquery.names import clean_all
from target_bigquery.values import DECIMALS, converters, text

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Sequence

LONGEST_DESCRIPTION = 1024
DEEPEST = 15
MOST_ALTERNATIVES = 64
FORMATS = {"date-time": "TIMESTAMP", "date": "DATE", "time": "TIME", "singer.decimal": "BIGNUMERIC"}
SCALARS = {"string": "STRING", "integer": "INTEGER", "number": "FLOAT", "boolean": "BOOLEAN"}
TYPES = {"null", "array", "object", *SCALARS}
LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
# Keywords under which an object may have fields that `properties` does not list.
OPEN = ("patternProperties", "if", "then", "else", "dependentSchemas", "dependencies")
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
class Column:
    """One column: its type, its name at the source and in BigQuery, and how values get there."""

    type: str
    source: str = ""
    name: str = ""
    mode: str = "NULLABLE"
    description: str = field(default="", compare=False)
    columns: tuple[Column, ...] = ()
    required: frozenset[str] = field(default=frozenset(), compare=False)
    convert_one: Callable[[Any], Any] | None = field(default=None, compare=False, repr=False)

    def field(self) -> SchemaField:
        """Return the column as Google's client has it."""
        fields = [column.field() for column in self.columns]
        if not self.description:
            return SchemaField(self.name, self.type, mode=self.mode, fields=fields)
        return SchemaField(self.name, self.type, mode=self.mode, description=self.description, fields=fields)

    @cached_property
    def convert(self) -> Callable[[Any], Any]:
        """Return a value as a JSON load job reads it; raises ValueRefusedError where the column cannot hold it."""
        one = self.convert_one or record_converter(self.columns, self.required)
        return partial(_convert_items, one) if self.mode == "REPEATED" else one


def _convert_items(convert: Callable[[Any], Any], value: Any) -> list[Any]:  # noqa: ANN401 (JSON)
    if not isinstance(value, list):
        raise ValueRefusedError.of("an array", value)
    done: list[Any] = []
    for item in value:
        try:
            done.append(convert(item))
        except ValueRefusedError as error:
            raise error.under(f"[{len(done)}]") from None
    return done


def record_converter(
    columns: Iterable[Column],
    required: frozenset[str],
    extra: Column | None = None,
    ignored: str | None = None,
) -> Callable[[Any], dict[str, Any]]:
    """Return the function that makes a row of a record: column names, no nulls.

    It raises ValueRefusedError where a field is not in the schema, a required one is missing, or a value does not fit.

    Args:
        columns: The columns of the fields that the schema lists.
        required: The fields that a record must have.
        extra: The column of fields that the schema allows and does not list.
        ignored: Beginning of the names of unlisted fields that are left out.
    """
    known = {column.source: (column.name, column.convert, column.convert is text) for column in columns}
    needed = required & known.keys()

    def convert(record: Any) -> dict[str, Any]:  # noqa: ANN401 (JSON)
        if not isinstance(record, dict):
            raise ValueRefusedError.of("RECORD", record)
        row, rest = {}, {}
        for source, value in record.items():
            if source not in known:
                rest[source] = value
                continue
            name, convert_value, is_text = known[source]
            # Most values are texts, and taken as they are: a call less for each.
            if is_text and value.__class__ is str:
                row[name] = value
            elif value is not None:
                try:
                    row[name] = convert_value(value)
                except ValueRefusedError as error:
                    raise error.under(source) from None
        if not needed.issubset(record):
            missing = next(name for name in known if name in needed and name not in record)
            raise ValueRefusedError("the schema requires it, and it is missing").under(missing)
        return row | _unlisted(rest, extra, ignored) if rest else row

    return convert


def _unlisted(fields: dict[str, Any], extra: Column | None, ignored: str | None) -> dict[str, Any]:
    kept = {name: value for name, value in fields.items() if not ignored or not name.startswith(ignored)}
    if kept and extra is None:
        refused = ValueRefusedError("not in the stream's schema; add it there, or deselect it")
        raise refused.under(next(iter(kept)))
    return {extra.name: extra.convert(kept)} if kept and extra else {}


@dataclass(frozen=True)
class Translated:
    """A stream's schema in BigQuery: its columns without metadata, and what its records must have.

    `moment` checks a time of the target's own metadata. `extra` is the JSON column of the fields that the schema allows and does not list, None where it allows none.
    """

    columns: tuple[Column, ...]
    required: frozenset[str]
    moment: Callable[[Any], str]
    extra: Column | None = None

    @cached_property
    def row(self) -> Callable[[Any], dict[str, Any]]:
        """Return the row for a record; metadata that the schema does not list is left out (`record_converter`)."""
        return record_converter(self.columns, self.required, self.extra, METADATA_PREFIX)

    def fields(self) -> list[SchemaField]:
        """Return the columns as Google's client has them, the one of further fields last."""
        return [column.field() for column in (*self.columns, *([self.extra] if self.extra else []))]


def root(stream: str, schema: Any) -> dict[str, Any]:  # noqa: ANN401 (whatever a tap sends)
    """Return a stream's schema as one object with `properties`, with combinations and references resolved.

    Raises:
        TargetError: It describes something other than objects.
    """
    if isinstance(schema, dict) and isinstance(schema.get("properties"), dict) and not COMBINED & set(schema):
        return schema
    whole = schema if isinstance(schema, dict) else {}
    try:
        alternatives = _alternatives(schema, _Place(stream, whole))
    except _RecursionError as error:
        raise TargetError(
            f"{stream}: the schema is nothing but {error.ref}, a reference to itself; look at the tap"
        ) from None
    found = [one for one in alternatives if one.get("type", "object") == "object"]
    if not found:
        raise TargetError(f"{stream}: the schema describes no object; a stream's records are objects")
    merged: dict[str, Any] = {k: v for k, v in whole.items() if k not in COMBINED}
    merged["type"], merged["properties"] = "object", {}
    for one in found:
        for name, value in _properties(one, stream).items():
            known = merged["properties"].get(name)
            same = known is None or _key(known) == _key(value)
            merged["properties"][name] = value if same else {"anyOf": [known, value]}
    merged["required"] = sorted(frozenset.intersection(*(_required(one) for one in found)))
    merged.pop("additionalProperties", None)
    if any(_is_open(one) for one in found):
        merged["additionalProperties"] = True
    elif not any("properties" in one for one in found):
        raise TargetError(f"{stream}: the schema lists no properties; look at the tap")
    return merged


def translate(
    stream: str,
    schema: dict[str, Any],
    key_properties: Sequence[str],
    *,
    lossy: bool = False,
    wide: Callable[[], None] = lambda: None,
) -> Translated:
    """Return the columns for a stream's JSON schema, without the target's own metadata.

    Args:
        stream: Its name, for messages.
        schema: With `properties` (`root`).
        key_properties: Names of the key's fields.
        lossy: Whether digits that a column cannot hold are cut instead of refused.
        wide: Called for each integer that a FLOAT would round.

    Raises:
        TargetError: The schema is invalid, or a key is not in it or not a scalar.
    """
    types = converters(lossy=lossy, wide=wide)
    translator = _Translator(types)
    place = _Place(stream, schema)
    # A tap's field with the name of the target's own metadata is dropped, unless it is a key.
    names = {
        name: value
        for name, value in _properties(schema, stream).items()
        if name not in METADATA or name in key_properties
    }
    columns = {column.source: column for column in translator.columns(names, place, taken={*METADATA, EXTRA})}
    for key in key_properties:
        column = columns.get(key)
        if column is None:
            raise TargetError(f"{stream}: the key {key!r} is not in the schema; the tap must send it")
        if column.mode == "REPEATED" or column.type in {"RECORD", "JSON"}:
            raise TargetError(
                f"{stream}: the key {key!r} is {column.mode} {column.type}; a key must be one plain value"
            )
        columns[key] = replace(column, mode="REQUIRED")
    required = frozenset(name for name in _required(schema) if name not in METADATA)
    extra = None
    if _is_open(schema):
        description = "Fields that the schema allows and does not list."
        extra = replace(translator.json, source=EXTRA, name=EXTRA, description=description)
    return Translated(tuple(columns.values()), required, types["TIMESTAMP"], extra)


def metadata_fields() -> list[SchemaField]:
    """Return the metadata columns."""
    return [SchemaField(name, kind, description=text) for name, (kind, text) in METADATA.items()]


COMBINED = {"$ref", "allOf", "anyOf", "oneOf"}


@dataclass(frozen=True)
class _Place:
    """A place in a schema: its name for messages, the whole schema, the depth, and the references that led here."""

    where: str
    root: dict[str, Any]
    depth: int = 1
    refs: frozenset[str] = frozenset()

    def into(self, name: str, *, refs: Iterable[str] = (), deeper: bool = False) -> _Place:
        """Return the place of a subschema."""
        return replace(
            self,
            where=f"{self.where}{name}",
            depth=self.depth + deeper,
            refs=self.refs.union(refs),
        )


class _RecursionError(Exception):
    """A schema refers to itself."""

    def __init__(self, ref: str) -> None:
        super().__init__(ref)
        self.ref = ref


def _alternatives(schema: Any, place: _Place, used: set[str] | None = None) -> list[dict[str, Any]]:  # noqa: ANN401
    """Return the alternatives of a schema, each with one `type`, or with none where the schema allows any.

    Args:
        schema: A JSON schema: an object, true or false.
        place: Its place.
        used: Collects the references that were followed.

    Raises:
        TargetError: It is not a JSON schema, or a reference points nowhere.
        _RecursionError: It refers to itself.
    """
    used = set() if used is None else used
    if schema is True:
        return [{}]
    if schema is False:
        return []
    if not isinstance(schema, dict):
        raise TargetError(f"{place.where}: a schema is an object, true or false, not {str(schema)[:40]!r}")
    own = {k: v for k, v in schema.items() if k not in COMBINED}
    untyped = {k: v for k, v in own.items() if k != "type"}
    found = [{**untyped, "type": kind} for kind in _types(own, place)] or [untyped]
    if "$ref" in schema:
        ref = str(schema["$ref"])
        if ref in place.refs:
            raise _RecursionError(ref)
        used.add(ref)
        found = _intersection(found, _alternatives(_resolve(ref, place), place.into("", refs=[ref]), used))
    for part in _listed(schema, "allOf", place):
        found = _intersection(found, _alternatives(part, place, used))
    for combined in ("anyOf", "oneOf"):
        if combined in schema:
            union = [
                one for part in _listed(schema, combined, place) for one in _alternatives(part, place, used)
            ]
            found = _intersection(found, union)
    return found if len(found) <= MOST_ALTERNATIVES else [{}]


def _listed(schema: dict[str, Any], keyword: str, place: _Place) -> list[Any]:
    parts = schema.get(keyword, [])
    if not isinstance(parts, list):
        raise TargetError(f"{place.where}: {keyword} is not a list in the stream's schema")
    return parts


def _types(schema: dict[str, Any], place: _Place) -> list[str]:
    """Return the types that a schema names, or that its const or enum implies."""
    given = schema.get("type")
    if given is None:
        values = [schema["const"]] if "const" in schema else schema.get("enum")
        if not isinstance(values, list):
            return []
        return list(dict.fromkeys(_type_of(value) for value in values))
    kinds = given if isinstance(given, list) else [given]
    if "any" in kinds:
        return []  # draft 3
    unknown = [str(kind) for kind in kinds if not isinstance(kind, str) or kind not in TYPES]
    if unknown:
        raise TargetError(f"{place.where}: unknown type {', '.join(unknown)} in the stream's schema")
    return list(dict.fromkeys(kinds))


def _type_of(value: Any) -> str:  # noqa: ANN401
    names = {
        type(None): "null",
        bool: "boolean",
        int: "integer",
        str: "string",
        list: "array",
        dict: "object",
    }
    return names.get(type(value), "number")


def _intersection(left: list[dict[str, Any]], right: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the alternatives that both sides allow."""
    if len(left) * len(right) > MOST_ALTERNATIVES:
        return [{}]
    met = (_both(one, other) for one in left for other in right)
    return [one for one in met if one is not None]


def _both(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any] | None:
    kinds = {schema["type"] for schema in (one, other) if "type" in schema}
    if kinds == {"integer", "number"}:
        kinds = {"integer"}
    if len(kinds) > 1:
        return None
    both = {**other, **one}
    if kinds:
        (both["type"],) = kinds
    if "properties" in one and "properties" in other:
        first, second = dict(one["properties"]), dict(other["properties"])
        for name, schema in second.items():
            same = name not in first or _key(first[name]) == _key(schema)
            first[name] = schema if same else {"allOf": [first[name], schema]}
        both["properties"] = first
    both["required"] = sorted(_required(one) | _required(other))
    if "items" in one and "items" in other and _key(one["items"]) != _key(other["items"]):
        both["items"] = {"allOf": [one["items"], other["items"]]}
    return both


def _key(schema: Any) -> str:  # noqa: ANN401
    return msgspec.json.encode(schema, order="deterministic").decode()


def _resolve(ref: str, place: _Place) -> Any:  # noqa: ANN401
    """Return what a reference points to; true, which allows anything, for one to another document.

    Raises:
        TargetError: It points into the schema, but to nothing.
    """
    if ref in {"#", ""}:
        return place.root
    if ref.startswith("#/"):
        target: Any = place.root
        for step in ref[2:].split("/"):
            name = unquote(step).replace("~1", "/").replace("~0", "~")
            if isinstance(target, dict) and name in target:
                target = target[name]
            elif isinstance(target, list) and name.isdecimal() and int(name) < len(target):
                target = target[int(name)]
            else:
                raise TargetError(f"{place.where}: {ref} points nowhere in the stream's schema")
        return target
    found = _named(place.root, ref)
    if found is None and ref.startswith("#"):
        raise TargetError(f"{place.where}: {ref} points nowhere in the stream's schema")
    return True if found is None else found


def _named(schema: Any, ref: str) -> Any:  # noqa: ANN401
    """Return the subschema with a name (`$id`, `id`, `$anchor`), None where there is none."""
    parts = [schema]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            if ref in [part.get("$id"), part.get("id"), f"#{part.get('$anchor')}"]:
                return part
            parts += part.values()
        elif isinstance(part, list):
            parts += part
    return None


def _properties(schema: dict[str, Any], where: str) -> dict[str, Any]:
    found = schema.get("properties") or {}
    if not isinstance(found, dict):
        raise TargetError(f"{where}: properties is not an object in the stream's schema")
    return found


def _required(schema: dict[str, Any]) -> frozenset[str]:
    """Return the names that an object must have; draft 3 has true in the field's own schema instead."""
    given = schema.get("required")
    return (
        frozenset(name for name in given if isinstance(name, str)) if isinstance(given, list) else frozenset()
    )


def _is_open(schema: dict[str, Any]) -> bool:
    """Return whether an object's schema explicitly allows fields that it does not list."""
    return schema.get("additionalProperties", False) is not False or any(schema.get(word) for word in OPEN)


def _scale(schema: dict[str, Any]) -> int | None:
    """Return the digits after the point that a number's multipleOf allows, None where there is none."""
    try:
        step = Decimal(str(schema["multipleOf"]))
        exponent = step.normalize().as_tuple().exponent
    except (KeyError, InvalidOperation):
        return None
    return max(0, -exponent) if isinstance(exponent, int) and step > 0 else None


class _Translator:
    """Makes columns of schemas."""

    def __init__(self, types: dict[str, Callable[[Any], Any]]) -> None:
        self._converters = types
        self.json = self._scalar("JSON")

    def columns(
        self, properties: dict[str, Any], place: _Place, taken: Container[str] = ()
    ) -> tuple[Column, ...]:
        """Return the columns of an object's properties, with names that are not `taken`."""
        names = clean_all(properties, taken)
        return tuple(
            self.column(key, names[key], value, place.into(f".{key}")) for key, value in properties.items()
        )

    def column(self, source: str, name: str, schema: Any, place: _Place) -> Column:  # noqa: ANN401
        """Return the column of one field.

        Raises:
            TargetError: Its schema is invalid.
        """
        used: set[str] = set()
        try:
            alternatives = _alternatives(schema, place, used)
            column = self._merged(alternatives, place.into("", refs=used))
        except _RecursionError as error:
            # A recursive structure has no finite columns: the field where it begins is JSON.
            if error.ref in place.refs and place.depth > 1:
                raise
            alternatives, column = [], self.json
        described = [schema, *alternatives] if isinstance(schema, dict) else alternatives
        source_name = "" if name == source else f"The source's field {source}."
        description = next(
            (str(one["description"]) for one in described if one.get("description")), source_name
        )
        return replace(column, source=source, name=name, description=description[:LONGEST_DESCRIPTION])

    def _merged(self, alternatives: list[dict[str, Any]], place: _Place) -> Column:
        kinds = {kind: [] for kind in TYPES}  # type: dict[str, list[dict[str, Any]]]
        for one in alternatives:
            kind = one.get("type") or _implied(one)
            if kind is None:
                return self.json
            kinds[kind].append(one)
        present = [kind for kind in kinds if kinds[kind] and kind != "null"]
        if set(present) == {"integer", "number"}:
            present = ["number"]
        if len(present) != 1:
            return self.json
        (kind,) = present
        if kind == "array":
            found = [self._array(one, place) for one in kinds[kind]]
        elif kind == "object":
            found = [self._object(one, place) for one in kinds[kind]]
        else:
            found = [self._scalar(_scalar_type(kind, one)) for one in kinds[kind]]
        first = found[0]
        if any(other != first for other in found):
            return self._scalar("STRING") if kind == "string" else self._wider(found)
        return replace(first, required=frozenset.intersection(*(one.required for one in found)))

    def _wider(self, found: list[Column]) -> Column:
        types = {column.type for column in found}
        if types <= {"FLOAT", "NUMERIC", "BIGNUMERIC"} and not any(c.mode == "REPEATED" for c in found):
            return self._scalar("FLOAT" if "FLOAT" in types else "BIGNUMERIC")
        return self.json

    def _array(self, schema: dict[str, Any], place: _Place) -> Column:
        items = schema.get("items", True)
        if isinstance(items, list) or "prefixItems" in schema:
            return self.json
        place = place.into("[]")
        used: set[str] = set()
        alternatives = _alternatives(items, place, used)
        # BigQuery's arrays hold no NULL and no arrays.
        if any(one.get("type") == "null" for one in alternatives):
            return self.json
        column = self.column("", "", items, place)
        if column.mode == "REPEATED" or column.type == "JSON":
            return self.json
        return replace(column, mode="REPEATED")

    def _object(self, schema: dict[str, Any], place: _Place) -> Column:
        properties = _properties(schema, place.where)
        if not properties or _is_open(schema) or place.depth == DEEPEST:
            return self.json
        columns = self.columns(properties, place.into("", deeper=True))
        return Column("RECORD", columns=columns, required=_required(schema))

    def _scalar(self, kind: str) -> Column:
        return Column(kind, convert_one=self._converters[kind])


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
