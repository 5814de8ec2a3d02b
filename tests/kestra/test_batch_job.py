"""`meltano_job.batch` with Google's own gcloud before a stand-in of Batch, Logging and Storage, a fault at a time, without Kestra."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from google_batch import Fault, GoogleBatch, Refused
from meltano_stand_in import MeltanoStandIn, Output
from testkit.gcloud import require_gcloud
from testkit.programs import eventually
from testkit.project_files import ROOT

PACKAGE = ROOT / "orchestrate" / "meltano-job" / "src"
EXECUTION = "3AhPUHDTd3Vk57QrBJkB07"
NAME = f"rickandmorty-episode-{EXECUTION.lower()}"
PLACE = "projects/a-project/locations/europe-west1"
SUBMIT, POLL = r"^POST /v1/.*jobId=", r"^GET /v1/.*/jobs/"
LOG_REFUSED = Fault("entries:list", 403, "PERMISSION_DENIED", "Permission denied for all log views")
REASON = "target-bigquery: episodes: 420 records staged, stream not complete, nothing loaded"


class Runs:
    """Starts the program, and reads what it says."""

    def __init__(self, batch: GoogleBatch, fakes: MeltanoStandIn) -> None:
        self.batch = batch
        self.fakes = fakes

    def start(self, command: str = "run", **more: str) -> subprocess.Popen[str]:
        """Start it as Kestra does: the files of the package, Python and gcloud."""
        landing = {"TARGET_BIGQUERY_BUCKET": "a-landing", "STORAGE_EMULATOR_HOST": self.batch.url}
        environment = {
            **os.environ,
            **self.batch.environment(),
            "PATH": self.batch.path(),
            "PYTHONPATH": str(PACKAGE),
            "EXECUTION_ID": EXECUTION,
            "MELTANO_JOB": "episode",
            "MELTANO_RUN_ID": str(uuid.uuid4()),
            "ENVIRONMENT": json.dumps(self.fakes.variables | landing),
            "GCP_PROJECT": "a-project",
            "GCP_REGION": "europe-west1",
            "IMAGE": "an-image",
            "SERVICE_ACCOUNT": "meltano@a-project.iam.gserviceaccount.com",
            "ATTEMPTS": "1",
            "POLL_SECONDS": "0.3",
            "LOG_SECONDS": "10",
            **more,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "meltano_job.batch", command],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self, process: subprocess.Popen[str]) -> Output:
        """Wait for its end."""
        with process:
            output, errors = process.communicate()
        assert not errors, errors
        return Output(process.returncode, output)

    def run(self, command: str = "run", **more: str) -> Output:
        """Start it and wait for its end."""
        return self.end(self.start(command, **more))

    def until_the_log_is_read(self, **more: str) -> subprocess.Popen[str]:
        """Start it, and return when some of the container's log has been read."""
        process = self.start(**more)
        eventually(lambda: any(self.batch.log_reads), "the log was not read")
        return process


@pytest.fixture
def runs(batch: GoogleBatch, fakes: MeltanoStandIn) -> Runs:
    """The program, with a Batch as new and a Meltano that behaves."""
    require_gcloud()
    return Runs(batch, fakes)


@pytest.mark.parametrize(
    "policy",
    [{"machineTyp": "e2-medium"}, {"machineType": 2}, {"provisioningModel": "CHEAP"}],
    ids=["a field", "a kind of value", "a word"],
)
def test_the_stand_in_refuses_what_googles_own_definition_does_not_know(
    batch: GoogleBatch, policy: dict[str, Any]
) -> None:
    """What is submitted below is a job that Google's API reads."""
    require_gcloud()
    with pytest.raises(Refused):
        batch.create(PLACE, f"{NAME}-1", {"allocationPolicy": {"instances": [{"policy": policy}]}})


# --- the log and the result -----------------------------------------------------------------------------------------


def test_a_log_that_may_not_be_read_is_one_warning_and_the_figures_come_from_the_bucket(runs: Runs) -> None:
    """The state decides: SUCCEEDED is success; the log is not read again; rows come from the result in the landing bucket."""
    runs.batch.faults = [LOG_REFUSED]
    # Durations are ISO 8601 here, seconds elsewhere. Lines that nobody may read are not waited for.
    done = runs.run(JOB_TIMEOUT="PT1H30M", POLL_SECONDS="PT0.1S", LOG_SECONDS="PT10M")
    assert done.status == 0, done.lines
    (job,) = runs.batch.jobs.values()
    assert job.definition["taskGroups"][0]["taskSpec"]["maxRunDuration"] == "6000s"
    (warning,) = done.at("WARN")
    assert "the log of the container cannot be read, the job's state decides: " in warning
    assert "Permission denied for all log views" in warning
    assert len(runs.batch.calls("entries:list")) == 1
    assert done.outputs["rows"] == 51
    assert done.outputs["result"].startswith("gs://a-landing/_results/run_id=")


