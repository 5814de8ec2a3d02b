"""The list of entities, entities.yml: carried to the files that cannot read it, and made longer.

    python scripts/entities.py [--check]
    python scripts/entities.py --add NAME --sample FILE [--singular WORD] [--resource PATH] [--key FIELD,FIELD] [--since FIELD]

Without --add: Meltano's extractors and jobs, the flow's choices and dbt's variable `entities` are written anew, between their marks; with
--check nothing is written, and a difference is exit status 1. With --add: everything that an entity needs is written from a
sample of its records (JSON lines): its line in entities.yml, the stream, its schema, the staging model with description and
tests; then all of the above. What only a person knows stays to be said: what the fields mean, and what a mart makes of them.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import unicodedata
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import generated_files
import yaml
from command_line import OneLine
from generated_files import ROOT
from target_bigquery.errors import TargetError
from target_bigquery.schema import root, translate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.cloud.bigquery import SchemaField

APP = next(ROOT.glob("tap-*/pyproject.toml")).parent.name.removeprefix("tap-")
TAP = ROOT / f"tap-{APP}" / "src" / f"tap_{APP}"
STAGING = ROOT / "transform" / "models" / "staging"
MARTS = ROOT / "transform" / "models" / "marts" / "core"
LIST = ROOT / "entities.yml"
NAME = re.compile(r"[a-z][a-z0-9_]*")
INT64 = 2**63
# A column's name that needs no quotes; BigQuery tells no case apart, sqlfluff does.
PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?")
DAY = re.compile(r"\d{4}-\d\d-\d\d")
KINDS: dict[type, str] = {
    dict: "object",
    list: "array",
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
}
SINGULARS = {
    r"((^|_)(news|series|species)|ss|us|is)$": r"\1",
    r"(^|_)people$": r"\1person",
    r"ies$": "y",
    r"(s|x|z|ch|sh)es$": r"\1",
    r"s$": "",
}
# Of BigQuery's API and of its SQL; the others are called the same in both.
SQL_TYPES = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}
LOAD_COLUMNS = {
    "loaded_at": "TIMESTAMP",
    "run_id": "STRING",
    "table_version": "INT64",
    "new_fields": "STRING",
}
# What a column's name promises of its type (dbt-bouncer.yml).
PROMISES = {
    "^is_": "BOOL",
    "_at(_before|_after)?$": "TIMESTAMP",
    "_date$": "DATE",
    "_(count|number)$": "INT64",
}
# https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#reserved_keywords
RESERVED = """
all and any array as asc assert_rows_modified at between by case cast collate contains create cross cube current
default define desc distinct else end enum escape except exclude exists extract false fetch following for from full
group grouping groups hash having if ignore in inner intersect interval into is join lateral left like limit lookup
merge natural new no not null nulls of on or order outer over partition preceding proto qualify range recursive
respect right rollup rows select set some struct tablesample then to treat true unbounded union unnest using when
where window with within
"""
KEYWORDS = frozenset(RESERVED.split())
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
        return f"  - {in_one_line({**asdict(self), 'key': list(self.key)})}\n"


def entities(path: Path = LIST) -> list[Entity]:
    """Return the list.

    Raises:
        ValueError: `checked` does not take it.
    """
    return checked(yaml.safe_load(path.read_text(encoding="utf-8"))["entities"] or [], path.name)


def checked(listed: list[dict[str, Any]], where: str) -> list[Entity]:
    """Return lines of the list as entities.

    Raises:
        ValueError: A line lacks something, a name is none or there twice, or replication is something else.
    """
    found = []
    for declared in listed:
        if set(declared) != set(Entity.__dataclass_fields__) or declared["replication"] not in {
            "full",
            "incremental",
        }:
            raise ValueError(
                f"{where}: {declared}: expected name, singular, resource, key, and replication full or incremental"
            )
        for field in ("name", "singular"):
            # What YAML reads as no text, such as `on`, would be none in Meltano's and dbt's files either.
            if (
                not NAME.fullmatch(str(declared[field]))
                or yaml.safe_load(str(declared[field])) != declared[field]
            ):
                raise ValueError(
                    f"{where}: {field} {declared[field]!r}: expected lower-case letters, digits and _, such as order_items, "
                    "and no word of YAML; resource takes the API's own spelling"
                )
        found.append(Entity(**{**declared, "key": tuple(declared["key"])}))
    # The flow's form offers the singulars and dbt.
    for names in ([e.name for e in found], [*(e.singular for e in found), "dbt"]):
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{where}: {', '.join(sorted(twice))} is there twice")
    return found


def in_one_line(value: dict[str, Any]) -> str:
    """Return YAML in one line, quoted where it must be."""
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=sys.maxsize)
    return text.strip()


def one_of(name: str) -> str:
    """Return the singular of a name, as English mostly has it; a name that ends otherwise is its own."""
    for plural, singular in SINGULARS.items():
        if re.search(plural, name):
            return re.sub(plural, singular, name)
    return name


def between(text: str, mark: str, made: str, where: str) -> str:
    """Return a text with what stands between two marks replaced; the marks' own indentation is `made`'s.

    Raises:
        ValueError: The marks are not there.
    """
    pattern = re.compile(
        rf"^( *)# {mark}: written by `make docs` from .*?\n(.*?)^ *# end of {mark}\n",
        re.MULTILINE | re.DOTALL,
    )
    found = pattern.search(text)
    if not found:
        raise ValueError(
            f"{where}: no '# {mark}: written by `make docs` from entities.yml' … '# end of {mark}'"
        )
    lines = "".join(f"{found[1]}{line}\n" for line in made.splitlines())
    return f"{text[: found.start(2)]}{lines}{found[1]}# end of {mark}\n{text[found.end() :]}"


def landed(entity: Entity) -> dict[str, SchemaField]:
    """Return the column of each field of an entity, as its landing table has it.

    Raises:
        ValueError: The tap has no schema of it, or the target cannot hold such records.
    """
    path = TAP / "schemas" / f"{entity.name}.json"
    if not path.is_file():
        raise ValueError(f"{path.relative_to(ROOT)}: is not there; make entity writes it")
    return columns(entity, json.loads(path.read_text(encoding="utf-8")))


def columns(entity: Entity, schema: dict[str, Any]) -> dict[str, SchemaField]:
    """Return the column that the target makes of each field of a schema; one that is named as its own is dropped.

    Raises:
        ValueError: It cannot hold such records.
    """
    try:
        translated = translate(entity.name, root(entity.name, schema), list(entity.key))
    except TargetError as error:
        raise ValueError(f"{entity.name}: {error}") from None
    return {column.source: column.field() for column in translated.columns}


def kind_of(field: SchemaField) -> str:
    """Return a column's type as SQL calls it."""
    kind = SQL_TYPES.get(field.field_type, field.field_type)
    return f"ARRAY<{kind}>" if field.mode == "REPEATED" else kind


