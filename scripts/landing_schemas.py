"""The landing tables' columns, for Terraform (terraform/schemas/*.json) and dbt's sources.

They come from the tap's JSON schemas by the target's own translation. A file is a table: its description, the column it is
partitioned by (by day), those it is clustered by, and its columns as BigQuery's API has them. The ledger `_loads` is one of
them.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import entities
from entities import TAP
from generated_files import ROOT
from google.cloud.bigquery import SchemaField
from target_bigquery import ledger, tables
from target_bigquery.names import LEDGER, clean
from target_bigquery.schema import metadata_fields

SOURCE = TAP / "schemas"
SCHEMAS = ROOT / "terraform" / "schemas"
SOURCES = ROOT / "transform" / "models" / "staging" / "_sources.yml"


def table(
    description: str, fields: Iterable[SchemaField], *, partitioned_by: str | None, keys: list[str]
) -> dict[str, Any]:
    """Return a table as Terraform reads it, laid out as the target lays out its own."""
    fields = list(fields)
    types = {field.name: field.field_type for field in fields}
    clustered_by = [key for key in keys if types[key] in tables.CLUSTERABLE][: tables.MOST_CLUSTERED]
    return {
        "description": description,
        "partitioned_by": partitioned_by,
        "clustered_by": clustered_by,
        "fields": [field.to_api_repr() for field in fields],
    }


def as_json(content: dict[str, Any]) -> str:
    """Return a table as JSON with one column per line."""
    head = {name: value for name, value in content.items() if name != "fields"}
    columns = ",\n".join(f"    {json.dumps(field, ensure_ascii=False)}" for field in content["fields"])
    return f'{json.dumps(head, indent=2, ensure_ascii=False)[:-2]},\n  "fields": [\n{columns}\n  ]\n}}\n'


def landing_tables(source: Path = SOURCE) -> dict[str, dict[str, Any]]:
    """Return every landing table and the ledger, by table name.

    Raises:
        ValueError: The target cannot hold a stream of that schema.
    """
    by_name = {}
    for entity in sorted(entities.read(), key=lambda entity: entity.name):
        path = source / f"{entity.name}.json"
        if not path.is_file():
            continue
        columns = entities.landing_columns(entity, json.loads(path.read_text(encoding="utf-8")))
        by_name[clean(entity.name)] = table(
            f"Whole extractions of {entity.name}, append only; _sdc_table_version tells one from another.",
            [*columns.values(), *metadata_fields()],
            partitioned_by=tables.PARTITION_COLUMN,
            keys=[columns[key].name for key in entity.key],
        )
    summary = "The ledger: one row per stream, version and run."
    by_name[LEDGER] = table(summary, ledger.FIELDS, partitioned_by=None, keys=[])
    return by_name


def sources(text: str, landing: dict[str, dict[str, Any]]) -> str:
    """Return the text of dbt's sources with the columns of each landing table in it."""
    for name, content in landing.items():
        columns = "".join(
            f"          - {{name: {field['name']}, description: {json.dumps(field['description'], ensure_ascii=False)}}}\n"
            for field in content["fields"]
        )
        begin = rf"(?m)(^      - name: {re.escape(name)}\n(?:        (?! *columns:).*\n)*        columns:\n)(?:          .*\n)*"
        text = re.sub(begin, lambda found, columns=columns: found[1] + columns, text)  # type: ignore[misc]
    return text


def generated(source: Path = SOURCE, folder: Path = SCHEMAS) -> dict[Path, str | None]:
    """Return the text of each file, from a folder of the tap's JSON schemas; None for a table's file without a stream.

    Raises:
        ValueError: The target cannot hold a stream of its schema.
    """
    landing = landing_tables(source)
    wanted: dict[Path, str | None] = dict.fromkeys(sorted(folder.glob("*.json")))
    # The folder is Terraform's, which may have been removed.
    if folder.parent.is_dir():
        wanted |= {folder / f"{name}.json": as_json(content) for name, content in landing.items()}
    if source == SOURCE:
        wanted[SOURCES] = sources(SOURCES.read_text(encoding="utf-8"), landing)
    return wanted
