"""The jobs that load a manifest: one load job for append-only and overwrite, a load job and a MERGE for upsert."""

from datetime import UTC, datetime, timedelta

from google.api_core.exceptions import Forbidden
from google.cloud import bigquery
from google.cloud.bigquery import SchemaField

from target_bigquery import tables
from target_bigquery.cloud import Cloud
from target_bigquery.errors import TargetError
from target_bigquery.jobs import FinishedJob, Jobs
from target_bigquery.manifest import Manifest

UPSERT_TABLE_LIFETIME = timedelta(days=1)
# Replaces rows, and keeps the table's schema, partitions and row access policies
# (https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationLoad.FIELDS.write_disposition).
WRITE_TRUNCATE_DATA = "WRITE_TRUNCATE_DATA"


class LoadJobs:
    """Runs each manifest's jobs once; safe to use from several threads."""

    def __init__(self, cloud: Cloud, jobs: Jobs) -> None:
        self._cloud, self._settings, self._jobs = cloud, cloud.settings, jobs

    def run(self, manifest: Manifest) -> FinishedJob:
        """Return the finished job that changed the table, run now or by an earlier attempt.

        Raises:
            GoogleAPIError: BigQuery refused.
        """
        table = self._cloud.dataset.table(manifest.table)
        job_id = manifest.job_id
        if manifest.method == "upsert":
            return self._upsert(manifest, table, job_id)
        if manifest.method == "append-only":
            return self._load(
                manifest, table, job_id, manifest.schema, bigquery.WriteDisposition.WRITE_APPEND
            )
        # The table keeps columns that the stream no longer sends, and its policies.
        columns = self._cloud.bigquery.get_table(table, **self._cloud.call).schema
        return self._load(manifest, table, job_id, list(columns), WRITE_TRUNCATE_DATA)

    def _upsert(self, manifest: Manifest, table: bigquery.TableReference, job_id: str) -> FinishedJob:
        # The staging table belongs to this process, the merge's id to the manifest: two processes of a run merge once.
        process, call = self._settings.process, self._cloud.call
        dataset = self._settings.staging_dataset or self._settings.dataset
        name = f"_upsert_{manifest.table[:200]}_{process}_{manifest.digest[:8]}"
        reference = bigquery.DatasetReference(self._settings.project, dataset).table(name)
        staging = bigquery.Table(reference, schema=manifest.schema)
        staging.expires = datetime.now(UTC) + UPSERT_TABLE_LIFETIME
        try:
            self._cloud.bigquery.create_table(staging, exists_ok=True, **call)
        except Forbidden as error:
            raise TargetError(
                f"{manifest.stream}: upsert needs a temporary table, and may not create one in {dataset}; grant "
                "roles/bigquery.dataEditor on it, or set staging_dataset to a dataset where it may"
            ) from error
        replace = bigquery.WriteDisposition.WRITE_TRUNCATE
        self._load(manifest, reference, f"{job_id}-{process}-staging", manifest.schema, replace)
        done = self._jobs.statement(
            job_id,
            tables.merge_statement(table, reference, manifest.schema, manifest.keys),
            f"{manifest.stream}: merge into {table}",
            digest=manifest.digest,
        )
        self._cloud.bigquery.delete_table(reference, not_found_ok=True, **call)
        return done

    def _load(
        self,
        manifest: Manifest,
        table: bigquery.TableReference,
        job_id: str,
        fields: list[SchemaField],
        disposition: str,
    ) -> FinishedJob:
        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.NEWLINE_DELIMITED_JSON,
            schema=fields,
            autodetect=False,
            max_bad_records=0,
            ignore_unknown_values=False,
            create_disposition=bigquery.CreateDisposition.CREATE_NEVER,
            write_disposition=disposition,
            labels=self._jobs.labels(manifest.digest),
        )
        done = self._jobs.once(
            job_id,
            lambda numbered: self._cloud.bigquery.load_table_from_uri(
                [part.uri for part in manifest.parts],
                table,
                job_id=numbered,
                job_config=config,
                **self._cloud.job_place,
                **self._cloud.call,
            ),
            f"{manifest.stream}: nothing was loaded into {table} (its parts are in gs://{self._settings.bucket}/{manifest.name})",
            manifest.digest,
        )
        if done.job.output_rows != manifest.rows:
            raise TargetError(
                f"{manifest.stream}: load job {done.job.job_id} reports {done.job.output_rows} rows, {manifest.rows} were "
                f"staged; look at the rows with _sdc_run_id = '{manifest.run_id}' before the next run"
            )
        return done
