"""Dates and times as BigQuery has them: their texts, parts, weeks and zones.

Macros of DuckDB, and which node of a statement becomes a call of which; functions.py puts both to use.
"""

import functools
import itertools
import re
from collections.abc import Callable
from typing import Any

from bqemulator.domain.errors import InvalidQueryError
from sqlglot import exp

# A text of a date or a time is a literal's, without what DuckDB takes besides: "epoch", 2024/01/05, no seconds.
DATE_TEXT = r"(?:[1-9]\d{3}|0[1-9]\d{2}|00[1-9]\d|000[1-9])-\d{1,2}-\d{1,2}"
TIME_TEXT = rf"{DATE_TEXT}(?:[Tt ]\d{{1,2}}:\d{{1,2}}:\d{{1,2}}(?:[.]\d{{0,6}})?)?"
TEXTS_OF = {
    "date": ("DATE", DATE_TEXT),
    "datetime": ("TIMESTAMP", TIME_TEXT),
    "timestamp": (
        "TIMESTAMPTZ",
        rf"{TIME_TEXT}(?: ?(?:[Zz]|[+-]\d{{1,2}}(?::\d{{2}})?|[A-Za-z_]+(?:/[A-Za-z_]+)*))?",
    ),
}
WHEN = """CASE
    WHEN typeof(x) = 'VARCHAR' AND x IS NOT NULL AND NOT regexp_full_match(CAST(x AS VARCHAR), '{form}') THEN {bad}
    ELSE {cast}(x AS {type}) END"""
MONTHS = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}
WEEKDAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
# Of PARSE_DATE: a month's name may be short, and where the format has a blank the text has any number of them.
DATE_PARTS = {
    **dict.fromkeys("Bbh", ("([[:alpha:]]+)", "%B")),
    **dict.fromkeys("de", ("([0-9]{1,2})", "%d")),
    "m": ("([0-9]{1,2})", "%m"),
    "Y": ("0{0,3}([1-9][0-9]{0,3})", "%Y"),
}
# Of FORMAT_…, what strftime has not, as strftime has it: \1 before two digits that may be a blank and one.
SHORT = {
    "%-d": "\1%d", "%e": "\1%d", "%k": "\1%H", "%l": "\1%I", "%h": "%b", "%n": "\n", "%t": "\t", "%x": "%m/%d/%y",
    "%R": "%H:%M", "%r": "%I:%M:%S %p", "%X": "%H:%M:%S", "%E4Y": "%Y", "%E0S": "%S",
    "%z": "+0000", "%Ez": "+00:00", "%Z": "UTC",
}  # fmt: skip
# And as a value of DuckDB's.
COMPUTED = {
    "%Q": "quarter(x)",
    "%P": "lower(strftime(x, '%p'))",
    "%C": "lpad(CAST(year(x) // 100 AS VARCHAR), 2, '0')",
    "%g": "lpad(CAST(isoyear(x) % 100 AS VARCHAR), 2, '0')",
    "%s": "CAST(floor(epoch_us(x) / 1000000) AS BIGINT)",
    "%E*S": "rtrim(rtrim(strftime(x, '%S.%f'), '0'), '.')",
    **{f"%E{digits}S": f"left(strftime(x, '%S.%f'), {3 + digits})" for digits in range(1, 7)},
}
OF_TIMES = re.compile(r"%([HIMSXRrklpPszZ]|E[z\d*]S?)")
TEXTS_FROM = {
    exp.TsOrDsToDate: "DATE",
    exp.TsOrDsToDatetime: "DATETIME",
    exp.TsOrDsToTimestamp: "TIMESTAMPTZ",
    exp.TsOrDsToTime: "TIME",
}
MACROS = {
    **{f"bqv_text_{place}(x)": f"CAST({value} AS VARCHAR)" for place, value in enumerate(COMPUTED.values())},
    "bqv_time_of_day(x)": "DATE '1970-01-01' + x",
    # TRY, which SAFE. becomes, takes no error().
    "bqv_parse_date(x, pattern, parts, form)": """CAST(strptime(
        CASE WHEN regexp_full_match(x, pattern) THEN regexp_replace(x, pattern, parts) ELSE 'no date: ' || x END,
        [form, replace(form, '%B', '%b')]) AS DATE)""",
    **{
        f"bqv_{safe}{kind}(x)": WHEN.format(form=form, bad=bad, cast=cast, type=name)
        for kind, (name, form) in TEXTS_OF.items()
        for safe, cast, bad in (
            ("", "CAST", f"error('Invalid {kind}: ' || CAST(x AS VARCHAR))"),
            ("safe_", "TRY_CAST", "NULL"),
        )
    },
    # Whole units, not boundaries.
    "bqv_timestamp_diff(later, earlier, unit)": "date_sub(unit, CAST(earlier AS TIMESTAMPTZ), CAST(later AS TIMESTAMPTZ))",
    # Of dates, boundaries.
    "bqv_date_diff(later, earlier)": """CASE
        WHEN typeof(later) = 'TIMESTAMP WITH TIME ZONE' THEN bqv_timestamp_diff(later, earlier, 'day')
        ELSE date_diff('day', earlier, later) END""",
    # Before 1970 too, whole units are those that have passed; a float has not the digits of a time stamp.
    "bqv_unix(x, unit, micros)": "epoch_us(date_trunc(unit, CAST(x AS TIMESTAMPTZ))) // micros",
    "bqv_epoch(x, micros)": "make_timestamptz(CAST(x AS BIGINT) * micros)",
    # Unlike date_trunc they keep the type; weeks begin `day` days after Monday.
    "bqv_months(x, months)": "time_bucket(to_months(months), x)",
    "bqv_days(x, days, day)": "time_bucket(to_days(days), x, to_days(day))",
    "bqv_week_number(x, day)": "(dayofyear(x) + 6 - (isodow(x) + 6 - day) % 7) // 7",
    "bqv_weeks(later, earlier, day)": """date_diff(
        'day', bqv_days(CAST(earlier AS TIMESTAMP), 7, day), bqv_days(CAST(later AS TIMESTAMP), 7, day)) // 7""",
    # The text of a time where its clock shows `zone`, with the distance from UTC.
    "bqv_zone_text(x, zone, minutes)": """replace(bqv_string(timezone('UTC', timezone(zone, x))), '+00',
        CASE WHEN minutes < 0 THEN '-' ELSE '+' END || lpad(CAST(abs(minutes) // 60 AS VARCHAR), 2, '0')
        || CASE WHEN minutes % 60 != 0 THEN ':' || lpad(CAST(abs(minutes) % 60 AS VARCHAR), 2, '0') ELSE '' END)""",
    "bqv_in_zone(x, zone)": "bqv_zone_text(x, zone, date_diff('minute', timezone('UTC', x), timezone(zone, x)))",
    "bqv_from_zone(x, zone)": "timezone(zone, CAST(x AS TIMESTAMP))",
    "bqv_strptime(x, form, other)": "strptime(x, [form, other])",
    # A digit of its own has a blank before it.
    "bqv_strftime(x, form)": "replace(replace(strftime(x, form), chr(1) || '0', ' '), chr(1), '')",
    "bqv_fraction(x, whole)": "x % whole",
}


def call(name: str, *arguments: Any) -> exp.Anonymous:  # noqa: ANN401 (expressions)
    """Return a call of one of the macros."""
    return exp.Anonymous(this=name, expressions=list(arguments))


def _parse_date(node: exp.StrToDate) -> exp.Expr | None:
    pattern, found = "[[:space:]]*", []
    for one in re.findall(r"%.|\s+|[^%\s]", node.text("format")):
        if one.isspace():
            pattern += "[[:space:]]*"
        elif one.startswith("%"):
            if one[1] not in DATE_PARTS:
                return None
            pattern += DATE_PARTS[one[1]][0]
            found.append(DATE_PARTS[one[1]][1])
        else:
            pattern += re.escape(one)
    parts = "|".join(f"\\{place}" for place in range(1, len(found) + 1))
    if found and "%Y" not in found:
        parts, found = f"{parts}|1970", [*found, "%Y"]
    texts = (pattern + "[[:space:]]*", parts, "|".join(found))
    return call("bqv_parse_date", node.this, *map(exp.Literal.string, texts)) if found else None


def _timestamp_unit(node: exp.TimestampDiff | exp.TimestampAdd | exp.TimestampSub) -> None:
    unit = node.text("unit").upper()
    if unit in MONTHS or unit == "WEEK":
        raise InvalidQueryError(f"{node.sql_name()} does not support the {unit} date part")


def _timestamp_diff(node: exp.TimestampDiff) -> exp.Expr | None:
    _timestamp_unit(node)
    unit = exp.Literal.string(node.text("unit").lower())
    return call("bqv_timestamp_diff", node.this, node.expression, unit)


def _unix(node: exp.UnixMillis | exp.UnixSeconds) -> exp.Expr | None:
    unit, micros = ("millisecond", 1000) if isinstance(node, exp.UnixMillis) else ("second", 1_000_000)
    return call("bqv_unix", node.this, exp.Literal.string(unit), exp.Literal.number(micros))


def _timestamp(node: exp.UnixToTime) -> exp.Expr | None:
    return call("bqv_epoch", node.this, exp.Literal.number(10 ** (6 - int(node.text("scale") or 0))))


def _first_day(unit: exp.Expr | None) -> int | None:
    """Return the days from Monday to the first one of the weeks of a date part; None where it is another part."""
    if isinstance(unit, exp.WeekStart):
        return WEEKDAYS.index(unit.name.upper())
    return {"WEEK": 6, "ISOWEEK": 0}.get(unit.name.upper()) if unit else None


