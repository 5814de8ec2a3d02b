"""Writes files that are made from the code, or checks that they are current."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def write(wanted: dict[Path, str | None], remedy: str, *, check: bool) -> int:
    """Write each file whose text is not the one wanted, and remove those of which none is; name them on stderr.

    Args:
        wanted: Each file's text; None where there is to be no file.
        remedy: What writes the files, for the message of a check.
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
            print(f"{name}: not what the code says; run {remedy}", file=sys.stderr)
        elif text is None:
            path.unlink()
            print(f"{name}: removed: nothing in the code makes it", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"{name}: written", file=sys.stderr)
    return int(check and stale > 0)
