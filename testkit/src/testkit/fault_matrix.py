"""The fault matrix: what is done to a run at which place, and what must come of it.

Every case is run by test_fault_matrix.py, those of INCREMENTAL by test_foreign_sources.py; the tables of docs/reliability.md are made of this file.
Rules are those of the sandbox's API server and of its proxies (sandbox/README.md).
"""

from __future__ import annotations

from dataclasses import dataclass
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


UPLOAD: Rule = {"method": "POST", "path": "^/upload/storage"}
INSERT: Rule = {
    "method": "POST",
    "path": "^/bigquery/v2/projects/[^/]+/jobs$|^/bigquery/v2/projects/[^/]+/jobs[?]",
}
# Answers of load jobs come when they have ended here; made to look as if they still ran, the loader polls.
RUNS: Rule = {
    "action": "replace",
    "method": "POST",
    "path": INSERT["path"],
    "find": '"state": ?"DONE"',
    "with": '"state":"RUNNING"',
}
POLL: Rule = {"method": "GET", "path": "/jobs/[^/?]*-things-"}
LEDGER: Rule = {**INSERT, "contains": "AS ledger USING"}
MANIFEST: Rule = {**UPLOAD, "contains": "_manifests/"}
SHORT = (("timeout_seconds", "5"),)

STORAGE = [
    Fault("Cloud Storage", "503 once", (google(503, "backendError", **UPLOAD),)),
    Fault("Cloud Storage", "429 twice", (google(429, "rateLimitExceeded", times=2, **UPLOAD),)),
    Fault(
        "Cloud Storage",
        "503 for good",
        (google(503, "backendError", times=None, **UPLOAD),),
        REFUSED,
        "upload failed",
        settings=SHORT,
    ),
    Fault("Cloud Storage", "connection reset in the upload", ({"action": "reset", **UPLOAD},)),
    Fault("Cloud Storage", "answer to the upload lost", ({"action": "reset", "when": "after", **UPLOAD},)),
    Fault(
        "Cloud Storage",
        "403",
        (google(403, "forbidden", times=None, **UPLOAD),),
        REFUSED,
        "no permission to write; the account needs roles/storage.objectCreator",
    ),
    Fault(
        "Cloud Storage",
        "bucket not there",
        (google(404, "notFound", times=None, **UPLOAD),),
        REFUSED,
        "bucket local-landing is not there",
    ),
    Fault(
        "Cloud Storage",
        "object arrives damaged",
        (
            {
                "action": "replace",
                "find": '"crc32c": ?"[^"]*"',
                "with": '"crc32c":"AAAAAA=="',
                "times": None,
                "path": "/storage/v1/b|^/upload/storage",
            },
        ),
        REFUSED,
        "crc32c",
    ),
]

