"""The sandbox's command, and one sandbox for the session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from testkit.whole_pipeline import program, running_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def command() -> str:
    """The sandbox's command."""
    return program("SANDBOX_COMMAND", ".venvs/sandbox/bin/sandbox")


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Cloud Storage and BigQuery for the session: their environment."""
    with running_sandbox(tmp_path_factory.mktemp("services"), "--parts", "storage,bigquery") as running:
        yield running.env
