"""Runs a Meltano job in Google Batch by the Google Cloud CLI, from a task of Kestra.

    python3 -m meltano_job.batch run       submits or finds the job, follows its log, ends as its container ended
    python3 -m meltano_job.batch delete    deletes every Batch job of this execution

The Batch job's state decides; its log is followed as it comes, and its loss is one warning. A job is named for Kestra's execution and a number:
a task that is started again after a crash of Kestra finds its job; after Kestra's Restart the next number is taken. Attempts are the container's
own business (`meltano_job.job`), lost machines Batch's. Whoever cancels or deletes the job in Google Cloud ends the run.

Python's standard library only; `gcloud` must be on the PATH. Settings come from the environment (see `runners/batch.yml`).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meltano_job import kestra
from meltano_job.settings import RUN_ID, Reader, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

# https://cloud.google.com/batch/docs/reference/rest/v1/projects.locations.jobs#State_1
WAITING = {"STATE_UNSPECIFIED", "QUEUED", "SCHEDULED"}
GOING = {*WAITING, "RUNNING"}
ENDING = {"CANCELLATION_IN_PROGRESS", "DELETION_IN_PROGRESS"}
BY_SOMEBODY = {"CANCELLED", "DELETED", *ENDING}
# Spot machine taken away, machine silent, machine rebooted, machine made anew:
# https://cloud.google.com/batch/docs/troubleshooting#reserved-exit-codes
RETRIED = [50001, 50002, 50003, 50006]
RESERVED = {
    50001: "the spot machine was taken away",
    50002: "the machine stopped reporting",
    50003: "the machine was rebooted",
    50004: "the task did not answer any more",
    50005: "the time limit was reached",
    50006: "the machine was made anew",
}
MACHINES = 3
SECONDS_A_CALL = 120
# How often in a row a call may fail: what is refused stays refused, a service that is down comes back.
REFUSALS = 3
FAILURES = 20
# A new job may be unknown for a moment; this often in a row it is gone.
UNKNOWN = 3
MOST_JOBS = 10
QUEUEING = 3600.0
LATE = timedelta(seconds=60)
# The forms in which gcloud tells Google's answer, by command: a status, a code, a whole response. One form for each was seen with gcloud 528.
STATUS = re.compile(
    r"^ERROR: \(gcloud[\w.-]*\) (?:(?P<status>[A-Z][A-Z_]{4,}): |ResponseError: code=(?P<code>\d{3})\b|HttpError accessing .*?'status': (?P<http>\d{3})\b)",
    re.MULTILINE | re.DOTALL,
)
# https://cloud.google.com/apis/design/errors#handling_errors
STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    429: "RESOURCE_EXHAUSTED",
}
REFUSED = {
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "INVALID_ARGUMENT",
    "FAILED_PRECONDITION",
    "NOT_FOUND",
    "OUT_OF_RANGE",
}
# What gcloud says before it has asked anybody: no account, credentials that are none, a flag that is none.
OF_ITS_OWN = re.compile(r"active account|credential|auth login|argument --", re.IGNORECASE)


class GcloudError(Exception):
    """A call of gcloud failed; `status` is Google's (`PERMISSION_DENIED`), empty where there is none."""

    def __init__(self, text: str, status: str = "") -> None:
        super().__init__(" ".join(text.split())[:500])
        if not status and (found := STATUS.search(text)):
            code = found["code"] or found["http"]
            status = found["status"] or STATUSES.get(int(code), "UNAVAILABLE")
        self.status = status

    @property
    def refused(self) -> bool:
        """Whether the same call will be refused again."""
        return self.status in REFUSED or (not self.status and bool(OF_ITS_OWN.search(str(self))))

    def is_about(self, name: str) -> bool:
        """Whether Batch says that the job of this name does not exist; any other "not found" is none of that."""
        return f"/jobs/{name}' was not found" in str(self)


