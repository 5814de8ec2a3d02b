"""The list of entities, entities.yml: carried to the files that cannot read it, and made longer.

    python scripts/entities.py [--check]
    python scripts/entities.py --add NAME --sample FILE [--singular WORD] [--resource PATH] [--key FIELD,FIELD] [--since FIELD]

Without --add: Meltano's extractors and jobs, the flow's choices and dbt's variable `entities` are written anew, between their marks; with
--check nothing is written, and a difference is exit status 1. With --add: everything that an entity needs is written from a
sample of its records (JSON lines): its line in entities.yml, the stream, its schema, the staging model with description and
tests; then all of the above. What only a person knows stays to be said: what the fields mean, and what a mart makes of them.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from target_bigquery.names import clean_all

ROOT = Path(__file__).resolve().parent.parent
APP = next(ROOT.glob("tap-*/pyproject.toml")).parent.name.removeprefix("tap-")
TAP = ROOT / f"tap-{APP}" / "src" / f"tap_{APP}"
STAGING = ROOT / "transform" / "models" / "staging"
LIST = ROOT / "entities.yml"
NAME = re.compile(r"[a-z][a-z0-9_]*")
TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?")
KINDS: dict[type, str] = {
    dict: "object",
    list: "array",
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
}
NEW_FIELDS = {
    "type": ["object", "null"],
    "description": "Fields that the API serves and this schema does not know yet, by their path; none as a rule.",
}


@dataclass(frozen=True)
class Entity:
    """A line of entities.yml."""

    name: str
    singular: str
    resource: str
    key: tuple[str, ...]
    replication: str

    def line(self) -> str:
        """Return it as it stands there."""
        return (
            f"  - {{name: {self.name}, singular: {self.singular}, resource: {self.resource}, "
            f"key: [{', '.join(self.key)}], replication: {self.replication}}}\n"
        )


def entities(path: Path = LIST) -> list[Entity]:
    """Return the list.

    Raises:
        ValueError: A line lacks something, a name is there twice, or replication is something else.
    """
    found = []
    for said in yaml.safe_load(path.read_text(encoding="utf-8"))["entities"]:
        if set(said) != set(Entity.__dataclass_fields__) or said["replication"] not in {
            "full",
            "incremental",
        }:
            raise ValueError(
                f"{path.name}: {said}: expected name, singular, resource, key, and replication full or incremental"
            )
        found.append(Entity(**{**said, "key": tuple(said["key"])}))
    for names in ([e.name for e in found], [e.singular for e in found]):
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{path.name}: {', '.join(sorted(twice))} is there twice")
    return found


def between(text: str, mark: str, made: str, where: str) -> str:
    """Return a text with what stands between two marks replaced; the marks' own indentation is `made`'s.

    Raises:
        ValueError: The marks are not there.
    """
    pattern = re.compile(
        rf"^( *)# {mark}: written by `make docs` from entities\.yml\n(.*?)^ *# end of {mark}\n",
        re.MULTILINE | re.DOTALL,
    )
    found = pattern.search(text)
    if not found:
        raise ValueError(
            f"{where}: no '# {mark}: written by `make docs` from entities.yml' … '# end of {mark}'"
        )
    lines = "".join(f"{found[1]}{line}\n" for line in made.splitlines())
    return f"{text[: found.start(2)]}{lines}{found[1]}# end of {mark}\n{text[found.end() :]}"


def carried(listed: list[Entity]) -> dict[Path, str]:
    """Return each file that the list is carried to, as it must be."""
    files = {}
    meltano = ROOT / "meltano.yml"
    extractors = "".join(
        f'- name: tap-{APP}-{e.singular}\n  inherit_from: tap-{APP}\n  select: ["{e.name}.*"]\n'
        for e in listed
    )
    jobs = "".join(
        f'- name: {e.singular}\n  tasks: ["tap-{APP}-{e.singular} target-bigquery"]\n' for e in listed
    )
    text = between(
        meltano.read_text(encoding="utf-8"), "extractors of one entity each", extractors, meltano.name
    )
    files[meltano] = between(text, "jobs of one entity each", jobs, meltano.name)
    project = ROOT / "transform" / "dbt_project.yml"
    variable = "entities:\n" + "".join(
        f"  {e.name}: {{singular: {e.singular}, key: [{', '.join(e.key)}], replication: {e.replication}}}\n"
        for e in listed
    )
    files[project] = between(project.read_text(encoding="utf-8"), "entities", variable, project.name)
    names = ", ".join(e.singular for e in listed)
    for flow in sorted((ROOT / "orchestrate").glob("kestra/*.yml")):
        # What the form offers, what a job may be, what a schedule runs.
        pattern = r"(?m)^( +(?:values|defaults|jobs): )\[[a-z0-9_, ]*?(, dbt)?\]$"
        files[flow] = re.sub(pattern, rf"\1[{names}\2]", flow.read_text(encoding="utf-8"))
    return files


def carry(*, check: bool) -> int:
    """Write or check every file that the list is carried to; return the exit status."""
    stale = {p: text for p, text in carried(entities()).items() if p.read_text(encoding="utf-8") != text}
    for path, text in stale.items():
        said = "not what entities.yml says; run make docs" if check else "written"
        if not check:
            path.write_text(text, encoding="utf-8")
        print(f"{path.relative_to(ROOT)}: {said}", file=sys.stderr)
    return 1 if stale and check else 0


def schema_of(values: list[Any], field: str) -> dict[str, Any]:
    """Return the JSON schema of a field's values; a field that is nothing but null is a text."""
    kinds = dict.fromkeys(KINDS[type(value)] for value in values)
    types = [kind for kind in kinds if kind != "null"]
    if {"integer", "number"} <= set(types):
        types.remove("integer")
    types = types or ["string"]
    said: dict[str, Any] = {
        "type": [*types, "null"] if "null" in kinds else types[0] if len(types) == 1 else types
    }
    said["description"] = f"{field}, as the API gives it."
    if types == ["string"] and "string" in kinds and all(TIME.fullmatch(v) for v in values if v is not None):
        said["format"] = "date-time"
    if "object" in types:
        said |= object_of([v for v in values if isinstance(v, dict)], f"{field}.")
    if "array" in types:
        said["items"] = schema_of(
            [item for v in values if isinstance(v, list) for item in v], f"An item of {field}"
        )
    return said


