"""Catalog views: dataset.__TABLES__, INFORMATION_SCHEMA.COLUMN_FIELD_PATHS and JOBS, and text in the existing ones.

The emulator puts the rows of a view into the query as a subquery, before translation.
"""

import functools
import json
import re

import sqlglot
from sqlglot import exp

from . import jobs, patching

KIND = {"VIEW": 2, "EXTERNAL": 3, "MATERIALIZED_VIEW": 4}
NAME = r"`?([A-Za-z0-9_\-]+)`?"
META_TABLES = re.compile(rf"(?:{NAME}\.)?{NAME}\.`?__TABLES__`?")
JOBS = re.compile(
    rf"(?:{NAME}\s*\.\s*)?`?region-[a-z0-9\-]+`?\s*\.\s*`?INFORMATION_SCHEMA`?\s*\.\s*`?JOBS(?:_BY_(?:PROJECT|USER))?\b`?",
    re.I,
)
MOST_JOBS = 200  # the newest; older ones too when the query names their id


def literal(value):
    """BigQuery's literal of a text: quotes and line ends escaped with a backslash."""
    if value is None:
        return "NULL"
    return (
        "'" + value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r") + "'"
    )


def union(rows, columns):
    """SELECTs with named columns joined by UNION ALL: names of VALUES ... AS v(a, b) do not survive the translation."""
    one = lambda values: "SELECT " + ", ".join(f"{v} AS {c}" for v, (c, _) in zip(values, columns))
    return (
        "("
        + (
            " UNION ALL ".join(map(one, rows))
            or one([f"CAST(NULL AS {t})" for _, t in columns]) + " FROM UNNEST([1]) WHERE FALSE"
        )
        + ")"
    )


def named(fragment):
    """The same for a fragment the emulator has built with VALUES."""
    tree = sqlglot.parse_one(fragment[1:-1], read="bigquery")
    values = tree.find(exp.Values)
    if values is None:
        return fragment
    names = [c.name for c in tree.find(exp.TableAlias).columns]
    selects = [
        exp.select(*[exp.alias_(v.copy(), n) for n, v in zip(names, row.expressions)])
        for row in values.expressions
    ]
    if tree.args.get("where") is not None:
        selects = [s.where("FALSE") for s in selects]
    return "(" + " UNION ALL ".join(s.sql("bigquery") for s in selects) + ")"


def meta_tables(catalog, project, dataset):
    millis = lambda t: int(t.timestamp() * 1000)
    return union(
        [
            (
                literal(project),
                literal(dataset),
                literal(t.table_id),
                millis(t.creation_time),
                millis(t.last_modified_time),
                t.num_rows or 0,
                t.num_bytes or 0,
                KIND.get(t.table_type, 1),
            )
            for t in catalog.list_tables(project, dataset)
        ],
        [
            ("project_id", "STRING"),
            ("dataset_id", "STRING"),
            ("table_id", "STRING"),
            ("creation_time", "INT64"),
            ("last_modified_time", "INT64"),
            ("row_count", "INT64"),
            ("size_bytes", "INT64"),
            ("type", "INT64"),
        ],
    )


def field_paths(catalog, project, dataset, data_type):
    rows = []

    def walk(table, top, path, field):
        rows.append(
            tuple(
                map(
                    literal,
                    (
                        project,
                        dataset,
                        table.table_id,
                        top,
                        path,
                        data_type(field),
                        field.description or None,
                    ),
                )
            )
        )
        for sub in field.fields:
            walk(table, top, f"{path}.{sub.name}", sub)

    for table in catalog.list_tables(project, dataset):
        for field in table.schema_.fields:
            walk(table, field.name, field.name, field)
    return union(
        rows,
        [
            (c, "STRING")
            for c in (
                "table_catalog",
                "table_schema",
                "table_name",
                "column_name",
                "field_path",
                "data_type",
                "description",
            )
        ],
    )


