"""Run a Meltano job in Google Batch by the Google Cloud CLI, from a task of Kestra.

    python3 -m meltano_job.batch run       submits or finds the job, follows its log, ends as its container ended
    python3 -m meltano_job.batch delete    deletes every Batch job of this execution

The Batch job's state decides; its log is followed as it comes, and losing it is one warning. A job is named for Kestra's execution and a
number: a task that is started again after a crash of Kestra finds its job; after Kestra's Restart the next number is taken. Attempts are the
container's own business (`meltano_job.job`), lost machines Batch's. Whoever cancels or deletes the job in Google Cloud ends the run.

Python's standard library only. Settings come from the environment (see `runners/batch.yml`).
"""

import json
import os
import re
import signal
import sys
import time
from datetime import datetime, timedelta
from typing import Any

from meltano_job import gcloud, kestra
from meltano_job.batch_job import MOST_MACHINES, RETRIED, Place, Settings
from meltano_job.gcloud import GcloudError, RetryBudget
from meltano_job.settings import Reader, SettingsError, result_object

# https://cloud.google.com/batch/docs/reference/rest/v1/projects.locations.jobs#State_1
WAITING = {"STATE_UNSPECIFIED", "QUEUED", "SCHEDULED"}
STOPPED = {"CANCELLED", "DELETED", "CANCELLATION_IN_PROGRESS", "DELETION_IN_PROGRESS"}
# Any other, one that Google adds included, is awaited.
ENDED = {"SUCCEEDED", "FAILED", "CANCELLED", "DELETED"}
RESERVED = {**RETRIED, 50004: "the task did not answer any more", 50005: "the time limit was reached"}
# A new job may be unknown for a moment; this often in a row it is gone.
UNKNOWN = 3
MOST_JOBS = 10
QUEUEING = 3600.0
LATE = timedelta(seconds=60)
# As meltano_job.job reports it, with the state in which the job ended.
RESULT = re.compile(r'::\{"outputs":\{"seconds":[\d.]+,"state":"(\w+)".*\}::')


def state(job: dict[str, Any]) -> str:
    """Return a Batch job's state."""
    return str(job.get("status", {}).get("state", "STATE_UNSPECIFIED"))


def describe(place: Place, name: str) -> dict[str, Any] | None:
    """Return a Batch job, or nothing where Batch says that there is none.

    Raises:
        GcloudError: Batch cannot be asked.
    """
    try:
        job: dict[str, Any] = gcloud.read(dict, "batch", "jobs", "describe", name, *place.flags)
    except GcloudError as error:
        if error.is_about(name):
            return None
        raise
    return job


def submitted(settings: Settings, number: int) -> str | None:
    """Submit the job of a number, or find it; return its name, or nothing where that one has ended without success.

    Raises:
        GcloudError: gcloud failed.
    """
    name = f"{settings.place.base}-{number}"
    definition = json.dumps(settings.definition())
    try:
        gcloud.run("batch", "jobs", "submit", name, *settings.place.flags, "--config=-", stdin=definition)
    except GcloudError as error:
        if error.status != "ALREADY_EXISTS":
            raise
    else:
        kestra.log("INFO", f"Batch job {name} submitted")
        return name
    # One that was just made may be unknown still: with the next number a second container would run beside it.
    for _ in range(UNKNOWN):
        if (job := describe(settings.place, name)) is not None:
            break
        time.sleep(settings.place.poll)
    if job is not None and state(job) not in STOPPED | {"FAILED"}:
        kestra.log("INFO", f"Batch job {name} found ({state(job)}); going on with it")
        return name
    return None


def submit(settings: Settings) -> str:
    """Submit the job, or find the one of this execution that is on its way; return its name.

    Raises:
        GcloudError: It went on failing.
    """
    budget = RetryBudget("submitting to Batch")
    number = 1
    while number <= MOST_JOBS:
        try:
            if (name := submitted(settings, number)) is not None:
                return name
            number += 1
        except GcloudError as error:
            budget.failed(error)
            time.sleep(settings.place.poll)
    raise GcloudError(
        f"the names {settings.place.base}-1 to -{MOST_JOBS} are taken by jobs that have ended; start a new run"
    )