def leaves(fields: Iterable[SchemaField], path: str = "") -> dict[str, str]:
    """Return the type of each column that holds a value, those of a RECORD by their path."""
    found: dict[str, str] = {}
    for field in fields:
        if field.field_type == "RECORD" and field.mode != "REPEATED":
            found |= leaves(field.fields, f"{path}{field.name}.")
        else:
            found[path + field.name] = kind_of(field)
    return found


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
    variable = "entities:\n" if listed else "entities: {}\n"
    fields = {}
    for e in listed:
        found = landed(e)
        entity_variables = {
            "singular": e.singular,
            "key": [found[f].name for f in e.key],
            "replication": e.replication,
        }
        variable += f"  {e.name}: {in_one_line(entity_variables)}\n"
        fields[e.name] = leaves(found.values())
    text = between(project.read_text(encoding="utf-8"), "entities", variable, project.name)
    files[project] = between(
        text, "fields", yaml.safe_dump({"fields": fields}, sort_keys=False), project.name
    )
    names = [e.singular for e in listed]
    for flow in sorted((ROOT / "orchestrate").glob("kestra/*.yml")):
        # What the form offers, what a job may be, what a schedule runs.
        files[flow] = re.sub(
            r"(?m)^( +(?:values|defaults|jobs): )\[[a-z0-9_, ]*?(\bdbt)?\]$",
            lambda found: f"{found[1]}[{', '.join(filter(None, [*names, found[2]]))}]",
            flow.read_text(encoding="utf-8"),
        )
    return files


def carry(*, check: bool) -> int:
    """Write or check every file that the list is carried to; return the exit status."""
    return generated_files.write({**carried(entities())}, "make docs", check=check)


def is_date(text: str, pattern: re.Pattern[str]) -> bool:
    """Return whether a text has a date's form and is in the calendar."""
    try:
        return bool(pattern.fullmatch(text) and datetime.fromisoformat(text))
    except ValueError:
        return False


