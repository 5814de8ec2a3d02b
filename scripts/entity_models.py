"""The dbt files of a new entity, from entity_templates/: staging model and mart, their descriptions and tests."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jinja2
import yaml
from entities import APP, Entity, landing_columns, one_line, sql_type
from generated_files import ROOT
from google.cloud.bigquery import SchemaField

STAGING = ROOT / "transform" / "models" / "staging"
MARTS = ROOT / "transform" / "models" / "marts" / "core"
TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).with_name("entity_templates")),
    # dbt's own are {{ }} and {% %}.
    variable_start_string="[[",
    variable_end_string="]]",
    block_start_string="[%",
    block_end_string="%]",
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    undefined=jinja2.StrictUndefined,
    autoescape=False,  # noqa: S701 (SQL and YAML)
)
TEMPLATES.filters["yaml"] = one_line
LOAD_COLUMNS = ("loaded_at", "run_id", "table_version", "new_fields")
# The type that a column's name promises (dbt-bouncer.yml).
PROMISED_TYPES = {
    "^is_": "BOOL",
    "_at(_before|_after)?$": "TIMESTAMP",
    "_date$": "DATE",
    "_(count|number)$": "INT64",
}
# Two values of a key in the unit test, by the column's type: a sample's own may be private, or what Jinja reads.
KEY_VALUES = {
    "STRING": ("a", "b"),
    "DATE": ("2026-01-01", "2026-01-02"),
    "TIMESTAMP": ("2026-01-01 00:00:00+00", "2026-01-02 00:00:00+00"),
}
# A column's name that needs no quotes; BigQuery ignores case, sqlfluff does not.
UNQUOTED = re.compile(r"[a-z_][a-z0-9_]*")
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


def quoted(name: str) -> str:
    """Return a name as SQL takes it."""
    return name if UNQUOTED.fullmatch(name) and name not in KEYWORDS else f"`{name}`"


@dataclass(frozen=True)
class Column:
    """A column: its path in the landing table, its name in dbt, its SQL type, and the expression that a model reads it by."""

    landed: str
    name: str
    type: str
    read: str

    @classmethod
    def of(cls, entity: Entity, field: SchemaField) -> "Column":
        """Return the column that dbt makes of one of the landing table.

        Its name is what dbt-bouncer.yml asks for: lower case, no keyword, and of the type that it promises.
        """
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", field.name).strip("_")
        without_accents = re.sub(r"[\u0300-\u036f]", "", unicodedata.normalize("NFKD", words.casefold()))
        name = re.sub(r"[^a-z0-9_]", "x", without_accents)
        if entity.key == ("id",) and field.name == "id":
            name = f"{entity.singular}_id"
        elif name in {*KEYWORDS, *LOAD_COLUMNS} or not name[:1].isalpha():
            name = f"{entity.singular}_{name or 'field'}"
        for pattern, promised in PROMISED_TYPES.items():
            if re.search(pattern, name) and sql_type(field) != promised:
                name = f"{entity.singular}_{name}" if pattern.startswith("^") else f"{name}_value"
        return cls(field.name, name, sql_type(field), quoted(field.name))

    def leaves(self, entity: Entity, field: SchemaField) -> Iterator["Column"]:
        """Yield what a mart has of this staged column: an object's fields one by one; a list of objects as it is."""
        if self.type != "RECORD":
            yield self
        for inner in field.fields if self.type == "RECORD" else ():
            api = inner.to_api_repr()
            named = Column.of(entity, SchemaField.from_api_repr({**api, "name": f"{self.name}_{inner.name}"}))
            column = replace(
                named, landed=f"{self.landed}.{inner.name}", read=f"{self.read}.{quoted(inner.name)}"
            )
            yield from column.leaves(entity, inner)

    @property
    def description(self) -> str:
        """Return what is known of the column."""
        return f"{self.landed}, as the API gives it."


def columns(entity: Entity, schema: dict[str, Any]) -> tuple[dict[str, Column], list[Column]]:
    """Return the staged column of each field of a schema, without `new_fields`, and the columns of a mart on them.

    Raises:
        ValueError: The target cannot hold such records, or two columns would have one name.
    """
    landing = landing_columns(entity, schema)
    landing.pop("new_fields", None)
    by_field = {name: Column.of(entity, field) for name, field in landing.items()}
    leaves = [
        leaf
        for name, column in by_field.items()
        for leaf in replace(column, read=column.name).leaves(entity, landing[name])
    ]
    for names in ([column.name for column in by_field.values()], [leaf.name for leaf in leaves]):
        if duplicates := {name for name in names if names.count(name) > 1}:
            raise ValueError(
                f"the sample: two fields would be {', '.join(sorted(duplicates))} in dbt; rename one in the tap"
            )
    return by_field, leaves


def model_files(entity: Entity, schema: dict[str, Any]) -> dict[Path, str]:
    """Return the files of an entity's staging model and of its mart, which leaves lists of objects to a person.

    Args:
        entity: The new entity.
        schema: Its JSON schema.

    Raises:
        ValueError: The schema has no such models (see columns).
    """
    by_field, leaves = columns(entity, schema)
    key = [by_field[field] for field in entity.key]
    first, other = ([(column, KEY_VALUES.get(column.type, (1, 2))[n]) for column in key] for n in (0, 1))
    full = entity.replication == "full"
    # The unit test's versions: 100 is old, 200 the newest whole one, 300 a delta after it.
    landed = [(other, 100), (first, 200), (other, 200)]
    source = yaml.safe_load((STAGING / "_sources.yml").read_text(encoding="utf-8"))["sources"][0]
    source.pop("tables")
    values = {
        "app": APP,
        "entity": entity,
        "full": full,
        "columns": list(by_field.values()),
        "leaves": [leaf for leaf in leaves if leaf.type != "ARRAY<RECORD>"],
        "lists": [leaf for leaf in leaves if leaf.type == "ARRAY<RECORD>"],
        "load_columns": LOAD_COLUMNS,
        "key": key,
        "source": yaml.safe_dump(source, sort_keys=False, width=130).strip(),
        "landed_rows": landed if full else [*landed, (first, 300)],
        "staged_rows": [(first, 200 if full else 300), (other, 200)],
    }
    paths = {
        STAGING / f"stg_{APP}__{entity.name}.sql": "staging.sql.j2",
        STAGING / f"_{entity.name}.yml": "staging.yml.j2",
        MARTS / f"dim_{entity.name}.sql": "mart.sql.j2",
        MARTS / f"_{entity.name}.yml": "mart.yml.j2",
    }
    return {path: TEMPLATES.get_template(template).render(values) for path, template in paths.items()}
