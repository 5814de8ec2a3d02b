"""The local disk: full, left behind by a killed process, and cleaned up after an unexpected error."""

import json
import os
import random
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from testkit.fault_matrix import INSERT
from testkit.programs import eventually
from testkit.programs import run as run_program
from testkit.proxies import proxied
from testkit.target_bench import SCHEMA, STATE, Bench, record, refused, whole
from testkit.whole_pipeline import program

DISK_KB = 400
PARTS = "target-bigquery-*"
THREE = [SCHEMA, record(1), record(2), record(3)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own that is soon full."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder = tmp_path / "small disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_KB}k", "small", str(folder)]
    done = subprocess.run(mount, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def at(bench: Bench, temporary: Path, **env: str) -> Bench:
    """The same target, with its temporary files there."""
    return Bench({**bench.env, "TMPDIR": str(temporary), **env}, bench.dataset)


def await_folders(temporary: Path, count: int) -> set[Path]:
    """Wait for so many folders of parts that are in use; return them."""

    def in_use() -> set[Path] | None:
        folders = {lock.parent for lock in temporary.glob(f"{PARTS}/.lock")}
        return folders if len(folders) >= count else None

    return eventually(in_use, f"{count} folders are not there")


@pytest.mark.parametrize(
    ("records", "used_kb"), [(100, 0), (1, DISK_KB - 8)], ids=["a-part-grows", "a-part-is-closed"]
)
def test_full(records: int, used_kb: int, bench: Bench, small_disk: Path) -> None:
    """One line says which file and what to do, and the folder is gone; with room the same input is loaded."""
    noise = random.Random(0)  # noqa: S311 (text that gzip cannot make small)
    (small_disk / "another file").write_bytes(bytes(1024 * used_kb))
    named = [record(number, name=noise.randbytes(20_000).hex()) for number in range(records)]
    messages = [SCHEMA, *named, whole(), STATE]
    run = at(bench, small_disk).load(*messages)
    refused(run, "No space left on device", f"{small_disk}/target-bigquery-", "part_size_mb", "TMPDIR")
    assert "Exception ignored" not in run.stderr
    assert not list(small_disk.glob(PARTS))
    assert bench.rows() == []
    assert bench.load(*messages).returncode == 0
    assert len(bench.rows()) == records


def test_killed(bench: Bench, tmp_path: Path) -> None:
    """The next run removes what a killed one left, and not the folder of one that still runs."""
    target = at(bench, tmp_path)
    with target.start(*THREE) as running:
        (alive,) = await_folders(tmp_path, 1)
        with target.start(*THREE) as killed:
            await_folders(tmp_path, 2)
            killed.kill()
            # Its output ends with it; only then may its input.
            assert killed.stdout is not None
            killed.stdout.read()
        assert len(list(tmp_path.glob(PARTS))) == 2
        assert at(bench, tmp_path).load(*THREE, whole()).returncode == 0
        assert list(tmp_path.glob(PARTS)) == [alive]
        _, log = running.communicate()
    assert "Traceback" not in log
    assert not list(tmp_path.glob(PARTS))


def test_processes_that_start_at_the_same_moment_keep_their_folders(tmp_path: Path) -> None:
    """None takes the folder that another is just making for one that a killed process has left."""
    code = (
        "import os\nfrom target_bigquery.work import Work\n"
        "os.fork()\nos.fork()\n"
        "for _ in range(300):\n"
        "    work = Work(None)\n"
        "    (work.folder / 'part').touch()\n"
        "    (work.folder / 'part').unlink()\n"
        "    work.remove_folder()\n"
    )
    command = [sys.executable, "-c", code]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    assert subprocess.run(command, env=env, check=True, stderr=subprocess.PIPE, text=True).stderr == ""
    assert not list(tmp_path.iterdir())


def test_an_unexpected_error(bench: Bench, tmp_path: Path) -> None:
    """An answer that Google's client cannot read ends the run in one line, and the folder is gone."""
    nonsense = {"action": "status", "status": 200, "headers": {"Content-Type": "application/json"}}
    with proxied(
        program("SANDBOX_COMMAND", ".venvs/sandbox/bin/sandbox"), bench.env["BIGQUERY_EMULATOR_HOST"]
    ) as bigquery:
        bigquery.inject({**nonsense, **INSERT, "body": "[]", "times": None})
        run = at(bench, tmp_path, BIGQUERY_EMULATOR_HOST=bigquery.url).load(*THREE, whole(), STATE)
    refused(run, "unexpected", "run again with the same run id", "no STATE")
    assert not list(tmp_path.glob(PARTS))


def test_standard_output_is_full(bench: Bench, tmp_path: Path) -> None:
    """STATE that cannot be written is not blamed on the parts' disk, and the line says that its data is loaded."""
    lines = "".join(f"{json.dumps(message)}\n" for message in [*THREE, whole(), STATE])
    with Path("/dev/full").open("w") as full:
        run = subprocess.run(
            [sys.executable, "-m", "target_bigquery", "--config=ENV"],
            input=lines,
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=at(bench, tmp_path).environment(),
        )
    assert run.returncode == 1, run.stderr
    assert "Traceback" not in run.stderr
    last = run.stderr.strip().rpartition("\n")[2]
    assert "standard output" in last
    assert len(bench.rows()) == 3
    assert not list(tmp_path.glob(PARTS))


@pytest.mark.parametrize(
    ("option", "output", "named"),
    [
        ("", ">&-", "standard output is closed; nothing was loaded"),
        ("--about", "> /dev/full", "standard output: No space left on device"),
        ("--help", "> /dev/full", "standard output: No space left on device"),
    ],
)
def test_an_output_takes_nothing(bench: Bench, tmp_path: Path, option: str, output: str, named: str) -> None:
    """Closed, as a shell's `>&-` makes it, or full: a line says so, and nothing is loaded."""
    command = shlex.join([sys.executable, "-m", "target_bigquery", "--config=ENV"])
    lines = "".join(f"{json.dumps(message)}\n" for message in [*THREE, whole(), STATE])
    run = run_program(
        "sh", "-c", f"{command} {option} {output}", stdin=lines, env=at(bench, tmp_path).environment()
    )
    refused(run, named)
    assert bench.rows() == []
