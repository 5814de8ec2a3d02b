"""Names that BigQuery takes, made of the names that taps send.

Letters, marks and digits of every script and the underscore; no leading digit; at most 300 characters; some prefixes
reserved; names differ by more than case (https://cloud.google.com/bigquery/docs/schemas#column_names and its section on
flexible names; tables: https://cloud.google.com/bigquery/docs/tables#table_naming).
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from target_bigquery.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST = 300
LEDGER = "_loads"
RESERVED = ("_TABLE_", "_FILE_", "_PARTITION", "_ROW_TIMESTAMP", "__ROOT__", "_COLIDENTIFIER", "_CHANGE_")
KEPT = ("L", "M", "N")


def clean(name: str) -> str:
    """Return the BigQuery name for a field or stream.

    Raises:
        TargetError: Nothing of the name can be kept, or it is too long.
    """
    cleaned = "".join(
        one if one == "_" or unicodedata.category(one).startswith(KEPT) else "_"
        for one in unicodedata.normalize("NFC", name)
    )
    if not cleaned.strip("_"):
        raise TargetError(
            f"the name {name!r} has no letter or digit that BigQuery takes; rename it with a stream map"
        )
    if unicodedata.category(cleaned[0]).startswith(("N", "M")):
        cleaned = f"_{cleaned}"
    if cleaned.upper().startswith(RESERVED):
        cleaned = f"x{cleaned}"
    if len(cleaned) > LONGEST:
        raise TargetError(f"the name {name[:40]!r}… has {len(cleaned)} characters, BigQuery takes {LONGEST}")
    return cleaned


def clean_all(names: Iterable[str], where: str) -> dict[str, str]:
    """Return the BigQuery name of each name.

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
