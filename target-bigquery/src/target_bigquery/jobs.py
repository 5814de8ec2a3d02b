"""Jobs that run once: their ids are made of the run, so that a repeated run finds them instead of running them again.

A job id is taken for ever by the first job that has it, failed or not
(https://cloud.google.com/bigquery/docs/running-jobs#generate-jobid), so a failed job is followed by the next number.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.api_core.exceptions import Conflict, NotFound
from google.cloud.bigquery import DEFAULT_RETRY

from target_bigquery.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.cloud import bigquery

    from target_bigquery.settings import Settings

logger = logging.getLogger("target-bigquery.jobs")

# A job that failed for one of these may succeed the next time
# (https://cloud.google.com/bigquery/docs/error-messages).
PASSING = {
    "backendError",
    "internalError",
    "jobBackendError",
    "jobInternalError",
    "jobRateLimitExceeded",
    "rateLimitExceeded",
}
# BigQuery's word when a DML statement met another on the same table; the reason is the same as for a wrong statement.
MET_ANOTHER = "due to concurrent update"
MOST_ATTEMPTS = 20
FRESH_ATTEMPTS = 3
FIRST_POLL, LONGEST_POLL = 0.2, 5.0
UNSEEN_SECONDS = 20.0


@dataclass(frozen=True)
class Done:
    """A job that succeeded, and whether this process started it."""

    job: Any
    ours: bool


class JobFailedError(TargetError):
    """A job failed, for good or too often; `reason` is BigQuery's."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text)
        self.reason = reason


class Jobs:
    """Starts, finds and awaits the jobs of one run; safe to use from several threads."""

    def __init__(self, client: bigquery.Client, settings: Settings) -> None:
        self._client, self._settings = client, settings
        self._retry = DEFAULT_RETRY.with_timeout(settings.timeout)

    def find(self, job_id: str) -> Any | None:  # noqa: ANN401 (any kind of job)
        """Gives the job of that id, None where there is none."""
        try:
            return self._client.get_job(
                job_id,
                project=self._settings.project,
                location=self._settings.location,
                timeout=self._settings.timeout,
                retry=self._retry,
            )
        except NotFound:
            return None

    def finished(self, base: str) -> Any | None:  # noqa: ANN401
        """Gives the job among `base`-0, `base`-1 … that succeeded, awaited where it still runs; None where none did.

        Raises:
            TargetError: It did not end in time.
        """
        for attempt in range(MOST_ATTEMPTS):
            job = self.find(f"{base}-{attempt}")
            if job is None:
                return None
            if self._wait(job) is None:
                return job
        return None

    def once(self, base: str, submit: Callable[[str], Any], what: str) -> Done:
        """Runs a job under the first id of `base`-0, `base`-1 … that no failed job has, unless one has succeeded.

        Args:
            base: The id without its number.
            submit: Starts the job under the id it is given.
            what: The job, for messages.

        Raises:
            JobFailedError: It failed for a reason that does not pass, or three times for one that may.
            TargetError: It did not end in time.
        """
        fresh = 0
        for attempt in range(MOST_ATTEMPTS):
            job_id = f"{base}-{attempt}"
            job, ours = self._start(job_id, submit)
            fresh += ours
            error = self._wait(job)
            if error is None:
                return Done(job, ours)
            reason = str(error.get("reason"))
            passes = reason in PASSING or MET_ANOTHER in str(error.get("message"))
            if fresh and (not passes or fresh >= FRESH_ATTEMPTS):
                raise JobFailedError(f"{what}: job {job_id} failed: {why(job)}", reason)
            logger.warning("%s: job %s failed (%s); trying the next number", what, job_id, reason)
        raise TargetError(
            f"{what}: {MOST_ATTEMPTS} jobs of run {self._settings.run_id} failed; run with another run id"
        )

    def _start(self, job_id: str, submit: Callable[[str], Any]) -> tuple[Any, bool]:
        """Starts a job, or finds the one that has the id; says whether this process started it."""
        try:
            return submit(job_id), True
        except Conflict:
            # An earlier or another process of this run was first, or the answer to our own request was lost.
            job = self.find(job_id)
            if job is None:
                raise
            return job, (job.labels or {}).get("process") == self._settings.process

    def _wait(self, job: Any) -> dict[str, Any] | None:  # noqa: ANN401
        """Waits for a job's end; gives its error, where it failed."""
        began, pause, seen = time.monotonic(), FIRST_POLL, time.monotonic()
        while True:
            try:
                if job.done(retry=self._retry, timeout=self._settings.timeout):
                    break
                seen = time.monotonic()
            except NotFound:
                # BigQuery may not know a job at once everywhere.
                if time.monotonic() - seen > UNSEEN_SECONDS:
                    raise TargetError(
                        f"job {job.job_id} was started, but BigQuery has not known it for {UNSEEN_SECONDS:.0f} s; "
                        "run again with the same run id: if it comes up, it will be found"
                    ) from None
            if time.monotonic() - began > self._settings.load_timeout:
                raise TargetError(
                    f"job {job.job_id} has not ended within {self._settings.load_timeout:.0f} s; it goes on in "
                    "BigQuery; run again with the same run id, it will be found"
                )
            time.sleep(pause)
            pause = min(LONGEST_POLL, pause * 1.5)
        error: dict[str, Any] | None = job.error_result
        return error


def why(job: Any) -> str:  # noqa: ANN401
    """Gives a failed job's reason, its message, and the file and line where BigQuery tells them."""
    texts = []
    for entry in (job.errors or [job.error_result])[:3]:
        at = f" in {entry['location']}" if entry.get("location") else ""
        texts.append(f"{entry.get('reason')}{at}: {' '.join(str(entry.get('message')).split())[:300]}")
    return "; ".join(texts)
