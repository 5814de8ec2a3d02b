"""Every case of fault_matrix.py, on the wire: real processes, the sandbox's services, proxies that do the faults."""

import json
import os
import signal
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
from testkit.fault_matrix import (
    API,
    BIGQUERY,
    KILLS,
    LOADED,
    LOADED_UNCONFIRMED,
    STORAGE,
    STREAM_NOT_LOADED,
    Fault,
    Kill,
)
from testkit.proxies import Proxy, proxied
from testkit.target_bench import SCHEMA, STATE, Bench, Pipe, piped, record, schema, whole
from testkit.whole_pipeline import Sandbox

# One more case of a kind, through the same code as another one here: CI runs them.
REPEATED_REQUESTS = {
    "429 twice",
    "connection reset when the job is started",
    "rate limit when the job is started",
    "503 on polling",
    "503 when its job is started",
}
# By default, of a method other than append-only, the stage after which its rows are there and the ledger does not say so.
OF_THE_METHOD = {"after the load job", "after the merge"}
METHODS = [
    pytest.param(
        method,
        kill,
        id=f"{method}-{kill.id}",
        marks=() if method == "append-only" or kill.stage in OF_THE_METHOD else pytest.mark.slow,
    )
    for method, kills in KILLS.items()
    for kill in kills
]
# Incompressible, so that a part of a megabyte is full before the next record.
LONG = os.urandom(700_000).hex()

UNIVERSE = "characters=60,locations=5,episodes=4"


@pytest.fixture(scope="module")
def storage(services: Sandbox) -> Iterator[Proxy]:
    """A proxy before Cloud Storage."""
    with proxied(services.command, services.env["STORAGE_EMULATOR_HOST"]) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def bigquery(services: Sandbox) -> Iterator[Proxy]:
    """A proxy before BigQuery."""
    with proxied(services.command, services.env["BIGQUERY_EMULATOR_HOST"]) as proxy:
        yield proxy


@pytest.fixture
def bench(services: Sandbox, storage: Proxy, bigquery: Proxy) -> Iterator[Bench]:
    """The target behind the proxies, on a dataset of its own."""
    storage.inject()
    bigquery.inject()
    proxied = {"STORAGE_EMULATOR_HOST": storage.url, "BIGQUERY_EMULATOR_HOST": bigquery.url}
    yield Bench({**services.env, **proxied})
    storage.inject()
    bigquery.inject()


def run(bench: Bench, version: int, settings: tuple[tuple[str, str], ...] = ()) -> Any:
    """A run of three records."""
    records = [record(number, version) for number in (1, 2, 3)]
    return bench.load(SCHEMA, *records, whole(version), STATE, **dict(settings))


def ledger(bench: Bench) -> list[tuple[str, int]]:
    """The ledger's runs and rows."""
    return sorted((row["run_id"], row["rows"]) for row in bench.rows("_loads"))


# Where a fault stays, the run ends by the target's limit; Google's client would go on for ten minutes.
@pytest.mark.timeout(360)
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(c, id=c.id, marks=pytest.mark.slow if c.fault in REPEATED_REQUESTS else ())
        for c in (*STORAGE, *BIGQUERY)
    ],
)
def test_a_fault_of_the_cloud(case: Fault, bench: Bench, storage: Proxy, bigquery: Proxy) -> None:
    """The run ends as the matrix says; after it the same run id leaves the rows there once, and one row in the ledger."""
    proxy = storage if case.place == "Cloud Storage" else bigquery
    proxy.inject(*case.rules)
    first = run(bench, 1, case.settings)
    proxy.inject()
    assert "Traceback" not in first.stderr
    assert case.message in first.stderr.strip().rpartition("\n")[2]
    assert (first.returncode, bool(first.stdout)) == ((0, True) if case.outcome == LOADED else (1, False))
    assert len(bench.rows()) == (3 if case.outcome in {LOADED, LOADED_UNCONFIRMED} else 0)
    second = run(bench, 2)
    assert second.returncode == 0, second.stderr
    assert len(bench.rows()) == 3
    assert ledger(bench) == [(bench.run_id, 3)]


def killed_at(kill: Kill, bench: Bench, proxy: Proxy, *messages: dict[str, Any], **settings: str) -> None:
    """Run the target and kill it once the stage's request is held; no STATE came out of it."""
    proxy.inject(kill.rule, *kill.more)
    with bench.start(*messages, **settings) as process:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
        reached = proxy.await_held(process)
        process.kill()
        out, log = process.communicate()
    assert reached, log
    assert out == ""
    proxy.inject()


