"""Google's clients of one run: created once, with the run's time-outs, and their errors explained in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from google.api_core.exceptions import Forbidden, GoogleAPIError
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.cloud import bigquery, storage  # type: ignore[attr-defined]  # storage has no types
from google.cloud.bigquery import DEFAULT_RETRY
from google.cloud.storage.retry import DEFAULT_RETRY as STORAGE_RETRY
from requests import RequestException

from target_bigquery.errors import TargetError
from target_bigquery.settings import Settings

NO_PERMISSION = {None, "accessDenied", "forbidden", "insufficientPermissions"}
FAILURES = (GoogleAPIError, GoogleAuthError, RequestException)
LONGEST = 400


class Cloud:
    """BigQuery and Cloud Storage for one run."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        try:
            self.bigquery = bigquery.Client(project=settings.project)
            self.storage = storage.Client(project=settings.project)
        except DefaultCredentialsError as error:
            raise TargetError(
                f"no Application Default Credentials: {message_of(error)}; run 'gcloud auth application-default login', "
                "or run where a service account is attached"
            ) from error
        self.dataset = bigquery.DatasetReference(settings.project, settings.dataset)
        # Arguments of all calls to BigQuery, and to Cloud Storage: a time-out for one try, and for all retries together.
        self.call: dict[str, Any] = {
            "timeout": settings.timeout_seconds,
            "retry": DEFAULT_RETRY.with_timeout(settings.timeout_seconds),
        }
        self.storage_call: dict[str, Any] = {
            "timeout": settings.timeout_seconds,
            "retry": STORAGE_RETRY.with_timeout(settings.timeout_seconds),
        }
        self.job_place: dict[str, Any] = {"project": settings.project, "location": settings.location}

    def query(self, sql: str, parameters: list[Any] | None = None) -> list[tuple[Any, ...]]:
        """Return the rows of a query.

        Raises:
            GoogleAPIError: BigQuery refused.
        """
        config = bigquery.QueryJobConfig(query_parameters=parameters or [])
        job = self.bigquery.query(sql, job_config=config, job_retry=None, **self.job_place, **self.call)
        return [tuple(row.values()) for row in job.result(job_retry=None, **self.call)]

    @contextmanager
    def explaining(self, what: str) -> Iterator[None]:
        """Turn the errors of Google's clients into one line that begins with `what` and ends with what to do."""
        try:
            yield
        except FAILURES as error:
            message, settings = message_of(error), self.settings
            # Google's word for it.
            given = [entry.get("reason") for entry in getattr(error, "errors", ()) if isinstance(entry, dict)]
            reason = next(filter(None, given), None)
            if not isinstance(error, Forbidden):
                text = f"{message}; run again with the same run id, it will not load twice"
            elif reason in NO_PERMISSION:
                text = (
                    f"no permission: {message}; the account needs roles/bigquery.jobUser on project {settings.project}, "
                    f"roles/bigquery.dataEditor on dataset {settings.dataset}, roles/storage.objectCreator and "
                    f"roles/storage.objectViewer on bucket {settings.bucket}"
                )
            else:
                text = (
                    f"refused: {reason}: {message}; wait or ask for more quota (https://cloud.google.com/bigquery/quotas), "
                    "then run again with the same run id"
                )
            raise TargetError(f"{what}: {text}") from error


def message_of(error: Exception) -> str:
    """Return an error's message in one line."""
    return " ".join(str(getattr(error, "message", "") or error).split())[:LONGEST]
