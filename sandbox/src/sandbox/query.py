"""Queries on the local BigQuery, with their rows as a table in the terminal."""

import base64
import contextlib
import csv
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

from google.api_core.exceptions import ClientError, GoogleAPIError
from google.api_core.retry import Retry, if_exception_type
from google.cloud import bigquery
from requests import RequestException
from rich.console import Console
from rich.table import Table

from sandbox.errors import SandboxError, sandbox_command

SECONDS = 60.0
# What does not answer on this machine is down.
ONCE = Retry(predicate=if_exception_type())


def query(sql: str, form: str) -> None:
    """Run a query and print its rows as `table`, `csv` or `json`.

    Raises:
        SandboxError: No BigQuery is named by the environment, or it refuses the query.
    """
    client = _client()
    with _errors_in_one_line():
        result = _run(client, sql)
        names = [item.name for item in result.schema]
        rows = [list(row.values()) for row in result]
    _show(names, rows, form)


def tables(form: str) -> None:
    """Print every table and its rows.

    Raises:
        SandboxError: No BigQuery is named by the environment, it does not answer, or a view, listed without rows, is broken.
    """
    client = _client()
    rows: list[list[Any]] = []
    broken = []
    with _errors_in_one_line():
        for dataset in client.list_datasets(timeout=SECONDS, retry=ONCE):
            for item in client.list_tables(dataset.reference, timeout=SECONDS, retry=ONCE):
                name = f"{item.dataset_id}.{item.table_id}"
                sql = f"SELECT COUNT(*) FROM `{name}`"  # noqa: S608 (BigQuery's own names)
                try:
                    (count,) = next(iter(_run(client, sql)))
                except ClientError as error:
                    count = None
                    broken.append(f"{name} cannot be read: BigQuery: {_message(error)}")
                rows.append([item.dataset_id, item.table_id, item.table_type.lower(), count])
    _show(["dataset", "table", "type", "rows"], rows, form)
    if broken:
        raise SandboxError("; ".join(broken))


def shell() -> int:
    """Read statements, each ended by a semicolon or an empty line, and print their rows until the input ends.

    Returns:
        The exit status: 1 where a statement of a file or a pipe failed.

    Raises:
        SandboxError: No BigQuery is named by the environment.
    """
    _client()
    terminal, failed = sys.stdin.isatty(), False
    if terminal:
        # Arrow keys and a history.
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401, PLC0415
        source = os.environ.get("TARGET_BIGQUERY_SOURCE")
        suffix = f" of {source}" if source else ""
        print(f"The local BigQuery{suffix}. \\t lists tables, \\q leaves; end a statement with ;")
    statement: list[str] = []
    while True:
        try:
            line = input(("   ...> " if statement else "sql> ") if terminal else "")
        except KeyboardInterrupt:
            statement = []
            print()
            continue
        except EOFError:
            failed |= not _try("\n".join(statement))
            break
        word = line.strip()
        if not statement and word in {"\\q", "exit", "quit"}:
            break
        if not statement and word == "\\t":
            failed |= not _try(None)
            continue
        if word:
            statement.append(line)
        if statement and (not word or word.endswith(";")):
            failed |= not _try("\n".join(statement))
            statement = []
    return int(failed and not terminal)


def _try(sql: str | None) -> bool:
    """Answer a statement, or list the tables; what BigQuery refuses does not end the prompt. Return whether it was answered."""
    try:
        if sql is None:
            tables("table")
        elif sql.strip(" ;\n"):
            query(sql.strip().removesuffix(";"), "table")
    except SandboxError as error:
        print(error, file=sys.stderr)
        return False
    return True


def _run(client: bigquery.Client, sql: str) -> Any:  # noqa: ANN401 (the client's iterator of rows)
    """Return the rows of a query."""
    job = client.query(sql, timeout=SECONDS, retry=ONCE, job_retry=None)
    return job.result(timeout=SECONDS, retry=ONCE, job_retry=None)


@contextlib.contextmanager
def _errors_in_one_line() -> Iterator[None]:
    try:
        yield
    except GoogleAPIError as error:
        raise SandboxError(f"BigQuery: {_message(error)}") from error
    except RequestException as error:
        url = os.environ["BIGQUERY_EMULATOR_HOST"]
        raise SandboxError(
            f"the local BigQuery, {url}, does not answer; {sandbox_command('start')} starts it"
        ) from error


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
            print(_json(dict(zip(names, row, strict=True))))
    elif form == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow(names)
        writer.writerows([[_text(value) for value in row] for row in rows])
    else:
        # As it is: brackets and colons of a value are no markup, and a file or a pipe has no width.
        console = Console(highlight=False, markup=False, emoji=False)
        if not console.is_terminal:
            console.width = sys.maxsize
        table = Table()
        for name in names:
            table.add_column(name, overflow="fold")
        for row in rows:
            table.add_row(*map(_text, row))
        console.print(table)
        console.print(f"{len(rows)} row{'' if len(rows) == 1 else 's'}")


def _text(value: Any) -> str:  # noqa: ANN401 (of any type of BigQuery)
    """Return a value as text: NULL is empty; arrays, structs and bytes are as in JSON."""
    if isinstance(value, (list, dict)):
        return _json(value)
    return "" if value is None else _scalar(value)


def _json(value: Any) -> str:  # noqa: ANN401 (of any type of BigQuery)
    return json.dumps(value, default=_scalar, ensure_ascii=False)


def _scalar(value: Any) -> str:  # noqa: ANN401 (of any type of BigQuery)
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
