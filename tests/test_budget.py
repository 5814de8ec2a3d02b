"""What one run of tap and target costs in calls: counted, never timed, so that a regression fails here.

The figures are those of the default universe, 826 characters, 126 locations and 51 episodes.
"""

from __future__ import annotations

import os
import re
import uuid
from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest
import requests
from testkit.proxies import Proxy
from testkit.target_bench import piped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testkit.whole_pipeline import Sandbox

# A stream's first page, and its records by ids.
REQUESTS = 6
# The tap's default concurrency.
CONNECTIONS = 3
STREAMS = 3
# For each stream a part, what decides its load, and a look for it; the run's own state, and the bucket once.
STORAGE_CALLS = {"first": 11, "next": 11, "again": 9}
# Table, load job and polls for each stream; one ledger, one ledger job.
BIGQUERY_CALLS = {"first": 33, "next": 27, "again": 27}
JOB = re.compile(r"POST /bigquery/v2/projects/[^/]+/jobs$")


@dataclass
class Spent:
    """What one run has cost: each call as method and path."""

    api: list[str]
    connections: int
    storage: list[str]
    bigquery: list[str]
    jobs: int


def calls(requests_seen: list[dict[str, Any]]) -> list[str]:
    """The calls, without their queries."""
    return [f"{request['method']} {request['path']}" for request in requests_seen]


UNIVERSE = "characters=826,locations=126,episodes=51"


def run(services: Sandbox, storage: Proxy, bigquery: Proxy, **settings: str) -> Spent:
    """One run of `tap | target`, everything counted."""
    requests.delete(services.control("requests"), timeout=10).raise_for_status()
    storage.inject()
    bigquery.inject()
    env = {
        **os.environ,
        **services.env,
        "STORAGE_EMULATOR_HOST": storage.url,
        "BIGQUERY_EMULATOR_HOST": bigquery.url,
        **{f"TARGET_BIGQUERY_{name.upper()}": value for name, value in settings.items()},
    }
    with piped(env, env, tap_log=False) as running:
        running.communicate()
    assert running.statuses == (0, 0), running.log
    api_seen = requests.get(services.control("requests"), timeout=10).json()
    answered = bigquery.seen()
    # A job whose id is taken is not started a second time: BigQuery answers 409.
    started = [
        call for call in calls([one for one in answered if one["status"] == HTTPStatus.OK]) if JOB.match(call)
    ]
    connections = len({request["client_port"] for request in api_seen})
    return Spent(calls(api_seen), connections, calls(storage.seen()), calls(answered), len(started))


@pytest.fixture(scope="module")
def spent(services: Sandbox) -> Iterator[dict[str, Spent]]:
    """The first run, one with the tables there, and that one again under its run id."""
    dataset, run_id = f"budget_{uuid.uuid4().hex[:8]}", str(uuid.uuid4())
    with (
        Proxy(services.command, services.env["STORAGE_EMULATOR_HOST"]) as storage,
        Proxy(services.command, services.env["BIGQUERY_EMULATOR_HOST"]) as bigquery,
    ):
        parts = (services, storage, bigquery)
        yield {
            "first": run(*parts, dataset=dataset, run_id=str(uuid.uuid4())),
            "next": run(*parts, dataset=dataset, run_id=run_id),
            "again": run(*parts, dataset=dataset, run_id=run_id),
        }


RUNS = pytest.mark.parametrize("name", ["first", "next", "again"])


@RUNS
def test_a_stream_is_two_requests(name: str, spent: dict[str, Spent]) -> None:
    """Three streams are six requests, over no more connections than the tap may have."""
    assert len(spent[name].api) == REQUESTS
    assert spent[name].connections <= CONNECTIONS


@RUNS
def test_calls_to_cloud_storage(name: str, spent: dict[str, Spent]) -> None:
    """A stream is one part and one manifest; a run that is loaded already uploads nothing."""
    assert len(spent[name].storage) <= STORAGE_CALLS[name], Counter(spent[name].storage)
    uploads = [call for call in spent[name].storage if call.startswith("POST")]
    assert name != "again" or not uploads


@pytest.mark.parametrize("name", ["first", "next"])
def test_one_load_job_per_stream_and_one_for_the_ledger(name: str, spent: dict[str, Spent]) -> None:
    """Three load jobs, and one job for all the ledger's rows (BigQuery allows 1,500 per table and day)."""
    assert spent[name].jobs == STREAMS + 1, Counter(spent[name].bigquery)


def test_a_run_that_is_loaded_starts_no_load_job(spent: dict[str, Spent]) -> None:
    """The same run id again finds its load jobs; the ledger's merge runs again and adds nothing."""
    assert spent["again"].jobs <= 1, Counter(spent["again"].bigquery)


@RUNS
def test_calls_to_bigquery(name: str, spent: dict[str, Spent]) -> None:
    """Making and checking tables, finding jobs, starting and awaiting them stay within a fixed number of calls."""
    assert len(spent[name].bigquery) <= BIGQUERY_CALLS[name], Counter(spent[name].bigquery)