@pytest.mark.slow
def test_a_log_that_is_refused_half_way_doubles_and_loses_nothing(runs: Runs) -> None:
    """What the log had shown is not repeated; the failure's reason, which it had not, comes from the bucket."""
    runs.fakes.behave(episode={"fail": 9, "status": 3, "together": 2})
    process = runs.until_the_log_is_read()
    runs.batch.faults = [LOG_REFUSED]
    runs.fakes.go_on()
    done = runs.end(process)
    assert done.status == 3
    assert done.at("WARN").count("No state was found, complete import.") == 1
    assert sum("cannot be read" in message for message in done.at("WARN")) == 1
    assert done.at("ERROR").count(REASON) == 1
    assert len(done.lines) == len(set(done.lines))


@pytest.mark.parametrize(
    ("changes", "variables", "warnings"),
    [
        pytest.param({"faults": [Fault("entries:list", 429, "RESOURCE_EXHAUSTED", "Quota exceeded", times=2)]}, {}, 1, marks=pytest.mark.slow),
        # Its last four lines show up at the third look after the end.
        ({"late": (2, 4)}, {}, 0),
        ({"late": (2, 4), "left": ['::{"outputs":{"seconds":1.0,"state":"failed","rows":0}}::']}, {}, 0),
        # Its line arrives in parts, none of which is JSON, and is not waited for in vain.
        ({"most_characters": 150}, {"LOG_SECONDS": "0"}, 0),
    ],
    ids=["a quota of the log", "lines that come late", "after those of a machine that was taken away", "a result that is too long for the log"],
)  # fmt: skip
def test_no_figure_and_no_line_is_lost_or_doubled(
    runs: Runs, changes: dict[str, Any], variables: dict[str, str], warnings: int
) -> None:
    """Reading goes on from where it stopped; what never comes with the log comes from the bucket."""
    for name, value in changes.items():
        setattr(runs.batch, name, deepcopy(value))
    done = runs.run(**variables)
    assert done.status == 0
    assert sum("cannot be read" in message for message in done.at("WARN")) == warnings
    assert done.at("INFO").count("target-bigquery: whatever the target says of episodes") == 1
    assert len(done.lines) == len(set(done.lines))
    assert done.outputs["rows"] == 51
    assert done.outputs["result"].startswith("gs://a-landing/_results/run_id=")


@pytest.mark.slow
def test_reasons_that_never_come_with_the_log_come_from_the_bucket(runs: Runs) -> None:
    """A failed job whose last lines never come is reported with the errors of its result."""
    runs.fakes.behave(episode={"fail": 9, "status": 3})
    runs.batch.late = (1_000, 5)
    done = runs.run(LOG_SECONDS="0")
    assert done.status == 3
    assert REASON in done.at("ERROR")
    assert done.at("ERROR")[-1] == f"job episode: Batch job {NAME}-1 ended as FAILED, exit code 3"


@pytest.mark.slow
def test_the_result_of_an_earlier_job_is_not_this_ones(runs: Runs, tmp_path: Path) -> None:
    """After Restart, under the same run id, a container that dies without a result does not report the first one's figures and errors."""
    run_id = str(uuid.uuid4())
    runs.fakes.behave(episode={"fail": 1, "status": 3})
    assert runs.run(MELTANO_RUN_ID=run_id).status == 3
    meltano = tmp_path / "meltano"
    meltano.write_text("#!/bin/sh\nkill -KILL $PPID\n")
    meltano.chmod(0o755)
    environment = json.dumps({"MELTANO": str(meltano), "TARGET_BIGQUERY_BUCKET": "a-landing"})
    done = runs.run(MELTANO_RUN_ID=run_id, ENVIRONMENT=environment, LOG_SECONDS="0")
    assert runs.batch.submitted()[-1] == f"{NAME}-2"
    assert done.status == 1
    assert not done.outputs
    assert not any("stream not complete" in message for message in done.at("ERROR"))
    assert any("has left no figures" in message for message in done.at("WARN"))


