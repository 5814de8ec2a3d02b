"""`sandbox start`, `stop` and `status` as a person uses them, and what is refused."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from sandbox_command import API, refusal, run, state, write_records
from testkit.programs import alive

from testkit import programs


def test_parts_start_once_show_where_they_are_and_stop(command: str, tmp_path: Path) -> None:
    """A second start changes nothing, status shows addresses and logs, stop leaves nothing running."""
    assert run(command, tmp_path, "start", "--parts", "api,storage").returncode == 0
    first = (tmp_path / "state.json").read_text()
    assert run(command, tmp_path, "start", "--parts", "api,storage").returncode == 0
    assert (tmp_path / "state.json").read_text() == first
    status = run(command, tmp_path, "status")
    assert status.returncode == 0
    assert status.stdout.count(" up   http") == 2
    assert str(tmp_path / "logs" / "api.log") in status.stdout
    pids = [part["pid"] for part in json.loads(first).values()]
    assert run(command, tmp_path, "stop").returncode == 0
    assert not any(map(alive, pids))


def test_a_killed_part_is_named_with_its_log_and_started_again(command: str, home: Path) -> None:
    """Status ends with 1 and names the part that is down; start brings it back on its port."""
    run(command, home, "start", "--parts", "api,storage")
    before = state(home)["storage"]
    os.kill(before["pid"], signal.SIGKILL)
    status = run(command, home, "status")
    assert status.returncode == 1
    (line,) = [text for text in status.stdout.splitlines() if "DOWN" in text]
    assert line.startswith("storage")
    assert line.endswith(str(home / "logs" / "storage.log"))
    assert run(command, home, "start", "--parts", "storage").returncode == 0
    after = state(home)["storage"]
    assert after["port"] == before["port"]
    assert after["pid"] != before["pid"]


REFUSED = {
    "empty-folder": ("start --data {empty}", "character.jsonl, episode.jsonl, location.jsonl not found"),
    "no-json": ("api --data {no_json}", "character.jsonl, line 1: expected a JSON object in UTF-8 with id"),
    "no-utf-8": ("api --data {latin}", "character.jsonl, line 1: expected a JSON object in UTF-8 with id"),
    "id-twice": ("api --data {twice}", "line 2: id 1 is not an integer or a string, or occurs twice"),
    "half-a-character": ("api --data {surrogate}", "character.jsonl, line 1: expected a JSON object in UTF-8"),
    "not-a-number": ("api --data {nan}", "character.jsonl, line 1: expected a JSON object in UTF-8 with id"),
    "deep": ("api --data {deep}", "character.jsonl, line 1: expected a JSON object in UTF-8 with id"),
    "two-files": ("start --data {two}", "of character.jsonl and characters.jsonl the first is read; remove one"),
    "no-database-there": ("--home {empty}/which? start", "which?: DuckDB writes no database below a folder with ?"),
    "universe": ("start --universe planets=3", "expected characters=N"),
    "program": ("exec --parts storage -- no-such-program", "sandbox: no-such-program: no such program\n"),
    "nothing-runs": ("env", "/home start' starts it\n"),
    "folder-of-no-system": ("capture /proc/new", "/proc"),
    "home-is-a-file": ("--home {twice}/character.jsonl start", "Not a directory; name another"),
    "home-of-exec-is-a-file": ("--home {twice}/character.jsonl exec -- true", "Not a directory; name another"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_wrong_arguments_are_one_line(command: str, tmp_path: Path, arguments: str, message: str) -> None:
    """The line says what is missing or wrong, in a data folder by file and line."""
    folders = {
        "empty": tmp_path,
        "no_json": write_records(tmp_path / "no_json", "{"),
        "twice": write_records(tmp_path / "twice", '{"id": 1}\n{"id": 1}'),
        "latin": write_records(tmp_path / "latin"),
        "surrogate": write_records(tmp_path / "surrogate", '{"id": 1, "name": "\\ud800"}'),
        "nan": write_records(tmp_path / "nan", '{"id": 1, "value": 1e999}'),
        "deep": write_records(tmp_path / "deep", '{"id": 1, "value": ' + "[" * 999_999 + "]" * 999_999 + "}"),
        "two": write_records(tmp_path / "two"),
    }
    (tmp_path / "two" / "characters.jsonl").touch()
    (tmp_path / "latin" / "character.jsonl").write_bytes('{"id": 1, "name": "é"}'.encode("latin-1"))
    assert message in refusal(command, tmp_path / "home", *(a.format(**folders) for a in arguments.split()))


@pytest.mark.parametrize(
    ("option", "arguments"),
    [
        ("--port-api", "start --port-api 99999"),
        ("--port", "api --port -1"),
        ("--latency-ms", "start --latency-ms soon"),
        ("--data", "start --data="),
        ("--api-url", "capture folder --api-url api.example.org"),
        ("upstream", "proxy localhost:9050"),
        ("upstream", "strict bigquery ftp://localhost"),
    ],
)
def test_an_option_that_cannot_be_is_named(command: str, tmp_path: Path, option: str, arguments: str) -> None:
    """Ports outside 0 to 65535, an empty name and what is no address end with status 2 and the option; nothing is written."""
    done = run(command, tmp_path / "home", *arguments.split())
    assert done.returncode == 2
    assert f"argument {option}: expected a" in done.stderr
    assert not (tmp_path / "home").exists()


def test_two_starts_on_one_port_never_answer_for_each_other(command: str, tmp_path: Path) -> None:
    """Of two sandboxes that begin at once on one port, one is up, and the other says that the port is in use."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = str(sock.getsockname()[1])
    homes = [tmp_path / "first", tmp_path / "second"]
    starts = [
        subprocess.Popen(
            [command, "--home", home, "start", "--parts", "api", "--port-api", port],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for home in homes
    ]
    try:
        errors = [start.communicate()[1] for start in starts]
        assert sorted(start.returncode for start in starts) == [0, 1], errors
        assert f"port {port} is in use" in "".join(errors)
    finally:
        for home in homes:
            run(command, home, "stop")


def test_a_start_on_another_port_moves_the_part(command: str, home: Path) -> None:
    """A fixed port is not ignored because the part runs already, on another one."""

    def start(port: int) -> int:
        assert run(command, home, "start", "--parts", "api", "--port-api", str(port)).returncode == 0
        return int(state(home)["api"]["port"])

    first = start(0)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        other = sock.getsockname()[1]
    assert start(other) == other != first


@pytest.mark.slow
def test_a_state_lost_or_of_a_copied_folder_harms_nothing(command: str, home: Path, tmp_path: Path) -> None:
    """Parts that no state names are replaced; a copy of the home neither uses nor stops the parts of the first."""
    copy = tmp_path / "copy"
    assert run(command, home, "start", "--parts", "api").returncode == 0
    lost = state(home)["api"]["pid"]
    (home / "state.json").write_text('{"api": {"na')
    assert run(command, home, "start", "--parts", "api").returncode == 0
    assert not alive(lost)
    shutil.copytree(home, copy)
    assert run(command, copy, "status").stdout.startswith("nothing runs")
    assert run(command, copy, "stop").stdout == "nothing runs\n"
    assert run(command, home, "status").returncode == 0
    (home / "source.json").write_text("{")
    assert "source.json cannot be read" in refusal(command, home, "start")


def test_a_port_in_use_is_one_line(command: str, tmp_path: Path) -> None:
    """The line names part and port, and the option to change it."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        refused = refusal(command, tmp_path, "start", "--parts", "storage", "--port-storage", str(port))
    assert refused == f"sandbox: storage: port {port} is in use; name another with --port-storage\n"


def test_a_full_disk_is_one_line(command: str, tmp_path: Path) -> None:
    """With less room than is needed nothing starts, and the line has both figures; what runs can be stopped."""
    refused = refusal(command, tmp_path, "start", SANDBOX_MIN_FREE_MB="999999999")
    assert "MB free, 999999999 MB are needed" in refused
    refused = refusal(command, tmp_path, "start", SANDBOX_MIN_FREE_MB="much")
    assert refused == "sandbox: SANDBOX_MIN_FREE_MB=much: expected a number of megabytes\n"
    # Where no byte can be written.
    patches = [str(Path(command).with_name("python")), "-m", "sandbox.bigquery", "patches"]
    for typed in ([command, "--help"], patches):
        done = programs.run("sh", "-c", f"PYTHONUNBUFFERED= {shlex.join(typed)} > /dev/full")
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == "sandbox: [Errno 28] No space left on device"
        assert "Traceback" not in done.stderr
    full = shlex.join([command, "--home", str(tmp_path), "stop"])
    assert run(command, tmp_path, "start", "--parts", "storage").returncode == 0
    pid = state(tmp_path)["storage"]["pid"]
    done = programs.run("sh", "-c", f"ulimit -f 0; exec {full}")
    assert (done.returncode, done.stderr, alive(pid)) == (0, "", False)


def test_stop_and_status_with_nothing_running_are_one_line(command: str, tmp_path: Path) -> None:
    """Neither is an error of the program's own, whether or not there was ever a sandbox."""
    status = programs.run(command, "status", cwd=tmp_path)
    # The command that it names can be typed as it stands.
    (named,) = re.findall(r"'(.+) start'", status.stdout)
    programs.succeed(*shlex.split(named), "--help", cwd=tmp_path)
    for home in ([], ["--home", str(tmp_path / "none")], ["--home", __file__]):
        stop = programs.run(command, *home, "stop", cwd=tmp_path)
        assert (stop.returncode, stop.stdout, stop.stderr) == (0, "nothing runs\n", "")
    assert list(tmp_path.iterdir()) == []


def test_an_error_quotes_no_earlier_start(command: str, tmp_path: Path) -> None:
    """The log of a part starts afresh; the one before it is kept beside it."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "api.log").write_text("an old complaint\n")
    assert run(command, tmp_path, *API, "--", "true").returncode == 0
    assert "old" not in (tmp_path / "logs" / "api.log").read_text()
    assert "old" in (tmp_path / "logs" / "api.log.before").read_text()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_an_empty_one(command: str, tmp_path: Path, closed: str) -> None:
    """The command runs, with streams that it can read and write."""
    words = shlex.join([command, "--home", str(tmp_path), *API, "--", "sh", "-c", "cat; echo x && touch ran"])
    done = programs.run("sh", "-c", f"{words} {closed}", cwd=tmp_path)
    assert (done.returncode, done.stderr, (tmp_path / "ran").exists()) == (0, "", True)


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(command: str, tmp_path: Path) -> None:
    """With http_proxy set to nothing that answers, the parts come up and commands go past it."""
    proxy = dict.fromkeys(("http_proxy", "HTTP_PROXY", "https_proxy"), "http://127.0.0.1:1")
    done = run(command, tmp_path, *API, "--", "sh", "-c", "echo $NO_PROXY", **proxy, NO_PROXY="example.org")
    assert (done.returncode, done.stdout) == (0, "example.org,127.0.0.1,localhost\n")
