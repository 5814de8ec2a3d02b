"""What a run of the flows does: the chosen jobs, then dbt, as the settings say; or nothing, with a reason."""

import uuid
from typing import Any

import pytest
from google_batch import GoogleBatch
from kestra_engine import ALL, BATCH, BRACES, ENTERPRISE, LOCAL, NEEDED, PIPELINE, Engine, RefusedError
from meltano_stand_in import MeltanoStandIn, Webhook
from testkit.programs import eventually

ROWS = {"character": 826, "episode": 51, "location": 126}
# More than 32 bits hold.
MANY = 5_000_000_000


def test_exactly_the_chosen_jobs_run(kestra: Engine, fakes: MeltanoStandIn) -> None:
    """Each chosen job is one `meltano run <job>`, all with the run's one UUID; outputs and labels have it, and figures of any size."""
    jobs = ["location", "episode"]
    fakes.behave(episode={"rows": MANY, "bytes": MANY})
    run = kestra.run(LOCAL, jobs=jobs, execute_dbt=False)
    assert run.state == "SUCCESS", run.log()
    assert fakes.times == dict.fromkeys(jobs, 1)
    assert len({c["environment"]["MELTANO_DATABASE_URI"] for c in fakes.begun()}) == len(jobs)
    assert all(c["arguments"] == ["run", c["job"]] for c in fakes.begun())
    run_id = run.outputs["run_id"]
    assert uuid.UUID(run_id)
    assert fakes.run_ids == {e["labels"]["run_id"] for e in run.executions} == {run_id}
    outputs = run.outputs["jobs"]
    assert outputs.pop("dbt") == {"state": "SKIPPED"}
    assert all(0 <= job.pop("seconds") < 60 for job in outputs.values())
    rows = {"location": ROWS["location"], "episode": MANY}
    assert outputs == {job: {"state": "SUCCESS", "rows": rows[job]} for job in jobs}
    assert run.jobs["episode"]["outputs"]["bytes"] == MANY


def test_the_usual_run_fetches_all_side_by_side_then_builds(
    kestra: Engine, fakes: MeltanoStandIn, webhook: Webhook
) -> None:
    """With nothing given all three jobs overlap in time, then dbt; figures are outputs and metrics, lines keep their levels, Kestra's secrets stay."""
    fakes.behave(**{job: {"together": 3} for job in ALL})
    webhook.answer()
    with kestra.changed(LOCAL, heartbeat_url=f"{webhook.url}/alive"):
        run = kestra.run(LOCAL)
    assert run.state == "SUCCESS"
    assert (webhook.heartbeats, webhook.posts) == (1, [])
    begin, end = ({c["job"]: c["time"] for c in fakes.calls(what)} for what in ("begin", "end"))
    assert max(begin[j] for j in ALL) < min(end[j] for j in ALL)
    assert begin["dbt"] > max(end[j] for j in ALL)
    (dbt,) = fakes.begun("dbt")
    assert dbt["arguments"] == ["invoke", "dbt-bigquery:build"]
    outputs = run.outputs["jobs"]["dbt"]
    assert outputs["results"] == {"passed": 2, "warned": 1, "failed": 0, "skipped": 0}
    assert outputs["models"] == [
        {"name": "dim_episodes", "state": "success", "seconds": 1.25},
        {"name": "snap_episodes", "state": "success", "seconds": 1.25},
    ]
    job = run.jobs["episode"]
    assert job["outputs"]["rows"] == 51
    assert job["outputs"]["bytes"] == 48123
    assert job["outputs"]["streams"]["episodes"]["load_job"] == "l_episodes_0"
    assert job["outputs"]["streams"]["episodes"]["source_records"] == 51
    metrics = {m["name"]: m["value"] for m in job["metrics"] if m["tags"].get("stream") == "episodes"}
    assert metrics == {"rows": 51, "bytes": 48123, "load": 1500}
    built = [(m["name"], m["value"], m["tags"]) for m in run.jobs["dbt"]["metrics"]]
    assert ("dbt.passed", 2, {}) in built
    assert ("dbt.model", 1250, {"model": "dim_episodes", "state": "success"}) in built
    levels = {entry["message"]: entry["level"] for e in run.executions for entry in e["logs"]}
    assert levels["No state was found, complete import."] == "WARN"
    assert levels["dbt: Warning in test not_null"] == "WARN"
    assert levels["dbt: 1 of 2 OK created sql table model"] == "INFO"
    assert "ERROR" not in levels.values()
    assert not [name for c in fakes.begun() for name in c["environment"] if name.startswith("SECRET_")]
    assert all(BRACES.items() <= c["environment"].items() for c in fakes.begun())


