# ruff: noqa: INP001, T201 - a program on its own, whose lines Kestra reads
"""Runs one Meltano job in Google Batch with the Google Cloud CLI, from a Kestra task.

    python3 batch_job.py run       submits or resumes the job, waits, brings back its log and its exit code
    python3 batch_job.py delete    deletes every Batch job of this execution

A Batch job is named for the Kestra execution and a number: a task that is started again after a restart of Kestra finds
its job and goes on waiting; after a failure the next number follows, up to `ATTEMPTS`. Every setting comes from the environment
(see `batch/meltano_run.yml`). Standard library only; `gcloud` must be on the PATH.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import meltano_job

# https://cloud.google.com/batch/docs/reference/rest/v1/projects.locations.jobs#State_1
GOING = {"STATE_UNSPECIFIED", "QUEUED", "SCHEDULED", "RUNNING"}
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
SECONDS_A_CALL = 120
CALLS = 5
MOST_JOBS = 20
RETRIES = 3
NOT_FOUND = re.compile(r"NOT_FOUND|not found|was not found", re.IGNORECASE)
ALREADY = re.compile(r"ALREADY_EXISTS|already exists", re.IGNORECASE)


class GcloudError(Exception):
    """A call of gcloud failed; the message is its last line."""


def seconds(variable: str, default: float) -> float:
    """Gives a number from the environment."""
    return float(os.environ.get(variable) or default)


def say(level: str, message: str) -> None:
    """Logs one line in Kestra."""
    print(meltano_job.framed(logs=[{"level": level, "message": message}]), flush=True)


def gcloud(*arguments: str, stdin: str | None = None) -> str:
    """Calls gcloud; gives what it prints.

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
    if done.returncode:
        raise GcloudError(done.stderr.strip() or f"gcloud ended with status {done.returncode}")
    return done.stdout


@dataclass(frozen=True)
class Settings:
    """What the flow gives."""

    base: str
    project: str
    region: str

    @classmethod
    def read(cls) -> Settings:
        """Reads them from the environment; Batch wants lower-case names that begin with a letter."""
        job = os.environ["JOB"]
        name = f"rickandmorty-{job}-{os.environ['EXECUTION_ID']}".lower()
        return cls(
            re.sub(r"[^a-z0-9-]", "-", name)[:58], os.environ["BATCH_PROJECT"], os.environ["BATCH_REGION"]
        )

    @property
    def place(self) -> list[str]:
        """The flags of every call."""
        return [f"--project={self.project}", f"--location={self.region}"]


def definition() -> dict[str, Any]:
    """Gives the Batch job's definition, made of the environment."""
    env = os.environ.get
    container = {
        "imageUri": os.environ["IMAGE"],
        "entrypoint": "meltano",
        "commands": meltano_job.arguments(os.environ["JOB"], env("DBT_SELECT", "")),
    }
    given = {
        "MELTANO_RUN_ID": os.environ["MELTANO_RUN_ID"],
        "MELTANO_ENVIRONMENT": env("MELTANO_ENVIRONMENT", "prod"),
        "GOOGLE_CLOUD_PROJECT": env("DATA_PROJECT") or os.environ["BATCH_PROJECT"],
        "TARGET_BIGQUERY_BUCKET": os.environ["LANDING_BUCKET"],
        "TARGET_BIGQUERY_LOCATION": env("BIGQUERY_LOCATION", "US"),
        "DBT_BIGQUERY_LOCATION": env("BIGQUERY_LOCATION", "US"),
        **meltano_job.variables(),
    }
    task = {
        "runnables": [{"container": container, "environment": {"variables": given}}],
        "computeResource": {"cpuMilli": env("CPU_MILLI", "1000"), "memoryMib": env("MEMORY_MIB", "2048")},
        "maxRunDuration": f"{seconds('JOB_SECONDS', 3600):.0f}s",
        "maxRetryCount": RETRIES,
        "lifecyclePolicies": [{"action": "RETRY_TASK", "actionCondition": {"exitCodes": RETRIED}}],
    }
    machine = {
        "machineType": env("MACHINE_TYPE", "e2-medium"),
        "provisioningModel": env("PROVISIONING", "STANDARD"),
    }
    allocation: dict[str, Any] = {
        "instances": [{"policy": machine}],
        "location": {"allowedLocations": [f"regions/{os.environ['BATCH_REGION']}"]},
        "serviceAccount": {"email": os.environ["SERVICE_ACCOUNT"]},
    }
    if env("SUBNETWORK"):
        interface = {"network": env("NETWORK"), "subnetwork": env("SUBNETWORK"), "noExternalIpAddress": True}
        allocation["network"] = {"networkInterfaces": [interface]}
    return {
        "taskGroups": [{"taskCount": "1", "taskSpec": task}],
        "allocationPolicy": allocation,
        "labels": {
            "pipeline": "rickandmorty",
            "job": os.environ["JOB"],
            "run_id": os.environ["MELTANO_RUN_ID"].lower(),
        },
        "logsPolicy": {"destination": "CLOUD_LOGGING"},
    }


