"""A real browser without a window, and the page in it; a sandbox's BigQuery."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from opened_page import ROOT, Opener
from playwright.sync_api import sync_playwright
from required_tools import missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

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
    command = os.environ.get("SANDBOX_COMMAND") or str(ROOT / ".venvs/sandbox/bin/sandbox")
    if not Path(command).is_file():
        pytest.skip(f"SANDBOX_COMMAND names no program ({command}); `make install` installs it")
    sandbox = [command, "--home", str(tmp_path_factory.mktemp("sandbox"))]
    subprocess.run([*sandbox, "start", "--parts", "storage,bigquery"], check=True, timeout=90)
    try:
        told = subprocess.run(
            [*sandbox, "env", "--format", "json"], check=True, capture_output=True, text=True
        )
        yield os.environ | json.loads(told.stdout)
    finally:
        subprocess.run([*sandbox, "stop"], check=True, timeout=60)
