"""The ledger `_loads`: one row per stream, version and run, written by one job per run, and completed by later runs."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from google.cloud import bigquery
from google.cloud.bigquery import SchemaField

from target_bigquery import tables
from target_bigquery.cloud import Cloud
from target_bigquery.jobs import Jobs
from target_bigquery.manifest import Manifest
from target_bigquery.names import LEDGER

COLUMNS = {
    "run_id": ("STRING", "The run."),
    "stream": ("STRING", "The stream, and the landing table of that name."),
    "table_version": ("INTEGER", "The version loaded, as in the rows' _sdc_table_version."),
    "method": ("STRING", "How the rows were loaded: append-only, overwrite or upsert."),
    "replication": ("STRING", "full or incremental: a whole extraction, or what is new in one."),
    "proof": (
        "STRING",
        (
            "What shows that the version is whole: tap (ACTIVATE_VERSION after its records), state (a STATE "
            "after them), end_of_input (nothing but the end)."
        ),
    ),
    "source": ("STRING", "Where the data came from, as the `source` setting names it."),
    "extractor": ("STRING", "Meltano's name of the extractor."),
    "rows": ("INTEGER", "Rows staged and loaded."),
    "bytes": ("INTEGER", "Compressed bytes of the parts."),
    "parts": ("INTEGER", "Parts in Cloud Storage."),
    "job_id": ("STRING", "The load job; none for an empty stream."),
    "started_at": ("TIMESTAMP", "When the target began the version."),
    "finished_at": ("TIMESTAMP", "When the load job had ended."),
    "schema_fingerprint": ("STRING", "Changes when columns, types or modes change."),
    "retracted_at": ("TIMESTAMP", "When the version was retracted; null where it was not."),
    "retraction_reason": ("STRING", "Why the version was retracted."),
}
REQUIRED = ("run_id", "stream")
FIELDS = [
    SchemaField(name, kind, "REQUIRED" if name in REQUIRED else "NULLABLE", description=text)
    for name, (kind, text) in COLUMNS.items()
]


def row(manifest: Manifest, job: Any | None) -> dict[str, Any]:  # noqa: ANN401 (any kind of job)
    """Return the ledger's row of a load whose job succeeded; None stands for the job of an empty stream."""
    finished = (job.ended if job else None) or datetime.now(UTC)
    return {
        "run_id": manifest.run_id,
        "stream": manifest.stream,
        "table_version": manifest.version,
        "method": manifest.method,
        "replication": manifest.replication,
        "proof": manifest.proof,
        "source": manifest.source,
        "extractor": manifest.extractor,
        "rows": manifest.rows,
        "bytes": manifest.size,
        "parts": len(manifest.parts),
        "job_id": job.job_id if job else None,
        "started_at": manifest.started_at,
        "finished_at": finished.isoformat(),
        "schema_fingerprint": manifest.fingerprint,
    }


def statement(table: bigquery.TableReference) -> str:
    """Return the MERGE that adds the missing rows of the parameter `entries`, a JSON array."""
    named = [item for item in FIELDS if not item.name.startswith("retract")]
    values = ", ".join(
        f"CAST(JSON_VALUE(entry, '$.{item.name}') AS {tables.SQL.get(item.field_type, item.field_type)}) "
        f"AS `{item.name}`"
        for item in named
    )
    columns = ", ".join(f"`{item.name}`" for item in named)
    # A row of an empty version has no job.
    return (
        f"MERGE {tables.quoted(table)} AS ledger USING (SELECT {values} "  # noqa: S608 (our own names)
        "FROM UNNEST(JSON_QUERY_ARRAY(@entries)) AS entry) AS loaded "
        "ON ledger.run_id = loaded.run_id AND ledger.stream = loaded.stream "
        "AND ledger.table_version = loaded.table_version "
        "AND IFNULL(ledger.job_id, '') = IFNULL(loaded.job_id, '') "
        f"WHEN NOT MATCHED THEN INSERT ({columns}) VALUES ({columns})"
    )


def write(cloud: Cloud, jobs: Jobs, rows: list[dict[str, Any]]) -> None:
    """Write the missing rows in one job, and create the ledger where tables are the target's to create.

    A MERGE writes each load once, however many runs report it.

    Raises:
        GoogleAPIError: BigQuery refused.
    """
    table = cloud.dataset.table(LEDGER)
    tables.ensure_ledger(cloud, table, FIELDS)
    jobs.statement(
        f"{cloud.settings.dataset}-{LEDGER}-{cloud.settings.run_id}-{cloud.settings.process}",
        statement(table),
        f"the streams are loaded, their rows in {table} are not (run again with the same run id)",
        [bigquery.ScalarQueryParameter("entries", "STRING", msgspec.json.encode(rows).decode())],
    )