@pytest.mark.parametrize(("method", "kill"), METHODS)
def test_the_target_killed(method: str, kill: Kill, bench: Bench, storage: Proxy, bigquery: Proxy) -> None:
    """SIGKILL at a stage; then the same run id, then another: each complete run is there exactly once, in the ledger too.

    With append-only both runs' rows are there, with overwrite and upsert the last one's. No STATE came out of the
    killed process; the runs after it end well.
    """
    # Where a number of uploads is let through, two parts: the second record fills the first part.
    long = LONG if "skip" in kill.rule else "short"

    def messages(version: int) -> list[dict[str, Any]]:
        records = [record(n, version, name=long if n < 3 else "short") for n in (1, 2, 3)]
        return [SCHEMA, *records, whole(version), STATE]

    settings = {"load_method": method, "part_size_mb": "1"}
    proxy = storage if kill.service == "storage" else bigquery
    killed_at(kill, bench, proxy, *messages(1), **settings)
    repeated = bench.load(*messages(2), **settings)
    assert repeated.returncode == 0, repeated.stderr
    assert json.loads(repeated.stdout) == STATE["value"]
    assert sorted(row["id"] for row in bench.rows()) == [1, 2, 3]
    first_run, bench.run_id = bench.run_id, str(uuid.uuid4())
    another = bench.load(*messages(3), **settings)
    assert another.returncode == 0, another.stderr
    rows = bench.rows()
    kept = [first_run, bench.run_id] if method == "append-only" else [bench.run_id]
    assert sorted((row["id"], row["_sdc_run_id"]) for row in rows) == sorted(
        (number, run_id) for number in (1, 2, 3) for run_id in kept
    )
    assert ledger(bench) == sorted([(first_run, 3), (bench.run_id, 3)])


# By default the first stage after which the rows are there and the ledger does not say so.
@pytest.mark.parametrize(
    "kill",
    [
        pytest.param(kill, id=kill.id, marks=() if kill.stage == "after the load job" else pytest.mark.slow)
        for kill in KILLS["append-only"][-3:]
    ],
)
def test_another_run_mends_the_ledger_after_a_crash(kill: Kill, bench: Bench, bigquery: Proxy) -> None:
    """Killed after the load and never run again under its id, the next run writes the ledger's row of what was loaded.

    Of all runs without their row it looks at the newest, whatever their ids; one whose manifest is damaged keeps no other.
    """
    folder = f"_runs/dataset={bench.owner().project}.{bench.dataset}"
    today = f"{datetime.now(UTC):%Y-%m-%d}T000000.000000"
    upload = f"{bench.env['STORAGE_EMULATOR_HOST']}/upload/storage/v1/b/local-landing/o"
    names = [f"{folder}/{today}/ffffffff-{number}~0" for number in range(20)]
    names.append(f"{folder.replace('runs', 'manifests')}/run_id=ffffffff-9/extractor=/things-00000.json")
    for name in names:
        params = {"uploadType": "media", "name": name}
        requests.post(upload, params=params).raise_for_status()
    killed_at(kill, bench, bigquery, SCHEMA, record(1), whole(), STATE)
    killed, bench.run_id = bench.run_id, str(uuid.uuid4())
    assert run(bench, 2).returncode == 0
    assert len(bench.rows()) == 4
    assert ledger(bench) == sorted([(killed, 1), (bench.run_id, 3)])


def test_a_schema_that_has_changed_since_the_target_was_killed(bench: Bench, bigquery: Proxy) -> None:
    """What the killed attempt decided is loaded before the table gets the key and the types of now."""
    (kill,) = (kill for kill in KILLS["append-only"] if kill.stage == "before the load job")
    killed_at(kill, bench, bigquery, schema(n={"type": "integer"}), record(1, n=2), whole(), STATE)
    number: dict[str, Any] = {"type": "number", "multipleOf": 0.1}
    changed = {**schema(id={"type": ["integer", "null"]}, n=number), "key_properties": ["name"]}
    run = bench.load(changed, record(None, 2, n=2.5), whole(2), STATE)
    assert run.returncode == 0, run.stderr
    rows = bench.rows()
    assert {(row["id"], row["n"]) for row in rows} == {(1, 2), (None, 2.5)}
    assert len(rows) == 2


