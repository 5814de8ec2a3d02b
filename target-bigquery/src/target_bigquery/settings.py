"""The target's settings: their schema, and the values of one run."""

import json
import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from importlib.resources import files
from typing import Any

from dotenv import load_dotenv

from target_bigquery.errors import TargetError

RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


# Whether a variable of the environment can be read as a setting of such a type.
FORMS: dict[str, Callable[[str], object]] = {
    "integer": re.compile(r"\s*[+-]?[0-9]+\s*").fullmatch,
    "number": re.compile(r"[0-9]+(\.[0-9]+)?").fullmatch,
    "boolean": re.compile(r"true|false|yes|no|on|off|1|0", re.IGNORECASE).fullmatch,
    "object": _is_json_object,
}
SCHEMA: dict[str, Any] = json.loads((files("target_bigquery") / "settings.json").read_bytes())


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The validated settings of one run, as settings.json describes them.

    `extractor` is Meltano's name of the tap. `process` distinguishes this process from others of the same run.
    """

    project: str
    dataset: str
    bucket: str
    location: str
    run_id: str
    load_method: str
    create_tables: bool
    allow_loss: bool
    part_size_mb: int
    timeout_seconds: float
    load_timeout_seconds: float
    staging_dataset: str | None = None
    load_every_rows: int | None = None
    load_every_minutes: float | None = None
    process_activate_version_messages: bool = True
    source: str | None = None
    extractor: str | None = None
    process: str = field(default_factory=lambda: uuid.uuid4().hex[:12])

    @property
    def destination(self) -> str:
        """Project and dataset: several may share a bucket."""
        return f"{self.project}.{self.dataset}"

    @property
    def part_size(self) -> int:
        """Compressed bytes after which a part is closed."""
        return self.part_size_mb * 1_000_000

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Settings":
        """Return the settings of a validated config."""
        project = config.get("project") or os.environ.get("GOOGLE_CLOUD_PROJECT")
        if not project:
            raise TargetError("no project: set `project` (TARGET_BIGQUERY_PROJECT) or GOOGLE_CLOUD_PROJECT")
        run_id = config.get("run_id") or os.environ.get("MELTANO_RUN_ID") or str(uuid.uuid4())
        if not RUN_ID.fullmatch(run_id):
            raise TargetError(f"run_id is {run_id[:60]!r}: expected letters, digits, - and _, at most 128")
        extractor = os.environ.get("MELTANO_EXTRACTOR_NAME") or None
        names = {item.name for item in fields(cls)} & SCHEMA["properties"].keys()
        values = {name: config[name] for name in names if name in config}
        return cls(**values | {"project": project, "run_id": run_id, "extractor": extractor})


def invalid_variables(prefix: str) -> Iterator[str]:
    """Remove blank variables, and yield what is wrong with others.

    The SDK takes any other word for false, fails on a number that is none, and skips a name that it does not know.

    Args:
        prefix: The beginning of the variables' names.
    """
    # As the SDK does, but before the variables are looked at.
    load_dotenv()
    for variable, value in list(os.environ.items()):
        name = variable.removeprefix(prefix)
        # The SDK's own variable, and Meltano's, which have two underscores.
        if not variable.startswith(prefix) or name == "LOGLEVEL" or name.startswith("_"):
            continue
        if name not in map(str.upper, SCHEMA["properties"]):
            yield f"{variable}: the target has no such setting"
        elif not value.strip():
            del os.environ[variable]
        else:
            for kind, fits in FORMS.items():
                if kind in SCHEMA["properties"][name.lower()]["type"] and not fits(value):
                    yield f"{name.lower()}: {value!r} is not of type '{kind}'"
