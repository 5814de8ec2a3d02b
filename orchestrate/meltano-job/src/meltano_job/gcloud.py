"""Calls of the Google Cloud CLI: its answers as JSON, its failures by Google's own status, and how many of them are too many.

Python's standard library only; `gcloud` must be on the PATH.
"""

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from meltano_job import kestra

SECONDS_PER_CALL = 120
# How often in a row a call may fail: what is refused stays refused, a service that is down comes back.
REFUSALS = 3
FAILURES = 20
# How gcloud prints Google's answer depends on the command: a status, a code, or a whole response (seen with gcloud 528).
STATUS = re.compile(
    r"^ERROR: \(gcloud[\w.-]*\) (?:(?P<status>[A-Z][A-Z_]{4,}): |ResponseError: code=(?P<code>\d{3})\b|HttpError accessing .*?'status': (?P<http>\d{3})\b)",
    re.MULTILINE | re.DOTALL,
)
# https://cloud.google.com/apis/design/errors#handling_errors
STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    429: "RESOURCE_EXHAUSTED",
}
REFUSED = {
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "INVALID_ARGUMENT",
    "FAILED_PRECONDITION",
    "NOT_FOUND",
    "OUT_OF_RANGE",
}
# What gcloud prints before it calls anybody: no account, unusable credentials, an unknown flag.
BEFORE_THE_CALL = re.compile(r"active account|credential|auth login|argument --", re.IGNORECASE)


class GcloudError(Exception):
    """A call of gcloud failed; `status` is Google's (`PERMISSION_DENIED`), empty where there is none."""

    def __init__(self, text: str, status: str = "") -> None:
        super().__init__(" ".join(text.split())[:500])
        if not status and (found := STATUS.search(text)):
            code = found["code"] or found["http"]
            status = found["status"] or STATUSES.get(int(code), "UNAVAILABLE")
        self.status = status

    @property
    def refused(self) -> bool:
        """Whether the same call will be refused again."""
        return self.status in REFUSED or (not self.status and bool(BEFORE_THE_CALL.search(str(self))))

    def is_about(self, name: str) -> bool:
        """Whether Batch says that the job of this name does not exist; any other "not found" does not."""
        return f"/jobs/{name}' was not found" in str(self)


def run(*arguments: str, stdin: str | None = None) -> str:
    """Run gcloud; return what it prints.

    Raises:
        GcloudError: It failed or did not answer in time.
    """
    try:
        done = subprocess.run(
            ["gcloud", *arguments, "--quiet"],
            check=False,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            input=stdin,
            timeout=SECONDS_PER_CALL,
        )
    except subprocess.TimeoutExpired:
        raise GcloudError(f"gcloud {arguments[0]} did not answer within {SECONDS_PER_CALL} s") from None
    except OSError as error:
        raise GcloudError(
            f"gcloud cannot be started: {error}; gcloud_image wants one with it", "INVALID_ARGUMENT"
        ) from None
    if done.returncode:
        raise GcloudError(done.stderr.strip() or f"gcloud ended with status {done.returncode}")
    return done.stdout


def read(kind: type, *arguments: str) -> Any:  # noqa: ANN401 - JSON of Google's
    """Run gcloud; return its JSON, which has to be of a kind.

    Raises:
        GcloudError: It failed, or printed something else.
    """
    return parsed(kind, run(*arguments, "--format=json"))


def parsed(kind: type, text: str) -> Any:  # noqa: ANN401 - JSON of Google's
    """Return gcloud's JSON.

    Raises:
        GcloudError: It is not JSON, or of another kind.
    """
    try:
        found = json.loads(text or "[]")
    except ValueError:
        found = None
    if not isinstance(found, kind):
        raise GcloudError(f"gcloud printed no JSON {kind.__name__}: {text[:200]!r}")
    return found


@contextmanager
def signed_in(credentials: str) -> Iterator[None]:
    """Give gcloud the credentials for as long as this lasts; without any it has the machine's identity."""
    if not credentials:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="gcloud-") as folder:
        file = Path(folder) / "credentials.json"
        file.touch(mode=0o600)
        file.write_text(credentials, encoding="utf-8")
        os.environ["CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE"] = str(file)
        yield


class RetryBudget:
    """Counts failures in a row: what is refused uses it up soon, what may pass late."""

    def __init__(self, action: str) -> None:
        self._action = action
        self._refusals = self._failures = 0

    def succeeded(self) -> None:
        """Reset the counts."""
        self._refusals = self._failures = 0

    def failed(self, error: GcloudError) -> None:
        """Count a failure; the first in a row is logged.

        Raises:
            GcloudError: The budget is used up.
        """
        self._failures += 1
        self._refusals = self._refusals + 1 if error.refused else 0
        if self._refusals >= REFUSALS or self._failures >= FAILURES:
            text = f"{self._action} failed {self._failures} times in a row: {error}{advice(error)}"
            raise GcloudError(text, error.status)
        if self._failures == 1:
            kestra.log("WARN", f"{self._action} failed, trying again: {error}")


def advice(error: GcloudError) -> str:
    """Return what to do about a failure, where that is known."""
    if "active account" in str(error):
        return (
            "; this machine has no Google identity: outside Google Cloud name a secret in the setting credentials_secret"
            " (docs/kestra-outside-google-cloud.md)"
        )
    if error.status == "PERMISSION_DENIED":
        return "; look at the roles of Kestra's identity (terraform/README.md)"
    return ""
