"""The real flow files on Kestra's real engine, with a stand-in for Meltano, Google's own gcloud before a stand-in of Batch, and once with the real Meltano project.

One engine for the module. Each variant of meltano_run has a namespace of its own, as environments have.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import socket
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from google_batch import GoogleBatch
from kestra_engine import FLOWS, PIPELINE, ROOT, SOURCES, Engine, RefusedError, flows, temporary
from testkit.gcloud import require_gcloud
from testkit.programs import alive, eventually
from testkit.servers import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message
    from pathlib import Path

    from testkit.whole_pipeline import Project

# One engine for all of them.
pytestmark = pytest.mark.xdist_group("kestra")

VARIANTS = ["local", "enterprise", "batch"]
LOCAL = "rickandmorty.local"
BATCH = "rickandmorty.batch"
# Where `make install` puts meltano and meltano-job, as the image's PATH has them.
PROGRAMS = ROOT / ".venvs" / "meltano" / "bin"
ALL = ["character", "episode", "location"]
ROWS = {"character": 826, "episode": 51, "location": 126}
NEEDED: dict[str, Any] = {
    "gcp_project": "a-project",
    "gcp_region": "europe-west1",
    "image": "europe-west1-docker.pkg.dev/a-project/pipelines/rickandmorty@sha256:0",
    "service_account": "meltano@a-project.iam.gserviceaccount.com",
}


# A value that Kestra would take for expressions of its own.
BRACES = {"DBT_BRACES": "{{ secret('ALERT_WEBHOOK') }} {% raw %} {# c #} {{{ \\ \" ' ${x} \n {}"}


@dataclass
class Fakes:
    """The folder that the stand-ins read their behaviour from and write their calls to."""

    folder: Path

    def behave(self, **behaviour: dict[str, Any]) -> None:
        """Forget what was, and set how each job behaves."""
        for path in self.folder.glob("*.jsonl"):
            path.unlink()
        self.folder.joinpath("behaviour.json").write_text(json.dumps(behaviour))

    def calls(self) -> list[Any]:
        """Return the calls of Meltano, beginnings and ends."""
        path = self.folder / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def begun(self, job: str | None = None) -> list[dict[str, Any]]:
        """The calls of Meltano."""
        return [c for c in self.calls() if c["what"] == "begin" and job in {None, c["job"]}]

    def until(self, job: str, times: int = 1, seconds: float = 600) -> dict[str, Any]:
        """Wait for a job's beginning, the first or a later one."""
        return eventually(lambda: self.begun(job)[times - 1 :], f"{job} has not begun", seconds)[0]


class Webhook(Server):
    """Takes what the alert posts."""

    def __init__(self) -> None:
        super().__init__()
        self.posts: list[dict[str, str]] = []
        self.statuses: list[int] = []

    def respond(self, _: str, __: str, ___: Message, body: bytes) -> tuple[int, bytes]:
        """Keep a message."""
        self.posts.append(json.loads(body))
        return (self.statuses.pop(0) if self.statuses else 200), b""


@pytest.fixture(scope="module")
def webhook() -> Iterator[Webhook]:
    """A webhook."""
    with Webhook() as server:
        yield server


@pytest.fixture(scope="module")
def folder() -> Path:
    """The engine's folder."""
    return temporary()


@pytest.fixture(scope="module")
def batch(folder: Path) -> Iterator[GoogleBatch]:
    """Google Batch, whose containers run the program of the image with a Meltano stood in for."""
    server = GoogleBatch(lambda _: [str(PROGRAMS / "meltano-job")], folder)
    yield server
    server.forget()
    server.close()


@pytest.fixture(scope="module")
def kestra(folder: Path, webhook: Webhook, batch: GoogleBatch) -> Iterator[Engine]:
    """The engine, every variant deployed, its settings set."""
    (folder / "fakes").mkdir()
    (folder / "fakes" / "behaviour.json").write_text("{}")
    # With the newline that `echo ADDRESS | base64` leaves; the other one takes connections and never answers.
    secret = base64.b64encode(f"{webhook.url}/hook-address\n".encode()).decode()
    silent = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{silent.getsockname()[1]}"
    given = {"FAKES": str(folder / "fakes"), "MELTANO": str(SOURCES / "fake_meltano.py"), **BRACES}
    environment = {
        "PATH": f"{PROGRAMS}{os.pathsep}{batch.path()}",
        "SECRET_ALERT_WEBHOOK": secret,
        "SECRET_SILENT_WEBHOOK": base64.b64encode(address.encode()).decode(),
        **batch.environment(),
    }
    engine = Engine(folder, environment)
    for variant in VARIANTS:
        engine.deploy(f"rickandmorty.{variant}", variant)
        engine.settings(f"rickandmorty.{variant}", **NEEDED, environment=given, retry_seconds="0.1")
    engine.settings(LOCAL, meltano=given["MELTANO"], environment={"FAKES": given["FAKES"], **BRACES})
    landing = {"TARGET_BIGQUERY_BUCKET": "a-landing", "STORAGE_EMULATOR_HOST": batch.url}
    engine.settings(BATCH, environment=given | landing, poll_seconds="PT0.2S", log_seconds="5")
    yield engine
    engine.close()
    silent.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def fakes(folder: Path) -> Fakes:
    """The stand-ins, all well behaved."""
    found = Fakes(folder / "fakes")
    found.behave()
    return found