def describe(settings: Settings, name: str) -> dict[str, Any] | None:
    """Gives a Batch job, or nothing where there is none."""
    try:
        found: dict[str, Any] = json.loads(
            gcloud("batch", "jobs", "describe", name, *settings.place, "--format=json")
        )
    except GcloudError as error:
        if NOT_FOUND.search(str(error)):
            return None
        raise
    return found


def state(job: dict[str, Any]) -> str:
    """Gives a Batch job's state."""
    return str(job.get("status", {}).get("state", "STATE_UNSPECIFIED"))


def submitted(settings: Settings) -> tuple[str, int]:
    """Gives the job to wait for, one that is there and has not failed or a new one, and how many have failed before.

    Raises:
        GcloudError: gcloud failed, or every number is taken.
    """
    failed = 0
    for number in range(1, MOST_JOBS + 1):
        name = f"{settings.base}-{number}"
        job = describe(settings, name)
        if job is None:
            try:
                gcloud(
                    *("batch", "jobs", "submit", name, *settings.place, "--config=-"),
                    stdin=json.dumps(definition()),
                )
            except GcloudError as error:
                if not ALREADY.search(str(error)):
                    raise
                say("INFO", f"Batch job {name} is there already; waiting for it")
            else:
                say("INFO", f"Batch job {name} submitted")
            return name, failed
        if state(job) in GOING | {"SUCCEEDED"}:
            say("INFO", f"Batch job {name} found ({state(job)}); going on with it")
            return name, failed
        failed += state(job) == "FAILED"
    raise GcloudError(
        f"the names {settings.base}-1 to -{MOST_JOBS} are taken by jobs that have ended; start a new run"
    )


def patiently(settings: Settings) -> tuple[str, int]:
    """Submits or finds the job; a call that fails is told and made again, a few times.

    Raises:
        GcloudError: It went on failing.
    """
    for _ in range(CALLS - 1):
        try:
            return submitted(settings)
        except (GcloudError, ValueError) as error:
            say("WARN", f"submitting to Batch failed, trying again: {error}")
            time.sleep(seconds("POLL_SECONDS", 15))
    return submitted(settings)


class Log:
    """The lines that the container has written to Cloud Logging, each told once."""

    def __init__(self, settings: Settings, job: dict[str, Any]) -> None:
        self._settings = settings
        self._uid = str(job.get("uid"))
        self._from = str(job.get("createTime", "1970-01-01T00:00:00Z"))
        self._seen: set[str] = set()
        self.translator = meltano_job.Translator()

    def tell(self) -> None:
        """Tells what is new.

        Raises:
            GcloudError: The log could not be read.
        """
        project = self._settings.project
        wanted = (
            f'logName="projects/{project}/logs/batch_task_logs" AND labels.job_uid="{self._uid}" '
            f'AND timestamp>="{self._from}"'
        )
        read = gcloud("logging", "read", wanted, f"--project={project}", "--order=asc", "--format=json")
        # Entries come late and out of order: all are read each time, those told are known by their ids.
        for entry in json.loads(read or "[]"):
            if entry.get("insertId") in self._seen:
                continue
            self._seen.add(entry.get("insertId"))
            text = entry.get("textPayload")
            if text is None:
                text = json.dumps(entry.get("jsonPayload", {}))
            for line in meltano_job.translated(text.splitlines(), self.translator):
                print(line, flush=True)


