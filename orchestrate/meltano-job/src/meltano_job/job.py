"""The program `meltano-job`: runs one Meltano job with attempts and a time limit, and reports what it did as data.

Exit status: Meltano's; 2 for wrong settings, 124 when the time is over, 127 when Meltano cannot be started, 128 + n after signal n.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meltano_job import kestra
from meltano_job.figures import Figures
from meltano_job.selection import Names
from meltano_job.settings import Attempts, Reader, SettingsError

if TYPE_CHECKING:
    from types import FrameType

DBT = "dbt"
SECONDS_TO_END = 20.0
TIME_IS_OVER = 124
CANNOT_START = 127
# Kestra's own secrets and settings are in the environment of its worker; no job needs them.
PRIVATE = ("SECRET_", "KESTRA_", "DATASOURCES_", "MICRONAUT_")
# Every part logs JSON. A selection of which a part matches nothing is dbt's error before anything is built.
GIVEN = {
    "DBT_LOG_FORMAT": "json",
    "DBT_USE_COLORS": "false",
    "DBT_WARN_ERROR_OPTIONS": '{"error": ["NoNodesForSelectionCriteria", "NothingToDo"]}',
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
    def read(cls, variables: dict[str, str]) -> Settings:
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
            select=reader.text("DBT_SELECT", ""),
            attempts=reader.attempts(),
            meltano=reader.text("MELTANO", str(beside) if beside.is_file() else "meltano"),
            project=Path(project) if project else None,
            environment=environment,
        )
        if found.project is not None and not (found.project / "meltano.yml").is_file():
            reader.refuse(f"setting meltano_project is {project!r}: expected the folder of meltano.yml")
        if found.select.startswith("-") or " -" in found.select:
            reader.refuse(f"dbt selection is {found.select!r}: expected names, tags and paths, no options")
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
        self._process: subprocess.Popen[str] | None = None
        self._stopped = 0
        self._over = False
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(PRIVATE)}
        self._environment = {
            **inherited,
            # dbt's results are this job's.
            "DBT_TARGET_PATH": str(scratch / "dbt-target"),
            **settings.environment,
            **GIVEN,
            "MELTANO_RUN_ID": settings.run_id,
        }
        home = settings.project / ".meltano" if settings.project else scratch
        database = self._environment.get("MELTANO_DATABASE_URI") or f"sqlite:///{home}/meltano.db"
        if database.startswith("sqlite:"):
            # Jobs run concurrently, and SQLite has one writer: each has its own file, with its state.
            database = f"{database.removesuffix('.db')}-{settings.job}.db"
        self._environment["MELTANO_DATABASE_URI"] = database
        self._target = Path(self._environment["DBT_TARGET_PATH"])

    def stop(self, number: int, _: FrameType | None) -> None:
        """End on a signal: Meltano, and no further attempt."""
        self._stopped = number
        self._end_processes()

    def _end_processes(self) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        _signal_group(process, signal.SIGTERM)
        timer = threading.Timer(SECONDS_TO_END, _signal_group, (process, signal.SIGKILL))
        timer.daemon = True
        timer.start()

    def run(self) -> int:
        """Run the job until it succeeds, its attempts are used up or its time is over; return the exit status."""
        most = 1 if self.settings.job == DBT else self.settings.attempts.most
        for number in range(1, most + 1):
            status = self._attempt()
            if status in {0, CANNOT_START} or self._stopped or self._over:
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
        if status == 0:
            return self._examine()
        if status != CANNOT_START:
            self._explain(status)
        return status

    def _slept(self, seconds: float) -> bool:
        """Wait; return whether no signal ended it. A signal's handler runs between two naps."""
        deadline = time.monotonic() + seconds
        while not self._stopped and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, 0.2))
        return not self._stopped

    def _attempt(self) -> int:
        (self._target / "run_results.json").unlink(missing_ok=True)
        left = self._deadline - time.monotonic()
        if left <= 0:
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
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            self._fail(
                f"Meltano could not be started: {error}; look at the settings meltano and meltano_project"
            )
            return CANNOT_START
        self._process = process
        if self._stopped:
            self._end_processes()
        timer = threading.Timer(left, self._time_is_over)
        timer.daemon = True
        timer.start()
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        for text in process.stdout:
            if (line := self.figures.take(text)) is not None:
                kestra.log(line.level, line.message)
        status = process.wait()
        timer.cancel()
        status = status if status >= 0 else 128 - status
        seconds = round((datetime.now(UTC) - began).total_seconds(), 1)
        self.attempts.append({"started_at": began.isoformat(), "seconds": seconds, "status": status})
        return status

    def _time_is_over(self) -> None:
        self._over = True
        self._end_processes()

    def _examine(self) -> int:
        """Examine what a job that ended with status 0 has done; return the exit status: doing nothing is not success."""
        if self.settings.job != DBT:
            if not self.figures.streams:
                kestra.log("WARN", "the target reported no figures; the ledger _loads has what it loaded")
            return 0
        try:
            found = self.figures.dbt(self._target)
        except ValueError as error:
            self._fail(str(error))
            return 1
        if not found or not self.figures.nodes:
            self._fail(f"dbt ended with status 0 and built nothing; {self._names()}")
            return 1
        return 0

    def _explain(self, status: int) -> None:
        """Log in one line what failed."""
        if self.settings.job != DBT:
            self._fail(
                f"failed with status {status} after {len(self.attempts)} attempts; nothing of it has landed in half"
            )
            return
        try:
            found = self.figures.dbt(self._target)
        except ValueError as error:
            self._fail(str(error))
            return
        if failed := self.figures.failed_nodes:
            names = ", ".join(node["name"] for node in failed[:5]) + (", …" if len(failed) > 5 else "")  # noqa: PLR2004 - a line
            self._fail(f"{len(failed)} of {len(self.figures.nodes)} nodes failed: {names}")
        elif not found and self.settings.select:
            self._fail(f"dbt built nothing (status {status}): {self._names()}")
        else:
            self._fail(f"dbt ended with status {status} before it built anything; its lines above say why")

    def _names(self) -> str:
        """Return what a selection could have meant."""
        try:
            manifest = json.loads((self._target / "manifest.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return "dbt did not read the project; its lines above say why"
        return f"dbt_select_pattern: {Names(manifest).explain(self.settings.select)}"

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

            own = ("GOOGLE_", "STORAGE_")
            os.environ.update({k: v for k, v in self.settings.environment.items() if k.startswith(own)})
            try:
                outputs["result"] = results.put(bucket, self.settings.run_id, self.settings.job, result)
            except OSError as error:
                kestra.log("WARN", f"the result stays in this log alone: {error}")
        kestra.write(kestra.frame(outputs=outputs, metrics=self.figures.metrics()))


def _signal_group(process: subprocess.Popen[str], number: int) -> None:
    """Send a signal to a process and all it has started."""
    if process.poll() is None:
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return


def log_exit_status(job: str, run_id: str, status: int) -> None:
    """Write a failure's last line: one JSON object, as Cloud Logging takes it; the alert in terraform/modules/failure_alert reads it.

    https://cloud.google.com/logging/docs/structured-logging
    """
    message = f"job {job or '(none)'} ended with status {status}"
    end = {"severity": "ERROR", "message": message, "job": job, "run_id": run_id, "exit_status": status}
    kestra.write(json.dumps(end, separators=(",", ":")))


def main() -> int:
    """Run the job that the environment names; return the exit status."""
    try:
        settings = Settings.read(dict(os.environ))
    except SettingsError as error:
        for complaint in error.complaints:
            kestra.log("ERROR", complaint)
        log_exit_status(os.environ.get("MELTANO_JOB", ""), os.environ.get("MELTANO_RUN_ID", ""), 2)
        return 2
    began = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="meltano-job-", ignore_cleanup_errors=True) as scratch:
        job = Job(settings, Path(scratch))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, job.stop)
        status = job.run()
        job.report(status, began)
    if status:
        log_exit_status(settings.job, settings.run_id, status)
    return status


if __name__ == "__main__":
    raise SystemExit(main())
