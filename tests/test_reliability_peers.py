"""The generator of the peers' table: a fault that never hit gets no row."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import reliability_peers as peers
from testkit.fault_matrix import BIGQUERY, Fault, google
from testkit.proxies import proxied
from testkit.whole_pipeline import Sandbox


@pytest.fixture
def trial(sandbox: Sandbox, tmp_path: Path) -> Iterator[peers.Trial]:
    """Loaders behind proxies, on the session's sandbox."""
    with (
        proxied(sandbox.command, sandbox.env["STORAGE_EMULATOR_HOST"]) as storage,
        proxied(sandbox.command, sandbox.env["BIGQUERY_EMULATOR_HOST"]) as bigquery,
    ):
        yield peers.Trial(sandbox, storage, bigquery, tmp_path)


@pytest.mark.slow
def test_a_fault_that_never_hits_is_an_error(trial: peers.Trial) -> None:
    """A rule for the polls of jobs whose ids look otherwise: the run is well, and there is no row of it."""
    (polling,) = (fault for fault in BIGQUERY if fault.fault == "503 on polling")
    assert peers.attempt(trial, "ours", "BigQuery", polling).verdict == ""
    elsewhere = google(503, "backendError", method="GET", path="/jobs/[^/?]*_things_")
    elsewhere_too = Fault("BigQuery", "503 on polling", (polling.rules[0], elsewhere))
    with pytest.raises(peers.FaultNeverHitError, match="_things_"):
        peers.attempt(trial, "ours", "BigQuery", elsewhere_too)


@pytest.mark.slow
def test_a_stage_that_is_not_reached_is_an_error(trial: peers.Trial) -> None:
    """Nothing was killed then."""
    with pytest.raises(peers.FaultNeverHitError, match="/nowhere"):
        peers.attempt(trial, "ours", "Killed", ("bigquery", {"path": "/nowhere"}))
