"""Writes the files that are generated, or checks that they are current.

    python scripts/generated_files.py [--check] [GENERATOR ...]

A generator is a module beside this one, whose `generated` returns the text of each of its files; without a name all of them
run. Exit status 1 when a check finds a difference, 2 when what a generator reads is not valid.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from command_line import OneLine, end_with

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parent.parent
GENERATORS = ("entities", "landing_schemas", "plugin_locks", "reference_docs")


def write(wanted: Mapping[Path, str | None], *, check: bool = False) -> int:
    """Write each file whose text differs, remove each that is not wanted, and name them on stderr.

    Args:
        wanted: Each file's text; None for a file to remove.
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
            print(f"{name}: out of date; run make docs", file=sys.stderr)
        elif text is None:
            path.unlink()
            print(f"{name}: removed: nothing generates it", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"{name}: written", file=sys.stderr)
    return int(check and stale > 0)


def main() -> int:
    """Run the command line; return the exit status."""
    parser = OneLine(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 on a difference")
    parser.add_argument("generators", nargs="*", help=f"of {', '.join(GENERATORS)} (default: all)")
    options = parser.parse_args()
    if unknown := sorted({*options.generators} - {*GENERATORS}):
        parser.error(f"{' '.join(unknown)}: expected one of {' '.join(GENERATORS)}")
    wanted: dict[Path, str | None] = {}
    try:
        for name in options.generators or GENERATORS:
            wanted |= import_module(name).generated()
        return write(wanted, check=options.check)
    except (OSError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    end_with(main)