def test_only_dbt_with_a_selection(kestra: Engine, fakes: MeltanoStandIn) -> None:
    """With fetch off dbt alone runs, and its selection arrives word by word."""
    run = kestra.run(
        LOCAL, execute_fetch=False, dbt_select_pattern="tag:staging+ +dim_characters,tag:marts @fct*"
    )
    assert run.state == "SUCCESS"
    (only,) = fakes.begun()
    words = ["--select", "tag:staging+", "+dim_characters,tag:marts", "@fct*"]
    assert only["arguments"] == ["invoke", "dbt-bigquery:build", *words]
    assert set(run.outputs["jobs"]) == {"dbt"}


def test_enterprise_runs_the_program_of_the_image(kestra: Engine, fakes: MeltanoStandIn) -> None:
    """The Enterprise variant, its runner stood in for, needs no bucket; the map of variables reaches the job as it is."""
    more = {"MELTANO_ENVIRONMENT": "prod", "TARGET_BIGQUERY_LOCATION": "EU ü", **BRACES}
    # The stand-in runs on this machine: the program and a Meltano are what the container's PATH would have.
    meltano = f'      MELTANO: "{fakes.variables["MELTANO"]}"\n      MELTANO_JOB:'
    kestra.deploy(f"{ENTERPRISE}.run", "enterprise", **{"      MELTANO_JOB:": meltano})
    kestra.settings(f"{ENTERPRISE}.run", environment=fakes.variables | more)
    run = kestra.run(f"{ENTERPRISE}.run", jobs=["episode"], execute_dbt=False)
    assert run.state == "SUCCESS", run.log()
    assert run.outputs["jobs"]["episode"]["rows"] == 51
    line = f"Batch: project a-project, region europe-west1, machine e2-medium, bucket null, image {NEEDED['image']}"
    assert line in run.log("INFO")
    (call,) = fakes.begun()
    assert more.items() <= call["environment"].items()


# --- what is refused ------------------------------------------------------------------------------------------------

# None of them may reach a shell.
SELECTIONS = ["a; rm -rf x", "$(id)", "`id`", "a | b", "a && b", "a > b", "'a'", '"a"', "a\nb", "a\\b"]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"execute_fetch": False, "execute_dbt": False}, "Nothing to do"),
        ({"jobs": []}, "No job is chosen"),
        ({"jobs": ["nobody"]}, "doesn't match the values"),
        *(
            ({"dbt_select_pattern": pattern}, "must match the pattern")
            for pattern in (*SELECTIONS, "--vars x", "a -x", "a " * 10_000 + "-x")
        ),
    ],
)
def test_wrong_inputs_are_refused_before_anything_runs(
    kestra: Engine, fakes: MeltanoStandIn, inputs: dict[str, Any], message: str
) -> None:
    """Nothing to do, no job, an unknown job and shell characters are refused, and no execution exists."""
    before = len(kestra.ask("roots", namespace=LOCAL, flow=PIPELINE))
    with pytest.raises(RefusedError, match=message):
        kestra.start(LOCAL, **inputs)
    assert len(kestra.ask("roots", namespace=LOCAL, flow=PIPELINE)) == before
    assert not fakes.begun()


CALLER = """
id: caller
namespace: rickandmorty.local
inputs: [{id: inputs, type: JSON}]
tasks:
  - id: call
    type: io.kestra.plugin.core.flow.Subflow
    namespace: rickandmorty.local
    flowId: rick_and_morty_pipeline
    wait: true
    transmitFailed: true
    inputs:
      execute_fetch: "{{ inputs.inputs.execute_fetch }}"
      execute_dbt: "{{ inputs.inputs.execute_dbt }}"
      jobs: []
"""


