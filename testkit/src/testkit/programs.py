"""Programs that a test runs to their end."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def run(
    *command: str | Path,
    stdin: str | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    seconds: float = 300,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, whatever its exit status; return it with what it wrote."""
    return subprocess.run(
        command, input=stdin, cwd=cwd, env=env, timeout=seconds, check=False, capture_output=True, text=True
    )


def succeed(
    *command: str | Path,
    stdin: str | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    seconds: float = 300,
) -> str:
    """Run a program that has to succeed; return its standard output."""
    done = run(*command, stdin=stdin, cwd=cwd, env=env, seconds=seconds)
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout
