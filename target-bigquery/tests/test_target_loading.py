"""What the target loads, and what it refuses to: run as a process on the local Cloud Storage and BigQuery."""

import json
import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.cloud import bigquery
from singer_sdk.exceptions import ConfigValidationError
from target_bigquery import ledger
from target_bigquery.landing import CHUNK
from target_bigquery.target import TargetBigQuery
from testkit.programs import run as run_program
from testkit.target_bench import SCHEMA, STATE, Bench, record, refused, succeeded, whole

from testkit import warm


def test_a_whole_version_is_loaded_as_it_was_sent(bench: Bench) -> None:
    """Nested values, arrays and times are in the table, metadata beside them; the ledger has the run; STATE goes out."""
    bench.env = {**bench.env, "MELTANO_EXTRACTOR_NAME": "tap-things"}
    source = "https://things.example"
    run = succeeded(bench.load(SCHEMA, record(1), record(2, name=None), whole(), STATE, source=source))
    assert json.loads(run.stdout) == STATE["value"]
    first, second = sorted(bench.rows(), key=lambda r: r["id"])
    assert (first["name"], first["origin"], first["links"]) == ("Ünna", {"url": "u"}, ["a", "b"])
    assert first["created"].isoformat() == "2026-01-01T00:00:00+00:00"
    assert second["name"] is None
    assert (first["_sdc_run_id"], first["_sdc_table_version"]) == (bench.run_id, 1)
    assert first["_sdc_batched_at"] == second["_sdc_batched_at"]
    table = bench.owner().get_table(f"{bench.dataset}.things")
    assert table.time_partitioning.field == "_sdc_batched_at"
    assert table.clustering_fields == ["id"]
    assert table.schema[0].description == "Number of the thing."
    (row,) = bench.rows("_loads")
    assert (row["run_id"], row["stream"], row["rows"], row["parts"]) == (bench.run_id, "things", 2, 1)
    assert (row["proof"], row["replication"], row["source"], row["extractor"]) == (
        "tap", "full", source, "tap-things"
    )  # fmt: skip
    assert (row["retracted_at"], row["retraction_reason"]) == (None, None)