def schema_of(values: list[Any], field: str) -> dict[str, Any]:
    """Return the JSON schema of a field's values; a field that is nothing but null is a text."""
    kinds = dict.fromkeys(KINDS[type(value)] for value in values)
    types = [kind for kind in kinds if kind != "null"]
    whole = [value for value in values if type(value) is int]
    if {"integer", "number"} <= set(types):
        types.remove("integer")
    elif "integer" in types and not all(-INT64 <= value < INT64 for value in whole):
        types[types.index("integer")] = "number"
    known, types = bool(types), types or ["string"]
    declared: dict[str, Any] = {
        "type": [*types, "null"] if "null" in kinds else types[0] if len(types) == 1 else types
    }
    declared["description"] = f"{field}, as the API gives it."
    if "number" in types and whole and not any(type(value) is float for value in values):
        # What an INT64 cannot hold is a NUMERIC.
        declared["multipleOf"] = 1
    texts = [value for value in values if value is not None]
    if types == ["string"]:
        # A field without a value is what its name promises.
        for pattern, form, ending in ((TIME, "date-time", "_at"), (DAY, "date", "_date")):
            if all(is_date(text, pattern) for text in texts) and (known or field.endswith(ending)):
                declared["format"] = form
    if "object" in types:
        declared |= object_of([v for v in values if isinstance(v, dict)], f"{field}.")
    if "array" in types:
        declared["items"] = schema_of(
            [item for v in values if isinstance(v, list) for item in v], f"An item of {field}"
        )
    return declared


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


@dataclass(frozen=True)
class Column:
    """A column of a landing table, and what staging and mart call it."""

    landed: str
    name: str
    kind: str

    @property
    def quoted(self) -> str:
        """Return the landed name as SQL takes it."""
        plain = PLAIN.fullmatch(self.landed) and self.landed not in KEYWORDS
        return self.landed if plain else f"`{self.landed}`"

    @classmethod
    def of(cls, entity: Entity, field: SchemaField) -> Column:
        """Return it named as dbt-bouncer.yml has it: lower case, no word of SQL, and the type that the name promises."""
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", field.name).strip("_")
        plain = re.sub(r"[\u0300-\u036f]", "", unicodedata.normalize("NFKD", words.casefold()))
        name = re.sub(r"[^a-z0-9_]", "x", plain)
        kind = kind_of(field)
        if entity.key == ("id",) and field.name == "id":
            name = f"{entity.singular}_id"
        elif name in {*KEYWORDS, *LOAD_COLUMNS} or not name[:1].isalpha():
            name = f"{entity.singular}_{name or 'field'}"
        for promise, promised in PROMISES.items():
            if re.search(promise, name) and kind != promised:
                name = f"{entity.singular}_{name}" if promise.startswith("^") else f"{name}_value"
        return cls(field.name, name, kind)


def columns_of(entity: Entity, schema: dict[str, Any]) -> dict[str, Column]:
    """Return the column of each field of an entity, `new_fields` left out.

    Raises:
        ValueError: The target cannot hold such records, or two columns would have one name.
    """
    landing = columns(entity, schema)
    found = {name: Column.of(entity, field) for name, field in landing.items() if name != "new_fields"}
    names = [column.name for column in found.values()]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(
            f"the sample: two fields would be {', '.join(sorted(twice))} in dbt; rename one in the tap"
        )
    return found


def unit_test(entity: Entity, key: list[Column], records: list[dict[str, Any]]) -> dict[str, Any]:
    """Return dbt's unit test of an entity's staging model: which versions it reads, on keys of the sample."""
    fields = dict(zip(entity.key, key, strict=True))
    keys = list({tuple(record[f] for f in fields): record for record in records}.values())[:2]

    def began(version: int) -> str:
        return f"2026-01-01 00:00:{version // 100:02}+00"

    def row(record: dict[str, Any], version: int) -> dict[str, Any]:
        landed = {column.landed: record[f] for f, column in fields.items()}
        return {**landed, "_sdc_table_version": version, "_sdc_batched_at": began(version)}

    def expected(record: dict[str, Any], version: int) -> dict[str, Any]:
        return {**{column.name: record[f] for f, column in fields.items()}, "table_version": version}

    old, whole, new = 100, 200, 300
    full = entity.replication == "full"
    read = {
        "landed_since": "1970-01-01",
        "replication": "full",
        "is_of_newest_run": True,
        "started_at": began(whole),
    }
    landing = [row(keys[-1], old), *[row(r, whole) for r in keys], *([] if full else [row(keys[0], new)])]
    given = [{"input": f"source('{APP}', '{entity.name}')", "rows": landing}]
    if not full:
        versions = [{"entity": entity.name, "table_version": version} for version in (old, whole, new)]
        given.append({"input": "ref('int_build_versions')", "rows": versions})
    newest = expected(keys[0], whole if full else new)
    return {
        "name": f"{entity.name}_of_the_right_versions",
        "description": "Only the newest version is read."
        if full
        else "The newest record of each key since the newest whole version: a delta replaces what it holds only.",
        "model": f"stg_{APP}__{entity.name}",
        "overrides": {"macros": {"build_versions": [{"table_version": whole, **read}]}},
        "given": given,
        "expect": {"rows": [newest, *[expected(r, whole) for r in keys[1:]]]},
    }


