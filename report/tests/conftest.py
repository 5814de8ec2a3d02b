"""A real browser without a window, and the page in it; a sandbox's BigQuery."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from opened_page import ROOT, Opener
from playwright.sync_api import Browser, Page, sync_playwright
from testkit.required_tools import missing
from testkit.whole_pipeline import running_sandbox

# CI keeps this folder.
SCREENSHOTS = ROOT / ".cache" / "report-screenshots"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, of the system."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        missing("chromium", "`apt-get install chromium` installs it; the page is tested in it")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program)
        yield running
        running.close()


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Opener]:
    """Opens pages; whatever they complain of fails the test."""
    opener = Opener(browser, tmp_path)
    yield opener
    for context in opener.contexts:
        context.close()
    assert opener.problems == []


@pytest.fixture
def screenshot() -> Callable[[Page, str], None]:
    """Keeps a picture of the whole page."""

    def keep(page: Page, name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)

    return keep


@pytest.fixture(scope="module")
def bigquery_env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A local BigQuery: the environment of this process with its address, project and credentials."""
    with running_sandbox(tmp_path_factory.mktemp("sandbox"), "--parts", "storage,bigquery") as running:
        yield os.environ | running.env
