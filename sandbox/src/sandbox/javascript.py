"""JavaScript's conversions of text and JSON, and Mongoose's cast to Number, which the API's own program uses."""

from __future__ import annotations

import math
import re
from typing import Any
from urllib.parse import unquote_to_bytes

BLANK = " \t\n\v\f\r\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)
OTHER_BASES = {"0x": 16, "0o": 8, "0b": 2}


class PLAIN_OBJECT:  # noqa: N801 (stands for Object.prototype, whose names qs leaves out)
    """The names that every object has."""

    constructor = toString = valueOf = hasOwnProperty = isPrototypeOf = toLocaleString = None  # noqa: N815
    propertyIsEnumerable = __proto__ = None  # noqa: N815


def trim(text: str) -> str:
    """Return String.prototype.trim."""
    return text.strip(BLANK)


def to_string(value: Any) -> str:  # noqa: ANN401 (JSON)
    """Return String(value)."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ",".join("" if item is None else to_string(item) for item in value)
    if isinstance(value, dict):
        return "[object Object]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(int(value)) if value == value // 1 else str(value)


def number(value: str) -> float:
    """Return Number(text); nan where it is not a number."""
    trimmed = trim(value)
    if not trimmed:
        return 0.0
    if trimmed.lstrip("+-") == "Infinity" and len(trimmed) <= len("+Infinity"):
        return -math.inf if trimmed[0] == "-" else math.inf
    if base := OTHER_BASES.get(trimmed[:2].lower()):
        try:
            return float(int(trimmed[2:], base))
        except ValueError:
            return math.nan
    return float(trimmed) if DECIMAL.fullmatch(trimmed) else math.nan


def parse_int(value: str) -> Any:  # noqa: ANN401 (int, or nan)
    """Return parseInt(text): the digits at the beginning; nan where there are none."""
    match = re.match(r"([+-]?)(?:0x([0-9a-f]+)|(\d+))", value.lstrip(BLANK), re.IGNORECASE | re.ASCII)
    if match is None:
        return math.nan
    size = int(match[2], 16) if match[2] else int(match[3])
    return -size if match[1] == "-" else size


def cast(value: Any) -> float | None:  # noqa: ANN401 (JSON)
    """Return what Mongoose makes of a value for a field of type Number.

    Raises:
        ValueError: It is no number; the error's text is the value's.
    """
    if value is None or value == "":
        return None
    if isinstance(value, bool | int | float):
        result = float(value)
    else:
        result = number(value) if isinstance(value, str) else math.nan
    if math.isnan(result):
        raise ValueError("NaN" if isinstance(value, float) else to_string(value))
    return result


def decode_part(part: str) -> str:
    """Return a part of a query string, decoded; with its escapes as they are where they are not UTF-8."""
    spaced = part.replace("+", " ")
    try:
        return unquote_to_bytes(spaced).decode()
    except UnicodeDecodeError:
        return spaced
