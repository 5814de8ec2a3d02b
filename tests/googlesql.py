"""Google's own SQL analyzer (PyPI zetasql) over a catalog made of BigQuery tables."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any

import zetasql.core.wasm_client
from testkit.project_files import ROOT
from wasmtime import Config
from zetasql.api.analyzer import Analyzer as GoogleAnalyzer
from zetasql.api.builders.catalog_builder import CatalogBuilder
from zetasql.api.builders.table_builder import TableBuilder
from zetasql.api.type_factory import TypeFactory
from zetasql.types import (
    AnalyzerOptions,
    LanguageFeature,
    LanguageOptions,
    TypeKind,
    ZetaSQLBuiltinFunctionOptions,
)

if TYPE_CHECKING:
    from google.cloud.bigquery import SchemaField

KINDS = {
    "STRING": TypeKind.TYPE_STRING,
    "INTEGER": TypeKind.TYPE_INT64,
    "INT64": TypeKind.TYPE_INT64,
    "FLOAT": TypeKind.TYPE_DOUBLE,
    "FLOAT64": TypeKind.TYPE_DOUBLE,
    "BOOLEAN": TypeKind.TYPE_BOOL,
    "BOOL": TypeKind.TYPE_BOOL,
    "TIMESTAMP": TypeKind.TYPE_TIMESTAMP,
    "DATE": TypeKind.TYPE_DATE,
    "TIME": TypeKind.TYPE_TIME,
    "NUMERIC": TypeKind.TYPE_NUMERIC,
    "BIGNUMERIC": TypeKind.TYPE_BIGNUMERIC,
    "JSON": TypeKind.TYPE_JSON,
}


def _cached_config() -> Config:
    """The analyzer's engine with wasmtime's cache: to compile it takes 20 s, and each Analyzer does."""
    folder = ROOT / ".cache" / "wasmtime"
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "cache.toml"
    settings.write_text(f"[cache]\ndirectory = {json.dumps(str(folder))}\n")
    config = Config()
    config.cache = str(settings)
    return config


zetasql.core.wasm_client.Config = _cached_config


class SqlRefusedError(Exception):
    """Google's analyzer refuses a statement."""


def _type(field: SchemaField) -> Any:
    if field.field_type in {"RECORD", "STRUCT"}:
        one = TypeFactory.create_struct_type([(f.name, _type(f)) for f in field.fields])
    else:
        one = TypeFactory.create_simple_type(KINDS[field.field_type])
    return TypeFactory.create_array_type(one) if field.mode == "REPEATED" else one


class Analyzer:
    """Checks statements against tables: full name (`project.dataset.table`) to columns.

    Args:
        tables: By full name.
        parameters: The types of the query's named parameters, as BigQuery names types.
    """

    def __init__(
        self, tables: dict[str, list[SchemaField]], parameters: dict[str, str] | None = None
    ) -> None:
        language = LanguageOptions.maximum_features()
        # Without them only a SELECT is a statement.
        language.supported_statement_kinds = []
        # BigQuery has it; the analyzer counts it among what is still in the making.
        language.enabled_language_features = [
            *language.enabled_language_features,
            LanguageFeature.FEATURE_ALTER_COLUMN_SET_DATA_TYPE,
        ]
        # Without it `FROM t QUALIFY …` with no WHERE is refused, though BigQuery takes it.
        language.reserved_keywords = ["QUALIFY"]
        builder = CatalogBuilder("bigquery").with_builtin_functions(
            ZetaSQLBuiltinFunctionOptions(language_options=language)
        )
        for name, fields in tables.items():
            table = TableBuilder(name)
            for field in fields:
                table.add_column(field.name, _type(field))
            builder.add_table(table.build())
        analyzer = GoogleAnalyzer(
            AnalyzerOptions(
                language_options=language,
                query_parameters=[
                    AnalyzerOptions.QueryParameter(
                        name=name, type=TypeFactory.create_simple_type(KINDS[kind])
                    )
                    for name, kind in (parameters or {}).items()
                ],
            ),
            builder.build(),
        )
        # A statement costs a tenth of a second, and two tests look at each of dbt's.
        self._analyze_once = cache(analyzer.analyze_statement)

    def check(self, sql: str) -> None:
        """Analyzes one statement.

        Raises:
            SqlRefusedError: Google's analyzer refuses it; the message is its own.
        """
        self._analyze(sql)

    def columns(self, sql: str) -> list[tuple[str, str]]:
        """The names and types of the columns that a SELECT gives, or a CREATE … AS makes.

        Raises:
            SqlRefusedError: Google's analyzer refuses it; the message is its own.
        """
        return [
            (column.name, str(column.column.type).replace("DOUBLE", "FLOAT64"))
            for column in self._analyze(sql).output_column_list
        ]

    def _analyze(self, sql: str) -> Any:
        # The catalog holds full names; BigQuery takes `a`.`b`.`c` for `a.b.c`.
        sql = re.sub(r"`([^`.]+)`\.`([^`.]+)`\.`([^`.]+)`", r"`\1.\2.\3`", sql)
        try:
            return self._analyze_once(sql)
        except Exception as error:
            raise SqlRefusedError(str(error)) from error
