"""The program `meltano-job`: runs one Meltano job with attempts and a time limit, and reports what it did as data.

Exit status: Meltano's; 2 for wrong settings, 70 for a fault of this program, 124 when the time is over, 127 when Meltano cannot be started,
128 + n after signal n, SIGPIPE's when nobody reads the log any more.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from meltano_job import kestra
from meltano_job.figures import Figures
from meltano_job.selection import Names
from meltano_job.settings import DBT, Attempts, Reader, SettingsError

SECONDS_TO_END = 20.0
OWN_FAULT = 70
TIME_IS_OVER = 124
CANNOT_START = 127
# Kestra's own secrets and settings are in the environment of its worker; no job needs them.
PRIVATE = ("SECRET_", "KESTRA_", "DATASOURCES_", "MICRONAUT_")
# Every part logs JSON, its points and ends of blocks included.
GIVEN = {
    "DBT_LOG_FORMAT": "json",
    "DBT_USE_COLORS": "false",
    # What this program reads.
    "DBT_WRITE_JSON": "true",
    "MELTANO_SEND_ANONYMOUS_USAGE_STATS": "false",
    "NO_COLOR": "1",
}


@dataclass(frozen=True)
class Settings:
    """What to run, checked."""

    job: str
    run_id: str
    select: str
    attempts: Attempts
    meltano: str
    project: Path | None
    environment: dict[str, str]

    @classmethod
    def read(cls, variables: dict[str, str]) -> "Settings":
        """Read the environment.

        Raises:
            SettingsError: Some are wrong.
        """
        reader = Reader(variables)
        beside = Path(sys.executable).with_name("meltano")
        environment = reader.mapping("ENVIRONMENT")
        project = reader.text("MELTANO_PROJECT", environment.get("MELTANO_PROJECT_ROOT", ""))
        found = cls(
            job=reader.job(),
            run_id=reader.run_id(),
            select=reader.selection(),
            attempts=reader.attempts(),
            meltano=reader.text("MELTANO", str(beside) if beside.is_file() else "meltano"),
            project=Path(project).resolve() if project else None,
            environment=environment,
        )
        if found.project is not None and not (found.project / "meltano.yml").is_file():
            reader.refuse(f"setting meltano_project is {project!r}: expected the folder of meltano.yml")
        reader.check()
        return found

    @property
    def arguments(self) -> list[str]:
        """The arguments of `meltano`."""
        if self.job != DBT:
            return ["--log-format", "json", "run", self.job]
        selection = ["--select", *self.select.split()] if self.select else []
        return ["--log-format", "json", "invoke", "dbt-bigquery:build", *selection]


class Job:
    """A running job."""

    def __init__(self, settings: Settings, scratch: Path) -> None:
        """Prepare; `scratch` is a folder of its own."""
        self.settings = settings
        self.figures = Figures()
        self.attempts: list[dict[str, Any]] = []
        self._deadline = time.monotonic() + settings.attempts.limit
        self._stopped = 0
        self._over = False
        # What kept the log from being passed on.
        self._unread: Exception | None = None
        self._target = scratch / "dbt-target"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(PRIVATE)}
        self._environment = {
            **inherited,
            **settings.environment,
            **GIVEN,
            "DBT_TARGET_PATH": str(self._target),
            # It is not there: a file of the project's own could leave out what this program reads.
            "MELTANO_CLI_LOG_CONFIG": str(scratch / "logging.yaml"),
            "MELTANO_RUN_ID": settings.run_id,
        }
        if self._environment.get("MELTANO_CLI_LOG_LEVEL", "").lower() != "debug":
            self._environment["MELTANO_CLI_LOG_LEVEL"] = "info"
        home = settings.project / ".meltano" if settings.project else scratch
        database = self._environment.get("MELTANO_DATABASE_URI") or f"sqlite:///{home}/meltano.db"
        self._environment["MELTANO_DATABASE_URI"] = own_database(database, settings.job)

    def stop(self, number: int, _: FrameType | None) -> None:
        """End on a signal: Meltano, and no further attempt."""
        self._stopped = number

    def run(self) -> int:
        """Run the job until it succeeds, its attempts are used up or its time is over; return the exit status."""
        most = 1 if self.settings.job == DBT else self.settings.attempts.most
        status = 0
        for number in range(1, most + 1):
            if (ended := self._attempt()) is None:
                return CANNOT_START
            status = ended
            if status == 0 or self._stopped or self._over:
                break
            if number < most:
                pause = max(0.0, min(self.settings.attempts.pause, self._deadline - time.monotonic()))
                kestra.log(
                    "WARN",
                    f"attempt {number} of {most} ended with status {status}; again in {pause:g} s, run id the same",
                )
                if not self._slept(pause):
                    break
        if self._stopped:
            return 128 + self._stopped
        if self._over:
            self._fail(
                f"the time limit is over (job_timeout, {self.settings.attempts.limit:g} s) and Meltano was stopped"
            )
            return TIME_IS_OVER
        return self._conclude(status)

    def _slept(self, seconds: float) -> bool:
        """Wait; return whether no signal ended it. A signal's handler runs between two naps."""
        deadline = time.monotonic() + seconds
        while not self._stopped and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, 0.2))
        return not self._stopped

    def _attempt(self) -> int | None:
        """Run Meltano once, to the end of every process that it started; return its exit status, None where it cannot be started."""
        (self._target / "run_results.json").unlink(missing_ok=True)
        self.figures.begin()
        if time.monotonic() >= self._deadline:
            self._over = True
            return TIME_IS_OVER
        began = datetime.now(UTC)
        try:
            process = subprocess.Popen(
                [self.settings.meltano, *self.settings.arguments],
                cwd=self.settings.project,
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            self._fail(
                f"Meltano could not be started: {error}; look at the settings meltano and meltano_project"
            )
            return None
        reader = threading.Thread(target=self._pass_on, args=(process,), daemon=True)
        reader.start()
        while process.poll() is None and not (self._stopped or self._over or self._unread):
            # Whether it has ended is asked before: a run that ended in time is not over the limit.
            self._over = time.monotonic() >= self._deadline
            time.sleep(0 if self._over else 0.05)
        if process.poll() is not None and running(process.pid):
            # They would load beside the next attempt, and keep the log open.
            kestra.log("WARN", "processes that Meltano had started outlived it, and are ended")
        end_group(process.pid)
        reader.join(SECONDS_TO_END)
        if isinstance(self._unread, BrokenPipeError):
            self._stopped = self._stopped or signal.SIGPIPE
        elif self._unread is not None:
            raise self._unread
        code = process.poll()
        # None: not even SIGKILL ended it, as with a file system that does not answer.
        status = 128 + signal.SIGKILL if code is None else code if code >= 0 else 128 - code
        seconds = round((datetime.now(UTC) - began).total_seconds(), 1)
        self.attempts.append({"started_at": began.isoformat(), "seconds": seconds, "status": status})
        return status

    def _pass_on(self, process: subprocess.Popen[str]) -> None:
        """Pass Meltano's log on, and take the figures from it; runs beside the wait for its end."""
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        try:
            for text in process.stdout:
                if (line := self.figures.take(text)) is not None:
                    kestra.log(line.level, line.message)
        except Exception as error:  # noqa: BLE001 - the main thread raises it
            self._unread = error

    def _conclude(self, status: int) -> int:
        """Log in one line what failed; return the exit status: 0 only where what was asked for was done."""
        if self.settings.job != DBT:
            return self._conclude_fetch(status)
        try:
            self.figures.dbt(self._target)
        except ValueError as error:
            self._fail(str(error))
            return status or 1
        nodes, failed = self.figures.nodes, self.figures.failed_nodes
        if failed:
            names = ", ".join(node["name"] for node in failed[:5]) + (", …" if len(failed) > 5 else "")  # noqa: PLR2004 - a line
            self._fail(f"{len(failed)} of {len(nodes)} nodes failed: {names}")
        elif not self.figures.did:
            self._fail(self._nothing_built(status))
        elif status:
            self._fail(
                f"dbt ended with status {status} after {len(nodes)} nodes, none of which failed; its lines above say why"
            )
        else:
            return 0
        return status or 1

    def _conclude_fetch(self, status: int) -> int:
        if status:
            tried = f"{len(self.attempts)} attempt{'s' * (len(self.attempts) != 1)}"
            self._fail(f"failed with status {status} after {tried}; nothing has landed in half")
        elif not self.figures.blocks:
            self._fail("Meltano ended with status 0 and ran nothing; look at the job's tasks in meltano.yml")
            return 1
        elif (
            "ExtractLoadBlocks" in self.figures.blocks
            and not self.figures.streams
            and not self.figures.records
        ):
            kestra.log(
                "WARN",
                "neither tap nor target has reported a record: the source had nothing new, or they report none; look at the tables",
            )
        return status

    def _nothing_built(self, status: int) -> str:
        """Return why dbt has left no results, or only of what does nothing: the selection, where it names what is not there."""
        select = self.settings.select
        try:
            names = Names(json.loads((self._target / "manifest.json").read_text(encoding="utf-8")))
        except (OSError, ValueError):
            names = None
        if names is None or (status and not names.wrong(select)):
            return f"dbt ended with status {status} and left no results; its lines above say why"
        return (
            f"dbt ended with status {status} and built nothing; dbt_select_pattern: {names.explain(select)}"
        )

    def _fail(self, message: str) -> None:
        line = f"job {self.settings.job}: {message}"
        self.figures.errors.append(line)
        kestra.log("ERROR", line)

    def result(self, status: int, began: datetime) -> dict[str, Any]:
        """Return the result: what was asked for, how it ended, and the figures."""
        ended = datetime.now(UTC)
        return {
            "run_id": self.settings.run_id,
            "job": self.settings.job,
            "state": "success" if status == 0 else "failed",
            "status": status,
            "started_at": began.isoformat(),
            "finished_at": ended.isoformat(),
            "seconds": round((ended - began).total_seconds(), 1),
            "attempts": self.attempts,
            **self.figures.outputs(),
            "nodes": self.figures.nodes,
            "errors": self.figures.errors,
        }

    def report(self, status: int, began: datetime) -> None:
        """Put the result into the landing bucket, and report it to Kestra."""
        result = self.result(status, began)
        outputs = {key: result[key] for key in ("seconds", "state", *self.figures.outputs())}
        bucket = self._environment.get("TARGET_BIGQUERY_BUCKET")
        if bucket:
            # Google's client starts in half a second; a job that cannot start does without.
            from meltano_job import result as results  # noqa: PLC0415

            # Credentials, proxies and certificates are the job's.
            os.environ.update(self.settings.environment)
            try:
                outputs["result"] = results.put(bucket, self.settings.run_id, self.settings.job, result)
            except OSError as error:
                kestra.log("WARN", f"the result stays in this log alone: {error}")
        # A line each: one line of them all is too long for Docker where dbt has many models.
        for metric in self.figures.metrics():
            kestra.write(kestra.frame(metrics=[metric]))
        kestra.write(kestra.frame(outputs=outputs))


def own_database(address: str, job: str) -> str:
    """Return the address of Meltano's database for one job: jobs run concurrently, and SQLite has one writer, so each has its own file."""
    file, mark, query = address.partition("?")
    if not re.match(r"sqlite(\+\w+)?:///[^:]", file):
        return address
    return f"{file.removesuffix('.db')}-{job}.db{mark}{query}"


def running(group: int) -> bool:
    """Return whether a process of a group has not ended; one whose new parent has not asked for its status yet has."""
    for number in psutil.pids():
        with suppress(psutil.Error, OSError):
            if os.getpgid(number) == group and psutil.Process(number).status() not in {"zombie", "dead"}:
                return True
    return False


def end_group(group: int) -> None:
    """End a group of processes: politely, and after a while by force."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + SECONDS_TO_END
        if running(group):
            with suppress(ProcessLookupError):
                os.killpg(group, number)
        while running(group) and time.monotonic() < deadline:
            time.sleep(0.05)


def log_exit_status(job: str, run_id: str, status: int) -> None:
    """Write a failure's last line: one JSON object, as Cloud Logging takes it; the alert in terraform/modules/failure_alert reads it.

    https://cloud.google.com/logging/docs/structured-logging
    """
    message = f"job {job or '(none)'} ended with status {status}"
    end = {"severity": "ERROR", "message": message, "job": job, "run_id": run_id, "exit_status": status}
    kestra.write(json.dumps(end, separators=(",", ":")))


def main() -> int:
    """Run the job that the environment names; return the exit status."""
    job, run_id = os.environ.get("MELTANO_JOB", ""), os.environ.get("MELTANO_RUN_ID", "")
    try:
        status = run(dict(os.environ))
    except Exception as error:  # noqa: BLE001 - whatever it was, the last line is what the alert reads
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        kestra.log("ERROR", f"job {job}: meltano-job itself failed: {error!r} at {where}; please report it")
        status = OWN_FAULT
    if status:
        log_exit_status(job, run_id, status)
    return status


def run(variables: dict[str, str]) -> int:
    """Run the job that the variables name, and report it; return its exit status."""
    try:
        settings = Settings.read(variables)
    except SettingsError as error:
        for complaint in error.complaints:
            kestra.log("ERROR", complaint)
        return 2
    began = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="meltano-job-", ignore_cleanup_errors=True) as scratch:
        job = Job(settings, Path(scratch))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # nohup means that a terminal's end is not this program's.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, job.stop)
        status = job.run()
        job.report(status, began)
    return status
