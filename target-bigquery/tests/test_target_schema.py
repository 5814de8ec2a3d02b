"""Names, keys, and values there and back; the columns of single fields are in values.jsonl."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, date, datetime
from typing import Any

import pytest
from google.cloud.bigquery import SchemaField
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from target_bigquery import tables
from target_bigquery.errors import TargetError
from target_bigquery.names import RESERVED, clean, clean_all
from target_bigquery.schema import translate
from testkit.target_bench import Bench, succeeded


def test_keys_are_required_and_descriptions_stay() -> None:
    """A key becomes REQUIRED; the schema's description becomes the column's."""
    schema = {"properties": {"id": {"type": "integer", "description": "Number."}}}
    (column,) = translate("s", schema, ["id"]).columns
    assert (column.mode, column.field().description) == ("REQUIRED", "Number.")


def test_names_that_become_one_are_columns_of_their_own() -> None:
    """Each is marked by its own name, whatever the order; none is a name that is taken."""
    for names in (["+1", "-1"], ["a-b", "a_b"], ["ID", "id"]):
        cleaned = clean_all([*names, "x"])
        assert len({new.lower() for new in cleaned.values()}) == len(names) + 1
        assert cleaned["x"] == "x"
        assert clean_all(reversed(names)) == {name: cleaned[name] for name in names}
    assert clean_all(["_SDC_RUN_ID"], taken={"_sdc_run_id"}) == {"_SDC_RUN_ID": "x_SDC_RUN_ID"}


def columns(*names: str, nested: bool = False) -> list[SchemaField]:
    """The columns of fields of these names, of a table or of a field in it."""
    properties: dict[str, Any] = {name: {"type": "string", "description": "Text. " * 200} for name in names}
    return translate(
        "s", {"properties": {"part": {"properties": properties}} if nested else properties}, []
    ).fields()


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["a b"], ["a.b"]),
        (["a b"], ["a_b"]),
        (["a_b"], ["a b"]),
        (["Name"], ["name"]),
        (["e\u0301"], ["\u00e9"]),
        (["_sdc_ 1"], ["_sdc_.1"]),
        (["a b"], ["a b", "a.b"]),
        (["a_b"], ["a b", "a_b"]),
        (["a b", "a.b"], ["a b"]),
    ],
)
def test_fields_that_meet_in_a_later_run_are_refused(
    before: list[str],
    after: list[str],
    nested: bool,  # noqa: FBT001 (a table)
) -> None:
    """No field's values get into another's column, and none moves to another column; the columns' descriptions tell."""
    there = columns(*before, nested=nested)
    assert tables.merge(there, columns(*before, nested=nested), "t")[0] == there
    with pytest.raises(TargetError, match=r"source's field .*ALTER TABLE … RENAME COLUMN \w+ TO \w+$"):
        tables.merge(there, columns(*after, nested=nested), "t")


@pytest.mark.parametrize(("before", "after"), [("a b", "a.b"), ("Name", "name")])
def test_a_column_that_was_renamed_as_the_line_says_is_its_fields(before: str, after: str) -> None:
    """The other field then has a column of its own, beside it and later alone."""
    there = columns(before)
    with pytest.raises(TargetError) as refused:
        tables.merge(there, columns(before, after), "t")
    api = there[0].to_api_repr() | {"name": str(refused.value).rpartition(" ")[2]}
    both, _ = tables.merge([SchemaField.from_api_repr(api)], columns(before, after), "t")
    assert len(both) == 2
    assert tables.merge(both, columns(before, after), "t")[0] == both


@given(st.text(max_size=400))
def test_a_cleaned_name_is_one_that_bigquery_takes(name: str) -> None:
    """Whatever the name, the result keeps BigQuery's rules."""
    cleaned = clean(name)
    assert re.fullmatch(r"[^\W\d]\w{0,299}", "".join(c for c in cleaned if unicodedata.category(c)[0] != "M"))
    assert len(cleaned) <= 300
    assert not cleaned.upper().startswith(RESERVED)
    assert clean(cleaned) == cleaned


KINDS: dict[str, tuple[dict[str, Any], st.SearchStrategy[Any]]] = {
    "text": (
        {"type": ["string", "null"]},
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30),
    ),
    "whole": ({"type": ["integer", "null"]}, st.integers(-(2**63), 2**63 - 1)),
    "number": ({"type": ["number", "null"]}, st.floats(allow_nan=False, allow_infinity=False)),
    "flag": ({"type": ["boolean", "null"]}, st.booleans()),
    "day": ({"type": ["string", "null"], "format": "date"}, st.dates().map(str)),
    "at": (
        {"type": ["string", "null"], "format": "date-time"},
        st.datetimes(timezones=st.just(UTC)).map(lambda at: at.isoformat()),
    ),
    "part": (
        {"type": ["object", "null"], "properties": {"a": {"type": "string"}}},
        st.fixed_dictionaries({"a": st.text(max_size=5).filter(lambda t: "\0" not in t)}),
    ),
    "list": (
        {"type": ["array", "null"], "items": {"type": "integer"}},
        st.lists(st.integers(-100, 100), max_size=4),
    ),
    "any": ({}, st.recursive(st.none() | st.booleans() | st.integers(-9, 9), st.lists, max_leaves=4)),
}
SENT = st.lists(
    st.fixed_dictionaries({}, optional={kind: values | st.none() for kind, (_, values) in KINDS.items()}),
    min_size=100,
    max_size=150,
)
SCHEMA = {"properties": {"id": {"type": "integer"}, **{kind: field for kind, (field, _) in KINDS.items()}}}
ALL_KINDS = {"type": "SCHEMA", "stream": "kinds", "key_properties": ["id"], "schema": SCHEMA}


def normal(kind: str, value: Any) -> Any:
    """A value as BigQuery gives it back: no array is NULL, days and times are objects."""
    if kind == "list":
        return value or []
    if kind == "at" and value is not None:
        return datetime.fromisoformat(value)
    if kind == "day" and value is not None:
        return date.fromisoformat(value)
    return value


# Each example is a run of the target, of many records; the first is of the simplest ones.
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(sent=SENT)
def test_records_come_back_from_bigquery_as_they_were_sent(
    cloud: dict[str, str], sent: list[dict[str, Any]]
) -> None:
    """Whatever the values, record → JSON lines → BigQuery → record gives the same record."""
    bench = Bench(cloud)
    bench.owner().create_dataset(bench.dataset)
    messages = [
        {"type": "RECORD", "stream": "kinds", "record": {"id": number, **values}}
        for number, values in enumerate(sent)
    ]
    succeeded(bench.load(ALL_KINDS, *messages))
    landed = {row["id"]: row for row in bench.rows("kinds")}
    assert len(landed) == len(sent)
    for number, values in enumerate(sent):
        for kind in KINDS:
            assert landed[number][kind] == normal(kind, values.get(kind)), kind
