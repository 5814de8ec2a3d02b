"""`meltano-job`, the program of the image, with a Meltano stood in for: the figures and the result that it leaves, and what is no success."""

import json
import uuid
from typing import Any

import pytest
from google_batch import GoogleBatch
from meltano_stand_in import BLOCK, MANIFEST, PROGRAMS, Meltano, loaded, point, results
from testkit.programs import foreign

# --- figures and the result -----------------------------------------------------------------------------------------


def test_figures_are_points_and_sentences_mean_nothing(meltano: Meltano) -> None:
    """A stream with a hyphen, two versions, a load that was done before; what sentences claim is not believed."""
    claimed = "my-stream: 999999 rows staged in 1 part (9 kB), loaded by job nobody, 9.9 s"
    meltano.says(
        {"event": claimed, "level": "info"},
        # What a tap prints is not the program's own report.
        '::{"outputs":{"rows":999999}}::',
        {"event": '::{"outputs":{"rows":999999}}::', "level": "info", "string_id": "tap"},
        loaded("rows_loaded", 420, "1"),
        loaded("bytes_staged", 48123, "1"),
        loaded("rows_loaded", 6, "2", before="true"),
        point("schema_drift", 3, "my-stream", kind="new_field"),
        point("source_record_count", 426, "my-stream"),
    )
    done = meltano.run()
    assert done.status == 0
    assert [done.outputs[name] for name in ("rows", "bytes", "drift")] == [426, 48123, 3]
    assert done.outputs["streams"] == {
        "my-stream": {
            "rows": 426,
            "bytes": 48123,
            "load_job": "l_2",
            "proof": "tap",
            "loaded_before": True,
            "table_version": "2",
            "source_records": 426,
        }
    }


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999", "null", '"51"', "9" * 400])
def test_a_point_of_no_number_leaves_the_result_whole(meltano: Meltano, value: str) -> None:
    """Another target's point: the outputs stay JSON that Kestra reads, and the job's status is Meltano's."""
    info = json.dumps(loaded("rows_loaded", 0, "1")).replace(": 0,", f": {value},")
    meltano.says(
        info, info.replace("rows_loaded", "schema_drift"), "[" * 50_000, loaded("bytes_staged", 9.0, "2")
    )
    done = meltano.run()
    assert done.status == 0
    assert "rows" not in done.outputs
    assert done.outputs["bytes"] == 9


def test_a_second_attempt_counts_nothing_twice(meltano: Meltano) -> None:
    """What the first attempt loaded, and the second finds loaded, is one load; drift that both met is met once."""
    meltano.says(
        point("rows_loaded", 51, "episodes", table_version="1", job_id="l", proof="tap"),
        point("schema_drift", 3, "episodes", kind="new_field"),
        status=1,
    )
    done = meltano.run(ATTEMPTS="3")
    assert done.status == 1
    assert meltano.runs == 3
    assert (done.outputs["rows"], done.outputs["drift"]) == (51, 3)
    (error,) = done.at("ERROR")
    assert error == "job episode: failed with status 1 after 3 attempts; nothing has landed in half"


def test_the_result_lies_in_the_landing_bucket(meltano: Meltano, batch: GoogleBatch) -> None:
    """Run, job, state, attempts, figures, dbt's nodes: as JSON, under the run's id."""
    run_id = str(uuid.uuid4())
    environment = {"TARGET_BIGQUERY_BUCKET": "a-landing", "STORAGE_EMULATOR_HOST": batch.url}
    given = {"ENVIRONMENT": json.dumps(environment), "MELTANO_RUN_ID": run_id}
    meltano.says(
        target=results({"model.p.dim_episodes": "success", "test.p.t.1": "warn", "exposure.p.page": "no-op"})
    )
    done = meltano.run("dbt", **given)
    assert done.status == 0
    name = f"a-landing/_results/run_id={run_id}/dbt.json"
    assert done.outputs["result"] == f"gs://{name}"
    result = json.loads(batch.objects[name])
    ended = [result[key] for key in ("run_id", "job", "state", "status")]
    assert ended == [run_id, "dbt", "success", 0]
    assert result["dbt"] == {"passed": 1, "warned": 1, "failed": 0, "skipped": 0}
    assert result["nodes"][0]["name"] == "dim_episodes"
    assert len(result["attempts"]) == 1
    # As after a Restart.
    meltano.says(status=1)
    assert meltano.run("dbt", **given).status == 1
    assert json.loads(batch.objects[name])["state"] == "failed"