def gcloud(*arguments: str, stdin: str | None = None) -> str:
    """Call gcloud; return what it prints.

    Raises:
        GcloudError: It failed or did not answer in time.
    """
    try:
        done = subprocess.run(
            ["gcloud", *arguments, "--quiet"],
            check=False,
            capture_output=True,
            text=True,
            input=stdin,
            timeout=SECONDS_A_CALL,
        )
    except subprocess.TimeoutExpired:
        raise GcloudError(f"gcloud {arguments[0]} did not answer within {SECONDS_A_CALL} s") from None
    except OSError as error:
        raise GcloudError(
            f"gcloud cannot be started: {error}; gcloud_image wants one with it", "INVALID_ARGUMENT"
        ) from None
    if done.returncode:
        raise GcloudError(done.stderr.strip() or f"gcloud ended with status {done.returncode}")
    return done.stdout


def answer(text: str, kind: type) -> Any:  # noqa: ANN401 - JSON of Google's
    """Return gcloud's JSON.

    Raises:
        GcloudError: It is none, or of another kind.
    """
    try:
        found = json.loads(text or "[]")
    except ValueError:
        found = None
    if not isinstance(found, kind):
        raise GcloudError(f"gcloud gave no JSON {kind.__name__}: {text[:200]!r}")
    return found


def as_name(text: str) -> str:
    """Return a text in the letters of Batch's names: lower-case ones, digits and hyphens."""
    return re.sub(r"[^a-z0-9-]", "-", text.lower())


@dataclass(frozen=True)
class Place:
    """Where this execution's Batch jobs are, checked; times in seconds."""

    base: str
    job: str
    execution: str
    project: str
    region: str
    poll: float
    credentials: str

    @classmethod
    def read(cls, reader: Reader) -> Place:
        """Read the variables; complaints stay with the reader."""
        job = reader.text("MELTANO_JOB", like=r"[A-Za-z0-9_.-]+", example="a job of meltano.yml, or dbt")
        execution = reader.text("EXECUTION_ID")
        return cls(
            # Of at most 63 characters, and the execution whole: it tells the jobs apart.
            base=as_name(f"rickandmorty-{job[:20]}-{execution}")[:58],
            job=job,
            execution=execution,
            project=reader.text("GCP_PROJECT", like=r"[a-z0-9.:-]+", example="a project id"),
            region=reader.text(
                "GCP_REGION", like=r"[a-z]+-[a-z]+\d+", example="a region such as europe-west1"
            ),
            poll=reader.seconds("POLL_SECONDS", 15, 0.05, 600),
            credentials=credentials(reader, reader.text("GOOGLE_CREDENTIALS", "", like=r"(?s).*")),
        )

    @property
    def flags(self) -> list[str]:
        """The flags of every call."""
        return [f"--project={self.project}", f"--location={self.region}"]


