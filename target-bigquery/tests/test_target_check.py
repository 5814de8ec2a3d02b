"""`target-bigquery --check`: one line per thing that a run needs."""

import socket
from typing import Any

import pytest
from testkit.target_bench import SCHEMA, Bench, record, refused, succeeded, whole


def check(bench: Bench, **settings: str) -> tuple[int, dict[str, str]]:
    """Run the check; return its exit status and its lines by what they are about."""
    run = bench.check(**settings)
    assert "Traceback" not in run.stderr
    return run.returncode, {line.split()[1]: line for line in run.stdout.splitlines()}


def test_everything_is_there(bench: Bench) -> None:
    """With the documented roles: five lines, exit status 0, nothing left behind."""
    status, lines = check(bench)
    assert status == 0, lines
    assert list(lines) == ["credentials", "jobs", "dataset", "tables", "bucket"]
    assert all(line.startswith("ok ") for line in lines.values())
    assert list(bench.owner().list_tables(bench.dataset)) == []


CREATOR, VIEWER = (f"roles/storage.object{name}" for name in ("Creator", "Viewer"))
MISSING: dict[str, tuple[dict[str, Any], str, str]] = {
    "no-job-user": ({"project": []}, "jobs", "roles/bigquery.jobUser"),
    "no-dataset-role": ({"datasets": {}}, "dataset", "roles/bigquery.dataEditor"),
    "reads-tables-only": (
        {"datasets": {"*": ["roles/bigquery.dataViewer"]}},
        "tables",
        "roles/bigquery.dataEditor",
    ),
    "no-object-creator": ({"buckets": {"*": [VIEWER]}}, "bucket", CREATOR),
    "no-object-viewer": ({"buckets": {"*": [CREATOR]}}, "bucket", VIEWER),
}


@pytest.mark.parametrize(("roles", "name", "role"), MISSING.values(), ids=MISSING)
def test_a_missing_role_is_named(bench: Bench, roles: dict[str, Any], name: str, role: str) -> None:
    """The check names the role, and so does the one line of a run that is started anyway."""
    with bench.as_account(**roles):
        status, lines = check(bench)
        assert status == 1
        assert lines[name].startswith("FAIL")
        assert role in lines[name]
        refused(bench.load(SCHEMA, record(1), whole()), role)


def test_a_reader_of_tables_that_are_there_is_no_writer(bench: Bench) -> None:
    """With create_tables off nothing is written by the check, and yet it knows; the role that Terraform makes suffices."""
    succeeded(bench.load(SCHEMA, record(1), whole()))
    for role, status in (("roles/bigquery.dataViewer", 1), ("rickandmorty_landing_writer", 0)):
        with bench.as_account(datasets={"*": [role]}):
            exit_status, lines = check(bench, create_tables="false")
            assert exit_status == status, lines
            missing = (
                "bigquery.tables.updateData is missing; apply Terraform, or grant roles/bigquery.dataEditor"
            )
            assert (missing in lines["tables"]) == bool(status)
            if status:
                loading = bench.load(SCHEMA, record(2), whole(), create_tables="false")
                refused(loading, "roles/bigquery.dataEditor")


def test_a_dataset_that_is_not_there(cloud: dict[str, str]) -> None:
    """Without the permission the line says to create it; with it the first run creates it, and the check says so."""
    bench = Bench(cloud)
    status, lines = check(bench)
    assert status == 1
    assert "create it (Terraform does)" in lines["dataset"]
    with bench.as_account(project=["roles/bigquery.user"]):
        status, lines = check(bench)
        assert status == 0, lines
        assert "does not exist yet; the first run creates it" in lines["dataset"]
        succeeded(bench.load(SCHEMA, record(1), whole()))
    assert len(bench.rows()) == 1


def test_what_is_missing_is_named_with_what_to_do(bench: Bench) -> None:
    """Missing tables with create_tables off and a missing bucket fail; the other checks still run."""
    status, lines = check(bench, create_tables="false", bucket="no-such-bucket")
    assert status == 1
    assert lines["jobs"].startswith("ok")
    assert "_loads does not exist; create the tables (Terraform does)" in lines["tables"]
    assert "no-such-bucket" in lines["bucket"]


def test_another_location_is_named(bench: Bench) -> None:
    """Dataset and setting differ: both are named."""
    status, lines = check(bench, location="europe-west1")
    assert status == 1
    assert "is in US, the location setting says europe-west1" in lines["dataset"]


def test_no_credentials_ends_the_check(bench: Bench) -> None:
    """Without them nothing else can be tried; a run ends in the same line."""
    bench.env = {**bench.env, "GOOGLE_APPLICATION_CREDENTIALS": "/no/such/file.json"}
    status, lines = check(bench)
    assert status == 1
    assert list(lines) == ["credentials"]
    assert "gcloud auth application-default login" in lines["credentials"]
    refused(bench.load(SCHEMA, record(1), whole()), "no Application Default Credentials", "gcloud auth")


# Google's client would go on for ten minutes.
@pytest.mark.timeout(180)
def test_without_a_network_the_check_ends_within_the_time_outs(bench: Bench) -> None:
    """Nobody answers: every check fails in a line of its own, concurrently."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        bench.env = {**bench.env, "BIGQUERY_EMULATOR_HOST": address, "STORAGE_EMULATOR_HOST": address}
        status, lines = check(bench, timeout_seconds="5")
    assert status == 1
    failed = [name for name, line in lines.items() if line.startswith("FAIL")]
    assert failed == ["jobs", "dataset", "tables", "bucket"]
