"""What a build refuses: the checks of the verdict, which stands before the marts are replaced."""

import json
from datetime import timedelta
from typing import Any

import pytest
import run_summary
from warehouse import MARTS, VERDICT, Warehouse, character, episode, land, location, retract, verdict


def test_the_verdict_fails(warehouse: Warehouse) -> None:
    """Each check that does not hold stops the build where its policy is fail: another source, no proof, stale, rows missing."""
    fail = {f"DBT_VERDICT_{check}": "fail" for check in ("PROOF", "FRESHNESS")}
    land(warehouse, "first")
    warehouse.build(*VERDICT, **fail).succeeded()
    old: dict[str, Any] = {"started_at": "2026-01-01T00:00:00Z", "finished_at": "2026-01-01T00:00:30Z"}
    land(warehouse, "second", source="made-up", proof="end_of_input", rows=25, **old)
    done = warehouse.build(*VERDICT, DBT_WRITE_JSON="true", **fail)
    assert not done.ok
    assert verdict(warehouse, "fail") == [
        (check, entity)
        for check in ("counts", "freshness", "order", "proof", "source")
        for entity in ("characters", "episodes", "locations")
    ]
    assert warehouse.ask(f"SELECT DISTINCT run_id FROM `{MARTS}.rpt_verdict`") == [("first",)]
    # `make run` finds it, though the verdict is not on the run that it has made.
    results = json.loads((warehouse.folder / "target" / "run_results.json").read_text())
    sql = run_summary.VERDICT.format(build_id=results["metadata"]["invocation_id"])
    found = warehouse.ask(sql.replace("rpt_verdict", f"{MARTS}.rpt_verdict"))
    assert [status for status, _ in found].count("fail") == 15


@pytest.mark.slow
def test_a_ledger_row_by_hand_without_its_counts_fails_the_checks(warehouse: Warehouse) -> None:
    """What the row lacks is said in the checks' own words; it is no error of a query."""
    land(warehouse, "first")
    warehouse.land("characters", [character(1)], "by hand", rows=None, finished_at=None)
    assert warehouse.build(*VERDICT).of("fail") == ["verdict_passes"]
    assert verdict(warehouse, "fail") == [(check, "characters") for check in ("counts", "drop", "empty")]
    asked = f"SELECT expected, got FROM `{MARTS}.rpt_verdict` WHERE check_name = 'counts' AND status = 'fail'"
    assert warehouse.ask(asked) == [("nothing in the ledger", "1 in the landing table")]


@pytest.mark.slow
def test_counts_that_differ_are_accepted_by_the_policy(warehouse: Warehouse) -> None:
    """The build then goes to its end: no test after the verdict asks for the same again."""
    land(warehouse, "first", rows=25)
    warehouse.build("--select", "+rpt_loads", DBT_VERDICT_COUNTS="warn").succeeded()
    assert len(verdict(warehouse, "warn")) == 3


def test_a_load_out_of_order_stops_the_build_until_it_is_retracted_or_accepted(warehouse: Warehouse) -> None:
    """A clock ahead hides later runs, one behind hides its own run; an older version may also be loaded on purpose."""
    first = land(warehouse, "first")
    people = [character(i, (1,), 1) for i in range(1, 22)]
    right = warehouse.clock
    warehouse.clock += timedelta(days=10)
    # The load job ends by BigQuery's clock.
    finished = {"finished_at": (right + timedelta(minutes=1)).isoformat()}
    ahead = warehouse.land("characters", people[:20], "ahead", **finished)
    warehouse.clock = right
    hidden = warehouse.land("characters", people, "next")
    warehouse.clock -= timedelta(days=10)
    finished = {"finished_at": (right + timedelta(hours=6)).isoformat()}
    behind = warehouse.land("episodes", [episode(1)], "behind", **finished)
    warehouse.clock = right
    warehouse.land("locations", [location(1)], "late", table_version=1_700_000_000_000)
    done = warehouse.build(*VERDICT, "--select", "started_before_it_finished")
    assert done.of("warn") == ["started_before_it_finished"]
    assert not done.ok
    assert verdict(warehouse, "fail") == [("order", e) for e in ("characters", "episodes", "locations")]
    order = f"FROM `{MARTS}.rpt_verdict` WHERE check_name = 'order' ORDER BY entity"
    found = warehouse.ask(f"SELECT expected, got, message {order}")
    assert [expected for expected, _, _ in found] == [
        f"version {version} of run {run}, the last to be loaded"
        for version, run in ((hidden, "next"), (behind, "behind"), (1_700_000_000_000, "late"))
    ]
    before = ", the newest by number, loaded before it"
    assert [got.removeprefix("version ") for _, got, _ in found] == [
        f"{ahead} of run ahead, which began in the future",
        f"{first['episodes']} of run first{before}",
        f"{first['locations']} of run first{before}",
    ]
    remedies = [message.split("; ", 1)[1] for _, _, message in found]
    assert remedies[0].startswith("its clock was ahead, and it hides every later run: retract it")
    assert remedies[1].startswith(
        "two runs at once, or the clock of the last was behind: retract nothing; run again"
    )
    assert remedies[2].startswith("retract the newest by number if its clock was ahead")
    retract(warehouse, run_id="ahead", reason="the clock was ahead")
    warehouse.build(*VERDICT, DBT_VERDICT_ORDER="warn").succeeded()
    assert verdict(warehouse, "warn") == [("order", "episodes"), ("order", "locations")]


