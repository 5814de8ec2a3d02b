"""What one run of tap and target costs in calls: counted, never timed, so that a regression fails here.

The figures are those of the default universe, 826 characters, 126 locations and 51 episodes.
"""

import os
import re
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import pytest
from testkit.proxies import Proxy, proxied
from testkit.target_bench import piped
from testkit.whole_pipeline import Sandbox

# A stream's first page, and its records by ids.
REQUESTS = 6
# The tap's default concurrency.
CONNECTIONS = 3


@dataclass
class Budget:
    """What a run may cost in calls.

    Of Cloud Storage: for each stream a part, what decides its load, and a look for it; the run's own state, and the bucket
    once. Of BigQuery: table, load job and polls for each stream; one ledger, one ledger job.
    """

    storage: int
    bigquery: int
    # Three streams' load jobs, and one for all the ledger's rows (BigQuery allows 1,500 per table and day).
    jobs: range = range(4, 5)


# The same run id again uploads nothing and finds its load jobs; the ledger's merge may run again, and adds nothing.
BUDGETS = {
    "first": Budget(storage=11, bigquery=33),
    "next": Budget(storage=11, bigquery=27),
    "again": Budget(storage=9, bigquery=27, jobs=range(2)),
}
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
    services.api.inject()
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
    api_seen = services.api.seen()
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
        proxied(services.command, services.env["STORAGE_EMULATOR_HOST"]) as storage,
        proxied(services.command, services.env["BIGQUERY_EMULATOR_HOST"]) as bigquery,
    ):
        parts = (services, storage, bigquery)
        yield {
            "first": run(*parts, dataset=dataset, run_id=str(uuid.uuid4())),
            "next": run(*parts, dataset=dataset, run_id=run_id),
            "again": run(*parts, dataset=dataset, run_id=run_id),
        }


@pytest.mark.parametrize("name", BUDGETS)
def test_a_run_keeps_within_its_budget(name: str, spent: dict[str, Spent]) -> None:
    """Requests to the API and connections, calls to Cloud Storage and BigQuery, and load jobs."""
    run, budget = spent[name], BUDGETS[name]
    assert len(run.api) == REQUESTS
    assert run.connections <= CONNECTIONS
    assert len(run.storage) <= budget.storage, Counter(run.storage)
    assert len(run.bigquery) <= budget.bigquery, Counter(run.bigquery)
    assert run.jobs in budget.jobs, Counter(run.bigquery)


def test_a_run_that_is_loaded_uploads_nothing(spent: dict[str, Spent]) -> None:
    """The same run id again finds its parts."""
    assert not [call for call in spent["again"].storage if call.startswith("POST")]
