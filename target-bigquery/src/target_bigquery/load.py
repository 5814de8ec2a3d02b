"""Loads versions: parts and a manifest to Cloud Storage, one job into BigQuery, and in the end the ledger's rows."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from google.api_core.exceptions import Forbidden, NotFound
from google.cloud import bigquery

from target_bigquery import figures, ledger, tables
from target_bigquery.errors import TargetError
from target_bigquery.jobs import FinishedJob, Jobs
from target_bigquery.landing import Landing, Staged
from target_bigquery.manifest import Earlier, Manifest, folder, folder_of_run
from target_bigquery.names import LEDGER
from target_bigquery.parts import Part, PartWriter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from google.cloud.bigquery import SchemaField

    from target_bigquery.cloud import Cloud
    from target_bigquery.lifecycle import Proof, Replication

logger = logging.getLogger("target-bigquery.load")

UPSERT_TABLE_LIFETIME = timedelta(days=1)
# Ledger rows that a crash kept from being written are looked for in the newest runs of the last days.
RECOVERED_DAYS, RECOVERED_RUNS = 7, 20
# Each process leaves a marker; a second one says that the ledger has its rows.
RUNS, IN_LEDGER = "_runs/", ".in-ledger"
# Replaces rows, and keeps the table's schema, partitions and row access policies
# (https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationLoad.FIELDS.write_disposition).
WRITE_TRUNCATE_DATA = "WRITE_TRUNCATE_DATA"


@dataclass
class Prepared:
    """A stream's prepared table: the columns to load, the table itself, and what earlier attempts decided."""

    fields: list[SchemaField]
    table: bigquery.Table
    earlier: Earlier


@dataclass
class Version:
    """A version of a stream whose records are all staged.

    `number` is its `_sdc_table_version`, given by the tap where it is `numbered`. `before` is the stream's previous load.
    """

    stream: str
    table: str
    number: int
    numbered: bool
    fields: list[SchemaField]
    keys: list[str]
    parts: list[Part]
    uploads: list[Future[Staged | None]]
    rows: int
    started: datetime
    prepared: Future[Prepared]
    method: str
    proof: Proof
    replication: Replication
    before: Future[Any] | None = None
    clock: float = field(default_factory=time.monotonic)


