"""What follows from entities.yml in files that cannot read it: Meltano's extractors and jobs, the flows' choices, dbt's variables.

In meltano.yml and dbt_project.yml the generated lines are between marks.
"""

import json
import re
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml
from generated_files import ROOT
from google.cloud.bigquery import SchemaField
from target_bigquery.alternatives import root
from target_bigquery.errors import TargetError
from target_bigquery.schema import translate

APP = next(ROOT.glob("tap-*/pyproject.toml")).parent.name.removeprefix("tap-")
TAP = ROOT / f"tap-{APP}" / "src" / f"tap_{APP}"
LIST = ROOT / "entities.yml"
# Files, jobs, labels of a cloud and tests of dbt are named after it; a label has 63 characters.
NAME = re.compile(r"[a-z][a-z0-9_]{,39}")
# Segments of a path.
RESOURCE = re.compile(r"[\w.~-]+(/[\w.~-]+)*")
# Names of BigQuery's API that differ from those of its SQL.
SQL_TYPES = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}


@dataclass(frozen=True)
class Entity:
    """An entry of entities.yml, whose comment explains the fields."""

    name: str
    singular: str
    resource: str
    key: tuple[str, ...]
    replication: str

    def to_yaml(self) -> str:
        """Return the entry as one line of the list."""
        return f"  - {one_line({**asdict(self), 'key': list(self.key)})}\n"


def read() -> list[Entity]:
    """Return the entities of the list.

    Raises:
        ValueError: An entry is not valid (see validate).
    """
    try:
        listed = yaml.safe_load(LIST.read_text(encoding="utf-8"))["entities"] or []
    except (yaml.YAMLError, LookupError, TypeError) as error:
        raise ValueError(f"{LIST.name}: expected YAML with a list named entities: {error}") from None
    return validate(listed)


def validate(entries: list[dict[str, Any]]) -> list[Entity]:
    """Return the entries of the list as entities.

    Raises:
        ValueError: A field is missing or unknown, a name is malformed, taken or occurs twice, or replication is neither full
            nor incremental.
    """
    for entry in entries:
        expected = {field.name for field in fields(Entity)}
        if (
            not isinstance(entry, dict)
            or set(entry) != expected
            or entry["replication"] not in {"full", "incremental"}
        ):
            raise ValueError(
                f"{LIST.name}: {entry}: expected name, singular, resource, key, and replication full or incremental"
            )
        for field in ("name", "singular"):
            _validate_name(field, entry[field])
        _validate_source(entry["resource"], entry["key"])
        if entry["singular"] == APP:
            raise ValueError(
                f"{LIST.name}: singular {APP!r}: expected another word, such as {APP}_item: {APP} is the job of all entities"
            )
    entities = [Entity(**{**entry, "key": tuple(entry["key"])}) for entry in entries]
    # The flow's form offers the singulars and dbt.
    for names in ([e.name for e in entities], [*(e.singular for e in entities), "dbt"]):
        if duplicates := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{LIST.name}: {', '.join(sorted(duplicates))} is there twice")
    return entities


def _validate_name(field: str, name: Any) -> None:  # noqa: ANN401 (YAML)
    # `on`, which YAML reads as true, would be true in Meltano's and dbt's files too.
    if not NAME.fullmatch(str(name)) or yaml.safe_load(str(name)) != name:
        raise ValueError(
            f"{LIST.name}: {field} {name!r}: expected at most 40 lower-case letters, digits and _, such as order_items, "
            "and no word of YAML; resource takes the API's own spelling"
        )


def _validate_source(resource: Any, key: Any) -> None:  # noqa: ANN401 (YAML)
    if not isinstance(resource, str) or not RESOURCE.fullmatch(resource):
        raise ValueError(
            f"{LIST.name}: resource {resource!r}: expected what follows the API's own address, such as character"
        )
    if (
        not isinstance(key, (list, tuple))
        or not all(isinstance(field, str) and field for field in key)
        or len(set(key)) != max(len(key), 1)
    ):
        raise ValueError(
            f"{LIST.name}: key {key!r}: expected a list of one or more fields, each once, such as [id]"
        )


def one_line(value: Any) -> str:  # noqa: ANN401 (YAML)
    """Return a value as YAML in one line."""
    text: str = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, width=sys.maxsize, allow_unicode=True
    )
    return text.removesuffix("...\n").strip()


