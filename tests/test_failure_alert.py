"""A failed job raises the alert: the real log of every way to fail, through the filter of Terraform's alert."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from logging_filter import matches
from testkit.programs import eventually
from testkit.project_files import ROOT

ALERT = (ROOT / "terraform" / "modules" / "failure_alert" / "main.tf").read_text(encoding="utf-8")
MELTANO_JOB = ROOT / ".venvs" / "meltano" / "bin" / "meltano-job"
RUN_ID = "6f1c2e9a-0000-4000-8000-000000000001"
TASK = "projects/example-project/logs/batch_task_logs"
AGENT = "projects/example-project/logs/batch_agent_logs"


def alert_filter() -> str:
    """The filter as Terraform gives it to Google: the text of the heredoc, with the project's logs in it."""
    found = re.search(r"filter = <<-FILTER\n(.*?)\n *FILTER\n", ALERT, re.DOTALL)
    assert found
    return found[1].replace("${local.logs}", "projects/example-project/logs")


FILTER = alert_filter()


def entries(text: str, *, parsed: bool) -> list[dict[str, Any]]:
    """A container's output as Batch logs it: a line an entry, and a JSON object as data where the agent reads it as such."""
    found = []
    for line in text.splitlines():
        entry: dict[str, Any] = {"logName": TASK, "severity": "INFO", "labels": {"job_uid": "job-1"}}
        if parsed and line.startswith("{"):
            content = json.loads(line)
            entry["severity"] = content.pop("severity", "INFO")
            entry["jsonPayload"] = content
        else:
            entry["textPayload"] = line
        found.append(entry)
    return found


def raises_the_alert(text: str) -> list[bool]:
    """Whether the alert sees the output, in both forms that a JSON line may have in the log."""
    return [any(matches(FILTER, entry) for entry in entries(text, parsed=parsed)) for parsed in (True, False)]


def job(tmp_path: Path, program: str, **variables: str) -> tuple[int, str]:
    """One run of the container's own program, with a program in Meltano's place; exit status and output."""
    meltano = tmp_path / "meltano"
    meltano.write_text(f"#!/bin/bash\n{program}\n")
    meltano.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    given = {"MELTANO": str(meltano), "MELTANO_JOB": "character", "MELTANO_RUN_ID": RUN_ID, "ATTEMPTS": "1"}
    process = subprocess.Popen(
        [MELTANO_JOB],
        env={**kept, **given, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if "MARK" in program:
        eventually((tmp_path / "began").exists, "the job has not started")
        process.send_signal(signal.SIGTERM)
    output, _ = process.communicate()
    return process.returncode, output


WAYS_TO_FAIL: dict[str, tuple[str, dict[str, str], int]] = {
    "a stream fails": ('echo \'{"event": "Run completed", "status": "failure"}\'; exit 1', {}, 1),
    "dbt fails": ("echo 'Database Error in model dim_characters'; exit 1", {"MELTANO_JOB": "dbt"}, 1),
    "killed for memory": ("kill -KILL $$", {"MELTANO_JOB": "dbt"}, 137),
    "killed for time": ("sleep infinity", {"JOB_TIMEOUT": "1"}, 124),
    "unknown job": ("echo 'no such job'; exit 1", {"MELTANO_JOB": "nothing"}, 1),
    "a name that no job has": ("exit 0", {"MELTANO_JOB": "not a job"}, 2),
    "no run id": ("exit 0", {"MELTANO_RUN_ID": "yesterday"}, 2),
    "no Meltano": ("exit 0", {"MELTANO": "/nowhere/meltano"}, 127),
    "a shell finds no program": ("exit 127", {}, 127),
    "nothing was done": ("exit 0", {}, 1),
    "cancelled": ("touch began; exec sleep infinity # MARK", {}, 143),
}


@pytest.mark.parametrize(("program", "variables", "status"), WAYS_TO_FAIL.values(), ids=WAYS_TO_FAIL)
def test_every_way_to_fail_raises_the_alert(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, variables: dict[str, str], status: int
) -> None:
    """The exit status is the container's last word, as data, and the alert's filter matches it in either form."""
    monkeypatch.chdir(tmp_path)
    found, output = job(tmp_path, program, **variables)
    assert found == status, output
    assert raises_the_alert(output) == [True, True], output
    last = json.loads(output.splitlines()[-1])
    assert (last["severity"], last["exit_status"]) == ("ERROR", status)


def test_a_fault_of_the_program_itself_raises_the_alert(tmp_path: Path) -> None:
    """No folder for temporary files, say: one line names place and reason, and no traceback stands where the alert looks."""
    text = "def TemporaryDirectory(**_):\n    raise FileNotFoundError('No usable temporary directory')\n"
    (tmp_path / "tempfile.py").write_text(text)
    status, output = job(tmp_path, "exit 0", PYTHONPATH=str(tmp_path))
    assert status == 70
    assert "FileNotFoundError('No usable temporary directory') at tempfile.py:2" in output
    assert "Traceback" not in output
    assert raises_the_alert(output) == [True, True]


def test_a_job_that_succeeds_raises_none(tmp_path: Path) -> None:
    """Neither its end nor an error line on its way, nor an attempt that failed before one that did not."""
    program = (
        # Meltano's own event of a block that ended well.
        f'if [ -e {tmp_path}/tried ]; then echo \'{{"block_type": "ExtractLoadBlocks", "success": true}}\'; exit 0; fi; '
        f"touch {tmp_path}/tried; "
        'echo \'{"level": "error", "event": "load job failed"}\'; exit 1'
    )
    status, output = job(tmp_path, program, ATTEMPTS="2", RETRY_SECONDS="0")
    assert status == 0, output
    assert "load job failed" in output
    assert raises_the_alert(output) == [False, False]


@pytest.mark.parametrize(
    ("entry", "raised"),
    [
        ({"logName": AGENT, "severity": "ERROR", "textPayload": "the image could not be pulled"}, True),
        ({"logName": AGENT, "severity": "INFO", "textPayload": "the task is RUNNING"}, False),
        ({"logName": "projects/example-project/logs/syslog", "severity": "ERROR"}, False),
        ({"logName": TASK, "severity": "ERROR", "jsonPayload": {"exit_status": 0}}, False),
        ({"logName": TASK, "severity": "ERROR", "textPayload": 'he said {"exit_status":1}'}, False),
    ],
)
def test_other_lines(entry: dict[str, Any], raised: object) -> None:
    """The agent's own errors raise it; what others log, and text that only looks like it, does not."""
    assert matches(FILTER, entry) is raised


def test_the_help_text_is_right_for_each_job() -> None:
    """It names job and run, says what a failure of each kind means for the data, and how to go on."""
    text = ALERT[ALERT.index("content   = <<-TEXT") :]
    for word in ("extracted_label.job}", "extracted_label.run_id}", "`dbt`", "`character`", "Kestra"):
        assert word in text
    extracted = set(re.findall(r"(\w+) += \"EXTRACT\(labels\.(\w+)\)\"", ALERT))
    assert {name for name, label in extracted if name == label} == {"job", "job_uid", "run_id"}


@pytest.mark.parametrize("text", ["severity>=", 'a="b" )', '(a="b"', "a b c", 'a ~ "x"', 'severity>="LOUD"'])
def test_a_filter_that_is_not_understood_is_an_error(text: str) -> None:
    """The evaluator of these tests guesses nothing."""
    with pytest.raises(ValueError):  # noqa: PT011 (any message)
        matches(text, {"severity": "ERROR", "a": "b"})
