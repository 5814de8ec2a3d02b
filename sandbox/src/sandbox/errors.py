"""Errors that end a command of the sandbox with one line, and how that line names the command."""

import os
import shlex
import shutil
import sys
from pathlib import Path


def sandbox_command(*words: str) -> str:
    """Return a command of the sandbox as a person can type it here: by its path where it is not on the PATH."""
    program = Path(sys.argv[0])
    if shutil.which("sandbox") or program.name != "sandbox":
        return f"'{' '.join(('sandbox', *words))}'"
    beside = os.path.relpath(program)
    return f"'{' '.join((shlex.quote(min(beside, str(program), key=len)), *words))}'"


class SandboxError(Exception):
    """Ends the command with one line on stderr and status 1."""


class Ended(Exception):  # noqa: N818 (a signal, not an error)
    """A signal asks this process to end; the signal's number is its argument."""
