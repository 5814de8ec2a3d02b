"""What the tap does when the API's records do not match the schemas."""

from typing import Any

import pytest
from tap_api import Api, RunTap, character

# Kind of drift -> what is changed in a record, and how the log names it.
DRIFTS: dict[str, tuple[dict[str, Any], str]] = {
    "new_field": ({"planet": "Mars"}, "new field planet"),
    "missing_field": ({"gender": ...}, "missing field gender"),
    "retyped_field": ({"species": 5}, "retyped field species"),
    "unknown_value": ({"status": "Asleep"}, "unknown value status"),
}


@pytest.mark.parametrize("kind", DRIFTS)
@pytest.mark.parametrize("policy", ["fail", "warn", "ignore", None], ids=str)
def test_a_drift_is_handled_by_its_policy(api: Api, run_tap: RunTap, kind: str, policy: str | None) -> None:
    """`fail` ends the run at the first record, `warn` reports the field once with a count, `ignore` reports nothing.

    By default the source may grow, but not take something away or change a type.
    """
    change, named = DRIFTS[kind]
    for number in (7, 8):
        record = character(number, **change)
        api.records["character"][number - 1] = {k: v for k, v in record.items() if v is not ...}
    run = run_tap(**({f"drift_{kind}": policy} if policy else {}))
    policy = policy or {"new_field": "warn", "unknown_value": "warn"}.get(kind, "fail")
    lines = [line for line in run.log.splitlines() if f"characters: {named}" in line]
    if policy == "fail":
        run.failed()
        assert run.last_line() == lines[0]
        for part in ("record id 7", "expected ", "got "):
            assert part in lines[0]
        assert run.activated("characters") == []
    else:
        assert run.status == 0, run.log
        assert len(run.activated("characters")) == 1
        assert len(lines) == (policy == "warn")
        assert all("in 2 records, such as id 7" in line for line in lines)


@pytest.mark.parametrize(
    ("record", "named"),
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
def test_drift_is_found_at_any_depth(api: Api, run_tap: RunTap, record: dict[str, Any], named: str) -> None:
    """Nested objects, arrays and nulls are checked as the top level is."""
    api.records["character"][6] = record
    run_tap(drift_new_field="fail").failed(named)


def test_the_values_of_a_new_field_are_kept(api: Api, run_tap: RunTap) -> None:
    """With `warn` they are in new_fields, by path, nested ones too; other records have none."""
    origin = {"name": "x", "url": "", "id": 3}
    api.records["character"][6] = character(7, origin=origin, planet={"a": [1]}, **{"origin.id": 4})
    kept = {r["id"]: r.get("new_fields") for r in run_tap().records("characters")}
    assert kept.pop(7) == {"planet": {"a": [1]}, "origin.id": 3, "['origin.id']": 4}
    assert set(kept.values()) == {None}
