"""What one run of tap and target costs in calls: counted, never timed, so that a regression fails here.

The figures are those of the default universe, 826 characters, 126 locations and 51 episodes.
"""

from __future__ import annotations

import os
import re
import uuid
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import requests
from testkit.proxies import Proxy
from testkit.relay import Relay
from testkit.target_bench import piped
from testkit.whole_pipeline import Sandbox, running_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

# A stream's first page, and its records by ids.
REQUESTS = 6
# The tap's default concurrency.
CONNECTIONS = 3
STREAMS = 3
# One upload a stream, and the bucket once.
STORAGE_CALLS = {"first": STREAMS + 1, "next": STREAMS + 1, "again": 0}
# Nine or so a stream: its table, the ledger's table, this run's job, mending the ledger (a query, not on the first
# run), the load job, the ledger's row (two calls). Streams may meet when they make the dataset on the first run.
BIGQUERY_CALLS = {"first": 33, "next": 27, "again": 27}
JOB = re.compile(r"POST /bigquery/v2/projects/[^/]+/jobs$")
QUERY = re.compile(r"GET /bigquery/v2/projects/[^/]+/queries/")
LEDGER_JOB = re.compile(r"POST /upload/bigquery/v2/projects/[^/]+/jobs$")


@dataclass
class Spent:
    """What one run has cost: each call as method and path."""

    api: list[str]
    connections: int
    storage: list[str]
    bigquery: list[str]


def calls(requests_seen: list[dict[str, Any]]) -> list[str]:
    """The calls, without their queries."""
    return [f"{request['method']} {request['path']}" for request in requests_seen]


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox of this module's own, with the default universe."""
    with running_sandbox(
        tmp_path_factory.mktemp("budget"), "--universe", "characters=826,locations=126,episodes=51"
    ) as running:
        yield running


def run(services: Sandbox, api: Relay, storage: Proxy, bigquery: Proxy, **settings: str) -> Spent:
    """One run of `tap | target`, everything counted."""
    requests.delete(services.control("requests"), timeout=10).raise_for_status()
    storage.order()
    bigquery.order()
    before = api.connections
    env = {
        **os.environ,
        **services.env,
        "STORAGE_EMULATOR_HOST": storage.url,
        "BIGQUERY_EMULATOR_HOST": bigquery.url,
        "TAP_RICKANDMORTY_API_URL": f"{api.url}/api",
        **{f"TARGET_BIGQUERY_{name.upper()}": value for name, value in settings.items()},
    }
    with piped(env, env, tap_log=False) as running:
        running.communicate()
    assert running.statuses == (0, 0), running.log
    api_seen = requests.get(services.control("requests"), timeout=10).json()
    return Spent(calls(api_seen), api.connections - before, calls(storage.seen()), calls(bigquery.seen()))


@pytest.fixture(scope="module")
def spent(services: Sandbox) -> Iterator[dict[str, Spent]]:
    """The first run, one with the tables there, and that one again under its run id."""
    dataset, run_id = f"budget_{uuid.uuid4().hex[:8]}", str(uuid.uuid4())
    with (
        Relay(services.api_url.removesuffix("/api")) as api,
        Proxy(services.command, services.env["STORAGE_EMULATOR_HOST"]) as storage,
        Proxy(services.command, services.env["BIGQUERY_EMULATOR_HOST"]) as bigquery,
    ):
        parts = (services, api, storage, bigquery)
        yield {
            "first": run(*parts, dataset=dataset, run_id=str(uuid.uuid4())),
            "next": run(*parts, dataset=dataset, run_id=run_id),
            "again": run(*parts, dataset=dataset, run_id=run_id),
        }


def jobs(spent: Spent) -> tuple[int, int, int]:
    """The load jobs of streams, those of the ledger, and the queries."""
    queries = {call for call in spent.bigquery if QUERY.match(call)}
    started = sum(bool(JOB.match(call)) for call in spent.bigquery)
    told = sum(bool(LEDGER_JOB.match(call)) for call in spent.bigquery)
    return started - len(queries), told, len(queries)


RUNS = pytest.mark.parametrize("name", ["first", "next", "again"])


@RUNS
def test_a_stream_is_two_requests(name: str, spent: dict[str, Spent]) -> None:
    """Three streams are six requests, over no more connections than the tap may have."""
    assert len(spent[name].api) == REQUESTS
    assert spent[name].connections <= CONNECTIONS


@RUNS
def test_one_upload_a_stream(name: str, spent: dict[str, Spent]) -> None:
    """A stream is one upload, the bucket is looked at once; a run that is loaded already uploads nothing."""
    assert len(spent[name].storage) <= STORAGE_CALLS[name], Counter(spent[name].storage)


@pytest.mark.parametrize(("name", "queries"), [("first", 0), ("next", STREAMS)])
def test_one_load_job_a_stream_and_one_for_the_ledger(
    name: str, queries: int, spent: dict[str, Spent]
) -> None:
    """Three load jobs and three of the ledger (BigQuery allows 1,500 a table and day), and the ledger's queries."""
    assert jobs(spent[name]) == (STREAMS, STREAMS, queries), Counter(spent[name].bigquery)


def test_a_run_that_is_loaded_starts_no_load_job(spent: dict[str, Spent]) -> None:
    """The same run id again finds its jobs; none loads a second time."""
    assert jobs(spent["again"])[0] == 0, Counter(spent["again"].bigquery)


@RUNS
def test_calls_to_bigquery(name: str, spent: dict[str, Spent]) -> None:
    """Making and checking tables, finding jobs, starting and awaiting them stay within a fixed number of calls."""
    assert len(spent[name].bigquery) <= BIGQUERY_CALLS[name], Counter(spent[name].bigquery)
