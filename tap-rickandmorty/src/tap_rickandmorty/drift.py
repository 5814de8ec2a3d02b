"""Drift: what the API serves against what a stream's schema says, for any JSON Schema that a stream may have.

Four kinds, each with its policy: `fail` ends the run at the first, `warn` says each field once at the stream's end
with a count and a sample, `ignore` says nothing. What a policy lets through, the SCHEMA that goes out allows.
"""

from __future__ import annotations

import copy
import logging
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from singer_sdk import metrics

from tap_rickandmorty.errors import DriftError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

logger = logging.getLogger("tap-rickandmorty.drift")

# kind -> default policy
KINDS = {"new_field": "warn", "missing_field": "fail", "retyped_field": "fail", "unknown_value": "warn"}
POLICIES = ("fail", "warn", "ignore")
# The property of a schema that takes what the others cannot hold.
NEW_FIELDS = "new_fields"
# The keyword with the values that the API's documentation lists: no restriction, so that a new one is not refused
# further down the pipeline.
KNOWN_VALUES = "x-known-values"
WHAT_BECOMES_OF_IT = {
    "new_field": "its values are kept in new_fields; add it to the schema",
    "missing_field": "it is extracted without a value",
    "retyped_field": "it is extracted without a value, which is kept in new_fields; change the schema",
    "unknown_value": "it is extracted as it is; add it to the schema's known values",
}
JSON_TYPES: dict[type, str] = {
    dict: "object",
    list: "array",
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
}
SHAPES: dict[str, Any] = {name: kind for kind, name in JSON_TYPES.items() if kind not in {dict, list}}
UNSET_TYPE: Any = msgspec.UnsetType


@dataclass
class Finding:
    """One kind of drift of one field: how often, and a sample record's id and value."""

    expected: str
    record_id: Any
    got: str
    count: int = 0


