"""The real flow files on Kestra's real engine, with stand-ins for Meltano and gcloud, and once with the real Meltano project.

One engine for the module. Each variant of meltano_run has a namespace of its own, as environments have.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import combinations
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from kestra_engine import FLOWS, PIPELINE, ROOT, SOURCES, Engine, RefusedError, flow, temporary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testkit.whole_pipeline import Project

# One engine for all of them.
pytestmark = pytest.mark.xdist_group("kestra")

VARIANTS = ["local", "enterprise", "batch"]
ALL = ["character", "episode", "location"]
ROWS = {"character": 826, "episode": 51, "location": 126}
NEEDED = {
    "gcp_project": "a-project",
    "gcp_region": "europe-west1",
    "image": "europe-west1-docker.pkg.dev/a-project/pipelines/rickandmorty@sha256:0",
    "landing_bucket": "a-landing",
    "staging_bucket": "a-staging",
    "service_account": "meltano@a-project.iam.gserviceaccount.com",
}


@dataclass
class Fakes:
    """The folder that the stand-ins read their orders from and write their calls to."""

    folder: Path

    def order(self, **behaviour: dict[str, Any]) -> None:
        """Forgets what was, and says how each job behaves."""
        for path in self.folder.glob("*.jsonl"):
            path.unlink()
        self.folder.joinpath("gcloud_faults.json").unlink(missing_ok=True)
        self.folder.joinpath("behaviour.json").write_text(json.dumps(behaviour))

    def told(self, name: str = "calls") -> list[Any]:
        """What was written down."""
        path = self.folder / f"{name}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def begun(self, job: str | None = None) -> list[dict[str, Any]]:
        """The calls of Meltano."""
        return [c for c in self.told() if c["what"] == "begin" and job in {None, c["job"]}]

    def gcloud(self, word: str) -> list[list[str]]:
        """The calls of gcloud with a word."""
        return [call for call in self.told("gcloud") if word in call]

    def until(self, job: str, seconds: float = 30) -> dict[str, Any]:
        """Waits for a job's beginning."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if calls := self.begun(job):
                return calls[0]
            time.sleep(0.1)
        pytest.fail(f"{job} has not begun in {seconds} s")


class Webhook(HTTPServer):
    """Takes what the alert posts."""

    class Handler(BaseHTTPRequestHandler):
        """Keeps the bodies."""

        def do_POST(self) -> None:
            """Takes one."""
            assert isinstance(self.server, Webhook)
            self.server.posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Stays silent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.posts: list[dict[str, str]] = []
        Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def webhook() -> Iterator[Webhook]:
    """A webhook."""
    server = Webhook()
    yield server
    server.shutdown()


@pytest.fixture(scope="module")
def folder() -> Path:
    """The engine's folder."""
    return temporary()


@pytest.fixture(scope="module")
def kestra(folder: Path, webhook: Webhook) -> Iterator[Engine]:
    """The engine, every variant deployed, its settings set."""
    (folder / "fakes").mkdir()
    (folder / "fakes" / "behaviour.json").write_text("{}")
    secret = base64.b64encode(f"http://127.0.0.1:{webhook.server_port}/hook".encode()).decode()
    environment = {
        "FAKES": str(folder / "fakes"),
        "PATH": f"{SOURCES / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "SECRET_ALERT_WEBHOOK": secret,
    }
    engine = Engine(folder, environment)
    meltano = {"meltano": str(SOURCES / "fake_meltano.py"), "meltano_project": str(folder)}
    for variant in VARIANTS:
        engine.deploy(f"rickandmorty.{variant}", variant)
        engine.settings(f"rickandmorty.{variant}", **(meltano if variant == "local" else NEEDED))
    engine.settings("rickandmorty.batch", poll_seconds="0.2", log_seconds="0", retry_seconds="0.2")
    yield engine
    engine.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def fakes(folder: Path) -> Fakes:
    """The stand-ins, all well behaved."""
    found = Fakes(folder / "fakes")
    found.order()
    return found


LOCAL = "rickandmorty.local"
BATCH = "rickandmorty.batch"


