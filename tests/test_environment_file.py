"""`.env`: what a person writes into it works, and what is left empty is not a value."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from testkit.whole_pipeline import ROOT, Project, running_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from testkit.whole_pipeline import Sandbox


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox of this module's own."""
    with running_sandbox(
        tmp_path_factory.mktemp("sandbox"), "--universe", "characters=3,locations=2,episodes=2"
    ) as running:
        yield running


class Clone:
    """The Meltano project in a folder of its own, where a `.env` can be written, on a sandbox that is the cloud."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self.folder = folder
        self.sandbox = sandbox
        self.meltano = ROOT / ".venvs" / "meltano" / "bin" / "meltano"
        # Meltano takes no link for these; the rest is only read.
        for name in ("meltano.yml", ".env.example"):
            (folder / name).write_text((ROOT / name).read_text())
        shutil.copytree(ROOT / "plugins", folder / "plugins")
        for name in ("transform", "requirements", "tap-rickandmorty", "target-bigquery"):
            (folder / name).symlink_to(ROOT / name)

    def run(self, command: str, *, without: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Run a command line of the README; `without` are variables that a person has not set."""
        runner = Project(str(self.meltano), self.sandbox, self.folder)
        hidden = ("MELTANO_RUN_ID", "MELTANO_ENVIRONMENT", *without)
        environment = {name: value for name, value in runner.environment().items() if name not in hidden}
        return subprocess.run(
            [
                "bash",
                "-euo",
                "pipefail",
                "-c",
                command.replace(".venvs/meltano/bin/meltano", shlex.quote(str(self.meltano))),
            ],
            cwd=self.folder,
            env=environment | {"PATH": os.environ["PATH"]},
            check=False,
            capture_output=True,
            text=True,
            timeout=240,
        )


@pytest.fixture
def clone(tmp_path: Path, services: Sandbox) -> Clone:
    """The project in a folder of its own."""
    folder = tmp_path / "clone"
    folder.mkdir()
    return Clone(folder, services)


IN_DOTENV = ("GOOGLE_CLOUD_PROJECT", "TARGET_BIGQUERY_BUCKET", "TARGET_BIGQUERY_SOURCE")


def test_the_steps_of_a_real_project_work_as_written(clone: Clone) -> None:
    """.env.example copied, the two lines filled in, the README's command: it loads, and dbt reaches its project."""
    page = (ROOT / "docs" / "real-project.md").read_text()
    (command,) = re.findall(r"(?m)^\S*meltano --environment=dev run .*$", page)
    fill = "cp .env.example .env; sed -i 's/^#\\(GOOGLE_CLOUD_PROJECT=\\).*/\\1local-project/; s/^#\\(TARGET_BIGQUERY_BUCKET=\\).*/\\1local-landing/' .env; "
    # The build of all marts is the business of other tests.
    done = clone.run(fill + command.replace(":build", ":debug"), without=IN_DOTENV)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert clone.sandbox.value("SELECT COUNT(*) FROM `dev_rickandmorty_landing.characters`") == 3


def test_empty_lines_of_dotenv_are_settings_that_are_not_given(clone: Clone) -> None:
    """Every variable of .env.example with nothing behind it, in each way to write that: each part takes its default."""
    names = re.findall(r"(?m)^#?([A-Z_]+)=", (ROOT / ".env.example").read_text())
    given = {"GOOGLE_CLOUD_PROJECT": "local-project", "TARGET_BIGQUERY_BUCKET": "local-landing"}
    ways = itertools.cycle(("{}=", "export {}=", "{}=''", '{}=""', "{}= # nothing"))
    lines = [f"{name}={given[name]}" if name in given else next(ways).format(name) for name in names]
    (clone.folder / ".env").write_text("\n\n".join(lines) + "\n")
    done = clone.run(
        ".venvs/meltano/bin/meltano --environment=dev run tap-rickandmorty-location target-bigquery dbt-bigquery:debug",
        without=IN_DOTENV,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


def test_the_local_environment_without_a_sandbox_asks_no_live_api(clone: Clone) -> None:
    """The tap ends before a request, and both plugins name the variable and the next step."""
    done = clone.run(
        ".venvs/meltano/bin/meltano run location",
        without=("TAP_RICKANDMORTY_API_URL", "TARGET_BIGQUERY_BUCKET"),
    )
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "sandbox exec" in said
    assert "bucket is not set: TARGET_BIGQUERY_BUCKET" in said
    assert "'make run'" in said
    assert "rickandmortyapi.com" not in said
