"""What the target loads, and what it refuses to: run as a process on the local Cloud Storage and BigQuery."""

from __future__ import annotations

import json
import secrets
import signal
from typing import TYPE_CHECKING, Any

import pytest
from google.cloud import bigquery
from target_bigquery import ledger
from testkit.target_bench import SCHEMA, STATE, Bench, record, refused, schema, whole

if TYPE_CHECKING:
    import subprocess


def test_a_whole_version_is_loaded_as_it_was_sent(bench: Bench) -> None:
    """Nested values, arrays and times are in the table; metadata and the run id are beside them; STATE goes out."""
    run = bench.load(SCHEMA, record(1), record(2, name=None), whole(), STATE)
    assert run.returncode == 0, run.stderr
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
    (ledger,) = bench.rows("_loads")
    assert (ledger["run_id"], ledger["stream"], ledger["rows"], ledger["parts"]) == (
        bench.run_id,
        "things",
        2,
        1,
    )


def points(run: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    """The METRIC points of a run, by name."""
    lines = [line.partition("METRIC: ")[2] for line in run.stderr.splitlines() if "METRIC: " in line]
    return {point["metric"]: point for point in map(json.loads, lines)}


def test_the_figures_of_a_version_are_metric_points(bench: Bench) -> None:
    """Records, rows, bytes and seconds, with the run, the version, the job and the proof as tags."""
    run = bench.load(SCHEMA, record(1), record(2), whole(), STATE)
    found = points(run)
    assert [found[name]["value"] for name in ("record_count", "rows_loaded")] == [2, 2]
    assert found["bytes_staged"]["value"] > 0
    (ledger_row,) = bench.rows("_loads")
    for name, kind in (("rows_loaded", "counter"), ("bytes_staged", "counter"), ("load_duration", "timer")):
        assert found[name]["type"] == kind
        assert found[name]["tags"] == {
            "stream": "things",
            "run_id": bench.run_id,
            "table_version": 1,
            "job_id": ledger_row["job_id"],
            "proof": "tap",
            "loaded_before": "false",
        }
    again = points(bench.load(SCHEMA, record(1), record(2), whole(), STATE))
    assert (again["rows_loaded"]["value"], again["rows_loaded"]["tags"]["loaded_before"]) == (2, "true")


def test_the_same_run_id_twice_is_loaded_once(bench: Bench) -> None:
    """A repeated run finds the same rows loaded, says so, ends well, and changes neither table nor ledger."""
    bench.load(SCHEMA, record(1), record(2), whole(1), STATE)
    again = bench.load(SCHEMA, record(2, 2), record(1, 2), whole(2), STATE)
    assert again.returncode == 0, again.stderr
    assert "is loaded already, 2 rows" in again.stderr
    assert len(bench.rows()) == 2
    assert len(bench.rows("_loads")) == 1


def test_another_run_id_appends(bench: Bench) -> None:
    """The next run adds its version; the rows of the first stay."""
    bench.load(SCHEMA, record(1), whole(1))
    bench.run_id = "next-run"
    assert bench.load(SCHEMA, record(1, 2), whole(2)).returncode == 0
    assert sorted(r["_sdc_table_version"] for r in bench.rows()) == [1, 2]


def test_a_version_that_is_not_whole_is_not_loaded(bench: Bench) -> None:
    """Without ACTIVATE_VERSION the run fails, names stream and count, lets no STATE out and loads nothing."""
    run = bench.load(SCHEMA, record(1), record(2), STATE)
    refused(run, "things: 2 records staged, stream not complete, nothing loaded")
    assert bench.rows() == []


def test_a_newer_version_replaces_one_that_was_never_whole(bench: Bench) -> None:
    """When the tap reads again, only the version it says is whole is loaded."""
    run = bench.load(SCHEMA, record(1, 1), record(2, 1), record(1, 2), whole(2))
    assert run.returncode == 0, run.stderr
    assert [(r["id"], r["_sdc_table_version"]) for r in bench.rows()] == [(1, 2)]


def test_streams_without_versions_load_at_the_end_of_input(bench: Bench) -> None:
    """Another tap's records, with no version or one announced before them, are loaded when the input ends."""
    assert bench.load(SCHEMA, record(1, None)).returncode == 0
    bench.run_id = "announced"
    assert bench.load(SCHEMA, whole(7), record(2, 7)).returncode == 0
    assert sorted(r["id"] for r in bench.rows()) == [1, 2]


def test_an_empty_whole_stream_is_in_the_ledger_with_no_rows(bench: Bench) -> None:
    """ACTIVATE_VERSION without records ends well, and the ledger tells 0 rows."""
    run = bench.load(SCHEMA, whole(), STATE)
    assert run.returncode == 0, run.stderr
    assert bench.rows() == []
    assert [r["rows"] for r in bench.rows("_loads")] == [0]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "unknown-field": ({"planet": "x"}, "field planet: not in the stream's schema"),
    "unknown-nested-field": ({"origin": {"name": "x"}}, "field origin.name: not in the stream's schema"),
    "text-for-an-array": ({"links": "a"}, "field links: expected an array"),
    "null-in-an-array": ({"links": [None]}, "field links[0]: expected STRING"),
    "number-for-text": ({"name": 5}, "field name: expected STRING, got int '5'"),
    "bad-date": ({"created": "soon"}, "field created: expected a TIMESTAMP"),
    "year-10000": ({"created": "10000-01-01T00:00:00Z"}, "field created: expected a TIMESTAMP"),
    "no-key": ({"id": None}, "a record lacks its key id"),
}