# --- the files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_flow_is_valid_with_no_warning(kestra: Engine, variant: str) -> None:
    """Strict validation, as the API does it, finds neither error, warning nor deprecation; the references resolve."""
    for path in (FLOWS / f"{PIPELINE}.yml", FLOWS / variant / "meltano_run.yml"):
        (found,) = kestra.ask("validate", flows={path.name: flow(path, f"rickandmorty.{variant}")})
        assert not found.get("errors"), found
        assert not found.get("warnings"), found
        assert not found.get("deprecations"), found


def test_validation_refuses_a_property_that_no_documentation_names(kestra: Engine) -> None:
    """A wrong property in the Enterprise runner, the gcloud task or the flow is refused: the three checks above mean something."""
    for path, line in (
        ("enterprise/meltano_run.yml", "      machineTipe: x\n      region: "),
        ("batch/meltano_run.yml", "    region: x\n    projectId: "),
        (f"{PIPELINE}.yml", "    jobz: x\n    timezone: "),
    ):
        last = line.rsplit("\n", 1)[1]
        text = flow(FLOWS / path, LOCAL).replace(last, line, 1)
        (found,) = kestra.ask("validate", flows={"flow.yml": text})
        assert "Unrecognized field" in (found.get("errors") or ""), found


def test_the_three_variants_have_one_interface() -> None:
    """The variants of meltano_run have the same id, inputs and outputs, and no flow holds a key."""
    loaded = [yaml.safe_load((FLOWS / v / "meltano_run.yml").read_text()) for v in VARIANTS]
    for part in ("id", "namespace", "inputs", "outputs"):
        assert loaded[0][part] == loaded[1][part] == loaded[2][part], part
    for path in FLOWS.rglob("*.yml"):
        assert "serviceAccount:" not in path.read_text()


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
    """What tells Kestra of rows and levels is the flows' own adapter: no word of Kestra is in the packages."""
    sources = [
        *(ROOT / "tap-rickandmorty" / "src").rglob("*.py"),
        *(ROOT / "target-bigquery" / "src").rglob("*.py"),
    ]
    assert sources
    assert not [path for path in sources if "kestra" in path.read_text(encoding="utf-8").lower()]


def test_the_schedule_arrives_switched_off_and_its_inputs_are_taken(kestra: Engine, fakes: Fakes) -> None:
    """The trigger is disabled in the file; switched on, it starts a run of all three jobs and dbt by itself."""
    (trigger,) = yaml.safe_load((FLOWS / f"{PIPELINE}.yml").read_text())["triggers"]
    assert trigger["disabled"] is True
    namespace = "rickandmorty.scheduled"
    soon = datetime.now(UTC) + timedelta(seconds=12)
    cron = f'cron: "{soon.second} {soon.minute} {soon.hour} {soon.day} {soon.month} *"\n    withSeconds: true'
    kestra.settings(namespace, meltano=str(SOURCES / "fake_meltano.py"), meltano_project=str(fakes.folder))
    kestra.deploy(namespace, "local", **{"disabled: true": "disabled: false", 'cron: "0 6 * * *"': cron})
    deadline = time.monotonic() + 60
    while (
        not (found := kestra.ask("roots", namespace=namespace, flow=PIPELINE)) and time.monotonic() < deadline
    ):
        time.sleep(0.5)
    run = kestra.wait(found[0])
    assert run.state == "SUCCESS"
    assert set(run.jobs) == {*ALL, "dbt"}


# --- what runs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "jobs", [list(jobs) for size in (1, 2, 3) for jobs in combinations(ALL, size)], ids=" ".join
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
    for job in ALL:
        told = run.outputs["jobs"][job]
        assert told == (
            {"state": "SUCCESS", "rows": ROWS[job], "seconds": 2.2} if job in jobs else {"state": "SKIPPED"}
        )
    assert run.outputs["jobs"]["dbt"] == {"state": "SKIPPED"}


def test_the_usual_run_fetches_all_side_by_side_then_builds(kestra: Engine, fakes: Fakes) -> None:
    """With nothing given all three jobs overlap in time, and dbt begins after the last has ended."""
    fakes.order(**{job: {"sleep": 4} for job in ALL})
    run = kestra.run(LOCAL)
    assert run.state == "SUCCESS"
    begin = {c["job"]: c["time"] for c in fakes.told() if c["what"] == "begin"}
    end = {c["job"]: c["time"] for c in fakes.told() if c["what"] == "end"}
    assert max(begin[j] for j in ALL) < min(end[j] for j in ALL)
    assert begin["dbt"] > max(end[j] for j in ALL)
    (dbt,) = fakes.begun("dbt")
    assert dbt["arguments"] == ["invoke", "dbt-bigquery:build"]
    assert run.outputs["jobs"]["dbt"]["results"] == {"passed": 2, "warned": 1, "failed": 0, "skipped": 0}
    assert run.outputs["jobs"]["dbt"]["seconds"] == 62.5


