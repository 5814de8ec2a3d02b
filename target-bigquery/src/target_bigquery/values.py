"""A record's values as BigQuery's JSON load job reads them: by BigQuery's grammar, not Python's.

Values that the job accepts are passed on unchanged. Others are converted where they have an equivalent form
(`20240101T000000Z`, a week date, an offset beyond ±14:00). What would lose something is refused, unless loss is allowed.

Grammar and ranges: https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types and
https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-json#details_of_loading_json_data
"""

import math
import re
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import partial
from typing import Any

from target_bigquery.errors import ValueRefusedError

INT64 = range(-(2**63), 2**63)
# A JSON column keeps unsigned 64 bits too.
JSON_INTEGERS = range(-(2**63), 2**64)
EXACT_IN_DOUBLE = range(-(2**53), 2**53 + 1)
# A double keeps every number with this many digits, except for those that are nearly 0.
DOUBLE_DIGITS = 15
MOST_DIGITS = 400
# https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#json_type
DEEPEST_JSON = 500

# No type has an exponent of ten digits, and Python's decimals none of nineteen.
DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,9})?")
AT = re.compile(
    r"\d{4}-\d\d-\d\d(?:[Tt ](?:[01]\d|2[0-3]):\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-](?:0\d:[0-5]\d|1[0-3]:[0-5]\d|14:00))?)?",
    re.ASCII,
)
DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
OF_DAY = re.compile(r"(?:[01]\d|2[0-3]):\d\d:\d\d(?:\.\d{1,6})?", re.ASCII)
# Looser forms, of ISO 8601 and of BigQuery.
LOOSE = re.compile(
    r"""(?=T?\d)
    (?:(?P<day>\d{4}-\d{1,2}-\d{1,2}|\d{8}|\d{4}-?W\d\d(?:-?\d)?))?
    (?:(?:^T?|[T ])(?P<clock>\d{1,2}(?::\d{1,2}){0,2}|\d{4}(?:\d\d)?)(?:[.,](?P<fraction>\d+))?)?
    (?:\ ?(?P<zone>Z|UTC|GMT|[+-](?:\d{1,2}(?::\d\d){0,2}|\d{4}(?:\d\d)?)))?""",
    re.ASCII | re.IGNORECASE | re.VERBOSE,
)
FIRST_DAY, LAST_DAY = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
EDGE_YEARS = ("0001", "9999")
MICROSECOND_DIGITS = 6
UNLESS = " unless allow_loss is set"
FINEST = f", of at most microseconds{UNLESS}"

# Digits before and after the point (https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#decimal_types).
DECIMALS = {"NUMERIC": (29, 9), "BIGNUMERIC": (38, 38)}


def converters(*, lossy: bool, wide: Callable[[], None] = lambda: None) -> dict[str, Callable[[Any], Any]]:
    """Return the conversion for each column type; it raises ValueRefusedError for values that do not fit.

    Args:
        lossy: Whether digits that a column cannot hold are cut instead of refused.
        wide: Called for each integer or decimal that a FLOAT would round.
    """

    def integer(value: Any) -> int:  # noqa: ANN401 (JSON)
        whole = _integer(value)
        if whole not in EXACT_IN_DOUBLE:
            wide()
        return whole

    def decimal(value: Any, kind: str) -> str:  # noqa: ANN401 (JSON)
        digits = _decimal(value, kind=kind, lossy=lossy)
        if len(digits) > DOUBLE_DIGITS and not _is_kept(Decimal(digits), float(digits)):
            wide()
        return digits

    return {
        "STRING": text,
        "INTEGER": integer,
        "FLOAT": partial(_float, lossy=lossy),
        "NUMERIC": partial(decimal, kind="NUMERIC"),
        "BIGNUMERIC": partial(decimal, kind="BIGNUMERIC"),
        "BOOLEAN": _boolean,
        "TIMESTAMP": partial(_timestamp, lossy=lossy),
        "DATE": _date,
        "TIME": partial(_time, lossy=lossy),
        "JSON": partial(_json, lossy=lossy),
    }


