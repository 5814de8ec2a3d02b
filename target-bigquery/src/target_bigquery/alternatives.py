"""The alternatives that a JSON schema allows: combinations and references resolved, each with one type.

BigQuery has no combined types, so `schema` makes one column of a field's alternatives.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote

import msgspec

from target_bigquery.errors import TargetError

MOST_ALTERNATIVES = 64
JSON_TYPES = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    str: "string",
    list: "array",
    dict: "object",
}
TYPES = {"number", *JSON_TYPES.values()}
COMBINED = {"$ref", "allOf", "anyOf", "oneOf"}
# Keywords under which an object may have fields that `properties` does not list.
OPEN = (
    "unevaluatedProperties",
    "patternProperties",
    "if",
    "then",
    "else",
    "dependentSchemas",
    "dependencies",
)


def root(stream: str, schema: Any, keys: list[str]) -> dict[str, Any]:  # noqa: ANN401 (whatever a tap sends)
    """Return a stream's schema as one object with `properties`, with combinations and references resolved."""
    if isinstance(schema, dict) and isinstance(schema.get("properties"), dict) and not COMBINED & set(schema):
        return schema
    whole = schema if isinstance(schema, dict) else {}
    try:
        alternatives = alternatives_of(schema, Place(stream, whole))
    except RecursiveSchemaError as error:
        raise TargetError(
            f"{stream}: the schema is nothing but {error.ref}, a reference to itself; look at the tap"
        ) from None
    objects = [one for one in alternatives if one.get("type", "object") == "object"]
    if not objects:
        raise TargetError(f"{stream}: the schema describes no object; a stream's records are objects")
    merged: dict[str, Any] = {k: v for k, v in whole.items() if k not in COMBINED}
    merged["type"], merged["properties"] = "object", {}
    for one in objects:
        for name, value in properties_of(one, stream).items():
            known = merged["properties"].get(name)
            same = known is None or _canonical(known) == _canonical(value)
            merged["properties"][name] = value if same else {"anyOf": [known, value]}
    merged["required"] = sorted(frozenset.intersection(*(required_of(one) for one in objects)))
    merged.pop("additionalProperties", None)
    listed = any("properties" in one for one in objects)
    if any(is_open(one) for one in objects) or (keys and not listed):
        merged["additionalProperties"] = True
    elif not listed:
        raise TargetError(f"{stream}: the schema lists no properties, and the tap no key; look at the tap")
    return merged


@dataclass(frozen=True)
class Place:
    """A place in a schema: its name for messages, the whole schema, the depth, and the references that led here."""

    where: str
    root: dict[str, Any]
    depth: int = 1
    refs: frozenset[str] = frozenset()

    def into(self, name: str, *, refs: Iterable[str] = (), deeper: bool = False) -> "Place":
        """Return the place of a subschema."""
        return replace(self, where=self.where + name, depth=self.depth + deeper, refs=self.refs.union(refs))


class RecursiveSchemaError(Exception):
    """A schema refers to itself."""

    def __init__(self, ref: str) -> None:
        super().__init__(ref)
        self.ref = ref


def alternatives_of(schema: Any, place: Place, used: set[str] | None = None) -> list[dict[str, Any]]:  # noqa: ANN401
    """Return the alternatives of a schema, each with one `type`, or with none where the schema allows any.

    Args:
        schema: A JSON schema: an object, true or false.
        place: Its place.
        used: Collects the references that were followed.

    Raises:
        RecursiveSchemaError: It refers to itself.
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
    allowed = [{**untyped, "type": kind} for kind in _types(own, place)] or [untyped]
    if "$ref" in schema:
        ref = str(schema["$ref"])
        if ref in place.refs:
            raise RecursiveSchemaError(ref)
        used.add(ref)
        allowed = _intersection(
            allowed, alternatives_of(_resolve(ref, place), place.into("", refs=[ref]), used)
        )
    for part in _listed(schema, "allOf", place):
        allowed = _intersection(allowed, alternatives_of(part, place, used))
    for combined in ("anyOf", "oneOf"):
        if combined in schema:
            union = [
                one for part in _listed(schema, combined, place) for one in alternatives_of(part, place, used)
            ]
            allowed = _intersection(allowed, union)
    return allowed if len(allowed) <= MOST_ALTERNATIVES else [{}]


def _listed(schema: dict[str, Any], keyword: str, place: Place) -> list[Any]:
    parts = schema.get(keyword, [])
    if not isinstance(parts, list):
        raise TargetError(f"{place.where}: {keyword} is not a list in the stream's schema")
    return parts


def _types(schema: dict[str, Any], place: Place) -> list[str]:
    """Return the types that a schema names, or that its const or enum implies."""
    types = schema.get("type")
    if types is None:
        values = [schema["const"]] if "const" in schema else schema.get("enum")
        if not isinstance(values, list):
            return []
        return list(dict.fromkeys(JSON_TYPES.get(type(value), "number") for value in values))
    kinds = types if isinstance(types, list) else [types]
    # OpenAPI's.
    kinds = [*kinds, "null"] if schema.get("nullable") is True else kinds
    if "any" in kinds:
        return []  # draft 3
    unknown = [str(kind) for kind in kinds if not isinstance(kind, str) or kind not in TYPES]
    if unknown:
        raise TargetError(f"{place.where}: unknown type {', '.join(unknown)} in the stream's schema")
    return list(dict.fromkeys(kinds))


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
            same = name not in first or _canonical(first[name]) == _canonical(schema)
            first[name] = schema if same else {"allOf": [first[name], schema]}
        both["properties"] = first
    both["required"] = sorted(required_of(one) | required_of(other))
    if "items" in one and "items" in other and _canonical(one["items"]) != _canonical(other["items"]):
        items = [one["items"], other["items"]]
        # A list has a schema for each place.
        both["items"] = items if any(isinstance(item, list) for item in items) else {"allOf": items}
    return both


def _canonical(schema: Any) -> str:  # noqa: ANN401
    """Return a schema as text, the same for equal ones."""
    return msgspec.json.encode(schema, order="deterministic").decode()


def _resolve(ref: str, place: Place) -> Any:  # noqa: ANN401
    """Return what a reference points to; true, which allows anything, for one to another document."""
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
    named = _named(place.root, ref)
    if named is None and ref.startswith("#"):
        raise TargetError(f"{place.where}: {ref} points nowhere in the stream's schema")
    return True if named is None else named


def _named(schema: Any, ref: str) -> Any:  # noqa: ANN401
    """Return the subschema with a name (`$id`, `id`, `$anchor`, `$dynamicAnchor`), None where there is none."""
    parts = [schema]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            anchors = [f"#{part[word]}" for word in ("$anchor", "$dynamicAnchor") if word in part]
            if ref in [part.get("$id"), part.get("id"), *anchors]:
                return part
            parts += part.values()
        elif isinstance(part, list):
            parts += part
    return None


def properties_of(schema: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the schemas of an object's fields, by name."""
    properties = schema.get("properties") or {}
    if not isinstance(properties, dict):
        raise TargetError(f"{where}: properties is not an object in the stream's schema")
    return properties


def required_of(schema: dict[str, Any]) -> frozenset[str]:
    """Return the names that an object must have; draft 3 has true in the field's own schema instead."""
    names = schema.get("required")
    return (
        frozenset(name for name in names if isinstance(name, str)) if isinstance(names, list) else frozenset()
    )


def is_open(schema: dict[str, Any]) -> bool:
    """Return whether an object's schema explicitly allows fields that it does not list."""
    return schema.get("additionalProperties", False) is not False or any(schema.get(word) for word in OPEN)
