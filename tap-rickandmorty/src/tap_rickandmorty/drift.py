"""Drift: records that do not match the stream's schema, which may be any JSON Schema that the SDK reads.

There are four kinds, each with a policy: `fail` ends the run at the first record, `warn` reports each field once, at the
end of the stream, with a count and a sample, `ignore` reports nothing. The SCHEMA sent allows what the policies let through.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import jsonschema_rs
from singer_sdk import metrics

from tap_rickandmorty.errors import DriftError

logger = logging.getLogger("tap-rickandmorty.drift")

# A schema's keyword -> the kind of drift where a record breaks it; any other keyword: retyped_field.
KEYWORDS = {
    "additionalProperties": "new_field",
    "required": "missing_field",
    "enum": "unknown_value",
    "const": "unknown_value",
}
# The property for values that the others cannot hold.
NEW_FIELDS = "new_fields"
CONSEQUENCES = {
    "new_field": f"its values are kept in {NEW_FIELDS}; add it to the schema",
    "missing_field": "it is extracted without a value",
    "retyped_field": f"it is extracted without a value, which is kept in {NEW_FIELDS}; change the schema",
    "unknown_value": "it is extracted as it is; add it to the schema's enum",
}
JSON_TYPES = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}
COMBINED = {"anyOf", "oneOf", "allOf", "$ref"}


@dataclass
class Deviation:
    """One kind of drift of one field: number of records, and a sample record's id and value."""

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
        keys: The key properties, and the replication key; whatever schema and policies say, a record has them.

    Attributes:
        outgoing: The schema for the catalog and for targets, which allows what the policies let through.
    """

    def __init__(
        self, stream: str, schema: dict[str, Any], policies: dict[str, str], keys: Sequence[str] = ()
    ) -> None:
        self._stream, self._policies, self._keys = stream, policies, keys
        properties = {name: item for name, item in schema.get("properties", {}).items() if name != NEW_FIELDS}
        self._keeps = NEW_FIELDS in schema.get("properties", {})
        checked = {"$schema": "http://json-schema.org/draft-07/schema#", **schema, "properties": properties}
        checked["required"] = list({*schema.get("required", ()), *keys})
        self._validator = jsonschema_rs.validator_for(_closed(checked, schema), validate_formats=False)
        self._deviations: dict[tuple[str, str], Deviation] = {}
        self.outgoing = _loosened(schema, policies, keys)

    def check(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return the record, with what the schema cannot hold moved to `new_fields` where the policy allows that.

        Raises:
            DriftError: The record drifted in a way whose policy is `fail`, or lacks its key.
        """
        if self._validator.is_valid(record):
            return record
        kept: dict[str, Any] = {}
        record_id = record.get(self._keys[0]) if self._keys and isinstance(record, dict) else None
        for error in list(self._validator.iter_errors(record)):
            word, detail, path = error.kind.name, error.kind.value, list(error.instance_path)
            kind = KEYWORDS.get(word, "retyped_field")
            if kind == "new_field":
                for name in detail:
                    value = _at(record, path).pop(name, None)
                    self._note(kind, [*path, name], record_id, "no such field", _shown(value))
                    if self._policies[kind] == "warn":
                        kept[_dotted([*path, name])] = value
            elif kind == "missing_field":
                self._note(kind, [*path, detail], record_id, "a value", "nothing")
            else:
                field = path[: _depth(list(error.evaluation_path))]
                self._note(kind, path if field else [], record_id, _expected(error), _shown(error.instance))
                holder, name = _at(record, field[:-1]), field[-1]
                if kind == "retyped_field" and name in holder and _dotted(field) not in kept:
                    kept[_dotted(field)], holder[name] = holder[name], None
        if kept and self._keeps:
            record[NEW_FIELDS] = kept
        return record

    def report(self) -> None:
        """Log one line and one METRIC point for each field that drifted, and forget them."""
        for (kind, field), seen in self._deviations.items():
            logger.warning(
                "%s: %s %s in %d records, such as id %s: expected %s, got %s; %s",
                self._stream,
                kind.replace("_", " "),
                field,
                seen.count,
                seen.record_id,
                seen.expected,
                seen.got,
                CONSEQUENCES[kind],
            )
            tags = {"stream": self._stream, "kind": kind, "field": field, "record_id": seen.record_id}
            tags |= {"expected": seen.expected, "got": seen.got}
            log_count(Metric.SCHEMA_DRIFT, seen.count, tags)
        self._deviations.clear()

    def _note(self, kind: str, path: list[str | int], record_id: Any, expected: str, got: str) -> None:  # noqa: ANN401 (JSON)
        field = re.sub(r"\[\d+\]", "[]", _dotted(path))
        # Neither a key nor a record as a whole can be left out.
        needed = field in {"", *self._keys} and kind != "new_field"
        policy = "fail" if needed else self._policies[kind]
        if policy == "fail":
            cure = "it cannot be left out" if needed else f"change the schema, or set drift_{kind} to warn"
            raise DriftError(
                f"{self._stream}: {kind.replace('_', ' ')} {field} in record id {record_id}: expected {expected}, "
                f"got {got}; {cure}"
            )
        if policy == "warn":
            self._deviations.setdefault((kind, field), Deviation(expected, record_id, got)).count += 1


