"""The queries on the local BigQuery, over tables as the marts' contracts say, and the command line around them."""

import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from google.cloud import bigquery
from opened_page import ROOT
from rickandmorty_report import cli, marts, page
from rickandmorty_report.errors import ReportError

# One BigQuery where tests run side by side.
pytestmark = pytest.mark.xdist_group("report-marts")
# A value of each type for row `n`.
VALUES = {
    "STRING": "CONCAT('{name} ', n)",
    "INT64": "n",
    "FLOAT64": "n / 2",
    "BOOL": "n < 3",
    "DATE": "DATE '2013-12-02'",
    "TIMESTAMP": "TIMESTAMP '2026-03-14 09:30:00+00'",
}
# Columns with few values.
CHOICES = {
    "entity": ["characters", "episodes", "locations"],
    "status": ["Alive", "Dead", "unknown", "Frozen", "Cloned"],
    "breakdown": ["species", "origin"],
    "change": ["added", "removed", "changed"],
    "severity": ["info", "warning", "error"],
    "rule": ["one_rule", "another_rule"],
}
ROWS = {
    "dim_characters": 100_000,
    "rpt_changes": 100_000,
    "rpt_character_pairs": 100_000,
    "rpt_character_status": 100_000,
    "rpt_data_quality": 100_000,
    "rpt_episode_summary": 5_000,
    "rpt_loads": 1_000,
    "rpt_location_summary": 10_000,
    "rpt_season_summary": 500,
    "rpt_verdict": 30,
}


def contracts() -> dict[str, dict[str, str]]:
    """Each mart's columns and types, of transform/."""
    return {
        model["name"]: {column["name"]: column["data_type"] for column in model["columns"]}
        for file in (ROOT / "transform" / "models" / "marts").rglob("_*.yml")
        for model in yaml.safe_load(file.read_text()).get("models", [])
    }


def value(name: str, kind: str) -> str:
    """The SQL of a column's value in row `n`."""
    if name in CHOICES:
        cases = " ".join(f"WHEN {place} THEN '{choice}'" for place, choice in enumerate(CHOICES[name]))
        return f"CASE MOD(n, {len(CHOICES[name])}) {cases} END"
    if name == "second_character_id":
        return "n + 1"
    return VALUES[kind].format(name=name)


def make(prefix: str) -> bigquery.Client:
    """Makes the marts that the page reads, empty."""
    client = bigquery.Client()
    dataset = client.create_dataset(f"{prefix}rickandmorty_marts")
    for table, columns in contracts().items():
        fields = [bigquery.SchemaField(name, kind) for name, kind in columns.items() if kind in VALUES]
        client.create_table(bigquery.Table(dataset.table(table), fields))
    return client


