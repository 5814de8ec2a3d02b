"""Programs that a test runs to their end, and waiting for what others do."""

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from testkit.project_files import ROOT
from testkit.required_tools import missing

T = TypeVar("T")
# Long for the busiest machine, and before pytest ends the test (`timeout` in pyproject.toml).
MOST_SECONDS = 1500


def run(
    *command: str | Path,
    stdin: str | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, whatever its exit status; return it with what it wrote."""
    return subprocess.run(command, input=stdin, cwd=cwd, env=env, check=False, capture_output=True, text=True)


def succeed(
    *command: str | Path,
    stdin: str | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a program that has to succeed; return its standard output."""
    done = run(*command, stdin=stdin, cwd=cwd, env=env)
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@contextmanager
def afterwards(*command: str | Path) -> Iterator[None]:
    """Run a command after this block, also when this process is killed in it: its end is the end of `cat`."""
    with subprocess.Popen(
        ["sh", "-c", 'cat && exec "$@"', "sh", *command], stdin=subprocess.PIPE, start_new_session=True
    ) as waiting:
        yield
    assert waiting.returncode == 0, f"{command}: exit status {waiting.returncode}"


@contextmanager
def ending_with_us(
    command: Sequence[str | Path], end: Sequence[str], **options: Any
) -> Iterator[subprocess.Popen[str]]:
    """Start a program that `end` with its process id ends after this block, also when this process is killed in it.

    It begins once that is arranged: what this process cannot end any more would run for ever.
    """
    waiting = ["sh", "-c", 'read -r go && exec "$@" </dev/null', "sh", *command]
    with (
        subprocess.Popen(waiting, stdin=subprocess.PIPE, text=True, **options) as process,
        afterwards(*end, str(process.pid)),
    ):
        assert process.stdin is not None
        print("go", file=process.stdin, flush=True)
        yield process


def eventually(found: Callable[[], T | None], missing: str) -> T:
    """Return what `found` returns as soon as that is true; fail with what is missing."""
    deadline = time.monotonic() + MOST_SECONDS
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(0.05)
    raise AssertionError(f"{missing} within {MOST_SECONDS} s")


def foreign(name: str) -> Path:
    """Return the program of another project's tap or target; skip the test where it is not installed."""
    path = ROOT / ".venvs" / name / "bin" / name
    if not path.exists():
        missing(name, "`make foreign` installs it")
    return path


def alive(pid: int) -> bool:
    """Return whether a process is there and has not ended."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
