"""The fault matrix: what is done to a run at which place, and what must come of it.

Every case is run by test_fault_matrix.py; the tables of docs/reliability.md are made of this file.
Rules are those of the sandbox's API server and of its proxies (sandbox/README.md).
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

Rule = dict[str, Any]

LOADED = "loaded once, exit status 0, STATE"
REFUSED = "nothing loaded, exit status 1, no STATE"
LOADED_UNCONFIRMED = "loaded, but not confirmed: exit status 1, no STATE"

GOOGLE_ERROR = '{{"error": {{"code": {status}, "message": "{text}", "errors": [{{"reason": "{reason}", "message": "{text}"}}]}}}}'


def google(status: int, reason: str, text: str = "injected", **more: Any) -> Rule:
    """Return an error answer in the form of Google's APIs."""
    body = GOOGLE_ERROR.format(status=status, reason=reason, text=text)
    headers = {"Content-Type": "application/json"}
    return {"action": "status", "status": status, "headers": headers, "body": body, **more}


@dataclass(frozen=True)
class Fault:
    """One case of a fault in an answer: `message` is in the last line of the log, `warning` anywhere in it."""

    place: str
    fault: str
    rules: tuple[Rule, ...]
    outcome: str = LOADED
    message: str = ""
    warning: str = ""
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def id(self) -> str:
        """The case's name in a test report."""
        return f"{self.place}-{self.fault}".replace(" ", "-").lower()

    def ends(self, outcome: str, message: str) -> "Fault":
        """Return the case with another outcome, and the log's last line."""
        return replace(self, outcome=outcome, message=message)


def _case(place: str, fault: str, *rules: Rule, **more: Any) -> Fault:
    return Fault(place, fault, rules, **more)


def _replaced(find: str, by: str, **more: Any) -> Rule:
    return {"action": "replace", "find": find, "with": by, **more}


FOR_GOOD: Rule = {"times": None}
UPLOAD: Rule = {"method": "POST", "path": "^/upload/storage"}
INSERT: Rule = {
    "method": "POST",
    "path": "^/bigquery/v2/projects/[^/]+/jobs$|^/bigquery/v2/projects/[^/]+/jobs[?]",
}
# Answers of load jobs come when they have ended here; made to look as if they still ran, the loader polls.
RUNS: Rule = _replaced('"state": ?"DONE"', '"state":"RUNNING"', contains='"sourceUris"', **INSERT)
POLL: Rule = {"method": "GET", "path": "/jobs/[^/?]*-things-"}
LEDGER: Rule = {**INSERT, "contains": "AS ledger USING"}
MANIFEST: Rule = {**UPLOAD, "contains": "_manifests/"}
SHORT = (("timeout_seconds", "5"),)
RESET: Rule = {"action": "reset"}
LOST: Rule = {"action": "reset", "when": "after"}

_storage = partial(_case, "Cloud Storage")
STORAGE = [
    _storage("503 once", google(503, "backendError", **UPLOAD)),
    _storage("429 twice", google(429, "rateLimitExceeded", times=2, **UPLOAD)),
    _storage("503 for good", google(503, "backendError", **UPLOAD, **FOR_GOOD), settings=SHORT).ends(
        REFUSED, "upload failed"
    ),
    _storage("connection reset in the upload", {**RESET, **UPLOAD}),
    _storage("answer to the upload lost", {**LOST, **UPLOAD}),
    _storage("403", google(403, "forbidden", **UPLOAD, **FOR_GOOD)).ends(
        REFUSED, "no permission to write; the account needs roles/storage.objectCreator"
    ),
    _storage("bucket not there", google(404, "notFound", **UPLOAD, **FOR_GOOD)).ends(
        REFUSED, "bucket local-landing does not exist"
    ),
    _storage(
        "object arrives damaged",
        _replaced(
            '"crc32c": ?"[^"]*"', '"crc32c":"AAAAAA=="', path="/storage/v1/b|^/upload/storage", **FOR_GOOD
        ),
    ).ends(REFUSED, "crc32c"),
]