@pytest.fixture(scope="module")
def cloud(bigquery_env: dict[str, str]) -> Iterator[dict[str, str]]:
    """The local BigQuery with empty marts; this process uses it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, found in bigquery_env.items():
            patch.setenv(name, found)
        make("empty_")
        yield bigquery_env


def report(env: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the program as Meltano does."""
    return subprocess.run(
        [sys.executable, "-m", "rickandmorty_report", "build", *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=dict(env),
    )


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a program that ended with status 1."""
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    return done.stderr


@pytest.mark.slow
def test_a_hundred_thousand_records_make_a_page_of_the_same_size(cloud: dict[str, str]) -> None:
    """Each query gives a bounded number of rows and how many there are."""
    client, columns = make("large_"), contracts()
    for table, count in ROWS.items():
        given = {name: value(name, kind) for name, kind in columns[table].items() if kind in VALUES}
        numbers = f"UNNEST(GENERATE_ARRAY(1, {count})) AS n"
        client.query(
            f"INSERT `large_rickandmorty_marts.{table}` ({', '.join(given)}) SELECT {', '.join(given.values())} FROM {numbers}"
        ).result()
    found = marts.read(cloud | {"DATASET_PREFIX": "large_"})
    assert {name: len(rows) for name, rows in found.items()} == {
        "changes": 100 * 3,
        "characters": 15,
        "episodes": 120,
        "findings": 50 * 6,
        "loads": 60,
        "locations": 15,
        "pairs": 14,
        "seasons": 60,
        "statuses": 2 * 12 + 2 * 4,
        "verdict": 30,
    }
    totals = {
        name: rows[0]["total_rows"]
        for name, rows in found.items()
        if name not in {"changes", "findings", "verdict"}
    }
    assert totals == {
        "characters": 100_000,
        "episodes": 5_000,
        "loads": 1_000,
        "locations": 10_000,
        "pairs": 100_000,
        "seasons": 500,
        "statuses": 50_000,
    }
    assert len(page.render(found, datetime.now(UTC))) < 2_000_000


def test_empty_marts_are_written_as_a_page(cloud: dict[str, str], tmp_path: Path) -> None:
    """The program writes the page where REPORT_OUTPUT says, makes the folder, and says where it is."""
    output = tmp_path / "made" / "page.html"
    done = report(cloud | {"DATASET_PREFIX": "empty_", "REPORT_OUTPUT": str(output)})
    assert done.returncode == 0, done.stderr
    assert str(output) in done.stderr
    assert "Nothing is loaded yet" in output.read_text()
    assert list(output.parent.iterdir()) == [output]


def test_missing_marts_are_named_and_the_old_page_stays(cloud: dict[str, str], tmp_path: Path) -> None:
    """The message names the dataset and how the marts are built."""
    output = tmp_path / "page.html"
    output.write_text("the old one")
    message = refusal(report(cloud | {"DATASET_PREFIX": "nowhere_"}, "--output", str(output)))
    assert "nowhere_rickandmorty_marts" in message
    assert "dbt-bigquery:build" in message
    assert output.read_text() == "the old one"


def test_a_mart_of_another_shape_is_named(cloud: dict[str, str]) -> None:
    """A table without a column of the page differs from a missing one."""
    client = make("other_")
    client.query("CREATE OR REPLACE TABLE `other_rickandmorty_marts.rpt_loads` AS SELECT 1 AS n").result()
    assert "not those of this page" in refusal(report(cloud | {"DATASET_PREFIX": "other_"}))


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The message names the file and the setting; nothing is left beside it."""
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for output in (tmp_path / "file" / "page.html", tmp_path / "folder"):
        with pytest.raises(ReportError, match=rf"{output} cannot be written: .*REPORT_OUTPUT"):
            cli.write(output, "")
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder"}


def test_two_builds_at_once_each_write_a_whole_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second writes all of its page just before the first puts its own in place; the link to the page stays one."""
    page_file, link = tmp_path / "page.html", tmp_path / "link.html"
    link.symlink_to(page_file)

    replace = pathlib.Path.replace

    def beside(unfinished: Path, target: Path) -> Path:
        monkeypatch.undo()
        cli.write(link, "second")
        return replace(unfinished, target)

    monkeypatch.setattr(pathlib.Path, "replace", beside)
    cli.write(link, "first")
    assert link.is_symlink()
    assert page_file.read_text() == "first"
    assert set(tmp_path.iterdir()) == {page_file, link}


def test_a_pipe_gets_the_page_and_stays_a_pipe(tmp_path: Path) -> None:
    """As `/dev/stdout` does, which root would else have put a file in place of."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    cli.write(pipe, "page")
    assert os.read(reader, 100) == b"page"
    os.close(reader)
    assert pipe.is_fifo()


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"GOOGLE_CLOUD_PROJECT": ""}, "GOOGLE_CLOUD_PROJECT is not set"),
        (
            {"GOOGLE_CLOUD_PROJECT": "any", "GOOGLE_APPLICATION_CREDENTIALS": "/gone.json"},
            "no Google credentials: File /gone.json was not found; run",
        ),
    ],
)
def test_what_is_not_set_up_is_one_line(environment: dict[str, str], message: str) -> None:
    """Without a project there is nowhere to read from, and a key that is not there is named."""
    assert message in refusal(report(os.environ | environment))


def test_a_bigquery_that_does_not_answer_ends_it(
    cloud: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It gives up after its time limit, with what could not be reached."""
    assert cloud
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", "http://127.0.0.1:9")
    monkeypatch.setattr(marts, "SECONDS", 0.5)
    assert cli.main(["build"]) == 1
    message = capsys.readouterr().err
    assert "BigQuery did not answer" in message
    assert "127.0.0.1" in message