def object_of(records: list[dict[str, Any]], path: str = "") -> dict[str, Any]:
    """Return the properties of records: those that every record has are required."""
    fields = dict.fromkeys(name for record in records for name in record)
    return {
        "additionalProperties": False,
        "required": [name for name in fields if all(name in record for record in records)],
        "properties": {
            name: schema_of([r[name] for r in records if name in r], path + name) for name in fields
        },
    }


def staging(entity: Entity, fields: list[str]) -> dict[Path, str]:
    """Return the staging model of an entity and its description: its key named after it, everything else as landed."""
    columns = clean_all(f for f in fields if f != "new_fields")
    named = {
        c: (f"{entity.singular}_id" if f == "id" and entity.key == ("id",) else c) for f, c in columns.items()
    }
    lines = [
        f"    landing.{column}{'' if column == name else f' AS {name}'}," for column, name in named.items()
    ]
    key = [named[columns[field]] for field in entity.key]
    source = (
        f"newest_version('{entity.name}')"
        if entity.replication == "full"
        else f"newest_record_of_each_key('{entity.name}', [{', '.join(repr(columns[f]) for f in entity.key)}])"
    )
    model = f"stg_{APP}__{entity.name}"
    what = "the newest whole version" if entity.replication == "full" else "the newest record of each key"
    described: dict[str, Any] = {
        "version": 2,
        "sources": [
            {
                "name": APP,
                "tables": [
                    {"name": entity.name, "description": f"One row per {entity.singular} and version."}
                ],
            }
        ],
        "models": [
            {
                "name": model,
                "description": f"{entity.name.capitalize()}: {what}. Grain: one row per {entity.singular}.",
                "data_tests": [
                    {"unique_combination_of_columns": {"arguments": {"combination_of_columns": key}}},
                ],
                "columns": [
                    {"name": name, "description": f"{column}, as the API gives it."}
                    for column, name in named.items()
                ]
                + [
                    {"name": name, "description": f"{{{{ doc('{name}') }}}}"}
                    for name in ("loaded_at", "run_id", "table_version", "new_fields")
                ],
            }
        ],
    }
    base = yaml.safe_load((STAGING / "_sources.yml").read_text(encoding="utf-8"))["sources"][0]
    described["sources"] = [{**{k: v for k, v in base.items() if k != "tables"}, **described["sources"][0]}]
    return {
        STAGING / f"{model}.sql": "SELECT\n"
        + "\n".join(lines)
        + f"\n    {{{{ load_columns() }}}}\nFROM {{{{ {source} }}}}\n",
        STAGING / f"_{entity.name}.yml": yaml.safe_dump(
            described, sort_keys=False, width=130, allow_unicode=True
        ),
    }


