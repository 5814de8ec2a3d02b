"""The sandbox's command, and one sandbox for the session."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from local_warehouse import Warehouse
from sandbox_command import run
from testkit.whole_pipeline import program, running_sandbox


@pytest.fixture(scope="session")
def command() -> str:
    """The sandbox's command."""
    return program("SANDBOX_COMMAND", ".venvs/sandbox/bin/sandbox")


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Cloud Storage and BigQuery for the session: their environment."""
    with running_sandbox(tmp_path_factory.mktemp("services"), "--parts", "storage,bigquery") as running:
        yield running.env


@pytest.fixture
def home(command: str, tmp_path: Path) -> Iterator[Path]:
    """A home whose parts are stopped at the end."""
    folder = tmp_path / "home"
    yield folder
    run(command, folder, "stop")


@pytest.fixture(scope="module")
def warehouse(services: dict[str, str]) -> Warehouse:
    """Clients and a dataset."""
    return Warehouse(services)
