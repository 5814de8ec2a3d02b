"""Errors that end a command of the sandbox with one line, and how that line names the command."""

import os
import shlex
import shutil
import sys
from pathlib import Path


def sandbox_command(words: str) -> str:
    """Return a command of the sandbox as a person can type it here: by its path where it is not on the PATH, with the home that was named."""
    program, named = Path(sys.argv[0]), sys.argv[1:2]
    command = "sandbox"
    if program.name == command and not shutil.which(command):
        command = min(os.path.relpath(program), str(program), key=len)
    home = sys.argv[1:3] if named == ["--home"] else [word for word in named if word.startswith("--home=")]
    return f"'{shlex.join([command, *home])} {words}'"


class SandboxError(Exception):
    """Ends the command with one line on stderr and status 1."""


class Ended(Exception):  # noqa: N818 (a signal, not an error)
    """A signal asks this process to end; the signal's number is its argument."""
