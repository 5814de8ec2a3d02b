"""`make entity`: writes everything that an entity needs, from a sample of its records.

    python scripts/new_entity.py NAME --sample FILE [--singular WORD] [--resource PATH] [--key FIELD,FIELD] [--since FIELD]

That is: its line in entities.yml, its stream, schema, staging model and mart, and what is generated from these.
A person then says what the fields mean, and what the mart makes of them. Exit status 2 for bad arguments or a bad
sample; nothing is written then.
"""

import json
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import entities
import generated_files
import inflection
import landing_schemas
import msgspec
from command_line import OneLine, end_with
from entities import APP, LIST, TAP, Entity
from entity_models import model_files
from generated_files import ROOT
from sample_schema import infer_object

STREAMS = TAP / "streams.py"
STREAM_LIST = re.compile(r"STREAMS: list\[type\[(\w+)\]\] = \[([^\]]*)\]")
NEW_FIELDS = {
    "type": ["object", "null"],
    "description": "Fields that the API serves and this schema does not know yet, by their path; none as a rule.",
}


def read_sample(name: str) -> list[dict[str, Any]]:
    """Return the records of a sample.

    Raises:
        ValueError: No file is named, there is no such file, a line is not a JSON object, or there is no record.
    """
    if not name:
        raise ValueError(
            "SAMPLE is not given: name a file with a sample of its records, as JSON lines, such as SAMPLE=vehicles.jsonl"
        )
    file = Path(name)
    if not file.is_file():
        raise ValueError(f"SAMPLE={file}: expected a file with a sample of its records, as JSON lines")
    records = []
    for number, line in enumerate(file.read_text("utf-8-sig", "surrogateescape").split("\n"), 1):
        try:
            # As the tap reads an answer: no NaN, no number beyond a float.
            records += [msgspec.json.decode(line.encode())] if line.strip() else []
        except ValueError as error:
            raise ValueError(
                f"SAMPLE={file}, line {number}: expected a JSON object in UTF-8 ({error})"
            ) from None
    if not records or not all(isinstance(record, dict) for record in records):
        raise ValueError(
            f"SAMPLE={file}: expected at least one record, one JSON object per line; jq -c '.[]' makes lines of a list"
        )
    return records


def check_sample(entity: Entity, records: list[dict[str, Any]], since: str | None) -> None:
    """Check that each record has the field `since`, which can be sorted, and the key, of integers and strings, once in a whole version.

    Raises:
        ValueError: One has not.
    """
    seen: dict[tuple[Any, ...], int] = {}
    for number, record in enumerate(records, 1):
        required = (*entity.key, *([since] if since else []))
        if missing := [field for field in required if record.get(field) is None]:
            raise ValueError(
                f"record {number} of the sample: no {', '.join(missing)}; name another --key or --since"
            )
        if unfit := [field for field in entity.key if type(record[field]) not in {int, str}]:
            raise ValueError(
                f"record {number} of the sample: {', '.join(unfit)} is neither an integer nor a string; name another --key"
            )
        if since and not re.match(r"\d{4}-?\d\d|-?[\d.]+$", json.dumps(record[since]).strip('"')):
            raise ValueError(
                f"record {number} of the sample: {since} is neither a number nor a date such as 2026-01-31; name another --since"
            )
        same = seen.setdefault(tuple(record[field] for field in entity.key), number)
        if same != number and not since:
            raise ValueError(
                f"record {number} of the sample: the same {', '.join(entity.key)} as record {same}; take one out, or name another --key"
            )
        if "new_fields" in record:
            raise ValueError(
                f"record {number} of the sample: new_fields is the tap's own column; rename the field in the tap"
            )


