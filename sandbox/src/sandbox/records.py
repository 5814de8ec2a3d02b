"""Where the API server's records come from: a folder of API-shaped JSON lines."""

import functools
import json
from pathlib import Path
from typing import Any

from sandbox.errors import SandboxError, sandbox_command

LIST = Path(__file__).resolve().parents[3] / "entities.yml"
Records = dict[str, list[dict[str, Any]]]


@functools.cache
def entities() -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return the fields of each resource's key, and the name of its entity.

    Raises:
        SandboxError: entities.yml is not such a list.
    """
    import yaml  # noqa: PLC0415 (most commands of the sandbox read no records)

    try:
        listed = yaml.safe_load(LIST.read_text(encoding="utf-8"))["entities"]
        keys = {str(entity["resource"]): entity["key"] for entity in listed}
        if wrong := [key for key in keys.values() if not isinstance(key, list)]:
            raise TypeError(f"key {wrong[0]!r} is not a list of fields")  # noqa: TRY301
        return keys, {str(entity["resource"]): str(entity["name"]) for entity in listed}
    except (OSError, yaml.YAMLError, LookupError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise SandboxError(f"{LIST}: expected a list of entities: {reason}; make lint checks it") from None


def check_folder(folder: Path) -> None:
    """Check that a data folder has one file per resource.

    Raises:
        SandboxError: The folder or one of its files is not there, or a second one has the name of its entity.
    """
    keys, names = entities()
    missing = [f"{name}.jsonl" for name in keys if not (folder / f"{name}.jsonl").is_file()]
    if missing:
        raise SandboxError(
            f"{folder}: {', '.join(missing)} not found; {sandbox_command('capture FOLDER')} makes such a folder"
        )
    for resource, entity in names.items():
        if entity not in keys and (folder / f"{entity}.jsonl").exists():
            raise SandboxError(
                f"{folder}: of {resource}.jsonl and {entity}.jsonl the first is read; remove one"
            )


def read_folder(folder: Path) -> Records:
    """Return the records of each resource of entities.yml, sorted by key.

    Raises:
        SandboxError: A file is missing, a line is not a JSON object with a key of integers or strings, or a key occurs twice.
    """
    check_folder(folder)
    by_resource: Records = {}
    for resource, fields in entities()[0].items():
        path = folder / f"{resource}.jsonl"
        records: dict[tuple[int | str, ...], dict[str, Any]] = {}
        # As `make entity` reads a sample: with a mark of UTF-8 at the beginning, and empty lines, which editors leave.
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    record = json.loads(line.encode())
                    # Neither NaN nor half a character is JSON that the API could send.
                    json.dumps(record, ensure_ascii=False, allow_nan=False).encode()
                    key = tuple(record[field] for field in fields)
                except (ValueError, KeyError, TypeError, RecursionError):
                    raise SandboxError(
                        f"{path}, line {number}: expected a JSON object in UTF-8 with {', '.join(fields)}"
                    ) from None
                if key in records or not all(type(part) in {int, str} for part in key):
                    raise SandboxError(
                        f"{path}, line {number}: {', '.join(fields)} {', '.join(map(repr, key))} is not an integer or a string, "
                        "or occurs twice"
                    )
                records[key] = record
        by_resource[resource] = [
            records[key] for key in sorted(records, key=lambda key: [(type(p).__name__, p) for p in key])
        ]
    return by_resource
