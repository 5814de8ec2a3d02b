"""What `make run` shows of a log: figures, warnings and errors by structure, never by wording."""

import json
import os
import pty
import subprocess
import sys
from typing import Any

import pytest
import requests
from google.auth.credentials import AnonymousCredentials
from run_progress import Progress, clean
from run_summary import query_marts, show_counts, show_problems, show_verdict
from testkit.project_files import ROOT


def point(name: str, metric: str, value: float, *, extractor: bool = True, **tags: Any) -> str:
    """A METRIC line as Meltano's JSON log has it."""
    return json.dumps(
        {
            "name": name,
            "event": "METRIC",
            "level": "info",
            "producer": extractor,
            "consumer": not extractor,
            "metric_info": {"type": "counter", "metric": metric, "value": value, "tags": tags},
        }
    )


def event(status: str, name: str = "one_row_each", **data: Any) -> str:
    """A line of dbt's as Meltano's JSON log has it."""
    finished = {
        "info": {
            "invocation_id": "i-1",
            "level": "info",
            "name": "LogTestResult",
            "msg": "\x1b[33mWARN\x1b[0m 3",
        },
        "data": {"node_info": {"node_name": name, "node_status": status}, "num_models": 75, **data},
    }
    return json.dumps({"name": "dbt-bigquery", "event": json.dumps(finished), "level": "info"})


def test_counts_come_from_the_points_of_tap_and_target() -> None:
    """The API's count, records extracted (given in steps) and rows loaded, each by stream."""
    progress = Progress()
    progress.read(point("tap-x", "source_record_count", 826, stream="characters"))
    progress.read(point("tap-x", "record_count", 800, stream="characters"))
    progress.read(point("tap-x", "record_count", 26, stream="characters"))
    assert progress.phase == "extract: characters 826"
    progress.read(point("target-y", "record_count", 826, extractor=False, stream="characters"))
    shown = progress.read(point("target-y", "rows_loaded", 826, extractor=False, stream="characters"))
    assert shown == ["target-y: characters: 826 rows loaded"]
    assert (progress.source_counts, progress.extracted, progress.loaded) == ({"characters": 826},) * 3


def test_drift_is_a_warning_with_field_and_record() -> None:
    """A schema_drift point is shown as it comes, once, and kept for the end."""
    progress = Progress()
    tags: dict[str, Any] = {"stream": "characters", "field": "status", "record_id": 7}
    tags |= {"kind": "unknown_value", "expected": "Alive, Dead or unknown", "got": "Presumed\x1b[31m dead"}
    line = point("tap-x", "schema_drift", 3, **tags)
    text = "tap-x: characters: status of record 7: unknown value in 3 records, expected Alive, Dead or unknown, got Presumed dead"
    assert progress.read(line) == [f"warning: {text}"]
    assert progress.read(line) == []
    assert progress.warnings == [text]


def test_dbts_nodes_are_counted_and_its_warnings_have_test_and_rows() -> None:
    """The phase counts nodes of all; a warning or failure is shown as it comes, by name and number of rows."""
    progress = Progress()
    info = {"invocation_id": "i-1", "level": "info", "name": "MainReportVersion", "msg": "x"}
    begins = json.dumps({"info": info, "data": {}})
    progress.read(json.dumps({"name": "dbt-bigquery", "event": begins, "level": "info"}))
    assert progress.phase == "dbt reads the project"
    assert progress.read(event("started", "fct_appearances")) == []
    assert progress.phase == "dbt 1 of 75: fct_appearances"
    assert progress.read(event("success", "fct_appearances")) == []
    assert progress.read(event("warn", num_failures=3)) == ["warning: dbt: one_row_each: 3 rows"]
    assert progress.read(event("fail", "is_unique", num_failures=1)) == ["error: dbt: is_unique: 1 row"]
    assert progress.phase == "dbt 3 of 75: is_unique"


def test_the_end_repeats_what_run_results_say_of_this_run_only() -> None:
    """Warnings and failures with rows or dbt's message in one line; beside another run's file, what dbt's events said."""
    results = {
        "metadata": {"invocation_id": "i-1"},
        "results": [
            {
                "unique_id": "test.rickandmorty.is_unique.a1b2",
                "status": "warn",
                "failures": 3,
                "message": "Got 3",
            },
            {
                "unique_id": "model.rickandmorty.dim_x",
                "status": "error",
                "failures": None,
                "message": "No\n  \x1b[31mtable",
            },
            {"unique_id": "model.rickandmorty.dim_y", "status": "success", "failures": None, "message": "ok"},
        ],
    }
    other = Progress(invocation="i-0", dbt_errors=["Compilation Error: no policy"])
    progress = Progress(invocation="i-1")
    other.results(results)
    progress.results(results)
    assert (other.warnings, other.errors) == ([], ["Compilation Error: no policy"])
    assert progress.warnings == ["dbt: is_unique: 3 rows"]
    assert progress.errors == ["dbt: dim_x: No table"]


