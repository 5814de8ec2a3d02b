"""The Meltano project in use: Meltano's own commands, and its state in the landing bucket."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from testkit.programs import succeed
from testkit.project_copy import unmarked
from testkit.project_files import ROOT
from testkit.whole_pipeline import IMPORTS, program, running_sandbox

from testkit import warm


@pytest.fixture
def project_copy(tmp_path: Path) -> Path:
    """The files of the project that Meltano reads and writes, and the style that they are checked by."""
    for name in ("meltano.yml", ".yamllint.yaml", ".gitignore"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "plugins", tmp_path / "plugins")
    return tmp_path


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a local Cloud Storage with the landing bucket."""
    with running_sandbox(tmp_path_factory.mktemp("storage"), "--parts", "storage") as sandbox:
        yield sandbox.env


def meltano(folder: Path, *arguments: str, **environment: str) -> str:
    """Return what a command of Meltano in a folder of the test's own says on stdout."""
    command = warm.script(Path(program("MELTANO_COMMAND", ".venvs/meltano/bin/meltano")), *IMPORTS["meltano"])
    env = {"MELTANO_SEND_ANONYMOUS_USAGE_STATS": "false", "NO_COLOR": "1"}
    return succeed(
        *command, "--log-level", "warning", *arguments, cwd=folder, env=unmarked() | env | environment
    )


def test_what_meltano_writes_passes_the_style_check(project_copy: Path) -> None:
    """A setting and a schedule made by Meltano's commands leave a meltano.yml that `make lint` takes."""
    meltano(project_copy, "config", "set", "tap-rickandmorty", "max_attempts", "7")
    meltano(project_copy, "schedule", "add", "daily", "--job", "rickandmorty", "--interval", "@daily")
    written = (project_copy / "meltano.yml").read_text(encoding="utf-8")
    assert "max_attempts: 7" in written
    assert "interval: '@daily'" in written
    succeed(sys.executable, "-m", "yamllint", "--strict", "meltano.yml", cwd=project_copy)


def test_state_is_in_the_landing_bucket(project_copy: Path, bucket: dict[str, str], tmp_path: Path) -> None:
    """With Terraform's MELTANO_STATE_BACKEND_URI a bookmark outlives the machine: another one reads it back."""
    state_id = "prod:tap-rickandmorty-to-target-bigquery"
    state: dict[str, Any] = {"bookmarks": {"characters": {"replication_key_value": "2026-11-01T00:00:00Z"}}}
    there = bucket | {"MELTANO_STATE_BACKEND_URI": f"gs://{bucket['TARGET_BIGQUERY_BUCKET']}/meltano-state"}
    for day in ("01", "02"):
        state["bookmarks"]["characters"]["replication_key_value"] = f"2026-11-{day}T00:00:00Z"
        given = json.dumps({"singer_state": state})
        meltano(project_copy, "state", "set", "--force", state_id, given, **there)
    elsewhere = {**there, "MELTANO_DATABASE_URI": f"sqlite:///{tmp_path}/another-machine.db"}
    assert json.loads(meltano(project_copy, "state", "get", state_id, **elsewhere)) == {"singer_state": state}