def test_only_dbt_with_a_selection(kestra: Engine, fakes: Fakes) -> None:
    """With fetch off dbt alone runs, and its selection arrives word by word."""
    run = kestra.run(
        LOCAL, execute_fetch=False, dbt_select_pattern="tag:staging+ +dim_characters,tag:marts @fct*"
    )
    assert run.state == "SUCCESS"
    (only,) = fakes.begun()
    words = ["--select", "tag:staging+", "+dim_characters,tag:marts", "@fct*"]
    assert only["arguments"] == ["invoke", "dbt-bigquery:build", *words]
    assert "fetch" not in run.tasks or run.tasks["fetch"] == "SKIPPED"


def test_a_job_tells_kestra_what_it_did(kestra: Engine, fakes: Fakes) -> None:
    """Rows, bytes and seconds are outputs and metrics; lines keep their levels; Kestra's secrets do not reach Meltano."""
    run = kestra.run(LOCAL, jobs=["episode"])
    job = run.jobs["episode"]
    assert job["outputs"]["rows"] == 51
    assert job["outputs"]["bytes"] == 48000
    assert job["outputs"]["streams"]["episodes"]["load_job"] == "l_episodes_0"
    metrics = {m["name"]: m["value"] for m in job["metrics"] if m["tags"].get("stream") == "episodes"}
    assert metrics == {"rows": 51, "bytes": 48000, "load": 1500}
    assert {m["name"]: m["value"] for m in run.jobs["dbt"]["metrics"]}["dbt.passed"] == 2
    levels = {entry["message"]: entry["level"] for e in run.executions for entry in e["logs"]}
    assert levels["No state was found, complete import."] == "WARN"
    assert levels["dbt: Warning in test not_null"] == "WARN"
    assert levels["dbt: 1 of 2 OK created sql table model"] == "INFO"
    assert "ERROR" not in levels.values()
    assert not [name for c in fakes.begun() for name in c["environment"] if name.startswith("SECRET_")]


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
def test_what_cannot_be_meant_is_refused_before_anything_runs(
    kestra: Engine, fakes: Fakes, inputs: dict[str, Any], message: str
) -> None:
    """Nothing to do, no job, an unknown job and shell characters are refused, and no execution exists."""
    before = len(kestra.ask("roots", namespace=LOCAL, flow=PIPELINE))
    with pytest.raises(RefusedError, match=message):
        kestra.start(LOCAL, **inputs)
    assert len(kestra.ask("roots", namespace=LOCAL, flow=PIPELINE)) == before
    assert not fakes.begun()


# --- what fails -----------------------------------------------------------------------------------------------------


def test_one_job_fails_the_others_end_dbt_does_not_begin(
    kestra: Engine, fakes: Fakes, webhook: Webhook
) -> None:
    """A failed job is tried twice, the slow one is awaited, dbt is not started, the run fails, the webhook is called."""
    fakes.order(episode={"fail": 9, "status": 3}, location={"sleep": 5})
    kestra.settings(LOCAL, alert_secret="ALERT_WEBHOOK")  # noqa: S106 - a name
    webhook.posts.clear()
    try:
        run = kestra.run(LOCAL)
    finally:
        kestra.settings(LOCAL, alert_secret=None)
    assert run.state == "FAILED"
    assert {job: e["state"] for job, e in run.jobs.items()} == {
        "character": "SUCCESS",
        "episode": "FAILED",
        "location": "SUCCESS",
    }
    assert [len(fakes.begun(job)) for job in (*ALL, "dbt")] == [1, 2, 1, 0]
    assert run.outputs["jobs"]["episode"] == {"state": "FAILED"}
    assert run.outputs["jobs"]["location"]["rows"] == 126
    assert "Failed: episode." in run.log("ERROR")
    assert "episodes: 420 records staged, stream not complete, nothing loaded" in run.log("ERROR")
    assert "Command failed with exit code 3" in run.log("ERROR")
    (post,) = webhook.posts
    assert "ended as FAILED" in post["text"]
    assert run.root["labels"]["run_id"] in post["text"]
    assert "episode" in post["text"]


