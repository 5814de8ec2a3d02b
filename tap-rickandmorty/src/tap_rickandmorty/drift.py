"""Drift: what the API serves against what a stream's schema says.

Four kinds, each with its policy: `fail` ends the run at the first, `warn` says each field once at the stream's end
with a count and a sample, `ignore` says nothing.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import msgspec

from tap_rickandmorty.errors import DriftError

logger = logging.getLogger("tap-rickandmorty.drift")

# kind -> default policy
KINDS = {"new_field": "warn", "missing_field": "fail", "retyped_field": "fail", "unknown_value": "warn"}
POLICIES = ("fail", "warn", "ignore")
# The values that the API's documentation lists; the schema does not restrict them, so that a new one is not refused
# further down the pipeline.
KNOWN_VALUES = {
    "characters": {
        "status": {"Alive", "Dead", "unknown"},
        "gender": {"Female", "Male", "Genderless", "unknown"},
    }
}
# The property of each schema that holds what the schema does not know yet.
NEW_FIELDS = "new_fields"
WHAT_BECOMES_OF_IT = {
    "new_field": "its values are kept in new_fields; add it to the schema",
    "missing_field": "it is extracted without a value",
    "retyped_field": "it is extracted as it is, and the target may refuse it; change the schema",
    "unknown_value": "it is extracted as it is; add it to the known values",
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


@dataclass
class Finding:
    """One kind of drift of one field: how often, and a sample record's id and value."""

    expected: str
    record_id: int
    got: str
    count: int = 0


class Drift:
    """Checks a stream's records against its JSON schema.

    Args:
        stream: The stream's name.
        schema: The schema of a record, type object.
        policies: Kind of drift to policy.
    """

    def __init__(self, stream: str, schema: dict[str, Any], policies: dict[str, str]) -> None:
        self._stream = stream
        known = {name: item for name, item in schema["properties"].items() if name != NEW_FIELDS}
        self._schema = {**schema, "properties": known}
        self._new: dict[str, Any] = {}
        self._shape = _shape(stream, self._schema)
        self._policies = policies
        self._known = KNOWN_VALUES.get(stream, {})
        self._findings: dict[tuple[str, str], Finding] = {}

    def check(self, record: dict[str, Any]) -> None:
        """Checks one record; moves fields that the schema lacks into `new_fields`, where their policy is `warn`.

        Raises:
            DriftError: The record drifted in a way whose policy is `fail`.
        """
        try:
            # In C, and nearly always all there is to do; what is wrong, and where, the slow check finds out.
            msgspec.convert(record, self._shape)
        except msgspec.ValidationError:
            self._object(record, self._schema, "", record["id"])
        if self._new:
            record[NEW_FIELDS], self._new = self._new, {}
        for field, values in self._known.items():
            value = record.get(field)
            if isinstance(value, str) and value not in values:
                self._found(
                    "unknown_value", field, f"one of {', '.join(sorted(values))}", record["id"], repr(value)
                )

    def report(self) -> None:
        """Logs one line for each field that drifted, and forgets them."""
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
        self._findings.clear()

    def _object(self, value: dict[str, Any], schema: dict[str, Any], path: str, record_id: int) -> None:
        properties: dict[str, Any] = schema["properties"]
        if value.keys() != properties.keys():
            for name in [n for n in value if n not in properties]:
                self._found("new_field", path + name, "no such field", record_id, _shown(value[name]))
                if self._policies["new_field"] == "warn":
                    self._new[path + name] = value[name]
                del value[name]
            for name in properties.keys() - value.keys():
                self._found("missing_field", path + name, _types(properties[name]), record_id, "nothing")
        for name, item in value.items():
            self._value(item, properties[name], path + name, record_id)

    def _value(self, value: Any, schema: dict[str, Any], path: str, record_id: int) -> None:  # noqa: ANN401 (JSON)
        kind = JSON_TYPES[type(value)]
        expected = schema["type"]
        if kind != expected and kind not in expected:
            self._found("retyped_field", path, _types(schema), record_id, _shown(value))
        elif kind == "object":
            self._object(value, schema, path + ".", record_id)
        elif kind == "array":
            items = schema["items"]
            for item in value:
                self._value(item, items, path + "[]", record_id)

    def _found(self, kind: str, field: str, expected: str, record_id: int, got: str) -> None:
        policy = self._policies[kind]
        if policy == "fail":
            raise DriftError(
                f"{self._stream}: {kind.replace('_', ' ')} {field} in record id {record_id}: expected {expected}, "
                f"got {got}; change the schema, or set drift_{kind} to warn"
            )
        if policy == "warn":
            finding = self._findings.setdefault((kind, field), Finding(expected, record_id, got))
            finding.count += 1


def _shape(name: str, schema: dict[str, Any]) -> Any:  # noqa: ANN401 (a type)
    """Gives the type of a JSON schema for msgspec: every property required, no other allowed."""
    kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    found: Any = None
    for kind in kinds:
        if kind == "object":
            fields = [(key, _shape(f"{name}_{key}", item)) for key, item in schema["properties"].items()]
            one: Any = msgspec.defstruct(name, fields, forbid_unknown_fields=True)
        else:
            one = list[_shape(name, schema["items"])] if kind == "array" else SHAPES[kind]  # type: ignore[misc]
        found = one if found is None else found | one
    return found


def _types(schema: dict[str, Any]) -> str:
    found = schema["type"]
    return found if isinstance(found, str) else " or ".join(found)


def _shown(value: Any) -> str:  # noqa: ANN401 (JSON)
    text = repr(value)
    return f"{JSON_TYPES[type(value)]} {text if len(text) <= 60 else text[:57] + '...'}"  # noqa: PLR2004 (a log line)
