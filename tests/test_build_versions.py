"""Which versions a build reads: after a retraction, of an older state, beside another build, and of deltas."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from google.api_core.exceptions import NotFound
from warehouse import (
    MARTS,
    VERDICT,
    VERDICT_MODELS,
    VERSIONS,
    Warehouse,
    character,
    land,
    location,
    retract,
    verdict,
)

LEDGER = "`local_rickandmorty_landing._loads`"
# All that readers of `state` see.
WHAT_READERS_SEE = (*VERDICT, "--select", "+rpt_data_quality", "+rpt_loads", "+rpt_changes")
CHARACTERS = ("tag:staging", "int_links", "snap_characters", "dim_characters")
# One mart and what it needs, without the findings.
ONE_MART = ("run", "--select", *VERDICT_MODELS, "stg_rickandmorty__locations", "dim_locations")
VERSIONS_ALONE = ("run", "--select", *VERSIONS)
DELTAS = (*VERSIONS_ALONE, "stg_rickandmorty__deltas")
DELTA_ROWS = "SELECT id, name FROM `local_rickandmorty_staging.stg_rickandmorty__deltas` ORDER BY id"


@pytest.fixture
def deltas(warehouse: Warehouse) -> Iterator[Warehouse]:
    """The warehouse with a model that reads the deltas of a stream."""
    model = warehouse.folder / "transform" / "models" / "staging" / "stg_rickandmorty__deltas.sql"
    model.write_text(
        "SELECT landing.id, landing.name\nFROM {{ newest_record_of_each_key('locations', ['id']) }}\n"
    )
    yield warehouse
    # What dbt has compiled of it would be a model to other tests.
    for file in (model, *(warehouse.folder / "target").rglob(model.name)):
        file.unlink()


def state(warehouse: Warehouse, *tables: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of what readers see, of all tables or of those named."""
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
        if not tables or table in tables
    }


@pytest.mark.slow
def test_what_was_never_loaded_is_said_with_what_loads_it(warehouse: Warehouse) -> None:
    """One entity's table, and no dataset at all, as in a new warehouse: `make build` comes too early."""
    # With the unit tests, which have no warehouse.
    whole = ("build", "--select", *VERSIONS)
    warehouse.dbt(*whole).succeeded()
    assert "--empty reads no row" in warehouse.dbt(*whole, "--empty").messages()
    client = warehouse.sandbox.client()
    client.delete_table("local_rickandmorty_landing.episodes")
    assert (
        "landing, found no episodes; load them first: make run" in warehouse.dbt(*VERSIONS_ALONE).messages()
    )
    client.delete_dataset("local_rickandmorty_landing", delete_contents=True)
    assert (
        "found no _loads, characters, episodes, locations; load" in warehouse.dbt(*VERSIONS_ALONE).messages()
    )


@pytest.mark.slow
def test_a_bad_version_ends_before_the_marts_and_leaves_no_trace_once_retracted(warehouse: Warehouse) -> None:
    """11 % fewer characters fail the verdict with the marts as they were; retracted, it is as if it had never been."""
    land(warehouse, "good", 100)
    warehouse.build(*WHAT_READERS_SEE).succeeded()
    before = state(warehouse)
    land(warehouse, "bad", 89)
    done = warehouse.build(
        *VERDICT, "--select", "tag:staging", "tag:intermediate", "tag:snapshots", "tag:marts"
    )
    assert not done.ok
    assert "verdict_passes" in done.messages()
    assert verdict(warehouse, "fail") == [("drop", "characters")]
    stopped = state(warehouse)
    assert {**stopped, "staging.stg_rickandmorty__characters": None} == {
        **before,
        "staging.stg_rickandmorty__characters": None,
    }
    accepted_build = (*VERDICT, "--select", *CHARACTERS)
    warehouse.build(*accepted_build, DBT_VERDICT_DROP="warn").succeeded()
    assert verdict(warehouse, "warn") == [("drop", "characters")]
    accepted = state(warehouse)
    assert len(accepted["marts.dim_characters"]) == 89
    assert sum(until is not None for *_, until in accepted["snapshots.snap_characters"]) == 11

    # What was built when the first run had ended.
    older = {"DBT_AS_OF": "good", "DBT_VERDICT_FRESHNESS": "fail"}
    warehouse.build(*accepted_build, "--select", "int_record_changes", "rpt_changes", **older).succeeded()
    assert state(warehouse) == before
    assert verdict(warehouse, "warn") == [("freshness", e) for e in ("characters", "episodes", "locations")]

    reason = 'it\'s "half" a world:\nC:\\ \N{SNOWMAN}'
    retract(warehouse, run_id="bad", reason=reason)
    marked = f"SELECT retracted_at, retraction_reason FROM {LEDGER} WHERE retracted_at IS NOT NULL"
    marks = warehouse.ask(marked)
    assert [why for _, why in marks] == [reason] * 3
    # From another desk: the first reason and time are kept, and it is said.
    retract(warehouse, run_id="bad", reason="the second")
    assert warehouse.ask(marked) == marks
    assert 'already, which is kept with its reason: it\'s "half" a world: C:' in warehouse.log()
    warehouse.build(*WHAT_READERS_SEE).succeeded()
    assert state(warehouse) == before
    landed = "SELECT COUNT(*) FROM `local_rickandmorty_landing.characters` WHERE _sdc_run_id = 'bad'"
    assert warehouse.ask(landed) == [(89,)]


