"""What a build refuses: the checks of the verdict, which stands before the marts are replaced."""

import json
from datetime import UTC, datetime, timedelta

import pytest
import run_summary
from warehouse import MARTS, VERDICT, Warehouse, character, episode, land, location, retract, verdict

SLOW = pytest.mark.slow
LEDGER = "`local_rickandmorty_landing._loads`"
CHECKS = (
    "counts", "drift", "drop", "empty", "findings_error", "findings_warning",
    "freshness", "missing", "order", "proof", "source", "status_values",
)  # fmt: skip


@pytest.mark.parametrize(
    "policy", ["fail", pytest.param("warn", marks=SLOW), pytest.param("ignore", marks=SLOW)]
)
def test_each_check_that_does_not_hold_does_as_its_policy_says(warehouse: Warehouse, policy: str) -> None:
    """All of them at once: characters for most, episodes without a record, locations without a version."""
    land(warehouse, "first")
    warehouse.ask(f"DELETE FROM {LEDGER} WHERE stream = 'locations'")
    warehouse.land("episodes", [], "second", finished_at="2026-01-02T00:00:00Z")
    old = {"started_at": "2026-01-01T00:00:00Z", "finished_at": "2026-01-01T00:00:30Z"}
    new = [character(1, new_fields={"seen": True})]
    warehouse.land("characters", new, "second", source="made-up", proof="end_of_input", **old, rows=2)
    policies = {f"DBT_VERDICT_{check.upper()}": policy for check in CHECKS}
    odd = "('x', 'error'), ('unknown_status_value', 'warning')"
    warehouse.ask(f"INSERT `local_rickandmorty_staging.int_findings` (rule, severity) VALUES {odd}")
    done = warehouse.build(*VERDICT, DBT_WRITE_JSON="true", **policies)
    assert done.ok == (policy != "fail")
    of_entities: dict[str | None, set[str]] = {
        "characters": set(CHECKS) - {"empty", "findings_error", "findings_warning", "missing"},
        "episodes": {"drop", "empty", "freshness", "order"},
        "locations": {"missing"},
        None: {"findings_error", "findings_warning", "source"},
    }
    found = [(check, entity) for entity, checks in of_entities.items() for check in checks]
    assert verdict(warehouse, policy) == sorted(found, key=repr)
    assert [verdict(warehouse, other) for other in {"fail", "warn", "ignore"} - {policy}] == [[], []]
    assert warehouse.ask(f"SELECT DISTINCT run_id FROM `{MARTS}.rpt_verdict`") == [("first",)]
    ((missing,),) = warehouse.ask(
        f"SELECT message FROM `{MARTS}.rpt_verdict` WHERE check_name = 'missing' AND status = '{policy}'"
    )
    assert "meltano run location" in missing
    # `make run` finds it, though the verdict is not on the run that it has made.
    results = json.loads((warehouse.folder / "target" / "run_results.json").read_text())
    sql = run_summary.VERDICT.format(build_id=results["metadata"]["invocation_id"])
    rows = warehouse.ask(sql.replace("rpt_verdict", f"{MARTS}.rpt_verdict"))
    assert [status for status, _ in rows].count(policy) == len(found)


@pytest.mark.slow
def test_limits_hold_at_the_edge(warehouse: Warehouse) -> None:
    """So many percent fewer and so many hours are let pass, a record fewer and a minute more are not."""
    for percent, before, after, minutes, failed in (
        (10, 20, 18, 72 * 60 - 5, []),
        (10, 20, 17, 72 * 60 + 1, ["drop", "freshness"]),
        (33, 3, 2, 72 * 60 + 59, ["drop", "freshness"]),
        (34, 3, 2, 0, []),
        (0, 20, 19, 0, ["drop"]),
        (100, 20, 0, 0, []),
    ):
        warehouse.empty()
        land(warehouse, "first", before)
        finished = datetime.now(UTC) - timedelta(minutes=minutes)
        warehouse.land(
            "characters", [character(i) for i in range(after)], "second", finished_at=finished.isoformat()
        )
        policies = {"FRESHNESS": "fail", "ORDER": "ignore", "EMPTY": "ignore", "DROP_PERCENT": str(percent)}
        warehouse.build(*VERDICT, **{f"DBT_VERDICT_{name}": value for name, value in policies.items()})
        assert verdict(warehouse, "fail") == [(check, "characters") for check in failed]


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
def test_a_policy_and_a_limit_that_are_none_are_refused(warehouse: Warehouse) -> None:
    """An empty variable is as if it were not set, as a container's environment may have it."""
    warehouse.build(*VERDICT, DBT_VERDICT_EMPTY="", DBT_VERDICT_DROP_PERCENT="")
    assert len(verdict(warehouse, "fail")) == 3
    policy = "the policy of the check {} is fail, warn or ignore, got '{}'"
    limit = {"DBT_VERDICT_DROP_PERCENT": "101"}
    for arguments, environment, message in (
        ((), {"DBT_VERDICT_EMPTY": "never"}, policy.format("empty", "never")),
        # A variable on the command line replaces all policies.
        (("--vars", "{verdict: {drop: warn}}"), {}, policy.format("missing", "none")),
        (("--vars", "{verdict: warn}"), {}, policy.format("missing", "none")),
        (("--vars", "{verdict: null}"), {}, policy.format("missing", "none")),
        ((), limit, "drop_percent is a whole number, at most 100, got '101'"),
        (("--vars", "{crowd_size: ten}"), {}, "crowd_size is a whole number, at most 100000, got 'ten'"),
    ):
        done = warehouse.dbt("run", "--select", "rpt_verdict", *arguments, **environment)
        assert not done.ok
        assert message in done.messages()