_bigquery, _ledger = partial(_case, "BigQuery"), partial(_case, "Ledger")
ELSEWHERE = "different locations: source: EU, destination: US"
BIGQUERY = [
    _bigquery("503 when the job is started", google(503, "backendError", **INSERT)),
    _bigquery("connection reset when the job is started", {**RESET, **INSERT}),
    _bigquery("answer to the start of the job lost", {**LOST, **INSERT}),
    _bigquery("rate limit when the job is started", google(403, "rateLimitExceeded", **INSERT)),
    _bigquery("job not found after its start", RUNS, google(404, "notFound", times=2, **POLL)),
    _bigquery("503 on polling", RUNS, google(503, "backendError", times=2, **POLL)),
    _bigquery(
        "503 on polling for good", RUNS, google(503, "backendError", **POLL, **FOR_GOOD), settings=SHORT
    ).ends(LOADED_UNCONFIRMED, "run again with the same run id"),
    _bigquery(
        "quota exceeded",
        google(403, "quotaExceeded", "Quota exceeded: too many load jobs", **INSERT, **FOR_GOOD),
    ).ends(REFUSED, "quotaExceeded: "),
    _bigquery("no permission to run jobs", google(403, "accessDenied", **INSERT, **FOR_GOOD)).ends(
        REFUSED, "no permission: "
    ),
    _bigquery(
        "no permission to make tables", google(403, "accessDenied", method="POST", path="/tables", **FOR_GOOD)
    ).ends(REFUSED, "roles/bigquery.dataEditor"),
    _bigquery(
        "bucket in another location",
        google(400, "invalid", f"Cannot read and write in {ELSEWHERE}", **INSERT, **FOR_GOOD),
    ).ends(REFUSED, ELSEWHERE),
    _bigquery(
        "this machine's clock is behind BigQuery's",
        _replaced(
            '"lastModifiedTime": ?"[0-9]+"', '"lastModifiedTime":"4102444800000"', path="/tables/", **FOR_GOOD
        ),
    ).ends(REFUSED, "set the clock"),
    _bigquery(
        "rows reported are not the rows staged",
        _replaced('"outputRows": ?"3"', '"outputRows":"2"', path="/jobs", **FOR_GOOD),
    ).ends(LOADED_UNCONFIRMED, "reports 2 rows, 3 were staged"),
    _ledger("503 when its job is started", google(503, "backendError", **LEDGER)),
    _ledger("answer to the start of its job lost", {**LOST, **LEDGER}),
    _ledger("403 for good", google(403, "accessDenied", **LEDGER, **FOR_GOOD)).ends(
        LOADED_UNCONFIRMED, "no permission"
    ),
]


@dataclass(frozen=True)
class Kill:
    """One stage at which the target is killed: the service whose request is held, and the request."""

    stage: str
    service: str
    rule: Rule
    more: tuple[Rule, ...] = ()

    @property
    def id(self) -> str:
        """The case's name in a test report."""
        return self.stage.replace(" ", "-")


def _hold(rule: Rule, **more: Any) -> Rule:
    return {"action": "hold", "times": None, **rule, **more}


MERGE: Rule = {**INSERT, "contains": "MERGE"}
BEFORE_MERGE: Rule = {**INSERT, "contains": "sourceUris"}
KILLS = {
    "append-only": [
        Kill("before the table is there", "bigquery", _hold({"method": "POST", "path": "/tables"})),
        Kill("before the upload", "storage", _hold(UPLOAD)),
        Kill("between two parts", "storage", _hold(UPLOAD, skip=1)),
        Kill("after the upload", "storage", _hold(UPLOAD, when="after", skip=1)),
        Kill("before the manifest", "storage", _hold(MANIFEST)),
        Kill("after the manifest", "storage", _hold(MANIFEST, when="after")),
        Kill("before the load job", "bigquery", _hold(INSERT)),
        Kill("during the load job", "bigquery", _hold(POLL), (RUNS,)),
        Kill("after the load job", "bigquery", _hold(INSERT, when="after")),
        Kill("before the ledger", "bigquery", _hold(LEDGER)),
        Kill("after the ledger and before STATE", "bigquery", _hold(LEDGER, when="after")),
    ],
    "overwrite": [
        Kill("before the load job", "bigquery", _hold(INSERT)),
        Kill("after the load job", "bigquery", _hold(INSERT, when="after")),
        Kill("before the ledger", "bigquery", _hold(LEDGER)),
    ],
    "upsert": [
        Kill("before the load into the temporary table", "bigquery", _hold(BEFORE_MERGE)),
        Kill("after the load into the temporary table", "bigquery", _hold(BEFORE_MERGE, when="after")),
        Kill("before the merge", "bigquery", _hold(MERGE)),
        Kill("after the merge", "bigquery", _hold(MERGE, when="after")),
        Kill("before the ledger", "bigquery", _hold(LEDGER)),
    ],
}