# --- the files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_flow_is_valid_with_no_warning(kestra: Engine, variant: str) -> None:
    """Strict validation, as the API does it, finds neither error, warning nor deprecation; the references resolve."""
    for text in flows(f"rickandmorty.{variant}", variant):
        (found,) = kestra.ask("validate", flows={"flow.yml": text})
        assert not found.get("errors"), found
        assert not found.get("warnings"), found
        assert not found.get("deprecations"), found


def test_validation_refuses_a_property_that_no_documentation_names(kestra: Engine) -> None:
    """A wrong or a missing property in the Enterprise runner, the gcloud task or the flow is refused: the checks above mean something."""
    for variant, number, right, wrong, error in (
        ("enterprise", 0, "      region: ", "      machineTipe: x\n      region: ", "Unrecognized field"),
        ("enterprise", 0, "      region: ", "      reservation: ", "must not be null"),
        ("batch", 0, "    projectId: ", "    region: x\n    projectId: ", "Unrecognized field"),
        ("batch", 0, "    commands:\n      - ", "    outputFiles:\n      - ", "must not be null"),
        ("local", 2, "    timezone: ", "    jobz: x\n    timezone: ", "Unrecognized field"),
    ):
        text = flows(LOCAL, variant)[number].replace(right, wrong, 1)
        (found,) = kestra.ask("validate", flows={"flow.yml": text})
        assert error in (found.get("errors") or ""), (right, found)


def test_no_task_is_retried_or_ended_by_the_engine() -> None:
    """A kill while Kestra 2.0.0 waits for a retry never ends, and its time limit knows no attempts: both are our programs' business."""
    for variant in VARIANTS:
        for text in flows(LOCAL, variant):
            for task in every_task(yaml.safe_load(text)):
                assert not {"retry", "timeout"} & set(task), task["id"]
            assert "serviceAccount:" not in text


def every_task(part: Any) -> Iterator[dict[str, Any]]:
    """Every task of a flow."""
    if isinstance(part, dict):
        if "type" in part and "id" in part:
            yield part
        for item in part.values():
            yield from every_task(item)
    elif isinstance(part, list):
        for item in part:
            yield from every_task(item)


def test_the_form_names_dbts_own_tags() -> None:
    """Each tag that the form's help names is one of the dbt project, and none is left out."""
    (pattern,) = [
        given
        for given in yaml.safe_load((FLOWS / f"{PIPELINE}.yml").read_text())["inputs"]
        if given["id"] == "dbt_select_pattern"
    ]
    project = (ROOT / "transform" / "dbt_project.yml").read_text()
    tags = {tag for tags in re.findall(r"\+tags: \[(.*?)\]", project) for tag in tags.split(", ")}
    assert set(re.findall(r"`tag:(\w+)`", pattern["description"])) == tags


def test_tap_and_target_know_nothing_of_kestra() -> None:
    """Kestra gets rows and levels from the flows' own adapter: the packages do not mention Kestra."""
    sources = [
        *(ROOT / "tap-rickandmorty" / "src").rglob("*.py"),
        *(ROOT / "target-bigquery" / "src").rglob("*.py"),
    ]
    assert sources
    assert not [path for path in sources if "kestra" in path.read_text(encoding="utf-8").lower()]


