"""Writes files that are generated, or checks that they are current."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from command_line import OneLine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path(__file__).resolve().parent.parent


def write(wanted: Mapping[Path, str | None], remedy: str, *, check: bool) -> int:
    """Write each file whose text differs, remove each that is not wanted, and name them on stderr.

    Args:
        wanted: Each file's text; None for a file to remove.
        remedy: The command that writes the files, for the message of a check.
        check: Write nothing.

    Returns:
        The exit status: 1 where a check finds a difference.
    """
    stale = 0
    for path, text in wanted.items():
        if (path.read_text(encoding="utf-8") if path.exists() else None) == text:
            continue
        stale += 1
        name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        if check:
            print(f"{name}: out of date; run {remedy}", file=sys.stderr)
        elif text is None:
            path.unlink()
            print(f"{name}: removed: nothing generates it", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"{name}: written", file=sys.stderr)
    return int(check and stale > 0)


def main(description: str | None, generate: Callable[[], Mapping[Path, str | None]], remedy: str) -> int:
    """Write what `generate` returns (see write), or check it with `--check`; return the exit status: 2 for a ValueError."""
    parser = OneLine(description=(description or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 on a difference")
    check = parser.parse_args().check
    try:
        return write(generate(), remedy, check=check)
    except ValueError as error:
        parser.error(str(error))
