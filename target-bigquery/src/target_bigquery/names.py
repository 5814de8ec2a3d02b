"""Names that BigQuery takes, made of the names that taps send.

Rules: https://cloud.google.com/bigquery/docs/schemas#column_names (letters, digits, underscores; no leading digit;
at most 300 characters; some prefixes reserved; names differ by more than case).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from target_bigquery.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST = 300
LEDGER = "_loads"
RESERVED = ("_TABLE_", "_FILE_", "_PARTITION", "_ROW_TIMESTAMP", "__ROOT__", "_COLIDENTIFIER", "_CHANGE_")


def clean(name: str) -> str:
    """Gives the BigQuery name for a field or stream.

    Raises:
        TargetError: Nothing of the name can be kept, or it is too long.
    """
    cleaned = re.sub(r"[^A-Za-z0-9_]", "_", name)
    if not cleaned.strip("_"):
        raise TargetError(
            f"the name {name!r} has no letter or digit that BigQuery takes; rename it with a stream map"
        )
    if cleaned[0].isdigit():
        cleaned = f"_{cleaned}"
    if cleaned.upper().startswith(RESERVED):
        cleaned = f"x{cleaned}"
    if len(cleaned) > LONGEST:
        raise TargetError(f"the name {name[:40]!r}… has {len(cleaned)} characters, BigQuery takes {LONGEST}")
    return cleaned


def clean_all(names: Iterable[str], where: str) -> dict[str, str]:
    """Gives the BigQuery name of each name.

    Raises:
        TargetError: Two names become the same one, upper and lower case not told apart.
    """
    taken: dict[str, str] = {}
    cleaned = {}
    for name in names:
        new = clean(name)
        other = taken.setdefault(new.lower(), name)
        if other != name:
            raise TargetError(
                f"{where}: the fields {other!r} and {name!r} would both be column {new}; rename one with a stream map"
            )
        cleaned[name] = new
    return cleaned
