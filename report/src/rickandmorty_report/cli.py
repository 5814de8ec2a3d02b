"""The command line: `report build [--output FILE]`."""

import argparse
import os
import secrets
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rickandmorty_report import marts, page
from rickandmorty_report.errors import ReportError

DEFAULT_OUTPUT = "output/report.html"


def write(output: Path, html: str) -> None:
    """Write the page whole or not at all: whoever has the old one open never sees half of the new one.

    Raises:
        ReportError: The file cannot be written.
    """
    try:
        if output.exists() and not output.is_file():
            # A pipe, or /dev/stdout: nothing to put in its place.
            output.write_text(html, encoding="utf-8")
            return
        # Where a link leads, so that the link stays.
        output = output.resolve()
        output.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own: two builds at once would write into each other's.
        unfinished = output.with_name(f".{secrets.token_hex(8)}.unfinished")
        try:
            unfinished.write_text(html, encoding="utf-8")
            unfinished.replace(output)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise ReportError(
            f"{output} cannot be written: {error.strerror}; name another file with --output or REPORT_OUTPUT"
        ) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the page; return the exit status."""
    parser = argparse.ArgumentParser(prog="report", description="One self-contained HTML page of the marts.")
    build = parser.add_subparsers(dest="command", required=True).add_parser("build", help="writes the page")
    build.add_argument(
        "--output",
        type=Path,
        default=Path(os.environ.get("REPORT_OUTPUT") or DEFAULT_OUTPUT),
        help=f"the page's file (default: REPORT_OUTPUT, else {DEFAULT_OUTPUT})",
    )
    output: Path = parser.parse_args(arguments).output
    try:
        html = page.render(marts.read(os.environ), datetime.now(UTC))
        write(output, html)
    except ReportError as error:
        print(f"report: {error}", file=sys.stderr)  # noqa: T201 (the program's answer)
        return 1
    print(f"report: {output} ({len(html) // 1000:,} kB)", file=sys.stderr)  # noqa: T201 (the same)
    return 0
