"""The page of a made-up world, open in a browser."""

import functools
from pathlib import Path
from typing import Any

import made_up_marts
from playwright.sync_api import Browser, BrowserContext, Page, Request
from rickandmorty_report import page as report_page

ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def html(world: str, *arguments: str) -> str:
    """The page of one of the made-up worlds."""
    return report_page.render(getattr(made_up_marts, world)(*arguments), made_up_marts.MADE_AT)


class Opener:
    """Opens pages and keeps what goes wrong in them: console messages, errors, requests to anywhere."""

    def __init__(self, browser: Browser, folder: Path) -> None:
        self.browser = browser
        self.folder = folder
        self.problems: list[str] = []
        self.contexts: list[BrowserContext] = []

    def __call__(
        self,
        world: str = "marts",
        *arguments: str,
        width: int = 1280,
        scheme: Any = "light",
        scripts: bool = True,
    ) -> Page:
        """Opens the page of a world and waits until its charts are drawn, if scripts run."""
        file = self.folder / f"{world}.html"
        file.write_text(html(world, *arguments), encoding="utf-8")
        context = self.browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            reduced_motion="reduce",
            java_script_enabled=scripts,
        )
        self.contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: self.problems.append(message.text))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", self.keep_foreign)
        page.goto(file.as_uri())
        if scripts:
            page.wait_for_selector("html[data-drawn]")
        return page

    def keep_foreign(self, asked: Request) -> None:
        """Keep a request to anywhere."""
        if not asked.url.startswith(("file:", "data:")):
            self.problems.append(asked.url)
