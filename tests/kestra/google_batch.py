"""A stand-in for the REST APIs of Google Batch, Cloud Logging and Cloud Storage, for Google's own `gcloud`.

Methods, states, refusals and messages are those of the references:
https://cloud.google.com/batch/docs/reference/rest/v1/projects.locations.jobs,
https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list,
https://cloud.google.com/storage/docs/json_api/v1/objects.
A job goes one state further each time it is polled; its container is a process of this machine. Tests inject the faults.
"""

import contextlib
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import Message
from functools import cache
from pathlib import Path
from threading import RLock, Thread
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from testkit.servers import Server

from testkit import gcloud, warm

TOKEN = "a-token"
# What gcloud imports at its start and for these commands; its module `gcloud` finds the others.
GCLOUD = (
    "gcloud",
    "googlecloudsdk.gcloud_main",
    "googlecloudsdk.api_lib.batch.jobs",
    "googlecloudsdk.api_lib.batch.tasks",
    "googlecloudsdk.api_lib.container.kubeconfig",
    "googlecloudsdk.api_lib.logging.common",
    "googlecloudsdk.api_lib.storage.api_factory",
    "googlecloudsdk.core.credentials.requests",
    "googlecloudsdk.core.resource.resource_printer",
    "googlecloudsdk.command_lib.batch.resource_args",
    "googlecloudsdk.command_lib.concepts.concept_managers",
    "googlecloudsdk.command_lib.storage.tasks.cat.cat_task_iterator",
    "googlecloudsdk.core.credentials.google_auth_credentials",
    "googlecloudsdk.core.credentials.p12_service_account",
    "googlecloudsdk.generated_clients.apis.batch.v1.batch_v1_client",
    "googlecloudsdk.generated_clients.apis.logging.v2.logging_v2_client",
    "google.oauth2.reauth",
    "proto",
)
LABEL = re.compile(r"[a-z0-9_-]{0,63}")


class Refused(Exception):  # noqa: N818 - an answer of the API, not an error of this program
    """An answer with a status that is not 200."""

    def __init__(self, code: int, status: str, message: str) -> None:
        super().__init__(message)
        self.body = {"error": {"code": code, "status": status, "message": message}}
        self.code = code


@dataclass
class Fault:
    """What is answered instead of the truth, `times` times, to a method and a path that match."""

    request: str
    code: int
    status: str
    message: str
    times: int = 1_000_000
    # The work is done, and its answer lost.
    after: bool = False


@dataclass
class Job:
    """A job and its container."""

    definition: dict[str, Any]
    name: str
    uid: str
    created: str
    state: str = "QUEUED"
    events: list[dict[str, Any]] = field(default_factory=list)
    process: subprocess.Popen[str] | None = None
    lines: list[tuple[str, str]] = field(default_factory=list)
    reader: Thread | None = None
    ended_looks: int = 0


def now() -> str:
    """Return the time as Google writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def sdk() -> Path:
    """Return the folder of the Google Cloud CLI."""
    return Path(shutil.which("gcloud") or "/nowhere/bin/gcloud").resolve().parents[1]


@cache
def googles(*modules: str) -> list[Any]:
    """Return modules that come with the Google Cloud CLI."""
    folders = [str(sdk() / "lib"), str(sdk() / "lib" / "third_party")]
    sys.path += folders
    try:
        return [importlib.import_module(name) for name in modules]
    finally:
        del sys.path[-len(folders) :]


def check(definition: dict[str, Any]) -> None:
    """Refuse what Google's own definition of a Job does not know: a field, a kind of value, a word."""
    batch, protocol, encoding = googles(
        "googlecloudsdk.generated_clients.apis.batch.v1.batch_v1_messages",
        "apitools.base.protorpclite.messages",
        "apitools.base.py.encoding",
    )
    try:
        unknown = list(encoding.UnrecognizedFieldIter(encoding.PyValueToMessage(batch.Job, definition)))
    except protocol.ValidationError as error:
        raise Refused(400, "INVALID_ARGUMENT", f"Invalid value: {error}") from None
    if unknown:
        raise Refused(400, "INVALID_ARGUMENT", f"Invalid JSON payload received. Unknown name: {unknown}")