def test_all_fail_and_no_webhook_is_silence(kestra: Engine, fakes: Fakes, webhook: Webhook) -> None:
    """With no webhook named nothing is posted and no line tells of it."""
    fakes.order(**{job: {"fail": 9} for job in ALL})
    webhook.posts.clear()
    run = kestra.run(LOCAL)
    assert run.state == "FAILED"
    assert "Failed: character episode location." in run.log("ERROR")
    assert not fakes.begun("dbt")
    assert run.tasks["alert"] == "SKIPPED"
    assert not webhook.posts


def test_dbt_after_a_failure_when_asked_for_is_a_warning(kestra: Engine, fakes: Fakes) -> None:
    """With the input that allows it dbt runs after a failed job, and the run ends as WARNING."""
    fakes.order(character={"fail": 9})
    run = kestra.run(LOCAL, execute_dbt_after_failure=True)
    assert run.state == "WARNING"
    assert len(fakes.begun("dbt")) == 1
    assert run.outputs["jobs"]["dbt"]["state"] == "SUCCESS"
    assert run.outputs["jobs"]["character"]["state"] == "FAILED"


def test_leave_to_build_after_a_failure_means_nothing_without_dbt(kestra: Engine, fakes: Fakes) -> None:
    """With dbt off a failed job fails the run, whatever that input says."""
    fakes.order(character={"fail": 9})
    assert kestra.run(LOCAL, execute_dbt=False, execute_dbt_after_failure=True).state == "FAILED"


def test_a_failed_build_fails_the_run(kestra: Engine, fakes: Fakes) -> None:
    """When dbt fails, the run fails; what was fetched stays told."""
    fakes.order(dbt={"fail": 9, "status": 1})
    run = kestra.run(LOCAL, jobs=["episode"])
    assert run.state == "FAILED"
    assert run.outputs["jobs"]["episode"]["rows"] == 51
    assert run.jobs["dbt"]["state"] == "FAILED"


def test_a_second_attempt_that_succeeds_is_a_success_with_the_same_run_id(
    kestra: Engine, fakes: Fakes
) -> None:
    """A job that fails once is run again with the same run id, and the run succeeds."""
    fakes.order(episode={"fail": 1})
    run = kestra.run(LOCAL, jobs=["episode"], execute_dbt=False)
    assert run.state == "SUCCESS"
    assert len(fakes.begun("episode")) == 2
    assert len({c["environment"]["MELTANO_RUN_ID"] for c in fakes.begun("episode")}) == 1


def alive(pid: int) -> bool:
    """Says whether a process is there."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_job_that_takes_too_long_fails_and_leaves_no_process(kestra: Engine, fakes: Fakes) -> None:
    """After `job_timeout` the job fails, and its processes are gone."""
    fakes.order(location={"sleep": 300})
    kestra.settings(LOCAL, job_timeout="PT3S")
    try:
        run = kestra.run(LOCAL, jobs=["location"], execute_dbt=False)
    finally:
        kestra.settings(LOCAL, job_timeout=None)
    assert run.state == "FAILED"
    assert "Timeout after" in run.log()
    assert fakes.begun("location")
    assert not [c for c in fakes.begun("location") if alive(c["pid"])]


def test_a_kill_ends_everything_below(kestra: Engine, fakes: Fakes) -> None:
    """Killing the run kills its subflows, and no process is left."""
    fakes.order(character={"sleep": 300}, episode={"sleep": 300})
    execution = kestra.start(LOCAL, jobs=["character", "episode"])
    pids = [fakes.until(job)["pid"] for job in ("character", "episode")]
    kestra.ask("kill", id=execution)
    run = kestra.wait(execution)
    assert {e["state"] for e in run.executions} == {"KILLED"}
    deadline = time.monotonic() + 10
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(alive, pids))
    assert not fakes.begun("dbt")


def test_two_runs_at_once_go_one_after_the_other(kestra: Engine, fakes: Fakes) -> None:
    """The second of two runs is queued, and its jobs begin after the first one's have ended."""
    fakes.order(episode={"sleep": 2})
    started = [kestra.start(LOCAL, jobs=["episode"], execute_dbt=False) for _ in range(2)]
    runs = [kestra.wait(execution) for execution in started]
    assert [r.state for r in runs] == ["SUCCESS", "SUCCESS"]
    assert sorted("QUEUED" in r.root["states"] for r in runs) == [False, True]
    spans = sorted((c["time"], c["what"]) for c in fakes.told())
    assert [what for _, what in spans] == ["begin", "end", "begin", "end"]
    assert len({r.outputs["run_id"] for r in runs}) == 2


