"""Cloud Logging's query language, as far as alerts use it: says whether an entry is matched.

Comparisons (`= != > >= < <= : =~ !~`) of paths with quoted texts or words, `AND`, `OR`, `NOT`, parentheses, and a space for AND.
OR binds less than AND. A field that is not there matches nothing but a negation. What is not known is an error, never a match.
https://cloud.google.com/logging/docs/view/logging-query-language
"""

import re
from typing import Any

SEVERITIES = ["DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY"]
TOKEN = re.compile(r'\s*(?:(\()|(\))|(!=|>=|<=|=~|!~|=|>|<|:)|("(?:[^"\\]|\\.)*")|([\w./*-]+))')


def tokens(text: str) -> list[str]:
    """Return the words, signs and quoted texts of a filter."""
    found, at = [], 0
    while text[at:].strip():
        match = TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"not understood: {text[at : at + 40]!r}")
        found.append(next(group for group in match.groups() if group))
        at = match.end()
    return found


def value_of(token: str) -> str:
    """Return the text of a token, without its quotes."""
    return re.sub(r"\\(.)", r"\1", token[1:-1]) if token.startswith('"') else token


def field_of(entry: dict[str, Any], path: str) -> Any:
    """Return what an entry has at a path, or None."""
    found: Any = entry
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def compared(entry: dict[str, Any], path: str, sign: str, token: str) -> bool:
    """Say whether one comparison holds for an entry."""
    found, wanted = field_of(entry, path), value_of(token)
    if sign in ("!=", "!~"):
        return not compared(entry, path, {"!=": "=", "!~": "=~"}[sign], token)
    if found is None:
        return False
    if sign == "=~":
        return re.search(wanted, str(found)) is not None
    if sign == ":":
        return wanted.lower() in str(found).lower()
    if path == "severity":
        pair = (SEVERITIES.index(found), SEVERITIES.index(wanted))
    elif isinstance(found, (int, float)) and not isinstance(found, bool):
        pair = (float(found), float(wanted))  # type: ignore[assignment]
    else:
        pair = (str(found), wanted)  # type: ignore[assignment]
    return {
        "=": pair[0] == pair[1],
        ">": pair[0] > pair[1],
        ">=": pair[0] >= pair[1],
        "<": pair[0] < pair[1],
        "<=": pair[0] <= pair[1],
    }[sign]


class Reading:
    """A filter on its way to an answer for one entry."""

    def __init__(self, text: str, entry: dict[str, Any]) -> None:
        """Take the filter apart."""
        self.rest, self.entry = tokens(text), entry

    def take(self) -> str:
        """Return the next token."""
        if not self.rest:
            raise ValueError("the filter ends too early")
        return self.rest.pop(0)

    def either(self) -> bool:
        """Read what is joined by OR."""
        found = self.both()
        while self.rest and self.rest[0] == "OR":
            self.take()
            found = self.both() or found
        return found

    def both(self) -> bool:
        """Read what is joined by AND, or by nothing."""
        found = self.one()
        while self.rest and self.rest[0] not in ("OR", ")"):
            if self.rest[0] == "AND":
                self.take()
            found = self.one() and found
        return found

    def one(self) -> bool:
        """Read a comparison, its opposite, or a parenthesis."""
        word = self.take()
        if word == "NOT":
            return not self.one()
        if word == "(":
            found = self.either()
            if self.take() != ")":
                raise ValueError("a parenthesis is not closed")
            return found
        sign = self.take()
        if not re.fullmatch(r"!=|>=|<=|=~|!~|=|>|<|:", sign):
            raise ValueError(f"{word}: expected a comparison, found {sign}")
        return compared(self.entry, word, sign, self.take())


def matches(text: str, entry: dict[str, Any]) -> bool:
    """Say whether a filter matches an entry."""
    reading = Reading(text, entry)
    found = reading.either()
    if reading.rest:
        raise ValueError(f"not understood: {reading.rest}")
    return found