class Log:
    """What the container has written to Cloud Logging, each line passed on once, as it comes."""

    def __init__(self, settings: Settings, job: dict[str, Any]) -> None:
        self._settings = settings
        created = job.get("createTime", "1970-01-01T00:00:00Z")
        name = f"projects/{settings.place.project}/logs/batch_task_logs"
        self._filter = f'logName="{name}" AND labels.job_uid="{job.get("uid")}" AND timestamp>="{created}"'
        self._since = ""
        self._seen: set[str] = set()
        self.refused = self._warned = False
        self.errors = ""
        self.result = ""

    def follow(self) -> None:
        """Pass on what is new. A log that cannot be read is one warning; where reading is refused it is not tried again."""
        if self.refused:
            return
        # By the time of arrival: a late line is a new one, and what was passed on is not read again.
        wanted = self._filter + (f' AND receiveTimestamp>="{self._since}"' if self._since else "")
        project = f"--project={self._settings.place.project}"
        try:
            entries = gcloud.read(list, "logging", "read", wanted, project, "--order=asc")
        except GcloudError as error:
            self.refused = error.refused
            if not self._warned:
                self._warned = True
                kestra.log(
                    "WARN",
                    f"the log of the container cannot be read, the job's state decides: {error}; read it in Google Cloud's console: {self._filter}",
                )
            return
        for entry in entries:
            self._pass_on(entry)

    def _pass_on(self, entry: dict[str, Any]) -> None:
        arrived = str(entry.get("receiveTimestamp") or entry.get("timestamp") or "")
        self._since = max(self._since, earlier(arrived))
        if (identity := str(entry.get("insertId"))) in self._seen:
            return
        self._seen.add(identity)
        text = entry.get("textPayload")
        for line in (json.dumps(entry.get("jsonPayload", {})) if text is None else str(text)).splitlines():
            # A line that is too long for Cloud Logging comes in parts, which are no result.
            if result := RESULT.fullmatch(line):
                self.result = result[1]
            self.errors += line if '"ERROR"' in line else ""
            kestra.write(line)


