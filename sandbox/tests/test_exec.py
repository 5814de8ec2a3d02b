"""`sandbox exec`: what a command gets, who shares and replaces the parts, and what is left when it ends."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from sandbox_command import API, refusal, run, state
from testkit.programs import alive, eventually

from testkit import programs


def test_exec_gives_the_environment_and_the_status_and_stops(command: str, tmp_path: Path) -> None:
    """The command sees the addresses, its exit status comes through, and what exec started is stopped."""
    script = "echo $STORAGE_EMULATOR_HOST; exit 7"
    done = run(command, tmp_path, "exec", "--parts", "storage", "--", "sh", "-c", script)
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
        _, message = process.communicate()
    assert (process.returncode, message) == (130, "sandbox: interrupted\n")
    assert run(command, tmp_path, "status").stdout.startswith("nothing runs")


@contextmanager
def held(command: str, home: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """`sandbox exec` with a command that waits, with a child of its own: the process, and the ids of both and of the parts."""
    pids = home / "pids"
    script = f'sleep infinity & echo $$ $! > "{pids}.new" && mv "{pids}.new" "{pids}" && wait'
    process = subprocess.Popen(
        [command, "--home", str(home), *arguments, "--", "sh", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        eventually(lambda: pids.exists() or process.poll() is not None, "the command has not begun")
        assert process.poll() is None, process.communicate()
        parts = state(home).values()
        yield process, [*map(int, pids.read_text().split()), *(part["pid"] for part in parts)]
    finally:
        pids.unlink(missing_ok=True)
        process.kill()
        process.communicate()


def started_with(words: str) -> list[int]:
    """The processes whose command line has this text; a NUL ends each of its words."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if words.encode() in file.read_bytes():
                found.append(int(file.parent.name))
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_signal_to_exec_leaves_nothing(command: str, tmp_path: Path, number: signal.Signals) -> None:
    """The command, what it has started and the parts are gone, also when exec had no time to end them."""
    with held(command, tmp_path, *API) as (process, pids):
        process.send_signal(number)
        process.wait()
        eventually(lambda: not any(map(alive, pids)), f"{number.name} leaves processes")
        eventually(lambda: state(tmp_path) == {}, "the state names parts")


def test_what_a_killed_guardian_leaves_exec_ends(command: str, tmp_path: Path) -> None:
    """Without its guardian, exec itself ends the parts, and what the command has left running."""
    with held(command, tmp_path, *API) as (process, pids):
        (guardian,) = started_with(f"sandbox.guardian\0{tmp_path}")
        os.kill(guardian, signal.SIGKILL)
        os.kill(pids[0], signal.SIGTERM)
        assert process.wait() == 128 + signal.SIGTERM
        assert not any(map(alive, pids))


def test_the_death_of_its_parent_ends_exec(command: str, tmp_path: Path) -> None:
    """A shell that is killed takes the command and the parts with it."""
    pids = tmp_path / "pids"
    inner = f'"{command}" --home "{tmp_path}" {" ".join(API)} -- sh -c \'echo $$ > "{pids}"; exec sleep infinity\'; true'
    with subprocess.Popen(["sh", "-c", inner]) as shell:
        eventually(lambda: pids.exists() and pids.read_text().endswith("\n"), "the command has not begun")
        parts = state(tmp_path).values()
        started = [int(pids.read_text()), *(part["pid"] for part in parts)]
        shell.kill()
    eventually(lambda: not any(map(alive, started)), "processes are left")


def test_a_parent_that_dies_while_the_parts_start_ends_exec(command: str, tmp_path: Path) -> None:
    """As a terminal that is closed early: nothing stays of what exec starts all the same."""
    begun = tmp_path / "state.json"
    inner = f'"{command}" --home "{tmp_path}" {" ".join(API)} -- tail -f "{begun}"; true'
    with subprocess.Popen(["sh", "-c", inner]) as shell:
        eventually(begun.exists, "exec has not begun")
        shell.kill()
    eventually(lambda: not started_with(str(tmp_path)), "processes are left")


def test_no_module_of_the_caller_s_folder_is_imported(command: str, tmp_path: Path) -> None:
    """A folder of Python files, or a home in one: the guardian and the parts take none of them for Python's own."""
    (tmp_path / "json.py").write_text("raise SystemExit('not JSON')\n")
    done = programs.run(command, "--home", tmp_path, *API, "--", "true", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_commands_share_the_parts_and_the_last_one_stops_them(command: str, tmp_path: Path) -> None:
    """A second command finds the parts of the first; their end comes with the end of the last."""
    with held(command, tmp_path, *API) as (first, pids):
        done = run(command, tmp_path, *API, "--", "sh", "-c", "echo $TAP_RICKANDMORTY_API_URL")
        (part,) = state(tmp_path).values()
        assert done.stdout == f"http://127.0.0.1:{part['port']}/api\n"
        assert all(map(alive, pids))
        first.terminate()
        first.wait()
    assert not any(map(alive, pids))


def test_what_is_in_use_is_not_replaced_or_stopped(command: str, tmp_path: Path) -> None:
    """Other options, and stop, are refused in one line that names the process that uses the sandbox."""
    with held(command, tmp_path, *API) as (process, _):
        for arguments in ((*API, "--latency-ms", "1", "--", "true"), ("stop",)):
            assert f"process {process.pid}" in refusal(command, tmp_path, *arguments)


def test_exec_neither_stops_nor_replaces_what_start_has_started(command: str, home: Path) -> None:
    """The parts of `sandbox start` go on after a command, and keep what they serve."""
    run(command, home, "start", "--parts", "api", "--universe", "characters=3")
    before = (home / "state.json").read_text()
    assert run(command, home, "exec", "--parts", "api", "--", "true").returncode == 0
    refused = refusal(command, home, *API, "--latency-ms", "1", "--", "true")
    assert "home stop' ends what" in refused
    assert (home / "state.json").read_text() == before
    assert all(alive(part["pid"]) for part in json.loads(before).values())