class Loader:
    """Loads versions; safe to use from several threads, as long as a stream's versions come one after the other.

    Args:
        cloud: Google's clients.
        scratch: A folder for temporary files.
    """

    def __init__(self, cloud: Cloud, scratch: Path) -> None:
        self._cloud, self._settings, self._scratch = cloud, cloud.settings, scratch
        self._jobs = Jobs(cloud)
        self._landing = Landing(cloud)
        self._lock = threading.Lock()
        self._decided: dict[str, list[Manifest]] | None = None
        self._earlier: dict[str, Earlier] = {}
        self._finished: dict[str, FinishedJob | None] = {}
        self._rows: dict[str, dict[str, Any]] = {}
        self._marker: str | None = None

    def prepare(self, stream: str, table: str, fields: list[SchemaField], keys: list[str]) -> Prepared:
        """Create or check a stream's table, before anything of it is loaded.

        Raises:
            TargetError: The table is missing, or cannot hold what the stream sends.
        """
        reference = self._cloud.dataset.table(table)
        with self._cloud.explaining(f"{stream}: table {reference}"):
            columns, made = tables.ensure(self._cloud, reference, fields, keys)
            with self._lock:
                earlier = self._earlier.get(table)
                if earlier is None:
                    decided = self._manifests().get(table, [])
                    earlier = self._earlier[table] = Earlier(decided, self._landing.read)
            return Prepared(columns, made, earlier)

    def upload(self, name: str, part: Part, prepared: Future[Prepared]) -> Staged | None:
        """Move a part to Cloud Storage; leave it on disk, and return None, where it must be compared with an earlier attempt.

        Raises:
            TargetError: The bucket refuses, or is missing.
        """
        if prepared.result().earlier.is_another_attempt:
            return None
        return self._send(name, part)

    def load(self, version: Version) -> None:
        """Load a version once, whatever earlier attempts of this run did.

        Raises:
            TargetError: It could not be loaded; the landing table is as it was.
        """
        if version.before is not None:
            version.before.result()
        with self._cloud.explaining(f"{version.stream}: table {self._cloud.dataset.table(version.table)}"):
            ready = version.prepared.result()
            staged = [upload.result() for upload in version.uploads]
            manifest = self._decide(version, ready, staged)
            done = self._finish(manifest, ready.table)
            self._report(manifest, done, time.monotonic() - version.clock)

    def finish_earlier(self) -> None:
        """Load what earlier attempts of this run decided and this one did not receive again.

        Raises:
            TargetError: It could not be loaded.
        """
        with self._lock:
            decided = [manifest for found in self._manifests().values() for manifest in found]
        for manifest in decided:
            if manifest.digest not in self._finished:
                with self._cloud.explaining(
                    f"{manifest.stream}: table {self._cloud.dataset.table(manifest.table)}"
                ):
                    self._report(manifest, self._finish(manifest), 0.0)

    def write_ledger(self) -> None:
        """Write the ledger's rows of this run, and those that crashes kept from being written.

        Raises:
            TargetError: BigQuery or Cloud Storage refused.
        """
        if not self._rows:
            return
        with self._cloud.explaining(f"ledger {self._cloud.dataset.table(LEDGER)}"):
            rows, complete = dict(self._rows), [self._marker] if self._marker else []
            for marker, manifests in self._runs_without_rows():
                found = {m.digest: self._recovered(m) for m in manifests if m.digest not in rows}
                rows |= {digest: row for digest, row in found.items() if row is not None}
                today = datetime.now(UTC).date().isoformat()
                if all(found.values()) and not marker.startswith(f"{RUNS}{today}"):
                    complete.append(marker)
            ledger.write(self._cloud, self._jobs, list(rows.values()))
            for marker in complete:
                self._landing.create(f"{marker}{IN_LEDGER}", b"")

    def _manifests(self) -> dict[str, list[Manifest]]:
        """Return the manifests of earlier attempts of this run and extractor, by table; listed once."""
        if self._decided is None:
            self._decided = {}
            for manifest in self._read_all(folder(self._settings.run_id, self._settings.extractor)):
                self._decided.setdefault(manifest.table, []).append(manifest)
        return self._decided

    def _read_all(self, prefix: str) -> Iterator[Manifest]:
        for name in self._landing.names(prefix):
            uri = self._landing.address(name)
            try:
                yield Manifest.decode(self._landing.read(uri))
            except msgspec.ValidationError as error:
                raise TargetError(
                    f"{uri} is not a manifest of this target: {error}; run with another run id"
                ) from error

    def _decide(self, version: Version, ready: Prepared, staged: list[Staged | None]) -> Manifest:
        """Return the manifest by which this version is loaded: this attempt's, or an earlier one's with the same rows.

        Raises:
            TargetError: The version contradicts what an earlier attempt decided.
        """
        earlier = ready.earlier
        while True:
            for manifest in earlier.manifests:
                self._finish(manifest, ready.table)
            found = self._compared(version, earlier, staged) if earlier.is_another_attempt else None
            if isinstance(found, Manifest):
                return found
            parts = found if found is not None else self._sent(version, staged)
            manifest = self._manifest(version, ready, parts, len(earlier.manifests))
            self._mark()
            if self._landing.create(manifest.name, manifest.encode()):
                earlier.add(manifest)
                return manifest
            first = Manifest.decode(self._landing.read(self._landing.address(manifest.name)))
            if first.digest == manifest.digest:
                # This attempt created it; the answer was lost.
                earlier.add(first)
                return first
            # Another process of this run was faster: its manifest counts, and this version is compared with it.
            if found is not None:
                raise TargetError(
                    f"{version.stream}: another process of run {self._settings.run_id} loads this stream too; wait until "
                    "it ends, then run again with the same run id"
                )
            staged = list(parts)
            earlier.add_of_another(first)

    def _compared(
        self, version: Version, earlier: Earlier, staged: list[Staged | None]
    ) -> Manifest | list[Staged] | None:
        """Return the manifest with the same rows, or the parts of the new rows; None where all are to be loaded."""
        sources = [
            part.path if sent is None else self._landing.read(sent.uri)
            for part, sent in zip(version.parts, staged, strict=True)
        ]
        decided = earlier.decide(version, sources)
        if decided is None or isinstance(decided, Manifest):
            return decided
        new: list[Part] = []
        writer = PartWriter(
            self._scratch,
            f"{version.table}-new-{version.number}",
            self._settings.part_size,
            lambda _, part: new.append(part),
        )
        for line in decided:
            writer.write(line)
        writer.close()
        if not new:
            return earlier.manifests[-1]
        sent = [
            self._send(f"{version.table}/{self._part(version, n, 'new-')}", part)
            for n, part in enumerate(new)
        ]
        logger.info(
            "%s: run %s has loaded %d of these %d rows already; the other %d are loaded now",
            version.stream,
            self._settings.run_id,
            version.rows - writer.rows,
            version.rows,
            writer.rows,
        )
        return sent

    def _sent(self, version: Version, staged: list[Staged | None]) -> list[Staged]:
        """Return all parts in Cloud Storage; those still on disk are sent now."""
        return [
            sent
            if sent is not None
            else self._send(f"{version.table}/{self._part(version, number)}", version.parts[number])
            for number, sent in enumerate(staged)
        ]

    def _send(self, name: str, part: Part) -> Staged:
        staged = self._landing.upload(name, part.path, part.rows)
        part.path.unlink()
        return staged

    def _part(self, version: Version, number: int, kind: str = "") -> str:
        return part_name(self._settings.run_id, version.number, self._settings.process, f"{kind}{number:05}")

    def _manifest(self, version: Version, ready: Prepared, parts: list[Staged], place: int) -> Manifest:
        settings = self._settings
        return Manifest(
            run_id=settings.run_id,
            stream=version.stream,
            table=version.table,
            place=place,
            version=version.number,
            method=settings.load_method,
            replication=version.replication,
            proof=version.proof,
            source=settings.source,
            extractor=settings.extractor,
            keys=version.keys,
            fields=[item.to_api_repr() for item in ready.fields],
            fingerprint=tables.fingerprint(version.fields),
            parts=parts,
            started_at=version.started.isoformat(),
            numbered=version.numbered,
        )

    def _mark(self) -> None:
        """Leave this process's marker, by time, so that later runs see whether the ledger has its rows."""
        with self._lock:
            if self._marker is None:
                now = datetime.now(UTC).strftime("%Y-%m-%dT%H%M%S.%f")
                self._marker = f"{RUNS}{now}/{self._settings.run_id}~{self._settings.process}"
                self._landing.create(self._marker, b"")

    def _finish(self, manifest: Manifest, table: bigquery.Table | None = None) -> FinishedJob | None:
        """Return a manifest's job, run now or found finished; None where it has no rows to load."""
        if manifest.digest not in self._finished:
            done = self._run(manifest, table) if manifest.parts else None
            ended = done.job.ended if done is not None else None
            row = ledger.row(manifest, done.job.job_id if done else None, ended or datetime.now(UTC))
            with self._lock:
                self._finished[manifest.digest] = done
                self._rows[manifest.digest] = row
        return self._finished[manifest.digest]

    def _run(self, manifest: Manifest, table: bigquery.Table | None) -> FinishedJob:
        reference = self._cloud.dataset.table(manifest.table)
        base = manifest.job_id(self._settings.dataset)
        if manifest.method == "append-only":
            config = self._config(manifest, manifest.schema, bigquery.WriteDisposition.WRITE_APPEND)
            return self._load(manifest, f"{base}-load", reference, config)
        if manifest.method == "overwrite":
            # The table keeps columns that the stream no longer sends, and its policies.
            known = table or self._cloud.bigquery.get_table(reference, **self._cloud.call)
            config = self._config(manifest, list(known.schema), WRITE_TRUNCATE_DATA)
            return self._load(manifest, f"{base}-load", reference, config)
        return self._upsert(manifest, reference, base)

    def _upsert(self, manifest: Manifest, reference: bigquery.TableReference, base: str) -> FinishedJob:
        # The staging table belongs to this process, the merge's id to the manifest: two processes of a run merge once.
        dataset = self._settings.staging_dataset or self._settings.dataset
        staging = bigquery.Table(
            bigquery.DatasetReference(self._settings.project, dataset).table(
                f"_upsert_{manifest.table[:200]}_{self._settings.process}_{manifest.digest[:8]}"
            ),
            schema=manifest.schema,
        )
        staging.expires = datetime.now(UTC) + UPSERT_TABLE_LIFETIME
        try:
            self._cloud.bigquery.create_table(staging, exists_ok=True, **self._cloud.call)
        except Forbidden as error:
            raise TargetError(
                f"{manifest.stream}: upsert needs a temporary table, and may not create one in {dataset}; grant "
                "roles/bigquery.dataEditor on it, or set staging_dataset to a dataset where it may"
            ) from error
        config = self._config(manifest, manifest.schema, bigquery.WriteDisposition.WRITE_TRUNCATE)
        self._load(manifest, f"{base}-{self._settings.process}-staging", staging.reference, config)
        done = self._jobs.statement(
            f"{base}-merge",
            tables.merge_statement(reference, staging.reference, manifest.schema, manifest.keys),
            f"{manifest.stream}: merge into {reference}",
        )
        self._cloud.bigquery.delete_table(staging.reference, not_found_ok=True, **self._cloud.call)
        return done

    def _load(
        self,
        manifest: Manifest,
        base: str,
        table: bigquery.TableReference,
        config: bigquery.LoadJobConfig,
    ) -> FinishedJob:
        done = self._jobs.once(
            base,
            lambda job_id: self._cloud.bigquery.load_table_from_uri(
                [part.uri for part in manifest.parts],
                table,
                job_id=job_id,
                job_config=config,
                **self._cloud.job_place,
                **self._cloud.call,
            ),
            f"{manifest.stream}: nothing was loaded into {table} (its parts are in {self._landing.address(manifest.name)})",
        )
        if done.job.output_rows != manifest.rows:
            raise TargetError(
                f"{manifest.stream}: load job {done.job.job_id} reports {done.job.output_rows} rows, {manifest.rows} were "
                f"staged; look at the rows with _sdc_run_id = '{manifest.run_id}' before the next run"
            )
        return done

    def _config(
        self, manifest: Manifest, fields: list[SchemaField], disposition: str
    ) -> bigquery.LoadJobConfig:
        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.NEWLINE_DELIMITED_JSON,
            schema=fields,
            autodetect=False,
            max_bad_records=0,
            ignore_unknown_values=False,
            create_disposition=bigquery.CreateDisposition.CREATE_NEVER,
            write_disposition=disposition,
        )
        config.labels = {
            "process": self._settings.process,
            "rows": str(manifest.rows),
            "method": manifest.method,
        }
        return config

    def _runs_without_rows(self) -> Iterator[tuple[str, list[Manifest]]]:
        """Yield the markers of the newest runs without rows in the ledger, except this process's, and their manifests."""
        since = (datetime.now(UTC) - timedelta(days=RECOVERED_DAYS)).date().isoformat()
        names = set(self._landing.names(RUNS, start=f"{RUNS}{since}"))
        markers = sorted(
            name
            for name in names
            if not name.endswith(IN_LEDGER) and f"{name}{IN_LEDGER}" not in names and name != self._marker
        )
        for marker in markers[-RECOVERED_RUNS:]:
            run_id = marker.rpartition("/")[2].partition("~")[0]
            yield marker, list(self._read_all(folder_of_run(run_id)))

    def _recovered(self, manifest: Manifest) -> dict[str, Any] | None:
        """Return the ledger's row of another process's load, None where its rows are not in the table."""
        base = (
            f"{manifest.job_id(self._settings.dataset)}-{'merge' if manifest.method == 'upsert' else 'load'}"
        )
        ended, job_id = datetime.now(UTC), None
        try:
            for attempt in range(RECOVERED_RUNS):
                job = self._jobs.find(f"{base}-{attempt}")
                if job is None:
                    break
                if job.state == "DONE" and not job.error_result:
                    job_id, ended = job.job_id, job.ended or ended
                    break
        except Forbidden:
            # Another account's job: the table itself shows what was loaded.
            job_id = None
        if job_id is None and manifest.parts:
            if self._rows_of(manifest) != manifest.rows:
                return None
            job_id = f"{base}-0"
        logger.warning(
            "%s: run %s loaded %d rows and ended before it wrote them to the ledger; they are written now",
            manifest.stream,
            manifest.run_id,
            manifest.rows,
        )
        return ledger.row(manifest, job_id, ended)

    def _rows_of(self, manifest: Manifest) -> int:
        """Return how many of a manifest's rows are in its table; reads one partition."""
        reference = self._cloud.dataset.table(manifest.table)
        try:
            ((count,),) = self._cloud.query(
                tables.count_statement(reference),
                [
                    bigquery.ScalarQueryParameter("batched_at", "TIMESTAMP", manifest.started),
                    bigquery.ScalarQueryParameter("run_id", "STRING", manifest.run_id),
                    bigquery.ScalarQueryParameter("version", "INT64", manifest.version),
                ],
            )
        except NotFound:
            return 0
        return int(count)

    def _report(self, manifest: Manifest, done: FinishedJob | None, seconds: float) -> None:
        before = done is not None and not done.started_here
        figures.loaded(
            manifest.rows,
            manifest.size,
            None if before else seconds,
            stream=manifest.stream,
            run_id=manifest.run_id,
            table_version=manifest.version,
            job_id=done.job.job_id if done is not None else None,
            proof=manifest.proof,
        )
        if done is None:
            logger.info("%s: 0 rows, the stream is empty; nothing to load", manifest.stream)
        elif before:
            logger.info(
                "%s: run %s is loaded already, %s rows by job %s; nothing is loaded again",
                manifest.stream,
                manifest.run_id,
                manifest.rows,
                done.job.job_id,
            )
        else:
            logger.info(
                "%s: %d rows staged in %d part%s (%.0f kB), loaded by job %s, %.1f s",
                manifest.stream,
                manifest.rows,
                len(manifest.parts),
                "" if len(manifest.parts) == 1 else "s",
                manifest.size / 1000,
                done.job.job_id,
                seconds,
            )


def part_name(run_id: str, number: int, process: str, place: str) -> str:
    """Return the end of a part's object name, different for each process of a run."""
    return f"run_id={run_id}/{number}-{process}-{place}.jsonl.gz"