def points(run: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    """Return the METRIC points of a run, by name."""
    lines = [line.partition("METRIC: ")[2] for line in run.stderr.splitlines() if "METRIC: " in line]
    return {point["metric"]: point for point in map(json.loads, lines)}


def test_the_figures_of_a_version_are_metric_points(bench: Bench) -> None:
    """Records, rows, bytes and seconds, with run, version, job and proof as tags; under the same run id again, nothing is loaded."""
    run = bench.load(SCHEMA, record(1), record(2), whole(), STATE)
    first = points(run)
    assert [first[name]["value"] for name in ("record_count", "rows_loaded")] == [2, 2]
    assert first["bytes_staged"]["value"] > 0
    (ledger_row,) = bench.rows("_loads")
    for name, kind in (("rows_loaded", "counter"), ("bytes_staged", "counter"), ("load_duration", "timer")):
        assert first[name]["type"] == kind
        assert first[name]["tags"] == {
            "stream": "things",
            "run_id": bench.run_id,
            "table_version": 1,
            "job_id": ledger_row["job_id"],
            "proof": "tap",
            "loaded_before": "false",
        }
    again = bench.load(SCHEMA, record(2, 2), record(1, 2), whole(2), STATE)
    assert "is loaded already, 2 rows" in again.stderr
    rows_loaded = points(again)["rows_loaded"]
    assert (rows_loaded["value"], rows_loaded["tags"]["loaded_before"]) == (2, "true")
    assert (len(bench.rows()), len(bench.rows("_loads"))) == (2, 1)


def test_an_empty_whole_stream_is_in_the_ledger_with_no_rows(bench: Bench) -> None:
    """ACTIVATE_VERSION without records succeeds, and the ledger has 0 rows."""
    succeeded(bench.load(SCHEMA, whole(), STATE))
    assert bench.rows() == []
    assert [r["rows"] for r in bench.rows("_loads")] == [0]


def test_a_missing_table_is_refused_with_create_tables_off(bench: Bench) -> None:
    """The line names the table and what creates it."""
    refused(
        bench.load(SCHEMA, record(1), whole(), create_tables="false"), "things does not exist", "Terraform"
    )


def test_a_large_part_is_sent_in_chunks(bench: Bench) -> None:
    """A part of several upload chunks arrives whole, its checksum verified."""
    texts = [secrets.token_hex(1 << 20) for _ in range(5)]
    succeeded(bench.load(SCHEMA, *(record(n, name=text) for n, text in enumerate(texts)), whole()))
    (ledger,) = bench.rows("_loads")
    assert ledger["parts"] == 1
    assert ledger["bytes"] > CHUNK
    assert {row["id"]: row["name"] for row in bench.rows()} == dict(enumerate(texts))


def test_blank_settings_count_as_absent(bench: Bench) -> None:
    """A setting without a value, as in a .env that is not filled in, has its default; a fraction is read."""
    succeeded(
        bench.load(
            SCHEMA, record(1), whole(), location="", load_method="", staging_dataset="", timeout_seconds=" "
        )
    )
    assert [row["method"] for row in bench.rows("_loads")] == ["append-only"]


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("timeout_seconds", "1e3", "timeout_seconds: '1e3' is not of type 'integer'"),
        ("load_every_minutes", "soon", "load_every_minutes: 'soon' is not of type 'number'"),
        ("create_tables", "maybe", "create_tables: 'maybe' is not of type 'boolean'"),
        ("stream_maps", "{bad", "stream_maps: '{bad' is not of type 'object'"),
        ("load_method", "merge", "'merge' is not one of"),
        ("load_metod", "overwrite", "TARGET_BIGQUERY_LOAD_METOD: the target has no such setting"),
        ("run_id", "../x", "run_id is '../x'"),
        ("dataset", "no-such-name!", "'no-such-name!' does not match"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(bench: Bench, name: str, value: str, named: str) -> None:
    """The value and what was expected are in a line; nothing is loaded."""
    run = bench.load(SCHEMA, record(1), whole(), STATE, **{name: value})
    assert run.returncode == 1
    assert named in run.stderr
    assert not [word for word in ("unexpected", "Traceback") if word in run.stderr]
    assert run.stdout == ""


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{bad", "config.json: expected a file with a JSON object"),
        ("[1]", "config.json: expected a file with a JSON object"),
        # Pairs, and none of them, are what Python would add to a dict.
        ("[]", "config.json: expected a file with a JSON object"),
        # Not left out: what it is misspelt for would have its default.
        ('{"dataset": "d", "bucket": "landing", "load_metod": "overwrite"}', "'load_metod' was unexpected"),
    ],
)
def test_a_file_of_settings_that_cannot_be_used_is_named(tmp_path: Path, text: str, named: str) -> None:
    """The line says which file or setting, and what was expected; no traceback."""
    file = tmp_path / "config.json"
    file.write_text(text)
    done = run_program(*warm.command("target_bigquery", "--config", str(file)), stdin="")
    assert done.returncode != 0
    assert named in done.stderr
    assert "Traceback" not in done.stderr


def test_settings_of_a_dotenv_file_are_checked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK reads one: a blank setting counts as absent there, and what cannot be read is named."""
    file = tmp_path / ".env"
    prefix = "TARGET_BIGQUERY_"
    file.write_text(f"{prefix}LOCATION=\n{prefix}CREATE_TABLES=maybe\n{prefix}LOAD_METOD=overwrite\n")
    monkeypatch.setattr(os, "environ", os.environ.copy())
    for module in ("dotenv.main", "singer_sdk.configuration._dict_config"):
        monkeypatch.setattr(f"{module}.find_dotenv", lambda: str(file))
    with pytest.raises(ConfigValidationError) as error:
        TargetBigQuery(config={"dataset": "d", "bucket": "landing"}, parse_env_config=True)
    assert error.value.errors == [
        "create_tables: 'maybe' is not of type 'boolean'",
        "TARGET_BIGQUERY_LOAD_METOD: the target has no such setting",
    ]


def test_input_is_utf_8_whatever_the_locale(bench: Bench) -> None:
    """No letter becomes two."""
    text = "".join(f"{json.dumps(message, ensure_ascii=False)}\n" for message in (SCHEMA, record(1), whole()))
    environment = {**bench.environment(), "PYTHONIOENCODING": "latin-1"}
    succeeded(
        run_program(sys.executable, "-m", "target_bigquery", "--config=ENV", stdin=text, env=environment)
    )
    assert [row["name"] for row in bench.rows()] == ["Ünna"]


def test_sigterm_loads_nothing(bench: Bench) -> None:
    """A signal ends the target without loading what is not whole, and a line says so."""
    with bench.start(SCHEMA, record(1)) as process:
        bench.await_table()
        process.send_signal(signal.SIGTERM)
        # Its input stays open until it has ended: at the end of the input it would end by itself.
        process.wait()
        out, err = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM, err
    assert out == ""
    assert "ended by SIGTERM; what was not whole is not loaded" in err
    assert bench.rows() == []


def test_sigterm_ends_the_target_though_nobody_reads_its_log(bench: Bench) -> None:
    """Meltano may be dead already."""
    with bench.start(SCHEMA, record(1)) as process:
        bench.await_table()
        assert process.stderr is not None
        process.stderr.close()
        process.terminate()
        assert process.wait() == 128 + signal.SIGTERM


def test_two_datasets_of_one_run_share_a_bucket(bench: Bench) -> None:
    """Each has its own records: what the run loads into one says nothing of the other."""
    other = Bench(bench.env, run_id=bench.run_id)
    other.owner().create_dataset(other.dataset)
    for number, target in enumerate((bench, other)):
        succeeded(target.load(SCHEMA, record(number, None), STATE))
    assert [[row["id"] for row in target.rows()] for target in (bench, other)] == [[0], [1]]


def test_an_older_ledger_gets_the_columns_it_lacks(bench: Bench) -> None:
    """Its rows stay, and have no value there."""
    client = bench.owner()
    older = [field for field in ledger.FIELDS if field.name not in {"proof", "source", "retracted_at"}]
    client.create_table(bigquery.Table(f"{client.project}.{bench.dataset}._loads", schema=older))
    assert bench.load(SCHEMA, record(1), whole(), STATE).returncode == 0
    (row,) = bench.rows("_loads")
    assert row["proof"] == "tap"