@pytest.mark.slow
def test_whatever_is_retracted_a_build_reads_the_rest(warehouse: Warehouse) -> None:
    """The newest, the first, one in the middle, a version of two runs, one stream of a run, all; and each undone."""

    def read() -> dict[str, str]:
        warehouse.dbt(*VERSIONS_ALONE).succeeded()
        sql = (
            "SELECT entity, STRING_AGG(run_id, ' ' ORDER BY version_number) "
            "FROM `local_rickandmorty_staging.int_build_versions` GROUP BY entity"
        )
        return dict(warehouse.ask(sql))

    for run_id in ("a", "b", "c", "d"):
        land(warehouse, run_id)
    warehouse.land("characters", [], "again", table_version=int(warehouse.clock.timestamp() * 1000) + 1)
    warehouse.land("characters", [], "twin", table_version=int(warehouse.clock.timestamp() * 1000) - 3599999)
    assert read() == {"characters": "a b c d again twin", "episodes": "a b c d", "locations": "a b c d"}
    retract(warehouse, run_id="d", reason="the newest")
    retract(warehouse, run_id="b", reason="one in the middle")
    assert read() == {"characters": "a c again twin", "episodes": "a c", "locations": "a c"}
    retract(warehouse, run_id="d", undo=True)
    retract(warehouse, run_id="b", stream="episodes", undo=True)
    retract(warehouse, run_id="a", reason="the first")
    retract(warehouse, run_id="again", reason="one of two runs with the same version")
    retract(warehouse, run_id="d", undo=True)
    assert "was not retracted; nothing is changed" in warehouse.log()
    assert read() == {"characters": "c d twin", "episodes": "b c d", "locations": "c d"}
    for run_id in ("b", "c", "d", "twin"):
        retract(warehouse, run_id=run_id, reason="all that is left")
    assert read() == {}
    done = warehouse.build(*VERDICT)
    assert not done.ok
    assert verdict(warehouse, "fail") == [("missing", e) for e in ("characters", "episodes", "locations")]

    for arguments, message in (
        ({"run_id": "no'body", "reason": "x"}, "run no'body: expected a run of the ledger"),
        ({"run_id": "a", "stream": "ships", "reason": "x"}, "run a loaded no stream ships"),
        ({"run_id": "a", "reason": " "}, "a reason is needed"),
        ({"run_id": "a", "undo": "false"}, "undo is true or false, without quotes, got 'false'"),
    ):
        done = warehouse.dbt("run-operation", "retract", "--args", json.dumps(arguments))
        assert not done.ok
        assert message in warehouse.log()
    done = warehouse.dbt(*VERSIONS_ALONE, DBT_AS_OF="no'body")
    assert not done.ok
    assert "run no'body: expected a run of the ledger" in done.messages()


def test_a_selection_of_which_a_part_matches_nothing_is_an_error(warehouse: Warehouse) -> None:
    """As a misspelt one, or a command for seeds in a project without: nothing is built, and nothing is green."""
    for command in (("run", "--select", "dim_locations", "dim_charakters"), ("seed",)):
        done = warehouse.dbt(*command)
        assert not done.ok
        assert "does not match any" in done.messages() or "Nothing to do" in done.messages()


