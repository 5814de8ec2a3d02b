"""The sandbox's command, run to its end or refused."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from testkit import programs

# What exec starts in these tests: the quickest of the parts.
API = ("exec", "--parts", "api", "--universe", "characters=3")


def run(command: str, home: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the sandbox to its end."""
    kept = {k: v for k, v in os.environ.items() if not k.endswith("EMULATOR_HOST")}
    return programs.run(command, "--home", home, *arguments, env={**kept, **env})


def refusal(command: str, home: Path, *arguments: str, **env: str) -> str:
    """Return the one line of a command that ends with status 1."""
    done = run(command, home, *arguments, **env)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    return done.stderr


def state(home: Path) -> dict[str, Any]:
    """Return what a home knows of its parts."""
    file = home / "state.json"
    parts: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return parts


def write_records(folder: Path, text: str = '{"id": 1}\n') -> Path:
    """Write a data folder with one record per resource."""
    folder.mkdir(exist_ok=True)
    for name in ("character", "location", "episode"):
        (folder / f"{name}.jsonl").write_text(text)
    return folder