class Metric(StrEnum):
    """The METRIC counters that the SDK does not have."""

    SOURCE_RECORD_COUNT = "source_record_count"
    SCHEMA_DRIFT = "schema_drift"


def log_count(metric: Metric, value: int, tags: dict[str, Any]) -> None:
    """Log a METRIC point of a counter."""
    metrics.log(metrics.get_metrics_logger(), metrics.Point("counter", metric, value, tags))  # type: ignore[arg-type]


def _closed(schema: Any, root: dict[str, Any], within: tuple[str, ...] = ()) -> Any:  # noqa: ANN401 (a JSON schema)
    """Return the schema as Singer's targets read it: objects have no other properties, unless it says so."""
    reference = schema.get("$ref", "")
    if reference.startswith("#/") and reference not in within:
        target: Any = root
        for part in reference[2:].split("/"):
            target = target.get(part.replace("~1", "/").replace("~0", "~"), {})
        return _closed(target, root, (*within, reference))
    closed = dict(schema)
    if schema.get("properties"):
        closed["properties"] = {n: _closed(item, root, within) for n, item in schema["properties"].items()}
        if not schema.keys() & {"patternProperties", *COMBINED}:
            closed.setdefault("additionalProperties", False)
    if "items" in schema:
        closed["items"] = _closed(schema["items"], root, within)
    return closed


def _loosened(schema: Any, policies: dict[str, str], keys: Sequence[str] = ()) -> Any:  # noqa: ANN401 (a JSON schema)
    """Return a schema that allows what the policies let through, except for keys."""
    loose = dict(schema)
    if policies["unknown_value"] != "fail":
        loose.pop("enum", None)
        loose.pop("const", None)
    if policies["missing_field"] != "fail" and "required" in schema:
        loose["required"] = [name for name in schema["required"] if name in keys]
    if "items" in schema:
        loose["items"] = _loosened(schema["items"], policies)
    for word in COMBINED & schema.keys() - {"$ref"}:
        loose[word] = [_loosened(item, policies) for item in schema[word]]
    for word in {"definitions", "$defs"} & schema.keys():
        loose[word] = {name: _loosened(item, policies) for name, item in schema[word].items()}
    if "properties" in schema:
        loose["properties"] = {n: _loosened(item, policies) for n, item in schema["properties"].items()}
        for name in loose["properties"].keys() - keys if policies["retyped_field"] != "fail" else ():
            loose["properties"][name] = _nullable(loose["properties"][name])
        loose["properties"] |= {name: schema["properties"][name] for name in keys}
    return loose


def _nullable(schema: Any) -> Any:  # noqa: ANN401 (a JSON schema)
    if not schema.keys() & {"type", "enum", "const", *COMBINED}:
        return schema
    if schema.keys() & {"enum", "const", *COMBINED}:
        described = {word: schema[word] for word in ("title", "description") if word in schema}
        return {"anyOf": [schema, {"type": "null"}], **described}
    types = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    return {**schema, "type": [*(kind for kind in types if kind != "null"), "null"]}


def _depth(steps: list[str | int]) -> int:
    """Return how many steps of a path in a schema lead through properties: only there can a value become null."""
    depth = 0
    while len(steps) > 1 and steps[0] in {"properties", "allOf"}:
        depth += steps[0] == "properties"
        steps = steps[2:]
    return depth


def _at(record: dict[str, Any], path: list[str | int]) -> dict[str, Any]:
    """Return the object at a path; an empty one where it has been left out."""
    value: Any = record
    for step in path:
        value = {} if value is None else value[step] if isinstance(step, int) else value.get(step)
    return value or {}


def _dotted(path: list[str | int]) -> str:
    """Return a path as text; a name that has a dot or a bracket is in brackets and quotes."""
    return "".join(
        f"[{step!r}]" if isinstance(step, int) or set(step) & set(".[]") else f".{step}" for step in path
    ).removeprefix(".")


def _expected(error: Any) -> str:  # noqa: ANN401 (jsonschema_rs's)
    word, value = error.kind.name, error.kind.value
    if word == "type":
        return " or ".join(value)
    if word in {"anyOf", "oneOf", "oneOfNotValid"} and isinstance(value, list):
        return " or ".join(dict.fromkeys(_expected(option) for options in value for option in options[:1]))
    return f"one of {', '.join(map(str, value))}" if word == "enum" else f"{word} {value}"


def _shown(value: Any) -> str:  # noqa: ANN401 (JSON)
    text = repr(value)
    kind = JSON_TYPES.get(type(value), "null")
    return f"{kind} {text if len(text) <= 60 else text[:57] + '...'}"  # noqa: PLR2004 (a log line)