def test_doing_nothing_is_no_success_however_a_run_was_started(kestra: Engine, fakes: MeltanoStandIn) -> None:
    """Another flow's Subflow, as a schedule, does not ask the form's checks: both switches off, and no job, fail."""
    kestra.ask("create", source=CALLER)
    for fetch, message in ((False, "Nothing to do."), (True, "No job is chosen, nothing was fetched.")):
        run = kestra.run(LOCAL, "caller", inputs={"execute_fetch": fetch, "execute_dbt": fetch})
        assert run.state == "FAILED"
        assert message in run.log("ERROR")
    given: dict[str, Any] = {"run_id": str(uuid.uuid4()), "failure_allowed": True}
    assert kestra.run(LOCAL, "meltano_jobs", jobs=[], **given).state == "FAILED"
    # Beside a job that is not there, one that ended well would be said to have failed.
    with pytest.raises(RefusedError, match="nobody"):
        kestra.run(LOCAL, "meltano_jobs", jobs=["episode", "nobody"], **given)
    assert not fakes.begun()
    # A job that is named twice is one job: two containers would load one run.
    assert kestra.run(LOCAL, "meltano_jobs", jobs=["episode", "episode"], **given).state == "SUCCESS"
    assert fakes.times == {"episode": 1}


def test_kestras_scheduler_starts_the_whole_run(kestra: Engine, fakes: MeltanoStandIn) -> None:
    """The schedule, on and due at once, starts everything with the inputs that it gives."""
    namespace = "rickandmorty.scheduled"
    kestra.run_locally(namespace, fakes)
    due = 'cron: "* * * * * *"\n    withSeconds: true\n    stopAfter: [SUCCESS, WARNING, FAILED]'
    kestra.deploy(namespace, "local", **{"disabled: true": "disabled: false", 'cron: "0 6 * * *"': due})
    started = eventually(lambda: kestra.ask("roots", namespace=namespace, flow=PIPELINE), "no run began")
    run = kestra.wait(started[0])
    assert (run.state, run.states) == ("SUCCESS", dict.fromkeys([*ALL, "dbt"], "SUCCESS")), run.log()
    assert run.root["inputs"] == {
        "execute_fetch": True,
        "jobs": ALL,
        "execute_dbt": True,
        "execute_dbt_after_failure": False,
    }


DURATION = "expected seconds such as 3600, or an ISO 8601 duration such as PT1H"
WRONG = {
    "job_timeout": ("1h", DURATION),
    "attempts": ("two", "expected a whole number from 1 to 10"),
    "retry_seconds": ("soon", DURATION),
}


@pytest.mark.parametrize(
    ("namespace", "wrong"), [(LOCAL, WRONG), (BATCH, {**WRONG, "poll_seconds": ("PT15X", DURATION)})]
)
def test_wrong_settings_are_one_line_each_before_anything_runs(
    kestra: Engine, fakes: MeltanoStandIn, batch: GoogleBatch, namespace: str, wrong: dict[str, Any]
) -> None:
    """No traceback, nothing started, nothing submitted."""
    with kestra.changed(namespace, **{name: value for name, (value, _) in wrong.items()}):
        run = kestra.run(namespace, "meltano_run", job="episode", run_id=str(uuid.uuid4()))
    assert run.state == "FAILED"
    lines = run.log("ERROR").splitlines()
    for name, (value, expected) in wrong.items():
        # The deletion of Batch jobs reads that one too.
        times = 2 if name == "poll_seconds" else 1
        assert lines.count(f"setting {name} is {value!r}: {expected}") == times, lines
    assert "Traceback" not in run.log()
    assert not fakes.begun()
    assert not batch.seen


def test_a_missing_setting_is_named(kestra: Engine, fakes: MeltanoStandIn, batch: GoogleBatch) -> None:
    """Without its image the variant fails at once, and the message names the setting."""
    with kestra.changed(BATCH, image=None):
        run = kestra.run(BATCH, "meltano_run", job="episode", run_id=str(uuid.uuid4()))
    assert run.state == "FAILED"
    assert "The key 'image' does not exist" in run.log("ERROR")
    assert not batch.submitted()
    assert not fakes.begun()