@pytest.mark.slow
def test_a_part_of_a_build_needs_the_verdict(warehouse: Warehouse) -> None:
    """Marts alone, without tests, without rows, or with new versions and no verdict: no mart is made of what has not passed.

    Nor does a bad version that is loaded again pass for being like the one before.
    """
    land(warehouse, "good", 100)
    for first in (ONE_MART, ("run", "--select", "dim_locations")):
        warehouse.dbt(*first).succeeded()
    land(warehouse, "bad", 50)
    mart = f"SELECT DISTINCT run_id FROM `{MARTS}.dim_locations`"
    refused = "the verdict on the versions of this build is fail"
    for command, message in (
        (ONE_MART, refused),
        (("build", "--select", "tag:core", "--indirect-selection", "empty"), refused),
        (ONE_MART, refused),
        ((*VERSIONS_ALONE, "dim_locations"), "which this build of new versions leaves out"),
        (VERSIONS_ALONE, ""),
        (("run", "--select", "dim_locations"), "expected a verdict on the versions"),
        (("run", "--select", "+dim_locations", "--empty"), "--empty reads no row"),
        (("run", "--select", "dim_locations", "--empty"), "--empty reads no row"),
        (("run", "--exclude", "int_links"), "reads int_links, which this build of new versions leaves out"),
    ):
        if command[0] == "build":
            land(warehouse, "bad again", 50)
        done = warehouse.dbt(*command)
        assert message in done.messages()
        assert warehouse.ask(mart) == [("good",)]
    warehouse.dbt("run", "--select", "+dim_locations", DBT_VERDICT_DROP="warn").succeeded()
    assert warehouse.ask(mart) == [("bad again",)]
    # Accepted is accepted, in the next build too.
    warehouse.dbt("run", "--select", *VERDICT_MODELS).succeeded()
    assert verdict(warehouse, "fail") == []


@pytest.mark.slow
def test_a_build_beside_another_does_not_take_its_versions(warehouse: Warehouse) -> None:
    """The other has written its versions in between: the first ends with an error before a mart is made of them."""
    land(warehouse, "first")
    verdict_file = warehouse.folder / "transform" / "models" / "marts" / "reports" / "rpt_verdict.sql"
    text = verdict_file.read_text()
    hook = "UPDATE {{ ref('int_build_versions') }} SET build_id = 'of another' WHERE TRUE"
    verdict_file.write_text(f'{{{{ config(post_hook="{hook}") }}}}\n{text}')
    try:
        done = warehouse.dbt(*ONE_MART)
    finally:
        verdict_file.write_text(text)
    assert not done.ok
    assert "another build has written" in done.messages()


@pytest.mark.slow
def test_a_version_loaded_during_a_build_waits_for_the_next(warehouse: Warehouse) -> None:
    """It is landed as soon as the build has written its versions: staging, marts and history are of the version before."""
    land(warehouse, "first")
    client = warehouse.sandbox.client()

    def land_meanwhile() -> None:
        while not any(table.table_id == "int_build_versions" for table in tables()):
            time.sleep(0.2)
        land(warehouse, "second", 30)

    def tables() -> list[Any]:
        try:
            return list(client.list_tables("local_rickandmorty_staging"))
        except NotFound:
            return []

    with ThreadPoolExecutor() as pool:
        landing = pool.submit(land_meanwhile)
        done = warehouse.build("--select", "+rpt_loads", "+snap_characters")
        landing.result()
    done.succeeded()
    assert warehouse.ask("SELECT COUNT(*) FROM `local_rickandmorty_landing.characters`") == [(50,)]
    seen = state(warehouse, "staging.stg_rickandmorty__characters", "marts.dim_characters", "marts.rpt_loads")
    for rows in seen.values():
        assert {"first", 20} & set(rows[0])
        assert "second" not in repr(rows)
    history = state(warehouse, "snapshots.snap_characters")
    assert len(history["snapshots.snap_characters"]) == 20


@pytest.mark.slow
def test_a_ledger_row_deleted_by_hand_closes_no_history(warehouse: Warehouse) -> None:
    """The obvious wrong way: a build of the marts alone keeps to its versions, a whole one takes the version before.

    That one is days older: no floor of partitions hides it.
    """
    now = warehouse.clock
    warehouse.clock -= timedelta(days=5)
    land(warehouse, "old")
    warehouse.clock = max(now, warehouse.clock)
    land(warehouse, "new", 21)
    characters = ("--select", "+dim_characters", "+snap_characters")
    warehouse.build(*characters).succeeded()
    before = state(warehouse, "snapshots.snap_characters")
    warehouse.sandbox.client().query(
        f"DELETE FROM {LEDGER} WHERE run_id = 'new' AND stream = 'characters'"
    ).result()
    staged = "SELECT COUNT(*) FROM `local_rickandmorty_staging.stg_rickandmorty__characters`"
    assert warehouse.ask(staged) == [(21,)]
    warehouse.dbt("run", "--select", "dim_characters", "snap_characters").succeeded()
    assert state(warehouse, "snapshots.snap_characters") == before
    warehouse.build(*characters).succeeded()
    opened = "SELECT COUNT(*) FROM `local_rickandmorty_snapshots.snap_characters` WHERE dbt_valid_to IS NULL"
    assert warehouse.ask(opened) == warehouse.ask(staged) == [(20,)]


