"""A version into BigQuery: uploads and one job, found again instead of repeated, then its row in the ledger."""

from __future__ import annotations

import logging
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from google.api_core.exceptions import Forbidden, GoogleAPIError
from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery
from google.cloud.bigquery import DEFAULT_RETRY, SchemaField
from requests import RequestException

from target_bigquery import figures, landing, ledger, tables
from target_bigquery.errors import TargetError
from target_bigquery.jobs import Done, Jobs
from target_bigquery.names import LEDGER
from target_bigquery.schema import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from google.cloud import storage  # type: ignore[attr-defined]

    from target_bigquery.parts import Part
    from target_bigquery.settings import Settings

logger = logging.getLogger("target-bigquery.load")

UPSERT_TABLE_LIVES = timedelta(days=1)


@dataclass(frozen=True)
class Prepared:
    """A stream's table, made ready: the columns to load, the table's own, and the job by which this run is loaded already."""

    fields: list[SchemaField]
    table: bigquery.Table
    loaded: Any | None


@dataclass
class WholeVersion:
    """A version of a stream that is complete: its parts, and the uploads that take them to Cloud Storage."""

    stream: str
    table: str
    version: int
    fields: list[SchemaField]
    keys: list[str]
    parts: list[Part]
    uploads: list[Future[str | None]]
    rows: int
    started: datetime
    prepared: Future[Prepared]
    proof: str
    replication: str
    clock: float = field(default_factory=time.monotonic)

    @property
    def size(self) -> int:
        """Compressed bytes of all parts."""
        return sum(part.size for part in self.parts)


