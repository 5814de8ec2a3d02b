#!/usr/bin/env python3
"""dbt as Meltano runs it, wherever that is: a variable of the verdict that nothing reads is refused, since dbt cannot see it."""

import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent / "transform" / "dbt_project.yml"


def misspelt(names: Iterable[str]) -> list[str]:
    """Return a line for each name that starts as the verdict's variables do, and is none."""
    text = PROJECT.read_text(encoding="utf-8") if PROJECT.is_file() else ""
    checks = re.findall(r"(?m)^    (\w+): (?:fail|warn|ignore)\b", text)
    limits = re.findall(r"(?m)^  verdict_(\w+): \d", text)
    read = {f"DBT_VERDICT_{name.upper()}" for name in checks + limits}
    wrong = sorted(name for name in {*names} - read if name.startswith("DBT_VERD"))
    return [f"nothing reads {name}; expected one of {', '.join(sorted(read))}" for name in wrong]


if __name__ == "__main__":
    for line in misspelt(os.environ):
        raise SystemExit(f"dbt: {line}")
    # Meltano puts its environment first.
    os.execvp("dbt", ["dbt", *sys.argv[1:]])  # noqa: S606 (no shell)
