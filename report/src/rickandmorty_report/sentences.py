"""The wording of sentences about rows: counts, enumerations, who has the most, names that tell rows apart."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from rickandmorty_report.marts import Row

# Names in a sentence before the rest is counted.
NAMED = 3


def counted(number: float, noun: str) -> str:
    """Return a number with its noun, in the plural where it is not one."""
    return f"{number:,} {noun if number == 1 else noun + 's'}"


def enumeration(names: list[str]) -> str:
    """Return names as an enumeration: three by name, the rest by number."""
    more = len(names[NAMED:])
    parts = [*names[:NAMED], f"{more:,} more"] if more else names
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def leaders(rows: list[Row], column: str) -> tuple[list[Row], float, bool]:
    """Return the rows with the largest value, that value, and whether rows that were left out may have it too."""
    most = max((row[column] or 0 for row in rows), default=0)
    found = [row for row in rows if (row[column] or 0) == most]
    return found, most, len(found) == len(rows) < (rows[0].get("total_rows") or 0 if rows else 0)


def most_sentence(
    rows: list[Row], column: str, name: Callable[[Row], str], verb: tuple[str, str], noun: str
) -> str:
    """Return a sentence about who has the most: all of them where several do.

    Args:
        rows: At least one.
        column: The figure that is compared.
        name: A row's name.
        verb: What one does and what several do, such as `("appears most: in", "appear most: in")`.
        noun: Of the figure, for one.
    """
    found, most, others = leaders(rows, column)
    if not most:
        return f"None has any {noun}."
    if len(found) == 1:
        return f"{name(found[0])} {verb[0]} {counted(most, noun)}."
    who = f"At least {len(found):,}" if others else enumeration([name(row) for row in found])
    return f"{who} {verb[1]} {counted(most, noun)} each."


def distinct_names(rows: Iterable[Row], key: str, name: str) -> dict[Any, str]:
    """Return each key's name, no two alike: the key is added where two share one; an empty name is shown as such."""
    names = {row[key]: row[name] or "(no name)" for row in rows}
    often = Counter(names.values())
    distinct = {k: f"{n} #{k}" if often[n] > 1 else n for k, n in names.items()}
    # A name may be another's with its key.
    taken = len(set(distinct.values())) < len(distinct)
    return {k: f"{n} #{k}" for k, n in names.items()} if taken else distinct
