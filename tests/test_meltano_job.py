"""`meltano-job`, the program of the image, with a Meltano stood in for: what it takes as data, what it ends with, what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from google_batch import GoogleBatch
from kestra_engine import ROOT, SOURCES
from test_batch_job import Output
from testkit.programs import alive, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROGRAM = ROOT / ".venvs" / "meltano" / "bin" / "meltano-job"
MANIFEST = {
    "nodes": {
        f"model.p.{name}": {
            "name": name,
            "resource_type": "model",
            "fqn": ["p", *path, name],
            "tags": [path[0]],
        }
        for name, path in {"stg_episodes": ["staging"], "dim_episodes": ["marts", "core"]}.items()
    }
}


# A child in Meltano's group that has ended; its parent, in a session of its own, never asks for its status.
LEAVES_A_ZOMBIE = """#!/usr/bin/env python3
import os, pathlib, time
said = pathlib.Path(os.environ["FAKES"], "parent")
if os.fork() == 0:
    if (child := os.fork()) == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    os.setsid()
    os.closerange(0, 3)
    said.with_suffix(".new").write_text(str(os.getpid()))
    said.with_suffix(".new").rename(said)
    time.sleep(300)
while not said.exists():
    time.sleep(0.01)
"""


class Meltano:
    """A Meltano whose log and files the test writes, and the program started on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "behaviour.json").write_text("{}")
        self.program = SOURCES / "fake_meltano.py"

    def says(self, *lines: Any, status: int = 0, target: dict[str, Any] | None = None) -> None:
        """Make a Meltano that prints these lines, and leaves these files in dbt's target folder."""
        self.program = self.folder / "meltano"
        files = "".join(
            f"cat > \"$DBT_TARGET_PATH/{name}\" <<'EOF'\n{json.dumps(content)}\nEOF\n"
            for name, content in (target or {}).items()
        )
        log = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
        self.program.write_text(
            f'#!/bin/sh\necho run >> "{self.folder}/runs"\nmkdir -p "$DBT_TARGET_PATH"\n{files}cat <<\'EOF\'\n{log}\nEOF\nexit {status}\n'
        )
        self.program.chmod(0o755)

    @property
    def runs(self) -> int:
        """How often it was run."""
        path = self.folder / "runs"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def start(self, job: str = "episode", **more: str) -> subprocess.Popen[str]:
        """Start the program."""
        environment = {
            k: v for k, v in os.environ.items() if not k.startswith(("MELTANO_", "DBT_", "TARGET_"))
        }
        environment |= {
            "FAKES": str(self.folder),
            "MELTANO": str(self.program),
            "MELTANO_JOB": job,
            "RETRY_SECONDS": "0",
        }
        environment |= {"MELTANO_RUN_ID": str(uuid.uuid4()), **more}
        return subprocess.Popen([PROGRAM], env=environment, stdout=subprocess.PIPE, text=True)

    def run(self, job: str = "episode", **more: str) -> Output:
        """Start the program and wait for its end."""
        with self.start(job, **more) as process:
            output, _ = process.communicate(timeout=120)
        return Output(process.returncode, output)


@pytest.fixture
def meltano(tmp_path: Path) -> Meltano:
    """A Meltano."""
    return Meltano(tmp_path)


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[GoogleBatch]:
    """A landing bucket."""
    server = GoogleBatch(lambda _: ["false"], tmp_path)
    yield server
    server.close()


def point(metric: str, value: float, stream: str, **tags: str) -> dict[str, Any]:
    """A METRIC point as Meltano logs it."""
    info = {"type": "counter", "metric": metric, "value": value, "tags": {"stream": stream, **tags}}
    return {"event": "METRIC", "level": "info", "metric_info": info}


def loaded(metric: str, value: float, version: str, *, before: str = "false") -> dict[str, Any]:
    """A METRIC point of a version that the target has loaded."""
    tags = {"table_version": version, "job_id": f"l_{version}", "proof": "tap", "loaded_before": before}
    return point(metric, value, "my-stream", **tags)


def results(*nodes: tuple[str, str]) -> dict[str, Any]:
    """What dbt writes."""
    made = [
        {"unique_id": node, "status": status, "execution_time": 0.5, "message": None}
        for node, status in nodes
    ]
    return {"run_results.json": {"results": made}, "manifest.json": MANIFEST}


