"""What the tap does when the API's records are not what the schemas say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tap_api import Api, Outcome, character

if TYPE_CHECKING:
    from collections.abc import Callable

DRIFTS: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "new_field": ({"planet": "Mars"}, [], "new field planet"),
    "missing_field": ({}, ["gender"], "missing field gender"),
    "retyped_field": ({"species": 5}, [], "retyped field species"),
    "unknown_value": ({"status": "Asleep"}, [], "unknown value status"),
}


def drifted(api: Api, kind: str) -> None:
    """Lets records 7 and 8 drift."""
    change, dropped, _ = DRIFTS[kind]
    for number in (7, 8):
        record = character(number, **change)
        for name in dropped:
            del record[name]
        api.records["character"][number - 1] = record


@pytest.mark.parametrize("kind", DRIFTS)
def test_fail_ends_the_run_at_the_first_record(api: Api, run_tap: Callable[..., Outcome], kind: str) -> None:
    """With `fail` the last line names stream, field, record, expected and got, and nothing is said to be whole."""
    drifted(api, kind)
    run = run_tap(**{f"drift_{kind}": "fail"})
    assert run.status == 1
    assert run.last_line().count("characters: " + DRIFTS[kind][2]) == 1
    assert "record id 7" in run.last_line()
    assert "expected " in run.last_line()
    assert "got " in run.last_line()
    assert run.activated("characters") == []


@pytest.mark.parametrize("kind", DRIFTS)
def test_warn_says_each_field_once(api: Api, run_tap: Callable[..., Outcome], kind: str) -> None:
    """With `warn` one line tells the field with a count and a sample record, and the run goes on."""
    drifted(api, kind)
    run = run_tap(**{f"drift_{kind}": "warn"})
    assert run.status == 0, run.log
    lines = [line for line in run.log.splitlines() if DRIFTS[kind][2] in line]
    assert len(lines) == 1
    assert "in 2 records, such as id 7" in lines[0]
    assert len(run.activated("characters")) == 1


@pytest.mark.parametrize("kind", DRIFTS)
def test_ignore_says_nothing(api: Api, run_tap: Callable[..., Outcome], kind: str) -> None:
    """With `ignore` the run goes on and the field is not told."""
    drifted(api, kind)
    run = run_tap(**{f"drift_{kind}": "ignore"})
    assert run.status == 0, run.log
    assert DRIFTS[kind][2] not in run.log


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (character(7, origin={"name": "x", "url": "", "id": 3}), "new field origin.id"),
        (character(7, origin={"name": "x"}), "missing field origin.url"),
        (character(7, name=None), "retyped field name"),
        (character(7, episode=["a", 3]), "retyped field episode[]"),
        (character(7, episode="a"), "retyped field episode"),
        (character(7, gender=None), "retyped field gender"),
    ],
    ids=["new-nested", "missing-nested", "null-text", "element", "array-as-text", "null"],
)
def test_drift_is_found_at_any_depth(
    api: Api, run_tap: Callable[..., Outcome], record: dict[str, Any], said: str
) -> None:
    """Nested objects, arrays and nulls are checked as the top is."""
    api.records["character"][6] = record
    run = run_tap(drift_new_field="fail")
    assert run.status == 1
    assert said in run.last_line()


def test_by_default_a_new_field_warns_and_a_lost_one_fails(api: Api, run_tap: Callable[..., Outcome]) -> None:
    """The defaults let the source grow, and stop when it takes something away or changes a type."""
    drifted(api, "new_field")
    assert run_tap().status == 0
    drifted(api, "missing_field")
    assert run_tap().status == 1
    drifted(api, "retyped_field")
    assert run_tap().status == 1


def test_the_values_of_a_new_field_are_kept(api: Api, run_tap: Callable[..., Outcome]) -> None:
    """With `warn` they are in new_fields, by path, nested ones too; records without any have none."""
    api.records["character"][6] = character(7, planet={"a": [1]}, origin={"name": "x", "url": "", "id": 3})
    found = {r["id"]: r.get("new_fields") for r in run_tap().records("characters")}
    assert found.pop(7) == {"planet": {"a": [1]}, "origin.id": 3}
    assert set(found.values()) == {None}