@pytest.mark.parametrize(("change", "said"), BAD.values(), ids=BAD.keys())
def test_a_value_that_does_not_fit_ends_the_run(bench: Bench, change: dict[str, Any], said: str) -> None:
    """The line names stream, record, field, expected and got; nothing is loaded, no STATE goes out."""
    run = bench.load(SCHEMA, record(1), record(2, **change), whole(), STATE)
    refused(run, "things: ", said)
    assert bench.rows() == []


def test_an_integer_beyond_64_bits_is_refused(bench: Bench) -> None:
    """A key of 2^63 is named, not cut."""
    refused(bench.load(SCHEMA, record(2**63), whole()), "field id: expected a whole number of 64 bits")


def test_a_column_of_another_type_is_refused_before_loading(bench: Bench) -> None:
    """The line names column, old and new type; the table is as it was."""
    bench.load(SCHEMA, record(1), whole())
    bench.run_id = "changed"
    run = bench.load(schema(name={"type": "integer"}), record(2, 2, name=5), whole(2), STATE)
    refused(run, "column name is NULLABLE STRING in the table, the stream sends NULLABLE INTEGER")
    assert [r["id"] for r in bench.rows()] == [1]


def test_a_new_column_is_added(bench: Bench) -> None:
    """A field that the schema gains becomes a column; older rows have no value there."""
    bench.load(SCHEMA, record(1), whole())
    bench.run_id = "wider"
    run = bench.load(schema(planet={"type": "string"}), record(2, 2, planet="Mars"), whole(2))
    assert run.returncode == 0, run.stderr
    assert {r["id"]: r["planet"] for r in bench.rows()} == {1: None, 2: "Mars"}


def test_a_missing_table_is_refused_where_it_is_not_the_targets_to_make(bench: Bench) -> None:
    """With create_tables off the line names table and what makes it."""
    refused(bench.load(SCHEMA, record(1), whole(), create_tables="false"), "things is not there", "Terraform")


def test_a_large_part_is_sent_in_chunks(bench: Bench) -> None:
    """A part of several upload chunks arrives whole, its checksum verified."""
    texts = [secrets.token_hex(1 << 20) for _ in range(10)]
    run = bench.load(SCHEMA, *(record(n, name=text) for n, text in enumerate(texts)), whole())
    assert run.returncode == 0, run.stderr
    (ledger,) = bench.rows("_loads")
    assert ledger["parts"] == 1
    assert ledger["bytes"] > 8 << 20
    assert {row["id"]: row["name"] for row in bench.rows()} == dict(enumerate(texts))


def test_a_missing_bucket_is_one_line(bench: Bench) -> None:
    """The line names object and bucket; nothing is loaded and no STATE goes out."""
    refused(
        bench.load(SCHEMA, record(1), whole(), STATE, bucket="no-such-bucket"),
        "bucket no-such-bucket is not there",
    )
    assert bench.rows() == []


def test_bad_settings_are_one_line_each(bench: Bench) -> None:
    """A run id with other characters, and a missing dataset, are named."""
    refused(bench.load(SCHEMA, record(1), whole(), run_id="../x"), "run_id is '../x'")
    run = bench.load(SCHEMA, dataset="no-such-name!")
    assert run.returncode == 1
    assert "does not match" in run.stderr
    assert "Traceback" not in run.stderr


def test_missing_credentials_are_one_line(bench: Bench) -> None:
    """The line names the way to get Application Default Credentials."""
    bench.env = {**bench.env, "GOOGLE_APPLICATION_CREDENTIALS": "/no/such/file.json"}
    refused(
        bench.load(SCHEMA, record(1), whole(), STATE), "no Application Default Credentials", "gcloud auth"
    )


def test_sigterm_loads_nothing(bench: Bench) -> None:
    """Ended by a signal, the target loads nothing of what was not whole, and says so."""
    with bench.start(SCHEMA, record(1)) as process:
        bench.await_table()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=10)
    assert process.returncode == 128 + signal.SIGTERM
    assert out == ""
    assert "ended by SIGTERM; what was not whole is not loaded" in err
    assert bench.rows() == []


def test_the_ledger_says_what_the_version_rests_on(bench: Bench) -> None:
    """Proof, replication, source and extractor are in the row; nobody has retracted it."""
    bench.env = {**bench.env, "MELTANO_EXTRACTOR_NAME": "tap-things"}
    run = bench.load(SCHEMA, record(1), whole(), STATE, source="https://things.example")
    assert run.returncode == 0, run.stderr
    (row,) = bench.rows("_loads")
    said = ("proof", "replication", "source", "extractor", "retracted_at", "retraction_reason")
    assert [row[name] for name in said] == [
        "tap", "full", "https://things.example", "tap-things", None, None
    ]  # fmt: skip


def test_an_older_ledger_gets_the_columns_it_lacks(bench: Bench) -> None:
    """Its rows stay, and have no value there."""
    client = bench.owner()
    older = [field for field in ledger.FIELDS if field.name not in {"proof", "source", "retracted_at"}]
    client.create_table(bigquery.Table(f"{client.project}.{bench.dataset}._loads", schema=older))
    assert bench.load(SCHEMA, record(1), whole(), STATE).returncode == 0
    (row,) = bench.rows("_loads")
    assert row["proof"] == "tap"
