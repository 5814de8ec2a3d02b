"""Google's own SQL analyzer and reference implementation (PyPI zetasql) over a catalog made of BigQuery tables."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import date
from functools import cache
from typing import Any

import zetasql.core.wasm_client
from google.cloud.bigquery import SchemaField
from google.protobuf.timestamp_pb2 import Timestamp
from testkit.project_files import ROOT
from wasmtime import Config
from zetasql.api.analyzer import Analyzer as GoogleAnalyzer
from zetasql.api.builders.catalog_builder import CatalogBuilder
from zetasql.api.builders.table_builder import TableBuilder
from zetasql.api.prepared_query import PreparedQuery
from zetasql.api.type_factory import TypeFactory
from zetasql.types import (
    AnalyzerOptions,
    LanguageFeature,
    LanguageOptions,
    TableContent,
    TableData,
    TypeKind,
    Value,
    ZetaSQLBuiltinFunctionOptions,
)

Table = tuple[Sequence[SchemaField], Sequence[Sequence[Any]]]

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


# In which field of a Value, where that has another name than the type.
VALUES = {"RECORD": "struct", "INTEGER": "int64", "FLOAT": "double", "BOOLEAN": "bool"}


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


def _language() -> LanguageOptions:
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
    return language


def _catalog(language: LanguageOptions, tables: Mapping[str, Sequence[SchemaField]]) -> Any:
    builder = CatalogBuilder("bigquery").with_builtin_functions(
        ZetaSQLBuiltinFunctionOptions(language_options=language)
    )
    for name, fields in tables.items():
        table = TableBuilder(name)
        for field in fields:
            table.add_column(field.name, _type(field))
        builder.add_table(table.build())
    return builder.build()


def _full_names(sql: str) -> str:
    # The catalog holds full names; BigQuery takes `a`.`b`.`c` for `a.b.c`.
    return re.sub(r"`([^`.]+)`\.`([^`.]+)`\.`([^`.]+)`", r"`\1.\2.\3`", sql)


def _value(field: SchemaField, value: Any, *, repeated: bool) -> Value:
    given: Any = value
    match "ARRAY" if repeated else field.field_type:
        case _ if value is None:
            return Value()
        case "ARRAY":
            given = Value.Array(element=[_value(field, one, repeated=False) for one in value])
        case "RECORD":
            given = Value.Struct(
                field=[_value(f, value[f.name], repeated=f.mode == "REPEATED") for f in field.fields]
            )
        case "TIMESTAMP":
            given = Timestamp()
            given.FromDatetime(value)
        case "DATE":
            given = (value - date(1970, 1, 1)).days
        case "JSON":
            given = json.dumps(value)
    kind = "array" if repeated else VALUES.get(field.field_type, field.field_type.lower())
    return Value(**{f"{kind}_value": given})


def evaluate(sql: str, tables: dict[str, Table] | None = None) -> list[Any]:
    """Return the rows of a SELECT as Google's reference implementation has them, each as TO_JSON_STRING gives it.

    Args:
        sql: The query.
        tables: Full name to columns and rows.

    Raises:
        SqlRefusedError: It refuses the query, or a value.
    """
    language, tables = _language(), tables or {}
    contents = {
        name: [
            TableData.Row(
                cell=[_value(f, v, repeated=f.mode == "REPEATED") for f, v in zip(fields, row, strict=True)]
            )
            for row in rows
        ]
        for name, (fields, rows) in tables.items()
    }
    query = PreparedQuery.builder().set_sql(f"SELECT TO_JSON_STRING(t) FROM (\n{_full_names(sql)}\n) AS t")
    query.set_analyzer_options(AnalyzerOptions(language_options=language, default_timezone="UTC"))
    query.set_catalog(_catalog(language, {name: fields for name, (fields, _) in tables.items()}))
    query.set_table_content(
        {name: TableContent(table_data=TableData(row=rows)) for name, rows in contents.items()}
    )
    try:
        with query.prepare() as prepared:
            found = prepared.execute().content.table_data
    except Exception as error:
        raise SqlRefusedError(str(error)) from error
    return [json.loads(row.cell[0].string_value) for row in (found.row if found else ())]


class Analyzer:
    """Checks statements against tables: full name (`project.dataset.table`) to columns.

    Args:
        tables: By full name.
        parameters: The types of the query's named parameters, as BigQuery names types.
    """

    def __init__(
        self, tables: dict[str, list[SchemaField]], parameters: dict[str, str] | None = None
    ) -> None:
        language = _language()
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
            _catalog(language, tables),
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
        try:
            return self._analyze_once(_full_names(sql))
        except Exception as error:
            raise SqlRefusedError(str(error)) from error
