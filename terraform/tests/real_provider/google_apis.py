# ruff: noqa: C901, PLR0911, PLR0912 (its routes stand one below the other)
"""A local stand-in for the Google APIs that this configuration's provider talks to: it keeps what it is sent, and refuses what Google refuses.

It is no copy of Google: it holds resources, permissions and operations, and the rules that Terraform's plans depend on:

- what is there is not made twice (409), what is not there is not read (404);
- a key ring and a key are never deleted; a federation pool stays, as DELETED, and so does its name; a deleted custom role is brought back;
- a dataset with tables and a bucket with objects do not go unless that is asked for (400, 409); a protected machine does not go;
- a table loses a column by ALTER TABLE only, and then with its data.

Paths are those of the APIs' REST references, after a prefix for each product (`ENDPOINTS`).
"""

import json
import re
import threading
import urllib.parse
from dataclasses import dataclass, field
from typing import Any

from testkit.servers import Server

PROJECT_NUMBER = "424242"
TIME = "2026-01-01T00:00:00Z"
ETAG = "BwYAAAAAAAA="
# The provider's variables, and what each address ends with: google/services/*/product.go.
ENDPOINTS = {
    "GOOGLE_ARTIFACT_REGISTRY_CUSTOM_ENDPOINT": "artifactregistry/v1/",
    "GOOGLE_BIGQUERY_CUSTOM_ENDPOINT": "bigquery/v2/",
    "GOOGLE_BIG_QUERY_CUSTOM_ENDPOINT": "bigquery/v2/",
    "GOOGLE_BILLING_CUSTOM_ENDPOINT": "billingbudgets/v1/",
    "GOOGLE_CLOUD_BILLING_CUSTOM_ENDPOINT": "cloudbilling/v1/",
    "GOOGLE_COMPUTE_CUSTOM_ENDPOINT": "compute/v1/",
    "GOOGLE_IAM_BETA_CUSTOM_ENDPOINT": "iam/v1/",
    "GOOGLE_IAM_CUSTOM_ENDPOINT": "iam/v1/",
    "GOOGLE_IAP_CUSTOM_ENDPOINT": "iap/v1/",
    "GOOGLE_KMS_CUSTOM_ENDPOINT": "kms/v1/",
    "GOOGLE_MONITORING_CUSTOM_ENDPOINT": "monitoring/",
    "GOOGLE_RESOURCE_MANAGER_CUSTOM_ENDPOINT": "cloudresourcemanager/v1/",
    "GOOGLE_RESOURCE_MANAGER_V3_CUSTOM_ENDPOINT": "cloudresourcemanager/v3/",
    "GOOGLE_SECRET_MANAGER_CUSTOM_ENDPOINT": "secretmanager/v1/",
    "GOOGLE_SERVICE_USAGE_CUSTOM_ENDPOINT": "serviceusage/v1/",
    "GOOGLE_STORAGE_CUSTOM_ENDPOINT": "storage/v1/",
}


@dataclass(frozen=True)
class Collection:
    """Where resources of a kind are made: the path, and how the id and the answer come."""

    path: str
    # "?name": a parameter of the address; "name": a field of the body, with dots; "": the server makes one.
    id_from: str
    # The field of the body that holds the resource itself.
    body: str = ""
    # "plain" gives the resource, "operation" one of google.longrunning, "compute" one of Compute Engine.
    answer: str = "plain"


