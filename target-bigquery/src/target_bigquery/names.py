"""Names that BigQuery accepts, made from the names that taps send.

Letters, marks and digits of every script and the underscore; no leading digit; at most 300 characters; some prefixes
reserved; names differ by more than case (https://cloud.google.com/bigquery/docs/schemas#column_names and its section on
flexible names; tables: https://cloud.google.com/bigquery/docs/tables#table_naming).
"""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Container, Iterable

LONGEST, MARK = 300, 6
LONGEST_DESCRIPTION = 1024
LEDGER = "_loads"
RESERVED = ("_TABLE_", "_FILE_", "_PARTITION", "_ROW_TIMESTAMP", "__ROOT__", "_COLIDENTIFIER", "_CHANGE_")
KEPT = ("L", "M", "N")


def clean(name: str, *, mark: bool = False) -> str:
    """Return the BigQuery name for a field or stream.

    A name that is too long, or of which nothing can be kept, ends in a hash of the whole name; with `mark` any name does.
    """
    cleaned = "".join(
        one if one == "_" or unicodedata.category(one).startswith(KEPT) else "_"
        for one in unicodedata.normalize("NFC", name)
    )
    if mark or len(cleaned) > LONGEST - 1 or (not cleaned.strip("_") and cleaned != name) or not name:
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:MARK]
        cleaned = f"{cleaned[: LONGEST - MARK - 2]}_{digest}"
    if unicodedata.category(cleaned[0]).startswith(("N", "M")):
        cleaned = f"_{cleaned}"
    return f"x{cleaned}" if cleaned.upper().startswith(RESERVED) else cleaned


def clean_all(names: Iterable[str], taken: Container[str] = ()) -> dict[str, str]:
    """Return the BigQuery name of each name: unique without regard to case, and none that is `taken`.

    Names that would be the same column all end in a hash, so that none inherits the values of another's column.
    """
    cleaned = {name: clean(name) for name in names}
    cleaned = {name: f"x{new}" if new.lower() in taken else new for name, new in cleaned.items()}
    counted = Counter(new.lower() for new in cleaned.values())
    return {
        name: clean(name, mark=True) if counted[new.lower()] > 1 else new for name, new in cleaned.items()
    }


def described(description: str, kind: str, name: str) -> str:
    """Return the description of a column or table as BigQuery takes it, which ends with its name at the source.

    Args:
        description: What else is known of it.
        kind: What the source has under that name: a field or a stream.
        name: The name at the source, empty where it is that in BigQuery.
    """
    note = f" The source's {kind} {name}."[:LONGEST_DESCRIPTION] if name else ""
    text = f"{description[: LONGEST_DESCRIPTION - len(note)]}{note}".strip()
    # Half of a surrogate pair is no character.
    return text.encode("utf-8", "replace").decode()


def at_source(description: str | None, kind: str) -> str | None:
    """Return the name at the source of a column or table that was `described`, None where its description has none."""
    _, found, name = (description or "").rpartition(f"The source's {kind} ")
    return name.removesuffix(".") if found else None
