"""`target-bigquery --check`: what a run needs, tried one by one, each said in one line with what to do."""

from __future__ import annotations

import os
import sys
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import google.auth
from google.api_core.exceptions import Forbidden, GoogleAPIError, NotFound, PreconditionFailed
from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery, storage  # type: ignore[attr-defined]
from google.cloud.bigquery import DEFAULT_RETRY
from requests import RequestException

from target_bigquery.names import LEDGER

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_bigquery.settings import Settings

OBJECT = "_check/target-bigquery"


class _UnfitError(Exception):
    """A check's finding: what is wrong, and what to do."""


def run(settings: Settings) -> bool:
    """Tries everything that a run needs, prints a line for each, and says whether all is well; loads nothing."""
    checks: list[tuple[str, Callable[[Settings], str]]] = [
        ("credentials", _credentials),
        ("jobs", _jobs),
        ("dataset", _dataset),
        ("tables", _tables),
        ("bucket", _bucket),
    ]
    well = True
    for name, check in checks:
        try:
            print(f"ok    {name:12} {check(settings)}")  # noqa: T201 (what was asked for)
        except (_UnfitError, GoogleAPIError, GoogleAuthError, RequestException) as error:
            well = False
            said = " ".join(str(error).split())[:300]
            print(f"FAIL  {name:12} {said}")  # noqa: T201
            if name == "credentials":
                break
    return well


def _credentials(_: Settings) -> str:
    try:
        credentials, _project = google.auth.default()
    except GoogleAuthError as error:
        raise _UnfitError(
            "no Application Default Credentials; run 'gcloud auth application-default login', or run where a service "
            "account is attached"
        ) from error
    return str(getattr(credentials, "service_account_email", None) or "Application Default Credentials")


def _client(settings: Settings) -> bigquery.Client:
    return bigquery.Client(project=settings.project)


def _jobs(settings: Settings) -> str:
    try:
        _client(settings).query(
            "SELECT 1",
            job_config=bigquery.QueryJobConfig(dry_run=True),
            location=settings.location,
            timeout=settings.timeout,
            retry=DEFAULT_RETRY.with_timeout(settings.timeout),
        )
    except Forbidden as error:
        raise _UnfitError(
            f"no jobs may be run in {settings.project}; grant roles/bigquery.jobUser on it"
        ) from error
    except NotFound as error:
        raise _UnfitError(f"project {settings.project} is not there; change the project setting") from error
    return f"may be run in {settings.project}"


def _dataset(settings: Settings) -> str:
    name = f"{settings.project}.{settings.dataset}"
    try:
        dataset = _client(settings).get_dataset(
            name, timeout=settings.timeout, retry=DEFAULT_RETRY.with_timeout(settings.timeout)
        )
    except NotFound as error:
        if settings.create_tables:
            return f"{name} is not there yet; the first run makes it in {settings.location}"
        raise _UnfitError(f"{name} is not there; create it (Terraform does)") from error
    except Forbidden as error:
        raise _UnfitError(f"{name} may not be read; grant roles/bigquery.dataEditor on it") from error
    if str(dataset.location).lower() != settings.location.lower():
        raise _UnfitError(
            f"{name} is in {dataset.location}, the location setting says {settings.location}; change the setting"
        )
    return f"{name} in {dataset.location}"


def _tables(settings: Settings) -> str:
    client, retry = _client(settings), DEFAULT_RETRY.with_timeout(settings.timeout)
    dataset = bigquery.DatasetReference(settings.project, settings.dataset)
    try:
        client.get_dataset(dataset, timeout=settings.timeout, retry=retry)
        if not settings.create_tables:
            client.get_table(dataset.table(LEDGER), timeout=settings.timeout, retry=retry)
            return f"{settings.dataset}.{LEDGER} is there; tables are not made here"
        table = bigquery.Table(
            dataset.table(f"_check_{uuid.uuid4().hex}"), schema=[bigquery.SchemaField("x", "INTEGER")]
        )
        table.expires = datetime.now(UTC) + timedelta(hours=1)
        client.create_table(table, timeout=settings.timeout, retry=retry)
        client.delete_table(table, timeout=settings.timeout, retry=retry)
    except NotFound as error:
        if settings.create_tables:
            return "made together with the dataset"
        raise _UnfitError(
            f"{settings.dataset}.{LEDGER} is not there; create the tables (Terraform does), or set create_tables to true"
        ) from error
    except Forbidden as error:
        raise _UnfitError(
            f"tables may not be made in {settings.dataset}; grant roles/bigquery.dataEditor on it"
        ) from error
    return f"may be made in {settings.dataset}"


def _bucket(settings: Settings) -> str:
    client = storage.Client(project=settings.project)
    try:
        client.bucket(settings.bucket).blob(OBJECT).upload_from_string(
            b"", if_generation_match=0, timeout=settings.timeout
        )
    except PreconditionFailed:
        pass  # it is there since an earlier check: permission is asked for before the precondition
    except NotFound as error:
        raise _UnfitError(
            f"gs://{settings.bucket} is not there; create it, or change the bucket setting"
        ) from error
    except Forbidden as error:
        raise _UnfitError(
            f"gs://{settings.bucket} may not be written; grant roles/storage.objectCreator and roles/storage.objectViewer on it"
        ) from error
    try:
        location = client.get_bucket(settings.bucket, timeout=settings.timeout).location
    except Forbidden:
        return f"gs://{settings.bucket} may be written; its location may not be read (storage.buckets.get)"
    if not _near(str(location), settings.location):
        raise _UnfitError(
            f"gs://{settings.bucket} is in {location}, the dataset in {settings.location}; load jobs need both in one place"
        )
    return f"gs://{settings.bucket} in {location}"


def _near(bucket: str, dataset: str) -> bool:
    """Says whether load jobs may read from the one into the other.

    A dataset in the US multi-region reads any bucket; the others need the same place, or a region of their
    multi-region (https://cloud.google.com/bigquery/docs/batch-loading-data#data-locations).
    """
    bucket, dataset = bucket.lower(), dataset.lower()
    return dataset in {bucket, "us"} or (dataset == "eu" and bucket.startswith("europe-"))


def end(*, well: bool) -> None:
    """End the process with the check's exit status, whatever still waits for an answer."""
    sys.stdout.flush()
    os._exit(0 if well else 1)
