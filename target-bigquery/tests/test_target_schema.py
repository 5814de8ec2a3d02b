"""Names and keys; the columns and values of single fields are in values.jsonl."""

import re
import unicodedata
from typing import Any

import pytest
from google.cloud.bigquery import SchemaField
from hypothesis import given
from hypothesis import strategies as st
from target_bigquery import tables
from target_bigquery.errors import TargetError
from target_bigquery.names import RESERVED, clean, clean_all
from target_bigquery.schema import translate


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