def test_figures_are_points_and_sentences_mean_nothing(meltano: Meltano) -> None:
    """A stream with a hyphen, two versions, a load that was done before; what sentences claim is not believed."""
    claimed = "my-stream: 999999 rows staged in 1 part (9 kB), loaded by job nobody, 9.9 s"
    meltano.says(
        {"event": claimed, "level": "info"},
        loaded("rows_loaded", 420, "1"),
        loaded("bytes_staged", 48123, "1"),
        loaded("rows_loaded", 6, "2", before="true"),
        point("schema_drift", 3, "my-stream", kind="new_field"),
        point("source_record_count", 426, "my-stream"),
    )
    done = meltano.run()
    assert done.status == 0
    assert {name: done.outputs[name] for name in ("rows", "bytes", "drift")} == {
        "rows": 426,
        "bytes": 48123,
        "drift": 3,
    }
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


def test_a_second_attempt_does_not_count_a_load_twice(meltano: Meltano) -> None:
    """What the first attempt loaded, and the second finds loaded, is one load."""
    meltano.says(point("rows_loaded", 51, "episodes", table_version="1", job_id="l", proof="tap"), status=1)
    done = meltano.run(ATTEMPTS="3")
    assert done.status == 1
    assert meltano.runs == 3
    assert done.outputs["rows"] == 51
    assert done.at("ERROR") == [
        "job episode: failed with status 1 after 3 attempts; nothing of it has landed in half"
    ]


def test_the_result_lies_in_the_landing_bucket(meltano: Meltano, bucket: GoogleBatch) -> None:
    """Run, job, state, attempts, figures, dbt's nodes: as JSON, under the run's id."""
    run_id = str(uuid.uuid4())
    environment = {"TARGET_BIGQUERY_BUCKET": "a-landing", "STORAGE_EMULATOR_HOST": bucket.url}
    given = {"ENVIRONMENT": json.dumps(environment), "MELTANO_RUN_ID": run_id}
    meltano.says(
        target=results(
            ("model.p.dim_episodes", "success"), ("test.p.t.1", "warn"), ("exposure.p.page", "no-op")
        )
    )
    done = meltano.run("dbt", **given)
    assert done.status == 0
    assert done.outputs["result"] == f"gs://a-landing/_results/run_id={run_id}/dbt.json"
    result = json.loads(bucket.objects[f"a-landing/_results/run_id={run_id}/dbt.json"])
    ended = [result[key] for key in ("run_id", "job", "state", "status")]
    assert ended == [run_id, "dbt", "success", 0]
    assert result["dbt"] == {"passed": 1, "warned": 1, "failed": 0, "skipped": 0}
    assert result["nodes"][0]["name"] == "dim_episodes"
    assert len(result["attempts"]) == 1
    # As after a Restart.
    meltano.says(status=1)
    assert meltano.run("dbt", **given).status == 1
    result = json.loads(bucket.objects[f"a-landing/_results/run_id={run_id}/dbt.json"])
    assert result["state"] == "failed"


def test_a_bucket_that_cannot_be_written_to_is_a_warning(meltano: Meltano, bucket: GoogleBatch) -> None:
    """The job has done what it was asked for: its exit status stays 0."""
    address = bucket.url
    bucket.close()
    done = meltano.run(TARGET_BIGQUERY_BUCKET="a-landing", STORAGE_EMULATOR_HOST=address, JOB_TIMEOUT="60")
    assert done.status == 0
    (warning,) = [message for message in done.at("WARN") if "result" in message]
    assert "gs://a-landing/_results/run_id=" in warning
    assert done.outputs["rows"] == 51


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


def test_a_build_that_built_nothing_is_no_success(meltano: Meltano) -> None:
    """Exit status 0 without a result, or with an empty one, fails."""
    for target in ({"manifest.json": MANIFEST}, results(), results(("exposure.p.page", "no-op"))):
        meltano.says(target=target)
        done = meltano.run("dbt")
        assert done.status == 1
        assert "dbt ended with status 0 and built nothing" in done.at("ERROR")[-1]


