"""Jobs: an id is used once, a job lives in one location, jobs.get and jobs.list tell what BigQuery's tell."""

import asyncio
import json
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Annotated

from bqemulator.api.dependencies import AppContext, get_caller, get_context
from bqemulator.catalog.etag import generate_etag
from bqemulator.catalog.models import JobMeta
from bqemulator.domain.errors import (
    AlreadyExistsError,
    ErrorDetail,
    InvalidQueryError,
    NotFoundError,
    PermissionDeniedError,
)
from bqemulator.row_access.identity import CallerIdentity
from fastapi import Depends, Query, Request
from uuid import uuid4

from . import patching

Ctx = Annotated[AppContext, Depends(get_context)]
Caller = Annotated[CallerIdentity, Depends(get_caller)]
KINDS = {"query": "QUERY", "load": "LOAD", "extract": "EXTRACT", "copy": "COPY"}
RUNNING = {}  # (project, job id) -> JobMeta of the jobs in progress


def find(ctx, project_id, job_id):
    return RUNNING.get((project_id, job_id)) or ctx.catalog.get_job(project_id, job_id)


def not_found(message):
    return NotFoundError(message, details=[ErrorDetail(reason="notFound", message=message)])


@contextmanager
def claim(project_id, job_id, kind, config, ctx, location):
    """Take the job id: 409 when it was ever taken."""
    if find(ctx, project_id, job_id) is not None:
        message = f"Already Exists: Job {project_id}:{location}.{job_id}"
        raise AlreadyExistsError(message, details=[ErrorDetail(reason="duplicate", message=message)])
    now = ctx.clock.now()
    RUNNING[project_id, job_id] = JobMeta(
        project_id=project_id,
        job_id=job_id,
        job_type=kind,
        state="RUNNING",
        configuration=config,
        creation_time=now,
        start_time=now,
        statistics={"_location": location},
        etag=generate_etag(project_id, job_id, str(now)),
    )
    try:
        yield
    finally:
        del RUNNING[project_id, job_id]


def job_location(project_id, config, reference, ctx):
    """The location a job runs in; 404 when its data set is elsewhere."""
    asked = reference.get("location")
    body = next((config[k] for k in ("load", "copy") if k in config), {})
    to = body.get("destinationTable") or {}
    home = ctx.catalog.get_dataset(to.get("projectId") or project_id, to.get("datasetId")) if to else None
    if home is None:
        return asked or "US"
    if asked and asked.upper() != home.location.upper():
        raise not_found(
            f"Not found: Dataset {home.project_id}:{home.dataset_id} was not found in location {asked}"
        )
    return home.location


def keep(meta, config, location, ctx):
    """Store a finished job with its location and the whole of the configuration it was sent."""
    meta = meta.model_copy(
        update={"configuration": config, "statistics": {**meta.statistics, "_location": location}}
    )
    ctx.catalog.upsert_job(meta)
    return meta


def resource(project_id, job_id, meta, config):
    """The Job resource."""
    millis = lambda t: str(int(t.timestamp() * 1000))
    s = {k: v for k, v in meta.statistics.items() if not k.startswith("_")}
    s.setdefault("creationTime", millis(meta.creation_time))
    for key, t in (("startTime", meta.start_time), ("endTime", meta.end_time)):
        if t is not None:
            s.setdefault(key, millis(t))
    location = meta.statistics.get("_location", "US")
    status = {"state": meta.state}
    if meta.error_result:
        status["errorResult"] = meta.error_result
    if errors := meta.statistics.get("_errors") or ([meta.error_result] if meta.error_result else []):
        status["errors"] = errors
    return {
        "kind": "bigquery#job",
        "id": f"{project_id}:{location}.{job_id}",
        "etag": meta.etag,
        "jobReference": {"projectId": project_id, "jobId": job_id, "location": location},
        "configuration": {**config, "jobType": meta.job_type},
        "status": status,
        "statistics": s,
        "user_email": meta.user_email or "emulator@localhost",
    }