@pytest.mark.slow
def test_the_schedule_arrives_switched_off_and_its_inputs_are_taken(kestra: Engine, fakes: Fakes) -> None:
    """The trigger is disabled in the file; switched on, it starts a run of all three jobs and dbt by itself."""
    (trigger,) = yaml.safe_load((FLOWS / f"{PIPELINE}.yml").read_text())["triggers"]
    assert trigger["disabled"] is True
    # On a busy machine the moment may be over before the scheduler knows of it: then a later one.
    for seconds in (12, 60, 180):
        namespace = f"rickandmorty.scheduled{seconds}"
        kestra.settings(
            namespace, meltano=str(SOURCES / "fake_meltano.py"), environment={"FAKES": str(fakes.folder)}
        )
        soon = datetime.now(UTC) + timedelta(seconds=seconds)
        cron = f'cron: "{soon.second} {soon.minute} {soon.hour} {soon.day} {soon.month} *"\n    withSeconds: true'
        kestra.deploy(namespace, "local", **{"disabled: true": "disabled: false", 'cron: "0 6 * * *"': cron})
        with suppress(AssertionError):
            found = eventually(
                lambda name=namespace: kestra.ask("roots", namespace=name, flow=PIPELINE),
                "no run",
                2 * seconds,
            )
            break
    run = kestra.wait(found[0])
    assert run.state == "SUCCESS"
    assert set(run.jobs) == {*ALL, "dbt"}


# --- what runs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "jobs", [list(jobs) for size in (1, 2) for jobs in combinations(ALL, size)], ids=" ".join
)
def test_exactly_the_chosen_jobs_run(kestra: Engine, fakes: Fakes, jobs: list[str]) -> None:
    """Each chosen job is one `meltano run <job>`, all with the run's one UUID; outputs and labels tell it."""
    run = kestra.run(LOCAL, jobs=jobs, execute_dbt=False)
    assert run.state == "SUCCESS", run.log()
    assert sorted(c["job"] for c in fakes.begun()) == sorted(jobs)
    assert len({c["environment"]["MELTANO_DATABASE_URI"] for c in fakes.begun()}) == len(jobs)
    assert all(c["arguments"] == ["run", c["job"]] for c in fakes.begun())
    run_id = run.outputs["run_id"]
    assert uuid.UUID(run_id)
    assert {c["environment"]["MELTANO_RUN_ID"] for c in fakes.begun()} == {run_id}
    assert {e["labels"]["run_id"] for e in run.executions} == {run_id}
    jobs_of_run = run.outputs["jobs"]
    assert jobs_of_run.pop("dbt") == {"state": "SKIPPED"}
    assert {job: (found["state"], found["rows"]) for job, found in jobs_of_run.items()} == {
        job: ("SUCCESS", ROWS[job]) for job in jobs
    }
    assert all(0 <= found["seconds"] < 60 for found in jobs_of_run.values())


