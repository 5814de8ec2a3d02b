"""Sphinx: these pages as a site (`make site`); a link that leads nowhere is an error."""

# ruff: noqa: INP001 (Sphinx's own file)
import os
import re
import shlex
import sys
from pathlib import Path

from sphinx.application import Sphinx
from testkit.project_files import REMOVED_FOLDERS

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent

project = "Rick and Morty ELT"
author = "The project's contributors"
extensions = ["myst_parser", "sphinxcontrib.mermaid"]
html_theme = "furo"
html_title = project
exclude_patterns = ["_build"]
myst_heading_anchors = 3
myst_fence_as_directive = ["mermaid"]
# Drawn when the site is built, so that a reader's browser asks nobody else.
mermaid_output_format = "svg"
mermaid_cmd = shlex.quote(str(Path(sys.executable).with_name("mmdr")))
nitpicky = True
# dbt's SQL has Jinja in it.
suppress_warnings = ["misc.highlighting_failure"]
# The page that is about one part alone.
if "benchmarks" in REMOVED_FOLDERS:
    exclude_patterns.append("performance.md")
    suppress_warnings += ["toc.excluded", "toc.not_readable", "myst.xref_missing"]
linkcheck_timeout = 30
linkcheck_retries = 2


def link_to_the_repository(app: Sphinx, page: str, source: list[str]) -> None:  # noqa: ARG001 (Sphinx's order)
    """Lead links that leave these pages to the repository; without one, leave their text.

    Raises:
        FileNotFoundError: There is no such file.
    """
    repository = os.environ.get("GITHUB_REPOSITORY")

    def link(found: re.Match[str]) -> str:
        path = (DOCS / page).parent.joinpath(found[2]).resolve()
        if path.is_relative_to(DOCS):
            return found[0]
        if path.relative_to(ROOT).parts[0] in REMOVED_FOLDERS:
            return found[1]
        if not path.exists():
            raise FileNotFoundError(f"docs/{page}.md: {found[0]} leads nowhere")
        if not repository:
            return found[1]
        return f"[{found[1]}](https://github.com/{repository}/blob/main/{path.relative_to(ROOT)}{found[3] or ''})"

    source[0] = re.sub(r"\[([^\]]+)\]\((\.\./[^)#\s]*)(#[^)\s]*)?\)", link, source[0])


def setup(app: Sphinx) -> None:
    """Register the above."""
    app.connect("source-read", link_to_the_repository)