@pytest.mark.slow
def test_a_whole_version_after_deltas_is_compared_with_what_they_left(warehouse: Warehouse) -> None:
    """20 characters, 1 more and none, by deltas alone, pass; the first whole version has 18 of the 21, and drops."""
    delta = {"replication": "incremental", "proof": "state"}
    people = [character(i, (1,), 1) for i in range(1, 21)]
    warehouse.land("characters", people, "first", **delta)
    warehouse.land("episodes", [episode(1, (1,))], "first")
    warehouse.land("locations", [location(1, (1,))], "first")
    warehouse.land("characters", [character(i) for i in (20, 21)], "delta", **delta)
    warehouse.land("characters", [], "nothing new", **delta)
    warehouse.build(*VERDICT).succeeded()
    warehouse.land("characters", [character(i, (1,), 1) for i in range(1, 19)], "whole")
    done = warehouse.build(*VERDICT)
    assert not done.ok
    assert verdict(warehouse, "fail") == [("drop", "characters")]
    got = f"SELECT expected FROM `{MARTS}.rpt_verdict` WHERE check_name = 'drop' AND entity = 'characters'"
    assert warehouse.ask(got) == [("at most 10 % fewer records than 21",)]
    warehouse.land("characters", [character(i, (1,), 1) for i in range(1, 19)], "whole again")
    assert not warehouse.build(*VERDICT).ok
    assert warehouse.ask(got) == [("at most 10 % fewer records than 21",)]


@pytest.mark.slow
def test_no_record_and_an_odd_status_and_an_entity_that_is_missing(warehouse: Warehouse) -> None:
    """A first load of 0 records, a status and a field that nobody knows, and a landing table without a version."""
    warehouse.land("characters", [character(1, status="Frozen", new_fields={"seen": True})], "first")
    warehouse.land("episodes", [], "first")
    # An empty variable is as if it were not set, as a container's environment may have it.
    unset = {"DBT_VERDICT_EMPTY": "", "DBT_VERDICT_DROP_PERCENT": ""}
    done = warehouse.build(
        *VERDICT,
        "--select",
        "+int_findings",
        DBT_VERDICT_STATUS_VALUES="fail",
        DBT_VERDICT_DRIFT="fail",
        **unset,
    )
    assert not done.ok
    assert verdict(warehouse, "fail") == [
        ("drift", "characters"),
        ("empty", "episodes"),
        ("missing", "locations"),
        ("status_values", "characters"),
    ]
    policy = "the policy of the check {} is fail, warn or ignore, got '{}'"
    limit = {"DBT_VERDICT_DROP_PERCENT": "101"}
    for arguments, environment, message in (
        ((), {"DBT_VERDICT_EMPTY": "never"}, policy.format("empty", "never")),
        # A variable on the command line replaces all policies.
        (("--vars", "{verdict: {drop: warn}}"), {}, policy.format("missing", "none")),
        (("--vars", "{verdict: warn}"), {}, policy.format("missing", "none")),
        ((), limit, "drop_percent is a whole number, at most 100, got '101'"),
        (("--vars", "{crowd_size: ten}"), {}, "crowd_size is a whole number, at most 100000, got 'ten'"),
    ):
        done = warehouse.dbt("run", "--select", "rpt_verdict", *arguments, **environment)
        assert not done.ok
        assert message in done.messages()