class GoogleBatch(Server):
    """The server; `command` is what a container runs."""

    def __init__(self, command: list[str], folder: Path) -> None:
        super().__init__()
        self.command = command
        self.folder = folder
        self.lock = RLock()
        self.jobs: dict[str, Job] = {}
        self.forget()

    def forget(self) -> None:
        """End every container and forget everything; as new."""
        with self.lock:
            for job in self.jobs.values():
                self.end_container(job)
            self.jobs = {}
            self.objects: dict[str, bytes] = {}
            self.faults: list[Fault] = []
            self.seen: list[tuple[str, str]] = []
            self.log_reads: list[int] = []
            # How often the log of a job that has ended is read without its last lines, and how many those are: they are late while it runs too.
            self.late = (0, 0)
            # Of a log entry; a longer line is several, as Cloud Logging takes at most 256 KB.
            self.most_characters = 256_000
            # What the container of a machine that was taken away has logged before.
            self.left: list[str] = []
            # Batch's own exit code of a lost machine, in place of the container's.
            self.lost = 0

    def path(self) -> str:
        """Return a PATH on which gcloud is warm: each call would import for half a second, and a run makes a dozen."""
        python = sdk() / "platform" / "bundledpythonunix" / "bin" / "python3"
        folder = self.folder / "bin"
        if python.is_file() and not folder.is_dir():
            folder.mkdir()
            warm.stand_in(folder / "gcloud", warm.script(sdk() / "lib" / "gcloud.py", *GCLOUD, python=python))
        return f"{folder}{os.pathsep}{os.environ['PATH']}"

    def environment(self) -> dict[str, str]:
        """Return what makes gcloud and Google's clients ask here, with a token that is accepted."""
        endpoints = {"BATCH": self.url, "LOGGING": self.url, "STORAGE": f"{self.url}/storage/v1"}
        endpoints = {name: f"{url}/" for name, url in endpoints.items()}
        return gcloud.environment(self.folder / "gcloud", TOKEN, **endpoints)

    def calls(self, pattern: str) -> list[str]:
        """Return the requests that match."""
        return [call for call, _ in self.seen if re.search(pattern, call)]

    def submitted(self) -> list[str]:
        """Return the names of the jobs that were made, in order, gone ones too."""
        return [
            unquote(call.rpartition("jobId=")[2].partition("&")[0])
            for call in self.calls(r"^POST /v1/.*jobId=")
        ]

    def running(self) -> bool:
        """Return whether a container has been started."""
        return any(job.process for job in self.jobs.values())

    def operator(self, name: str, state: str) -> None:
        """What a person does in the console, by the state in which it leaves a job."""
        with self.lock:
            job = self.jobs[name]
            self.end_container(job)
            job.state = state

    # --- containers -----------------------------------------------------------------------------------------------

    def start_container(self, job: Job) -> None:
        """Run what the container runs, and take its lines as Cloud Logging does."""
        (runnable,) = job.definition["taskGroups"][0]["taskSpec"]["runnables"]
        variables = runnable.get("environment", {}).get("variables", {})
        job.lines += [(now(), line) for line in self.left]
        job.process = process = subprocess.Popen(
            self.command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={"PATH": os.environ["PATH"], **variables},
            start_new_session=True,
        )

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                text = line.rstrip("\n")
                parts = range(0, max(len(text), 1), self.most_characters)
                job.lines += [(now(), text[at : at + self.most_characters]) for at in parts]

        job.reader = Thread(target=read, daemon=True)
        job.reader.start()

    def end_container(self, job: Job) -> None:
        """End it and all that it has started."""
        if job.process is not None and job.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(job.process.pid, signal.SIGTERM)
            try:
                job.process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(job.process.pid, signal.SIGKILL)
                job.process.wait(10)

    def advance(self, job: Job) -> None:
        """Go one state further."""
        if job.state == "QUEUED":
            job.state = "RUNNING"
            self.start_container(job)
        elif job.state == "RUNNING" and job.process is not None and (code := job.process.poll()) is not None:
            assert job.reader is not None
            job.reader.join()
            job.state = "FAILED" if code else "SUCCEEDED"
            if code:
                text = f"Job state is set from RUNNING to FAILED for job {job.name}. Job failed due to task failure. Exit code {code}."
                job.events.append({"type": "STATUS_CHANGED", "description": text})
        elif job.state == "CANCELLATION_IN_PROGRESS":
            job.state = "CANCELLED"
        elif job.state == "DELETION_IN_PROGRESS":
            del self.jobs[job.name.rpartition("/")[2]]

    # --- the API --------------------------------------------------------------------------------------------------

    def shown(self, job: Job) -> dict[str, Any]:
        """Return a job as the API shows it."""
        state = {"state": job.state, "statusEvents": job.events}
        return job.definition | {"name": job.name, "uid": job.uid, "createTime": job.created, "status": state}

    def respond(self, method: str, path: str, headers: Message, body: bytes) -> tuple[int, bytes]:
        """Answer one request."""
        with self.lock:
            self.seen.append((f"{method} {path}", body.decode(errors="replace")))
            try:
                self.spoil(method, path, body)
                # An emulator of Cloud Storage wants no credentials.
                if not path.startswith(("/storage/", "/upload/")):
                    self.authenticate(headers)
                found = self.answer(method, path, body)
            except Refused as refused:
                return refused.code, json.dumps(refused.body).encode()
        return 200, found if isinstance(found, bytes) else json.dumps(found).encode()

    def spoil(self, method: str, path: str, body: bytes) -> None:
        """Refuse a request that one of the faults is for."""
        fault = next((f for f in self.faults if f.times and re.search(f.request, f"{method} {path}")), None)
        if fault is not None:
            fault.times -= 1
            if fault.after:
                self.answer(method, path, body)
            raise Refused(fault.code, fault.status, fault.message)

    def authenticate(self, headers: Message) -> None:
        """Refuse a request without the token."""
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            raise Refused(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")

    def answer(self, method: str, target: str, body: bytes) -> dict[str, Any] | bytes:
        """Answer one request.

        Raises:
            Refused: With another status.
        """
        url = urlsplit(target)
        path, query = unquote(url.path), {k: v[0] for k, v in parse_qs(url.query).items()}
        if path == "/v2/entries:list":
            return self.entries(json.loads(body))
        if path.startswith(("/storage/v1/b/", "/upload/storage/v1/b/")):
            return self.object(method, path, query, body)
        if re.fullmatch(r"/v1/.*/operations/[^/]+", path):
            return {"name": path[4:], "done": True, "response": {}}
        jobs = re.fullmatch(r"/v1/(projects/[^/]+/locations/[^/]+)/jobs", path)
        if jobs and method == "POST":
            return self.create(jobs[1], query["jobId"], json.loads(body))
        if jobs:
            return {"jobs": [self.shown(j) for j in self.jobs.values() if j.name.startswith(f"{jobs[1]}/")]}
        return self.one(method, path)

    def one(self, method: str, path: str) -> dict[str, Any]:
        """One job: GetJob, DeleteJob, its tasks."""
        parts = re.fullmatch(
            r"/v1/(?P<place>projects/[^/]+/locations/[^/]+)/jobs/(?P<name>[^/]+)(?P<tasks>/taskGroups/[^/]+/tasks)?",
            path,
        )
        if parts is None:
            raise Refused(404, "NOT_FOUND", f"The requested URL {path} was not found on this server.")
        job = self.jobs.get(parts["name"])
        if job is None or job.name != f"{parts['place']}/jobs/{parts['name']}":
            raise Refused(404, "NOT_FOUND", f"Resource '{parts['place']}/jobs/{parts['name']}' was not found")
        if parts["tasks"]:
            return {"tasks": [self.task(job)]}
        if method == "DELETE":
            self.end_container(job)
            job.state = "DELETION_IN_PROGRESS"
            return {"name": f"{parts['place']}/operations/delete-{parts['name']}", "done": False}
        self.advance(job)
        return self.shown(job)

    def create(self, place: str, name: str, definition: dict[str, Any]) -> dict[str, Any]:
        """CreateJob."""
        if not re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", name):
            raise Refused(400, "INVALID_ARGUMENT", f"Job ID {name} is invalid")
        if name in self.jobs:
            raise Refused(409, "ALREADY_EXISTS", f"Resource '{place}/jobs/{name}' already exists")
        check(definition)
        for key, value in definition.get("labels", {}).items():
            if not LABEL.fullmatch(key) or not LABEL.fullmatch(value):
                raise Refused(400, "INVALID_ARGUMENT", f"label {key}={value} is invalid")
        job = Job(definition, f"{place}/jobs/{name}", f"{name[:40]}-{time.time_ns()}", now())
        self.jobs[name] = job
        return self.shown(job)

    def task(self, job: Job) -> dict[str, Any]:
        """The one task of a job."""
        code = self.lost or (job.process.poll() if job.process else None)
        event: dict[str, Any] = {"type": "STATUS_CHANGED", "taskState": job.state}
        if code is not None:
            event["taskExecution"] = {"exitCode": code} if code else {}
        return {
            "name": f"{job.name}/taskGroups/group0/tasks/0",
            "status": {"state": job.state, "statusEvents": [event]},
        }

    def entries(self, request: dict[str, Any]) -> dict[str, Any]:
        """entries.list, with the filter of this pipeline: uid, timestamp, receiveTimestamp."""
        pattern = request["filter"]
        uid = re.search(r'labels\.job_uid="([^"]+)"', pattern)
        since = re.search(r'receiveTimestamp>="([^"]+)"', pattern)
        found: list[dict[str, Any]] = []
        for job in self.jobs.values():
            if uid is None or job.uid != uid[1]:
                continue
            job.ended_looks += job.state not in {"QUEUED", "RUNNING"}
            times, count = self.late
            lines = list(enumerate(job.lines))
            lines = lines[: max(0, len(lines) - count)] if job.ended_looks <= times else lines
            found += [
                {
                    "insertId": f"{job.uid}-{number}",
                    "logName": f"{'/'.join(job.name.split('/')[:2])}/logs/batch_task_logs",
                    "timestamp": when,
                    "receiveTimestamp": when,
                    "labels": {"job_uid": job.uid},
                    "textPayload": text,
                }
                for number, (when, text) in lines
                if since is None or when >= since[1]
            ]
        self.log_reads.append(len(found))
        return {"entries": found}

    def object(self, method: str, path: str, query: dict[str, str], body: bytes) -> dict[str, Any] | bytes:
        """Objects of a bucket: upload, metadata, content."""
        bucket, _, name = path.partition("/b/")[2].partition("/o")
        name = query.get("name") or name.removeprefix("/")
        key = f"{bucket}/{name}"
        if method == "POST":
            boundary = body.split(b"\r\n", 1)[0]
            metadata, content = (
                part.split(b"\r\n\r\n", 1)[1].rstrip(b"\r\n") for part in body.split(boundary)[1:3]
            )
            key = f"{bucket}/{json.loads(metadata)['name']}"
            self.objects[key] = content
        if not name and method == "GET":
            # Neither Kestra's identity nor the container's has buckets.get, nor may list beyond a folder.
            raise Refused(403, "PERMISSION_DENIED", "does not have storage.buckets.get access to the bucket.")
        if key not in self.objects:
            raise Refused(404, "NOT_FOUND", f"No such object: {key}")
        if query.get("alt") == "media":
            return self.objects[key]
        return {
            "kind": "storage#object",
            "bucket": bucket,
            "name": key.partition("/")[2],
            "size": str(len(self.objects[key])),
            "generation": "1",
            "metageneration": "1",
            "mediaLink": f"{self.url}/storage/v1/b/{bucket}/o/{quote(key.partition('/')[2], safe='')}?alt=media",
        }
