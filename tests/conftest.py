"""One sandbox, one Meltano project and one whole run for the tests that cross the parts."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Never

import pytest
from testkit.programs import afterwards
from testkit.project_copy import ProjectCopy, bare, copy_project
from testkit.project_files import ROOT
from testkit.whole_pipeline import (
    RUN_ALL,
    SHARED_DATA,
    BuiltPipeline,
    Project,
    Sandbox,
    program,
    running_sandbox,
)
from warehouse import Warehouse, open_warehouse

# The optional folders that the tests of a file or a folder are about: without one they are skipped by its name.
NEEDED = {
    "kestra": {"orchestrate"},
    "test_failure_alert.py": {"orchestrate", "terraform"},
    "test_image.py": {"orchestrate", "report"},
    "test_reliability_peers.py": {"benchmarks"},
    "test_report.py": {"report"},
    "terraform": {"terraform"},
}


def absent_parts(file: Path) -> list[str]:
    """The folders that a file of tests is about and that were removed."""
    needed = NEEDED.get(file.name) or NEEDED.get(file.parent.name) or ()
    return sorted(name for name in needed if not (Path(__file__).parents[1] / name).is_dir())


class RemovedPart(pytest.Module):
    """A file of tests whose part was removed; it is not imported, as it may read the part's files then."""

    def collect(self) -> Never:
        """Skip the file, by the part's name."""
        names = ", ".join(f"{name}/" for name in absent_parts(self.path))
        pytest.skip(f"{names} was removed from this project", allow_module_level=True)


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Leave a file unread whose part was removed."""
    return RemovedPart.from_parent(parent, path=module_path) if absent_parts(module_path) else None


# Before pytest-xdist reads the marks.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of one fixture together where tests run concurrently: it is costly, and made once."""
    for item in items:
        folder = item.path.parents[1].name
        groups = {
            "kestra": "kestra",
            "sandbox": "whole-pipeline",
            "fresh_clone": "fresh-clone",
            "dbt_warehouse": "dbt-warehouse",
            "own_project": item.path.name,
            "sandbox_alone": item.path.name,
            # Of a module here, of all tests of the target or the sandbox.
            "services": item.path.name if item.path.parent == Path(__file__).parent else folder,
            "stand_in": "terraform",
        }
        for fixture, group in groups.items():
            if fixture in getattr(item, "fixturenames", ()) and not item.get_closest_marker("xdist_group"):
                item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def data_options() -> list[str]:
    """The project's own answers, or the real data set where ../shared is beside the project, else a made-up universe."""
    for folder in (ROOT / "answers", SHARED_DATA):
        if folder.is_dir():
            return ["--data", str(folder)]
    return ["--universe", "characters=826,locations=126,episodes=51"]


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory, data_options: list[str]) -> Iterator[Sandbox]:
    """A sandbox for the whole session of tests, stopped at its end."""
    with running_sandbox(tmp_path_factory.mktemp("sandbox"), *data_options) as running:
        yield running


@pytest.fixture(scope="session")
def project(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The Meltano project on that sandbox."""
    return Project(sandbox, tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def services(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox of the module's own, which serves the module's `UNIVERSE`."""
    with running_sandbox(
        tmp_path_factory.mktemp("sandbox"), "--universe", request.module.UNIVERSE
    ) as running:
        yield running


@pytest.fixture(scope="session")
def dbt_warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    """Landing tables filled row by row, and one dbt process beside them; tests begin with `empty`."""
    with (
        running_sandbox(tmp_path_factory.mktemp("sandbox"), "--parts", "storage,bigquery") as sandbox,
        open_warehouse(sandbox, tmp_path_factory.mktemp("warehouse")) as found,
    ):
        yield found


@pytest.fixture
def warehouse(dbt_warehouse: Warehouse) -> Warehouse:
    """The warehouse, empty."""
    dbt_warehouse.empty()
    return dbt_warehouse


@pytest.fixture(scope="module")
def own_project(tmp_path_factory: pytest.TempPathFactory, data_options: list[str]) -> Iterator[Project]:
    """The Meltano project on a sandbox of the module's own, for tests that load what others must not see."""
    with running_sandbox(tmp_path_factory.mktemp("sandbox"), *data_options) as running:
        yield Project(running, tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def built_pipeline(project: Project) -> BuiltPipeline:
    """One whole run: `meltano run tap-rickandmorty target-bigquery dbt-bigquery:build`."""
    status, log = project.run(*RUN_ALL)
    assert status == 0, log[-6000:]
    return BuiltPipeline(project, shutil.copytree(project.folder / "dbt-target", project.folder / "built"))


@pytest.fixture(scope="session")
def fresh_clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProjectCopy]:
    """A clone in which `make run DATA=…` has run, where little is as usual.

    Its path has spaces, accents and a dollar, the PATH is the system's, the locale is C, and a proxy of the environment leads nowhere.
    """
    program("SANDBOX_COMMAND", ".venvs/sandbox/bin/sandbox")
    folder = tmp_path_factory.mktemp("fresh")
    copy = copy_project(folder / "le $clone frais à moi")
    nowhere = "http://127.0.0.1:9"
    # The copy has this project's environments: in C, Python 3.11 cannot read their paths where they are beyond ASCII.
    locale = "C" if str(ROOT).isascii() else "C.UTF-8"
    copy.env = bare(folder) | {"LC_ALL": locale, "http_proxy": nowhere, "https_proxy": nowhere}
    sandbox = ".venvs/sandbox/bin/sandbox"
    with afterwards("env", "-C", copy.folder, f"./{sandbox}", "stop"):
        copy.run(
            f"{sandbox} start --universe characters=60,locations=20,episodes=10 --parts api\n"
            f'eval "$({sandbox} env)"\n'
            f'{sandbox} capture --api-url "$TAP_RICKANDMORTY_API_URL" "it\'s données"\n{sandbox} stop'
        )
        # What is set for the cloud is not for the sandbox.
        cloud: dict[str, Any] = {"DATASET_PREFIX": "dev_", "MELTANO_ENVIRONMENT": "dev", "DBT_TARGET": "dev"}
        # Nor is what asks Meltano and dbt for silence, or for another folder.
        silent: dict[str, Any] = {
            "MELTANO_CLI_LOG_LEVEL": "error",
            "DBT_QUIET": "1",
            "DBT_TARGET_PATH": str(folder / "dbt"),
        }
        copy.run('make run DATA="it\'s données"', HOME="/dev/null/no home", **cloud, **silent)
        # So that what follows starts at once.
        copy.run("make up")
        yield copy