def earlier(when: str) -> str:
    """Return a timestamp of Google's a minute earlier, since clocks differ; empty where it is not a timestamp."""
    try:
        return (datetime.fromisoformat(when[:19] + "+00:00") - LATE).strftime("%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return ""


def warn(job: dict[str, Any], told: set[str]) -> None:
    """Log what Batch says of the job's machines (no quota, no capacity), each kind once: it tries again without end, and counts."""
    for event in job.get("status", {}).get("statusEvents", []):
        text = str(event.get("description"))
        kind = (re.findall(r"CODE_\w+", text) or [text])[0]
        if event.get("type") == "OPERATIONAL_INFO" and kind not in told:
            told.add(kind)
            kestra.log("WARN", f"Batch: {text}")


def wait(settings: Settings, name: str) -> tuple[dict[str, Any], Log | None]:
    """Wait for the job's end and follow its log; return it as it ended, with state DELETED where it was deleted.

    Raises:
        GcloudError: Batch did not answer, or the job did not end in its own time and the time allowed for getting a machine.
    """
    deadline = time.monotonic() + (1 + MOST_MACHINES) * (settings.limit + 600) + QUEUEING
    budget = RetryBudget(f"asking about Batch job {name}")
    log: Log | None = None
    told: set[str] = set()
    last, unknown = "", 0
    while time.monotonic() < deadline:
        try:
            job = describe(settings.place, name)
        except GcloudError as error:
            budget.failed(error)
        else:
            budget.succeeded()
            unknown = unknown + 1 if job is None else 0
            if job is None:
                if unknown >= UNKNOWN:
                    return {"status": {"state": "DELETED"}}, log
            else:
                log = log or Log(settings, job)
                if state(job) != last:
                    last = state(job)
                    kestra.log("INFO", f"Batch job {name}: {last}")
                warn(job, told)
                if last not in WAITING:
                    log.follow()
                if last in ENDED:
                    return job, log
        time.sleep(settings.place.poll)
    raise GcloudError(f"Batch job {name} has not ended in time, it is {last}; see Google Cloud's console")


def fetch_result(settings: Settings, job: dict[str, Any], log: Log | None) -> None:
    """Pass on the result: from the log, whose last lines come late, else from the landing bucket, where an earlier job's may lie."""
    deadline = time.monotonic() + settings.late
    # A machine that was taken away may have left one too: where the job succeeded, that is not the one.
    ended = "success" if state(job) == "SUCCEEDED" else "failed"
    while log is not None and not (log.result == ended or log.refused) and time.monotonic() < deadline:
        time.sleep(min(settings.place.poll, 5))
        log.follow()
    if log is not None and log.result == ended:
        return
    bucket = settings.variables.get("TARGET_BIGQUERY_BUCKET")
    where = f"gs://{bucket}/{result_object(settings.run_id, settings.place.job)}"
    if not bucket:
        kestra.log(
            "WARN",
            "the figures of the job have not come: they are in its log alone; rows and jobs are in the ledger _loads too",
        )
        return
    try:
        result = gcloud.parsed(dict, gcloud.run("storage", "cat", where))
    except GcloudError as error:
        kestra.log("WARN", f"the figures have not come with the log, and {where} cannot be read: {error}")
        return
    if str(result.get("started_at"))[:19] < str(job.get("createTime", ""))[:19]:
        kestra.log(
            "WARN",
            f"the job has left no figures: {where} is the result of an earlier one, of {result.get('started_at')}",
        )
        return
    for line in map(str, result.get("errors", [])):
        if log is None or json.dumps(line)[1:-1] not in log.errors:
            kestra.log("ERROR", line)
    kept = ("seconds", "state", "rows", "bytes", "streams", "drift", "dbt", "models")
    kestra.write(kestra.frame(outputs={k: result[k] for k in kept if k in result} | {"result": where}))


def exit_code(settings: Settings, name: str) -> int | None:
    """Return the container's exit code from the events of the Batch task, where there is one."""
    tasks = gcloud.read(list, "batch", "tasks", "list", f"--job={name}", *settings.place.flags)
    codes = [
        event["taskExecution"].get("exitCode", 0)
        for task in tasks
        for event in task.get("status", {}).get("statusEvents", [])
        if "taskExecution" in event
    ]
    return int(codes[-1]) if codes else None


def outcome(settings: Settings, name: str, job: dict[str, Any]) -> int:
    """Log how a Batch job ended; return a process's exit status for it."""
    if state(job) == "SUCCEEDED":
        return 0
    if state(job) in STOPPED:
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
    kestra.log(
        "ERROR",
        f"job {settings.place.job}: Batch job {name} ended as {state(job)}, exit code {'unknown' if code is None else code}{meaning}",
    )
    # A process's status is one byte; Batch's own codes are above 50000.
    return code if code is not None and 0 < code < 256 else 1  # noqa: PLR2004 - one byte


def run(settings: Settings) -> int:
    """Submit or find the job, wait, pass on its result; return the container's exit code.

    Raises:
        GcloudError: Batch cannot be asked any more.
    """
    name = submit(settings)
    job, log = wait(settings, name)
    if state(job) not in STOPPED:
        fetch_result(settings, job, log)
    return outcome(settings, name, job)


def names(place: Place) -> list[str]:
    """Return the names of this execution's Batch jobs: as Batch lists them, else every one that there can be."""
    every = [f"{place.base}-{number}" for number in range(1, MOST_JOBS + 1)]
    try:
        wanted = f"--filter=labels.execution={place.execution.lower()}"
        listed = gcloud.read(list, "batch", "jobs", "list", *place.flags, wanted)
    except GcloudError:
        return every
    left = [str(job.get("name", "")) for job in listed if state(job) != "DELETION_IN_PROGRESS"]
    return [name for name in every if any(path.endswith(f"/{name}") for path in left)]


def delete(place: Place) -> int:
    """Delete every Batch job of this execution; return 1 where one could not be."""
    status = deleted = 0
    # A submission that was on its way when Kestra killed its task may show up a moment later: look twice where there was nothing.
    for look in range(2):
        if look:
            time.sleep(place.poll)
        for name in names(place):
            try:
                gcloud.run("batch", "jobs", "delete", name, *place.flags)
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
    # As by SIGTERM: without a traceback, and the Batch job goes on.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    reader = Reader(os.environ)
    try:
        if arguments == ["run"]:
            settings = Settings.read(reader)
            with gcloud.signed_in(settings.place.credentials):
                return run(settings)
        place = Place.read(reader)
        reader.check()
        with gcloud.signed_in(place.credentials):
            return delete(place)
    except SettingsError as error:
        for complaint in error.complaints:
            kestra.log("ERROR", complaint)
        return 2
    except (GcloudError, OSError) as error:
        kestra.log("ERROR", f"job {os.environ['MELTANO_JOB']}: {error}")
        return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