@dataclass(frozen=True)
class Settings:
    """What the flow gives for a run, checked; times in seconds."""

    place: Place
    run_id: str
    image: str
    variables: dict[str, str]
    resources: dict[str, str]
    machine: dict[str, str]
    service_account: str
    network: dict[str, Any]
    limit: float
    late: float

    @classmethod
    def read(cls, reader: Reader) -> Settings:
        """Read the variables.

        Raises:
            SettingsError: Some cannot be meant.
        """
        place = Place.read(reader)
        limit = reader.seconds("JOB_TIMEOUT", 3600, 1, 86_400)
        network, subnetwork = reader.text("NETWORK", ""), reader.text("SUBNETWORK", "")
        if bool(network) != bool(subnetwork):
            missing = "subnetwork" if network else "network"
            reader.refuse(
                f"setting {missing} is not set, and its other half is: expected both, or neither for the default network"
            )
        interface = {"network": network, "subnetwork": subnetwork, "noExternalIpAddress": True}
        # The container checks its own; what is wrong is told before a machine is paid for.
        attempts, pause = reader.whole("ATTEMPTS", 2, 1, 10), reader.seconds("RETRY_SECONDS", 30, 0, 3600)
        given = {
            **reader.mapping("ENVIRONMENT"),
            "MELTANO_JOB": place.job,
            "MELTANO_RUN_ID": reader.text("MELTANO_RUN_ID", like=RUN_ID, example="a UUID"),
            "DBT_SELECT": reader.text("DBT_SELECT", ""),
            "ATTEMPTS": str(attempts),
            "RETRY_SECONDS": f"{pause:g}",
            "JOB_TIMEOUT": f"{limit:g}",
        }
        found = cls(
            place=place,
            run_id=given["MELTANO_RUN_ID"],
            image=reader.text("IMAGE", like=r"\S+", example="an image by digest, NAME@sha256:…"),
            variables=given,
            resources={
                "cpuMilli": str(reader.whole("CPU_MILLI", 1000, 100, 416_000)),
                "memoryMib": str(reader.whole("MEMORY_MIB", 2048, 256, 10_000_000)),
            },
            machine={
                "machineType": reader.text(
                    "MACHINE_TYPE", "e2-medium", like=r"[a-z0-9-]+", example="a type such as e2-medium"
                ),
                "provisioningModel": reader.text(
                    "PROVISIONING", "STANDARD", like="STANDARD|SPOT", example="STANDARD or SPOT"
                ),
            },
            service_account=reader.text(
                "SERVICE_ACCOUNT", like=r"[^@\s]+@[^@\s]+", example="an e-mail address"
            ),
            network={"networkInterfaces": [interface]} if network and subnetwork else {},
            limit=limit,
            late=reader.seconds("LOG_SECONDS", 30, 0, 600),
        )
        reader.check()
        return found

    def definition(self) -> dict[str, Any]:
        """Return the Batch job's definition."""
        container = {"imageUri": self.image, "entrypoint": "meltano-job"}
        task = {
            "runnables": [{"container": container, "environment": {"variables": self.variables}}],
            "computeResource": self.resources,
            # The container keeps the limit itself; this ends one that does not, and an orphan.
            "maxRunDuration": f"{self.limit + 600:.0f}s",
            "maxRetryCount": MACHINES,
            "lifecyclePolicies": [{"action": "RETRY_TASK", "actionCondition": {"exitCodes": RETRIED}}],
        }
        allocation: dict[str, Any] = {
            "instances": [{"policy": self.machine}],
            "location": {"allowedLocations": [f"regions/{self.place.region}"]},
            "serviceAccount": {"email": self.service_account},
        }
        if self.network:
            allocation["network"] = self.network
        return {
            "taskGroups": [{"taskCount": "1", "taskSpec": task}],
            "allocationPolicy": allocation,
            "labels": {
                "pipeline": "rickandmorty",
                "job": as_name(self.place.job)[:63],
                "run_id": self.run_id.lower(),
                "execution": self.place.execution.lower(),
            },
            "logsPolicy": {"destination": "CLOUD_LOGGING"},
        }


def credentials(reader: Reader, text: str) -> str:
    """Check the credentials outside Google Cloud, a service account's key or a configuration of workload identity federation; return them."""
    if not text:
        return ""
    expected = "the JSON of a service account's key or of workload identity federation (type service_account or external_account)"
    try:
        found = json.loads(text)
    except ValueError:
        reader.refuse(f"the secret that credentials_secret names is no JSON: expected {expected}")
        return ""
    found = found if isinstance(found, dict) else {}
    if found.get("type") not in {"service_account", "external_account"}:
        reader.refuse(
            f"the secret that credentials_secret names has type {found.get('type')!r}: expected {expected}"
        )
    file = (found.get("credential_source") or {}).get("file")
    if file and not Path(file).is_file():
        reader.refuse(
            f"the secret that credentials_secret names takes its token from the file {file!r}, "
            "which the container of gcloud does not have: expected a credential_source with a url"
        )
    return text


@contextmanager
def signed_in(place: Place) -> Iterator[None]:
    """Give gcloud the credentials for as long as this lasts; without any it has the machine's identity."""
    if not place.credentials:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="gcloud-") as folder:
        file = Path(folder) / "credentials.json"
        file.touch(mode=0o600)
        file.write_text(place.credentials, encoding="utf-8")
        os.environ["CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE"] = str(file)
        yield


def state(job: dict[str, Any]) -> str:
    """Return a Batch job's state."""
    return str(job.get("status", {}).get("state", "STATE_UNSPECIFIED"))


