"""Cloud Storage and BigQuery for the target's tests: those the environment names, else the sandbox's, strict.

The target's account has the roles of its README: datasets are the owner's to make.
"""

import os
from collections.abc import Iterator

import pytest
from testkit.target_bench import Bench
from testkit.whole_pipeline import running_sandbox


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The local services of the session: their environment."""
    if os.environ.get("STORAGE_EMULATOR_HOST") and os.environ.get("BIGQUERY_EMULATOR_HOST"):
        yield dict(os.environ)
        return
    with running_sandbox(
        tmp_path_factory.mktemp("cloud"), "--parts", "storage,bigquery", "--strict"
    ) as running:
        yield running.env


@pytest.fixture(scope="module")
def cloud(services: dict[str, str]) -> Iterator[dict[str, str]]:
    """The environment of the local services, set for this process as well."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in services.items():
            patch.setenv(name, value)
        yield services


@pytest.fixture
def bench(cloud: dict[str, str]) -> Bench:
    """A fresh dataset, and the target on it."""
    fresh = Bench(cloud)
    fresh.owner().create_dataset(fresh.dataset)
    return fresh
