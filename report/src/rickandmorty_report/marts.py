"""The rows of the marts that the page shows: one query per panel (queries/), each bounded in rows.

A query that shows only the leading rows has the number of all in `total_rows`, and their sum in `total_count`.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from typing import Any

from google.api_core.exceptions import BadRequest, Forbidden, GoogleAPIError, NotFound
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.cloud import bigquery
from google.cloud.bigquery import DEFAULT_RETRY
from requests import RequestException

from rickandmorty_report.errors import ReportError

Row = dict[str, Any]
# Query (its file's name without .sql) to its rows.
Marts = dict[str, list[Row]]
SECONDS = 60.0
BUILD = "build them with 'meltano invoke dbt-bigquery:build'"


def queries() -> dict[str, str]:
    """Return each query's name and SQL; tables are named without project and dataset."""
    folder = resources.files("rickandmorty_report") / "queries"
    return {
        item.name.removesuffix(".sql"): item.read_text("utf-8")
        for item in sorted(folder.iterdir(), key=lambda item: item.name)
        if item.name.endswith(".sql")
    }


def read(environment: Mapping[str, str]) -> Marts:
    """Read what the page shows, all queries concurrently, each in 60 seconds at most.

    `GOOGLE_CLOUD_PROJECT` names the project and `DATASET_PREFIX` (default `local_`) begins the dataset's name;
    credentials are Application Default Credentials.

    Raises:
        ReportError: No credentials or no project, the marts are missing or of another version, or BigQuery refuses.
    """
    project = environment.get("GOOGLE_CLOUD_PROJECT")
    if not project:
        raise ReportError("GOOGLE_CLOUD_PROJECT is not set: it names the project that holds the marts")
    marts = f"{project}.{environment.get('DATASET_PREFIX', 'local_')}rickandmorty_marts"
    try:
        client = bigquery.Client(project=project)
        config = bigquery.QueryJobConfig(default_dataset=marts)
        named = queries()

        def ask(sql: str) -> list[Row]:
            # Requests are repeated within the limit, jobs never: Google's default goes on for 40 minutes.
            retry = DEFAULT_RETRY.with_timeout(SECONDS)
            job = client.query(sql, job_config=config, timeout=SECONDS, retry=retry, job_retry=None)
            rows = job.result(timeout=SECONDS, retry=retry, job_retry=None)
            return [dict(row.items()) for row in rows]

        with ThreadPoolExecutor(len(named)) as pool:
            return dict(zip(named, pool.map(ask, named.values()), strict=True))
    except DefaultCredentialsError as error:
        raise ReportError(
            f"no Google credentials: {_message(error)}; run 'gcloud auth application-default login', "
            "or run where a service account is attached"
        ) from error
    except NotFound as error:
        raise ReportError(f"the marts are not all in {marts}: {_message(error)}; {BUILD}") from error
    except BadRequest as error:
        raise ReportError(
            f"the marts in {marts} are not those of this page: {_message(error)}; {BUILD}"
        ) from error
    except Forbidden as error:
        raise ReportError(
            f"{marts} may not be read: {_message(error)}; "
            "grant roles/bigquery.dataViewer on the dataset and roles/bigquery.jobUser on the project"
        ) from error
    except (GoogleAPIError, GoogleAuthError, RequestException, TimeoutError) as error:
        raise ReportError(f"BigQuery did not answer for {marts}: {_message(error)}; try again") from error


def _message(error: Exception) -> str:
    error = getattr(error, "cause", None) or error  # what ran out of time
    return " ".join(str(getattr(error, "message", error)).split())[:300].rstrip(".")