@pytest.mark.slow
def test_an_id_that_a_version_has_twice_stops_the_build_and_later_hides_nothing(warehouse: Warehouse) -> None:
    """The marts stay as they were; once the same run brings a right version, the changes compare it with the last of the two."""
    land(warehouse, "first", 3)
    twice = [character(i, (1,), 1) for i in (1, 2, 3)]
    twice += [character(3, (1,), 1, name="The last", _sdc_sequence=2)]
    warehouse.land("characters", twice, "twice")
    done = warehouse.build("--select", "+dim_characters")
    assert done.of("fail") == ["unique_combination_of_columns_stg_rickandmorty__characters_character_id"]
    assert "dim_characters" in done.of("skipped")
    warehouse.land("characters", [character(i, (1,), 1) for i in (1, 2, 3)], "twice")
    warehouse.build("--select", "+rpt_changes", DBT_VERDICT_DROP="warn").succeeded()
    changed = f"SELECT record_id, field_name, value_before, value_after FROM `{MARTS}.rpt_changes`"
    assert warehouse.ask(changed) == [(3, "name", "The last", "Who 3")]
    # Of the version before, these have left the records that they did not send.
    warehouse.land("characters", [character(1, (1,), 1, name="New")], "upserted", method="upsert")
    warehouse.build("--select", "+rpt_changes", DBT_VERDICT_DROP="warn").succeeded()
    assert warehouse.ask(changed) == []
    # Nor were those added whose rows of the version before have left the landing table since.
    warehouse.ask("DELETE FROM `local_rickandmorty_landing.characters` WHERE _sdc_run_id = 'upserted'")
    warehouse.land("characters", [character(1, (1,), 1)], "next")
    warehouse.build("--select", "+rpt_changes").succeeded()
    assert warehouse.ask(changed) == []


@pytest.mark.slow
def test_history_is_not_computed_anew_from_rows_that_have_left(warehouse: Warehouse) -> None:
    """With the first version's partition gone, an older state is refused with the history as it was; a full refresh is not."""
    for run_id, status in (("first", "Alive"), ("second", "Dead"), ("third", "unknown")):
        warehouse.land("characters", [character(1, status=status)], run_id)
    history = (*VERSIONS_ALONE, "snap_characters")

    def lived() -> list[tuple[Any, ...]]:
        return warehouse.ask(
            "SELECT status FROM `local_rickandmorty_snapshots.snap_characters` ORDER BY dbt_valid_from"
        )

    with warehouse.without_verdict():
        assert warehouse.dbt(*history).ok
        warehouse.ask("DELETE FROM `local_rickandmorty_landing.characters` WHERE _sdc_run_id = 'first'")
        refused = warehouse.dbt(*history, DBT_AS_OF="second")
        assert "rows of 1 of its versions" in refused.messages()
        assert "--full-refresh" in refused.messages()
        assert lived() == [("Alive",), ("Dead",), ("unknown",)]
        assert warehouse.dbt(*history).ok
        assert lived() == [("Alive",), ("Dead",), ("unknown",)]
        assert warehouse.dbt(*history, "--full-refresh", DBT_AS_OF="second").ok
        assert lived() == [("Dead",)]
        # BigQuery takes a megabyte of SQL: it does not grow with the versions.
        (statement,) = (warehouse.folder / "target" / "run").rglob("snap_characters.sql")
        assert "'second'" not in statement.read_text()
        # What was left out once is not asked for again.
        assert warehouse.dbt(*history).ok
        assert lived() == [("Dead",), ("unknown",)]


