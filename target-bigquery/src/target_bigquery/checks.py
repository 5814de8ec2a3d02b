"""`target-bigquery --check`: tries what a run does, and prints one line per step with what to do."""

import os
import sys
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NoAnswerError
from datetime import UTC, datetime, timedelta

from google.api_core.exceptions import Forbidden, NotFound
from google.cloud import bigquery

from target_bigquery.cloud import FAILURES, Cloud, message_of
from target_bigquery.errors import TargetError
from target_bigquery.landing import Landing
from target_bigquery.names import LEDGER
from target_bigquery.settings import Settings

FOLDER = "_check/"
TABLE_LIFETIME = timedelta(hours=1)
# A check makes a few calls, each of which may take its time-out.
CALLS = 3
# What a load job into a table that is there takes: https://cloud.google.com/bigquery/docs/batch-loading-data#permissions
WRITES = ["bigquery.tables.get", "bigquery.tables.updateData"]


def run(settings: Settings) -> bool:
    """Try everything that a run does, but load nothing; print a line for each check, and return whether all passed.

    The checks run concurrently; one without an answer within the time-outs fails.
    """
    pool = ThreadPoolExecutor()
    limit = settings.timeout_seconds * CALLS
    connected = pool.submit(Cloud, settings)
    if not _reported("credentials", pool.submit(lambda: _account(connected.result())), limit):
        return False
    checks = {"jobs": _jobs, "dataset": _dataset, "tables": _tables, "bucket": _bucket}
    started = {name: pool.submit(check, connected.result()) for name, check in checks.items()}
    passed = [_reported(name, done, limit) for name, done in started.items()]
    return all(passed)


def exit_process(*, passed: bool) -> None:
    """End the process with the check's exit status, whatever still waits for an answer."""
    sys.stdout.flush()
    os._exit(0 if passed else 1)


def _reported(name: str, done: Future[str], limit: float) -> bool:
    """Print a check's line, and return whether it passed."""
    try:
        mark, text = "ok", done.result(timeout=limit)
    except NoAnswerError:
        mark, text = "FAIL", f"no answer within {limit:.0f} s; look at the network, a proxy, timeout_seconds"
    except (TargetError, *FAILURES) as error:
        mark, text = "FAIL", message_of(error)
    print(f"{mark:5} {name:12} {text}")  # noqa: T201 (the check's output)
    return mark == "ok"


def _account(cloud: Cloud) -> str:
    used = cloud.bigquery._credentials  # noqa: SLF001 (the client has no public way to name its account)
    return str(getattr(used, "service_account_email", None) or "Application Default Credentials")


def _jobs(cloud: Cloud) -> str:
    project = cloud.settings.project
    try:
        cloud.query("SELECT 1")
    except Forbidden as error:
        raise TargetError(f"no jobs may be run in {project}; grant roles/bigquery.jobUser on it") from error
    except NotFound as error:
        raise TargetError(f"project {project} does not exist; change the project setting") from error
    return f"may be run in {project}"


def _dataset(cloud: Cloud) -> str:
    settings = cloud.settings
    name = f"{settings.project}.{settings.dataset}"
    try:
        dataset = cloud.bigquery.get_dataset(cloud.dataset, **cloud.call)
    except NotFound as error:
        if settings.create_tables:
            return (
                f"{name} does not exist yet; the first run creates it in {settings.location}, which takes roles/bigquery.user on "
                f"project {settings.project}"
            )
        raise TargetError(f"{name} does not exist; create it (Terraform does)") from error
    except Forbidden as error:
        raise TargetError(
            f"{name} may not be read, or does not exist; create it (Terraform does), or grant roles/bigquery.dataEditor on it"
        ) from error
    if str(dataset.location).lower() != settings.location.lower():
        raise TargetError(
            f"{name} is in {dataset.location}, the location setting says {settings.location}; change the setting"
        )
    return f"{name} in {dataset.location}"


def _tables(cloud: Cloud) -> str:
    """Create a temporary table and read it; where tables are not created here, read the ledger and ask what may be written."""
    settings = cloud.settings
    role = f"grant roles/bigquery.dataEditor on {settings.dataset}"
    try:
        if not settings.create_tables:
            ledger = cloud.dataset.table(LEDGER)
            cloud.bigquery.get_table(ledger, **cloud.call)
            cloud.query(f"SELECT COUNT(*) FROM `{settings.project}.{settings.dataset}.{LEDGER}`")  # noqa: S608
            held = cloud.bigquery.test_iam_permissions(ledger, WRITES, **cloud.call).get("permissions", [])
            if lacking := [permission for permission in WRITES if permission not in held]:
                raise TargetError(
                    f"rows may not be written in {settings.dataset}, {', '.join(lacking)} is missing; apply Terraform, or {role}"
                )
            return f"{settings.dataset}.{LEDGER} may be read and written; tables are not created here"
        cloud.bigquery.get_dataset(cloud.dataset, **cloud.call)
        name = f"_check_{uuid.uuid4().hex}"
        table = bigquery.Table(cloud.dataset.table(name), schema=[bigquery.SchemaField("x", "INTEGER")])
        table.expires = datetime.now(UTC) + TABLE_LIFETIME
        cloud.bigquery.create_table(table, **cloud.call)
        try:
            cloud.query(f"SELECT COUNT(*) FROM `{settings.project}.{settings.dataset}.{name}`")  # noqa: S608
        finally:
            cloud.bigquery.delete_table(table, not_found_ok=True, **cloud.call)
    except NotFound as error:
        if settings.create_tables:
            return "created together with the dataset"
        raise TargetError(
            f"{settings.dataset}.{LEDGER} does not exist; create the tables (Terraform does), or set create_tables to true"
        ) from error
    except Forbidden as error:
        raise TargetError(
            f"tables may not be created, or not be read, in {settings.dataset}; {role}"
        ) from error
    return f"may be created and read in {settings.dataset}"


def _bucket(cloud: Cloud) -> str:
    """Create an object, read it and list it, as a run does."""
    settings = cloud.settings
    landing = Landing(cloud)
    name = f"{FOLDER}{settings.process}"
    landing.create(name, b"{}")
    landing.read(landing.address(name))
    list(landing.names(name))
    text = f"gs://{settings.bucket} may be written, read and listed"
    try:
        location = str(cloud.storage.get_bucket(settings.bucket, **cloud.storage_call).location)
    except Forbidden:
        # The documented roles do not include storage.buckets.get; a load job reports the same.
        return text
    if not _near(location, settings.location):
        raise TargetError(
            f"gs://{settings.bucket} is in {location}, the dataset in {settings.location}; load jobs need both in one place"
        )
    return f"{text}, in {location}"


def _near(bucket: str, dataset: str) -> bool:
    """Return whether load jobs may read from the bucket's location into the dataset's.

    A dataset in the US multi-region reads any bucket; the others need the same place, or a region of their
    multi-region (https://cloud.google.com/bigquery/docs/batch-loading-data#data-locations).
    """
    bucket, dataset = bucket.lower(), dataset.lower()
    return dataset in {bucket, "us"} or (dataset == "eu" and bucket.startswith("europe-"))