# --- the two variants of Google Batch -------------------------------------------------------------------------------


def test_enterprise_runs_the_adapter_in_the_container(kestra: Engine, fakes: Fakes, folder: Path) -> None:
    """The Enterprise variant, its runner stood in for, gives its settings to the runner and the run's id to the job."""
    # The stand-in runs on this machine: `meltano` is what the container's PATH would have.
    program = folder / "container"
    program.mkdir()
    (program / "meltano").symlink_to(SOURCES / "fake_meltano.py")
    namespace = "rickandmorty.enterprise"
    kestra.settings(namespace, meltano_project=str(folder))
    changed = {'MELTANO_PROJECT: "': f'PATH: "{program}:{os.environ["PATH"]}"\n      MELTANO_PROJECT: "'}
    kestra.deploy(f"{namespace}.run", "enterprise", **changed)
    run = kestra.run(f"{namespace}.run", jobs=["episode"], execute_dbt=False)
    assert run.state == "SUCCESS", run.log()
    assert run.outputs["jobs"]["episode"]["rows"] == 51
    told = f"Batch: project a-project, region europe-west1, machine e2-medium, bucket a-staging, image {NEEDED['image']}"
    assert told in run.log("INFO")
    (call,) = fakes.begun()
    assert call["environment"]["TARGET_BIGQUERY_BUCKET"] == "a-landing"
    assert call["environment"]["MELTANO_ENVIRONMENT"] == "prod"


def batch_jobs(fakes: Fakes) -> list[dict[str, Any]]:
    """The Batch jobs that the stand-in knows."""
    return [json.loads(p.read_text()) for p in sorted((fakes.folder / "batch").glob("*.json"))]


def test_batch_submits_waits_tells_and_deletes(kestra: Engine, fakes: Fakes) -> None:
    """A job of the open-source variant: submitted with the settings, awaited, its log and figures brought back, deleted."""
    run = kestra.run(BATCH, jobs=["character"], dbt_select_pattern="staging+", seconds=120)
    assert run.state == "SUCCESS", run.log()
    assert run.outputs["jobs"]["character"]["rows"] == 826
    assert run.jobs["character"]["outputs"]["bytes"] == 48000
    (character, dbt) = fakes.gcloud("submit")
    name = f"rickandmorty-character-{run.jobs['character']['id']}-1".lower()
    assert character[3] == name
    assert "--project=a-project" in character
    assert "--location=europe-west1" in character
    assert dbt[3].startswith("rickandmorty-dbt-")
    given = {job["name"]: job for job in batch_jobs(fakes)}[name]
    (group,) = given["taskGroups"]
    (runnable,) = group["taskSpec"]["runnables"]
    assert runnable["container"]["imageUri"] == NEEDED["image"]
    assert runnable["environment"]["variables"]["MELTANO_RUN_ID"] == run.outputs["run_id"]
    assert group["taskSpec"]["maxRunDuration"] == "3600s"
    assert 50001 in group["taskSpec"]["lifecyclePolicies"][0]["actionCondition"]["exitCodes"]
    assert given["allocationPolicy"]["serviceAccount"]["email"] == NEEDED["service_account"]
    assert given["logsPolicy"] == {"destination": "CLOUD_LOGGING"}
    assert given["labels"]["run_id"] == run.outputs["run_id"]
    assert {j["status"]["state"] for j in batch_jobs(fakes)} == {"DELETION_IN_PROGRESS"}
    (built,) = fakes.begun("dbt")
    assert built["arguments"] == ["invoke", "dbt-bigquery:build", "--select", "staging+"]
    assert "dbt: Warning in test not_null" in run.log("WARN")
    assert run.log().count("characters: 826 rows staged") == 1