def test_a_result_that_is_no_text_is_a_warning(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in the bucket undoes no job that has succeeded."""
    given = runs.batch.object
    monkeypatch.setattr(
        runs.batch, "object", lambda *a: b"\xff" if isinstance(given(*a), bytes) else given(*a)
    )
    runs.batch.faults = [LOG_REFUSED]
    done = runs.run()
    assert (done.status, len(done.at("WARN"))) == (0, 2), done.lines


@pytest.mark.slow
def test_the_log_is_read_as_it_grows_and_not_whole_each_time(runs: Runs) -> None:
    """A line older than a minute is not read again."""
    runs.fakes.behave(episode={"sleep": 86400})
    process = runs.until_the_log_is_read()
    (job,) = runs.batch.jobs.values()
    job.lines[:0] = [("2020-01-01T00:00:00.000000Z", "a line of long ago")] * 50
    before = len(runs.batch.log_reads)
    eventually(lambda: len(runs.batch.log_reads) > before + 1, "the log was not read again")
    assert max(runs.batch.log_reads[before:]) < 50
    runs.batch.operator(f"{NAME}-1", "CANCELLATION_IN_PROGRESS")
    assert runs.end(process).status == 1


# --- the job --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("CANCELLATION_IN_PROGRESS", "was cancelled"),
        ("DELETED", "was deleted"),
        pytest.param("DELETION_IN_PROGRESS", "was deleted", marks=pytest.mark.slow),
    ],
)
def test_what_an_operator_stops_in_google_cloud_stays_stopped(runs: Runs, state: str, message: str) -> None:
    """A cancelled and a deleted job end the run in one line, and no other job is submitted."""
    runs.fakes.behave(episode={"sleep": 86400})
    process = runs.start(ATTEMPTS="5")
    eventually(runs.batch.running, "no container has started")
    runs.batch.operator(f"{NAME}-1", state)
    done = runs.end(process)
    assert done.status == 1
    (error,) = done.at("ERROR")
    assert f"Batch job {NAME}-1 {message} in Google Cloud" in error
    assert runs.batch.submitted() == [f"{NAME}-1"]


@pytest.mark.parametrize("state", ["SCHEDULED", "PAUSED"])
def test_a_job_that_waits_is_no_end_and_says_why(runs: Runs, state: str) -> None:
    """A quota of machines, which Batch tries again and again, is one line; a state that Google adds next year is awaited, as its container may run."""
    runs.fakes.behave(episode={"sleep": 1})
    process = runs.start()
    eventually(runs.batch.running, "no container has started")
    job = runs.batch.jobs[f"{NAME}-1"]
    job.state = state
    quota = "VM in Managed Instance Group meets error: Batch Error: code - CODE_GCE_QUOTA_EXCEEDED, description - error count is {}"
    job.events = [{"type": "OPERATIONAL_INFO", "description": quota.format(count)} for count in (4, 8)]
    asked = len(runs.batch.calls(POLL)) + 2
    eventually(lambda: len(runs.batch.calls(POLL)) > asked or process.poll(), "it is asked about no more")
    job.state = "RUNNING"
    done = runs.end(process)
    assert done.status == 0
    assert [line for line in done.at("WARN") if "QUOTA" in line] == [f"Batch: {quota.format(4)}"]


METADATA = "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/"
LOST_ANSWER = Fault(SUBMIT, 429, "RESOURCE_EXHAUSTED", "Quota", times=1, after=True)
UNKNOWN = Fault(POLL, 404, "NOT_FOUND", f"Resource '{PLACE}/jobs/{NAME}-1' was not found", times=2)


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        # Not Batch's: the metadata server does not give the machine's identity. It is no deletion of the job.
        pytest.param([Fault(POLL, 404, "NOT_FOUND", f"Failed to retrieve {METADATA}: not found", times=2)], "failed, trying again", marks=pytest.mark.slow),
        # Half a minute: gcloud itself tries five times, with pauses.
        pytest.param([Fault(POLL, 503, "UNAVAILABLE", "The service is unavailable.", times=5)], "failed, trying again", marks=pytest.mark.slow),
        pytest.param([LOST_ANSWER], "going on with it", marks=pytest.mark.slow),
        ([LOST_ANSWER, UNKNOWN], "going on with it"),
    ],
    ids=["a 404 that is not of the job", "a service that is down for a while", "a submission whose answer is lost", "and that is unknown still"],
)  # fmt: skip
def test_a_fault_that_passes_is_one_line_and_one_job(runs: Runs, faults: list[Fault], said: str) -> None:
    """What failed is tried again, finds its job, and its success is seen."""
    runs.batch.faults = deepcopy(faults)
    done = runs.run()
    assert done.status == 0
    assert sum(said in message for _, message in done.lines) == 1
    assert list(runs.batch.jobs) == [f"{NAME}-1"]
    assert runs.fakes.times == {"episode": 1}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lost": 50001}, "exit code 50001 (the spot machine was taken away)"),
        pytest.param({"lost": 50005}, "exit code 50005 (the time limit was reached)", marks=pytest.mark.slow),
        ({"faults": [Fault("/tasks", 403, "PERMISSION_DENIED", "lacks a role")]}, "exit code unknown"),
    ],
    ids=["the machine", "the time", "unknown"],
)
def test_an_end_that_is_not_the_containers_is_named(runs: Runs, changes: dict[str, Any], said: str) -> None:
    """Batch's reserved codes in words, and a code that cannot be read; the process fails with 1, since neither fits in a byte."""
    runs.fakes.behave(episode={"fail": 9, "status": 3})
    for name, value in changes.items():
        setattr(runs.batch, name, deepcopy(value))
    done = runs.run()
    assert done.status == 1
    assert done.at("ERROR")[-1] == f"job episode: Batch job {NAME}-1 ended as FAILED, {said}"


def test_permission_that_is_missing_ends_after_a_few_tries(runs: Runs) -> None:
    """Submitting and polling that are refused end the run soon, with Google's words and what to do."""
    runs.batch.faults = [Fault(SUBMIT, 403, "PERMISSION_DENIED", "lacks batch.jobs.create")]
    done = runs.run()
    assert done.status == 1
    (error,) = done.at("ERROR")
    assert "submitting to Batch failed 3 times in a row" in error
    assert "lacks batch.jobs.create" in error
    assert "look at the roles of Kestra's identity" in error
    assert len(runs.batch.calls(SUBMIT)) == 3


@pytest.mark.parametrize("end", ["kill", "interrupt", "close"])
def test_a_process_that_dies_is_followed_by_one_that_finds_its_job(runs: Runs, end: str) -> None:
    """As in a crash of Kestra, by Ctrl-C, or with nobody who reads: no traceback; the next process goes on waiting for the same job, and logs it whole."""
    runs.fakes.behave(episode={"sleep": 3})
    with runs.start() as first:
        eventually(runs.batch.running, "no container has started")
        assert first.stdout is not None
        assert first.stderr is not None
        ends: dict[str, Callable[[], None]] = {"kill": first.kill, "close": first.stdout.close}
        ends.get(end, partial(first.send_signal, signal.SIGINT))()
        assert first.stderr.read() == ""
    done = runs.run()
    assert done.status == 0
    assert done.outputs["rows"] == 51
    assert list(runs.batch.jobs) == [f"{NAME}-1"]


@pytest.mark.slow
def test_a_job_with_a_long_name_keeps_its_execution_apart(runs: Runs) -> None:
    """Hyphens, dots, capitals and length: Batch takes name and labels, and the execution is whole in the name.

    Here gcloud starts as it is installed, and is asked less often for it.
    """
    name = "A-source.of-vehicles_in-the-whole-of-Europe-and-further-on"
    done = runs.run(MELTANO_JOB=name, PATH=os.environ["PATH"], POLL_SECONDS="2")
    assert done.status == 0
    assert runs.batch.submitted() == [f"rickandmorty-a-source-of-vehicles-{EXECUTION.lower()}-1"]


def test_delete_ends_every_job_of_the_execution_in_whatever_state(runs: Runs) -> None:
    """Job 1 is gone, each other is in another state: all are deleted, those that already are being deleted are left; another execution's job stays."""
    states = ["QUEUED", "RUNNING", "FAILED", "CANCELLATION_IN_PROGRESS"]
    for number, state in enumerate([*states, "DELETION_IN_PROGRESS"], 2):
        runs.batch.create(PLACE, f"{NAME}-{number}", {"labels": {"execution": EXECUTION.lower()}})
        runs.batch.jobs[f"{NAME}-{number}"].state = state
    runs.batch.create(PLACE, "rickandmorty-episode-other-1", {"labels": {"execution": "other"}})
    assert runs.run("delete").status == 0
    assert len(runs.batch.calls("^DELETE ")) == len(states)
    assert runs.batch.jobs.pop("rickandmorty-episode-other-1").state == "QUEUED"
    assert {job.state for job in runs.batch.jobs.values()} == {"DELETION_IN_PROGRESS"}


@pytest.mark.slow
def test_delete_ends_every_job_where_the_list_may_not_be_read(runs: Runs) -> None:
    """Without the list every number is tried."""
    runs.batch.create(PLACE, f"{NAME}-2", {"labels": {}})
    runs.batch.faults = [Fault(r"^GET /v1/.*/jobs\?", 403, "PERMISSION_DENIED", "lacks batch.jobs.list")]
    assert runs.run("delete").status == 0
    assert runs.batch.jobs[f"{NAME}-2"].state == "DELETION_IN_PROGRESS"


# --- identity and settings ------------------------------------------------------------------------------------------


def test_a_machine_without_an_identity_gets_the_remedy(runs: Runs, tmp_path: Path) -> None:
    """As on a Raspberry Pi: gcloud has no account, and the line names the setting and the page."""
    done = runs.run(CLOUDSDK_AUTH_ACCESS_TOKEN_FILE="", CLOUDSDK_CONFIG=str(tmp_path))
    assert done.status == 1
    (error,) = done.at("ERROR")
    assert "credentials_secret" in error
    assert "docs/kestra-outside-google-cloud.md" in error
    assert not runs.batch.seen


DURATION = "expected seconds such as 3600, or an ISO 8601 duration such as PT1H"
WRONG = {
    "POLL_SECONDS": ("15 s", f"setting poll_seconds is '15 s': {DURATION}"),
    "RETRY_SECONDS": ("-1", f"setting retry_seconds is '-1': {DURATION}"),
    "JOB_TIMEOUT": ("PT25H", "setting job_timeout is 'PT25H': expected 1 to 86400 seconds"),
    "LOG_SECONDS": ("P1Y", f"setting log_seconds is 'P1Y': {DURATION}"),
    "ATTEMPTS": ("1.5", "setting attempts is '1.5': expected a whole number from 1 to 10"),
    "CPU_MILLI": ("0", "setting cpu_milli is '0': expected a whole number from 100 to 416000"),
    "MEMORY_MIB": ("2Gi", "setting memory_mib is '2Gi': expected a whole number from 256 to 10000000"),
    "NETWORK": ("projects/p/global/networks/n", "setting subnetwork is not set, and its other half is: expected both, or neither for the default network"),
    "PROVISIONING": ("CHEAP", "setting provisioning is 'CHEAP': expected STANDARD or SPOT"),
    "ENVIRONMENT": ('{"A": 1}', "setting environment has a number for 'A': expected a text: put it in quotes"),
    "SERVICE_ACCOUNT": ("meltano", "setting service_account is 'meltano': expected an e-mail address"),
    "IMAGE": ("an image", "setting image is 'an image': expected an image by digest, NAME@sha256:…"),
    "GCP_REGION": ("  ", "setting gcp_region is not set: expected a region such as europe-west1"),
}  # fmt: skip


def test_wrong_settings_are_one_line_each(runs: Runs) -> None:
    """All of them at once, and nothing is asked of Google before every setting is right."""
    done = runs.run(**{name: value for name, (value, _) in WRONG.items()})
    assert done.status == 2
    assert sorted(done.at("ERROR")) == sorted(message for _, message in WRONG.values())
    assert not runs.batch.seen


SECRET = "the secret that credentials_secret names "


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("SUBNETWORK", "projects/p/regions/r/subnetworks/s", "setting network is not set, and its other half is"),
        ("DBT_SELECT", "dim_episodes", "dbt selection is 'dim_episodes': expected none"),
        ("ENVIRONMENT", "[1]", "setting environment is a list: expected a JSON object"),
        ("ENVIRONMENT", "MELTANO_ENVIRONMENT=prod", "setting environment is not JSON"),
        ("JOB_TIMEOUT", "٣", "setting job_timeout is '٣': expected seconds"),
        ("GOOGLE_CREDENTIALS", "not json", f"{SECRET}is not JSON"),
        ("GOOGLE_CREDENTIALS", '{"type": "authorized_user"}', f"{SECRET}has type 'authorized_user'"),
        ("GOOGLE_CREDENTIALS", '["service_account"]', f"{SECRET}has type None"),
        ("GOOGLE_CREDENTIALS", '{"type": "external_account", "credential_source": {"file": "/no/such"}}',
         f"{SECRET}takes its token from the file '/no/such'"),
        ("GOOGLE_CREDENTIALS", '{"type": "external_account", "credential_source": {"executable": {"command": "/bin/token"}}}',
         f"{SECRET}takes its token from the executable {{'command': '/bin/token'}}"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_one_line_at_once(runs: Runs, variable: str, value: str, message: str) -> None:
    """Without the secret, and nothing is asked of Google."""
    done = runs.run(**{variable: value})
    assert done.status == 2
    (error,) = done.at("ERROR")
    assert error.startswith(message)
    assert "not json" not in error
    assert not runs.batch.seen