def test_results_that_dbt_did_not_write_are_one_line(meltano: Meltano) -> None:
    """A run_results.json of another form, or half of one, is an error with its path, no traceback."""
    for written in ('{"nothing": 1}', '{"results": [{"unique_id": '):
        meltano.says(target={"run_results.json": "WRITTEN"})
        meltano.program.write_text(meltano.program.read_text().replace('"WRITTEN"', written))
        done = meltano.run("dbt")
        assert done.status == 1
        assert "run_results.json: " in done.at("ERROR")[-1]
        assert "expected dbt's run results" in done.at("ERROR")[-1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_meltano_and_no_attempt_follows(meltano: Meltano, number: int) -> None:
    """As Kestra's kill: the processes are gone and the exit status says which signal it was."""
    (meltano.folder / "behaviour.json").write_text('{"episode": {"sleep": 300}}')
    process = meltano.start(ATTEMPTS="5")
    calls = meltano.folder / "calls.jsonl"
    eventually(lambda: calls.exists() and calls.read_text().endswith("\n"), "Meltano has not started")
    pid = json.loads(calls.read_text())["pid"]
    process.send_signal(number)
    with process:
        process.communicate(timeout=60)
    assert process.returncode == 128 + number
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert len(calls.read_text().splitlines()) == 1


def test_a_job_that_takes_too_long_ends_with_its_processes(meltano: Meltano) -> None:
    """After `job_timeout` Meltano is stopped, no attempt follows, and the line says which setting it was."""
    (meltano.folder / "behaviour.json").write_text('{"episode": {"sleep": 300}}')
    done = meltano.run(ATTEMPTS="5", JOB_TIMEOUT="PT3S")
    assert done.status == 124
    assert done.at("ERROR") == [
        "job episode: the time limit is over (job_timeout, 3 s) and Meltano was stopped"
    ]
    (call,) = (meltano.folder / "calls.jsonl").read_text().splitlines()
    with pytest.raises(ProcessLookupError):
        os.kill(json.loads(call)["pid"], 0)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("sqlite:////scratch/meltano.db", "sqlite:////scratch/meltano-episode.db"),
        ("sqlite+pysqlite:////s/a?timeout=9", "sqlite+pysqlite:////s/a-episode.db?timeout=9"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("", "sqlite:///{project}/.meltano/meltano-episode.db"),
    ],
)
def test_jobs_side_by_side_share_no_sqlite_file(meltano: Meltano, given: str, used: str) -> None:
    """The job's state stays in a file of its own beside the one that is named; a server is left as it is."""
    (meltano.folder / "meltano.yml").touch()
    done = meltano.run(MELTANO_DATABASE_URI=given, MELTANO_PROJECT=str(meltano.folder))
    assert done.status == 0
    call = json.loads((meltano.folder / "calls.jsonl").read_text().splitlines()[0])
    assert call["environment"]["MELTANO_DATABASE_URI"] == used.format(project=meltano.folder)


def test_the_variables_reach_meltano_as_they_are_and_kestras_own_do_not(meltano: Meltano) -> None:
    """One map, passed through; secrets and settings of Kestra's worker stay behind."""
    given = {
        "TARGET_BIGQUERY_LOCATION": "EU",
        "MELTANO_ENVIRONMENT": "prod",
        "DBT_BIGQUERY_LOCATION": "a 'b' $(c)",
    }
    done = meltano.run(ENVIRONMENT=json.dumps(given), SECRET_X="hidden", KESTRA_CONFIGURATION="hidden")  # noqa: S106 - made up
    assert done.status == 0
    call = json.loads((meltano.folder / "calls.jsonl").read_text().splitlines()[0])
    assert {name: call["environment"][name] for name in given} == given
    assert "hidden" not in json.dumps(call)


@pytest.mark.parametrize(
    ("job", "given", "message"),
    [
        ("--help", {}, "meltano_job is '--help': expected a job of meltano.yml"),
        ("dbt", {"DBT_SELECT": "a\t--full-refresh"}, "expected names, tags and paths, no options"),
        ("episode", {"DBT_SELECT": "a"}, "dbt selection is 'a': expected none, since job episode is not dbt"),
        ("episode", {"ENVIRONMENT": '{"A": "a\\u0000b"}'}, "has a text for 'A' that no variable can hold"),
        ("episode", {"ENVIRONMENT": '{"A": "\\ud800"}'}, "has a text for 'A' that no variable can hold"),
        (
            "episode",
            {"ENVIRONMENT": '{"TOKEN": 987}'},
            "environment has a number for 'TOKEN': expected a text",
        ),
        ("episode", {"ENVIRONMENT": "[" * 50_000}, "environment is not JSON"),
        ("episode", {"ENVIRONMENT": '{"ATTEMPTS": "9"}'}, "environment has the key ATTEMPTS: expected it as"),
    ],
    ids=range(8),
)
def test_wrong_settings_are_refused_and_nothing_runs(
    meltano: Meltano, job: str, given: dict[str, str], message: str
) -> None:
    """One line, no traceback, no value of a variable, and Meltano is not started: `meltano run --help` would be green."""
    meltano.says()
    done = meltano.run(job, **given)
    assert done.status == 2
    (error,) = done.at("ERROR")
    assert message in error
    assert "987" not in error
    assert not meltano.runs


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("sleep 300 & echo $! >stray; exit 0", 0),
        ("sleep 300 >/dev/null 2>&1 & echo $! >stray; kill -KILL $$", 137),
    ],
    ids=["it holds the log open", "Meltano is killed for memory"],
)
def test_nothing_that_meltano_started_outlives_it(meltano: Meltano, program: str, status: int) -> None:
    """A process that is left would keep the job from ending, whatever its time limit, or load beside the next attempt."""
    meltano.program = meltano.folder / "meltano"
    meltano.program.write_text(f'#!/bin/bash\ncd "$FAKES"\n{program}\n')
    meltano.program.chmod(0o755)
    done = meltano.run(ATTEMPTS="1")
    assert done.status == status
    assert any("outlived it" in message for message in done.at("WARN"))
    assert not alive(int((meltano.folder / "stray").read_text()))


