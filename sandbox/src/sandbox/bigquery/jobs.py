"""Jobs: an id is used once, a job lives in one location, and jobs.get has every field of BigQuery's."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

from bqemulator.api.dependencies import AppContext, get_caller, get_context
from bqemulator.catalog.etag import generate_etag
from bqemulator.catalog.models import JobMeta, JobType
from bqemulator.domain.errors import (
    AlreadyExistsError,
    ErrorDetail,
    InvalidQueryError,
    NotFoundError,
    PermissionDeniedError,
    ValidationError,
)
from bqemulator.jobs.executor import execute_load_job
from bqemulator.row_access.identity import CallerIdentity
from fastapi import Depends, Request

from . import loads, patches
from .load_request import destination, source_format

Ctx = Annotated[AppContext, Depends(get_context)]
Caller = Annotated[CallerIdentity, Depends(get_caller)]
KINDS: dict[str, JobType] = {"query": "QUERY", "load": "LOAD", "extract": "EXTRACT", "copy": "COPY"}
ERRORS = {"notFound": NotFoundError, "accessDenied": PermissionDeniedError, "duplicate": AlreadyExistsError}
LOCATION = "_location"  # where a job keeps it in the catalog, which has no column for it
RUNNING: dict[tuple[str, str], JobMeta] = {}
_insert = patches.route("api.routes.jobs", "POST", "/projects/{project_id}/jobs")
_query = patches.route("api.routes.jobs", "POST", "/projects/{project_id}/queries")
_envelope = patches.get("api.routes.upload", "_load_configuration_from_envelope")


def _find_job(ctx: AppContext, project_id: str, job_id: str) -> JobMeta | None:
    return RUNNING.get((project_id, job_id)) or ctx.catalog.get_job(project_id, job_id)


def _not_found(message: str) -> NotFoundError:
    return NotFoundError(message, details=[ErrorDetail(reason="notFound", message=message)])


@contextmanager
def _running(
    ctx: AppContext,
    project_id: str,
    reference: dict[str, Any],
    config: dict[str, Any],
    email: str | None = None,
) -> Iterator[JobMeta]:
    """Take the id of a JobReference, or a new one, for a job that runs meanwhile.

    Raises:
        AlreadyExistsError: The id was taken before.
        NotFoundError: The destination's dataset is in another location than the one asked for.
    """
    job_id = reference.get("jobId") or f"job_{uuid4().hex}"
    location = _location(project_id, config, reference.get("location"), ctx)
    if _find_job(ctx, project_id, job_id) is not None:
        message = f"Already Exists: Job {project_id}:{location}.{job_id}"
        raise AlreadyExistsError(message, details=[ErrorDetail(reason="duplicate", message=message)])
    now = ctx.clock.now()
    RUNNING[project_id, job_id] = JobMeta(
        project_id=project_id,
        job_id=job_id,
        job_type=next(kind for key, kind in KINDS.items() if key in config),
        state="RUNNING",
        configuration=config,
        creation_time=now,
        start_time=now,
        statistics={LOCATION: location},
        user_email=email,
        etag=generate_etag(project_id, job_id, str(now)),
    )
    try:
        yield RUNNING[project_id, job_id]
    finally:
        del RUNNING[project_id, job_id]


def _location(project_id: str, config: dict[str, Any], asked: str | None, ctx: AppContext) -> str:
    destination = next(
        (config[kind].get("destinationTable") or {} for kind in ("load", "copy") if kind in config), {}
    )
    dataset = (
        ctx.catalog.get_dataset(destination.get("projectId") or project_id, destination.get("datasetId", ""))
        if destination
        else None
    )
    if dataset is None:
        return asked or "US"
    if asked and asked.upper() != dataset.location.upper():
        raise _not_found(
            f"Not found: Dataset {dataset.project_id}:{dataset.dataset_id} was not found in location {asked}"
        )
    return dataset.location


@patches.replaces("api.routes.jobs", "_build_job_response", why="errors[], location, times of a Job")
def resource(project_id: str, job_id: str, job: JobMeta, config: dict[str, Any]) -> dict[str, Any]:
    """Return the Job resource."""
    times = {"creationTime": job.creation_time, "startTime": job.start_time, "endTime": job.end_time}
    statistics = {key: str(int(at.timestamp() * 1000)) for key, at in times.items() if at}
    statistics |= {key: value for key, value in job.statistics.items() if not key.startswith("_")}
    status: dict[str, Any] = {"state": job.state}
    if job.error_result:
        status |= {
            "errorResult": job.error_result,
            "errors": job.statistics.get("_errors") or [job.error_result],
        }
    location = job.statistics.get(LOCATION, "US")
    return {
        "kind": "bigquery#job",
        "id": f"{project_id}:{location}.{job_id}",
        "etag": job.etag,
        "jobReference": {"projectId": project_id, "jobId": job_id, "location": location},
        "configuration": {**config, "jobType": job.job_type},
        "status": status,
        "statistics": statistics,
        "user_email": job.user_email or "emulator@localhost",
    }


patches.replace("api.routes.upload", "_build_job_response", resource, "the same")


async def _load(job: JobMeta, ctx: AppContext, upload: Path | None = None) -> JobMeta:
    config, load = job.configuration, job.configuration["load"]
    if source_format(load) in loads.FORMATS:
        return await loads.run(job, ctx, upload)
    place = destination(job.project_id, load)
    if not (load.get("schema") or {}).get("fields") and ctx.catalog.get_table(*place) is None:
        raise ValidationError(
            f"The sandbox's BigQuery takes no schema from a file of {load['sourceFormat']}: {'.'.join(place)} is not there, and the job has none"
        )
    if upload is not None:
        config = {"load": {**load, "sourceUris": [f"file://{upload}"]}}
    done = await execute_load_job(job.project_id, job.job_id, config, ctx)
    return ctx.catalog.upsert_job(loads.finished(job, ctx, statistics=done.statistics))


@patches.replaces_route(
    "api.routes.jobs",
    "POST",
    "/projects/{project_id}/jobs",
    why="409 for a job id in use; locations; labels kept; our load jobs",
)
async def insert_job(project_id: str, request: Request, ctx: Ctx, caller: Caller) -> dict[str, Any]:
    """Run a job."""
    body = await request.json()
    config, reference = body.get("configuration") or {}, body.get("jobReference") or {}
    if (config.get("query") or {}).get("destinationTable"):
        raise ValidationError(
            "The sandbox's BigQuery writes no query into a destinationTable: CREATE TABLE … AS does"
        )
    if not KINDS.keys() & config or config.get("dryRun"):
        return dict(await _insert(project_id, request, ctx, caller))
    email = caller.email if caller.is_authenticated else None
    with _running(ctx, project_id, reference, config, email) as job:
        # The request keeps the body that it has parsed.
        body["jobReference"] = {**reference, "jobId": job.job_id}
        # Of the strict service: the job fails, and its id is taken.
        if refused := request.headers.get("x-sandbox-refused"):
            done = ctx.catalog.upsert_job(loads.finished(job, ctx, error_result=json.loads(refused)))
        elif "load" in config:
            done = await _load(job, ctx)
        else:
            answer = await _insert(project_id, request, ctx, caller)
            stored = ctx.catalog.get_job(project_id, job.job_id)
            statistics, failed = (stored.statistics, stored.error_result) if stored else ({}, None)
            kept = {key: value for key, value in answer["configuration"].items() if key != "jobType"}
            change = {"configuration": kept, "statistics": statistics, "error_result": failed}
            done = ctx.catalog.upsert_job(loads.finished(job, ctx, **change))
    return resource(project_id, done.job_id, done, done.configuration)


@patches.replaces_route(
    "api.routes.jobs",
    "POST",
    "/projects/{project_id}/queries",
    why="a failed query is an HTTP error: query_and_wait took it for one without rows",
)
async def run_query(project_id: str, request: Request, ctx: Ctx, caller: Caller) -> dict[str, Any]:
    """Run a query and return its first rows."""
    answer = await _query(project_id, request, ctx, caller)
    for error in answer.get("errors") or ():
        raise ERRORS.get(error.get("reason"), InvalidQueryError)(error.get("message", ""))
    return dict(answer)


@patches.replaces_route(
    "api.routes.jobs",
    "GET",
    "/projects/{project_id}/jobs/{job_id}",
    why="a job is found in its own location only, and while it runs",
)
def get_job(project_id: str, job_id: str, ctx: Ctx, location: str | None = None) -> dict[str, Any]:
    """Return a job."""
    job = _find_job(ctx, project_id, job_id)
    if job is None or (location and location.upper() != job.statistics.get(LOCATION, "US").upper()):
        raise _not_found(f"Not found: Job {project_id}:{location + '.' if location else ''}{job_id}")
    return resource(project_id, job_id, job, job.configuration)


@patches.replaces("api.routes.upload", "_load_configuration_from_envelope", why="an upload keeps its job id")
def configuration(envelope: dict[str, Any]) -> dict[str, Any]:
    """Return an upload's configuration, with its jobReference."""
    return {**_envelope(envelope), "_reference": envelope.get("jobReference") or {}}


@patches.replaces("api.routes.upload", "_run_load", why="an upload is a load job like others")
async def run_upload(
    *, project_id: str, configuration: dict[str, Any], media_path: str, ctx: AppContext
) -> tuple[str, JobMeta]:
    """Run the load job of an upload."""
    reference = configuration.pop("_reference", {})
    with _running(ctx, project_id, reference, configuration) as job:
        return job.job_id, await _load(job, ctx, Path(media_path))


@patches.replaces("api.routes.upload", "_parse_multipart_related", why="binary content is kept, of any type")
def split_multipart(content_type: str, body: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the JSON part and the media part byte for byte: an e-mail parser would change line ends.

    Raises:
        ValidationError: It is no multipart message.
    """
    boundary = re.search(r'boundary="?([^";]+)"?', content_type)
    if not boundary:
        raise ValidationError("multipart upload without a boundary")
    _, first, media = body.split(b"--" + boundary[1].encode(), 2)
    envelope: dict[str, Any] = json.loads(first.split(b"\r\n\r\n", 1)[1])
    content = media.rpartition(b"\r\n--" + boundary[1].encode())[0]
    return envelope, content.split(b"\r\n\r\n", 1)[1]
