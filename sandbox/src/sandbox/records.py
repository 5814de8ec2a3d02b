"""Where the API server's records come from: a folder of API-shaped JSON lines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sandbox.errors import SandboxError, sandbox

if TYPE_CHECKING:
    from pathlib import Path

RESOURCES = ("character", "location", "episode")
Records = dict[str, list[dict[str, Any]]]


def check_folder(folder: Path) -> None:
    """Say early what a data folder lacks.

    Raises:
        SandboxError: The folder or one of its files is not there.
    """
    missing = [f"{name}.jsonl" for name in RESOURCES if not (folder / f"{name}.jsonl").is_file()]
    if missing:
        raise SandboxError(
            f"{folder}: {', '.join(missing)} not found; {sandbox('capture FOLDER')} makes such a folder"
        )


def read_folder(folder: Path) -> Records:
    """Read the three files of a data folder, sorted by id.

    Raises:
        SandboxError: A file is missing, a line is no JSON object with a whole-number id, or an id is there twice.
    """
    check_folder(folder)
    found: Records = {}
    for resource in RESOURCES:
        path = folder / f"{resource}.jsonl"
        records: dict[int, dict[str, Any]] = {}
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    record = json.loads(line)
                    key = record["id"]
                except (ValueError, KeyError, TypeError):
                    raise SandboxError(f"{path}, line {number}: expected a JSON object with an id") from None
                if not isinstance(key, int) or key in records:
                    raise SandboxError(
                        f"{path}, line {number}: id {key!r} is no whole number, or there twice"
                    )
                records[key] = record
        found[resource] = [records[key] for key in sorted(records)]
    return found