def test_an_error_of_meltanos_own_is_shown_where_no_part_has_one(capsys: pytest.CaptureFixture[str]) -> None:
    """As where it cannot write its log: "look at the lines above" has a line to look at. Beside a part's error it says nothing more."""
    progress = Progress()
    own = json.dumps({"event": "[Errno 2] No such file or directory: '/nowhere'", "level": "error"})
    assert progress.read(own) == []
    show_problems(progress)
    progress.read(json.dumps({"name": "target-y", "event": "no bucket", "level": "error"}))
    show_problems(progress)
    assert capsys.readouterr().out.splitlines() == [
        "What failed:",
        "  meltano: [Errno 2] No such file or directory: '/nowhere'",
        "What failed:",
        "  target-y: no bucket",
    ]


def test_a_part_that_cannot_start_is_named_with_its_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    """As dbt 1.11 on Python 3.14: a traceback, and of Meltano only that the block has ended."""
    progress = Progress()
    for line in (
        "Traceback (most recent call last):",
        "    raise NotYet(",
        "errors.NotYet: no such Python",
        "",
    ):
        progress.read(json.dumps({"stdio": "stderr", "name": "dbt", "event": line, "level": "info"}))
    progress.read(json.dumps({"event": "Block run completed", "level": "error"}))
    show_problems(progress)
    shown = ["What failed:", "  dbt: errors.NotYet: no such Python", "  meltano: Block run completed"]
    assert capsys.readouterr().out.splitlines() == shown


def test_an_error_of_a_plugin_is_shown_once_without_controls() -> None:
    """A repeated error is one line."""
    progress = Progress()
    line = json.dumps(
        {"name": "target-y", "event": "\x1b[1mno bucket\x1b[0m\n", "level": "error", "consumer": True}
    )
    assert progress.read(line) == ["error: target-y: no bucket"]
    assert progress.read(line) == []


@pytest.mark.parametrize(
    "line", ["", "{", "[]", "3", '"text"', "Traceback (most recent call last):", '{"event": "{"}']
)
def test_a_line_of_another_form_is_kept_in_the_log_only(line: str) -> None:
    """Only a JSON object of Meltano's is read."""
    assert Progress().read(line) == []


def test_controls_of_a_terminal_are_gone() -> None:
    """Colours, titles, bells and returns."""
    assert clean("\x1b]0;title\x07a\x1b[2Kb\r\n \x1b[38;5;1mc\x08\x7f") == "ab c"


def test_a_warehouse_that_is_gone_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Google's client would ask a BigQuery that no longer runs on this machine for ten minutes."""
    monkeypatch.setattr("google.auth.default", lambda **_: (AnonymousCredentials(), "local-project"))
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", "http://127.0.0.1:9")
    monkeypatch.setenv("DATASET_PREFIX", "local_")
    with pytest.raises(requests.ConnectionError):
        query_marts("SELECT 1")


FOLLOW = """
import io, queue, run_meltano, run_progress
progress = run_progress.Progress(phase="dbt 31 of 75: fct_appearances")
lines = queue.Queue()
lines.put("a line\\n")
lines.put(None)
run_meltano.follow(lines, progress, io.StringIO())
"""


def test_a_terminal_that_does_not_know_its_width_shows_the_whole_phase() -> None:
    """As `script` and many runners of CI give it: no columns and no rows."""
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
    subprocess.run(
        [sys.executable, "-c", FOLLOW], check=True, cwd=ROOT / "scripts", env=environment, stdout=theirs
    )
    os.close(theirs)
    assert b"  dbt 31 of 75: fct_appearances" in os.read(ours, 10_000)


@pytest.mark.parametrize(
    ("statuses", "word", "lines"),
    [(["pass", "pass"], "pass", 1), (["pass", "warn"], "warn", 2), (["fail", "warn", "ignore"], "fail", 3)],
)
def test_the_verdict_is_said_in_words(
    capfdbinary: pytest.CaptureFixture[bytes], statuses: list[str], word: str, lines: int
) -> None:
    """The worst status, how many checks of each, and a line for each that did not pass."""
    checks = [{"status": s, "message": "characters: drop: expected 826,\n got 0"} for s in statuses]
    assert show_verdict(checks) == word
    output = capfdbinary.readouterr().out.decode().splitlines()
    assert output[0].startswith(f"Verdict: {word} ({len(checks)} checks: ")
    assert len(output) == lines
    assert all(line.endswith(": characters: drop: expected 826, got 0") for line in output[1:])


@pytest.mark.parametrize(
    ("replication", "loaded", "mart", "equal"),
    [
        ("incremental", 3, 1050, True),
        ("incremental", 2, 1050, False),
        ("incremental", 0, 1050, False),
        ("full", 3, 3, True),
        ("full", 3, 1050, False),
    ],
    ids=["delta", "delta-that-lost-one", "delta-that-lost-all", "version", "version-unlike-its-mart"],
)
def test_a_delta_is_not_compared_with_its_mart(
    capfdbinary: pytest.CaptureFixture[bytes], replication: str, loaded: int, mart: int, *, equal: bool
) -> None:
    """Three records came: the mart holds as many after a whole version, and any number after a delta."""
    progress = Progress(extracted={"issues": 3})
    row = {"entity": "issues", "replication": replication, "row_count": loaded, "landed_row_count": loaded}
    assert show_counts([{**row, "mart_row_count": mart, "seconds": 1.0}], progress) is equal
    assert (b"<- differ" in capfdbinary.readouterr().out) is not equal