def described(column: Column, *, typed: bool) -> dict[str, Any]:
    """Return a column's entry in a model's description."""
    declared = {"name": column.name, "description": f"{column.landed}, as the API gives it."}
    return {**declared, "data_type": column.kind} if typed else declared


def models(entity: Entity, schema: dict[str, Any], records: list[dict[str, Any]]) -> dict[Path, str]:
    """Return an entity's staging model and its mart, each with description and tests.

    The mart has every column that is not nested; what else is to be made of those, a person says.
    """
    by_field = columns_of(entity, schema)
    found, key = list(by_field.values()), [by_field[field] for field in entity.key]
    landed = ", ".join(repr(column.landed) for column in key)
    full = entity.replication == "full"
    source = (
        f"newest_version('{entity.name}')"
        if full
        else f"newest_record_of_each_key('{entity.name}', [{landed}])"
    )
    what = "the newest whole version" if full else "the newest record of each key"
    staging, mart = f"stg_{APP}__{entity.name}", f"dim_{entity.name}"
    unique = {
        "unique_combination_of_columns": {"arguments": {"combination_of_columns": [c.name for c in key]}}
    }
    complete = {
        "every_key_is_there": {"arguments": {"stream": entity.name, "key": {c.landed: c.name for c in key}}}
    }
    base = yaml.safe_load((STAGING / "_sources.yml").read_text(encoding="utf-8"))["sources"][0]
    tables = [{"name": entity.name, "description": f"One row per {entity.singular} and version."}]
    loads = [
        {"name": name, "description": f"{{{{ doc('{name}') }}}}", "data_type": kind}
        for name, kind in LOAD_COLUMNS.items()
    ]
    flat = [column for column in found if "RECORD" not in column.kind]

    def model(name: str, what: str, tests: list[Any], found: list[dict[str, Any]]) -> dict[str, Any]:
        grain = f"{entity.name.capitalize()}: {what}. Grain: one row per {entity.singular}."
        return {"name": name, "description": grain, "data_tests": tests, "columns": found}

    staged = [described(column, typed=False) for column in found]
    marted = [described(column, typed=True) for column in flat]
    lines = [f"landing.{c.quoted}{'' if c.landed == c.name else f' AS {c.name}'}" for c in found]
    return {
        STAGING / f"{staging}.sql": _select([*lines, "{{ load_columns() }}"], f"{{{{ {source} }}}}"),
        STAGING / f"_{entity.name}.yml": _yaml(
            sources=[{**base, "tables": tables}],
            models=[
                model(
                    staging,
                    what,
                    [unique, *([] if full else [complete])],
                    staged + [{k: load[k] for k in ("name", "description")} for load in loads],
                )
            ],
            unit_tests=[unit_test(entity, key, records)],
        ),
        MARTS / f"{mart}.sql": "{{ after_the_verdict() }}\n"
        + _select([*(c.name for c in flat), "loaded_at", "run_id"], f"{{{{ ref('{staging}') }}}}"),
        MARTS / f"_{entity.name}.yml": _yaml(
            models=[
                model(
                    mart,
                    "as the API has them now",
                    [unique],
                    marted + [load for load in loads if load["name"] in {"loaded_at", "run_id"}],
                )
            ]
        ),
    }


def _select(columns: list[str], source: str) -> str:
    return "SELECT\n    " + ",\n    ".join(columns) + f"\nFROM {source}\n"