def _trunc(node: exp.DateTrunc | exp.TimestampTrunc | exp.DatetimeTrunc) -> exp.Expr | None:
    day, unit = _first_day(node.args.get("unit")), node.text("unit").upper()
    value = node.this
    if isinstance(node, exp.DatetimeTrunc):
        value = exp.cast(value, "DATETIME")
    elif value.is_string:
        value = exp.cast(value, "DATE")
    if node.args.get("zone"):
        return None
    if unit in MONTHS:
        return call("bqv_months", value, exp.Literal.number(MONTHS[unit]))
    if day is None and unit != "DAY":
        return None
    return call("bqv_days", value, *map(exp.Literal.number, (1, 0) if day is None else (7, day)))


def _difference(node: exp.DateDiff | exp.DatetimeDiff) -> exp.Expr | None:
    day = _first_day(node.args.get("unit"))
    if day is not None:
        return call("bqv_weeks", node.this, node.expression, exp.Literal.number(day))
    if node.text("unit").upper() == "DAY" and not (node.this.is_string or node.expression.is_string):
        return call("bqv_date_diff", node.this, node.expression)
    return None


def _last_day(node: exp.LastDay) -> exp.Expr | None:
    day = _first_day(node.args.get("unit"))
    if day is None:
        return None
    return exp.cast(call("bqv_days", node.this, *map(exp.Literal.number, (7, day))), "DATE") + 6


def _parse_time(node: exp.StrToTime | exp.ParseDatetime) -> exp.Expr | None:
    form = node.text("format").replace("%Ez", "%z").replace("%E4Y", "%Y")
    zone, has_zone = node.args.get("zone"), "%z" in form
    changed: exp.Expr = node.copy()
    changed.set("zone", None)
    if form != node.text("format") or "%E" in form:
        # With a fraction of a second, or without.
        forms = [re.sub(r"%E[\d*]S", seconds, form) for seconds in ("%S.%f", "%S")]
        changed = call("bqv_strptime", node.this, *map(exp.Literal.string, forms))
    elif not zone and not has_zone:
        return None
    if isinstance(node, exp.ParseDatetime):
        return exp.cast(changed, "DATETIME")
    return call("bqv_from_zone", changed, exp.Literal.string("UTC") if has_zone or not zone else zone)


def _time_text(node: exp.TimeToStr) -> exp.Expr | None:
    form, zone, kind = node.text("format"), node.args.get("zone"), TEXTS_FROM.get(type(node.this))
    if not kind or not form or (zone and re.search("%(?:E?z|Z|s)", form)):
        return None
    parts = re.findall(r"%%|%E[\d*]S|%E4Y|%Ez|%-?.|[^%]+", form)
    if kind == "DATE":
        # Which has no time: such parts stay as they are.
        parts = ["%" + part if OF_TIMES.fullmatch(part) else part for part in parts]
    elif not zone and not {*parts} & {*SHORT, *COMPUTED}:
        return None
    value: exp.Expr = exp.cast(node.this.this, kind)
    if zone:
        value = call("timezone", zone, value)
    elif kind == "TIME":
        value = call("bqv_time_of_day", value)
    texts: list[exp.Expr] = []
    for is_computed, run in itertools.groupby(parts, COMPUTED.__contains__):
        if is_computed:
            texts += (call(f"bqv_text_{list(COMPUTED).index(part)}", value.copy()) for part in run)
        else:
            words = "".join(SHORT.get(part, part) for part in run)
            texts.append(call("bqv_strftime", value.copy(), exp.Literal.string(words)))
    return functools.reduce(lambda joined, text: call("bqv_concat", joined, text), texts)


def _timestamps(node: exp.GenerateTimestampArray) -> exp.Expr | None:
    texts = [bound for bound in (node.args["start"], node.args["end"]) if bound.is_string]
    for text in texts:
        text.replace(exp.cast(text.copy(), "TIMESTAMPTZ"))
    return node if texts else None


def _extract(node: exp.Extract) -> exp.Expr | None:
    # ISOWEEK is the emulator's.
    day = _first_day(node.this)
    if day is not None and node.name.upper() != "ISOWEEK":
        return call("bqv_week_number", node.expression, exp.Literal.number(day))
    # DuckDB's have the seconds with them.
    whole = {"MILLISECOND": 1000, "MICROSECOND": 1_000_000}.get(node.name.upper())
    return call("bqv_fraction", node.copy(), exp.Literal.number(whole)) if whole else None


CHANGES: dict[type[exp.Expr], Callable[[Any], exp.Expr | None]] = {
    exp.StrToDate: _parse_date,
    exp.TimestampDiff: _timestamp_diff,
    exp.TimestampAdd: _timestamp_unit,
    exp.TimestampSub: _timestamp_unit,
    exp.UnixMillis: _unix,
    exp.UnixSeconds: _unix,
    exp.UnixToTime: _timestamp,
    exp.DateTrunc: _trunc,
    exp.TimestampTrunc: _trunc,
    exp.DatetimeTrunc: _trunc,
    exp.DateDiff: _difference,
    exp.DatetimeDiff: _difference,
    exp.LastDay: _last_day,
    exp.StrToTime: _parse_time,
    exp.ParseDatetime: _parse_time,
    exp.TimeToStr: _time_text,
    exp.GenerateTimestampArray: _timestamps,
    exp.Extract: _extract,
}
