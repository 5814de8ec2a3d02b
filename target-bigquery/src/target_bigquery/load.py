"""Loads versions: parts and a manifest to Cloud Storage, a job into BigQuery, and at the end the ledger's rows."""

import logging
import threading
import time
from concurrent.futures import Future
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from google.api_core.exceptions import NotFound
from google.cloud.bigquery import SchemaField
from singer_sdk import metrics

from target_bigquery import ledger, tables
from target_bigquery.cloud import Cloud
from target_bigquery.errors import TargetError
from target_bigquery.jobs import FinishedJob, Jobs
from target_bigquery.landing import Landing, Staged
from target_bigquery.lifecycle import Proof, Replication
from target_bigquery.load_jobs import LoadJobs
from target_bigquery.manifest import Candidate, Earlier, Manifest, folder, stored
from target_bigquery.names import LEDGER
from target_bigquery.parts import Part, PartWriter
from target_bigquery.recovery import Recovery

logger = logging.getLogger("target-bigquery.load")


class Figure(StrEnum):
    """The METRICs of a load, beside the SDK's own."""

    ROWS_LOADED = "rows_loaded"
    BYTES_STAGED = "bytes_staged"
    LOAD_DURATION = "load_duration"


@dataclass
class Prepared:
    """A stream's table is ready: the columns to load, and what earlier attempts decided."""

    fields: list[SchemaField]
    earlier: Earlier


@dataclass(kw_only=True)
class Version(Candidate):
    """A version of a stream whose records are all staged.

    `prefix` begins the names of its objects. `exact` are the columns with values that a FLOAT would round.
    """

    table: str
    prefix: str
    fields: list[SchemaField]
    keys: list[str]
    uploads: list[Future[Staged | Part]]
    started: datetime
    prepared: Future[Prepared]
    proof: Proof
    exact: list[SchemaField]
    ended: float = field(default_factory=time.monotonic)


