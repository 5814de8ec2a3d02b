"""Google's clients on the local services, and rows to load."""

import gzip
import json
import uuid
from typing import Any, cast

from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery, storage  # type: ignore[attr-defined]  # storage has no types
from testkit.whole_pipeline import local_bigquery

F = bigquery.SchemaField
SCHEMA = [
    F("id", "INTEGER", "REQUIRED"),
    F("name", "STRING"),
    F("origin", "RECORD", fields=[F("url", "STRING")]),
    F("episode", "STRING", "REPEATED"),
    F("at", "TIMESTAMP"),
]
ROWS = [
    {"id": i, "name": "Ünna", "origin": {"url": "u"}, "episode": ["a", "b"], "at": "2026-01-01T00:00:00Z"}
    for i in range(5)
]
BUCKET = "local-landing"


class Warehouse:
    """Google's clients on the local services, and a dataset of the tests' own."""

    def __init__(self, env: dict[str, str]) -> None:
        self.bigquery = local_bigquery(env)
        self.storage = storage.Client(
            project=env["GOOGLE_CLOUD_PROJECT"],
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": env["STORAGE_EMULATOR_HOST"]},
        )
        self.dataset = f"conformance_{uuid.uuid4().hex[:8]}"
        self.bigquery.create_dataset(self.dataset)

    def table(self, schema: list[bigquery.SchemaField] = SCHEMA) -> bigquery.Table:
        """A new empty table, partitioned by day and clustered by key."""
        table = bigquery.Table(self.new_name(), schema=schema)
        table.time_partitioning = bigquery.TimePartitioning(field="at")
        table.clustering_fields = ["id"]
        return self.bigquery.create_table(table)

    def put(self, rows: list[dict[str, Any]]) -> str:
        """A gzip part of rows; its address."""
        blob = self.blob()
        body = gzip.compress("\n".join(json.dumps(row) for row in rows).encode())
        blob.upload_from_string(body, content_type="application/gzip")
        return f"gs://{BUCKET}/{blob.name}"

    def load(
        self, table: bigquery.Table, uris: str | list[str], job_id: str | None = None, **options: Any
    ) -> Any:
        """A load job as the target makes it, awaited."""
        settings = {
            "source_format": "NEWLINE_DELIMITED_JSON",
            "schema": SCHEMA,
            "write_disposition": "WRITE_APPEND",
            "create_disposition": "CREATE_NEVER",
            **options,
        }
        config = bigquery.LoadJobConfig(**settings)
        job = self.bigquery.load_table_from_uri(uris, table.reference, job_id=job_id, job_config=config)
        job.result()
        return job

    def new_name(self) -> str:
        """The name of a table that does not exist yet."""
        return f"{self.bigquery.project}.{self.dataset}.t{uuid.uuid4().hex[:8]}"

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        return [tuple(row) for row in self.bigquery.query_and_wait(sql, job_retry=cast("Any", None))]

    def count(self, table: bigquery.Table) -> int:
        """The table's rows."""
        ((count,),) = self.query(f"SELECT COUNT(*) FROM `{table}`")
        return int(count)

    def blob(self, **options: Any) -> storage.Blob:
        """A new object."""
        return self.storage.bucket(BUCKET).blob(f"conformance/{uuid.uuid4().hex}", **options)
