"""Queries on the local BigQuery, with their rows as a table in the terminal."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import sys
from typing import Any

from google.api_core.exceptions import GoogleAPIError
from google.cloud import bigquery
from rich.console import Console
from rich.table import Table

from sandbox.errors import SandboxError, sandbox_command

SECONDS = 60.0


def query(sql: str, form: str) -> None:
    """Run a query and print its rows as `table`, `csv` or `json`.

    Raises:
        SandboxError: No BigQuery is named by the environment, or it refuses the query.
    """
    client = _client()
    try:
        result = client.query(sql, timeout=SECONDS).result(timeout=SECONDS)
        names = [item.name for item in result.schema]
        rows = [list(row.values()) for row in result]
    except GoogleAPIError as error:
        raise SandboxError(f"BigQuery: {_message(error)}") from error
    _show(names, rows, form)


def tables(form: str) -> None:
    """Print every table and its rows.

    Raises:
        SandboxError: No BigQuery is named by the environment, or it does not answer.
    """
    client = _client()
    rows: list[list[Any]] = []
    try:
        for dataset in client.list_datasets(timeout=SECONDS):
            for item in client.list_tables(dataset.reference, timeout=SECONDS):
                name = f"{item.dataset_id}.{item.table_id}"
                sql = f"SELECT COUNT(*) FROM `{name}`"  # noqa: S608 (BigQuery's own names)
                (count,) = next(iter(client.query(sql, timeout=SECONDS).result()))
                rows.append([item.dataset_id, item.table_id, item.table_type.lower(), count])
    except GoogleAPIError as error:
        raise SandboxError(f"BigQuery: {_message(error)}") from error
    _show(["dataset", "table", "type", "rows"], rows, form)


def shell() -> None:
    """Read statements, each ended by a semicolon or an empty line, and print their rows until the input ends.

    Raises:
        SandboxError: No BigQuery is named by the environment.
    """
    _client()
    if sys.stdin.isatty():
        # Arrow keys and a history.
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401, PLC0415
        source = os.environ.get("TARGET_BIGQUERY_SOURCE")
        suffix = f" of {source}" if source else ""
        print(f"The local BigQuery{suffix}. \\t lists tables, \\q leaves; end a statement with ;")
    statement: list[str] = []
    while True:
        try:
            line = input(("   ...> " if statement else "sql> ") if sys.stdin.isatty() else "")
        except KeyboardInterrupt:
            statement = []
            print()
            continue
        except EOFError:
            _try("\n".join(statement))
            return
        word = line.strip()
        if not statement and word in {"\\q", "exit", "quit"}:
            return
        if not statement and word == "\\t":
            _try(None)
            continue
        if word:
            statement.append(line)
        if statement and (not word or word.endswith(";")):
            _try("\n".join(statement))
            statement = []


def _try(sql: str | None) -> None:
    """Answer a statement, or list the tables; what BigQuery refuses does not end the prompt."""
    try:
        if sql is None:
            tables("table")
        elif sql.strip(" ;\n"):
            query(sql.strip().removesuffix(";"), "table")
    except SandboxError as error:
        print(error, file=sys.stderr)


def _message(error: GoogleAPIError) -> str:
    """Return BigQuery's message in one line, without what the client adds."""
    reported = getattr(error, "errors", None) or [{}]
    return " ".join(str(reported[0].get("message") or getattr(error, "message", error)).split())


def _client() -> bigquery.Client:
    if not os.environ.get("BIGQUERY_EMULATOR_HOST"):
        raise SandboxError(f"no local BigQuery: {sandbox_command('start')} starts it")
    return bigquery.Client(project=os.environ.get("GOOGLE_CLOUD_PROJECT"))


def _show(names: list[str], rows: list[list[Any]], form: str) -> None:
    if form == "json":
        for row in rows:
            print(json.dumps(dict(zip(names, row, strict=True)), default=str, ensure_ascii=False))
    elif form == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow(names)
        writer.writerows(rows)
    else:
        table = Table(*names)
        for row in rows:
            table.add_row(*("" if value is None else str(value) for value in row))
        Console(highlight=False).print(table)
        Console(highlight=False).print(f"{len(rows)} row{'' if len(rows) == 1 else 's'}")
