"""Switches off features of the emulator that nothing here uses: they cost start-up time, memory, disk and half of a query's time."""

from datetime import datetime
from typing import Any, Never

from fastapi import APIRouter, FastAPI

from . import patches

MIDDLEWARES = ("AccessLogMiddleware", "CorrelationIdMiddleware", "MetricsMiddleware")

_app = patches.get("api.app", "create_app")
_jobs = patches.get("api.routes.jobs", "router")
_engine = patches.get("storage.engine", "DuckDBEngine")
_snapshots = patches.get("versioning.snapshots", "SnapshotManager")
_repository = patches.get("catalog.duckdb_repository", "DuckDBCatalogRepository")
_capture, _upsert_job = _snapshots.capture, _repository.upsert_job


@patches.replaces(
    "api.app",
    "create_app",
    also=("api", "server"),
    why="no metrics, correlation ids, access log; most requests are about jobs, whose routes came last",
)
def create_app(context: Any) -> FastAPI:  # noqa: ANN401 (the emulator's context)
    """Return the application without middlewares whose output is not read, and the jobs' routes first."""
    app: FastAPI = _app(context)
    app.user_middleware = [
        one for one in app.user_middleware if getattr(one.cls, "__name__", "") not in MIDDLEWARES
    ]
    app.router.routes.sort(key=lambda route: getattr(route, "original_router", None) is not _jobs)
    return app


@patches.replaces_method(
    APIRouter, "_get_routes_version", why="routes do not change: each request asked every router"
)
def routes_version(self: APIRouter, _seen: set[int] | None = None) -> int:
    """Return the version of the router's own routes."""
    return self._routes_version


@patches.replaces_method(_engine, "_load_spatial", why="GEOGRAPHY is not used; DuckDB fetches no extension")
def no_extensions(self: Any) -> None:  # noqa: ANN401 (the emulator's engine)
    """Load no extension, and keep DuckDB from downloading any."""
    for setting in ("autoinstall_known_extensions", "autoload_known_extensions"):
        self.connection.execute(f"SET {setting} = false")


@patches.replaces_method(_snapshots, "capture", why="no copy at each change: no FOR SYSTEM_TIME AS OF")
def capture(self: Any, *table: str, kind: str = "AUTO") -> Any:  # noqa: ANN401 (the emulator's)
    """Copy a table for CREATE SNAPSHOT TABLE alone."""
    return _capture(self, *table, kind=kind) if kind == "USER" else None


@patches.replaces_method(_snapshots, "resolve_time_travel", why="the past is not kept: an error says so")
def no_past(self: Any, project_id: str, dataset_id: str, table_id: str, target: datetime) -> Never:  # noqa: ANN401, ARG001
    """Refuse to read a table as it was.

    Raises:
        UnsupportedFeatureError: Always.
    """
    message = "The sandbox's BigQuery keeps no history of tables: FOR SYSTEM_TIME AS OF cannot be used"
    raise patches.get("domain.errors", "UnsupportedFeatureError")(message)


@patches.replaces_method(_repository, "upsert_job", why="query jobs stay in memory, as their results do")
def upsert_job(self: Any, job: Any) -> Any:  # noqa: ANN401 (the emulator's)
    """Store a job; a query job only until the emulator stops."""
    return self._cache.upsert_job(job) if job.job_type == "QUERY" else _upsert_job(self, job)