def exit_code(settings: Settings, name: str) -> int | None:
    """Gives the container's exit code from the events of the Batch task, where there is one."""
    tasks = json.loads(
        gcloud("batch", "tasks", "list", f"--job={name}", *settings.place, "--format=json") or "[]"
    )
    codes = [
        event["taskExecution"].get("exitCode", 0)
        for task in tasks
        for event in task.get("status", {}).get("statusEvents", [])
        if "taskExecution" in event
    ]
    return int(codes[-1]) if codes else None


def wait(settings: Settings, name: str) -> dict[str, Any]:
    """Waits for the job's end, telling its log; a call that fails is told and made again.

    Raises:
        GcloudError: The job did not end in its own time and the time allowed for getting a machine.
    """
    # Batch itself tries a vanished machine's task again, up to its maxRetryCount, and getting a machine takes its time.
    deadline = time.monotonic() + (1 + RETRIES) * seconds("JOB_SECONDS", 3600) + 3600
    log: Log | None = None
    last = ""
    while time.monotonic() < deadline:
        try:
            job = describe(settings, name)
            if job is None:
                return {"status": {"state": "DELETED"}}
            log = log or Log(settings, job)
            if state(job) != last:
                last = state(job)
                say("INFO", f"Batch job {name}: {last}")
            log.tell()
        except (GcloudError, ValueError) as error:
            say("WARN", f"asking about Batch job {name} failed, asking again: {error}")
        else:
            if state(job) not in GOING:
                _late_lines(log)
                print(log.translator.summary(), flush=True)
                return job
        time.sleep(seconds("POLL_SECONDS", 15))
    raise GcloudError(f"Batch job {name} has not ended in time; see it in the console of Google Cloud")


def _late_lines(log: Log) -> None:
    """Waits for the lines that Cloud Logging shows late."""
    time.sleep(seconds("LOG_SECONDS", 10))
    try:
        log.tell()
    except (GcloudError, ValueError) as error:
        say("WARN", f"the last lines of the log could not be read: {error}")


def run(settings: Settings) -> int:
    """Submits or resumes, waits, tries again after a failure; gives the container's exit code."""
    attempts = int(seconds("ATTEMPTS", 2))
    while True:
        name, failed = patiently(settings)
        code = outcome(settings, name, wait(settings, name))
        if code == 0 or failed + 1 >= attempts:
            return code
        say("WARN", f"attempt {failed + 1} of {attempts} failed; a new Batch job follows")
        time.sleep(seconds("RETRY_SECONDS", 30))


def outcome(settings: Settings, name: str, job: dict[str, Any]) -> int:
    """Tells how a Batch job ended; gives a process's exit status for it."""
    if state(job) == "SUCCEEDED":
        return 0
    for event in job.get("status", {}).get("statusEvents", [])[-3:]:
        say("ERROR", f"Batch: {event.get('description', event)}")
    try:
        code = exit_code(settings, name)
    except (GcloudError, ValueError) as error:
        say("WARN", f"the exit code could not be read: {error}")
        code = None
    meaning = f" ({RESERVED[code]})" if code in RESERVED else ""
    told = "unknown" if code is None else code
    say("ERROR", f"Batch job {name} ended as {state(job)}, exit code {told}{meaning}")
    # A process's status is one byte; Batch's own codes are above 50000.
    return code if code is not None and 0 < code < 256 else 1  # noqa: PLR2004 - one byte


def delete(settings: Settings) -> int:
    """Deletes every Batch job of this execution that is there."""
    status = 0
    for number in range(1, MOST_JOBS + 1):
        name = f"{settings.base}-{number}"
        try:
            job = describe(settings, name)
            if job is None:
                break
            if state(job) != "DELETION_IN_PROGRESS":
                gcloud("batch", "jobs", "delete", name, *settings.place)
                say("INFO", f"Batch job {name} deleted")
        except GcloudError as error:
            say("WARN", f"Batch job {name} could not be deleted: {error}")
            status = 1
    return status


def fail(message: str) -> NoReturn:
    """Ends with a line in Kestra's log."""
    say("ERROR", message)
    raise SystemExit(1)


def main(command: str) -> int:
    """Does what the command line asks for."""
    settings = Settings.read()
    try:
        return run(settings) if command == "run" else delete(settings)
    except GcloudError as error:
        fail(str(error))


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in {"run", "delete"}:  # noqa: PLR2004 - program and command
        raise SystemExit(f"usage: {Path(sys.argv[0]).name} run|delete")
    raise SystemExit(main(sys.argv[1]))
