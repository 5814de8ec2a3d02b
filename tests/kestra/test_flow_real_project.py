"""The flows with the real Meltano project on the sandbox."""

import os

import pytest
from kestra_engine import ALL, Engine
from testkit.project_files import ROOT
from testkit.whole_pipeline import Project

NAMESPACE = "rickandmorty.real"
LANDED = "SELECT COUNT(*) FROM `local_rickandmorty_landing.{}s` WHERE _sdc_run_id = '{}'"


@pytest.mark.slow
def test_the_real_pipeline_lands_and_builds(kestra: Engine, own_project: Project) -> None:
    """Kestra runs the real Meltano project: every job and a part of dbt, a job once more; BigQuery holds what Kestra says."""
    # The program of the task gives these itself.
    own = {*os.environ, "MELTANO_RUN_ID", "DBT_TARGET_PATH"} - {"MELTANO_DATABASE_URI"}
    environment = {k: v for k, v in own_project.environment().items() if k not in own}
    # What the program reads of Meltano's log comes all the same.
    environment["MELTANO_CLI_LOG_LEVEL"] = "error"
    kestra.deploy(NAMESPACE, "local")
    kestra.settings(
        NAMESPACE, meltano=own_project.command, meltano_project=str(ROOT), environment=environment
    )
    sandbox = own_project.sandbox
    run = kestra.run(NAMESPACE, dbt_select_pattern="+stg_rickandmorty__episodes")
    assert run.state == "SUCCESS", run.log()[-4000:]
    run_id = run.outputs["run_id"]
    for job in ALL:
        held = sandbox.value(LANDED.format(job, run_id))
        assert held == run.outputs["jobs"][job]["rows"] == len(sandbox.served(job))
    # Meltano asks every plugin for Python's warnings.
    assert "Warning: unclosed" not in run.log()
    assert "outlived it" not in run.log()
    built = run.outputs["jobs"]["dbt"]
    assert built["results"]["failed"] == 0
    states = {model["name"]: model["state"] for model in built["models"]}
    assert states["stg_rickandmorty__episodes"] == "success"
    assert "dim_episodes" not in states
    # A job that is started twice loads once.
    again = kestra.run(NAMESPACE, "meltano_run", job="episode", run_id=run_id)
    assert again.state == "SUCCESS", again.log()[-4000:]
    assert again.outputs["streams"]["episodes"]["loaded_before"] is True
    assert sandbox.value(LANDED.format("episode", run_id)) == len(sandbox.served("episode"))
    # dbt itself refuses what selects nothing, in part too: the article's own pattern, and a typo beside a model.
    selection = "staging.landing_dataset.* dim_episodes"
    wrong = kestra.run(NAMESPACE, "meltano_run", job="dbt", run_id=run_id, dbt_select=selection)
    assert wrong.state == "FAILED"
    assert "dbt_select_pattern: 'staging.landing_dataset.*' matches nothing; near it: " in wrong.log("ERROR")
    assert not wrong.outputs["models"]
