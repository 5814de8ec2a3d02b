"""The ledger `_loads`: one row for each stream and run, written once, and mended by the next run after a crash."""

from __future__ import annotations

import io
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from google.cloud import bigquery
from google.cloud.bigquery import DEFAULT_RETRY, SchemaField

from target_bigquery import tables
from target_bigquery.names import LEDGER

if TYPE_CHECKING:
    from target_bigquery.jobs import Jobs
    from target_bigquery.settings import Settings

logger = logging.getLogger("target-bigquery.ledger")

FIELDS = [
    SchemaField("run_id", "STRING", "REQUIRED", description="The run."),
    SchemaField(
        "stream", "STRING", "REQUIRED", description="The stream, and the landing table of that name."
    ),
    SchemaField(
        "table_version", "INTEGER", description="The version loaded, as in the rows' _sdc_table_version."
    ),
    SchemaField(
        "method", "STRING", description="How the rows were loaded: append-only, overwrite or upsert."
    ),
    SchemaField(
        "replication", "STRING", description="full or incremental: a whole extraction, or what is new in one."
    ),
    SchemaField(
        "proof",
        "STRING",
        description="What says that the version is whole: tap (ACTIVATE_VERSION after its records), state (a STATE "
        "after them), end_of_input (nothing but the end).",
    ),
    SchemaField(
        "source", "STRING", description="Where the data came from, as the `source` setting names it."
    ),
    SchemaField("extractor", "STRING", description="Meltano's name of the extractor."),
    SchemaField("rows", "INTEGER", description="Rows staged and loaded."),
    SchemaField("bytes", "INTEGER", description="Compressed bytes of the parts."),
    SchemaField("parts", "INTEGER", description="Parts in Cloud Storage."),
    SchemaField("job_id", "STRING", description="The load job; none for an empty stream."),
    SchemaField("started_at", "TIMESTAMP", description="When the target began the version."),
    SchemaField("finished_at", "TIMESTAMP", description="When the load job had ended."),
    SchemaField("schema_fingerprint", "STRING", description="Changes when columns, types or modes change."),
    SchemaField(
        "retracted_at", "TIMESTAMP", description="When somebody took the version back; null where nobody has."
    ),
    SchemaField("retraction_reason", "STRING", description="Why it was taken back."),
]
LOOKED_BACK_DAYS = 7


class Ledger:
    """Writes and mends the ledger; safe to use from several threads."""

    def __init__(self, client: bigquery.Client, jobs: Jobs, settings: Settings) -> None:
        self._client, self._jobs, self._settings = client, jobs, settings
        self._retry = DEFAULT_RETRY.with_timeout(settings.timeout)
        self._table = bigquery.DatasetReference(settings.project, settings.dataset).table(LEDGER)

    def ensure(self) -> None:
        """Makes the ledger's table, where tables are the target's to make and it is not there."""
        if self._settings.create_tables:
            tables.ensure_plain(self._client, self._table, FIELDS, self._settings)

    def write(self, base: str, row: dict[str, Any]) -> None:
        """Writes a row once: its load job's id is made of the load's.

        Raises:
            TargetError: The row could not be written.
        """
        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.NEWLINE_DELIMITED_JSON,
            schema=FIELDS,
            create_disposition=bigquery.CreateDisposition.CREATE_NEVER,
            write_disposition=bigquery.WriteDisposition.WRITE_APPEND,
        )
        self._jobs.once(
            f"{base}-ledger",
            lambda job_id: self._client.load_table_from_file(
                io.BytesIO(msgspec.json.encode(row) + b"\n"),
                self._table,
                job_id=job_id,
                project=self._settings.project,
                location=self._settings.location,
                job_config=config,
                timeout=self._settings.timeout,
            ),
            f"{row['stream']}: its rows are loaded, its row in {self._table} is not (run again with the same run id)",
        )

    def missing(self, table: bigquery.TableReference, stream: str) -> list[tuple[str, int, int, datetime]]:
        """Gives run id, version, rows and start of what the last seven days loaded and the ledger does not tell."""
        sql = f"""
            SELECT landed._sdc_run_id, landed._sdc_table_version, COUNT(*), MIN(landed._sdc_batched_at)
            FROM `{table.project}.{table.dataset_id}.{table.table_id}` AS landed
            LEFT JOIN `{table.project}.{table.dataset_id}.{LEDGER}` AS told
                ON told.stream = @stream AND told.run_id = landed._sdc_run_id
            WHERE landed._sdc_batched_at >= @since AND landed._sdc_run_id != @run_id AND told.run_id IS NULL
            GROUP BY landed._sdc_run_id, landed._sdc_table_version
        """  # noqa: S608 (names that BigQuery gave)
        day = datetime.now(UTC).timestamp() - LOOKED_BACK_DAYS * 86400
        config = bigquery.QueryJobConfig(
            query_parameters=[
                bigquery.ScalarQueryParameter("stream", "STRING", stream),
                bigquery.ScalarQueryParameter("run_id", "STRING", self._settings.run_id),
                bigquery.ScalarQueryParameter("since", "TIMESTAMP", datetime.fromtimestamp(day, UTC)),
            ]
        )
        found = self._client.query(
            sql,
            job_config=config,
            project=self._settings.project,
            location=self._settings.location,
            timeout=self._settings.timeout,
            retry=self._retry,
        ).result(timeout=self._settings.timeout, retry=self._retry)
        return [tuple(row.values()) for row in found]


def row(  # noqa: PLR0913 (the ledger's columns)
    stream: str,
    run_id: str,
    *,
    version: int,
    method: str,
    replication: str | None,
    proof: str | None,
    settings: Settings,
    rows: int,
    size: int | None,
    parts: int | None,
    job: Any | None,  # noqa: ANN401 (any kind of job)
    started: datetime,
    fingerprint: str | None,
) -> dict[str, Any]:
    """Gives a row; a finished job's labels tell what was loaded by whoever loaded it."""
    labels: dict[str, str] = (job.labels or {}) if job is not None else {}
    ended = job.ended if job is not None and job.ended else datetime.now(UTC)
    return {
        "run_id": run_id,
        "stream": stream,
        "table_version": int(labels.get("version", version)),
        "method": labels.get("method", method),
        "replication": labels.get("replication", replication),
        "proof": labels.get("proof", proof),
        "source": settings.source,
        "extractor": settings.extractor,
        "rows": int(labels.get("rows", rows)),
        "bytes": int(labels["bytes"]) if "bytes" in labels else size,
        "parts": int(labels["parts"]) if "parts" in labels else parts,
        "job_id": job.job_id if job is not None else None,
        "started_at": started.isoformat(),
        "finished_at": ended.isoformat(),
        "schema_fingerprint": labels.get("schema", fingerprint),
    }
