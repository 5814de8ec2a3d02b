"""Infers a JSON schema from a sample of records."""

import re
from datetime import datetime
from typing import Any

INT64 = 2**63
TYPES: dict[type, str] = {
    dict: "object",
    list: "array",
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
}
# Format, its pattern, and the ending of a name that promises it where no record has a value.
FORMATS = (
    (
        "date-time",
        re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6}0*)?)?(Z|[+-]\d\d:?\d\d)?"),
        "_at",
    ),
    ("date", re.compile(r"\d{4}-\d\d-\d\d"), "_date"),
)


def infer_object(records: list[dict[str, Any]], path: str = "") -> dict[str, Any]:
    """Return the schema of objects: what each of them has is required, what one lacks may be null; where none has a field, any may come."""
    names = dict.fromkeys(name for record in records for name in record)
    return names and {
        "additionalProperties": False,
        "required": [name for name in names if all(name in record for record in records)],
        "properties": {
            name: infer_field([record.get(name) for record in records], path + name) for name in names
        },
    }


def infer_field(values: list[Any], name: str) -> dict[str, Any]:
    """Return the schema of a field from its values; one that is always null is a string."""
    present = [value for value in values if value is not None]
    types = infer_types(present) or ["string"]
    nullable = [*types, "null"] if len(present) < len(values) else types
    schema: dict[str, Any] = {
        "type": nullable if len(nullable) > 1 else types[0],
        "description": f"{name}, as the API gives it.",
    }
    if "number" in types and float not in map(type, present):
        # What an INT64 cannot hold is a NUMERIC.
        schema["multipleOf"] = 1
    if types == ["string"] and (known := infer_format(present, name)):
        schema["format"] = known
    if "object" in types:
        schema |= infer_object([value for value in present if isinstance(value, dict)], f"{name}.")
    if "array" in types:
        items = [item for value in present if isinstance(value, list) for item in value]
        schema["items"] = infer_field(items, f"{name}[]")
    return schema


def infer_types(values: list[Any]) -> list[str]:
    """Return the types of values; integers beside fractions or beyond an INT64 are numbers."""
    types = [TYPES[type(value)] for value in values]
    wide = any(type(value) is int and not -INT64 <= value < INT64 for value in values)
    if wide or "number" in types:
        types = ["number" if name == "integer" else name for name in types]
    return list(dict.fromkeys(types))


def infer_format(values: list[str], name: str) -> str | None:
    """Return the format that every value has; without a value, the one that the name promises."""
    for known, pattern, ending in FORMATS:
        if all(_is_date(value, pattern) for value in values) and (values or name.endswith(ending)):
            return known
    return None


def _is_date(text: str, pattern: re.Pattern[str]) -> bool:
    """Return whether a text matches the pattern and is a date of the calendar."""
    try:
        return bool(pattern.fullmatch(text) and datetime.fromisoformat(text))
    except ValueError:
        return False
