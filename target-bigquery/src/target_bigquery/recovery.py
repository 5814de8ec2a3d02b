"""Ledger rows that a crash kept from being written: later runs find what was loaded, and write them.

Each process that loads leaves a marker in Cloud Storage before its first manifest, named by dataset and time. A second
object beside it says that the ledger has the rows. What cannot be looked up of other runs never keeps this one from ending.
"""

import logging
import threading
from collections.abc import Container
from datetime import UTC, datetime, timedelta
from typing import Any

from google.api_core.exceptions import Forbidden, NotFound
from google.cloud import bigquery

from target_bigquery import ledger, tables
from target_bigquery.cloud import FAILURES, Cloud, message_of
from target_bigquery.errors import TargetError
from target_bigquery.jobs import Jobs, has_digest
from target_bigquery.landing import Landing
from target_bigquery.manifest import Manifest, folder_of_run, stored

logger = logging.getLogger("target-bigquery.recovery")

IN_LEDGER = ".in-ledger"
# How far back later runs look.
MOST_DAYS, MOST_RUNS, MOST_ATTEMPTS = 7, 20, 20


class Recovery:
    """The markers of this process and of others; safe to use from several threads."""

    def __init__(self, cloud: Cloud, jobs: Jobs, landing: Landing) -> None:
        self._cloud, self._jobs, self._landing = cloud, jobs, landing
        self._folder = f"_runs/dataset={cloud.settings.destination}/"
        self._lock = threading.Lock()
        self._marker: str | None = None
        self._complete: list[str] = []

    def mark_begun(self) -> None:
        """Leave this process's marker, once."""
        with self._lock:
            if self._marker is None:
                settings, now = self._cloud.settings, datetime.now(UTC).strftime("%Y-%m-%dT%H%M%S.%f")
                self._marker = f"{self._folder}{now}/{settings.run_id}~{settings.process}"
                self._landing.create(self._marker, b"")
                self._complete.append(self._marker)

    def rows(self, known: Container[str]) -> list[dict[str, Any]]:
        """Return the ledger's rows of other processes' loads whose markers say that they are not in it yet.

        Args:
            known: Digests of the manifests whose rows are written anyway.
        """
        destination = self._cloud.settings.destination
        rows: dict[str, dict[str, Any]] = {}
        today = datetime.now(UTC).date().isoformat()
        for marker in self._markers():
            run_id = marker.rpartition("/")[2].partition("~")[0]
            try:
                loads = {
                    manifest.digest: self._row(manifest)
                    for manifest in stored(self._landing, folder_of_run(destination, run_id))
                    if manifest.digest not in known and manifest.digest not in rows
                }
            except (TargetError, *FAILURES) as error:
                logger.warning(
                    "run %s: what it loaded cannot be looked up, so the ledger may lack its rows: %s; later runs look again",
                    run_id,
                    message_of(error),
                )
                continue
            rows |= {digest: row for digest, row in loads.items() if row is not None}
            # A process of today may still be at work.
            if all(loads.values()) and not marker.startswith(f"{self._folder}{today}"):
                self._complete.append(marker)
        return list(rows.values())

    def mark_written(self) -> None:
        """Say beside the markers whose rows were returned, and this process's own, that the ledger has them."""
        for marker in self._complete:
            self._landing.create(f"{marker}{IN_LEDGER}", b"")

    def _markers(self) -> list[str]:
        """Return the markers of the newest runs without rows in the ledger, except this process's."""
        since = (datetime.now(UTC) - timedelta(days=MOST_DAYS)).date().isoformat()
        names = set(self._landing.names(self._folder, start=f"{self._folder}{since}"))
        written = {name.removesuffix(IN_LEDGER) for name in names if name.endswith(IN_LEDGER)}
        markers = (name for name in names if not name.endswith(IN_LEDGER))
        return sorted(set(markers) - written - {self._marker})[-MOST_RUNS:]

    def _row(self, manifest: Manifest) -> dict[str, Any] | None:
        """Return the ledger's row of another process's load, None where its rows are not in the table."""
        job_id = manifest.job_id
        job = self._job(job_id, manifest.digest)
        if job is None and manifest.parts and self.rows_of(manifest) != manifest.rows:
            return None
        logger.warning(
            "%s: run %s loaded %d rows and ended before it wrote them to the ledger; they are written now",
            manifest.stream,
            manifest.run_id,
            manifest.rows,
        )
        row = ledger.row(manifest, job)
        return row if job or not manifest.parts else {**row, "job_id": f"{job_id}-0"}

    def _job(self, job_id: str, digest: str) -> Any | None:  # noqa: ANN401 (any kind of job)
        """Return the attempt at a job that succeeded, None where none has or the job is another account's or other rows'."""
        try:
            for attempt in range(MOST_ATTEMPTS):
                job = self._jobs.find(f"{job_id}-{attempt}")
                if job is None or (job.state == "DONE" and not job.error_result):
                    return job if job and has_digest(job, digest) else None
        except Forbidden:
            # The table itself shows what was loaded.
            return None
        return None

    def rows_of(self, manifest: Manifest) -> int:
        """Return how many of a manifest's rows are in its table; reads one partition."""
        reference = self._cloud.dataset.table(manifest.table)
        try:
            started = datetime.fromisoformat(manifest.started_at)
            ((count,),) = self._cloud.query(
                tables.count_statement(reference),
                [
                    bigquery.ScalarQueryParameter("batched_at", "TIMESTAMP", started),
                    bigquery.ScalarQueryParameter("run_id", "STRING", manifest.run_id),
                    bigquery.ScalarQueryParameter("version", "INT64", manifest.version),
                ],
            )
        except NotFound:
            return 0
        return int(count)
