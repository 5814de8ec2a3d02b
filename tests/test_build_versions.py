"""What a build reads, takes back and refuses: retraction, an older state, deltas, and the verdict before the marts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from testkit.whole_pipeline import running_sandbox
from warehouse import Warehouse, character, episode, location, open_warehouse

if TYPE_CHECKING:
    from collections.abc import Iterator

MARTS = "local_rickandmorty_marts"
LEDGER = "`local_rickandmorty_landing._loads`"


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    """A warehouse of this module's own."""
    with (
        running_sandbox(tmp_path_factory.mktemp("sandbox"), "--parts", "storage,bigquery") as sandbox,
        open_warehouse(sandbox, tmp_path_factory.mktemp("warehouse")) as found,
    ):
        yield found


def land(warehouse: Warehouse, run_id: str, characters: int = 20, **ledger: Any) -> None:
    """Load a world of so many characters."""
    people = [character(i, (1,), 1) for i in range(1, characters + 1)]
    everybody = tuple(range(1, characters + 1))
    warehouse.land("characters", people, run_id, **ledger)
    warehouse.land("episodes", [episode(1, everybody)], run_id, **ledger)
    warehouse.land("locations", [location(1, everybody)], run_id, **ledger)


def state(warehouse: Warehouse) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of what readers see."""
    columns = {
        "staging.stg_rickandmorty__characters": "character_id, run_id",
        "marts.dim_characters": "character_id, run_id",
        "marts.rpt_loads": "run_id, entity, row_count",
        "marts.rpt_changes": "entity, record_id, change, run_id_after",
        "marts.rpt_data_quality": "rule, entity, record_id, detail",
        "snapshots.snap_characters": "character_id, run_id, dbt_valid_from, dbt_valid_to",
    }
    return {
        table: sorted(warehouse.ask(f"SELECT {names} FROM `local_rickandmorty_{table}`"), key=repr)
        for table, names in columns.items()
    }


def verdict(warehouse: Warehouse, status: str) -> list[tuple[Any, ...]]:
    """Return the checks of the last verdict that ended so."""
    sql = f"SELECT check_name, entity FROM `{MARTS}.rpt_verdict` WHERE status = '{status}'"
    return sorted(warehouse.ask(sql), key=repr)


def test_a_bad_version_stops_before_the_marts_and_leaves_no_trace_once_retracted(
    warehouse: Warehouse,
) -> None:
    """11 % fewer characters fail the verdict with the marts as they were; retracted, it is as if it had never been."""
    warehouse.empty()
    land(warehouse, "good", 100)
    done = warehouse.build()
    assert done.ok, done.messages()
    before = state(warehouse)
    land(warehouse, "bad", 89)
    done = warehouse.build()
    assert not done.ok
    assert "verdict_passes" in done.messages()
    assert verdict(warehouse, "fail") == [("drop", "characters")]
    stopped = state(warehouse)
    assert {**stopped, "staging.stg_rickandmorty__characters": None} == {
        **before,
        "staging.stg_rickandmorty__characters": None,
    }
    done = warehouse.build(DBT_VERDICT_DROP="warn")
    assert done.ok, done.messages()
    assert verdict(warehouse, "warn") == [("drop", "characters")]
    accepted = state(warehouse)
    assert len(accepted["marts.dim_characters"]) == 89
    assert sum(until is not None for *_, until in accepted["snapshots.snap_characters"]) == 11

    # What was built when the first run had ended.
    done = warehouse.build(DBT_AS_OF="good")
    assert done.ok, done.messages()
    assert state(warehouse) == before

    done = warehouse.dbt("run-operation", "retract", "--args", '{run_id: bad, reason: it\'s half a "world"}')
    assert done.ok, done.messages()
    done = warehouse.build()
    assert done.ok, done.messages()
    assert state(warehouse) == before
    marked = f"SELECT COUNT(*), MIN(retraction_reason) FROM {LEDGER} WHERE retracted_at IS NOT NULL"
    assert warehouse.ask(marked) == [(3, 'it\'s half a "world"')]
    landed = "SELECT COUNT(*) FROM `local_rickandmorty_landing.characters` WHERE _sdc_run_id = 'bad'"
    assert warehouse.ask(landed) == [(89,)]

    done = warehouse.build(DBT_AS_OF="nobody")
    assert not done.ok
    assert "run nobody: expected a run of the ledger" in done.messages()


def test_a_ledger_row_deleted_by_hand_closes_no_history(warehouse: Warehouse) -> None:
    """The obvious wrong way: a build of the marts alone keeps to its versions, a whole one takes the version before."""
    warehouse.empty()
    land(warehouse, "old")
    land(warehouse, "new", 21)
    done = warehouse.build()
    assert done.ok, done.messages()
    before = state(warehouse)
    warehouse.sandbox.client().query(
        f"DELETE FROM {LEDGER} WHERE run_id = 'new' AND stream = 'characters'"
    ).result()
    staged = "SELECT COUNT(*) FROM `local_rickandmorty_staging.stg_rickandmorty__characters`"
    assert warehouse.ask(staged) == [(21,)]
    done = warehouse.build("--select", "dim_characters", "snap_characters")
    assert done.ok, done.messages()
    assert state(warehouse)["snapshots.snap_characters"] == before["snapshots.snap_characters"]
    done = warehouse.build()
    assert done.ok, done.messages()
    opened = "SELECT COUNT(*) FROM `local_rickandmorty_snapshots.snap_characters` WHERE dbt_valid_to IS NULL"
    assert warehouse.ask(opened) == warehouse.ask(staged) == [(20,)]


VERDICTS: dict[str, tuple[dict[str, Any], dict[str, str], list[tuple[str, str | None]]]] = {
    "another source": ({"source": "made-up"}, {}, [("source", e) for e in ("characters", "episodes", "locations")]),
    "no proof": ({"proof": "end_of_input"}, {"DBT_VERDICT_PROOF": "fail"},
                 [("proof", e) for e in ("characters", "episodes", "locations")]),
    "stale": ({"started_at": "2026-01-01T00:00:00Z", "finished_at": "2026-01-01T00:00:30Z"}, {"DBT_VERDICT_FRESHNESS": "fail"},
              [("freshness", e) for e in ("characters", "episodes", "locations")]),
    "fewer rows landed than loaded": ({"rows": 25}, {"DBT_VERDICT_DROP": "ignore"},
                                      [("counts", e) for e in ("characters", "episodes", "locations")]),
}  # fmt: skip


@pytest.mark.parametrize("case", VERDICTS)
def test_the_verdict_fails(warehouse: Warehouse, case: str) -> None:
    """Each check that does not hold stops the build where its policy is fail."""
    ledger, environment, failing = VERDICTS[case]
    warehouse.empty()
    land(warehouse, "first")
    assert warehouse.build("--select", "+rpt_verdict", **environment).ok
    land(warehouse, "second", **ledger)
    done = warehouse.build("--select", "+rpt_verdict", **environment)
    assert not done.ok
    assert verdict(warehouse, "fail") == failing
    assert warehouse.ask(f"SELECT DISTINCT run_id FROM `{MARTS}.rpt_verdict`") == [
        ("first" if case == "stale" else "second",)
    ]


def test_no_record_and_an_odd_status_and_an_entity_that_is_missing(warehouse: Warehouse) -> None:
    """A first load of 0 records, a status that nobody knows, and a landing table without a version."""
    warehouse.empty()
    warehouse.land("characters", [character(1, status="Frozen")], "first")
    warehouse.land("episodes", [], "first")
    done = warehouse.build("--select", "+rpt_verdict", DBT_VERDICT_STATUS_VALUES="fail")
    assert not done.ok
    assert verdict(warehouse, "fail") == [
        ("empty", "episodes"),
        ("missing", "locations"),
        ("status_values", "characters"),
    ]
    done = warehouse.build("--select", "+rpt_verdict", DBT_VERDICT_EMPTY="never")
    assert not done.ok
    assert "the policy of the check empty is fail, warn or ignore, got 'never'" in done.messages()


def test_a_delta_is_not_read_as_a_version(warehouse: Warehouse) -> None:
    """A stream of replication incremental ends the build of a model that reads its newest version, with what to use instead."""
    warehouse.empty()
    land(warehouse, "whole")
    warehouse.land("locations", [location(1)], "delta", replication="incremental")
    done = warehouse.build(
        "--select", "stg_rickandmorty__loads", "int_build_versions", "stg_rickandmorty__locations"
    )
    assert not done.ok
    assert "expected a whole version (replication full), got a delta" in done.messages()
    assert "newest_record_of_each_key('locations', [key])" in done.messages()


def test_a_delta_is_read_by_the_newest_record_of_each_key(warehouse: Warehouse) -> None:
    """Deltas, a whole version among them that the tap numbers otherwise, deletion marks, a late load and a retraction."""
    model = warehouse.folder / "transform" / "models" / "staging" / "stg_rickandmorty__deltas.sql"
    model.write_text(
        "SELECT landing.id, landing.name\nFROM {{ newest_record_of_each_key('locations', ['id']) }}\n"
    )
    select = ("run", "--select", "stg_rickandmorty__loads", "int_build_versions", "stg_rickandmorty__deltas")
    sql = "SELECT id, name FROM `local_rickandmorty_staging.stg_rickandmorty__deltas` ORDER BY id"
    gone = {"_sdc_deleted_at": "2026-01-01T00:00:00Z"}

    def land(run_id: str, *records: dict[str, Any], **ledger: Any) -> None:
        warehouse.land("locations", list(records), run_id, **{"replication": "incremental", **ledger})

    def found(**environment: str) -> list[tuple[Any, ...]]:
        done = warehouse.dbt(*select, **environment)
        assert done.ok, done.messages()
        return warehouse.ask(sql)

    try:
        warehouse.empty()
        land("a", location(1), location(2), location(3))
        land("b", location(2, name="Two"), location(3, **gone))
        land("c", location(1, name="taken back"), retracted_at="2026-01-01T00:00:00Z")
        assert found() == [(1, "Place 1"), (2, "Two")]
        land("d", location(2, name="Twice", _sdc_sequence=1), location(2, name="Last", _sdc_sequence=2))
        land("e", location(3, name="Back"))
        assert found() == [(1, "Place 1"), (2, "Last"), (3, "Back")]
        land("whole", location(1, name="One"), location(3), replication="full", table_version=7)
        assert found() == [(1, "One"), (3, "Place 3")]
        land("f")
        land("g", location(4))
        assert found() == [(1, "One"), (3, "Place 3"), (4, "Place 4")]
        assert found(DBT_AS_OF="d") == [(1, "Place 1"), (2, "Last")]
        done = warehouse.dbt("run-operation", "retract", "--args", "{run_id: whole, reason: half of it}")
        assert done.ok, done.messages()
        assert found() == [(1, "Place 1"), (2, "Last"), (3, "Back"), (4, "Place 4")]
    finally:
        model.unlink()
