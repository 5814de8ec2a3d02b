"""BigQuery's permissions by method, in the order BigQuery asks: permission before existence, and then limits.

Permissions: https://cloud.google.com/bigquery/docs/access-control#bq-permissions and the pages of each operation.
"""

import asyncio
import json
import re
from dataclasses import replace
from typing import Any

from aiohttp import web

from sandbox.strict.limits import Limits
from sandbox.strict.proxy import StrictProxy, described
from sandbox.strict.rules import FORBIDDEN, Account, Refused, Rules, denied
from sandbox.strict.statements import Permission, permissions

API = r"/bigquery/v2/projects/[^/]+"
DATASET = API + r"/datasets/(?P<dataset>[^/]+)"
TABLE = DATASET + r"/tables/(?P<table>[^/:]+)"
METHODS = [
    ("POST", API + "/datasets", "bigquery.datasets.create"),
    ("GET", DATASET, "bigquery.datasets.get"),
    ("(PATCH|PUT)", DATASET, "bigquery.datasets.update"),
    ("DELETE", DATASET, "bigquery.datasets.delete"),
    ("GET", DATASET + "/tables", "bigquery.tables.list"),
    ("POST", DATASET + "/tables", "bigquery.tables.create"),
    ("GET", TABLE, "bigquery.tables.get"),
    ("(PATCH|PUT)", TABLE, "bigquery.tables.update"),
    ("DELETE", TABLE, "bigquery.tables.delete"),
    ("GET", TABLE + "/data", "bigquery.tables.getData"),
    ("POST", TABLE + "/insertAll", "bigquery.tables.updateData"),
]
INSERT = re.compile(r"(?:/upload)?" + API + "/jobs")
QUERY = re.compile(API + "/queries")
JOB = re.compile(rf"(?P<project>{API})/(?:jobs|queries)/(?P<job>[^/]+)")
JOBS = re.compile(API + "/jobs")
TEST = re.compile(TABLE + ":testIamPermissions")
# datasets.list gives those that the account may see; the parts of an upload follow one that was allowed.
FREE = re.compile(
    rf"GET (/healthz|/discovery/.*|/bigquery/v2/projects|{API}/datasets)|POST {API}/jobs/[^/]+/cancel"
)
ANONYMOUS_DATASET = "_bqemu_anonymous"
CREATE_DATASET = "bigquery.datasets.create"
OK = 200


