"""The settings of `meltano-job`: what reaches Meltano, and what is refused before anything runs."""

import json
import os

import pytest
from meltano_stand_in import Meltano


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("sqlite:////scratch/meltano.db", "sqlite:////scratch/meltano-episode.db"),
        ("sqlite+pysqlite:////s/a?timeout=9", "sqlite+pysqlite:////s/a-episode.db?timeout=9"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("", "sqlite:///{project}/.meltano/meltano-episode.db"),
    ],
)
def test_jobs_side_by_side_share_no_sqlite_file(meltano: Meltano, given: str, used: str) -> None:
    """The job's state stays in a file of its own beside the one that is named; a server is left as it is."""
    (meltano.folder / "meltano.yml").touch()
    # The folder is relative to where the program starts, not to itself.
    project = os.path.relpath(meltano.folder)
    done = meltano.run(MELTANO_DATABASE_URI=given, MELTANO_PROJECT=project)
    assert done.status == 0
    (call,) = meltano.begun()
    assert call["environment"]["MELTANO_DATABASE_URI"] == used.format(project=meltano.folder)


def test_the_variables_reach_meltano_as_they_are_and_kestras_own_do_not(meltano: Meltano) -> None:
    """One map, passed through; secrets and settings of Kestra's worker stay behind."""
    given = {
        "TARGET_BIGQUERY_LOCATION": "EU",
        "MELTANO_ENVIRONMENT": "prod",
        "DBT_BIGQUERY_LOCATION": "a 'b' $(c)",
    }
    done = meltano.run(ENVIRONMENT=json.dumps(given), SECRET_X="hidden", KESTRA_CONFIGURATION="hidden")  # noqa: S106 - made up
    assert done.status == 0
    (call,) = meltano.begun()
    assert given.items() <= call["environment"].items()
    assert "hidden" not in json.dumps(call)


@pytest.mark.parametrize(
    ("job", "given", "message"),
    [
        ("--help", {}, "meltano_job is '--help': expected a job of meltano.yml"),
        ("dbt", {"DBT_SELECT": "a\t--full-refresh"}, "expected names, tags and paths, no options"),
        ("episode", {"DBT_SELECT": "a"}, "dbt selection is 'a': expected none, since job episode is not dbt"),
        ("episode", {"ENVIRONMENT": '{"A": "a\\u0000b"}'}, "has a text for 'A' that no variable can hold"),
        ("episode", {"ENVIRONMENT": '{"A": "\\ud800"}'}, "has a text for 'A' that no variable can hold"),
        ("episode", {"ENVIRONMENT": '{"TOKEN": 987}'}, "has a number for 'TOKEN': expected a text"),
        ("episode", {"ENVIRONMENT": "[" * 50_000}, "environment is not JSON"),
        ("episode", {"ENVIRONMENT": '{"ATTEMPTS": "9"}'}, "environment has the key ATTEMPTS: expected it as"),
    ],
    ids=range(8),
)
def test_wrong_settings_are_refused_and_nothing_runs(
    meltano: Meltano, job: str, given: dict[str, str], message: str
) -> None:
    """One line, no traceback, no value of a variable, and Meltano is not started: `meltano run --help` would be green."""
    meltano.says()
    done = meltano.run(job, **given)
    assert done.status == 2
    (error,) = done.at("ERROR")
    assert message in error
    assert "987" not in error
    assert not meltano.runs


def test_a_meltano_that_is_not_there_is_one_line(meltano: Meltano) -> None:
    """The line names the settings, and nothing is tried again."""
    done = meltano.run(MELTANO="/no/such/meltano")
    assert done.status == 127
    (error,) = done.at("ERROR")
    assert "Meltano could not be started" in error
    assert "look at the settings meltano and meltano_project" in error