class Loader:
    """Loads versions; safe to use from several threads, as long as a stream's versions come one after the other.

    Args:
        cloud: Google's clients.
        scratch: A folder for temporary files.
    """

    def __init__(self, cloud: Cloud, scratch: Path) -> None:
        self._cloud, self._settings, self._scratch = cloud, cloud.settings, scratch
        self._jobs, self._landing = Jobs(cloud), Landing(cloud)
        self._load_jobs = LoadJobs(cloud, self._jobs)
        self._recovery = Recovery(cloud, self._jobs, self._landing)
        self._lock = threading.Lock()
        self._earlier: dict[str, Earlier] = {}
        # By table, the manifest of this attempt's last version.
        self._last: dict[str, Manifest] = {}
        # The manifests loaded, by digest; an empty one has no job.
        self._loaded: dict[str, tuple[Manifest, FinishedJob | None]] = {}

    def prepare(self, stream: str, table: str, fields: list[SchemaField], keys: list[str]) -> Prepared:
        """Create or check a stream's table, before anything of it is loaded."""
        with self._explaining(stream, table):
            with self._lock:
                decided = [manifest for manifest in self._decided if manifest.table == table]
                earlier = self._earlier.setdefault(table, Earlier(decided, self._landing.read))
            for manifest in decided:
                # Into the columns that it was decided for.
                self._finish(manifest)
            columns = tables.ensure(self._cloud, self._cloud.dataset.table(table), stream, fields, keys)
            return Prepared(columns, earlier)

    def upload(self, part: Part, prepared: Future[Prepared]) -> Staged | Part:
        """Move a part to Cloud Storage; leave it on disk where it must be compared with an earlier attempt."""
        return part if prepared.result().earlier.is_another_attempt else self._sent(part)

    def load(self, version: Version) -> None:
        """Load a version once, whatever earlier attempts of this run did."""
        with self._explaining(version.stream, version.table):
            manifest = self._last[version.table] = self._decide(version)
            job = self._finish(manifest)
            self._report(manifest, job, time.monotonic() - version.ended)

    def finish_earlier(self) -> None:
        """Load what earlier attempts of this run decided and this one did not receive again."""
        for table, manifest in self._last.items():
            newest = self._earlier[table].manifests[-1]
            if newest is not manifest and not manifest.adds:
                raise TargetError(
                    f"{manifest.stream}: these rows are those that run {manifest.run_id} loaded first, and it has loaded others "
                    "after them, which the table shows now; run with another run id"
                )
        for manifest in self._decided:
            if manifest.digest not in self._loaded:
                with self._explaining(manifest.stream, manifest.table):
                    self._report(manifest, self._finish(manifest), 0.0)

    def write_ledger(self) -> None:
        """Write the ledger's rows of this run, and those that crashes kept from being written."""
        if not self._loaded:
            return
        with self._cloud.explaining(f"ledger {self._cloud.dataset.table(LEDGER)}"):
            rows = [
                ledger.row(manifest, done.job if done else None) for manifest, done in self._loaded.values()
            ]
            rows += self._recovery.rows(known=self._loaded)
            ledger.write(self._cloud, self._jobs, rows)
            self._recovery.mark_written()

    @cached_property
    def _decided(self) -> list[Manifest]:
        """The manifests of earlier attempts of this run and extractor, by place; listed once."""
        settings = self._settings
        return list(stored(self._landing, folder(settings.destination, settings.run_id, settings.extractor)))

    def _explaining(self, stream: str, table: str) -> AbstractContextManager[None]:
        return self._cloud.explaining(f"{stream}: table {self._cloud.dataset.table(table)}")

    def _decide(self, version: Version) -> Manifest:
        """Return the manifest by which this version is loaded: this attempt's, or an earlier one's with the same rows."""
        ready = version.prepared.result()
        tables.refuse_rounding(str(self._cloud.dataset.table(version.table)), version.exact, ready.fields)
        earlier = ready.earlier
        parts = [upload.result() for upload in version.uploads]
        while True:
            for manifest in earlier.manifests:
                self._finish(manifest)
            chosen = self._compared(version, earlier, parts) if earlier.is_another_attempt else parts
            if isinstance(chosen, Manifest):
                return chosen
            if version.method == "overwrite" and version.replication is Replication.INCREMENTAL:
                self._refuse_to_replace(version)
            staged = [self._sent(part) for part in chosen]
            manifest = self._manifest(version, ready.fields, staged, earlier.manifests[-1:])
            self._recovery.mark_begun()
            if self._landing.create(manifest.name, manifest.encode()):
                earlier.add(manifest)
                return manifest
            (first,) = stored(self._landing, manifest.name)
            if first.digest == manifest.digest:
                # This attempt created it; the answer was lost.
                earlier.add(first)
                return first
            # Another process of this run was faster: its manifest counts, and this version is compared with it.
            if chosen is not parts:
                raise TargetError(
                    f"{version.stream}: another process of run {self._settings.run_id} loads this stream too; wait until "
                    "it ends, then run again with the same run id"
                )
            parts = [*staged]
            earlier.add_of_another(first)

    def _compared(
        self, version: Version, earlier: Earlier, parts: list[Staged | Part]
    ) -> Manifest | list[Staged | Part]:
        """Return the manifest with the same rows; else the parts of the new rows, or `parts` where all are to be loaded."""
        contents = [self._landing.read(part.uri) if isinstance(part, Staged) else part.path for part in parts]
        decided = earlier.decide(version, contents)
        if decided is None:
            return parts
        if isinstance(decided, Manifest):
            return decided
        new: list[Staged | Part] = []
        writer = PartWriter(self._scratch, f"{version.prefix}new-", self._settings.part_size, new.append)
        for line in decided:
            writer.write(line)
        writer.close()
        if not new:
            return earlier.manifests[-1]
        logger.info(
            "%s: run %s has loaded %d of these %d rows already; the other %d are loaded now",
            version.stream,
            self._settings.run_id,
            version.rows - writer.rows,
            version.rows,
            writer.rows,
        )
        return new

    def _sent(self, part: Staged | Part) -> Staged:
        """Return a part in Cloud Storage, moved there where it is still on disk."""
        if isinstance(part, Staged):
            return part
        staged = self._landing.upload(part)
        part.path.unlink()
        return staged

    def _manifest(
        self, version: Version, fields: list[SchemaField], parts: list[Staged], last: list[Manifest]
    ) -> Manifest:
        return Manifest(
            destination=self._settings.destination,
            run_id=self._settings.run_id,
            stream=version.stream,
            table=version.table,
            place=sum(manifest.place + 1 for manifest in last),
            load=sum(manifest.load + bool(manifest.parts) for manifest in last),
            version=version.number,
            method=version.method,
            replication=version.replication,
            proof=version.proof,
            source=self._settings.source,
            extractor=self._settings.extractor,
            keys=version.keys,
            fields=[item.to_api_repr() for item in fields],
            fingerprint=tables.fingerprint(version.fields),
            parts=parts,
            started_at=version.started.isoformat(),
            numbered=version.numbered,
        )

    def _finish(self, manifest: Manifest) -> FinishedJob | None:
        """Return a manifest's job, run now or found finished; None where it has no rows to load."""
        if manifest.digest not in self._loaded:
            job = self._load_jobs.run(manifest) if manifest.parts else None
            if job and not job.started_here:
                self._refuse_another_table(manifest, job.job)
            self._loaded[manifest.digest] = manifest, job
        return self._loaded[manifest.digest][1]

    def _refuse_another_table(self, manifest: Manifest, job: Any) -> None:  # noqa: ANN401 (any kind of job)
        """Refuse to take rows for loaded that went with the table into which an earlier attempt loaded them."""
        reference = self._cloud.dataset.table(manifest.table)
        with suppress(NotFound):
            made = self._cloud.bigquery.get_table(reference, **self._cloud.call).created
            if not (made and job.ended and made > job.ended):
                return
        if not self._recovery.rows_of(manifest):
            raise TargetError(
                f"{manifest.stream}: job {job.job_id} loaded {manifest.rows} rows into {reference}, which has been dropped since; "
                "run with another run id"
            )

    def _report(self, manifest: Manifest, done: FinishedJob | None, seconds: float) -> None:
        """Log what a manifest has loaded, as text and as METRIC points for programs."""
        before = done is not None and not done.started_here
        job_id = done.job.job_id if done else None
        if done is None:
            text = "0 rows, the stream is empty; nothing to load"
        elif before:
            text = f"run {manifest.run_id} is loaded already, {manifest.rows} rows by job {job_id}; nothing is loaded again"
        else:
            parts = f"{len(manifest.parts)} part{'' if len(manifest.parts) == 1 else 's'} ({manifest.size / 1000:.0f} kB)"
            text = f"{manifest.rows} rows staged in {parts}, loaded by job {job_id}, {seconds:.1f} s"
        logger.info("%s: %s", manifest.stream, text)
        tags = {
            "stream": manifest.stream,
            "run_id": manifest.run_id,
            "table_version": manifest.version,
            "job_id": job_id,
            "proof": manifest.proof,
            "loaded_before": "true" if before else "false",
        }
        for kind, figure, value in (
            ("counter", Figure.ROWS_LOADED, manifest.rows),
            ("counter", Figure.BYTES_STAGED, manifest.size),
            # From the version's end to the end of its load.
            ("timer", Figure.LOAD_DURATION, 0.0 if before else round(seconds, 3)),
        ):
            # The SDK's Metric is an enum without a place for others.
            point = metrics.Point(kind, cast("metrics.Metric", figure), value, tags)
            metrics.log(metrics.get_metrics_logger(), point)

    def _refuse_to_replace(self, version: Version) -> None:
        """Refuse to replace a table's rows by a delta, which holds changed records only."""
        table = self._cloud.bigquery.get_table(self._cloud.dataset.table(version.table), **self._cloud.call)
        if table.num_rows:
            raise TargetError(
                f"{version.stream}: overwrite would leave the {version.rows} records of this incremental stream only; nothing "
                f"was loaded, {table.reference} is as it was; use upsert or append-only, or empty the table for a full refresh"
            )
