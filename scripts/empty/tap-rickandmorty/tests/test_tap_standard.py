"""The SDK's standard tap tests, against the sandbox on the project's own answers."""

from collections.abc import Iterator

import pytest
from singer_sdk.testing import SuiteConfig, get_tap_test_class
from tap_rickandmorty.tap import TapRickAndMorty
from testkit.project_files import ROOT
from testkit.proxies import served
from testkit.whole_pipeline import program


@pytest.fixture(scope="module", autouse=True)
def api_url() -> Iterator[None]:
    """The API answers while the suite runs."""
    command = program("SANDBOX_COMMAND", ".venvs/sandbox/bin/sandbox")
    with served(command, "api", "--data", f"{ROOT}/answers") as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAP_RICKANDMORTY_API_URL", url)
        yield


TestTapRickAndMorty = get_tap_test_class(TapRickAndMorty, suite_config=SuiteConfig(max_records_limit=None))
