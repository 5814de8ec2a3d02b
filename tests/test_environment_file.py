"""`.env`: what a person writes into it works, and what is left empty is not a value."""

import itertools
import re
from pathlib import Path

import pytest
from testkit.project_copy import ProjectCopy, copy_project
from testkit.project_files import ROOT
from testkit.whole_pipeline import Project, Sandbox

UNIVERSE = "characters=3,locations=2,episodes=2"


@pytest.fixture
def clone(tmp_path: Path, services: Sandbox) -> ProjectCopy:
    """The project in a folder of its own, where a `.env` can be written, on a sandbox that is the cloud."""
    copy = copy_project(tmp_path / "clone")
    copy.env = Project(services, tmp_path).environment()
    return copy


def run(clone: ProjectCopy, command: str, *unset: str, status: int = 0) -> str:
    """Return what a command line of the pages prints; `unset` are variables that a person has not set."""
    for name in ("MELTANO_RUN_ID", "MELTANO_ENVIRONMENT", *unset):
        clone.env.pop(name, None)
    return clone.run(command, status=status)


IN_DOTENV = ("GOOGLE_CLOUD_PROJECT", "TARGET_BIGQUERY_BUCKET", "TARGET_BIGQUERY_SOURCE")


@pytest.mark.slow
def test_the_steps_of_a_real_project_work_as_written(clone: ProjectCopy, services: Sandbox) -> None:
    """.env.example copied, the two lines filled in, the page's command: it loads, and dbt reaches its project."""
    page = (ROOT / "docs" / "real-project.md").read_text()
    (command,) = re.findall(r"(?m)^\S*meltano --environment=dev run .*$", page)
    fill = "cp .env.example .env; sed -i 's/^#\\(GOOGLE_CLOUD_PROJECT=\\).*/\\1local-project/; s/^#\\(TARGET_BIGQUERY_BUCKET=\\).*/\\1local-landing/' .env; "
    # The build of all marts is the business of other tests.
    run(clone, fill + command.replace(":build", ":debug"), *IN_DOTENV)
    assert services.value("SELECT COUNT(*) FROM `dev_rickandmorty_landing.characters`") == 3


@pytest.mark.slow
def test_empty_lines_of_dotenv_are_settings_that_are_not_given(clone: ProjectCopy) -> None:
    """Every variable of .env.example with nothing behind it, in each way to write that: each part takes its default."""
    names = re.findall(r"(?m)^#?([A-Z_]+)=", (ROOT / ".env.example").read_text())
    given = {"GOOGLE_CLOUD_PROJECT": "local-project", "TARGET_BIGQUERY_BUCKET": "local-landing"}
    ways = itertools.cycle(("{}=", "export {}=", "{}=''", '{}=""', "{}= # nothing"))
    lines = [f"{name}={given[name]}" if name in given else next(ways).format(name) for name in names]
    (clone.folder / ".env").write_text("\n\n".join(lines) + "\n")
    blocks = "tap-rickandmorty-location target-bigquery dbt-bigquery:debug"
    run(clone, f".venvs/meltano/bin/meltano --environment=dev run {blocks}", *IN_DOTENV)


# One at a time: Meltano ends the plugin that has not written its line yet when the other one has failed.
@pytest.mark.parametrize(
    ("unset", "message"),
    [
        pytest.param("TAP_RICKANDMORTY_API_URL", "sandbox exec", marks=pytest.mark.slow),
        ("TARGET_BIGQUERY_BUCKET", "bucket is not set: TARGET_BIGQUERY_BUCKET"),
    ],
)
def test_the_local_environment_without_a_sandbox_asks_no_live_api(
    clone: ProjectCopy, unset: str, message: str
) -> None:
    """The run ends before a request to the live API, and names the variable and the next step."""
    log = run(clone, ".venvs/meltano/bin/meltano run location", unset, status=1)
    assert message in log
    assert "'make run'" in log
    assert "rickandmortyapi.com" not in log