COLLECTIONS = [
    Collection(r"artifactregistry/v1/projects/[^/]+/locations/[^/]+/repositories", "?repository_id|repositoryId", "", "operation"),
    Collection(r"bigquery/v2/projects/[^/]+/datasets", "datasetReference.datasetId"),
    Collection(r"bigquery/v2/projects/[^/]+/datasets/[^/]+/tables", "tableReference.tableId"),
    Collection(r"billingbudgets/v1/billingAccounts/[^/]+/budgets", ""),
    Collection(r"compute/v1/projects/[^/]+/global/(networks|firewalls)", "name", "", "compute"),
    Collection(r"compute/v1/projects/[^/]+/regions/[^/]+/(subnetworks|routers|resourcePolicies)", "name", "", "compute"),
    Collection(r"compute/v1/projects/[^/]+/zones/[^/]+/(disks|instances)", "name", "", "compute"),
    Collection(r"iam/v1/projects/[^/]+/serviceAccounts", "accountId", "serviceAccount"),
    Collection(r"iam/v1/projects/[^/]+/roles", "roleId", "role"),
    Collection(r"iam/v1/projects/[^/]+/locations/global/workloadIdentityPools", "?workloadIdentityPoolId", "", "operation"),
    Collection(r"iam/v1/projects/[^/]+/locations/global/workloadIdentityPools/[^/]+/providers", "?workloadIdentityPoolProviderId", "", "operation"),
    Collection(r"kms/v1/projects/[^/]+/locations/[^/]+/keyRings", "?keyRingId"),
    Collection(r"kms/v1/projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys", "?cryptoKeyId"),
    Collection(r"monitoring/v3/projects/[^/]+/(notificationChannels|alertPolicies)", ""),
    Collection(r"secretmanager/v1/projects/[^/]+/secrets", "?secretId"),
    Collection(r"storage/v1/b", "name"),
]  # fmt: skip

# What Compute Engine adds to a resource of a kind.
COMPUTED: dict[str, dict[str, Any]] = {
    "disks": {"sizeGb": "10", "status": "READY"},
    "networks": {"routingConfig": {"routingMode": "REGIONAL"}},
    "subnetworks": {"gatewayAddress": "10.90.0.1"},
}
# What is kept where a resource is replaced as a whole.
KEPT = ("id", "name", "selfLink", "email", "uniqueId", "creationTime", "createTime", "state", "access")

# What a list is called where it is not called as its path.
LISTS = {"serviceAccounts": "accounts"}

# What is always answered the same: the path, and the answer with the path's groups in it.
FIXED: list[tuple[str, dict[str, Any]]] = [
    (r"cloudbilling/v1/(projects/[^/]+/billingInfo)", {"name": r"\1", "billingAccountName": "", "billingEnabled": True}),
    (r"storage/v1/projects/[^/]+/serviceAccount", {"email_address": f"service-{PROJECT_NUMBER}@gs-project-accounts.iam.gserviceaccount.com", "kind": "storage#serviceAccount"}),
    (r"bigquery/v2/projects/[^/]+/serviceAccount", {"email": f"bq-{PROJECT_NUMBER}@bigquery-encryption.iam.gserviceaccount.com"}),
    (r".*/operations/([^/]+)(?:/wait)?", {"kind": "compute#operation", "name": r"\1", "status": "DONE", "done": True, "response": {}}),
    (r"compute/v1/projects/[^/]+/(?:zones|regions)/([^/]+)", {"name": r"\1", "status": "UP", "selfLink": r"\g<0>"}),
    (r"compute/v1/projects/[^/]+/(?:zones|regions)/[^/]+/(?:machineTypes|diskTypes)/([^/]+)", {"name": r"\1", "status": "UP", "selfLink": r"\g<0>"}),
    (r"compute/v1/projects/([^/]+)/global/images/family/([^/]+)", {"name": r"\2-1", "family": r"\2", "selfLink": r"projects/\1/global/images/\2-1", "diskSizeGb": "10"}),
    (r"kms/.*/cryptoKeys/[^/]+/cryptoKeyVersions", {"cryptoKeyVersions": []}),
]  # fmt: skip


class Refused(Exception):  # noqa: N818 (an answer, not a failure of ours)
    """An error as the APIs give it."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        """Keep the three."""
        super().__init__(message)
        self.status, self.reason = status, reason

    def body(self) -> dict[str, Any]:
        """Return the answer's JSON."""
        names = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 409: "ALREADY_EXISTS", 501: "UNIMPLEMENTED"}
        detail = {"reason": self.reason, "message": str(self), "domain": "global"}
        error = {"code": self.status, "message": str(self), "status": names[self.status], "errors": [detail]}
        return {"error": error}