class Patience:
    """Counts failures in a row, and gives up: soon on what is refused, late on what may pass."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._refusals = self._failures = 0

    def succeeded(self) -> None:
        """Begin the counts anew."""
        self._refusals = self._failures = 0

    def failed(self, error: GcloudError) -> None:
        """Count a failure; the first in a row is told.

        Raises:
            GcloudError: There were too many.
        """
        self._failures += 1
        self._refusals = self._refusals + 1 if error.refused else 0
        if self._refusals >= REFUSALS or self._failures >= FAILURES:
            raise GcloudError(
                f"{self._what} failed {self._failures} times in a row: {error}{advice(error)}", error.status
            )
        if self._failures == 1:
            kestra.log("WARN", f"{self._what} failed, trying again: {error}")


def advice(error: GcloudError) -> str:
    """Return what to do about a failure, where that is known."""
    if "active account" in str(error):
        return (
            "; this machine has no Google identity: outside Google Cloud name a secret in the setting credentials_secret"
            " (docs/kestra-outside-google-cloud.md)"
        )
    return (
        "; look at the roles of Kestra's identity (orchestrate/README.md)"
        if error.status == "PERMISSION_DENIED"
        else ""
    )


def describe(place: Place, name: str) -> dict[str, Any] | None:
    """Return a Batch job, or nothing where Batch says that there is none.

    Raises:
        GcloudError: Nobody knows.
    """
    try:
        found: dict[str, Any] = answer(
            gcloud("batch", "jobs", "describe", name, *place.flags, "--format=json"), dict
        )
    except GcloudError as error:
        if error.is_about(name):
            return None
        raise
    return found


def submitted(settings: Settings, number: int) -> str | None:
    """Submit the job of a number, or find it; return its name, or nothing where that one has ended otherwise than well.

    Raises:
        GcloudError: gcloud failed.
    """
    name = f"{settings.place.base}-{number}"
    try:
        gcloud(
            "batch",
            "jobs",
            "submit",
            name,
            *settings.place.flags,
            "--config=-",
            stdin=json.dumps(settings.definition()),
        )
    except GcloudError as error:
        if error.status != "ALREADY_EXISTS":
            raise
    else:
        kestra.log("INFO", f"Batch job {name} submitted")
        return name
    job = describe(settings.place, name)
    if job is not None and state(job) in GOING | {"SUCCEEDED"}:
        kestra.log("INFO", f"Batch job {name} found ({state(job)}); going on with it")
        return name
    return None


def submit(settings: Settings) -> str:
    """Submit the job, or find the one of this execution that is on its way; return its name.

    Raises:
        GcloudError: It went on failing.
    """
    patience = Patience("submitting to Batch")
    number = 1
    while number <= MOST_JOBS:
        try:
            name = submitted(settings, number)
        except GcloudError as error:
            patience.failed(error)
            time.sleep(settings.place.poll)
            continue
        if name is not None:
            return name
        number += 1
    raise GcloudError(
        f"the names {settings.place.base}-1 to -{MOST_JOBS} are taken by jobs that have ended; start a new run"
    )


class Log:
    """What the container has written to Cloud Logging, each line told once, as it comes."""

    def __init__(self, settings: Settings, job: dict[str, Any]) -> None:
        self._settings = settings
        self._created = str(job.get("createTime", "1970-01-01T00:00:00Z"))
        self._filter = f'logName="projects/{settings.place.project}/logs/batch_task_logs" AND labels.job_uid="{job.get("uid")}"'
        self._since = ""
        self._seen: set[str] = set()
        self._lost = self._told = False
        self.errors = ""
        self.has_result = False

    def follow(self) -> None:
        """Tell what is new. A log that cannot be read is one warning; where reading is refused nobody asks again."""
        if self._lost:
            return
        # By the time of its arrival: a late line is a new one, and what was told is not read again.
        when = f'receiveTimestamp>="{self._since}"' if self._since else f'timestamp>="{self._created}"'
        since = f'timestamp>="{self._created}" AND {when}' if self._since else when
        try:
            entries = answer(
                gcloud(
                    *("logging", "read", f"{self._filter} AND {since}"),
                    *(f"--project={self._settings.place.project}", "--order=asc", "--format=json"),
                ),
                list,
            )
        except GcloudError as error:
            self._lost = error.refused
            if not self._told:
                self._told = True
                kestra.log(
                    "WARN",
                    f"the log of the container cannot be read, the job's state decides: {error}; read it in Google Cloud's console: {self._filter}",
                )
            return
        for entry in entries:
            self._tell(entry)

    def _tell(self, entry: dict[str, Any]) -> None:
        arrived = str(entry.get("receiveTimestamp") or entry.get("timestamp") or "")
        self._since = max(self._since, earlier(arrived))
        if (identity := str(entry.get("insertId"))) in self._seen:
            return
        self._seen.add(identity)
        text = entry.get("textPayload")
        for line in (json.dumps(entry.get("jsonPayload", {})) if text is None else str(text)).splitlines():
            self.has_result |= line.startswith('::{"outputs":')
            self.errors += line if '"ERROR"' in line else ""
            kestra.write(line)


def earlier(when: str) -> str:
    """Return a time of Google's a minute before, or nothing where it is none: clocks differ."""
    try:
        return (datetime.fromisoformat(when[:19] + "+00:00") - LATE).strftime("%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return ""


def wait(settings: Settings, name: str) -> tuple[dict[str, Any], Log | None]:
    """Wait for the job's end and follow its log; return it as it ended, state DELETED where somebody deleted it.

    Raises:
        GcloudError: Nobody could be asked, or it did not end in its own time and the time allowed for getting a machine.
    """
    deadline = time.monotonic() + (1 + MACHINES) * (settings.limit + 600) + QUEUEING
    patience = Patience(f"asking about Batch job {name}")
    log: Log | None = None
    last, unknown = "", 0
    while time.monotonic() < deadline:
        try:
            job = describe(settings.place, name)
        except GcloudError as error:
            patience.failed(error)
        else:
            patience.succeeded()
            unknown = unknown + 1 if job is None else 0
            if job is None:
                if unknown >= UNKNOWN:
                    return {"status": {"state": "DELETED"}}, log
            else:
                log = log or Log(settings, job)
                if state(job) != last:
                    last = state(job)
                    kestra.log("INFO", f"Batch job {name}: {last}")
                if last not in WAITING:
                    log.follow()
                if last not in GOING | ENDING:
                    return job, log
        time.sleep(settings.place.poll)
    raise GcloudError(
        f"Batch job {name} has not ended in time, it is {last}; see it in Google Cloud's console"
    )


def bring(settings: Settings, log: Log | None) -> None:
    """Bring back the result: from the log, whose last lines come late, else from the landing bucket."""
    deadline = time.monotonic() + settings.late
    while log is not None and not log.has_result and time.monotonic() < deadline:
        time.sleep(min(settings.place.poll, 5))
        log.follow()
    if log is not None and log.has_result:
        return
    bucket = settings.variables.get("TARGET_BIGQUERY_BUCKET")
    where = f"gs://{bucket}/_results/run_id={settings.run_id}/{settings.place.job}.json"
    if not bucket:
        kestra.log(
            "WARN",
            "the figures of the job have not come: they are in its log alone; rows and jobs are in the ledger _loads too",
        )
        return
    try:
        result = answer(gcloud("storage", "cat", where), dict)
    except GcloudError as error:
        kestra.log(
            "WARN", f"the figures of the job have not come with its log, and {where} cannot be read: {error}"
        )
        return
    for line in map(str, result.get("errors", [])):
        if log is None or json.dumps(line)[1:-1] not in log.errors:
            kestra.log("ERROR", line)
    kept = ("seconds", "state", "rows", "bytes", "streams", "drift", "dbt", "models")
    kestra.write(
        kestra.frame(outputs={key: result[key] for key in kept if key in result} | {"result": where})
    )


def exit_code(settings: Settings, name: str) -> int | None:
    """Return the container's exit code from the events of the Batch task, where there is one."""
    tasks = answer(
        gcloud("batch", "tasks", "list", f"--job={name}", *settings.place.flags, "--format=json"), list
    )
    codes = [
        event["taskExecution"].get("exitCode", 0)
        for task in tasks
        for event in task.get("status", {}).get("statusEvents", [])
        if "taskExecution" in event
    ]
    return int(codes[-1]) if codes else None


def outcome(settings: Settings, name: str, job: dict[str, Any]) -> int:
    """Say how a Batch job ended; return a process's exit status for it."""
    if state(job) == "SUCCEEDED":
        return 0
    if state(job) in BY_SOMEBODY:
        kestra.log(
            "ERROR",
            f"job {settings.place.job}: Batch job {name} was {'deleted' if state(job).startswith('DELET') else 'cancelled'} in Google Cloud, "
            "so the run ends here; Restart in Kestra runs it again",
        )
        return 1
    for event in job.get("status", {}).get("statusEvents", [])[-3:]:
        kestra.log("ERROR", f"Batch: {event.get('description', event)}")
    try:
        code = exit_code(settings, name)
    except GcloudError as error:
        kestra.log("WARN", f"the exit code cannot be read: {error}")
        code = None
    meaning = f" ({RESERVED[code]})" if code in RESERVED else ""
    told = "unknown" if code is None else code
    kestra.log(
        "ERROR",
        f"job {settings.place.job}: Batch job {name} ended as {state(job)}, exit code {told}{meaning}",
    )
    # A process's status is one byte; Batch's own codes are above 50000.
    return code if code is not None and 0 < code < 256 else 1  # noqa: PLR2004 - one byte


def run(settings: Settings) -> int:
    """Submit or find the job, wait, bring back what it did; return the container's exit code.

    Raises:
        GcloudError: Batch cannot be asked any more.
    """
    name = submit(settings)
    job, log = wait(settings, name)
    if state(job) not in BY_SOMEBODY:
        bring(settings, log)
    return outcome(settings, name, job)


def names(place: Place) -> list[str]:
    """Return the names of this execution's Batch jobs: as Batch lists them, else every one that there can be."""
    every = [f"{place.base}-{number}" for number in range(1, MOST_JOBS + 1)]
    try:
        wanted = f"labels.execution={place.execution.lower()}"
        listed = answer(
            gcloud("batch", "jobs", "list", *place.flags, f"--filter={wanted}", "--format=json"), list
        )
    except GcloudError:
        return every
    found = [
        str(job.get("name", "")).rpartition("/")[2] for job in listed if state(job) != "DELETION_IN_PROGRESS"
    ]
    return [name for name in every if name in found]


def delete(place: Place) -> int:
    """Delete every Batch job of this execution; return 1 where one could not be."""
    status = deleted = 0
    # A submission that was on its way when Kestra killed its task may show up a moment later: look twice where there was nothing.
    for look in range(2):
        if look:
            time.sleep(place.poll)
        for name in names(place):
            try:
                gcloud("batch", "jobs", "delete", name, *place.flags)
            except GcloudError as error:
                if not error.is_about(name):
                    kestra.log("WARN", f"Batch job {name} could not be deleted: {error}")
                    status = 1
            else:
                deleted += 1
                kestra.log("INFO", f"Batch job {name} deleted")
        if deleted or status:
            break
    return status


def main(arguments: list[str]) -> int:
    """Do what the command line asks for; return the exit status."""
    if arguments not in (["run"], ["delete"]):
        sys.stderr.write("usage: python3 -m meltano_job.batch run|delete\n")
        return 2
    reader = Reader(os.environ)
    try:
        if arguments == ["run"]:
            settings = Settings.read(reader)
            with signed_in(settings.place):
                return run(settings)
        place = Place.read(reader)
        reader.check()
        with signed_in(place):
            return delete(place)
    except SettingsError as error:
        for complaint in error.complaints:
            kestra.log("ERROR", complaint)
        return 2
    except GcloudError as error:
        kestra.log("ERROR", f"job {os.environ['MELTANO_JOB']}: {error}")
        return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