@pytest.mark.slow
def test_one_version_number_of_two_runs_is_two_loads(warehouse: Warehouse) -> None:
    """Marts, changes and history read each run's own rows, the last to finish as the newest; each can be taken back."""
    one = [character(i, (1,), 1) for i in range(1, 21)]
    two = [{**person, "status": "Dead"} for person in one[:19]]
    land(warehouse, "before")
    version = warehouse.land("characters", one, "one")
    warehouse.land("characters", two, "two", table_version=version)
    # Rows of a run that died before its row of the ledger.
    warehouse.append("characters", [{**one[0], "_sdc_table_version": version, "_sdc_run_id": "killed",
                                     "_sdc_batched_at": warehouse.clock.isoformat()}])  # fmt: skip

    def shown() -> tuple[Any, ...]:
        warehouse.dbt("run", "--select", "+rpt_loads", "+rpt_changes", "+snap_characters").succeeded()
        people = f"SELECT COUNT(*), COUNTIF(status = 'Dead'), MIN(run_id) FROM `{MARTS}.dim_characters`"
        changes = (
            f"SELECT COUNTIF(change = 'removed'), COUNTIF(value_after = 'Dead') FROM `{MARTS}.rpt_changes`"
        )
        loads = (
            f"SELECT STRING_AGG(run_id) FROM `{MARTS}.rpt_loads` WHERE entity = 'characters' AND is_newest"
        )
        closed = (
            "SELECT COUNTIF(dbt_valid_to IS NOT NULL) FROM `local_rickandmorty_snapshots.snap_characters`"
        )
        return tuple(value for sql in (people, changes, loads, closed) for value in warehouse.ask(sql)[0])

    assert shown() == (19, 19, "two", 1, 19, "two", 20)
    retract(warehouse, run_id="two", reason="made of nothing")
    assert shown() == (20, 0, "one", 0, 0, "one", 0)
    retract(warehouse, run_id="two", undo=True)
    warehouse.land("characters", two, "three")
    assert shown() == (19, 19, "three", 0, 0, "three", 20)


@pytest.mark.slow
def test_deltas_that_a_tap_numbers_by_their_last_full_read(deltas: Warehouse) -> None:
    """Taps of databases do: the deltas' own rows are compared with the ledger, and what the full read lacked stays away."""
    delta = {"replication": "incremental", "proof": "state"}
    deltas.land("locations", [location(i) for i in (1, 2, 3)], "older")
    version = deltas.land("locations", [location(1), location(2)], "full")
    for run_id, name in (("a", "One"), ("b", "Uno"), ("c", "Eins")):
        deltas.land("locations", [location(1, name=name)], run_id, table_version=version, **delta)
    landed = "SELECT landed_row_count FROM `local_rickandmorty_staging.int_landed` WHERE entity = 'locations'"
    for as_of, newest in (("", "Eins"), ("b", "Uno")):
        deltas.dbt(*DELTAS, "int_landed", DBT_AS_OF=as_of).succeeded()
        assert deltas.ask(DELTA_ROWS) == [(1, newest), (2, "Place 2")]
        assert deltas.ask(landed) == [(1,)]
    retract(deltas, run_id="c", reason="not one of ours")
    deltas.dbt(*DELTAS).succeeded()
    assert deltas.ask(DELTA_ROWS) == [(1, "Uno"), (2, "Place 2")]


def test_a_delta_is_not_read_as_a_version(warehouse: Warehouse) -> None:
    """A stream of replication incremental ends the build of a model that reads its newest version, with what to use instead."""
    land(warehouse, "whole")
    warehouse.land("locations", [location(1)], "delta", replication="incremental")
    done = warehouse.dbt(*VERSIONS_ALONE, "stg_rickandmorty__locations")
    assert not done.ok
    assert "expected a whole version (replication full), got a delta" in done.messages()
    assert "newest_record_of_each_key('locations', [key])" in done.messages()


@pytest.mark.slow
def test_a_delta_is_read_by_the_newest_record_of_each_key(deltas: Warehouse) -> None:
    """Deltas, a whole version among them that the tap numbers otherwise, deletion marks, a late load and a retraction."""
    gone: dict[str, Any] = {"_sdc_deleted_at": "2026-01-01T00:00:00Z"}

    def land(run_id: str, *records: dict[str, Any], **ledger: Any) -> None:
        deltas.land("locations", list(records), run_id, **{"replication": "incremental", **ledger})

    def read(**environment: str) -> list[tuple[Any, ...]]:
        deltas.dbt(*DELTAS, **environment).succeeded()
        return deltas.ask(DELTA_ROWS)

    land("a", location(1), location(2), location(3))
    land("b", location(2, name="Two"), location(3, **gone))
    land("c", location(1, name="taken back"), retracted_at="2026-01-01T00:00:00Z")
    land("d", location(2, name="Twice", _sdc_sequence=1), location(2, name="Last", _sdc_sequence=2))
    land("e", location(3, name="Back"))
    assert read() == [(1, "Place 1"), (2, "Last"), (3, "Back")]
    land("whole", location(1, name="One"), location(3), replication="full", table_version=7)
    land("f")
    land("g", location(4))
    assert read() == [(1, "One"), (3, "Place 3"), (4, "Place 4")]
    assert read(DBT_AS_OF="d") == [(1, "Place 1"), (2, "Last")]
    retract(deltas, run_id="whole", reason="half of it")
    assert read() == [(1, "Place 1"), (2, "Last"), (3, "Back"), (4, "Place 4")]