FIRST_PAGE: Rule = {"path": "^/api/character$"}
PAGES: Rule = {"path": "^/api/character($|[?])"}
BY_IDS: Rule = {"path": "^/api/character/1,"}
ALL: Rule = {"path": "^/api/character"}


def _status(status: int, **more: Any) -> Rule:
    return {"action": "status", "status": status, **BY_IDS, **more}


def _count(count: int, **more: Any) -> Rule:
    return _replaced('"count":[0-9]+', f'"count":{count}', **more)


def _character_21(**change: Any) -> Rule:
    return {"action": "field", "id": 21, **ALL, **FOR_GOOD, **change}


STREAM_NOT_LOADED = "nothing loaded of that stream, exit status 1, no STATE"
_api = partial(_case, "API")
API = [
    _api("429 with Retry-After in seconds", _status(429, headers={"Retry-After": "1"})),
    _api(
        "429 with Retry-After as a date",
        _status(429, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
    ),
    *[_api(f"{status} once", _status(status)) for status in (500, 502, 503, 504, 526)],
    _api("connection reset", {**RESET, **BY_IDS}),
    _api("truncated body", {"action": "truncate", "bytes": 60, **BY_IDS}),
    _api("truncated JSON", {"action": "bad_json", **BY_IDS}),
    _api("HTML instead of JSON", _status(200, body="<html>busy</html>")),
    _api("empty body", _status(200, body="")),
    _api("no answer in time", {"action": "slow", "seconds": 5, **BY_IDS}),
    _api("503 for good", _status(503, body="busy", **ALL, **FOR_GOOD)).ends(
        STREAM_NOT_LOADED, "character: status 503, body 'busy' after 2 attempts"
    ),
    _api("403", _status(403, **ALL, **FOR_GOOD)).ends(
        STREAM_NOT_LOADED, "character: status 403, body nothing after 1 attempt"
    ),
    _api("long addresses refused", _status(414, **FOR_GOOD)),
    _api("a stray 404 for the listing", _status(404, body='{"error":"There is nothing here"}', **FIRST_PAGE)),
    _api("count 0 once", _count(0, **FIRST_PAGE)),
    _api("count differs once", _count(99, **FIRST_PAGE)),
    _api("count too low once", _count(59, **FIRST_PAGE)),
    _api("count 0 for good", _count(0, **PAGES, **FOR_GOOD)).ends(STREAM_NOT_LOADED, "max_shrink_percent"),
    _api("count differs for good", _count(99, **PAGES, **FOR_GOOD)).ends(
        STREAM_NOT_LOADED, "60 records came, but the API counts 99"
    ),
    _api("an id twice", _character_21(set={"id": 20})).ends(STREAM_NOT_LOADED, "id 20 comes after id 20"),
    _api("a field missing", _character_21(drop=["species"])).ends(STREAM_NOT_LOADED, "species"),
    _api("a field of another type", _character_21(set={"name": 7})).ends(STREAM_NOT_LOADED, "name"),
    _api("a new field", _character_21(set={"planet": "Mars"}), warning="planet"),
    _api("an unknown status", _character_21(set={"status": "Asleep"}), warning="Asleep"),
]