def job_rows(catalog, project, sql):
    found = [
        j
        for j in [*jobs.RUNNING.values(), *catalog.list_jobs(project, max_results=10**9)]
        if j.project_id == project
    ]
    found.sort(key=lambda j: j.creation_time, reverse=True)
    found = found[:MOST_JOBS] + [j for j in found[MOST_JOBS:] if j.job_id in sql]
    at = lambda t: f"TIMESTAMP {literal(t.isoformat())}" if t else "CAST(NULL AS TIMESTAMP)"
    text = lambda v: literal(v) if v is not None else "CAST(NULL AS STRING)"
    rows = []
    for j in found:
        config = j.configuration.get(j.job_type.lower()) or {}
        query, error, to = (
            j.statistics.get("query") or {},
            j.error_result or {},
            config.get("destinationTable") or {},
        )
        labels = ", ".join(
            f"STRUCT({literal(k)} AS key, {literal(v)} AS value)"
            for k, v in (j.configuration.get("labels") or {}).items()
        )
        rows.append(
            (
                at(j.creation_time),
                literal(project),
                literal(j.user_email or "emulator@localhost"),
                literal(j.job_id),
                literal(j.job_type),
                text(query.get("statementType")),
                "'INTERACTIVE'",
                at(j.start_time),
                at(j.end_time),
                text(config.get("query")),
                literal(j.state),
                "0",
                "0",
                "false",
                f"STRUCT({text(error.get('reason'))} AS reason, {text(error.get('location'))} AS location, {text(error.get('message'))} AS message)",
                f"STRUCT({text(to.get('projectId'))} AS project_id, {text(to.get('datasetId'))} AS dataset_id, {text(to.get('tableId'))} AS table_id)",
                f"[{labels}]" if labels else "CAST([] AS ARRAY<STRUCT<key STRING, value STRING>>)",
            )
        )
    return union(
        rows,
        [
            ("creation_time", "TIMESTAMP"),
            ("project_id", "STRING"),
            ("user_email", "STRING"),
            ("job_id", "STRING"),
            ("job_type", "STRING"),
            ("statement_type", "STRING"),
            ("priority", "STRING"),
            ("start_time", "TIMESTAMP"),
            ("end_time", "TIMESTAMP"),
            ("query", "STRING"),
            ("state", "STRING"),
            ("total_bytes_processed", "INT64"),
            ("total_slot_ms", "INT64"),
            ("cache_hit", "BOOL"),
            ("error_result", "STRUCT<reason STRING, location STRING, message STRING>"),
            ("destination_table", "STRUCT<project_id STRING, dataset_id STRING, table_id STRING>"),
            ("labels", "ARRAY<STRUCT<key STRING, value STRING>>"),
        ],
    )


def apply():
    where = "sql.rewriter.information_schema"
    views = patching.module(where)
    builders = [n for n in dir(views) if n.endswith(("_as_values", "_values_subquery"))]
    if len(builders) < 18:
        raise patching.Moved("launcher: the builders of the INFORMATION_SCHEMA views are gone")
    for n in builders:
        old = getattr(views, n)
        patching.replace(
            where,
            n,
            functools.wraps(old)(lambda *a, _old=old, **k: named(_old(*a, **k))),
            "column names survive the translation",
        )
    patching.replace(where, "_sql_literal", literal, "quotes and line ends in descriptions")
    patching.replace(
        where,
        "_quote_for_option",
        lambda v: json.dumps(v, ensure_ascii=False),
        "option values as BigQuery writes them",
    )
    data_type, build = patching.get(where, "_render_data_type"), patching.get(where, "_build_patterns")
    full, short, _ = build("COLUMN_FIELD_PATHS")
    expand = patching.get("sql.inner_query", "expand_information_schema")

    def with_more(sql, project_id, catalog):
        upper = sql.upper()
        if "__TABLES__" in upper:
            sql = META_TABLES.sub(lambda m: meta_tables(catalog, m[1] or project_id, m[2]), sql)
        if "COLUMN_FIELD_PATHS" in upper:
            sql = full.sub(lambda m: field_paths(catalog, m["project"], m["dataset"], data_type), sql)
            sql = short.sub(lambda m: field_paths(catalog, project_id, m["dataset"], data_type), sql)
        if "INFORMATION_SCHEMA" in upper and "JOBS" in upper:
            sql = JOBS.sub(lambda m: job_rows(catalog, m[1] or project_id, sql), sql)
        return expand(sql, project_id, catalog)

    patching.replace(
        "sql.inner_query",
        "expand_information_schema",
        with_more,
        "__TABLES__, COLUMN_FIELD_PATHS (dbt docs generate), JOBS",
    )