def found_at(value: Any, path: str) -> Any:
    """Return what stands at a dotted path, or None."""
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


@dataclass
class Google:
    """Everything that is there: resources by path, permissions by path, and the calls in their order."""

    resources: dict[str, dict[str, Any]] = field(default_factory=dict)
    policies: dict[str, dict[str, Any]] = field(default_factory=dict)
    services: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    made: int = 0

    def number(self) -> int:
        """Return a number that nothing else has."""
        self.made += 1
        return 10**18 + self.made

    # --- resources

    def get(self, path: str) -> dict[str, Any]:
        """Return a resource."""
        if path not in self.resources:
            raise Refused(404, "notFound", f"{path} is not there")
        return self.resources[path]

    def below(self, path: str) -> list[str]:
        """Return the paths of what a resource holds."""
        return [other for other in self.resources if other.startswith(f"{path}/")]

    def create(
        self, collection: Collection, path: str, query: dict[str, str], body: dict[str, Any], base: str
    ) -> dict[str, Any]:
        """Make a resource; give what the API answers."""
        if collection.id_from.startswith("?"):
            names = collection.id_from[1:].split("|")
            identity = next((query[name] for name in names if name in query), None)
        else:
            identity = (
                str(found_at(body, collection.id_from) or "") if collection.id_from else str(self.number())
            )
        if not identity:
            raise Refused(400, "required", f"{path}: {collection.id_from.strip('?')} is not given")
        resource = dict(body.get(collection.body, {}) if collection.body else body)
        if path.endswith("/serviceAccounts"):
            project = path.split("/")[3]
            identity = f"{identity}@{project}.iam.gserviceaccount.com"
        where = f"{path}/{identity}"
        if where in self.resources:
            raise Refused(409, "alreadyExists", f"{where} already exists")
        self.resources[where] = self.filled(where, identity, resource, base)
        return self.answer(collection.answer, where)

    def filled(self, path: str, identity: str, resource: dict[str, Any], base: str) -> dict[str, Any]:
        """Return a resource with what the server adds."""
        product, _, rest = path.partition("/")
        rest = rest.partition("/")[2]
        named = {"id": identity, "name": identity, "selfLink": f"{base}/{path}"}
        if product == "compute":
            kind = path.split("/")[-2]
            given = {**COMPUTED.get(kind, {}), **resource, **named}
            resource = {**given, "id": str(self.number()), "creationTimestamp": TIME}
            resource |= {"fingerprint": "AAAA", "labelFingerprint": "AAAA"}
            if kind == "instances":
                self.boot(path, resource, base)
        elif product == "storage":
            counted = {"projectNumber": PROJECT_NUMBER, "metageneration": "1"}
            resource = {"location": "US", **resource, **named, **counted}
            resource |= {"kind": "storage#bucket", "timeCreated": TIME, "updated": TIME}
            resource["locationType"] = "multi-region" if resource["location"] in ("US", "EU") else "region"
        elif product == "bigquery":
            dotted = path.partition("projects/")[2].replace("/datasets/", ":").replace("/tables/", ".")
            times = dict.fromkeys(("creationTime", "lastModifiedTime"), "1767225600000")
            resource |= {"id": dotted, "selfLink": named["selfLink"], **times}
            if "/tables/" in path:
                resource |= {"type": "TABLE", "numRows": "0", "numBytes": "0", "numLongTermBytes": "0"}
            else:
                resource.setdefault("access", [{"role": "OWNER", "specialGroup": "projectOwners"}])
        elif "/serviceAccounts/" in path:
            resource |= {"name": rest, "email": identity, "projectId": path.split("/")[3]}
            resource["uniqueId"] = str(self.number())
        else:
            number = re.sub(r"^projects/[^/]+", f"projects/{PROJECT_NUMBER}", rest)
            resource["name"] = number if product == "secretmanager" or "PoolId" in rest else rest
            if "/workloadIdentityPools/" in path:
                resource |= {"name": number, "state": "ACTIVE"}
            if product == "monitoring":
                for condition in resource.get("conditions", []):
                    condition["name"] = f"{rest}/conditions/{self.number()}"
            resource["createTime"] = resource["updateTime"] = TIME
        resource["etag"] = ETAG
        return resource

    def boot(self, path: str, machine: dict[str, Any], base: str) -> None:
        """Make the disk that a machine starts from."""
        zone = path.rpartition("/instances/")[0]
        machine["status"] = "RUNNING"
        machine["cpuPlatform"] = "Intel Broadwell"
        machine.setdefault("scheduling", {"automaticRestart": True, "onHostMaintenance": "MIGRATE", "provisioningModel": "STANDARD"})  # fmt: skip
        machine.setdefault("metadata", {})["fingerprint"] = "AAAA"
        machine.setdefault("tags", {})["fingerprint"] = "AAAA"
        for number, interface in enumerate(machine.get("networkInterfaces", [])):
            interface.update(
                name=f"nic{number}", networkIP="10.90.0.2", fingerprint="AAAA", stackType="IPV4_ONLY"
            )
            if "network" not in interface:
                name = interface["subnetwork"].rpartition("projects/")[2]
                subnetwork = self.resources.get(f"compute/v1/projects/{name}", {})
                interface["network"] = subnetwork.get("network", "")
        for number, disk in enumerate(machine.get("disks", [])):
            disk.update(index=number, kind="compute#attachedDisk")
            if "initializeParams" in disk and "source" not in disk:
                wanted = disk.pop("initializeParams")
                size, kind = str(wanted.get("diskSizeGb", 20)), wanted.get("diskType")
                made = {"sourceImage": wanted.get("sourceImage"), "sizeGb": size, "type": kind}
                name = f"{machine['name']}-boot"
                where = f"{zone}/disks/{name}"
                made["labels"] = wanted.get("labels", {})
                self.resources[where] = self.filled(where, name, made, base)
                disk["source"] = f"{base}/{where}"

    def answer(self, style: str, path: str) -> dict[str, Any]:
        """Return what an API answers when something is done: the thing, or an operation that is over."""
        resource = self.resources.get(path, {})
        number = self.number()
        if style == "compute":
            place, _, _ = path.rpartition("/")[0].rpartition("/")
            base = resource.get("selfLink", path).removesuffix(path)
            name = f"operation-{number}"
            links = {"targetLink": f"{base}{path}", "selfLink": f"{base}{place}/operations/{name}"}
            done = {"status": "DONE", "progress": 100, "operationType": "insert"}
            return {"kind": "compute#operation", "id": str(number), "name": name, **done, **links}
        if style == "operation":
            rest = path.partition("/")[2].partition("/")[2]
            # Artifact Registry's operations belong to the place, those of identity pools to the pool.
            holder = rest.partition("/repositories/")[0]
            return {"name": f"{holder}/operations/{number}", "done": True, "response": resource}
        return resource

    def update(self, path: str, body: dict[str, Any], *, whole: bool) -> None:
        """Change a resource; what only the server says stays."""
        old = self.get(path)
        if "/tables/" in path and "schema" in body:
            here = {column["name"] for column in found_at(old, "schema.fields") or []}
            there = {column["name"] for column in found_at(body, "schema.fields") or []}
            if here - there:
                message = f"Provided Schema does not match Table {path}. Field {min(here - there)} is missing"
                raise Refused(400, "invalid", message)
        if whole:
            body = {**{key: old[key] for key in KEPT if key in old}, **body}
        self.resources[path] = {**({} if whole else old), **body, "etag": ETAG}

    def delete(self, path: str, query: dict[str, str]) -> None:
        """Delete a resource, as far as Google does."""
        resource = self.get(path)
        if re.search(r"^kms/.*/keyRings/[^/]+(/cryptoKeys/[^/]+)?$", path):
            raise Refused(501, "notImplemented", f"{path}: Cloud KMS deletes neither key rings nor keys")
        if "/workloadIdentityPools/" in path or re.search(r"/roles/[^/]+$", path):
            resource.update({"state": "DELETED"} if "Pool" in path else {"deleted": True})
            return
        if resource.get("deletionProtection") is True:
            raise Refused(400, "resourceInUse", f"{path}: deletion protection is on")
        holds = self.below(path)
        if holds and re.search(r"/datasets/[^/]+$", path) and query.get("deleteContents") != "true":
            raise Refused(400, "resourceInUse", f"{path} is still in use: it has {len(holds)} tables")
        if holds and re.search(r"^storage/v1/b/[^/]+$", path):
            raise Refused(409, "conflict", f"{path} is not empty")
        for other in [path, *holds]:
            self.resources.pop(other, None)
            self.policies.pop(other, None)

    # --- permissions

    def policy(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return a resource's permissions, after setting them where they are given."""
        if body is not None:
            self.policies[path] = {**body.get("policy", body), "etag": ETAG}
        return self.policies.get(path, {"version": 1, "etag": ETAG})

    # --- the rest

    def statement(self, sql: str) -> None:
        """Do what a statement says: the only one known drops columns."""
        table = re.search(r"ALTER TABLE\s+`?([\w-]+)`?\.`?(\w+)`?\.`?(\w+)`?", sql)
        if table is None:
            raise Refused(400, "invalidQuery", f"unknown statement: {sql[:100]}")
        path = "bigquery/v2/projects/{}/datasets/{}/tables/{}".format(*table.groups())
        gone = set(re.findall(r"DROP COLUMN\s+(?:IF EXISTS\s+)?`?(\w+)`?", sql))
        fields = found_at(self.get(path), "schema.fields") or []
        self.resources[path]["schema"] = {"fields": [f for f in fields if f["name"] not in gone]}
        self.dropped += [f"{path}.{name}" for name in sorted(gone)]

    def special(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """Answer what is no plain resource; None where there is nothing special about a call."""
        services = r"serviceusage/v1/projects/[^/]+/services"
        if found := re.fullmatch(rf"{services}(?:/([^/:]+):enable|:batchEnable)", path):
            self.services |= {found[1]} if found[1] else set(body.get("serviceIds", []))
            return {"name": "operations/enabled", "done": True, "response": {}}
        if found := re.fullmatch(r"serviceusage/v1/(projects/[^/]+/services)(/[^/]+)?", path):
            parent = f"projects/{PROJECT_NUMBER}"
            listed: dict[str, dict[str, Any]] = {
                s: {"name": f"{found[1]}/{s}", "parent": parent, "config": {"name": s}, "state": "ENABLED"}
                for s in sorted(self.services)
            }
            if found[2]:
                return listed.get(found[2][1:], {"state": "DISABLED"})
            return {"services": [*listed.values()]}
        if found := re.fullmatch(r"cloudresourcemanager/v(\d)/projects/([^/:]+)", path):
            project = {"projectId": found[2], "displayName": found[2]}
            project |= {"state": "ACTIVE", "lifecycleState": "ACTIVE"}
            if found[1] == "1":
                return {**project, "name": found[2], "projectNumber": PROJECT_NUMBER}
            return {**project, "name": f"projects/{PROJECT_NUMBER}"}
        if found := re.fullmatch(r"(storage/v1/b/[^/]+)/o", path):
            objects = [self.resources[p] for p in self.below(found[1]) if "/o/" in p]
            return {"kind": "storage#objects", "items": objects}
        if re.fullmatch(r"bigquery/v2/projects/[^/]+/(queries|jobs)", path) and method == "POST":
            self.statement(body.get("query") or found_at(body, "configuration.query.query") or "")
            job = {"jobId": str(self.number()), "projectId": path.split("/")[3]}
            done = {"jobComplete": True, "totalRows": "0", "status": {"state": "DONE"}}
            return {**done, "jobReference": job}
        for pattern, answer in FIXED:
            if found := re.fullmatch(pattern, path):
                return {k: found.expand(v) if isinstance(v, str) else v for k, v in answer.items()}
        return None

    def changed(self, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """Do an action of Compute Engine on a resource: the part after its path."""
        where, _, action = path.rpartition("/")
        if not path.startswith("compute/v1/") or where not in self.resources:
            return None
        disk = self.resources[where]
        if action == "addResourcePolicies":
            disk["resourcePolicies"] = [*disk.get("resourcePolicies", []), *body["resourcePolicies"]]
        elif action == "removeResourcePolicies":
            gone = {name.rpartition("/")[2] for name in body["resourcePolicies"]}
            disk["resourcePolicies"] = [
                name for name in disk.get("resourcePolicies", []) if name.rpartition("/")[2] not in gone
            ]
        elif action in ("setLabels", "setMetadata", "setTags"):
            disk[action[3:].lower()] = body.get("labels", body)
        elif action not in ("start", "stop"):
            return None
        return self.answer("compute", where)

    def call(
        self, method: str, path: str, query: dict[str, str], body: dict[str, Any], base: str
    ) -> dict[str, Any]:
        """Answer one call."""
        self.calls.append(f"{method} {path}")
        if found := re.fullmatch(r"(.+)[:/](get|set)IamPolicy", path):
            return self.policy(found[1], body if found[2] == "set" else None)
        if found := re.fullmatch(r"(storage/v1/b/[^/]+)/iam", path):
            self.get(found[1])
            return self.policy(found[1], body if method == "PUT" else None)
        if (answer := self.special(method, path, body)) is not None:
            return answer
        if found := re.fullmatch(r"(.+):undelete", path):
            self.get(found[1]).pop("deleted", None)
            self.resources[found[1]]["state"] = "ACTIVE"
            return self.resources[found[1]]
        found = re.fullmatch(r"(compute/.+/instances/[^/]+)/setDeletionProtection", path)
        if found and method == "POST":
            self.get(found[1])["deletionProtection"] = query.get("deletionProtection", "true") == "true"
            return self.answer("compute", found[1])
        if method == "POST" and (answer := self.changed(path, body)) is not None:
            return answer
        for collection in COLLECTIONS:
            if re.fullmatch(collection.path, path):
                if method == "POST":
                    return self.create(collection, path, query, body, base)
                items = [
                    self.resources[p]
                    for p in self.resources
                    if p.startswith(f"{path}/") and "/" not in p[len(path) + 1 :]
                ]
                return {LISTS.get(path.rpartition("/")[2], path.rpartition("/")[2]): items, "items": items}
        holder = next((c for c in COLLECTIONS if re.fullmatch(rf"{c.path}/[^/]+", path)), None)
        if holder is None or method not in ("GET", "PATCH", "PUT", "DELETE"):
            raise Refused(404, "notFound", f"{method} {path}: the stand-in has no such route")
        if method in ("PATCH", "PUT"):
            known = body.get("serviceAccount", body) if "/serviceAccounts/" in path else body
            self.update(path, known, whole=method == "PUT")
        elif method == "DELETE":
            self.delete(path, query)
        else:
            return self.get(path)
        return self.answer(holder.answer, path)


class GoogleApis(Server):
    """HTTP before a Google; one call at a time."""

    def __init__(self) -> None:
        """Serve on the loopback address."""
        self.google, self._lock = Google(), threading.Lock()
        super().__init__()

    def respond(self, method: str, path: str, _: object, body: bytes) -> tuple[int, bytes]:
        """Answer one request."""
        address = urllib.parse.urlsplit(path)
        path = urllib.parse.unquote(address.path).strip("/")
        query = dict(urllib.parse.parse_qsl(address.query))
        try:
            given = json.loads(body) if body.strip() else {}
            with self._lock:
                return 200, json.dumps(self.google.call(method, path, query, given, self.url)).encode()
        except ValueError:
            refused = Refused(400, "parseError", f"{method} {path}: the body is no JSON")
        except Refused as error:
            refused = error
        return refused.status, json.dumps(refused.body()).encode()


def environment(url: str) -> dict[str, str]:
    """Return the variables that send the provider there, with a token that nobody checks."""
    return {
        "GOOGLE_OAUTH_ACCESS_TOKEN": "nobody-checks-it",
        **{name: f"{url}/{path}" for name, path in ENDPOINTS.items()},
    }
