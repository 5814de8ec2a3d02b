"""Settings from environment variables, checked before anything starts.

An empty variable counts as not given. Every complaint is kept, so that one look at the log shows all of them.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

# https://en.wikipedia.org/wiki/ISO_8601#Durations, weeks to seconds; months and years have no length.
ISO_DURATION = re.compile(
    r"P(?=.)(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?(?:T(?=.)(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?",
    re.ASCII,
)
# What JSON has, for messages.
KINDS = {dict: "an object", list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number", type(None): "null"}  # fmt: skip
# The job that is not one of meltano.yml.
DBT = "dbt"
# Variables that are inputs and settings themselves: in the map they would mean nothing.
OWN = {"MELTANO_JOB", "MELTANO_RUN_ID", "DBT_SELECT", "ENVIRONMENT", "ATTEMPTS", "RETRY_SECONDS", "JOB_TIMEOUT"}  # fmt: skip
VARIABLE = re.compile(r"[^\0\ud800-\udfff]*")
SECONDS = {"weeks": 604_800, "days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}


def result_object(run_id: str, job: str) -> str:
    """Return the name of a job's result in the landing bucket."""
    return f"_results/run_id={run_id}/{job}.json"


class SettingsError(Exception):
    """Wrong settings; `complaints` has one line for each."""

    def __init__(self, complaints: list[str]) -> None:
        super().__init__("; ".join(complaints))
        self.complaints = complaints


@dataclass(frozen=True)
class Attempts:
    """How often a job is tried at most, the pause between two attempts, and the time for all together; in seconds."""

    most: int
    pause: float
    limit: float


class Reader:
    """Reads variables and collects what is wrong with them.

    A setting's name in messages is the variable's in small letters, as in Kestra's KV store.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self.complaints: list[str] = []

    def text(self, name: str, default: str | None = None, *, like: str = r"\S.*", example: str = "") -> str:
        """Return a text that matches `like` whole; without a default it must be given."""
        value = self._variables.get(name, "").strip()
        if not value:
            if default is None:
                self._complain(name, "is not set", example)
            return default or ""
        if not re.fullmatch(like, value):
            self._complain(name, f"is {value[:80]!r}", example)
        return value

    def seconds(self, name: str, default: float, least: float, most: float) -> float:
        """Return a duration in seconds, given in seconds (`90`) or in ISO 8601 (`PT1M30S`)."""
        value = self._variables.get(name, "").strip()
        if not value:
            return default
        if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
            found = float(value)
        elif parts := ISO_DURATION.fullmatch(value):
            found = sum(float(number) * SECONDS[unit] for unit, number in parts.groupdict().items() if number)
        else:
            self._complain(
                name, f"is {value[:80]!r}", "seconds such as 3600, or an ISO 8601 duration such as PT1H"
            )
            return default
        if not least <= found <= most:
            self._complain(name, f"is {value[:80]!r}", f"{least:g} to {most:g} seconds")
        return found

    def whole(self, name: str, default: int, least: int, most: int) -> int:
        """Return a whole number."""
        value = self._variables.get(name, "").strip()
        if not value:
            return default
        if not re.fullmatch(r"[0-9]{1,9}", value) or not least <= int(value) <= most:
            self._complain(name, f"is {value[:80]!r}", f"a whole number from {least} to {most}")
            return default
        return int(value)

    def mapping(self, name: str) -> dict[str, str]:
        """Return a map of environment variables, given as a JSON object of texts."""
        value = self._variables.get(name, "").strip()
        if not value:
            return {}
        expected = 'a JSON object of texts, as `terraform output -json environment` writes it, such as {"MELTANO_ENVIRONMENT": "prod"}'
        try:
            found = json.loads(value)
            # A KV value that was saved as text and not as JSON arrives quoted.
            found = json.loads(found) if isinstance(found, str) else found
        except (ValueError, RecursionError):
            self._complain(name, "is not JSON", expected)
            return {}
        # A value may be a secret: messages have its kind alone.
        if not isinstance(found, dict):
            self._complain(name, f"is {KINDS[type(found)]}", expected)
            return {}
        for key, item in found.items():
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
                self._complain(name, f"has the key {key[:80]!r}", "names of environment variables")
            if key in OWN:
                self._complain(name, f"has the key {key}", "it as an input or a setting of its own")
            if not isinstance(item, str):
                self._complain(name, f"has {KINDS[type(item)]} for {key[:80]!r}", "a text: put it in quotes")
            elif not VARIABLE.fullmatch(item):
                self._complain(
                    name, f"has a text for {key[:80]!r} that no variable can hold", "no NUL, and Unicode"
                )
        return {key: str(item) for key, item in found.items()}

    def job(self) -> str:
        """Return the job's name."""
        return self.text(
            "MELTANO_JOB", like=r"[A-Za-z0-9_][A-Za-z0-9_.-]*", example="a job of meltano.yml, or dbt"
        )

    def selection(self) -> str:
        """Return what of the dbt project is built, whole where it is empty; no option, and none for another job than dbt."""
        found, job = (self.text(name, "", like=r"(?s).*") for name in ("DBT_SELECT", "MELTANO_JOB"))
        if any(word.startswith("-") for word in found.split()):
            self.refuse(f"dbt selection is {found[:80]!r}: expected names, tags and paths, no options")
        if found and job != DBT:
            self.refuse(f"dbt selection is {found[:80]!r}: expected none, since job {job} is not {DBT}")
        return found

    def run_id(self) -> str:
        """Return the run's id, in small letters: a UUID is the same in capitals (RFC 9562)."""
        uuid = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
        return self.text("MELTANO_RUN_ID", like=uuid, example="a UUID").lower()

    def attempts(self) -> Attempts:
        """Return attempts and time limit of a job."""
        return Attempts(
            self.whole("ATTEMPTS", 2, 1, 10),
            self.seconds("RETRY_SECONDS", 30, 0, 3600),
            self.seconds("JOB_TIMEOUT", 3600, 1, 86_400),
        )

    def refuse(self, complaint: str) -> None:
        """Keep a complaint of another kind."""
        self.complaints.append(complaint)

    def check(self) -> None:
        """End the reading.

        Raises:
            SettingsError: Something was wrong.
        """
        if self.complaints:
            raise SettingsError(self.complaints)

    def _complain(self, name: str, found: str, expected: str) -> None:
        self.complaints.append(
            f"setting {name.lower()} {found}" + (f": expected {expected}" if expected else "")
        )
