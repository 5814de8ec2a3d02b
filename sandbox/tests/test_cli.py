"""The sandbox's command line as a person uses it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest


def run(command: str, home: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs a command of the sandbox."""
    kept = {k: v for k, v in os.environ.items() if not k.endswith("EMULATOR_HOST")}
    return subprocess.run(
        [command, "--home", str(home), *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=90,
        env={**kept, **env},
    )


def test_parts_start_once_show_where_they_are_and_stop(command: str, tmp_path: Path) -> None:
    """A second start changes nothing, status tells addresses and logs, stop leaves nothing running."""
    assert run(command, tmp_path, "start", "--parts", "api,storage").returncode == 0
    first = (tmp_path / "state.json").read_text()
    assert run(command, tmp_path, "start", "--parts", "api,storage").returncode == 0
    assert (tmp_path / "state.json").read_text() == first
    status = run(command, tmp_path, "status")
    assert status.returncode == 0
    assert status.stdout.count("up ") == 2
    assert str(tmp_path / "logs" / "api.log") in status.stdout
    pids = [part["pid"] for part in json.loads(first).values()]
    assert run(command, tmp_path, "stop").returncode == 0
    for pid in pids:
        stat = Path(f"/proc/{pid}/stat")
        # Ended, whether or not its parent has taken notice.
        assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_killed_part_is_named_with_its_log_and_started_again(command: str, tmp_path: Path) -> None:
    """Status ends with 1 and names the part that is down; start brings it back on its port."""
    run(command, tmp_path, "start", "--parts", "api,storage")
    before = json.loads((tmp_path / "state.json").read_text())["storage"]
    try:
        os.kill(before["pid"], signal.SIGKILL)
        status = run(command, tmp_path, "status")
        assert status.returncode == 1
        (line,) = [text for text in status.stdout.splitlines() if "DOWN" in text]
        assert line.startswith("storage")
        assert line.endswith(str(tmp_path / "logs" / "storage.log"))
        assert run(command, tmp_path, "start", "--parts", "storage").returncode == 0
        after = json.loads((tmp_path / "state.json").read_text())["storage"]
        assert after["port"] == before["port"]
        assert after["pid"] != before["pid"]
    finally:
        run(command, tmp_path, "stop")


def test_exec_gives_the_environment_and_the_status_and_stops(command: str, tmp_path: Path) -> None:
    """The command sees the addresses, its exit status comes through, and what exec started is stopped."""
    done = run(
        command,
        tmp_path,
        "exec",
        "--parts",
        "storage",
        "--",
        "sh",
        "-c",
        "echo $STORAGE_EMULATOR_HOST; exit 7",
    )
    assert done.returncode == 7
    assert done.stdout.startswith("http://127.0.0.1:")
    assert run(command, tmp_path, "status").stdout.startswith("nothing runs")


def test_an_interrupted_start_is_one_line_and_leaves_nothing(command: str, tmp_path: Path) -> None:
    """Ctrl-C while the parts come up ends them, with a line in place of a traceback."""
    arguments = [command, "--home", str(tmp_path), "exec", "--parts", "bigquery", "--", "true"]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "state.json").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "sandbox: interrupted\n")
    assert run(command, tmp_path, "status").stdout.startswith("nothing runs")


def test_a_bad_data_folder_is_one_line(command: str, tmp_path: Path) -> None:
    """The line says what is missing and how to make such a folder."""
    done = run(command, tmp_path / "home", "start", "--data", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "character.jsonl, location.jsonl, episode.jsonl not found" in done.stderr


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "character.jsonl, line 1: expected a JSON object with an id"),
        ('{"id": 1}\n{"id": 1}', "character.jsonl, line 2: id 1 is no whole number, or there twice"),
    ],
    ids=["no-json", "id-twice"],
)
def test_a_bad_record_is_named_by_file_and_line(command: str, tmp_path: Path, line: str, said: str) -> None:
    """A data folder with a bad line is refused with file, line and reason."""
    for name in ("character", "location", "episode"):
        (tmp_path / f"{name}.jsonl").write_text(line)
    done = run(command, tmp_path / "home", "api", "--data", str(tmp_path))
    assert done.returncode == 1
    assert said in done.stderr


def test_a_port_in_use_is_one_line(command: str, tmp_path: Path) -> None:
    """The line names part and port, and the option to change it."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        done = run(command, tmp_path, "start", "--parts", "storage", "--port-storage", str(port))
    assert done.returncode == 1
    assert done.stderr == f"sandbox: storage: port {port} is in use; name another with --port-storage\n"


def test_a_full_disk_is_one_line(command: str, tmp_path: Path) -> None:
    """With less room than is needed nothing starts, and the line tells both figures."""
    done = run(command, tmp_path, "start", SANDBOX_MIN_FREE_MB="999999999")
    assert done.returncode == 1
    assert "MB free, 999999999 MB are needed" in done.stderr


def test_a_bad_universe_and_a_missing_program_are_one_line(command: str, tmp_path: Path) -> None:
    """Wrong arguments are told before anything starts."""
    assert "expected characters=N" in run(command, tmp_path, "start", "--universe", "planets=3").stderr
    done = run(command, tmp_path, "exec", "--parts", "storage", "--", "no-such-program")
    assert done.returncode == 1
    assert done.stderr == "sandbox: no-such-program: no such program\n"


def test_query_shows_rows_and_tells_errors_in_one_line(
    command: str, services: dict[str, str], tmp_path: Path
) -> None:
    """A question is answered as csv, json or a table; a wrong one is BigQuery's own words in one line."""
    good = run(command, tmp_path, "query", "SELECT 1 AS x, 'a' AS y", "--format", "csv", **services)
    assert good.stdout.split() == ["x,y", "1,a"]
    bad = run(command, tmp_path, "query", "SELECT nothing FROM nowhere.at_all", **services)
    assert bad.returncode == 1
    assert bad.stderr.startswith("sandbox: BigQuery: ")
    assert bad.stderr.count("\n") == 1


def test_capture_makes_a_folder_that_serves_the_same(command: str, tmp_path: Path) -> None:
    """What is captured from an API is what that API serves; a dead API is one line."""
    with subprocess.Popen(
        [command, "api", "--universe", "characters=41,locations=3,episodes=2"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        done = run(command, tmp_path, "capture", str(tmp_path / "data"), "--api-url", url)
        process.terminate()
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "data" / "character.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == list(range(1, 42))