def text(value: Any) -> str:  # noqa: ANN401 (JSON)
    """Return a text unchanged.

    Raises:
        ValueRefusedError: The value is not a text.
    """
    if isinstance(value, str):
        return value
    raise ValueRefusedError.of("STRING", value)


def _boolean(value: Any) -> bool:  # noqa: ANN401
    if isinstance(value, bool):
        return value
    raise ValueRefusedError.of("BOOLEAN", value)


def _integer(value: Any) -> int:  # noqa: ANN401
    if isinstance(value, Decimal):
        if (
            not value.is_finite()
            or (value and value.adjusted() > MOST_DIGITS)
            or value != value.to_integral_value()
        ):
            raise ValueRefusedError.of("INTEGER", value)
        value = int(value)
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueRefusedError.of("INTEGER", value)
    if value not in INT64:
        raise ValueRefusedError.of("a whole number of 64 bits", value)
    return value


def _float(value: Any, *, lossy: bool) -> Any:  # noqa: ANN401
    if not isinstance(value, int | float | Decimal) or isinstance(value, bool):
        raise ValueRefusedError.of("FLOAT", value)
    try:
        double = float(value)
    except OverflowError:
        double = math.inf
    if not math.isfinite(double) or (value and not double and not lossy):
        raise ValueRefusedError.of("a FLOAT, that is from 5e-324 to 1.7976931348623157e+308", value)
    if not lossy and not _is_kept(value, double):
        raise ValueRefusedError.of(
            "a FLOAT that keeps every digit (make it an integer in the schema, give its multipleOf, or set "
            "allow_loss)",
            value,
        )
    return value


def _is_kept(value: float | Decimal, double: float) -> bool:
    """Return whether a number can be read back from its double: exactly, or as a text that programs write for it."""
    if isinstance(value, int):
        return value in EXACT_IN_DOUBLE or int(double) == value
    is_normal = not double or abs(double) >= sys.float_info.min
    if not isinstance(value, Decimal) or (is_normal and len(value.as_tuple().digits) <= DOUBLE_DIGITS):
        return True
    return value == double or any(
        value == Decimal(text) for text in (repr(double), f"{double:.16g}", f"{double:.17g}")
    )


def _decimal(value: Any, *, kind: str, lossy: bool) -> str:  # noqa: ANN401
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise ValueRefusedError.of(kind, value)
    if isinstance(value, str) and not DECIMAL.fullmatch(value.strip()):
        raise ValueRefusedError.of(kind, value)
    number = Decimal(str(value)) if isinstance(value, float | str) else Decimal(value)
    before, after = DECIMALS[kind]
    if not number.is_finite() or (number and number.adjusted() >= before):
        raise ValueRefusedError.of(f"{kind}, that is at most {before} digits before the point", value)
    text = format(number, "f") if number.as_tuple().exponent > -MOST_DIGITS else None  # type: ignore[operator]
    whole, _, fraction = (text or "").partition(".")
    kept = fraction.rstrip("0")
    if text is None or (len(kept) > after and not lossy):
        raise ValueRefusedError.of(f"{kind}, that is at most {after} digits after the point{UNLESS}", value)
    kept = kept[:after]
    return f"{whole}.{kept}" if kept else whole


def _timestamp(value: Any, *, lossy: bool) -> str:  # noqa: ANN401
    if isinstance(value, str):
        try:
            # The pattern checks the form and the hour (Python 3.14 takes 24), Python month and day.
            at = datetime.fromisoformat(value) if AT.fullmatch(value) else None
            if at is not None and value[:4] not in EDGE_YEARS:
                return value
            at = at or datetime.fromisoformat(_iso(value, lossy=lossy))
            at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
            if FIRST_DAY <= at <= LAST_DAY:
                return at.isoformat()
        except (ValueError, OverflowError):
            pass
    raise ValueRefusedError.of(f"a TIMESTAMP from year 1 to 9999 in ISO 8601{'' if lossy else FINEST}", value)


