"""The SDK's standard tap tests, against the local API."""

from collections.abc import Iterator

import pytest
from singer_sdk.testing import SuiteConfig, get_tap_test_class
from tap_api import serving
from tap_rickandmorty.tap import TapRickAndMorty


@pytest.fixture(scope="module", autouse=True)
def api_url() -> Iterator[None]:
    """The API answers while the suite runs."""
    with serving() as api, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAP_RICKANDMORTY_API_URL", api.url)
        yield


TestTapRickAndMorty = get_tap_test_class(TapRickAndMorty, suite_config=SuiteConfig(max_records_limit=None))
