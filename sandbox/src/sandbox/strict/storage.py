"""Cloud Storage's permissions by method, and its documented limits.

Permissions: https://cloud.google.com/storage/docs/access-control/iam-json. Overwriting takes storage.objects.delete too.
"""

import re
import time
from urllib.parse import quote, unquote

from aiohttp import web

from sandbox.strict.proxy import StrictProxy, described
from sandbox.strict.rules import FORBIDDEN, Account, Rate, Refused, Rules, invalid

BUCKETS = re.compile(r"/storage/v1/b/?")
BUCKET = re.compile(r"/storage/v1/b/(?P<bucket>[^/]+)")
BUCKET_TEST = re.compile(r"/storage/v1/b/(?P<bucket>[^/]+)/iam/testPermissions")
OBJECTS = re.compile(r"/storage/v1/b/(?P<bucket>[^/]+)/o")
OBJECT = re.compile(r"(?:/download)?/storage/v1/b/(?P<bucket>[^/]+)/o/(?P<object>[^/]+)")
UPLOAD = re.compile(r"/(?:resumable/)?upload/storage/v1/b/(?P<bucket>[^/]+)/o")
SESSION = re.compile(r"/upload/resumable/.+")
METHODS = {"GET": "get", "PATCH": "update", "PUT": "update", "DELETE": "delete"}
NOT_FOUND = 404


class StrictStorage(StrictProxy):
    """Cloud Storage as the accounts may use it."""

    def __init__(self, upstream: str, rules: Rules) -> None:
        super().__init__(upstream, rules)
        self._writes = Rate()
        # Bucket, object and must-not-exist of the resumable uploads begun.
        self._uploads: dict[str, tuple[str, str, bool]] = {}

    async def ask(self, request: web.Request, body: bytes, account: Account) -> web.Response:
        """Return Cloud Storage's answer (see StrictProxy.ask)."""
        path = request.rel_url.raw_path
        if SESSION.fullmatch(path) or request.query.get("upload_id"):
            return await self._continue_upload(request, body)
        if UPLOAD.fullmatch(path):
            return await self._upload(request, body, account)
        if match := BUCKET_TEST.fullmatch(path):
            requested = request.query.getall("permissions", [])
            granted = [
                name for name in requested if self.rules.on_bucket(account, name, unquote(match["bucket"]))
            ]
            return web.json_response({"kind": "storage#testIamPermissionsResponse", "permissions": granted})
        if match := OBJECT.fullmatch(path):
            return await self._object(request, body, account, unquote(match["bucket"]))
        if (match := OBJECTS.fullmatch(path)) and request.method == "GET":
            await self._require(account, "storage.objects.list", unquote(match["bucket"]), "bucket")
        elif (match := BUCKET.fullmatch(path)) and request.method in METHODS:
            await self._require(
                account, f"storage.buckets.{METHODS[request.method]}", unquote(match["bucket"]), "bucket"
            )
        elif BUCKETS.fullmatch(path):
            name = "list" if request.method == "GET" else "create"
            # The supervisor asks for the list to learn whether the service is up.
            if request.query or request.method != "GET":
                self._require_on_project(account, f"storage.buckets.{name}")
        else:
            self._require_on_project(account, f"{request.method} {path}, whose permission is not stated")
        return await self.forward(request, body)

    async def forward(
        self, request: web.Request, body: bytes, headers: dict[str, str] | None = None
    ) -> web.Response:
        """Return the upstream's answer; the addresses in an object's metadata are the proxy's."""
        answer = await super().forward(request, body, headers)
        if request.query.get("alt") != "media" and isinstance(answer.body, bytes):
            here = f"{request.scheme}://{request.host}"
            answer.body = answer.body.replace(self.address.encode(), here.encode())
        return answer

    async def _object(self, request: web.Request, body: bytes, account: Account, bucket: str) -> web.Response:
        if request.method not in METHODS:
            self._require_on_project(account, f"{request.method} of an object, a permission not stated")
        await self._require(account, f"storage.objects.{METHODS.get(request.method)}", bucket, "object")
        answer = await self.forward(request, body)
        if answer.status == NOT_FOUND:
            # Without permission to list, a missing object is not revealed.
            await self._require(account, "storage.objects.list", bucket, "object")
        return answer

    async def _upload(self, request: web.Request, body: bytes, account: Account) -> web.Response:
        bucket = unquote(UPLOAD.fullmatch(request.rel_url.raw_path)["bucket"])  # type: ignore[index]
        name = request.query.get("name") or str(described(body).get("name", ""))
        must_not_exist = request.query.get("ifGenerationMatch") == "0"
        if len(name.encode()) > self.rules.limits["object_name_bytes"]:
            raise invalid(f"The specified object name is not valid: {name[:80]}…")
        await self._require(account, "storage.objects.create", bucket, "object")
        exists = await self.exists(f"/storage/v1/b/{quote(bucket, '')}/o/{quote(name, '')}")
        if exists and not must_not_exist:
            await self._require(account, "storage.objects.delete", bucket, "object")
            self._check_rate(bucket, name)
        answer = await self.forward(request, body)
        if request.query.get("uploadType") == "resumable":
            self._uploads[_session_id(answer.headers.get("Location", ""))] = (bucket, name, must_not_exist)
        else:
            self._writes.add(f"{bucket}/{name}", time.monotonic())
        return answer

    async def _continue_upload(self, request: web.Request, body: bytes) -> web.Response:
        bucket, name, must_not_exist = self._uploads.get(_session_id(str(request.url)), ("", "", False))
        if must_not_exist and await self.exists(f"/storage/v1/b/{quote(bucket, '')}/o/{quote(name, '')}"):
            raise Refused(
                412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold."
            )
        return await self.forward(request, body)

    def _check_rate(self, bucket: str, name: str) -> None:
        if self._writes.full(
            f"{bucket}/{name}", 1, self.rules.limits["object_writes_seconds"], time.monotonic()
        ):
            raise Refused(
                429,
                "rateLimitExceeded",
                f"The object {bucket}/{name} exceeded the rate limit for object mutation operations (create, update, and delete). Please reduce your request rate.",
            )

    async def _require(self, account: Account, permission: str, bucket: str, kind: str) -> None:
        if self.rules.on_bucket(account, permission, bucket):
            return
        if not await self.exists(f"/storage/v1/b/{quote(bucket, '')}"):
            raise Refused(NOT_FOUND, "notFound", "The specified bucket does not exist.")
        raise _forbidden(account, permission, kind)

    def _require_on_project(self, account: Account, permission: str) -> None:
        if not self.rules.on_project(account, permission):
            raise _forbidden(account, permission, "project")


def _forbidden(account: Account, permission: str, kind: str) -> Refused:
    return Refused(
        FORBIDDEN,
        "forbidden",
        f"{account.email} does not have {permission} access to the Google Cloud Storage {kind}. Permission '{permission}' denied on resource (or it may not exist).",
    )


def _session_id(address: str) -> str:
    return address.partition("?")[0].rpartition("/")[2] + address.partition("upload_id=")[2].partition("&")[0]