def test_a_line_of_any_kind_is_passed_on_whole(meltano: Meltano) -> None:
    """Docker and Cloud Logging would cut a long one; bytes that are no text, and a line without an end, end nothing."""
    long = "".join(f"{number};😀" for number in range(10_000))
    meltano.says(long)
    with (meltano.folder / "log").open("ab") as log:
        log.write(b"\na\rb\377\0c\nthe end")
    done = meltano.run()
    assert done.status == 0
    *parts, _, a, b, end = done.at("INFO")
    assert max(len(json.dumps(part)) for part in parts) < 16_000
    assert "".join(parts) == long
    assert (a, b, end) == ("a", "b\ufffd\0c", "the end")


PRINTED = {"type": "counter", "metric": "record_count", "value": 2, "tags": {"stream": "lines"}}


@pytest.mark.parametrize(
    ("lines", "ran", "said"),
    [
        ([{"event": "No valid blocks found.", "level": "info"}], False, "ERROR"),
        # A plugin's line, whatever it has.
        ([BLOCK | {"success": True, "string_id": "tap"}], False, "ERROR"),
        ([], True, "WARN"),
        # A job of commands alone, as `report:build`: nobody expects records.
        ([{"block_type": "InvokerCommand", "success": True}], False, "INFO"),
        ([{"event": f"METRIC: {json.dumps(PRINTED)}", "string_id": "tap-jsonl"}], True, "INFO"),
        ([{"event": f"INFO METRIC: {json.dumps(PRINTED)}", "string_id": "tap-csv"}], True, "INFO"),
        ([{"event": "METRIC", "metric_info": PRINTED}], True, "INFO"),
        ([point("source_record_count", 2, "lines")], True, "INFO"),
    ],
    ids=[
        "an empty job",
        "a fake",
        "no record",
        "a command",
        "an SDK's tap",
        "singer-python's tap",
        "a target",
        "our tap",
    ],
)
def test_doing_nothing_is_no_success(meltano: Meltano, lines: list[Any], said: str, *, ran: bool) -> None:
    """Exit status 0 without a block that ended well fails; where no other project's plugin has reported a record, that is a warning."""
    meltano.says(*lines, ran=ran)
    done = meltano.run()
    assert done.status == (1 if said == "ERROR" else 0)
    assert ("ran nothing" in "".join(done.at("ERROR"))) == (said == "ERROR")
    assert ("reported a record" in "".join(done.at("WARN"))) == (said == "WARN")
    # Rows that no target has reported are unknown, not none.
    assert "rows" not in done.outputs


def test_the_metrics_of_a_big_dbt_project_come_whole(meltano: Meltano) -> None:
    """Docker cuts a line at 16 KB, and its parts are no frames: each metric has a line of its own, before the outputs."""
    models = {f"model.p.a_model_with_a_name_of_usual_length_{number}": "success" for number in range(200)}
    meltano.says(target=results(models))
    with meltano.start("dbt") as process:
        output, _ = process.communicate()
    *metrics, outputs = [line for line in output.splitlines() if '"models":' in line or '"metrics":' in line]
    assert outputs.startswith('::{"outputs":{')
    assert sum(line.count('"name":"dbt.model"') for line in metrics) == len(models)
    assert max(map(len, metrics)) < 16_000


# Whatever the client raises: nobody listens at that port, and the second is no bucket's name.
@pytest.mark.parametrize("bucket", [pytest.param("a-landing", marks=pytest.mark.slow), "_/x"])
def test_a_result_that_cannot_be_written_is_a_warning(meltano: Meltano, bucket: str) -> None:
    """The job has done what it was asked for: its exit status stays 0."""
    done = meltano.run(TARGET_BIGQUERY_BUCKET=bucket, STORAGE_EMULATOR_HOST="http://127.0.0.1:9")
    assert done.status == 0
    (warning,) = [message for message in done.at("WARN") if "result" in message]
    assert f"gs://{bucket}/_results/run_id=" in warning
    assert done.outputs["rows"] == 51


@pytest.mark.parametrize("job", ["none", pytest.param("lines", marks=pytest.mark.slow)])
def test_meltano_itself_reports_what_it_ran(meltano: Meltano, job: str) -> None:
    """A job without tasks, which Meltano ends with 0, fails; one of another project's tap and target succeeds without a warning."""
    lines = meltano.folder / "lines.jsonl"
    lines.write_text('{"id": 1}\n')
    config = {"path": str(lines), "stream_name": "lines", "primary_keys": ["id"], "destination_path": "."}
    tap, target = (
        # Nobody asks for the programs of a job that names no plugin.
        {"name": n, "namespace": n, "executable": str(foreign(n)) if job == "lines" else n, "config": config}
        for n in ("tap-jsonl", "target-jsonl")
    )
    project = {
        "default_environment": "here",
        "environments": [{"name": "here"}],
        "plugins": {"extractors": [tap], "loaders": [target]},
        "jobs": [{"name": "none", "tasks": [[]]}, {"name": "lines", "tasks": ["tap-jsonl target-jsonl"]}],
    }
    (meltano.folder / "meltano.yml").write_text(json.dumps(project))
    done = meltano.run(
        job, MELTANO=str(PROGRAMS / "meltano"), MELTANO_PROJECT=str(meltano.folder), ATTEMPTS="1"
    )
    wrong = [(level, line) for level, line in done.lines if level != "INFO"]
    if job == "lines":
        assert (done.status, wrong) == (0, []), done.lines
    else:
        ((level, line),) = wrong
        assert (done.status, level) == (1, "ERROR")
        assert "ran nothing" in line