def test_a_process_that_has_ended_is_not_a_stray_one(meltano: Meltano) -> None:
    """A helper of dbt ends with it, and its new parent may ask for its status late: no warning, and nothing is waited for."""
    meltano.program = meltano.folder / "meltano"
    meltano.program.write_text(LEAVES_A_ZOMBIE)
    meltano.program.chmod(0o755)
    done = meltano.run()
    os.kill(int((meltano.folder / "parent").read_text()), signal.SIGKILL)
    assert done.status == 0
    assert not any("outlived it" in message for message in done.at("WARN"))


def test_a_log_that_nobody_reads_ends_meltano(meltano: Meltano) -> None:
    """Kestra's worker has died: a second run, started when it is back, does not meet the first."""
    meltano.program = meltano.folder / "meltano"
    meltano.program.write_text('#!/bin/bash\necho $$ >"$FAKES/pid"\nwhile sleep 0.1; do echo a line; done\n')
    meltano.program.chmod(0o755)
    with meltano.start() as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 128 + signal.SIGPIPE
    assert not alive(int((meltano.folder / "pid").read_text()))


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999", "null", '"51"'])
def test_a_point_of_no_number_leaves_the_result_whole(meltano: Meltano, value: str) -> None:
    """Another target's point: the outputs stay JSON that Kestra reads, and the job's status is Meltano's."""
    info = json.dumps(loaded("rows_loaded", 0, "1")).replace(": 0,", f": {value},")
    meltano.says(
        info, info.replace("rows_loaded", "schema_drift"), "[" * 50_000, loaded("bytes_staged", 9.0, "2")
    )
    done = meltano.run()
    assert done.status == 0
    assert (done.outputs["rows"], done.outputs["bytes"]) == (0, 9)


def test_a_bucket_of_no_name_is_a_warning(meltano: Meltano) -> None:
    """Whatever the client raises, the job has done its work."""
    done = meltano.run(TARGET_BIGQUERY_BUCKET="_/x", STORAGE_EMULATOR_HOST="http://127.0.0.1:9")
    assert done.status == 0
    assert any("gs://_/x/" in message for message in done.at("WARN"))


def test_run_id_and_dbts_folder_are_the_programs_own(meltano: Meltano) -> None:
    """A UUID in capitals is the same run; dbt's results are found whatever folder the settings name."""
    run_id = "6F1C2E9A-0000-4000-8000-000000000001"
    meltano.says(target=results(("model.p.dim_episodes", "success")))
    done = meltano.run("dbt", MELTANO_RUN_ID=run_id, ENVIRONMENT='{"DBT_TARGET_PATH": "target"}')
    assert done.status == 0
    assert done.outputs["dbt"]["passed"] == 1
    meltano.says('{"event": "$MELTANO_RUN_ID"}')
    meltano.program.write_text(meltano.program.read_text().replace("<<'EOF'", "<<EOF"))
    assert run_id.lower() in meltano.run(MELTANO_RUN_ID=run_id).at("INFO")


def test_a_meltano_that_is_not_there_is_one_line(meltano: Meltano) -> None:
    """The line names the settings, and nothing is tried again."""
    done = meltano.run(MELTANO="/no/such/meltano")
    assert done.status == 127
    (error,) = done.at("ERROR")
    assert "Meltano could not be started" in error
    assert "look at the settings meltano and meltano_project" in error
