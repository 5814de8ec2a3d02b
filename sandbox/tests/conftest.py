"""The sandbox's command, and one sandbox for the session."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def command() -> str:
    """The sandbox's command."""
    path = os.environ.get("SANDBOX_COMMAND") or str(ROOT / ".venvs/sandbox/bin/sandbox")
    if not Path(path).is_file():
        pytest.skip(f"SANDBOX_COMMAND names no program ({path}); `make test` installs it")
    return path


@pytest.fixture(scope="session")
def services(command: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Cloud Storage and BigQuery for the session: their environment."""
    home = str(tmp_path_factory.mktemp("services"))
    subprocess.run([command, "--home", home, "start", "--parts", "storage,bigquery"], check=True, timeout=90)
    try:
        env = subprocess.run(
            [command, "--home", home, "env", "--format", "json"], check=True, capture_output=True, text=True
        )
        yield json.loads(env.stdout)
    finally:
        subprocess.run([command, "--home", home, "stop"], check=True, timeout=60)
