"""Writes the files that are generated, or checks that they are current.

    python scripts/generated_files.py [--check] [GENERATOR ...]

A generator is a module beside this one, whose `generated` returns the text of each of its files; without a name all of them
run. Exit status 1 when a check finds a difference, 2 when what a generator reads is not valid.
"""

import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from command_line import OneLine, end_with

ROOT = Path(__file__).resolve().parent.parent
GENERATORS = ("entities", "landing_schemas", "plugin_locks", "reference_docs")


def write(wanted: Mapping[Path, str | None], *, check: bool = False) -> int:
    """Write each file whose text differs, remove each that is not wanted, and name them on stderr; all of them or none.

    Args:
        wanted: Each file's text; None for a file to remove.
        check: Write nothing.

    Returns:
        The exit status: 1 where a check finds a difference.
    """
    stale = {
        path: text
        for path, text in wanted.items()
        if (path.read_text(encoding="utf-8") if path.exists() else None) != text
    }
    if not check:
        _replace(stale)
    for path, text in stale.items():
        name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        done = "removed: nothing generates it" if text is None else "written"
        print(f"{name}: {'out of date; run make docs' if check else done}", file=sys.stderr)
    return int(check and bool(stale))


def _replace(texts: Mapping[Path, str | None]) -> None:
    """Replace files once each has its new text beside it: a full disk leaves what a person has written."""
    drafts: dict[Path, Path] = {}
    try:
        for path, text in texts.items():
            if text is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                drafts[path] = path.with_name(f".{path.name}.new")
                drafts[path].write_text(text, encoding="utf-8")
        for path in texts:
            drafts[path].replace(path) if path in drafts else path.unlink()
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)


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