def landing_columns(entity: Entity, schema: dict[str, Any]) -> dict[str, SchemaField]:
    """Return the landing table's column for each field of a schema, without fields named like the target's metadata.

    Raises:
        ValueError: The target cannot hold such records.
    """
    try:
        translated = translate(entity.name, root(entity.name, schema, list(entity.key)), list(entity.key))
    except TargetError as error:
        raise ValueError(f"{entity.name}: {error}") from None
    return {column.source: column.field() for column in translated.columns}


def sql_type(field: SchemaField) -> str:
    """Return a column's type as SQL names it."""
    name = SQL_TYPES.get(field.field_type, field.field_type)
    return f"ARRAY<{name}>" if field.mode == "REPEATED" else name


def leaf_types(columns: Iterable[SchemaField], path: str = "") -> dict[str, str]:
    """Return the SQL type of each column; the fields of a RECORD come by their dotted path in its place."""
    types: dict[str, str] = {}
    for column in columns:
        if column.field_type == "RECORD" and column.mode != "REPEATED":
            types |= leaf_types(column.fields, f"{path}{column.name}.")
        else:
            types[path + column.name] = sql_type(column)
    return types


def replace_block(path: Path, text: str, mark: str, content: str) -> str:
    """Return a file's text with `content`, indented like the marks, between the marks.

    Raises:
        ValueError: The marks are not there.
    """
    block = re.compile(
        rf"^( *)(# {mark}: written by `make docs` from .*?\n).*?^ *# end of {mark}\n",
        re.MULTILINE | re.DOTALL,
    )
    found = block.search(text)
    if not found:
        raise ValueError(
            f"{path.name}: no '# {mark}: written by `make docs` from entities.yml' … '# end of {mark}'"
        )
    indent, begin = found.groups()
    lines = "".join(f"{indent}{line}\n" for line in content.splitlines())
    return f"{text[: found.start()]}{indent}{begin}{lines}{indent}# end of {mark}\n{text[found.end() :]}"


def meltano_file(entities: list[Entity]) -> dict[Path, str]:
    """Return meltano.yml with an extractor and a job per entity."""
    path = ROOT / "meltano.yml"
    extractors = "".join(
        f'- name: tap-{APP}-{e.singular}\n  inherit_from: tap-{APP}\n  select: ["{e.name}.*"]\n'
        for e in entities
    )
    jobs = "".join(
        f'- name: {e.singular}\n  tasks: ["tap-{APP}-{e.singular} target-bigquery"]\n' for e in entities
    )
    text = replace_block(path, path.read_text(encoding="utf-8"), "extractors of one entity each", extractors)
    return {path: replace_block(path, text, "jobs of one entity each", jobs)}


def dbt_file(entities: list[Entity]) -> dict[Path, str]:
    """Return dbt_project.yml with the variables `entities` and `fields`.

    Raises:
        ValueError: The tap has no schema of an entity, or the target cannot hold it.
    """
    path = ROOT / "transform" / "dbt_project.yml"
    variable = "entities:\n" if entities else "entities: {}\n"
    types = {}
    for entity in entities:
        schema = TAP / "schemas" / f"{entity.name}.json"
        if not schema.is_file():
            raise ValueError(f"{schema.relative_to(ROOT)}: is not there; make entity writes it")
        columns = landing_columns(entity, json.loads(schema.read_text(encoding="utf-8")))
        key = [columns[field].name for field in entity.key]
        values = {"singular": entity.singular, "key": key, "replication": entity.replication}
        variable += f"  {entity.name}: {one_line(values)}\n"
        types[entity.name] = leaf_types(columns.values())
    text = replace_block(path, path.read_text(encoding="utf-8"), "entities", variable)
    return {path: replace_block(path, text, "fields", yaml.safe_dump({"fields": types}, sort_keys=False))}


def flow_files(entities: list[Entity]) -> dict[Path, str]:
    """Return Kestra's flows with the entities as the form's choices, a job's values and a schedule's jobs."""
    names = [entity.singular for entity in entities]
    return {
        flow: re.sub(
            r"(?m)^( +(?:values|defaults|jobs): )\[[a-z0-9_, ]*?(\bdbt)?\]$",
            lambda found: f"{found[1]}[{', '.join(filter(None, [*names, found[2]]))}]",
            flow.read_text(encoding="utf-8"),
        )
        for flow in sorted((ROOT / "orchestrate").glob("kestra/*.yml"))
    }


def generated() -> dict[Path, str]:
    """Return every file that follows from the list.

    Raises:
        ValueError: The list is not valid, or a file lacks its marks.
    """
    entities = read()
    return {**meltano_file(entities), **dbt_file(entities), **flow_files(entities)}
