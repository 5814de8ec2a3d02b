"""Jobs that run once: their ids are made of what they do, so that a repeated run finds them instead of running them again.

A job id belongs for ever to the first job that has it, failed or not
(https://cloud.google.com/bigquery/docs/running-jobs#generate-jobid), so a failed job is followed by the next number.
"""

import logging
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from google.api_core.exceptions import Conflict, NotFound
from google.cloud import bigquery

from target_bigquery.cloud import Cloud
from target_bigquery.errors import TargetError

logger = logging.getLogger("target-bigquery.jobs")

# A job that failed for one of these reasons may succeed the next time
# (https://cloud.google.com/bigquery/docs/error-messages).
TRANSIENT_REASONS = {"backendError", "internalError", "jobBackendError", "jobInternalError"}
# Retried after pauses that double, for as long as a load may take
# (https://cloud.google.com/bigquery/docs/troubleshoot-quotas).
RATE_LIMIT_REASONS = {"jobRateLimitExceeded", "rateLimitExceeded"}
# What BigQuery says of DML statements on one table at the same time; the reason is the same as for a wrong statement.
CONFLICT_MESSAGES = ("due to concurrent update", "Could not serialize access")
MOST_ATTEMPTS = 100
FRESH_ATTEMPTS = 3
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 32.0
FIRST_POLL, LONGEST_POLL = 0.2, 5.0
UNSEEN_SECONDS = 20.0


@dataclass(frozen=True)
class FinishedJob:
    """A job that succeeded, and whether this process started it."""

    job: Any
    started_here: bool


class Jobs:
    """Starts, finds and awaits the jobs of one run; safe to use from several threads."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud, self._settings = cloud, cloud.settings

    def labels(self, digest: str = "") -> dict[str, str]:
        """Return the labels by which a job that is found is recognised; `digest` is of what it does, as for `once`."""
        return {"process": self._settings.process, "digest": digest}

    def statement(
        self, base: str, sql: str, what: str, parameters: Iterable[Any] = (), digest: str = ""
    ) -> FinishedJob:
        """Run a statement that changes data, `once`."""
        config = bigquery.QueryJobConfig(query_parameters=list(parameters), labels=self.labels(digest))
        return self.once(
            base,
            lambda job_id: self._cloud.bigquery.query(
                sql,
                job_id=job_id,
                job_config=config,
                job_retry=None,
                **self._cloud.job_place,
                **self._cloud.call,
            ),
            what,
            digest,
        )

    def find(self, job_id: str) -> Any | None:  # noqa: ANN401 (any kind of job)
        """Return the job with this id, None where there is none."""
        try:
            return self._cloud.bigquery.get_job(job_id, **self._cloud.job_place, **self._cloud.call)
        except NotFound:
            return None

    def once(self, base: str, submit: Callable[[str], Any], what: str, digest: str = "") -> FinishedJob:
        """Run a job under the first id of `base`-0, `base`-1 … that no failed job has, unless one has succeeded.

        Args:
            base: The id without its number.
            submit: Starts the job under the id it is given.
            what: The job, for messages.
            digest: Of what the job does; a job that has succeeded with another is refused.
        """
        fresh, pause, began = 0, FIRST_PAUSE, time.monotonic()
        for attempt in range(MOST_ATTEMPTS):
            job_id = f"{base}-{attempt}"
            job, started_here = self._start(job_id, submit)
            error = self._wait(job)
            if error is None:
                if not has_digest(job, digest):
                    raise TargetError(
                        f"{what}: run {self._settings.run_id} loaded rows by job {job_id}, and the bucket has lost their manifest, "
                        "with which these would be compared; run with another run id"
                    )
                return FinishedJob(job, started_here)
            fresh += started_here
            reason, text = str(error.get("reason")), str(error.get("message"))
            limited = reason in RATE_LIMIT_REASONS or any(one in text for one in CONFLICT_MESSAGES)
            if fresh and not (limited or reason in TRANSIENT_REASONS):
                raise TargetError(
                    f"{what}: job {job_id} failed: {why(job)}; mend that, or run with another run id"
                )
            if fresh >= FRESH_ATTEMPTS and (
                not limited or time.monotonic() - began > self._settings.load_timeout_seconds
            ):
                raise TargetError(f"{what}: job {job_id} failed, {fresh} in all: {why(job)}")
            logger.warning("%s: job %s failed (%s); trying the next number", what, job_id, reason)
            if started_here:
                time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 (no secret)
                pause = min(LONGEST_PAUSE, pause * 2)
        raise TargetError(
            f"{what}: {MOST_ATTEMPTS} jobs of run {self._settings.run_id} failed; run with another run id"
        )

    def _start(self, job_id: str, submit: Callable[[str], Any]) -> tuple[Any, bool]:
        """Start a job, or find the one that has the id; say whether this process started it."""
        try:
            return submit(job_id), True
        except Conflict:
            # An earlier or another process of this run was first, or the answer to our own request was lost.
            job = self.find(job_id)
            if job is None:
                raise
            return job, (job.labels or {}).get("process") == self._settings.process

    def _wait(self, job: Any) -> dict[str, Any] | None:  # noqa: ANN401
        """Wait for a job's end; return its error, where it failed."""
        began, pause, seen = time.monotonic(), FIRST_POLL, time.monotonic()
        while True:
            try:
                if job.done(**self._cloud.call):
                    break
                seen = time.monotonic()
            except NotFound:
                # BigQuery may not know a job at once everywhere.
                if time.monotonic() - seen > UNSEEN_SECONDS:
                    raise TargetError(
                        f"job {job.job_id} was started, but BigQuery has not known it for {UNSEEN_SECONDS:.0f} s; "
                        "run again with the same run id: if it turns up, it will be found"
                    ) from None
            if time.monotonic() - began > self._settings.load_timeout_seconds:
                raise TargetError(
                    f"job {job.job_id} has not ended within {self._settings.load_timeout_seconds:.0f} s; it goes on in "
                    "BigQuery; run again with the same run id, it will be found"
                )
            time.sleep(pause)
            pause = min(LONGEST_POLL, pause * 1.5)
        error: dict[str, Any] | None = job.error_result
        return error


def has_digest(job: Any, digest: str) -> bool:  # noqa: ANN401
    """Return whether a job does what the digest stands for."""
    return bool((job.labels or {}).get("digest", "") == digest)


def why(job: Any) -> str:  # noqa: ANN401
    """Return a failed job's reasons, messages, and files and lines where BigQuery gives them."""
    texts = []
    for entry in (job.errors or [job.error_result])[:3]:
        at = f" in {entry['location']}" if entry.get("location") else ""
        texts.append(f"{entry.get('reason')}{at}: {' '.join(str(entry.get('message')).split())[:300]}")
    return "; ".join(texts)
