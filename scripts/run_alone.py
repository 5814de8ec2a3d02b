"""Runs what changes the local warehouse on the sandbox, alone: `make run`, `make build` and `make retract` share dbt's folder.

    python scripts/run_alone.py COMMAND [ARGUMENT ...]

Always in Meltano's environment `local`. Exit status: the command's; 1 when another such command is under way in this folder.
"""

import fcntl
import os
import sys
from pathlib import Path
from typing import NoReturn

from doctor import misspelt

ROOT = Path(__file__).resolve().parent.parent
# A shell or a .env for the cloud may set others; on the sandbox Meltano's environment is `local`.
LOCAL = {"MELTANO_ENVIRONMENT": "local", "DATASET_PREFIX": "local_"}


def exec_on_sandbox(options: list[str], command: list[str]) -> NoReturn:
    """Replace this process by `sandbox exec` of a command; each source has a warehouse of its own.

    Raises:
        SystemExit: Another one is under way, or a variable is misspelt.
    """
    for wrong in misspelt():
        raise SystemExit(f"make: {wrong.text}; {wrong.remedy}")
    program = os.environ.get("SANDBOX_COMMAND") or str(ROOT / ".venvs/sandbox/bin/sandbox")
    os.chdir(ROOT)
    _hold_lock()
    os.execve(program, [program, "exec", *options, "--", *command], {**os.environ, **LOCAL})  # noqa: S606 (no shell)


def _hold_lock() -> None:
    """Hold this folder's lock while this process lives, across `exec` too."""
    try:
        (ROOT / ".sandbox").mkdir(exist_ok=True)
        # Not truncated before the lock is held: it names the other run.
        lock = os.open(ROOT / ".sandbox" / "run.lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise SystemExit(f"make: {error.filename}: {error.strerror}; make doctor says what to do") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        other = os.read(lock, 100).decode(errors="replace").strip()
        print(
            f"make: another run is under way in this folder (process {other}); wait for it, or end it: kill {other}",
            file=sys.stderr,
        )
        raise SystemExit(1) from None
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    os.set_inheritable(lock, True)  # noqa: FBT003 (positional only)


if __name__ == "__main__":
    exec_on_sandbox(["--parts", "storage,bigquery"], sys.argv[1:])