def _date(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, str):
        try:
            if DAY.fullmatch(value):
                date.fromisoformat(value)
                return value
            at = datetime.fromisoformat(_iso(value, lossy=False))
            # A timestamp is a date only at midnight and without an offset, which could change the date.
            if at.time() == time() and (at.tzinfo is None or not at.utcoffset()):
                return at.date().isoformat()
        except ValueError:
            pass
    raise ValueRefusedError.of("a DATE from year 1 to 9999 in ISO 8601", value)


def _time(value: Any, *, lossy: bool) -> str:  # noqa: ANN401
    if isinstance(value, str):
        try:
            if OF_DAY.fullmatch(value):
                time.fromisoformat(value)
                return value
            of_day = time.fromisoformat(_iso(value, lossy=lossy))
            if of_day.tzinfo is None:
                return of_day.isoformat()
            # BigQuery's TIME has no zone: the offset is applied and dropped, as in a TIMESTAMP.
            return datetime.combine(date(2000, 1, 2), of_day).astimezone(UTC).time().isoformat()
        except ValueError:
            pass
    raise ValueRefusedError.of(f"a TIME in ISO 8601{'' if lossy else FINEST}", value)


def _iso(text: str, *, lossy: bool) -> str:
    """Return a date or time in a form that Python parses, from looser forms of BigQuery and ISO; ValueError for others."""
    form = LOOSE.fullmatch(text)
    if form is None:
        raise ValueError(text)
    day, clock, fraction, zone = (form[part] or "" for part in ("day", "clock", "fraction", "zone"))
    clock = _padded(clock)
    beyond = fraction[MICROSECOND_DIGITS:].strip("0")
    if (fraction and len(clock) < len("10:00:00")) or (beyond and not lossy):
        raise ValueError(text)
    if "-" in day and "W" not in day.upper():
        day = f"{day[:4]}-{_padded(day[5:], '-')}"
    clock = f"{clock or '00'}:00:00"[: len("10:00:00")]
    zone = f"{zone[0]}{_padded(zone)}" if zone.startswith(("+", "-")) else zone and "+00:00"
    return f"{day}{day and 'T'}{clock}.{fraction[:MICROSECOND_DIGITS]:0<6}{zone}"


def _padded(digits: str, between: str = ":") -> str:
    """Return a time or a part of a date with two digits for each of its numbers."""
    return between.join(f"{number:0>2}" for number in re.findall(r"\d\d?", digits))


def _json(value: Any, *, lossy: bool, depth: int = 0) -> Any:  # noqa: ANN401
    """Return the value of a JSON column unchanged."""
    if isinstance(value, dict | list):
        if depth == DEEPEST_JSON:
            raise ValueRefusedError(
                f"nested deeper than the {DEEPEST_JSON} levels that BigQuery's JSON takes"
            )
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            try:
                _json(item, lossy=lossy, depth=depth + 1)
            except ValueRefusedError as error:
                raise error.under(str(key) if isinstance(value, dict) else f"[{key}]") from None
    elif isinstance(value, int):
        if value not in JSON_INTEGERS:
            raise ValueRefusedError.of("a number that JSON in BigQuery holds", value)
    elif isinstance(value, float | Decimal):
        # BigQuery keeps such a number as a double.
        double = float(value)
        if not math.isfinite(double):
            raise ValueRefusedError.of("a number that JSON in BigQuery holds", value)
        if not lossy and (bool(value) != bool(double) or not _is_kept(value, double)):
            raise ValueRefusedError.of(
                "a number of which JSON in BigQuery keeps every digit (or set allow_loss)", value
            )
    return value