BIGQUERY = [
    Fault("BigQuery", "503 when the job is started", (google(503, "backendError", **INSERT),)),
    Fault("BigQuery", "connection reset when the job is started", ({"action": "reset", **INSERT},)),
    Fault(
        "BigQuery",
        "answer to the start of the job lost",
        ({"action": "reset", "when": "after", **INSERT},),
    ),
    Fault("BigQuery", "rate limit when the job is started", (google(403, "rateLimitExceeded", **INSERT),)),
    Fault(
        "BigQuery",
        "job not found after its start",
        (RUNS, google(404, "notFound", times=2, **POLL)),
    ),
    Fault(
        "BigQuery",
        "503 on polling",
        (RUNS, google(503, "backendError", times=2, **POLL)),
    ),
    Fault(
        "BigQuery",
        "503 on polling for good",
        (RUNS, google(503, "backendError", times=None, **POLL)),
        LOADED_UNCONFIRMED,
        "run again with the same run id",
        settings=SHORT,
    ),
    Fault(
        "BigQuery",
        "quota exceeded",
        (google(403, "quotaExceeded", "Quota exceeded: too many load jobs", times=None, **INSERT),),
        REFUSED,
        "quotaExceeded: ",
    ),
    Fault(
        "BigQuery",
        "no permission to run jobs",
        (google(403, "accessDenied", times=None, **INSERT),),
        REFUSED,
        "no permission: ",
    ),
    Fault(
        "BigQuery",
        "no permission to make tables",
        (google(403, "accessDenied", times=None, method="POST", path="/tables"),),
        REFUSED,
        "roles/bigquery.dataEditor",
    ),
    Fault(
        "BigQuery",
        "bucket in another location",
        (
            google(
                400,
                "invalid",
                "Cannot read and write in different locations: source: EU, destination: US",
                times=None,
                **INSERT,
            ),
        ),
        REFUSED,
        "different locations: source: EU, destination: US",
    ),
    Fault(
        "BigQuery",
        "rows reported are not the rows staged",
        (
            {
                "action": "replace",
                "find": '"outputRows": ?"3"',
                "with": '"outputRows":"2"',
                "times": None,
                "path": "/jobs",
            },
        ),
        LOADED_UNCONFIRMED,
        "reports 2 rows, 3 were staged",
    ),
    Fault(
        "Ledger",
        "503 when its job is started",
        (google(503, "backendError", **LEDGER),),
    ),
    Fault(
        "Ledger",
        "answer to the start of its job lost",
        ({"action": "reset", "when": "after", **LEDGER},),
    ),
    Fault(
        "Ledger",
        "403 for good",
        (google(403, "accessDenied", times=None, **LEDGER),),
        LOADED_UNCONFIRMED,
        "no permission",
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
        Kill("during the load job", "bigquery", _hold(POLL, skip=1), (RUNS,)),
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


def _api(status: int, **more: Any) -> Rule:
    return {"action": "status", "status": status, **BY_IDS, **more}


STREAM_NOT_LOADED = "nothing loaded of that stream, exit status 1, no STATE"
API = [
    Fault("API", "429 with Retry-After in seconds", (_api(429, headers={"Retry-After": "1"}),)),
    Fault(
        "API",
        "429 with Retry-After as a date",
        (_api(429, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),),
    ),
    *[Fault("API", f"{status} once", (_api(status),)) for status in (500, 502, 503, 504, 526)],
    Fault("API", "connection reset", ({"action": "reset", **BY_IDS},)),
    Fault("API", "truncated body", ({"action": "truncate", "bytes": 60, **BY_IDS},)),
    Fault("API", "truncated JSON", ({"action": "bad_json", **BY_IDS},)),
    Fault("API", "HTML instead of JSON", (_api(200, body="<html>busy</html>"),)),
    Fault("API", "empty body", (_api(200, body=""),)),
    Fault("API", "no answer in time", ({"action": "slow", "seconds": 5, **BY_IDS},)),
    Fault(
        "API",
        "503 for good",
        (_api(503, times=None, body="busy", **ALL),),
        STREAM_NOT_LOADED,
        "character: status 503, body 'busy' after 2 attempts",
    ),
    Fault(
        "API",
        "403",
        (_api(403, times=None, **ALL),),
        STREAM_NOT_LOADED,
        "character: status 403, body nothing after 1 attempt",
    ),
    Fault("API", "long addresses refused", (_api(414, times=None),)),
    Fault(
        "API",
        "a stray 404 for the listing",
        (_api(404, body='{"error":"There is nothing here"}', **FIRST_PAGE),),
    ),
    Fault("API", "count 0 once", ({"action": "count", "count": 0, **FIRST_PAGE},)),
    Fault("API", "count differs once", ({"action": "count", "count": 99, **FIRST_PAGE},)),
    Fault("API", "count too low once", ({"action": "count", "count": 59, **FIRST_PAGE},)),
    Fault(
        "API",
        "count 0 for good",
        ({"action": "count", "count": 0, "times": None, **PAGES},),
        STREAM_NOT_LOADED,
        "max_shrink_percent",
    ),
    Fault(
        "API",
        "count differs for good",
        ({"action": "count", "count": 99, "times": None, **PAGES},),
        STREAM_NOT_LOADED,
        "60 records came, but the API counts 99",
    ),
    Fault(
        "API",
        "an id twice",
        ({"action": "field", "id": 21, "set": {"id": 20}, "times": None, **ALL},),
        STREAM_NOT_LOADED,
        "id 20 comes after id 20",
    ),
    Fault(
        "API",
        "a field missing",
        ({"action": "field", "id": 21, "drop": ["species"], "times": None, **ALL},),
        STREAM_NOT_LOADED,
        "species",
    ),
    Fault(
        "API",
        "a field of another type",
        ({"action": "field", "id": 21, "set": {"name": 7}, "times": None, **ALL},),
        STREAM_NOT_LOADED,
        "name",
    ),
    Fault(
        "API",
        "a new field",
        ({"action": "field", "id": 21, "set": {"planet": "Mars"}, "times": None, **ALL},),
        LOADED,
        warning="planet",
    ),
    Fault(
        "API",
        "an unknown status",
        ({"action": "field", "id": 21, "set": {"status": "Asleep"}, "times": None, **ALL},),
        LOADED,
        warning="Asleep",
    ),
]


@dataclass(frozen=True)
class Delta:
    """One case of a stream that is read by what has changed since the last run.

    Attributes:
        test: The test that holds it.
    """

    fault: str
    outcome: str
    test: str


INCREMENTAL = [
    Delta(
        "the target killed before the load of a delta",
        "nothing of it is loaded, no STATE; the next run brings it once",
        "test_killed_before_the_load_the_next_run_brings_the_delta",
    ),
    Delta(
        "the target killed between the load of a delta and STATE",
        "the next run brings the same changes again; each record once in the marts",
        "test_killed_between_load_and_state_nothing_is_lost_and_nothing_is_twice",
    ),
    Delta(
        "STATE lost after the load",
        "the next run reads everything; each record once in the marts",
        "test_state_lost_everything_is_read_again",
    ),
    Delta(
        "a delta under the same run id again",
        "what the first attempt has loaded is not loaded again; what has changed since then is, before STATE",
        "test_the_same_run_id_again_loads_a_delta_once",
    ),
    Delta(
        "503 for good in the middle of a delta",
        "exit status 1, STATE as before; what came before it may be loaded, and the next run brings all of it: each record once in the marts",
        "test_an_api_that_fails_in_the_middle_of_a_delta",
    ),
    Delta(
        "a delta with no record",
        "exit status 0, STATE and tables as before",
        "test_a_delta_with_no_record",
    ),
    Delta(
        "a delta after the schema has got a field",
        "the column is added; older records have NULL in it",
        "test_a_delta_after_the_schema_has_got_a_field",
    ),
    Delta(
        "a record deleted at the source",
        "it stays until a full read, which takes it out of the marts",
        "test_an_incremental_source_is_whole_after_each_run",
    ),
]
