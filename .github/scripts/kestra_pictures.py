#!/usr/bin/env python3
"""Take pictures of the pipeline's form and topology in Kestra's own pages.

KESTRA_URL=http://localhost:8080 KESTRA_TOKEN=user:password KESTRA_NAMESPACE=rickandmorty.local kestra_pictures.py FOLDER
"""

import os
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

TABS = ("topology", "overview", "edit")


def main(folder: Path) -> int:
    """Take the pictures; return the exit status."""
    folder.mkdir(parents=True, exist_ok=True)
    user, _, password = os.environ["KESTRA_TOKEN"].partition(":")
    flow = f"{os.environ['KESTRA_URL'].rstrip('/')}/ui/main/flows/edit/{os.environ['KESTRA_NAMESPACE']}/rick_and_morty_pipeline"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch()
        page = browser.new_page(
            viewport={"width": 1600, "height": 1000},
            http_credentials={"username": user, "password": password},
        )
        for tab in TABS:
            page.goto(f"{flow}/{tab}", wait_until="networkidle")
            if page.locator("input[type=password]").count():
                page.locator("input").first.fill(user)
                page.locator("input[type=password]").fill(password)
                page.keyboard.press("Enter")
                page.wait_for_load_state("networkidle")
                page.goto(f"{flow}/{tab}", wait_until="networkidle")
            page.screenshot(path=folder / f"{tab}.png")
        execute = page.get_by_role("button", name="Execute").first
        execute.click()
        page.get_by_text("Fetch from the API").first.wait_for()
        page.screenshot(path=folder / "form.png")
        browser.close()
    print(f"{len(TABS) + 1} pictures in {folder}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
