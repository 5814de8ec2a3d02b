"""The SDK's standard tap tests, against the local API."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from singer_sdk.testing import SuiteConfig, get_tap_test_class
from tap_api import serve
from tap_rickandmorty.tap import TapRickAndMorty

if TYPE_CHECKING:
    from collections.abc import Iterator

# The suite wants its configuration when the module is read; the server answers once the module's tests begin.
SERVER = serve()


@pytest.fixture(scope="module", autouse=True)
def answering() -> Iterator[None]:
    """The API answers while the suite runs."""
    thread = threading.Thread(target=SERVER.serve_forever, args=(0.02,))
    thread.start()
    yield
    SERVER.shutdown()
    thread.join()
    SERVER.server_close()


TestTapRickAndMorty = get_tap_test_class(
    TapRickAndMorty,
    config={"api_url": SERVER.api.url},
    suite_config=SuiteConfig(max_records_limit=None),
)