class Drift:
    """Checks a stream's records against its JSON schema.

    Args:
        stream: The stream's name.
        schema: The schema of a record.
        policies: Kind of drift to policy.
        keys: The key properties; whatever the policies say, a record has them.

    Attributes:
        outgoing: The schema with what the policies let through allowed: the one for the catalog and for targets.
    """

    def __init__(
        self, stream: str, schema: dict[str, Any], policies: dict[str, str], keys: Sequence[str] = ()
    ) -> None:
        self._stream, self._schema, self._policies, self._keys = stream, schema, policies, keys
        properties = schema.get("properties", {})
        self._checked = {**schema, "properties": {k: v for k, v in properties.items() if k != NEW_FIELDS}}
        self._keeps = NEW_FIELDS in properties
        self._known = {
            name: item[KNOWN_VALUES]
            for name, item in properties.items()
            if isinstance(item, dict) and KNOWN_VALUES in item
        }
        self._kept: dict[str, Any] = {}
        self._findings: dict[tuple[str, str], Finding] = {}
        self._record: dict[str, Any] = {}
        self._shape = _shape(self._checked, schema)
        missing, retyped = (policies[kind] != "fail" for kind in ("missing_field", "retyped_field"))
        self.outgoing = copy.deepcopy(schema)
        if missing or retyped:
            _loosen(self.outgoing, keys, optional=missing)
        for item in self.outgoing.get("properties", {}).values():
            if isinstance(item, dict):
                item.pop(KNOWN_VALUES, None)

    def check(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return the record, with what the schema cannot hold moved into `new_fields` where the policy allows that.

        Raises:
            DriftError: The record drifted in a way whose policy is `fail`, or lacks its key.
        """
        try:
            # In C, and nearly always all there is to do; what is wrong, and where, the slow check finds out.
            msgspec.convert(record, self._shape)
        except msgspec.ValidationError:
            self._record = record
            self._object(record, self._checked, "", keys=self._keys)
            if self._kept and self._keeps:
                record[NEW_FIELDS] = self._kept
            self._kept = {}
        for field, values in self._known.items():
            value = record.get(field)
            if isinstance(value, str) and value not in values:
                self._record = record
                self._found("unknown_value", field, f"one of {', '.join(sorted(values))}", value)
        return record

    def report(self) -> None:
        """Log one line and one METRIC point for each field that drifted, and forget them."""
        for (kind, field), finding in self._findings.items():
            logger.warning(
                "%s: %s %s in %d records, such as id %s: expected %s, got %s; %s",
                self._stream,
                kind.replace("_", " "),
                field,
                finding.count,
                finding.record_id,
                finding.expected,
                finding.got,
                WHAT_BECOMES_OF_IT[kind],
            )
            tags = {"stream": self._stream, "kind": kind, "field": field, "record_id": finding.record_id}
            tags |= {"expected": finding.expected, "got": finding.got}
            log_count(Metric.SCHEMA_DRIFT, finding.count, tags)
        self._findings.clear()

    def _object(self, value: dict[str, Any], schema: Any, path: str, keys: Sequence[str] = ()) -> None:  # noqa: ANN401
        """Check an object's fields; drop, or empty, those that the schema cannot hold."""
        schema = self._resolved(schema)
        properties: dict[str, Any] = schema.get("properties") or {}
        closed = properties and not schema.get("additionalProperties") and "patternProperties" not in schema
        for name in [n for n in value if n not in properties] if closed else ():
            self._found("new_field", path + name, "no such field", value[name])
            if self._policies["new_field"] == "warn":
                self._kept[path + name] = value[name]
            del value[name]
        for name in schema.get("required", ()):
            if name not in value:
                expected = _expected(properties.get(name, True))
                self._found("missing_field", path + name, expected, key=name in keys)
        for name in [n for n in value if n in properties]:
            item, inner = value[name], properties[name]
            if isinstance(item, dict) and _types(self._resolved(inner)) in ({"object"}, {"object", "null"}):
                self._object(item, inner, f"{path}{name}.")
                continue
            found = next(self._misfits(item, inner, path + name), None)
            if found is not None:
                self._found("retyped_field", found[0], found[1], found[2], key=name in keys)
                self._kept[path + name] = item
                value[name] = None

    def _misfits(  # noqa: C901 (a branch for each keyword)
        self,
        value: Any,  # noqa: ANN401 (JSON)
        schema: Any,  # noqa: ANN401 (a JSON schema)
        path: str,
    ) -> Iterator[tuple[str, str, Any]]:
        """Yield path, expected type and value of what does not fit in a field that is no plain object."""
        schema = self._resolved(schema)
        if not isinstance(schema, dict):
            return
        for word in ("anyOf", "oneOf"):
            options = schema.get(word)
            if options and all(next(self._misfits(value, o, path), None) for o in options):
                yield path, _expected(schema), value
                return
        for part in schema.get("allOf", ()):
            yield from self._misfits(value, part, path)
        kind, types = JSON_TYPES.get(type(value), "string"), _types(schema)
        whole = kind == "number" and value.is_integer()
        if (
            types
            and kind not in types
            and not (kind == "integer" and "number" in types)
            and not (whole and "integer" in types)
        ):
            yield path, _expected(schema), value
        elif kind == "array" and "items" in schema:
            for item in value:
                yield from self._misfits(item, schema["items"], path + "[]")
        elif kind == "object":
            # In an array or one of several options an object is taken whole: fields are not moved out of it.
            properties = schema.get("properties", {})
            for name in schema.get("required", ()):
                if name not in value:
                    yield f"{path}.{name}", _expected(properties.get(name, True)), None
            for name in [n for n in value if n in properties]:
                yield from self._misfits(value[name], properties[name], f"{path}.{name}")

    def _resolved(self, schema: Any) -> Any:  # noqa: ANN401 (a JSON schema)
        """Return a schema with its reference, into the stream's own schema, followed."""
        for _ in range(9):
            if not isinstance(schema, dict) or not str(schema.get("$ref", "")).startswith("#/"):
                return schema
            target: Any = self._schema
            for part in schema["$ref"][2:].split("/"):
                target = (
                    target.get(part.replace("~1", "/").replace("~0", "~"), {})
                    if isinstance(target, dict)
                    else {}
                )
            schema = target
        return {}

    def _found(self, kind: str, field: str, expected: str, value: Any = ..., *, key: bool = False) -> None:  # noqa: ANN401
        policy = "fail" if key else self._policies[kind]
        got = "nothing" if value is ... else repr(value) if kind == "unknown_value" else _shown(value)
        record_id = self._record.get(self._keys[0]) if self._keys else None
        if policy == "fail":
            cure = "the key cannot be left out" if key else f"change the schema, or set drift_{kind} to warn"
            raise DriftError(
                f"{self._stream}: {kind.replace('_', ' ')} {field} in record id {record_id}: expected {expected}, "
                f"got {got}; {cure}"
            )
        if policy == "warn":
            self._findings.setdefault((kind, field), Finding(expected, record_id, got)).count += 1


class Metric(StrEnum):
    """The counters that the SDK does not have."""

    SOURCE_RECORD_COUNT = "source_record_count"
    SCHEMA_DRIFT = "schema_drift"


def log_count(metric: Metric, value: int, tags: dict[str, Any]) -> None:
    """Log a METRIC point of a counter."""
    metrics.log(metrics.get_metrics_logger(), metrics.Point("counter", metric, value, tags))  # type: ignore[arg-type]


def _shape(checked: dict[str, Any], root: dict[str, Any]) -> Any:  # noqa: ANN401 (a type)
    """Return the type of a JSON schema for msgspec; one that accepts nothing where msgspec has no such type."""
    try:
        shape = _struct(checked, root, 0)
        with suppress(msgspec.ValidationError):
            msgspec.convert({}, shape)
    except (_ShapelessError, TypeError):
        return Literal["the slow check takes every record"]
    return shape


class _ShapelessError(Exception):
    """msgspec has no type for a JSON schema."""


def _struct(schema: dict[str, Any], root: dict[str, Any], depth: int) -> Any:  # noqa: ANN401 (a type)
    required = set(schema.get("required", ()))
    fields: list[tuple[str, Any, Any]] = []
    names = {f"f{i}": name for i, name in enumerate(schema.get("properties", {}))}
    if any('"' in name or "\\" in name for name in names.values()) or not required <= set(names.values()):
        raise _ShapelessError
    for field, name in names.items():
        kind = _type(schema["properties"][name], root, depth + 1)
        fields.append(
            (field, kind, msgspec.NODEFAULT)
            if name in required
            else (field, kind | UNSET_TYPE, msgspec.UNSET)
        )
    closed = not schema.get("additionalProperties") and "patternProperties" not in schema
    return msgspec.defstruct("Shape", fields, rename=names, forbid_unknown_fields=closed, kw_only=True)


def _type(schema: Any, root: dict[str, Any], depth: int) -> Any:  # noqa: ANN401 (a type)
    if not isinstance(schema, dict) or schema.keys() & {"anyOf", "oneOf", "allOf", "$ref"} or depth > 9:  # noqa: PLR2004
        raise _ShapelessError
    found: Any = None
    for kind in _types(schema):
        if kind == "object":
            one = _struct(schema, root, depth) if schema.get("properties") else dict[str, Any]
        elif kind == "array":
            one = list[_type(schema["items"], root, depth + 1)] if schema.get("items") else list[Any]  # type: ignore[misc]
        else:
            one = SHAPES[kind]
        found = one if found is None else found | one
    return Any if found is None else found


def _loosen(  # noqa: C901 (a branch for each keyword)
    schema: Any,  # noqa: ANN401 (a JSON schema)
    keys: Sequence[str],
    *,
    optional: bool,
) -> None:
    """Let every field of a schema but its keys be null, and, where `optional`, be left out."""
    if not isinstance(schema, dict):
        return
    if optional and "required" in schema:
        schema["required"] = [name for name in schema["required"] if name in keys]
    for name, item in schema.get("properties", {}).items():
        if not isinstance(item, dict) or name in keys:
            continue
        _loosen(item, (), optional=optional)
        if types := _types(item):
            item["type"] = [*([item["type"]] if isinstance(item["type"], str) else item["type"])]
            item["type"] += [] if "null" in types else ["null"]
        elif item.keys() & {"anyOf", "oneOf", "allOf", "$ref"}:
            described = {key: item.pop(key) for key in ("description", "title") if key in item}
            schema["properties"][name] = {"anyOf": [item, {"type": "null"}], **described}
    if isinstance(schema.get("items"), dict):
        _loosen(schema["items"], (), optional=optional)
    for word in ("definitions", "$defs"):
        for item in schema.get(word, {}).values():
            _loosen(item, (), optional=optional)
    for word in ("anyOf", "oneOf", "allOf"):
        for item in schema.get(word, ()):
            _loosen(item, (), optional=optional)


def _types(schema: Any) -> set[str]:  # noqa: ANN401 (a JSON schema)
    found = schema.get("type", ()) if isinstance(schema, dict) else ()
    return {found} if isinstance(found, str) else set(found)


def _expected(schema: Any) -> str:  # noqa: ANN401 (a JSON schema)
    if isinstance(schema, dict):
        for word in ("anyOf", "oneOf"):
            if word in schema:
                return " or ".join(dict.fromkeys(_expected(option) for option in schema[word]))
        if "$ref" in schema:
            return str(schema["$ref"]).rpartition("/")[2]
        found = schema.get("type")
        return found if isinstance(found, str) else " or ".join(found or ["anything"])
    return "anything"


def _shown(value: Any) -> str:  # noqa: ANN401 (JSON)
    text = repr(value)
    return f"{JSON_TYPES[type(value)]} {text if len(text) <= 60 else text[:57] + '...'}"  # noqa: PLR2004 (a log line)
