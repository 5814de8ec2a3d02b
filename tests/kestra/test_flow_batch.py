"""The flows in Google Batch, by Google's own gcloud before a stand-in of Google's APIs."""

import json

import pytest
from google_batch import GoogleBatch
from kestra_engine import BATCH, BRACES, NEEDED, Engine
from meltano_stand_in import MeltanoStandIn
from testkit.gcloud import require_gcloud
from testkit.programs import alive

NETWORK = {"network": "projects/p/global/networks/n", "subnetwork": "projects/p/regions/r/subnetworks/s"}


@pytest.mark.slow
def test_batch_submits_follows_deletes_and_restarts(
    kestra: Engine, fakes: MeltanoStandIn, batch: GoogleBatch
) -> None:
    """Submitted with the settings, a failure and its exit code brought back; Restart takes the next job, same run id; deleted."""
    require_gcloud()
    fakes.behave(character={"fail": 2, "status": 3})
    with kestra.changed(BATCH, **NETWORK):
        execution = kestra.start(BATCH, jobs=["character"], execute_dbt=False)
        run = kestra.wait(execution)
        assert run.state == "FAILED"
        assert "ended as FAILED, exit code 3" in run.log("ERROR")
        assert "stream not complete, nothing loaded" in run.log("ERROR")
        run = kestra.restart(execution)
    assert run.state == "SUCCESS", run.log()
    run_id = run.outputs["run_id"]
    assert run.outputs["jobs"]["character"]["rows"] == 826
    assert run.jobs["character"]["outputs"]["bytes"] == 48123
    where = f"gs://a-landing/_results/run_id={run_id}/character.json"
    assert run.jobs["character"]["outputs"]["result"] == where
    name = f"rickandmorty-character-{run.jobs['character']['id']}".lower()
    assert batch.submitted()[-1].startswith(name)
    assert len(batch.submitted()) == len(set(batch.submitted()))
    assert fakes.run_ids == {run_id}
    body = next(json.loads(body) for call, body in batch.seen if "jobId=" in call)
    (group,) = body["taskGroups"]
    (runnable,) = group["taskSpec"]["runnables"]
    assert runnable["container"]["imageUri"] == NEEDED["image"]
    variables = {"MELTANO_RUN_ID": run_id, "TARGET_BIGQUERY_BUCKET": "a-landing", **BRACES}
    assert variables.items() <= runnable["environment"]["variables"].items()
    assert group["taskSpec"]["maxRunDuration"] == "4200s"
    assert 50001 in group["taskSpec"]["lifecyclePolicies"][0]["actionCondition"]["exitCodes"]
    allocation = body["allocationPolicy"]
    assert allocation["serviceAccount"]["email"] == NEEDED["service_account"]
    assert allocation["network"]["networkInterfaces"][0]["noExternalIpAddress"] is True
    assert body["labels"]["run_id"] == run_id
    assert all(job.state == "DELETION_IN_PROGRESS" for job in batch.jobs.values())
    assert run.log().count("whatever the target says of characters") == 1


@pytest.mark.slow
def test_kill_in_kestra_ends_the_batch_job(kestra: Engine, fakes: MeltanoStandIn, batch: GoogleBatch) -> None:
    """Killing the run deletes the Batch job, and its container ends."""
    require_gcloud()
    fakes.behave(episode={"sleep": 86400})
    execution = kestra.start(BATCH, jobs=["episode"], execute_dbt=False)
    pid = fakes.until("episode")["pid"]
    kestra.ask("kill", id=execution)
    assert kestra.wait(execution).state == "KILLED"
    assert len(batch.calls("^DELETE ")) == 1
    assert not alive(pid)
