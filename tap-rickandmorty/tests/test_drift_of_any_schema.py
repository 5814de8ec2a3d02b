"""Drift on schemas that are not shaped like ours, and the schema that goes out for each policy."""

from typing import Any

import jsonschema
import pytest
from tap_rickandmorty.drift import NEW_FIELDS, Drift
from tap_rickandmorty.errors import DriftError

TEXT = {"type": "string"}
DEFAULTS = {"new_field": "warn", "missing_field": "fail", "retyped_field": "fail", "unknown_value": "warn"}
SCHEMAS: dict[str, tuple[dict[str, Any], list[Any], list[Any]]] = {
    # a field's schema, values that fit, values that do not
    "number": ({"type": "number"}, [1, 1.5, 0], [True, "1", None]),
    "integer": ({"type": "integer"}, [1, 2.0], [1.5, True, "1"]),
    "several-types": ({"type": ["string", "integer", "null"]}, ["a", 1, None], [1.5, [], {}]),
    "any": ({}, [1, "a", None, [], {"a": 1}], []),
    "description-only": ({"description": "anything"}, [1, None, {}], []),
    "free-form-object": ({"type": "object"}, [{}, {"a": {"b": 1}}], [1, [], None]),
    "additional-properties": (
        {"type": "object", "properties": {"a": TEXT}, "additionalProperties": True},
        [{"a": "x", "b": 1}],
        [7],
    ),
    "array-without-items": ({"type": "array"}, [[], [1, "a", None]], [{}, "a"]),
    "array-of-objects": (
        {"type": "array", "items": {"type": "object", "required": ["n"], "properties": {"n": TEXT}}},
        [[], [{"n": "a"}, {"n": "b"}]],
        [[{"n": 1}], [7]],
    ),
    "any-of": (
        {"anyOf": [TEXT, {"type": "null"}, {"type": "array", "items": TEXT}]},
        ["a", None, ["b"]],
        [1, [1]],
    ),
    "one-of": ({"oneOf": [{"type": "integer"}, TEXT]}, [1, "a"], [None, 1.5]),
    "all-of": ({"allOf": [TEXT, {"minLength": 1}]}, ["a"], [1]),
    "reference": ({"$ref": "#/definitions/name"}, ["a"], [1, None]),
    "reference-to-itself": ({"$ref": "#/definitions/tree"}, [{"kids": []}, {"kids": [{"kids": []}]}], [1]),
    "enum-only": ({"enum": ["a", 1]}, ["a", 1, "other"], []),
    "minimum": ({"type": "integer", "minimum": 3}, [3], [2]),
    "pattern-properties": (
        {"type": "object", "patternProperties": {"^n": {"type": "integer"}}},
        [{"n1": 1, "other": "a"}],
        [{"n1": "a"}],
    ),
}


def schema(field: Any) -> dict[str, Any]:
    """A stream's schema with one field of that schema."""
    return {
        "type": "object",
        "required": ["node_id", "x"],
        "properties": {
            "node_id": TEXT,
            "x": field,
            "+1": {"type": "integer"},
            NEW_FIELDS: {"type": ["object", "null"]},
        },
        "definitions": {
            "name": TEXT,
            "tree": {
                "type": "object",
                "properties": {"kids": {"type": "array", "items": {"$ref": "#/definitions/tree"}}},
            },
        },
    }


def drift(field: Any, **policies: str) -> Drift:
    """A check with a key that is text, and these policies."""
    return Drift("issues", schema(field), {**DEFAULTS, **policies}, keys=("node_id",))


FITTING = [(name, value) for name, (_, fit, _) in SCHEMAS.items() for value in fit]
MISFITTING = [(name, value) for name, (_, _, misfit) in SCHEMAS.items() for value in misfit]


@pytest.mark.parametrize(("name", "value"), FITTING, ids=str)
def test_what_fits_passes_as_it_is(name: str, value: object) -> None:
    """No finding, and nothing of the record changes; an optional field may be there or not."""
    check = drift(SCHEMAS[name][0], new_field="fail")
    assert check.check({"node_id": "n", "x": value}) == {"node_id": "n", "x": value}
    assert check.check({"node_id": "n", "x": value, "+1": 3}) == {"node_id": "n", "x": value, "+1": 3}


@pytest.mark.parametrize(("name", "value"), MISFITTING, ids=str)
def test_what_does_not_fit_fails_or_is_kept_beside(name: str, value: Any) -> None:
    """With `fail` the error names stream, field and record; with `warn` the record fits the schema that goes out."""
    with pytest.raises(DriftError, match=r"issues: retyped field x.* in record id n: expected .+, got "):
        drift(SCHEMAS[name][0]).check({"node_id": "n", "x": value})
    check = drift(SCHEMAS[name][0], retyped_field="warn")
    record = check.check({"node_id": "n", "x": value})
    assert record == {"node_id": "n", "x": None, NEW_FIELDS: {"x": value}}
    jsonschema.Draft7Validator(check.outgoing).validate(record)


def test_a_missing_field_is_optional_in_the_schema_that_goes_out() -> None:
    """With `ignore` a required field may be left out, at any depth; the key stays required."""
    nested = {"type": "object", "required": ["a"], "properties": {"a": TEXT}}
    with pytest.raises(DriftError, match=r"missing field x\.a"):
        drift(nested).check({"node_id": "n", "x": {}})
    check = drift(nested, missing_field="ignore")
    for record in ({"node_id": "n"}, {"node_id": "n", "x": {}}):
        jsonschema.Draft7Validator(check.outgoing).validate(check.check(record))
    assert check.outgoing["required"] == ["node_id"]


@pytest.mark.parametrize("record", [{"x": "a"}, {"node_id": None, "x": "a"}, {"node_id": 7, "x": "a"}])
def test_a_key_is_never_left_out(record: dict[str, Any]) -> None:
    """Whatever schema and policies say, a record without its key, or with one of another type, is an error."""
    policies = {**DEFAULTS, "missing_field": "ignore", "retyped_field": "ignore"}
    with pytest.raises(DriftError, match="node_id"):
        Drift("issues", {**schema(TEXT), "required": ["x"]}, policies, keys=("node_id",)).check(record)


@pytest.mark.parametrize("name", SCHEMAS)
def test_strict_policies_send_the_schema_as_it_is(name: str) -> None:
    """With `fail` for all that loosens, what goes out is what lies in the file."""
    assert drift(SCHEMAS[name][0], unknown_value="fail").outgoing == schema(SCHEMAS[name][0])
