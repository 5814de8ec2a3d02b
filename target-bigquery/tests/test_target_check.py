"""`target-bigquery --check`: one line for each thing that a run needs."""

from __future__ import annotations

import subprocess

import pytest
from google.cloud import bigquery
from testkit.target_bench import Bench

from testkit import warm


@pytest.fixture
def bench(cloud: dict[str, str]) -> Bench:
    """A fresh dataset."""
    return Bench(cloud)


def check(bench: Bench, **settings: str) -> tuple[int, list[str]]:
    """Runs the check; gives its exit status and its lines."""
    run = subprocess.run(
        warm.command("target_bigquery", "--config=ENV", "--check"),
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env=bench.environment(**settings),
    )
    assert "Traceback" not in run.stderr
    return run.returncode, run.stdout.splitlines()


def test_all_is_well(bench: Bench) -> None:
    """Five lines, exit status 0, nothing made."""
    status, lines = check(bench)
    assert status == 0
    assert [line.split()[:2] for line in lines] == [
        ["ok", name] for name in ("credentials", "jobs", "dataset", "tables", "bucket")
    ]
    assert bench.dataset not in {d.dataset_id for d in bigquery.Client().list_datasets()}


def test_what_is_missing_is_said_with_what_to_do(bench: Bench) -> None:
    """Without the right to make tables a missing dataset fails, and so does a missing bucket; the others are still tried."""
    status, lines = check(bench, create_tables="false", bucket="no-such-bucket")
    assert status == 1
    failed = {line.split()[1]: line for line in lines if line.startswith("FAIL")}
    assert "is not there; create it (Terraform does)" in failed["dataset"]
    assert "bucket no-such-bucket is not there; create it, or change the bucket setting" in failed["bucket"]


def test_another_location_is_said(bench: Bench) -> None:
    """Dataset in one place, setting in another: both are named."""
    bigquery.Client().create_dataset(bench.dataset)
    status, lines = check(bench, location="europe-west1")
    assert status == 1
    assert any("is in US, the location setting says europe-west1" in line for line in lines)


def test_no_credentials_ends_the_check(bench: Bench) -> None:
    """Without them nothing else can be tried."""
    bench.env = {**bench.env, "GOOGLE_APPLICATION_CREDENTIALS": "/no/such/file.json"}
    status, lines = check(bench)
    assert status == 1
    assert len(lines) == 1
    assert "gcloud auth application-default login" in lines[0]
