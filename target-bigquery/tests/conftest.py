"""Cloud Storage and BigQuery for the target's tests: those the environment names, else the sandbox's."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of the local services, set for this process as well."""
    if os.environ.get("STORAGE_EMULATOR_HOST") and os.environ.get("BIGQUERY_EMULATOR_HOST"):
        yield dict(os.environ)
        return
    command = os.environ.get("SANDBOX_COMMAND") or str(
        Path(__file__).resolve().parents[2] / ".venvs/sandbox/bin/sandbox"
    )
    if not Path(command).is_file():
        pytest.skip(f"SANDBOX_COMMAND names no program ({command})")
    home = str(tmp_path_factory.mktemp("cloud"))
    subprocess.run([command, "--home", home, "start", "--parts", "storage,bigquery"], check=True, timeout=90)
    try:
        env = subprocess.run(
            [command, "--home", home, "env", "--format", "json"], check=True, capture_output=True, text=True
        )
        given: dict[str, str] = json.loads(env.stdout)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in given.items():
                patch.setenv(name, value)
            yield given
    finally:
        subprocess.run([command, "--home", home, "stop"], check=True, timeout=60)
