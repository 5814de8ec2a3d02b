"""Which functions and operators SQL uses: `python functions_used.py FILE…` prints a JSON list.

Runs in the sandbox's environment, which has sqlglot. A file of Jinja is searched for calls by name; other SQL is parsed.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import sqlglot
from sqlglot import exp

OPERATORS = (
    exp.Binary,
    exp.Unary,
    exp.Predicate,
    exp.Bracket,
    exp.Window,
    exp.Qualify,
    exp.Ordered,
    exp.Order,
)


def used(sql: str) -> set[str]:
    """Return sqlglot's names of what parsed SQL uses."""
    found = set()
    for statement in sqlglot.parse(sql, read="bigquery"):
        for node in statement.walk() if statement else ():
            if isinstance(node, exp.Anonymous):
                found.add(node.name.upper())
            elif isinstance(node, exp.Func):
                found.add(node.sql_name())
            elif isinstance(node, OPERATORS):
                found.add(type(node).__name__)
    return found


def called(sql: str) -> set[str]:
    """Return sqlglot's names of the functions that SQL among Jinja calls."""
    plain = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}|--[^\n]*", " ", sql, flags=re.DOTALL)
    names = set(re.findall(r"\b([A-Z][A-Z0-9_]+)\(", plain))
    return {found for name in names for found in one(name)}


def one(name: str) -> set[str]:
    """Return sqlglot's name of a function, whatever arguments it wants."""
    for arguments in ("x", "x, y", "x, y, DAY", "x, y, z", "x AS INT64", ""):
        try:
            return used(f"SELECT {name}({arguments})")
        except (sqlglot.errors.SqlglotError, IndexError, TypeError):  # too few arguments
            continue
    return {name}


def of(text: str) -> set[str]:
    """Return what a file uses: all of it where it is plain SQL, else its calls."""
    try:
        return called(text) if "{" in text else used(text)
    except sqlglot.errors.SqlglotError:
        return called(text)


if __name__ == "__main__":
    found = {name for path in sys.argv[1:] for name in of(Path(path).read_text("utf-8"))}
    sys.stdout.write(json.dumps(sorted(found)))
