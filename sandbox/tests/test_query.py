"""`sandbox query` and `sandbox shell`: rows as they are, and errors in one line."""

import os
from pathlib import Path

import pytest
from sandbox_command import refusal, run

from testkit import programs


def test_query_shows_rows_and_one_line_errors(command: str, services: dict[str, str], tmp_path: Path) -> None:
    """Rows come as csv, json or a table; a wrong query is BigQuery's own message in one line."""
    good = run(command, tmp_path, "query", "SELECT 1 AS x, 'a' AS y", "--format", "csv", **services)
    assert good.stdout.split() == ["x,y", "1,a"]
    refused = refusal(command, tmp_path, "query", "SELECT nothing FROM nowhere.at_all", **services)
    assert refused.startswith("sandbox: BigQuery: ")
    gone = services | {"BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:1"}
    assert "http://127.0.0.1:1, does not answer" in refusal(command, tmp_path, "query", "SELECT 1", **gone)


def test_a_view_of_what_is_gone_hides_no_table(
    command: str, services: dict[str, str], tmp_path: Path
) -> None:
    """The list has it without rows, and the line below names it; the status is not 0."""
    made = "CREATE SCHEMA odd; CREATE TABLE odd.kept AS SELECT 1 AS x; CREATE TABLE odd.gone AS SELECT 1 AS x"
    for sql in (*made.split("; "), "CREATE VIEW odd.a_view AS SELECT x FROM odd.gone", "DROP TABLE odd.gone"):
        assert run(command, tmp_path, "query", sql, **services).returncode == 0
    done = run(command, tmp_path, "query", "--tables", "--format", "csv", **services)
    assert run(command, tmp_path, "query", "DROP SCHEMA odd CASCADE", **services).returncode == 0
    assert {"odd,kept,table,1", "odd,a_view,view,"} <= set(done.stdout.splitlines())
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("sandbox: odd.a_view cannot be read: BigQuery: Not found: Table")


AS_IT_IS = f"SELECT '[bold]a[/b] :warning: ö {'x' * 90}' AS `[red]t`, [DATE '2026-01-02'] AS d, b'abc' AS b, STRUCT(NULL AS n) AS s"


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_query_shows_values_as_they_are(
    command: str, services: dict[str, str], tmp_path: Path, form: str
) -> None:
    """Brackets and colons are no markup, nothing is cut off in a pipe, whatever the locale; bytes and arrays are as in JSON."""
    done = run(command, tmp_path, "query", AS_IT_IS, "--format", form, **services, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    shown = done.stdout.replace('""', '"')
    for text in ("[red]t", f"[bold]a[/b] :warning: ö {'x' * 90}", '["2026-01-02"]', "YWJj", '{"n": null}'):
        assert text in shown


def test_a_reader_that_has_enough_is_no_error(command: str, services: dict[str, str]) -> None:
    """`sandbox query … | head -1` shows its line, and nothing of a broken pipe; a full disk is one line."""
    script = f'"{command}" query "SELECT x FROM UNNEST(GENERATE_ARRAY(1, 20000)) AS x" --format csv'
    env = os.environ | services
    done = programs.run("sh", "-c", f"{script} | head -1", env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, "x\n", "")
    done = programs.run("sh", "-c", f"{script} > /dev/full", env=env)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "No space left" in done.stderr


def test_the_prompt_answers_and_goes_on_after_an_error(command: str, services: dict[str, str]) -> None:
    """It reads statements from its input, each ended by ; or an empty line."""
    statements = "SELECT 1 AS `a b`;\nSELECT\n  nothing;\nSELECT 'after' AS word\n"
    done = programs.run(command, "shell", stdin=statements, env=os.environ | services)
    # A script sees that one of them failed.
    assert done.returncode == 1
    assert "a b" in done.stdout
    assert "after" in done.stdout
    assert done.stderr.startswith("BigQuery: ")
    assert done.stderr.count("\n") == 1