def test_batch_survives_polls_that_fail(kestra: Engine, fakes: Fakes) -> None:
    """Describe and log reading that fail for a while are told as warnings; the run succeeds with one Batch job."""
    fakes.order(episode={"sleep": 4})
    execution = kestra.start(BATCH, jobs=["episode"], execute_dbt=False)
    fakes.until("episode", 60)
    fakes.folder.joinpath("gcloud_faults.json").write_text(json.dumps({"describe": 3, "read": 1}))
    run = kestra.wait(execution, 120)
    assert run.state == "SUCCESS", run.log()
    assert "asking again" in run.log("WARN")
    assert len(fakes.gcloud("submit")) == 1
    assert run.outputs["jobs"]["episode"]["rows"] == 51


def test_batch_brings_back_the_exit_code_and_tries_a_new_job(kestra: Engine, fakes: Fakes) -> None:
    """A container that fails is told with its exit code; the second attempt is a Batch job with the next number and the same run id."""
    fakes.order(location={"fail": 9, "status": 3})
    run = kestra.run(BATCH, jobs=["location"], execute_dbt=False, seconds=120)
    assert run.state == "FAILED"
    assert [call[3][-2:] for call in fakes.gcloud("submit")] == ["-1", "-2"]
    assert "attempt 1 of 2 failed" in run.log("WARN")
    assert "ended as FAILED, exit code 3" in run.log("ERROR")
    assert "Command failed with exit code 3" in run.log("ERROR")
    assert "stream not complete, nothing loaded" in run.log("ERROR")
    assert len({c["environment"]["MELTANO_RUN_ID"] for c in fakes.begun("location")}) == 1
    assert len(fakes.gcloud("delete")) == 2, run.log()


def waiting(fakes: Fakes, execution: str, **more: str) -> subprocess.Popen[str]:
    """Starts what the batch variant's task runs, for one execution's job, without Kestra."""
    environment = {
        **os.environ,
        "PATH": f"{SOURCES / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "FAKES": str(fakes.folder),
        "JOB": "character",
        "EXECUTION_ID": execution,
        "MELTANO_RUN_ID": str(uuid.uuid4()),
        "BATCH_PROJECT": "a-project",
        "BATCH_REGION": "europe-west1",
        "IMAGE": "i",
        "LANDING_BUCKET": "b",
        "SERVICE_ACCOUNT": "s",
        "POLL_SECONDS": "0.2",
        "LOG_SECONDS": "0.1",
        **more,
    }
    command = [sys.executable, str(FLOWS / "files" / "batch_job.py"), "run"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_batch_goes_on_with_a_job_that_is_there(fakes: Fakes) -> None:
    """When the waiting process dies, as in a restart of Kestra, the next one finds the Batch job and submits no other."""
    fakes.order(character={"sleep": 3})
    with waiting(fakes, "Resumed") as first:
        fakes.until("character")
        first.kill()
    with waiting(fakes, "Resumed") as second:
        told, _ = second.communicate(timeout=60)
    assert second.returncode == 0, told
    assert "rickandmorty-character-resumed-1 found (RUNNING); going on with it" in told
    assert '"rows":826' in told
    assert len(fakes.gcloud("submit")) == 1
    assert len(fakes.begun("character")) == 1


def test_batch_waits_for_a_job_that_another_has_just_submitted(fakes: Fakes) -> None:
    """A job that Batch does not show yet, and then says is there already, is awaited like one's own; its container runs once."""
    fakes.order(character={"sleep": 3})
    with waiting(fakes, "Raced") as first:
        fakes.until("character")
        fakes.folder.joinpath("gcloud_faults.json").write_text(json.dumps({"hidden": 1}))
        with waiting(fakes, "Raced", SEES_NEW_JOBS_LATE="1") as second:
            told, _ = second.communicate(timeout=60)
        first.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0), told
    assert "is there already; waiting for it" in told
    assert '"rows":826' in told
    assert len(fakes.begun("character")) == 1


def test_batch_finds_its_job_when_the_answer_to_the_submission_is_lost(fakes: Fakes) -> None:
    """A submission that arrives, but whose answer does not, is told as a warning and makes no second job."""
    fakes.order(character={})
    fakes.folder.joinpath("gcloud_faults.json").write_text(json.dumps({"answer of submit": 1}))
    with waiting(fakes, "Lost") as process:
        told, _ = process.communicate(timeout=60)
    assert process.returncode == 0, told
    assert "submitting to Batch failed, trying again" in told
    assert "going on with it" in told
    assert len(fakes.gcloud("submit")) == 1
    assert len(fakes.begun("character")) == 1


