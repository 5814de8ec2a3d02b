"""A run of tests that is killed leaves nothing running."""

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from testkit.programs import alive, eventually
from testkit.whole_pipeline import program

TESTS = """
import json, os, sys
from pathlib import Path
from testkit.proxies import proxied
from testkit.whole_pipeline import running_sandbox

home = Path(sys.argv[1])
with running_sandbox(home, "--parts", "storage") as sandbox:
    with proxied(sandbox.command, sandbox.env["STORAGE_EMULATOR_HOST"]):
        parts = [part["pid"] for part in json.loads((home / "state.json").read_text()).values()]
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        print(json.dumps([*parts, *map(int, children)]), flush=True)
        sys.stdin.read()
"""


def test_what_killed_tests_have_started_ends(tmp_path: Path) -> None:
    """The parts of their sandbox, and the proxies before it."""
    program("SANDBOX_COMMAND", ".venvs/sandbox/bin/sandbox")
    with subprocess.Popen(
        [sys.executable, "-c", TESTS, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as tests:
        assert tests.stdout is not None
        started = json.loads(next(line for line in tests.stdout if line.startswith("[")))
        tests.kill()
    eventually(lambda: not any(map(alive, started)), f"processes {started} did not end")


COMMANDS = """
import os, sys
from pathlib import Path
from testkit import programs
from testkit.project_copy import ProjectCopy

if sys.argv[2:]:
    programs.afterwards = lambda *end: os.kill(os.getpid(), 9)
ProjectCopy(Path(sys.argv[1])).run("echo $$; sleep infinity")
"""


def in_folder(folder: Path) -> list[Path]:
    """The processes that work in a folder."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):
            found += [link] if link.readlink() == folder else []
    return found


@pytest.mark.parametrize("early", [(), ("early",)], ids=["in them", "as they begin"])
def test_what_killed_tests_run_in_a_copy_of_the_project_ends(tmp_path: Path, early: tuple[str, ...]) -> None:
    """Nobody else would stop it, and the sandbox of the copy is not stopped while it is in use."""
    log = tmp_path.with_suffix(".log")
    with subprocess.Popen([sys.executable, "-c", COMMANDS, str(tmp_path), *early]) as tests:
        if not early:
            eventually(lambda: log.exists() and log.read_text(), "nothing has begun")
            tests.kill()
    eventually(lambda: not in_folder(tmp_path), f"a process in {tmp_path} did not end")