class _Indented(yaml.SafeDumper):
    """Lists are indented, as yamllint wants them, and nothing is written as a reference to what is above."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 (PyYAML's)
        super().increase_indent(flow, False)  # noqa: FBT003 (PyYAML's)

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ANN401, ARG002 (PyYAML's)
        return True


def _yaml(**content: Any) -> str:  # noqa: ANN401 (what dbt's files hold)
    declared = {"version": 2, **content}
    return yaml.dump(declared, Dumper=_Indented, sort_keys=False, width=130, allow_unicode=True)


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
        if odd := [f for f in entity.key if type(record[f]) not in {int, str}]:
            raise ValueError(
                f"record {number} of the sample: {', '.join(odd)} is no whole number or text; name another --key"
            )
    checked([asdict(e) for e in (*entities(), entity)], LIST.name)
    schema = {"type": "object", **object_of(records)}
    schema["properties"]["new_fields"] = NEW_FIELDS
    made = {
        TAP / "schemas" / f"{entity.name}.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n",
        **models(entity, schema, records),
    }
    if there := [path for path in made if path.exists()]:
        raise ValueError(f"{there[0].relative_to(ROOT)}: is there already")
    streams = TAP / "streams.py"
    text = streams.read_text(encoding="utf-8")
    kind = f"{''.join(word.capitalize() for word in entity.name.split('_'))}Stream"
    known = re.search(r"STREAMS: list\[type\[(\w+)\]\] = \[([^\]]*)\]", text)
    if not known:
        raise ValueError(f"{streams.relative_to(ROOT)}: no STREAMS: list[type[…]] = […]")
    # A listing is read whole, by the whole-number ids or pages of the example's API; all else is asked for as each API wants it.
    listing = not since and entity.key == ("id",) and all(type(record["id"]) is int for record in records)
    base, module = ("ListingStream", "listing") if listing else ("ApiStream", "client")
    fields = [f'    name = "{entity.name}"', f'    path = "/{entity.resource}"']
    imports = f"from tap_{APP}.{module} import {base}\n"
    if not listing:
        fields.append(f"    primary_keys: ClassVar[tuple[str, ...]] = {entity.key!r}")
        imports += "from typing import ClassVar\n"
        text = re.sub(r"\nif TYPE_CHECKING:\n    from tap_\w+\.client import ApiStream\n", "\n", text)
    if since:
        fields.append(f'    replication_key = "{since}"')
    body = "\n".join(fields)
    stream = f'class {kind}({base}):\n    """The {entity.name}: one record each."""\n\n{body}'
    listed = ", ".join(filter(None, [known[2].strip().rstrip(","), kind]))
    text = text.replace(known[0], f"{stream}\n\n\nSTREAMS: list[type[{known[1]}]] = [{listed}]")
    text = re.sub(r"(?m)^(from __future__ .*\n)", rf"\1\n{imports}", text)
    return {
        **made,
        streams: text,
        LIST: LIST.read_text(encoding="utf-8").replace("entities: []", "entities:") + entity.line(),
    }


def sampled(file: Path | None) -> list[dict[str, Any]]:
    """Return the records of a sample.

    Raises:
        ValueError: There is no such file, it is none of JSON lines, or has no record.
    """
    if file is None or not file.is_file():
        raise ValueError(f"SAMPLE={file or ''}: expected a file with some records of it, JSON lines")
    records = []
    for number, line in enumerate(file.read_text(encoding="utf-8-sig", errors="replace").split("\n"), 1):
        try:
            records += [json.loads(line)] if line.strip() else []
        except ValueError as error:
            raise ValueError(f"SAMPLE={file}, line {number}: expected a JSON object ({error})") from None
    if not records or not all(isinstance(record, dict) for record in records):
        raise ValueError(f"SAMPLE={file}: expected at least one record, a JSON object a line")
    return records


def write(made: dict[Path, str]) -> int:
    """Write an entity's files and what follows from the list; return the exit status."""
    generated_files.write({**made}, "make entity", check=False)
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["check", "--fix-only", "--select", "I,F401"], ["format"]):
        subprocess.run([*ruff, *command, "--quiet", str(TAP / "streams.py")], check=True)
    return carry(check=False)


def main() -> int:
    """Do what the command line says; return the exit status."""
    parser = OneLine(prog="make entity", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 on a difference")
    parser.add_argument("--add", metavar="NAME", help="stream and landing table, such as vehicles")
    parser.add_argument("--sample", type=Path, help="some of its records, JSON lines")
    parser.add_argument("--singular", help="one of them (default: as English mostly has it)")
    parser.add_argument("--resource", help="its address in the API after the API's own (default: SINGULAR)")
    parser.add_argument("--key", default="id", help="fields that tell one record from another (default: id)")
    parser.add_argument("--since", help="the field with the date of a record's last change: incremental")
    options = parser.parse_args()
    try:
        if options.add is None:
            return carry(check=options.check)
        singular = options.singular or one_of(options.add)
        key = tuple(field.strip() for field in options.key.split(","))
        replication = "incremental" if options.since else "full"
        entity = Entity(options.add, singular, options.resource or singular, key, replication)
        return write(add(entity, sampled(options.sample), options.since))
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    raise SystemExit(main())