def test_two_processes_of_one_run_at_the_same_time(bench: Bench) -> None:
    """A runner that starts a job twice: both end well, rows and ledger have the run once."""
    first = bench.start(SCHEMA, record(1, 1), record(2, 1), whole(1), STATE)
    second = bench.start(SCHEMA, record(1, 2), record(2, 2), whole(2), STATE)
    for process in (first, second):
        out, log = process.communicate()
        assert process.returncode == 0, log
        assert json.loads(out) == STATE["value"]
    assert len(bench.rows()) == 2
    assert ledger(bench) == [(bench.run_id, 2)]


def test_two_runs_at_the_same_time(bench: Bench) -> None:
    """Two run ids of the same stream concurrently: each is there once."""
    other = Bench(bench.env, bench.dataset)
    running = [b.start(SCHEMA, record(1), record(2), whole(), STATE) for b in (bench, other)]
    for process in running:
        _, log = process.communicate()
        assert process.returncode == 0, log
    assert sorted(row["_sdc_run_id"] for row in bench.rows()) == sorted([bench.run_id, other.run_id] * 2)
    assert ledger(bench) == sorted([(bench.run_id, 2), (other.run_id, 2)])


def pipe(services: Sandbox, bench: Bench, **settings: str) -> Pipe:
    """Run tap and target as Meltano does, to their end."""
    tap_env = os.environ | services.env | {f"TAP_RICKANDMORTY_{k.upper()}": v for k, v in settings.items()}
    with piped(tap_env, bench.environment()) as running:
        running.communicate()
    return running


# What the tap makes of each is in its own tests; by default these go through the target too, one of a kind.
BY_DEFAULT = {
    "429 with Retry-After in seconds",
    "503 for good",
    "long addresses refused",
    "count differs for good",
    "a new field",
}


@pytest.mark.parametrize(
    "case", [pytest.param(c, id=c.id, marks=() if c.fault in BY_DEFAULT else pytest.mark.slow) for c in API]
)
def test_a_fault_of_the_api(case: Fault, bench: Bench, services: Sandbox) -> None:
    """Through tap and target: what passes is retried and lands whole; what does not lands nothing of the stream."""
    services.api.inject(*case.rules)
    ended = pipe(services, bench, max_attempts="2", timeout="2")
    services.api.inject()
    log, out = ended.tap_log, ended.out
    assert "Traceback" not in log
    assert case.warning in log
    if case.outcome == STREAM_NOT_LOADED:
        # The tap holds a listing until it is whole: the target has seen a SCHEMA, and has nothing to fail for.
        assert (ended.statuses[0], out) == (1, "")
        assert case.message in log.strip().rpartition("\n")[2]
        assert bench.rows("characters") == []
        return
    assert ended.statuses == (0, 0), log
    assert out
    assert sorted(row["id"] for row in bench.rows("characters")) == list(range(1, 61))
    if case.fault == "a new field":
        kept = {row["id"]: row["new_fields"] for row in bench.rows("characters") if row["new_fields"]}
        assert kept == {21: {"planet": "Mars"}}


def test_two_runs_that_add_columns_at_the_same_time(bench: Bench, services: Sandbox, bigquery: Proxy) -> None:
    """The one that read the table before the other changed it reads it again: columns and rows of both are there."""
    assert bench.load(SCHEMA, record(1), whole()).returncode == 0
    other = Bench(dict(services.env), bench.dataset)
    bench.run_id = str(uuid.uuid4())
    bigquery.inject({"action": "hold", "method": "PATCH", "path": "/tables/things"})
    with bench.start(schema(color={"type": "string"}), record(2, 2, color="red"), whole(2), STATE) as process:
        assert bigquery.await_held(process)
        run = other.load(schema(size={"type": "integer"}), record(3, 3, size=5), whole(3), STATE)
        assert run.returncode == 0, run.stderr
        bigquery.inject()
        out, log = process.communicate()
    assert process.returncode == 0, log
    assert json.loads(out) == STATE["value"]
    found = {row["id"]: (row["color"], row["size"]) for row in bench.rows()}
    assert found == {1: (None, None), 2: ("red", None), 3: (None, 5)}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_the_tap_killed(number: signal.Signals, bench: Bench, services: Sandbox) -> None:
    """While it reads a stream: nothing of it was sent, nothing is loaded, and no STATE comes."""
    services.api.inject({"action": "hold", "path": "^/api/character/1,", "times": None})
    with piped({**os.environ, **services.env}, bench.environment(), tap_log=False) as running:
        assert services.api.await_held(running.tap)
        running.tap.send_signal(number)
        running.communicate()
    services.api.inject()
    assert running.tap.returncode in {-number, 128 + number}
    assert running.out == ""
    assert bench.rows("characters") == []