class Loader:
    """Loads whole versions; safe to use from several threads."""

    def __init__(
        self, settings: Settings, bigquery_client: bigquery.Client, storage_client: storage.Client
    ) -> None:
        self._settings = settings
        self._bigquery = bigquery_client
        self._storage = storage_client
        self._retry = DEFAULT_RETRY.with_timeout(settings.timeout)
        self._dataset = bigquery.DatasetReference(settings.project, settings.dataset)
        self._jobs = Jobs(bigquery_client, settings)
        self._ledger = ledger.Ledger(bigquery_client, self._jobs, settings)

    def prepare(self, stream: str, table: str, fields: list[SchemaField], keys: list[str]) -> Prepared:
        """Makes or checks a stream's table, before anything of it is loaded.

        Raises:
            TargetError: The table is not there, or cannot hold what the stream sends.
        """
        reference = self._dataset.table(table)
        with self._told(stream, reference):
            columns, made = tables.ensure(self._bigquery, reference, fields, keys, self._settings)
            self._ledger.ensure()
            return Prepared(columns, made, self._jobs.finished(self._final(table)))

    def mend_ledger(self, stream: str, table: str, prepared: Future[Prepared]) -> None:
        """Writes the ledger's rows that a crash between load and ledger has kept from being written.

        Raises:
            TargetError: BigQuery refused.
        """
        ready = prepared.result()
        if not ready.table.num_rows:
            return
        with self._told(stream, ready.table.reference):
            for run_id, version, rows, started in self._ledger.missing(ready.table.reference, stream):
                job = self._jobs.finished(self._final(table, run_id))
                logger.warning(
                    "%s: run %s had loaded %d rows and ended before it told the ledger; told now",
                    stream,
                    run_id,
                    rows,
                )
                line = ledger.row(
                    stream,
                    run_id,
                    version=version,
                    method=self._settings.load_method,
                    replication=None,
                    proof=None,
                    settings=self._settings,
                    rows=rows,
                    size=None,
                    parts=None,
                    job=job,
                    started=started,
                    fingerprint=None,
                )
                self._ledger.write(self._base(table, run_id), line)

    def upload(
        self, stream: str, version: int, number: int, part: Part, prepared: Future[Prepared]
    ) -> str | None:
        """Takes a part to Cloud Storage and deletes it here; gives its address, None where the run is loaded already.

        Raises:
            TargetError: The bucket refuses, or is not there.
        """
        uri = None
        if prepared.result().loaded is None:
            name = f"{self._prefix(stream)}{version}-{number:05}.jsonl.gz"
            uri = landing.upload(
                self._storage, self._settings.bucket, name, part.path, self._settings.timeout
            )
        part.path.unlink()
        return uri

    def load(self, version: WholeVersion) -> None:
        """Loads a version once, whatever happened before under this run id.

        Raises:
            TargetError: It could not be loaded; the landing table is as it was.
        """
        reference = self._dataset.table(version.table)
        with self._told(version.stream, reference):
            ready = version.prepared.result()
            uris = [upload.result() for upload in version.uploads]
            if ready.loaded is not None:
                done: Done | None = Done(ready.loaded, ours=False)
            elif uris:
                done = self._by_method(version, ready, [uri for uri in uris if uri is not None])
            else:
                done = None
            self._say(version, done)
            line = ledger.row(
                version.stream,
                self._settings.run_id,
                version=version.version,
                method=self._settings.load_method,
                replication=version.replication,
                proof=version.proof,
                settings=self._settings,
                rows=version.rows,
                size=version.size,
                parts=len(version.parts),
                job=done.job if done else None,
                started=version.started,
                fingerprint=fingerprint(version.fields),
            )
            self._ledger.write(self._base(version.table), line)

    def _by_method(self, version: WholeVersion, ready: Prepared, uris: list[str]) -> Done:
        reference = ready.table.reference
        base = self._final(version.table)
        if self._settings.load_method == "append-only":
            config = self._config(version, ready.fields, bigquery.WriteDisposition.WRITE_APPEND)
            return self._load(version, base, uris, reference, config)
        if self._settings.load_method == "overwrite":
            # The job replaces rows and columns in one step; columns that the stream no longer sends are kept.
            config = self._config(version, list(ready.table.schema), bigquery.WriteDisposition.WRITE_TRUNCATE)
            config.time_partitioning = ready.table.time_partitioning
            config.clustering_fields = ready.table.clustering_fields
            return self._load(version, base, uris, reference, config)
        return self._upsert(version, ready, uris)

    def _upsert(self, version: WholeVersion, ready: Prepared, uris: list[str]) -> Done:
        # The staging table is this process's own, the merge's id the run's: two processes of a run merge once.
        staging = bigquery.Table(
            self._dataset.table(f"_upsert_{version.table}_{self._settings.process}_{uuid.uuid4().hex[:8]}"),
            schema=ready.fields,
        )
        staging.expires = datetime.now(UTC) + UPSERT_TABLE_LIVES
        self._bigquery.create_table(staging, timeout=self._settings.timeout, retry=self._retry)
        config = self._config(version, ready.fields, bigquery.WriteDisposition.WRITE_TRUNCATE)
        self._load(
            version, f"{self._base(version.table)}-{staging.table_id}", uris, staging.reference, config
        )
        merge = bigquery.QueryJobConfig(labels=config.labels)
        done = self._jobs.once(
            self._final(version.table),
            lambda job_id: self._bigquery.query(
                tables.merge_statement(ready.table.reference, staging.reference, ready.fields, version.keys),
                job_id=job_id,
                project=self._settings.project,
                location=self._settings.location,
                job_config=merge,
                timeout=self._settings.timeout,
                retry=self._retry,
                job_retry=None,
            ),
            f"{version.stream}: merge into {ready.table.reference}",
        )
        self._bigquery.delete_table(
            staging.reference, not_found_ok=True, timeout=self._settings.timeout, retry=self._retry
        )
        return done

    def _load(
        self,
        version: WholeVersion,
        base: str,
        uris: list[str],
        table: bigquery.TableReference,
        config: bigquery.LoadJobConfig,
    ) -> Done:
        done = self._jobs.once(
            base,
            lambda job_id: self._bigquery.load_table_from_uri(
                uris,
                table,
                job_id=job_id,
                project=self._settings.project,
                location=self._settings.location,
                job_config=config,
                timeout=self._settings.timeout,
                retry=self._retry,
            ),
            f"{version.stream}: nothing was loaded into {table} "
            f"(its parts are in gs://{self._settings.bucket}/{self._prefix(version.stream)})",
        )
        staged = int((done.job.labels or {}).get("rows", -1))
        if done.job.output_rows != staged:
            raise TargetError(
                f"{version.stream}: load job {done.job.job_id} reports {done.job.output_rows} rows, {staged} were staged; "
                f"look at the rows with _sdc_run_id = '{self._settings.run_id}' before the next run"
            )
        return done

    def _config(
        self, version: WholeVersion, fields: list[SchemaField], disposition: str
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
            "rows": str(version.rows),
            "version": str(version.version),
            "bytes": str(version.size),
            "parts": str(len(version.parts)),
            "method": self._settings.load_method,
            "replication": version.replication,
            "proof": version.proof,
            "schema": fingerprint(version.fields),
            "process": self._settings.process,
        }
        return config

    def _base(self, table: str, run_id: str | None = None) -> str:
        # Neither dataset nor table has a hyphen, and after the run id come a kind and a number: no two runs share an id.
        return f"{self._settings.dataset}-{table}-{run_id or self._settings.run_id}"

    def _final(self, table: str, run_id: str | None = None) -> str:
        """Gives the beginning of the ids of the job after which a run is loaded."""
        return self._base(table, run_id) + ("-merge" if self._settings.load_method == "upsert" else "-load")

    def _prefix(self, stream: str) -> str:
        return f"{stream}/run_id={self._settings.run_id}/"

    def _say(self, version: WholeVersion, done: Done | None) -> None:
        labels: dict[str, str] = (done.job.labels or {}) if done is not None else {}
        before = done is not None and not done.ours
        rows, size = int(labels.get("rows", version.rows)), int(labels.get("bytes", version.size))
        figures.loaded(
            rows,
            size,
            None if before else time.monotonic() - version.clock,
            stream=version.stream,
            run_id=self._settings.run_id,
            table_version=int(labels.get("version", version.version)),
            job_id=done.job.job_id if done is not None else None,
            proof=labels.get("proof", version.proof),
        )
        if done is None:
            logger.info("%s: 0 rows, the stream is empty; nothing to load", version.stream)
        elif before:
            logger.info(
                "%s: run %s is loaded already, %s rows by job %s; nothing is loaded again",
                version.stream,
                self._settings.run_id,
                rows,
                done.job.job_id,
            )
        else:
            logger.info(
                "%s: %d rows staged in %d part%s (%.0f kB), loaded by job %s, %.1f s",
                version.stream,
                version.rows,
                len(version.parts),
                "" if len(version.parts) == 1 else "s",
                version.size / 1000,
                done.job.job_id,
                time.monotonic() - version.clock,
            )

    @contextmanager
    def _told(self, stream: str, reference: bigquery.TableReference) -> Iterator[None]:
        """Turns what Google's clients raise into one line.

        Raises:
            TargetError: Always, where the clients raise.
        """
        try:
            yield
        except GoogleAPIError as error:
            reason = next(
                (e.get("reason") for e in getattr(error, "errors", ()) if isinstance(e, dict)), None
            )
            if isinstance(error, Forbidden) and reason in {None, "accessDenied", "forbidden"}:
                raise TargetError(
                    f"{stream}: no permission: {_said(error)}; the account needs roles/bigquery.jobUser on project "
                    f"{self._settings.project} and roles/bigquery.dataEditor on dataset {self._settings.dataset}"
                ) from error
            if isinstance(error, Forbidden):
                raise TargetError(
                    f"{stream}: BigQuery refused for table {reference}: {reason}: {_said(error)}; wait or ask for more "
                    "quota (https://cloud.google.com/bigquery/quotas), then run again with the same run id"
                ) from error
            raise TargetError(
                f"{stream}: BigQuery failed for table {reference} or the ledger {LEDGER}: {_said(error)}; "
                "run again with the same run id, it will not load twice"
            ) from error
        except (GoogleAuthError, RequestException) as error:
            raise TargetError(
                f"{stream}: BigQuery failed for table {reference} or the ledger {LEDGER}: {_said(error)}; "
                "run again with the same run id, it will not load twice"
            ) from error


def _said(error: Exception) -> str:
    return " ".join(str(getattr(error, "message", "") or error).split())[:400]