def test_the_usual_run_fetches_all_side_by_side_then_builds(kestra: Engine, fakes: Fakes) -> None:
    """With nothing given all three jobs overlap in time, then dbt; figures are outputs and metrics, lines keep their levels, Kestra's secrets stay."""
    fakes.behave(**{job: {"together": 3} for job in ALL})
    run = kestra.run(LOCAL)
    assert run.state == "SUCCESS"
    begin = {c["job"]: c["time"] for c in fakes.calls() if c["what"] == "begin"}
    end = {c["job"]: c["time"] for c in fakes.calls() if c["what"] == "end"}
    assert max(begin[j] for j in ALL) < min(end[j] for j in ALL)
    assert begin["dbt"] > max(end[j] for j in ALL)
    (dbt,) = fakes.begun("dbt")
    assert dbt["arguments"] == ["invoke", "dbt-bigquery:build"]
    dbt_outputs = run.outputs["jobs"]["dbt"]
    assert dbt_outputs["results"] == {"passed": 2, "warned": 1, "failed": 0, "skipped": 0}
    assert dbt_outputs["models"] == [
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
    built = run.jobs["dbt"]["metrics"]
    assert {m["name"]: m["value"] for m in built}["dbt.passed"] == 2
    assert {"model": "dim_episodes", "state": "success"} in [
        m["tags"] for m in built if m["name"] == "dbt.model"
    ]
    levels = {entry["message"]: entry["level"] for e in run.executions for entry in e["logs"]}
    assert levels["No state was found, complete import."] == "WARN"
    assert levels["dbt: Warning in test not_null"] == "WARN"
    assert levels["dbt: 1 of 2 OK created sql table model"] == "INFO"
    assert "ERROR" not in levels.values()
    assert not [name for c in fakes.begun() for name in c["environment"] if name.startswith("SECRET_")]
    assert all(BRACES.items() <= c["environment"].items() for c in fakes.begun())


def test_only_dbt_with_a_selection(kestra: Engine, fakes: Fakes) -> None:
    """With fetch off dbt alone runs, and its selection arrives word by word."""
    run = kestra.run(
        LOCAL, execute_fetch=False, dbt_select_pattern="tag:staging+ +dim_characters,tag:marts @fct*"
    )
    assert run.state == "SUCCESS"
    (only,) = fakes.begun()
    words = ["--select", "tag:staging+", "+dim_characters,tag:marts", "@fct*"]
    assert only["arguments"] == ["invoke", "dbt-bigquery:build", *words]
    assert set(run.outputs["jobs"]) == {"dbt"}


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"execute_fetch": False, "execute_dbt": False}, "Nothing to do"),
        ({"jobs": []}, "No job is chosen"),
        ({"jobs": ["nobody"]}, "doesn't match the values"),
        *(
            ({"dbt_select_pattern": pattern}, "must match the pattern")
            for pattern in (
                "a; rm -rf x",
                "$(id)",
                "`id`",
                "a | b",
                "a && b",
                "a > b",
                "'a'",
                '"a"',
                "a\nb",
                "--vars x",
                "a -x",
                "a\\b",
            )
        ),
    ],
)
def test_wrong_inputs_are_refused_before_anything_runs(
    kestra: Engine, fakes: Fakes, inputs: dict[str, Any], message: str
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


def test_doing_nothing_is_no_success_however_the_run_was_started(kestra: Engine, fakes: Fakes) -> None:
    """Another flow's Subflow, as a schedule, does not ask the form's checks: both switches off, and no job, fail."""
    kestra.ask("create", source=CALLER)
    for fetch, message in ((False, "Nothing to do."), (True, "No job is chosen, nothing was fetched.")):
        run = kestra.run(LOCAL, "caller", inputs={"execute_fetch": fetch, "execute_dbt": fetch})
        assert run.state == "FAILED"
        assert message in run.log("ERROR")
    given = {"run_id": str(uuid.uuid4()), "failure_allowed": True}
    assert kestra.run(LOCAL, "meltano_jobs", jobs=[], **given).state == "FAILED"
    assert not fakes.begun()
    # A job that is named twice is one job: two containers would load one run.
    assert kestra.run(LOCAL, "meltano_jobs", jobs=["episode", "episode"], **given).state == "SUCCESS"
    assert len(fakes.begun()) == 1


# --- what fails -----------------------------------------------------------------------------------------------------


def test_one_job_fails_the_others_end_dbt_does_not_begin(
    kestra: Engine, fakes: Fakes, webhook: Webhook
) -> None:
    """A failed job is tried twice, the slow one is awaited, dbt is not started, the run fails, the webhook is called."""
    fakes.behave(episode={"fail": 9, "status": 3}, location={"after": "episode"})
    webhook.posts.clear()
    with kestra.changed(LOCAL, alert_secret="ALERT_WEBHOOK"):  # noqa: S106 - a name
        run = kestra.run(LOCAL)
    assert run.state == "FAILED"
    assert {job: e["state"] for job, e in run.jobs.items()} == {
        "character": "SUCCESS",
        "episode": "FAILED",
        "location": "SUCCESS",
    }
    assert [len(fakes.begun(job)) for job in (*ALL, "dbt")] == [1, 2, 1, 0]
    assert run.outputs["jobs"]["episode"]["state"] == "FAILED"
    assert "rows" not in run.outputs["jobs"]["episode"]
    assert run.outputs["jobs"]["location"]["rows"] == 126
    assert "Failed: episode." in run.log("ERROR")
    assert "episodes: 420 records staged, stream not complete, nothing loaded" in run.log("ERROR")
    assert "Command failed with exit code 3" in run.log("ERROR")
    (post,) = webhook.posts
    assert "ended as FAILED" in post["text"]
    assert run.root["labels"]["run_id"] in post["text"]
    assert "episode" in post["text"]


def test_building_after_a_failure_means_nothing_without_dbt(kestra: Engine, fakes: Fakes) -> None:
    """With dbt off a failed job fails the run, whatever that input says."""
    fakes.behave(character={"fail": 9})
    assert kestra.run(LOCAL, execute_dbt=False, execute_dbt_after_failure=True).state == "FAILED"


def test_a_kill_ends_everything_below(kestra: Engine, fakes: Fakes) -> None:
    """Killing the run kills its subflows, and no process is left."""
    fakes.behave(character={"sleep": 300}, episode={"sleep": 300})
    execution = kestra.start(LOCAL, jobs=["character", "episode"])
    pids = [fakes.until(job)["pid"] for job in ("character", "episode")]
    kestra.ask("kill", id=execution)
    run = kestra.wait(execution)
    assert run.state == "KILLED"
    assert {e["state"] for e in run.jobs.values()} == {"KILLED"}
    eventually(lambda: not any(map(alive, pids)), "a process has not ended")
    assert not fakes.begun("dbt")


# --- Kestra's own buttons: Restart and Kill ---------------------------------------------------------------------------


def test_restart_runs_the_failed_jobs_again_with_the_same_run_id(kestra: Engine, fakes: Fakes) -> None:
    """A job whose second attempt succeeds is left alone; after two have failed Restart runs those two, then dbt; once more after one has failed again."""
    # Two attempts a time: character and location fail at first, location at the first Restart too.
    fakes.behave(character={"fail": 2}, episode={"fail": 1}, location={"fail": 4})
    execution = kestra.start(LOCAL)
    run = kestra.wait(execution)
    assert run.state == "FAILED"
    assert [len(fakes.begun(job)) for job in (*ALL, "dbt")] == [2, 2, 2, 0]
    assert "failed: job character, location; a job lands whole or not at all" in run.log("ERROR")
    # No webhook is named.
    assert run.tasks["alert"] == "SKIPPED"
    run = kestra.restart(execution)
    assert run.state == "FAILED", run.log()
    assert [len(fakes.begun(job)) for job in (*ALL, "dbt")] == [3, 2, 4, 0]
    run = kestra.restart(execution)
    assert run.state == "SUCCESS", run.log()
    assert [len(fakes.begun(job)) for job in (*ALL, "dbt")] == [3, 2, 5, 1]
    assert {c["environment"]["MELTANO_RUN_ID"] for c in fakes.begun()} == {run.outputs["run_id"]}
    assert {job: found["state"] for job, found in run.outputs["jobs"].items()} == dict.fromkeys(
        [*ALL, "dbt"], "SUCCESS"
    )
    assert run.outputs["jobs"]["location"]["rows"] == 126


def test_restart_after_a_failed_build_builds_again_and_fetches_nothing(kestra: Engine, fakes: Fakes) -> None:
    """A build that fails is not run twice by itself, and the line names what failed; Restart runs dbt alone."""
    fakes.behave(dbt={"fail": 1, "status": 1})
    execution = kestra.start(LOCAL, jobs=["episode"], dbt_select_pattern="tag:marts")
    run = kestra.wait(execution)
    assert run.state == "FAILED"
    assert run.outputs["jobs"]["episode"]["rows"] == 51
    assert len(fakes.begun("dbt")) == 1
    assert "job dbt: 1 of 2 nodes failed: dim_episodes" in run.log("ERROR")
    assert "failed: job dbt. The job's own execution says why" in run.log("ERROR")
    run = kestra.restart(execution)
    assert run.state == "SUCCESS", run.log()
    assert [len(fakes.begun(job)) for job in ("episode", "dbt")] == [1, 2]
    assert {tuple(c["arguments"]) for c in fakes.begun("dbt")} == {
        ("invoke", "dbt-bigquery:build", "--select", "tag:marts")
    }
    assert len({c["environment"]["MELTANO_RUN_ID"] for c in fakes.begun()}) == 1


def test_restart_of_a_run_whose_failure_was_allowed_builds_alone(kestra: Engine, fakes: Fakes) -> None:
    """A run that built after a failed job, and whose build failed: Restart runs dbt, as the input asked."""
    fakes.behave(character={"fail": 9}, dbt={"fail": 1})
    execution = kestra.start(LOCAL, jobs=["character"], execute_dbt_after_failure=True)
    assert kestra.wait(execution).state == "FAILED"
    run = kestra.restart(execution)
    assert run.state == "WARNING", run.log()
    assert [len(fakes.begun(job)) for job in ("character", "dbt")] == [2, 2]
    assert run.outputs["jobs"]["dbt"]["state"] == "SUCCESS"
    assert run.outputs["jobs"]["character"]["state"] == "FAILED"


def test_a_kill_while_a_job_waits_for_its_next_attempt_ends_it_and_frees_the_next_run(
    kestra: Engine, fakes: Fakes
) -> None:
    """The pause between attempts is the program's: a kill ends it, and the run that was queued behind it begins."""
    fakes.behave(episode={"fail": 1})
    with kestra.changed(LOCAL, retry_seconds="PT10M"):
        first = kestra.start(LOCAL, jobs=["episode"], execute_dbt=False)
        eventually(lambda: "again in 600 s" in kestra.look(first)[1].log("WARN"), "no attempt was waited for")
        second = kestra.start(LOCAL, jobs=["location"], execute_dbt=False)
        kestra.ask("kill", id=first)
        killed, run = kestra.wait(first), kestra.wait(second)
    assert {killed.state, *(e["state"] for e in killed.jobs.values())} == {"KILLED"}
    assert run.state == "SUCCESS"
    assert len(fakes.begun("episode")) == 1


def test_a_kill_of_a_queued_run_leaves_the_queue_as_it_was(kestra: Engine, fakes: Fakes) -> None:
    """Of three runs the second is killed while it waits: it never begins, the third does, once the first has ended."""
    fakes.behave(episode={"together": 2})
    first = kestra.start(LOCAL, jobs=["episode"], execute_dbt=False)
    fakes.until("episode")
    second, third = (kestra.start(LOCAL, jobs=[job], execute_dbt=False) for job in ("character", "location"))
    kestra.ask("kill", id=second)
    assert kestra.wait(second).state == "KILLED"
    # The first goes on as soon as another call has begun: here, by hand.
    (fakes.folder / "calls.jsonl").open("a").write('{"job": "nobody", "what": "begin", "time": 0}\n')
    assert kestra.wait(first).state == "SUCCESS"
    last = kestra.wait(third)
    assert last.state == "SUCCESS"
    assert "QUEUED" in last.root["states"]
    assert not fakes.begun("character")
    ended = [c["time"] for c in fakes.calls() if (c["job"], c["what"]) == ("episode", "end")]
    assert fakes.begun("location")[0]["time"] > ended[0]


@pytest.mark.slow
def test_twenty_queued_runs_with_kills_all_end(kestra: Engine, fakes: Fakes) -> None:
    """Twenty runs at once, every third killed, wherever it is by then: all end, one after the other, and the next run begins at once."""
    started = [kestra.start(LOCAL, execute_fetch=False) for _ in range(20)]
    for execution in started[::3]:
        kestra.ask("kill", id=execution)
    states = [kestra.wait(execution, 300).state for execution in started]
    assert [state for number, state in enumerate(states) if number % 3] == ["SUCCESS"] * 13
    # The first may have ended before its kill.
    assert set(states[::3]) <= {"KILLED", "SUCCESS"}
    assert "KILLED" in states
    spans = sorted((c["time"], c["what"]) for c in fakes.calls())
    ends = [what for _, what in spans if what == "end"]
    assert len(ends) >= 13
    assert kestra.run(LOCAL, jobs=["location"], execute_dbt=False).state == "SUCCESS"


# --- the alert --------------------------------------------------------------------------------------------------------


def test_an_alert_that_does_not_arrive_is_sent_again_and_then_logged(
    kestra: Engine, fakes: Fakes, webhook: Webhook
) -> None:
    """A webhook that fails once has the message the second time; one that fails twice is an ERROR line in the run."""
    fakes.behave(dbt={"fail": 9})
    found = []
    with kestra.changed(LOCAL, alert_secret="ALERT_WEBHOOK"):  # noqa: S106 - a name
        for statuses in ([500], [500, 500]):
            webhook.posts.clear()
            webhook.statuses = list(statuses)
            found.append(kestra.run(LOCAL, execute_fetch=False))
            assert len(webhook.posts) == 2
            assert "failed: dbt" in webhook.posts[-1]["text"]
    once, twice = found
    assert "Nobody was alerted" not in once.log("ERROR")
    assert "Nobody was alerted: the webhook whose address is in the secret ALERT_WEBHOOK" in twice.log(
        "ERROR"
    )
    assert "hook-address" not in twice.log()


def test_a_webhook_that_never_answers_keeps_no_run_waiting(kestra: Engine, fakes: Fakes) -> None:
    """The next run in the queue waits for the alert of the one before: it is given up, twice, and logged."""
    fakes.behave(dbt={"fail": 1})
    namespace = "rickandmorty.silent"
    kestra.settings(
        namespace, meltano=str(SOURCES / "fake_meltano.py"), environment={"FAKES": str(fakes.folder)}
    )
    kestra.settings(namespace, alert_secret="SILENT_WEBHOOK")  # noqa: S106 - a name
    kestra.deploy(namespace, "local", **{"readIdleTimeout: PT20S": "readIdleTimeout: PT1S"})
    first, second = (kestra.start(namespace, execute_fetch=False) for _ in range(2))
    assert "Nobody was alerted" in kestra.wait(first, 120).log("ERROR")
    assert kestra.wait(second, 120).state == "SUCCESS"


# --- settings ---------------------------------------------------------------------------------------------------------


def test_wrong_settings_are_one_line_each_before_anything_runs(
    kestra: Engine, fakes: Fakes, batch: GoogleBatch
) -> None:
    """In every variant: no traceback, nothing started, nothing submitted."""
    wrong = {"job_timeout": "1h", "attempts": "two", "retry_seconds": "soon"}
    for namespace in (LOCAL, BATCH):
        batch.forget()
        more = (
            {"network": "projects/p/global/networks/n", "poll_seconds": "PT15X"} if namespace == BATCH else {}
        )
        with kestra.changed(namespace, **wrong, **more):
            run = kestra.run(namespace, "meltano_run", job="episode", run_id=str(uuid.uuid4()))
        assert run.state == "FAILED"
        lines = run.log("ERROR").splitlines()
        for message in (
            "setting job_timeout is '1h': expected seconds such as 3600, or an ISO 8601 duration such as PT1H",
            "setting attempts is 'two': expected a whole number from 1 to 10",
            "setting retry_seconds is 'soon': expected seconds such as 3600, or an ISO 8601 duration such as PT1H",
        ):
            assert lines.count(message) == 1, lines
        if namespace == BATCH:
            assert any(line.startswith("setting subnetwork is not set") for line in lines)
            assert any(line.startswith("setting poll_seconds is 'PT15X'") for line in lines)
        assert "Traceback" not in run.log()
        assert not fakes.begun()
        assert not batch.seen


# --- the two variants of Google Batch -------------------------------------------------------------------------------


def test_enterprise_runs_the_program_of_the_image(kestra: Engine, fakes: Fakes) -> None:
    """The Enterprise variant, its runner stood in for, needs no bucket; the map of variables reaches the job as it is."""
    namespace = "rickandmorty.enterprise"
    given = {"FAKES": str(fakes.folder), "MELTANO": str(SOURCES / "fake_meltano.py")}
    more = {"MELTANO_ENVIRONMENT": "prod", "TARGET_BIGQUERY_LOCATION": "EU ü", **BRACES}
    # The stand-in runs on this machine: the program and a Meltano are what the container's PATH would have.
    program = flows(
        f"{namespace}.run",
        "enterprise",
        **{"      MELTANO_JOB:": f'      MELTANO: "{given["MELTANO"]}"\n      MELTANO_JOB:'},
    )
    for text in program:
        kestra.ask("create", source=text)
    kestra.settings(namespace, environment=given | more)
    run = kestra.run(f"{namespace}.run", jobs=["episode"], execute_dbt=False)
    assert run.state == "SUCCESS", run.log()
    assert run.outputs["jobs"]["episode"]["rows"] == 51
    line = f"Batch: project a-project, region europe-west1, machine e2-medium, bucket null, image {NEEDED['image']}"
    assert line in run.log("INFO")
    (call,) = fakes.begun()
    assert {name: call["environment"][name] for name in more} == more


def test_batch_submits_follows_deletes_and_restarts(kestra: Engine, fakes: Fakes, batch: GoogleBatch) -> None:
    """By Google's own gcloud: submitted with the settings, a failure and its exit code brought back; Restart takes the next job, same run id; deleted."""
    require_gcloud()
    batch.forget()
    fakes.behave(character={"fail": 2, "status": 3})
    network = {
        "network": "projects/p/global/networks/n",
        "subnetwork": "projects/p/regions/r/subnetworks/s",
    }
    with kestra.changed(BATCH, **network):
        execution = kestra.start(BATCH, jobs=["character"], execute_dbt=False)
        run = kestra.wait(execution, 600)
        assert run.state == "FAILED"
        assert "ended as FAILED, exit code 3" in run.log("ERROR")
        assert "stream not complete, nothing loaded" in run.log("ERROR")
        run = kestra.restart(execution, 600)
    assert run.state == "SUCCESS", run.log()
    run_id = run.outputs["run_id"]
    assert run.outputs["jobs"]["character"]["rows"] == 826
    assert run.jobs["character"]["outputs"]["bytes"] == 48123
    where = f"gs://a-landing/_results/run_id={run_id}/character.json"
    assert run.jobs["character"]["outputs"]["result"] == where
    name = f"rickandmorty-character-{run.jobs['character']['id']}".lower()
    assert batch.submitted()[-1].startswith(name)
    assert len(batch.submitted()) == len(set(batch.submitted()))
    assert {c["environment"]["MELTANO_RUN_ID"] for c in fakes.begun()} == {run_id}
    bodies = [json.loads(body) for call, body in batch.seen if "jobId=" in call]
    (group,) = bodies[0]["taskGroups"]
    (runnable,) = group["taskSpec"]["runnables"]
    assert runnable["container"]["imageUri"] == NEEDED["image"]
    assert runnable["environment"]["variables"]["MELTANO_RUN_ID"] == run_id
    assert runnable["environment"]["variables"]["TARGET_BIGQUERY_BUCKET"] == "a-landing"
    assert BRACES.items() <= runnable["environment"]["variables"].items()
    assert group["taskSpec"]["maxRunDuration"] == "4200s"
    assert 50001 in group["taskSpec"]["lifecyclePolicies"][0]["actionCondition"]["exitCodes"]
    allocation = bodies[0]["allocationPolicy"]
    assert allocation["serviceAccount"]["email"] == NEEDED["service_account"]
    assert allocation["network"]["networkInterfaces"][0]["noExternalIpAddress"] is True
    assert bodies[0]["labels"]["run_id"] == run_id
    assert all(job.state == "DELETION_IN_PROGRESS" for job in batch.jobs.values())
    assert run.log().count("whatever the target says of characters") == 1


def test_a_kill_in_kestra_ends_the_batch_job(kestra: Engine, fakes: Fakes, batch: GoogleBatch) -> None:
    """Killing the run deletes the Batch job, and its container ends."""
    require_gcloud()
    batch.forget()
    fakes.behave(episode={"sleep": 300})
    execution = kestra.start(BATCH, jobs=["episode"], execute_dbt=False)
    pid = fakes.until("episode", seconds=600)["pid"]
    kestra.ask("kill", id=execution)
    run = kestra.wait(execution, 600)
    assert run.state == "KILLED"
    assert len(batch.calls("^DELETE ")) == 1
    assert not alive(pid)


def test_a_setting_that_is_missing_is_named(kestra: Engine, fakes: Fakes, batch: GoogleBatch) -> None:
    """Without its image the variant fails at once, and the message names the setting."""
    batch.forget()
    with kestra.changed(BATCH, image=None):
        run = kestra.run(BATCH, "meltano_run", job="episode", run_id=str(uuid.uuid4()))
    assert run.state == "FAILED"
    assert "The key 'image' does not exist" in run.log("ERROR")
    assert not batch.submitted()
    assert not fakes.begun()


# --- the real Meltano project ---------------------------------------------------------------------------------------


def real(kestra: Engine, project: Project, namespace: str) -> None:
    """Deploy the local variant with the real Meltano on the sandbox."""
    # The program of the task gives these itself.
    own = {*os.environ, "MELTANO_RUN_ID", "DBT_TARGET_PATH"} - {"MELTANO_DATABASE_URI"}
    environment = {k: v for k, v in project.environment().items() if k not in own}
    kestra.deploy(namespace, "local")
    kestra.settings(namespace, meltano=project.command, meltano_project=str(ROOT), environment=environment)


def test_the_real_pipeline_lands_and_builds(kestra: Engine, own_project: Project) -> None:
    """Kestra runs the real Meltano project on the sandbox: every job and a part of dbt, a job once more; BigQuery holds what Kestra says."""
    namespace = "rickandmorty.real"
    real(kestra, own_project, namespace)
    sandbox = own_project.sandbox
    run = kestra.run(namespace, dbt_select_pattern="+stg_rickandmorty__episodes", seconds=1200)
    assert run.state == "SUCCESS", run.log()[-4000:]
    landing = "local_rickandmorty_landing"
    run_id = run.outputs["run_id"]
    for job in ALL:
        held = sandbox.value(f"SELECT COUNT(*) FROM `{landing}.{job}s` WHERE _sdc_run_id = '{run_id}'")
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
    again = kestra.run(namespace, "meltano_run", job="episode", run_id=run_id, seconds=600)
    assert again.state == "SUCCESS", again.log()[-4000:]
    assert again.outputs["streams"]["episodes"]["loaded_before"] is True
    held = sandbox.value(f"SELECT COUNT(*) FROM `{landing}.episodes` WHERE _sdc_run_id = '{run_id}'")
    assert held == len(sandbox.served("episode"))
    # dbt itself refuses what selects nothing, in part too: the article's own pattern, and a typo beside a model.
    wrong = kestra.run(
        namespace,
        "meltano_run",
        job="dbt",
        run_id=run_id,
        dbt_select="staging.landing_dataset.* dim_episodes",
        seconds=600,
    )
    assert wrong.state == "FAILED"
    assert "dbt_select_pattern: 'staging.landing_dataset.*' matches nothing; near it: " in wrong.log("ERROR")
    assert not wrong.outputs["models"]
