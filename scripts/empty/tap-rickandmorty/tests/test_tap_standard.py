"""The SDK's standard tap tests, against the sandbox on the project's own answers."""

import json
import subprocess
from collections.abc import Iterator

import pytest
from singer_sdk.testing import SuiteConfig, get_tap_test_class
from tap_rickandmorty.tap import TapRickAndMorty
from testkit.project_files import ROOT
from testkit.whole_pipeline import program

# The suite wants its configuration when the module is read: the sandbox's API is up by then, and ends with the tests.
API = subprocess.Popen(
    [program("SANDBOX_COMMAND", ".venvs/sandbox/bin/sandbox"), "api", "--data", ROOT / "answers"],
    stdout=subprocess.PIPE,
    text=True,
)
assert API.stdout is not None
URL = json.loads(API.stdout.readline())["url"]


@pytest.fixture(scope="module", autouse=True)
def api() -> Iterator[None]:
    """The API answers while the suite runs."""
    yield
    API.terminate()
    API.wait()


TestTapRickAndMorty = get_tap_test_class(
    TapRickAndMorty, config={"api_url": URL}, suite_config=SuiteConfig(max_records_limit=None)
)
