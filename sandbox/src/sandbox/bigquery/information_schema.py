"""The views of the catalog that `dbt docs generate` reads: __TABLES__, COLUMN_FIELD_PATHS, and names in the others.

The emulator puts a view's rows into the query as a subquery, before translation.
"""

import functools
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import sqlglot
from bqemulator.catalog.models import TableFieldSchema, TableMeta
from bqemulator.catalog.repository import CatalogRepository
from sqlglot import exp

from . import patches

VIEWS = "sql.rewriter.information_schema"
BUILDERS = re.compile(r"_\w+(_as_values|_values_subquery)")
FEWEST_BUILDERS = 18
TYPES = {"VIEW": 2, "EXTERNAL": 3, "MATERIALIZED_VIEW": 4}
PART = r"`?([A-Za-z0-9_\-]+)`?"
META = re.compile(rf"(?:{PART}\.)?{PART}\.`?__TABLES__`?")
META_COLUMNS = "project_id STRING, dataset_id STRING, table_id STRING, creation_time INT64, last_modified_time INT64, row_count INT64, size_bytes INT64, type INT64"
PATH_COLUMNS = "table_catalog STRING, table_schema STRING, table_name STRING, column_name STRING, field_path STRING, data_type STRING, description STRING"
_data_type = patches.get(VIEWS, "_render_data_type")
_full, _short, _ = patches.get(VIEWS, "_build_patterns")("COLUMN_FIELD_PATHS")
_expand = patches.get("sql.inner_query", "expand_information_schema")


@patches.replaces(VIEWS, "_sql_literal", why="quotes and line ends in descriptions")
def literal(value: str | int | None) -> str:
    """Return BigQuery's literal of a value."""
    return "NULL" if value is None else json.dumps(value, ensure_ascii=False)


patches.replace(VIEWS, "_quote_for_option", literal, "option values as BigQuery writes them")


def _rows(columns: str, rows: Iterable[tuple[str | int | None, ...]]) -> str:
    """Return a subquery of rows with named columns."""
    names, types = zip(*(column.split() for column in columns.split(", ")), strict=True)
    selects = [
        ", ".join(f"{literal(value)} AS {name}" for value, name in zip(row, names, strict=True))
        for row in rows
    ]
    none = ", ".join(f"CAST(NULL AS {kind}) AS {name}" for name, kind in zip(names, types, strict=True))
    return f"(SELECT {' UNION ALL SELECT '.join(selects) or none + ' FROM UNNEST([1]) WHERE FALSE'})"  # noqa: S608


def _with_selects(build: Callable[..., str]) -> Callable[..., str]:
    """Return one of the emulator's builders with SELECTs in place of VALUES, whose column names are lost in translation."""

    @functools.wraps(build)
    def named(*arguments: Any, **options: Any) -> str:  # noqa: ANN401 (the builder's)
        text = build(*arguments, **options)
        tree = sqlglot.parse_one(text[1:-1], read="bigquery")
        values, alias = tree.find(exp.Values), tree.find(exp.TableAlias)
        if values is None or alias is None:
            return text
        names = [column.name for column in alias.columns]
        selects = [
            exp.select(
                *(exp.alias_(value.copy(), name) for value, name in zip(row.expressions, names, strict=True))
            )
            for row in values.expressions
        ]
        none = " WHERE FALSE" if tree.args.get("where") is not None else ""
        return f"({' UNION ALL '.join(select.sql('bigquery') + none for select in selects)})"

    return named


_builders = [name for name in vars(patches.module(VIEWS)) if BUILDERS.fullmatch(name)]
if len(_builders) < FEWEST_BUILDERS:
    raise patches.PatchTargetMissing("sandbox: the builders of the INFORMATION_SCHEMA views are gone")
for _name in _builders:
    patches.replace(VIEWS, _name, _with_selects(patches.get(VIEWS, _name)), "column names are kept")


def _tables_view(catalog: CatalogRepository, project: str, dataset: str) -> str:
    def row(table: TableMeta) -> tuple[str | int, ...]:
        times = [int(at.timestamp() * 1000) for at in (table.creation_time, table.last_modified_time)]
        kind = TYPES.get(table.table_type, 1)
        return (project, dataset, table.table_id, *times, table.num_rows, table.num_bytes, kind)

    return _rows(META_COLUMNS, map(row, catalog.list_tables(project, dataset)))


def _field_paths_view(catalog: CatalogRepository, project: str, dataset: str) -> str:
    def rows(table: str, top: str, path: str, field: TableFieldSchema) -> Iterator[tuple[str | None, ...]]:
        yield (project, dataset, table, top, path, _data_type(field), field.description or None)
        for inner in field.fields:
            yield from rows(table, top, f"{path}.{inner.name}", inner)

    return _rows(
        PATH_COLUMNS,
        (
            row
            for table in catalog.list_tables(project, dataset)
            for field in table.schema_.fields
            for row in rows(table.table_id, field.name, field.name, field)
        ),
    )


@patches.replaces("sql.inner_query", "expand_information_schema", why="__TABLES__, COLUMN_FIELD_PATHS")
def expand(sql: str, project_id: str, catalog: CatalogRepository) -> str:
    """Return the statement with rows in place of the catalog's views."""
    upper = sql.upper()
    if "__TABLES__" in upper:
        sql = META.sub(lambda match: _tables_view(catalog, match[1] or project_id, match[2]), sql)
    if "COLUMN_FIELD_PATHS" in upper:
        sql = _full.sub(lambda match: _field_paths_view(catalog, match["project"], match["dataset"]), sql)
        sql = _short.sub(lambda match: _field_paths_view(catalog, project_id, match["dataset"]), sql)
    return str(_expand(sql, project_id, catalog))