def test_a_kill_in_kestra_ends_the_batch_job(kestra: Engine, fakes: Fakes) -> None:
    """Killing the run deletes the Batch job, and its container ends."""
    fakes.order(episode={"sleep": 300})
    execution = kestra.start(BATCH, jobs=["episode"], execute_dbt=False)
    pid = fakes.until("episode", 60)["pid"]
    kestra.ask("kill", id=execution)
    run = kestra.wait(execution, 60)
    assert run.state == "KILLED"
    assert len(fakes.gcloud("delete")) == 1
    assert not alive(pid)


def test_a_setting_that_is_missing_is_named(kestra: Engine, fakes: Fakes) -> None:
    """Without its image the variant fails at once, and the message names the setting."""
    kestra.settings(BATCH, image=None)
    try:
        run = kestra.run(BATCH, jobs=["episode"], execute_dbt=False, seconds=90)
    finally:
        kestra.settings(BATCH, image=NEEDED["image"])
    assert run.state == "FAILED"
    assert "The key 'image' does not exist" in run.log("ERROR")
    assert not fakes.gcloud("submit")


# --- the real Meltano project ---------------------------------------------------------------------------------------


def real(kestra: Engine, project: Project, folder: Path, namespace: str) -> None:
    """Deploys the local variant with the real Meltano on the sandbox."""
    program = folder / "real-meltano"
    # The flow gives these two itself.
    given = {*os.environ, "MELTANO_RUN_ID", "MELTANO_DATABASE_URI"}
    exports = "".join(
        f"export {k}={shlex.quote(v)}\n" for k, v in project.environment().items() if k not in given
    )
    path = f"export PATH={shlex.quote(os.environ['PATH'])}"
    program.write_text(f'#!/bin/sh\n{exports}{path}\nexec {project.command} "$@"\n')
    program.chmod(0o755)
    kestra.deploy(namespace, "local")
    kestra.settings(namespace, meltano=str(program), meltano_project=str(ROOT))


def test_the_real_pipeline_lands_and_builds(kestra: Engine, own_project: Project, folder: Path) -> None:
    """Kestra runs the real Meltano project on the sandbox: first everything, then a selection; BigQuery holds what Kestra says."""
    namespace = "rickandmorty.real"
    real(kestra, own_project, folder, namespace)
    sandbox = own_project.sandbox
    run = kestra.run(namespace, seconds=600)
    assert run.state == "SUCCESS", run.log()[-4000:]
    landing = "local_rickandmorty_landing"
    run_id = run.outputs["run_id"]
    for job in ALL:
        held = sandbox.value(f"SELECT COUNT(*) FROM `{landing}.{job}s` WHERE _sdc_run_id = '{run_id}'")
        assert held == run.outputs["jobs"][job]["rows"] == len(sandbox.served(job))
    assert run.outputs["jobs"]["dbt"]["results"]["failed"] == 0
    assert run.outputs["jobs"]["dbt"]["results"]["passed"] > 0
    second = kestra.run(
        namespace, jobs=["episode"], dbt_select_pattern="stg_rickandmorty__episodes", seconds=300
    )
    assert second.state == "SUCCESS", second.log()[-4000:]
    new = second.outputs["run_id"]
    counts = [
        sandbox.value(f"SELECT COUNT(*) FROM `{landing}.{s}s` WHERE _sdc_run_id = '{new}'") for s in ALL
    ]
    assert counts == [0, len(sandbox.served("episode")), 0]
    # A job that is started twice loads once.
    again = kestra.run(namespace, "meltano_run", job="episode", run_id=new, seconds=300)
    assert again.state == "SUCCESS", again.log()[-4000:]
    assert again.outputs["streams"]["episodes"]["loaded_before"] is True
    held = sandbox.value(f"SELECT COUNT(*) FROM `{landing}.episodes` WHERE _sdc_run_id = '{new}'")
    assert held == len(sandbox.served("episode"))
    results = second.outputs["jobs"]["dbt"]["results"]
    assert 0 < results["passed"] < run.outputs["jobs"]["dbt"]["results"]["passed"]