class StrictBigQuery(StrictProxy):
    """BigQuery as the accounts may use it."""

    def __init__(self, upstream: str, rules: Rules) -> None:
        super().__init__(upstream, rules)
        self._limits = Limits(rules.limits)
        self._owners: dict[str, str] = {}
        self._datasets_created = False
        self._creating_datasets = asyncio.Lock()

    async def ask(self, request: web.Request, body: bytes, account: Account) -> web.Response:
        """Return BigQuery's answer (see StrictProxy.ask)."""
        await self._create_datasets()
        method, path = request.method, request.rel_url.path
        caller = {"x-bqemu-caller": f"serviceAccount:{account.email}"}
        if method == "POST" and INSERT.fullmatch(path):
            return await self._insert_job(request, body, account, caller)
        if method == "POST" and QUERY.fullmatch(path):
            query = json.loads(body or b"{}")
            self._require_on_project(account, "bigquery.jobs.create")
            await self._job({"query": query, "labels": query.get("labels")}, account)
            return self._remember_owner(await self.forward(request, body, caller), account)
        if match := TEST.fullmatch(path):
            requested = json.loads(body or b"{}").get("permissions", [])
            granted = [
                name
                for name in requested
                if await self._is_granted(account, Permission(name, match["dataset"]))
            ]
            return web.json_response({"permissions": granted})
        if method == "GET" and JOBS.fullmatch(path):
            return await self._list_jobs(request, body, account)
        if match := JOB.fullmatch(path):
            return await self._job_of(request, body, account, match)
        if not FREE.fullmatch(f"{method} {path}") and "upload_id" not in request.query:
            await self._method(method, path, body, account)
        return await self.forward(request, body, caller)

    async def _create_datasets(self) -> None:
        """Create the datasets that Terraform creates: the pipeline's account may not."""
        async with self._creating_datasets:
            if not self._datasets_created:
                status, _ = await self.upstream("GET", "/healthz")
                for name in self.rules.datasets if status == OK else ():
                    await self.upstream(
                        "POST",
                        "/bigquery/v2/projects/local-project/datasets",
                        {"datasetReference": {"projectId": "local-project", "datasetId": name}},
                    )
                self._datasets_created = status == OK

    async def _method(self, method: str, path: str, body: bytes, account: Account) -> None:
        for verb, pattern, permission in METHODS:
            match = re.fullmatch(f"{verb} {pattern}", f"{method} {path}")
            if not match:
                continue
            names = match.groupdict()
            if names.get("dataset") == ANONYMOUS_DATASET:
                return
            table = names.get("table") or ""
            updates = bool(table) and method in {"PATCH", "PUT"}
            need = Permission(permission, names.get("dataset") or "", table, updates=updates)
            await self._require(account, [need])
            self._limits.check_resource(
                json.loads(body) if body and method in {"POST", "PATCH", "PUT"} else {}
            )
            self._limits.count_updates([need])
            return
        self._require_on_project(account, f"{method} {path}, whose permission is not stated")

    async def _insert_job(
        self, request: web.Request, body: bytes, account: Account, caller: dict[str, str]
    ) -> web.Response:
        uploaded = request.rel_url.path.startswith("/upload")
        job = described(body) if uploaded else json.loads(body or b"{}")
        self._require_on_project(account, "bigquery.jobs.create")
        config = job.get("configuration") or {}
        try:
            await self._job(config, account)
        except Refused as refused:
            # BigQuery makes the job, and the job fails: its id is taken.
            if uploaded or refused.status != FORBIDDEN or config.get("dryRun"):
                raise
            caller = {
                **caller,
                "x-sandbox-refused": json.dumps({"reason": refused.reason, "message": refused.message}),
            }
        return self._remember_owner(await self.forward(request, body, caller), account)

    def _remember_owner(self, answer: web.Response, account: Account) -> web.Response:
        """Remember whose job an answer describes."""
        if answer.status == OK and isinstance(answer.body, bytes) and answer.body.startswith(b"{"):
            job = json.loads(answer.body).get("jobReference") or {}
            self._owners[job.get("jobId", "")] = account.email
        return answer

    async def _job(self, config: dict[str, Any], account: Account) -> None:
        self._limits.check_resource({"labels": config.get("labels")})
        required: list[Permission] = []
        if query := config.get("query"):
            sql, default = query.get("query") or "", (query.get("defaultDataset") or {}).get("datasetId", "")
            self._limits.check_query(sql)
            # What names no dataset, and has no default one, is refused by BigQuery itself.
            needs = [replace(need, dataset=need.dataset or default) for need in permissions(sql)]
            required = [need for need in needs if need.dataset or need.permission == CREATE_DATASET]
        for kind in sorted(config.keys() & {"copy", "extract"}):
            self._require_on_project(account, f"{kind} jobs, whose permissions are not stated")
        for writes in filter(None, map(config.get, ("query", "load"))):
            required += await self._destination(writes)
        await self._require(account, required)
        self._sources(config.get("load") or {}, account)
        if not config.get("dryRun"):
            self._limits.count_updates(required)

    async def _destination(self, config: dict[str, Any]) -> list[Permission]:
        destination = config.get("destinationTable") or {}
        dataset, table = destination.get("datasetId", ""), destination.get("tableId", "").partition("$")[0]
        if not dataset or dataset == ANONYMOUS_DATASET:
            return []
        if await self.exists(
            f"/bigquery/v2/projects/{destination.get('projectId')}/datasets/{dataset}/tables/{table}"
        ):
            required = [Permission("bigquery.tables.updateData", dataset, table, updates=True)]
            if config.get("schemaUpdateOptions"):
                required.append(Permission("bigquery.tables.update", dataset, table))
            return required
        if config.get("createDisposition") == "CREATE_NEVER":
            return [Permission("bigquery.tables.updateData", dataset, table)]
        return [Permission("bigquery.tables.create", dataset, table, updates=True)]

    def _sources(self, load: dict[str, Any], account: Account) -> None:
        uris = load.get("sourceUris") or []
        self._limits.check_sources(uris)
        for uri in uris:
            bucket = uri.removeprefix("gs://").partition("/")[0]
            for verb in ("get", "list") if "*" in uri else ("get",):
                name = f"storage.objects.{verb}"
                if not self.rules.on_bucket(account, name, bucket):
                    raise denied(
                        f"File {uri}: {account.email} does not have {name} access to the Google Cloud Storage object. Permission '{name}' denied on resource (or it may not exist)."
                    )

    async def _is_granted(self, account: Account, need: Permission) -> bool:
        if self.rules.on_project(account, need.permission):
            return True
        # A role on a dataset exists only as long as the dataset does.
        return self.rules.on_dataset(account, need.permission, need.dataset) and await self.exists(
            f"/bigquery/v2/projects/local-project/datasets/{need.dataset}"
        )

    async def _require(self, account: Account, required: list[Permission]) -> None:
        for need in required:
            if need.permission == CREATE_DATASET:
                self._require_on_project(account, need.permission)
            elif not await self._is_granted(account, need):
                kind, name = (
                    ("Table", f"{need.dataset}.{need.table}") if need.table else ("Dataset", need.dataset)
                )
                raise denied(
                    f"{kind} local-project:{name}: Permission {need.permission} denied on {kind.lower()} local-project:{name} (or it may not exist)."
                )

    def _require_on_project(self, account: Account, permission: str) -> None:
        if not self.rules.on_project(account, permission):
            raise denied(
                f"Project local-project: User does not have {permission} permission in project local-project."
            )

    async def _job_of(
        self, request: web.Request, body: bytes, account: Account, match: re.Match[str]
    ) -> web.Response:
        """Return a job: the account's own, or with bigquery.jobs.get another's."""
        status, job = await self.upstream("GET", f"{match['project']}/jobs/{match['job']}")
        owner = self._owners.get(match["job"]) or (job or {}).get("user_email")
        others = status == OK and owner != account.email
        if others and not self.rules.on_project(account, "bigquery.jobs.get"):
            raise denied(
                f"Job {job['id']}: Permission bigquery.jobs.get denied on job {job['id']} (or it may not exist)."
            )
        return await self.forward(request, body)

    async def _list_jobs(self, request: web.Request, body: bytes, account: Account) -> web.Response:
        answer = await self.forward(request, body)
        if answer.status != OK or self.rules.on_project(account, "bigquery.jobs.list"):
            return answer
        listing = json.loads(answer.body) if isinstance(answer.body, bytes) else {}
        listing["jobs"] = [job for job in listing.get("jobs", ()) if job.get("user_email") == account.email]
        return web.json_response(listing)