def add(entity: Entity, records: list[dict[str, Any]], since: str | None) -> dict[Path, str]:
    """Return every file that an entity needs, and those that change for it.

    Raises:
        ValueError: The sample does not fit the entity, or a file of it is there already.
    """
    for number, record in enumerate(records, 1):
        if missing := [f for f in (*entity.key, *([since] if since else [])) if record.get(f) is None]:
            raise ValueError(
                f"record {number} of the sample: no {', '.join(missing)}; name another --key or --since"
            )
    schema = {"type": "object", **object_of(records)}
    if since:
        schema["properties"][since]["format"] = "date-time"
    schema["properties"]["new_fields"] = NEW_FIELDS
    made = {
        TAP / "schemas" / f"{entity.name}.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n",
        **staging(entity, list(schema["properties"])),
    }
    if there := [path for path in made if path.exists()]:
        raise ValueError(f"{there[0].relative_to(ROOT)}: is there already")
    streams = TAP / "streams.py"
    text = streams.read_text(encoding="utf-8")
    kind = f"{''.join(word.capitalize() for word in entity.name.split('_'))}Stream"
    base = re.search(r"STREAMS: list\[type\[(\w+)\]\] = \[([^\]]*)\]", text)
    if not base:
        raise ValueError(f"{streams.relative_to(ROOT)}: no STREAMS: list[type[…]] = […]")
    fields = [f'    name = "{entity.name}"', f'    path = "/{entity.resource}"']
    if entity.key != ("id",):
        fields.append(f"    primary_keys: ClassVar[tuple[str, ...]] = {entity.key!r}")
        if "ClassVar" not in text:
            text = re.sub(r"(?m)^(from tap_)", r"from typing import ClassVar\n\n\1", text, count=1)
    if since:
        fields += [f'    replication_key = "{since}"', "    is_sorted = False"]
    stream = f'class {kind}({base[1]}):\n    """The {entity.name}: one record each."""\n\n' + "\n".join(
        fields
    )
    listed = ", ".join(filter(None, [base[2].strip().rstrip(","), kind]))
    text = text.replace(base[0], f"{stream}\n\n\nSTREAMS: list[type[{base[1]}]] = [{listed}]")
    return {**made, streams: text, LIST: LIST.read_text(encoding="utf-8") + entity.line()}


def main() -> int:
    """Do what the command line says; return the exit status."""
    parser = argparse.ArgumentParser(prog="make entity", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 on a difference")
    parser.add_argument("--add", metavar="NAME", help="stream and landing table, such as vehicles")
    parser.add_argument("--sample", type=Path, help="some of its records, JSON lines")
    parser.add_argument("--singular", help="one of them (default: NAME without its last s)")
    parser.add_argument("--resource", help="its address in the API after the API's own (default: SINGULAR)")
    parser.add_argument("--key", default="id", help="fields that tell one record from another (default: id)")
    parser.add_argument("--since", help="the field with the date of a record's last change: incremental")
    options = parser.parse_args()
    if options.add is None:
        return carry(check=options.check)
    if not NAME.fullmatch(options.add):
        parser.error(f"NAME={options.add!r}: expected lower-case letters, digits and _, such as vehicles")
    if options.sample is None or not options.sample.is_file():
        parser.error(f"SAMPLE={options.sample or ''}: expected a file with some records of it, JSON lines")
    try:
        records = [
            json.loads(line)
            for line in options.sample.read_text(encoding="utf-8").splitlines()
            if line.strip()
        ]
    except ValueError as error:
        parser.error(f"SAMPLE={options.sample}: not JSON lines ({error})")
    if not records or not all(isinstance(record, dict) for record in records):
        parser.error(f"SAMPLE={options.sample}: expected at least one record, a JSON object a line")
    singular = options.singular or options.add.removesuffix("s")
    entity = Entity(
        options.add,
        singular,
        options.resource or singular,
        tuple(options.key.split(",")),
        "incremental" if options.since else "full",
    )
    try:
        made = add(entity, records, options.since)
        for path, text in made.items():
            path.write_text(text, encoding="utf-8")
        status = carry(check=False)
    except ValueError as error:
        parser.error(str(error))
    for path in made:
        print(f"{path.relative_to(ROOT)}: written", file=sys.stderr)
    return status


if __name__ == "__main__":
    raise SystemExit(main())