def files(entity: Entity, records: list[dict[str, Any]], since: str | None) -> dict[Path, str]:
    """Return each file that the entity adds or changes.

    Raises:
        ValueError: The sample does not fit the entity, or one of its files exists already.
    """
    entities.validate([asdict(e) for e in (*entities.read(), entity)])
    check_sample(entity, records, since)
    schema = {"type": "object", **infer_object(records)}
    schema["properties"]["new_fields"] = NEW_FIELDS
    added = {
        TAP / "schemas" / f"{entity.name}.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n",
        **model_files(entity, schema),
    }
    if there := [path for path in added if path.exists()]:
        raise ValueError(f"{there[0].relative_to(ROOT)}: exists already")
    # The example's API lists records of ascending integer ids; how another is read, its stream says.
    listing = not since and entity.key == ("id",) and all(type(record["id"]) is int for record in records)
    list_text = LIST.read_text(encoding="utf-8").replace("entities: []", "entities:")
    return {
        **added,
        STREAMS: add_stream(STREAMS.read_text(encoding="utf-8"), entity, since, listing=listing),
        LIST: list_text + entity.to_yaml(),
    }


def add_stream(text: str, entity: Entity, since: str | None, *, listing: bool) -> str:
    """Return the module of streams with a class for the entity; ruff sorts its imports.

    Raises:
        ValueError: The module has no list of streams, or a class of that name.
    """
    known = STREAM_LIST.search(text)
    if not known:
        raise ValueError(f"{STREAMS.relative_to(ROOT)}: no STREAMS: list[type[…]] = […]")
    base, module = ("ListingStream", "listing") if listing else ("ApiStream", "client")
    name = f"{inflection.camelize(entity.name)}Stream"
    if name in {"ApiStream", "ListingStream"} or f"class {name}(" in text:
        raise ValueError(f"NAME={entity.name}: the tap has a class {name} already; choose another name")
    attributes = [f'    name = "{entity.name}"', f'    path = "/{entity.resource}"']
    imports = f"from tap_{APP}.{module} import {base}\n"
    if not listing:
        attributes.append(f"    primary_keys: ClassVar[tuple[str, ...]] = {entity.key!r}")
        imports += "from typing import ClassVar\n"
    if since:
        attributes.append(f"    replication_key = {since!r}")
    stream = f'class {name}({base}):\n    """The {entity.name}: one record each."""\n\n' + "\n".join(
        attributes
    )
    streams = ", ".join(filter(None, [known[2].strip().rstrip(","), name]))
    text = text.replace(known[0], f"{stream}\n\n\nSTREAMS: list[type[{known[1]}]] = [{streams}]")
    return re.sub(r"(?m)^(from tap_)", rf"{imports}\1", text, count=1)


def main() -> int:
    """Run the command line; return the exit status."""
    parser = OneLine(prog="make entity", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("name", help="stream and landing table, such as vehicles")
    parser.add_argument("--sample", required=True, help="a sample of its records, as JSON lines")
    parser.add_argument("--singular", help="one of them (default: the English singular of NAME)")
    parser.add_argument("--resource", help="its address in the API after the API's own (default: SINGULAR)")
    parser.add_argument("--key", default="id", help="fields that tell one record from another (default: id)")
    parser.add_argument("--since", help="the field with the date of a record's last change: incremental")
    options = parser.parse_args()
    if not options.name:
        parser.error("NAME is not given: expected a stream and landing table, such as NAME=vehicles")
    singular = options.singular or inflection.singularize(options.name)
    key = tuple(field.strip() for field in options.key.split(","))
    replication = "incremental" if options.since else "full"
    entity = Entity(options.name, singular, options.resource or singular, key, replication)
    try:
        wanted = files(entity, read_sample(options.sample), options.since)
        generated_files.write(wanted)
        ruff = [sys.executable, "-m", "ruff"]
        for command in (["check", "--fix-only", "--select", "I,F401"], ["format"]):
            subprocess.run([*ruff, *command, "--quiet", str(STREAMS)], check=True)
        return generated_files.write({**entities.generated(), **landing_schemas.generated()})
    except (OSError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    end_with(main)