def apply():
    routes = patching.module("api.routes.jobs")
    insert, fail = (
        patching.get("api.routes.jobs", "insert_job"),
        patching.get("api.routes.jobs", "_failed_job_meta"),
    )
    why = "errors[], location and times in the Job resource"
    patching.replace("api.routes.jobs", "_build_job_response", resource, why)
    patching.replace("api.routes.upload", "_build_job_response", resource, why)

    async def insert_job(project_id: str, request: Request, ctx: Ctx, caller: Caller):
        body = await request.json()
        config, reference = body.get("configuration") or {}, body.get("jobReference") or {}
        kind = next((v for k, v in KINDS.items() if k in config), None)
        if kind is None or config.get("dryRun"):
            return await insert(project_id, request, ctx, caller)
        job_id = reference.get("jobId") or f"job_{uuid4().hex}"
        body["jobReference"] = {**reference, "jobId": job_id}  # the request keeps the body it has parsed
        location = job_location(project_id, config, reference, ctx)
        with claim(project_id, job_id, kind, config, ctx, location):
            if refused := request.headers.get(
                "x-sandbox-refused"
            ):  # by the strict proxy: the job fails, its id is taken
                stored = fail(
                    project_id=project_id,
                    job_id=job_id,
                    job_type=kind,
                    config=config,
                    error_result=json.loads(refused),
                    now=ctx.clock.now(),
                )
            else:
                answer = await insert(project_id, request, ctx, caller)
                stored = ctx.catalog.get_job(project_id, job_id)
                config = {k: v for k, v in answer["configuration"].items() if k != "jobType"}
            if caller.is_authenticated and caller.email:
                stored = stored.model_copy(update={"user_email": caller.email})
            return resource(project_id, job_id, keep(stored, config, location, ctx), config)

    patching.replace_route(
        "api.routes.jobs",
        "POST",
        "/projects/{project_id}/jobs",
        insert_job,
        "409 for a job id in use; locations; labels kept",
    )

    query = patching.route("api.routes.jobs", "POST", "/projects/{project_id}/queries")

    async def run_query(project_id: str, request: Request, ctx: Ctx, caller: Caller):
        answer = await query(project_id, request, ctx, caller)
        for error in answer.get("errors") or ():
            kind = {
                "notFound": NotFoundError,
                "accessDenied": PermissionDeniedError,
                "duplicate": AlreadyExistsError,
            }
            refused = kind.get(error.get("reason"), InvalidQueryError)(error.get("message", ""))
            raise refused
        return answer

    patching.replace_route(
        "api.routes.jobs",
        "POST",
        "/projects/{project_id}/queries",
        run_query,
        "jobs.query answers a failed query with its HTTP error: query_and_wait took it for no rows",
    )

    def get_job(project_id: str, job_id: str, ctx: Ctx, location: str | None = None):
        meta = find(ctx, project_id, job_id)
        if meta is None or location and location.upper() != meta.statistics.get("_location", "US").upper():
            raise not_found(f"Not found: Job {project_id}:{location + '.' if location else ''}{job_id}")
        return resource(project_id, job_id, meta, meta.configuration)

    patching.replace_route(
        "api.routes.jobs",
        "GET",
        "/projects/{project_id}/jobs/{job_id}",
        get_job,
        "a job is found in its own location only, while it runs too",
    )

    def list_jobs(
        project_id: str,
        ctx: Ctx,
        maxResults: int = 50,
        stateFilter: Annotated[list[str] | None, Query()] = None,
        parentJobId: str | None = None,
        minCreationTime: int | None = None,
        maxCreationTime: int | None = None,
        pageToken: str = "0",
    ):
        states = {s.upper() for s in stateFilter or ()}
        at = lambda j: int(j.creation_time.timestamp() * 1000)
        found = (
            [] if parentJobId else [*RUNNING.values(), *ctx.catalog.list_jobs(project_id, max_results=10**9)]
        )
        found = [
            j
            for j in found
            if j.project_id == project_id
            and (not states or j.state in states)
            and (minCreationTime is None or at(j) >= minCreationTime)
            and (maxCreationTime is None or at(j) <= maxCreationTime)
        ]
        found.sort(key=lambda j: j.creation_time, reverse=True)
        first = int(pageToken)
        page = [
            resource(j.project_id, j.job_id, j, j.configuration) for j in found[first : first + maxResults]
        ]
        for j in page:
            j["state"] = j["status"]["state"]
            if "errorResult" in j["status"]:
                j["errorResult"] = j["status"]["errorResult"]
        more = {"nextPageToken": str(first + maxResults)} if first + maxResults < len(found) else {}
        return {"kind": "bigquery#jobList", "jobs": page, **more}

    patching.replace_route(
        "api.routes.jobs",
        "GET",
        "/projects/{project_id}/jobs",
        list_jobs,
        "filters by creation time, order, pages, errorResult",
    )