# --- dbt ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selection", "wrong", "near"),
    [
        ("staging.landing_dataset.*", "staging.landing_dataset.*", "staging.*"),
        ("dim_episode", "dim_episode", "dim_episodes"),
        ("tag:mart+", "tag:mart+", "tag:marts"),
        ("dim_episodes typo", "typo", "stg_episodes"),
    ],
)
def test_a_selection_that_selects_nothing_fails_with_what_is_near(
    meltano: Meltano, selection: str, wrong: str, near: str
) -> None:
    """Dbt ends before it builds; the line names the word that is wrong and what it could have been. dbt is not run again."""
    meltano.says("dbt says something", status=2, target={"manifest.json": MANIFEST})
    done = meltano.run("dbt", DBT_SELECT=selection, ATTEMPTS="3")
    assert done.status == 2
    assert meltano.runs == 1
    (error,) = done.at("ERROR")
    assert f"dbt_select_pattern: '{wrong}' matches nothing" in error
    assert near in error


NOTHING = "dbt ended with status 0 and built nothing"
UNKNOWN = "and left no results; its lines above say why"
GOOD = results({"model.p.dim_episodes": "success", "test.p.t.1": "pass"})


@pytest.mark.parametrize(
    ("target", "status", "message"),
    [
        ({"manifest.json": MANIFEST}, 0, NOTHING),
        (results({}), 0, NOTHING),
        (results({"exposure.p.page": "no-op"}), 0, NOTHING),
        (results({"operation.p.p-on-run-start-0": "success", "model.p.m": "skipped"}), 0, NOTHING),
        (results({"model.p.dim_episodes": "error"}), 0, "1 of 1 nodes failed: "),
        ({"run_results.json": {"nothing": 1}}, 0, "expected dbt's run results"),
        ({"run_results.json": '{"results": [{"unique_id": '}, 0, "expected dbt's run results"),
        (GOOD, 1, "dbt ended with status 1 after 2 nodes, none of which failed; its lines above say why"),
        # Killed, as for memory: what it had built by then nobody has written down.
        ({"manifest.json": MANIFEST}, 137, f"dbt ended with status 137 {UNKNOWN}"),
        ({}, 2, f"dbt ended with status 2 {UNKNOWN}"),
        ({}, 0, f"dbt ended with status 0 {UNKNOWN}"),
    ],
    ids=[
        *("no results", "empty", "an exposure", "a hook", "a failed node", "of another form", "half a file"),
        *("a later fault", "killed", "a wrong project", "not even a manifest"),
    ],
)
def test_a_build_that_built_nothing_or_failed_later_is_no_success(
    meltano: Meltano, target: dict[str, Any], status: int, message: str
) -> None:
    """One line says what is known, whatever dbt's exit status; a selection of what is there is not blamed for a fault."""
    meltano.says(target=target, status=status)
    done = meltano.run("dbt", DBT_SELECT="dim_episodes")
    assert done.status == (status or 1)
    (error,) = done.at("ERROR")
    assert message in error


def test_run_id_and_dbts_folder_are_the_programs_own(meltano: Meltano) -> None:
    """A UUID in capitals is the same run; dbt writes its results, and they are found, whatever the settings say."""
    run_id = "6F1C2E9A-0000-4000-8000-000000000001"
    meltano.says(target=results({"model.p.dim_episodes": "success"}))
    done = meltano.run("dbt", MELTANO_RUN_ID=run_id, ENVIRONMENT='{"DBT_TARGET_PATH": "target"}')
    assert done.status == 0
    assert done.outputs["dbt"]["passed"] == 1
    meltano.becomes('#!/bin/sh\necho "$MELTANO_RUN_ID $DBT_WRITE_JSON"\n')
    done = meltano.run(MELTANO_RUN_ID=run_id, ENVIRONMENT='{"DBT_WRITE_JSON": "false"}')
    assert f"{run_id.lower()} true" in done.at("INFO")
