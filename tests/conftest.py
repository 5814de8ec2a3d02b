"""One sandbox, one Meltano project and one whole run for the tests that cross the parts."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from testkit.whole_pipeline import (
    RUN_ALL,
    SHARED_DATA,
    BuiltPipeline,
    Project,
    Sandbox,
    program,
    running_sandbox,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


# Before pytest-xdist reads the marks.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keeps the tests of the one whole run together where tests run side by side."""
    for item in items:
        if "sandbox" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("whole-pipeline"))


@pytest.fixture(scope="session")
def data_options() -> list[str]:
    """The real data set where ../shared is beside the project, else a made-up universe."""
    return (
        ["--data", str(SHARED_DATA)]
        if SHARED_DATA.is_dir()
        else ["--universe", "characters=826,locations=126,episodes=51"]
    )


def _project(sandbox: Sandbox, folder: Path) -> Project:
    return Project(program("MELTANO_COMMAND", ".venvs/meltano/bin/meltano"), sandbox, folder)


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory, data_options: list[str]) -> Iterator[Sandbox]:
    """A sandbox for the whole session of tests, stopped at its end."""
    with running_sandbox(tmp_path_factory.mktemp("sandbox"), *data_options) as running:
        yield running


@pytest.fixture(scope="session")
def project(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The Meltano project on that sandbox."""
    return _project(sandbox, tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def own_project(tmp_path_factory: pytest.TempPathFactory, data_options: list[str]) -> Iterator[Project]:
    """The Meltano project on a sandbox of the module's own, for tests that load what others must not see."""
    with running_sandbox(tmp_path_factory.mktemp("sandbox"), *data_options) as running:
        yield _project(running, tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def built_pipeline(project: Project) -> BuiltPipeline:
    """One whole run: `meltano run tap-rickandmorty target-bigquery dbt-bigquery:build`."""
    status, log = project.run(*RUN_ALL)
    assert status == 0, log[-6000:]
    built = BuiltPipeline(project, log)
    shutil.copytree(project.folder / "dbt-target", built.target_dir)
    return built
