"""Functions, operators and types whose values differ between BigQuery and DuckDB: NULL, odd text, halves, bounds.

They become macros of DuckDB before the emulator translates the statement. `sandbox/tests/documented_values.txt` has the
answers of Google's documentation.
"""

import itertools
import re
from collections.abc import Callable
from typing import Any

import sqlglot
from bqemulator.domain.errors import InvalidQueryError
from sqlglot import exp

from . import parse_cache, patches, select_names

# Halves round away from zero; a text is decimal or hexadecimal, and nothing else.
INT64 = """CASE
    WHEN typeof(x) IN ('DOUBLE', 'FLOAT') THEN {cast}(round(TRY_CAST(x AS DOUBLE)) AS BIGINT)
    WHEN typeof(x) = 'VARCHAR' AND x IS NOT NULL THEN CASE
      WHEN regexp_full_match(CAST(x AS VARCHAR), '\\s*[+-]?[0-9]+\\s*') THEN {cast}(CAST(x AS VARCHAR) AS BIGINT)
      WHEN regexp_full_match(CAST(x AS VARCHAR), '-?0[xX][0-9a-fA-F]+')
        THEN {cast}(ltrim(CAST(x AS VARCHAR), '-') AS BIGINT) * (CASE WHEN starts_with(CAST(x AS VARCHAR), '-') THEN -1 ELSE 1 END)
      ELSE {bad} END
    ELSE {cast}(x AS BIGINT) END"""
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
BOOL = """CASE
    WHEN typeof(x) = 'VARCHAR' AND x IS NOT NULL THEN CASE lower(CAST(x AS VARCHAR))
      WHEN 'true' THEN true WHEN 'false' THEN false ELSE {bad} END
    ELSE {cast}(x AS BOOLEAN) END"""
MACROS = {
    "bqv_fail(words)": "error(words)",
    # No fraction, milliseconds or microseconds; no zeros that say nothing.
    "bqv_string(x)": """CASE
        WHEN typeof(x) = 'TIMESTAMP WITH TIME ZONE' THEN strftime(TRY_CAST(x AS TIMESTAMPTZ), CASE
          WHEN epoch_us(TRY_CAST(x AS TIMESTAMPTZ)) % 1000000 = 0 THEN '%Y-%m-%d %H:%M:%S+00'
          WHEN epoch_us(TRY_CAST(x AS TIMESTAMPTZ)) % 1000 = 0 THEN '%Y-%m-%d %H:%M:%S.%g+00'
          ELSE '%Y-%m-%d %H:%M:%S.%f+00' END)
        WHEN typeof(x) IN ('DOUBLE', 'FLOAT') THEN regexp_replace(CAST(x AS VARCHAR), '[.]0$', '')
        WHEN typeof(x) LIKE 'DECIMAL(%' AND contains(CAST(x AS VARCHAR), '.')
          THEN rtrim(rtrim(CAST(x AS VARCHAR), '0'), '.')
        ELSE CAST(x AS VARCHAR) END""",
    "bqv_array_to_string(list, separator)": """CASE
        WHEN list IS NOT NULL AND separator IS NOT NULL THEN coalesce(array_to_string(list, separator), '') END""",
    # TRY, which SAFE. becomes, takes no error().
    "bqv_parse_date(x, pattern, parts, form)": """CAST(strptime(
        CASE WHEN regexp_full_match(x, pattern) THEN regexp_replace(x, pattern, parts) ELSE 'no date: ' || x END,
        [form, replace(form, '%B', '%b')]) AS DATE)""",
    # JSON has no text for NULL but null, a time stamp is RFC 3339, and beyond 2^53 an integer is a text, as NaN is.
    "bqv_to_json_string(x)": """CASE
        WHEN x IS NULL THEN 'null'
        WHEN typeof(x) = 'TIMESTAMP WITH TIME ZONE' THEN '"' || replace(replace(bqv_string(x), '+00', 'Z'), ' ', 'T') || '"'
        WHEN typeof(x) = 'TIMESTAMP'
          THEN '"' || replace(replace(bqv_string(timezone('UTC', TRY_CAST(x AS TIMESTAMP))), '+00', ''), ' ', 'T') || '"'
        WHEN typeof(x) LIKE 'DECIMAL(%' AND (contains(bqv_string(x), '.') OR abs(TRY_CAST(x AS DOUBLE)) > 9007199254740992)
          THEN '"' || bqv_string(x) || '"'
        WHEN typeof(x) LIKE 'DECIMAL(%' OR typeof(x) IN ('DOUBLE', 'FLOAT') AND isfinite(TRY_CAST(x AS DOUBLE)) THEN bqv_string(x)
        WHEN typeof(x) = 'BLOB' THEN '"' || to_base64(TRY_CAST(x AS BLOB)) || '"'
        WHEN typeof(x) IN ('DOUBLE', 'FLOAT')
          OR typeof(x) = 'BIGINT' AND abs(TRY_CAST(CAST(x AS VARCHAR) AS HUGEINT)) > 9007199254740992
          THEN '"' || CAST(to_json(x) AS VARCHAR) || '"'
        ELSE CAST(to_json(x) AS VARCHAR) END""",
    "bqv_to_json(x)": "CAST(bqv_to_json_string(x) AS JSON)",
    "bqv_slice(list, first, last)": """list_slice(
        list, first + CASE WHEN first < 0 THEN 0 ELSE 1 END, last + CASE WHEN last < 0 THEN 0 ELSE 1 END)""",
    "bqv_int64(x)": INT64.format(cast="CAST", bad="error('Bad int64 value: ' || CAST(x AS VARCHAR))"),
    "bqv_safe_int64(x)": INT64.format(cast="TRY_CAST", bad="NULL"),
    "bqv_bool(x)": BOOL.format(cast="CAST", bad="error('Bad bool value: ' || CAST(x AS VARCHAR))"),
    "bqv_safe_bool(x)": BOOL.format(cast="TRY_CAST", bad="NULL"),
    **{
        f"bqv_{safe}{kind}(x)": f"{cast}(x AS DECIMAL(38, {scale}))"
        for kind, scale in (("numeric", 9), ("bignumeric", 18))
        for safe, cast in (("", "CAST"), ("safe_", "TRY_CAST"))
    },
    **{
        f"bqv_{safe}{kind}(x)": WHEN.format(form=form, bad=bad, cast=cast, type=name)
        for kind, (name, form) in TEXTS_OF.items()
        for safe, cast, bad in (
            ("", "CAST", f"error('Invalid {kind}: ' || CAST(x AS VARCHAR))"),
            ("safe_", "TRY_CAST", "NULL"),
        )
    },
    "bqv_at(list, place)": """CASE
        WHEN place < 0 OR place >= len(list) THEN error('Array index ' || place || ' is out of bounds (overflow)')
        ELSE list[place + 1] END""",
    # DuckDB counts the items of a list from 1, those of JSON from 0.
    "bqv_item(x, place)": "x[CASE WHEN typeof(x) = 'JSON' THEN place ELSE place + 1 END]",
    "bqv_json_text(x)": "CASE WHEN typeof(x) = 'JSON' THEN json_extract_string(to_json(x), '$') ELSE bqv_string(x) END",
    # No match is NULL; a match of nothing is ''.
    "bqv_regexp_extract(x, pattern, part)": "CASE WHEN regexp_matches(x, pattern) THEN regexp_extract(x, pattern, part) END",
    # Whole units, not boundaries.
    "bqv_timestamp_diff(later, earlier, unit)": "date_sub(unit, CAST(earlier AS TIMESTAMPTZ), CAST(later AS TIMESTAMPTZ))",
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
    # TRY, which SAFE. becomes, takes no error().
    "bqv_count(x)": "CASE WHEN x < 0 THEN CAST('a negative number: ' || x AS BIGINT) ELSE x END",
    # A digit of its own has a blank before it.
    "bqv_padded(x)": "replace(replace(x, chr(1) || '0', ' '), chr(1), '')",
    "bqv_json_type(x)": """CASE CAST(json_type(x) AS VARCHAR)
        WHEN 'VARCHAR' THEN 'string' WHEN 'OBJECT' THEN 'object' WHEN 'ARRAY' THEN 'array' WHEN 'BOOLEAN' THEN 'boolean'
        WHEN 'NULL' THEN 'null' ELSE CASE WHEN x IS NOT NULL THEN 'number' END END""",
    # A text begins at 1, which 0 and what lies before it mean too.
    "bqv_start(x, start)": "CASE WHEN start = 0 OR start < -length(x) THEN 1 ELSE start END",
    "bqv_fraction(x, whole)": "x % whole",
    "bqv_split(list, separator)": "CASE WHEN separator IS NOT NULL THEN list END",
    "bqv_div(x, y)": "x // CASE WHEN y = 0 THEN error('division by zero') ELSE y END",
    "bqv_mod(x, y)": "x % CASE WHEN y = 0 THEN error('division by zero') ELSE y END",
    "bqv_text(x)": "coalesce(CAST(x AS VARCHAR), 'NULL')",
    "bqv_literal(x)": """CASE
        WHEN x IS NULL THEN 'NULL'
        WHEN typeof(x) = 'VARCHAR' THEN CAST(to_json(CAST(x AS VARCHAR)) AS VARCHAR)
        WHEN typeof(x) = 'DATE' THEN 'DATE "' || CAST(x AS VARCHAR) || '"'
        ELSE CAST(x AS VARCHAR) END""",
    "bqv_grouped(x)": "format('{:,}', CAST(x AS BIGINT))",
    "bqv_grouped_float(x, form)": "format(form, CAST(x AS DOUBLE))",
}
SPECIFIER = re.compile(r"%(?:%|[-+ #0']*(?:\d+|\*)?(?:\.(?:\d+|\*))?[a-zA-Z])")
# Of PARSE_DATE: a month's name may be short, and where the format has a blank the text has any number of them.
DATE_PARTS = {
    **dict.fromkeys("Bbh", ("([[:alpha:]]+)", "%B")),
    **dict.fromkeys("de", ("([0-9]{1,2})", "%d")),
    "m": ("([0-9]{1,2})", "%m"),
    "Y": ("0{0,3}([1-9][0-9]{0,3})", "%Y"),
}
KINDS = {
    exp.DataType.Type.TEXT: "string",
    exp.DataType.Type.BIGINT: "int64",
    exp.DataType.Type.BOOLEAN: "bool",
    exp.DataType.Type.DATE: "date",
    exp.DataType.Type.DATETIME: "datetime",
    exp.DataType.Type.TIMESTAMP: "datetime",
    exp.DataType.Type.TIMESTAMPTZ: "timestamp",
    exp.DataType.Type.DECIMAL: "numeric",
    exp.DataType.Type.BIGDECIMAL: "bignumeric",
}
# Of a column: all digits, and those after the point. Where none are stated, DuckDB has 18 with 3; it has 38 at most.
DIGITS = {exp.DataType.Type.DECIMAL: (38, 9), exp.DataType.Type.BIGDECIMAL: (38, 18)}
TEXTS = {"t": "bqv_text", "T": "bqv_literal"}
# Unicode's white space; Python has the separators 28 to 31 with it.
BLANK = "\t\n\v\f\r" + "".join(filter(str.isspace, map(chr, range(32, 0x3001))))
MONTHS = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}
WEEKDAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
GROUP = re.compile(r"\\.|\[(?:\\.|[^\]])*\]|\((?!\?)|\(\?P?<(?![=!])", re.DOTALL)

_engine = patches.get("storage.engine", "DuckDBEngine")
_start = _engine._register_builtin_udfs  # noqa: SLF001 (replaced below)
_ctas = patches.get("sql.translator", "rewrite_create_table_schema_ctas")


def call(name: str, *arguments: Any) -> exp.Anonymous:  # noqa: ANN401 (expressions)
    """Return a call of one of the macros."""
    return exp.Anonymous(this=name, expressions=list(arguments))


def _decimal(node: exp.DataType) -> exp.Expr | None:
    if node.this not in DIGITS or node.expressions:
        return None
    digits = [exp.DataTypeParam(this=exp.Literal.number(count)) for count in DIGITS[node.this]]
    return exp.DataType(this=node.this, expressions=digits)


def _cast(node: exp.Cast) -> exp.Expr | None:
    kind = KINDS.get(node.to.this)
    # A macro's argument stands in it several times: what is joined text, as a key of many columns, does without.
    plain = (exp.Null, exp.DPipe, exp.Concat) if kind == "string" else exp.Null
    if kind is None or isinstance(node.this, plain) or node.args.get("format"):
        return None
    if kind in TEXTS_OF and node.this.is_string and not isinstance(node, exp.TryCast):
        return None
    safe = "safe_" if isinstance(node, exp.TryCast) and kind != "string" else ""
    return call(f"bqv_{safe}{kind}", node.this)


def _json_format(node: exp.JSONFormat) -> exp.Expr | None:
    if node.args.get("options"):
        return None
    return call("bqv_to_json" if node.args.get("to_json") else "bqv_to_json_string", node.this)


def _at(node: exp.Bracket) -> exp.Expr | None:
    place = node.expressions[0]
    if node.args.get("offset") is None and place.is_number:
        return call("bqv_item", node.this, place)
    if node.args.get("offset") is None or node.args.get("safe") or len(node.expressions) != 1:
        return None
    return call(
        "bqv_at",
        node.this,
        exp.Sub(this=place, expression=exp.Literal.number(1)) if node.args["offset"] else place,
    )


def _regexp_extract(node: exp.RegexpExtract) -> exp.Expr | None:
    pattern = node.expression
    if (
        node.args.get("position")
        or node.args.get("occurrence")
        or (not pattern.is_string and not isinstance(pattern, exp.RawString))
    ):
        return None
    groups = sum(found.startswith("(") for found in GROUP.findall(pattern.name))
    if groups > 1:
        return call("bqv_fail", exp.Literal.string("Regular expression has more than 1 capturing group"))
    return call("bqv_regexp_extract", node.this, exp.Literal.string(pattern.name), exp.Literal.number(groups))


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
    texts = (pattern + "[[:space:]]*", parts, "|".join(found))
    return call("bqv_parse_date", node.this, *map(exp.Literal.string, texts)) if found else None


def _array_to_string(node: exp.ArrayToString) -> exp.Expr | None:
    return None if node.args.get("null") else call("bqv_array_to_string", node.this, node.expression)


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
    value = exp.cast(node.this, "DATE") if node.this.is_string else node.this
    if isinstance(node, exp.DatetimeTrunc):
        value = exp.cast(node.this, "DATETIME")
    if node.args.get("zone"):
        return None
    if unit in MONTHS:
        return call("bqv_months", value, exp.Literal.number(MONTHS[unit]))
    if day is None and unit != "DAY":
        return None
    return call("bqv_days", value, *map(exp.Literal.number, (1, 0) if day is None else (7, day)))


def _weeks(node: exp.DateDiff | exp.DatetimeDiff) -> exp.Expr | None:
    day = _first_day(node.args.get("unit"))
    return None if day is None else call("bqv_weeks", node.this, node.expression, exp.Literal.number(day))


def _last_day(node: exp.LastDay) -> exp.Expr | None:
    day = _first_day(node.args.get("unit"))
    if day is None:
        return None
    return exp.cast(call("bqv_days", node.this, *map(exp.Literal.number, (7, day))), "DATE") + 6


def _parse_timestamp(node: exp.StrToTime) -> exp.Expr | None:
    zone, has_zone = node.args.get("zone"), "%z" in node.text("format")
    if not zone and not has_zone:
        return None
    changed = node.copy()
    changed.set("zone", None)
    return call("bqv_from_zone", changed, exp.Literal.string("UTC") if has_zone else zone)


def _string(node: exp.String) -> exp.Expr | None:
    zone = node.args.get("zone")
    return (
        call("bqv_in_zone", exp.cast(node.this, "TIMESTAMPTZ"), zone)
        if zone
        else call("bqv_json_text", node.this)
    )


def _trim(node: exp.Trim) -> exp.Expr | None:
    if node.expression:
        return None
    changed = node.copy()
    changed.set("expression", exp.Literal.string(BLANK))
    return changed


def _counted(node: exp.Substring | exp.Left | exp.Right | exp.Repeat) -> exp.Expr | None:
    place = {exp.Substring: "length", exp.Repeat: "times"}.get(type(node), "expression")
    count = node.args.get(place)
    if count is None or isinstance(count, exp.Literal):
        return None
    changed = node.copy()
    changed.set(place, call("bqv_count", count.copy()))
    return changed


def _time_text(node: exp.TimeToStr) -> exp.Expr | None:
    if "%-d" not in node.text("format"):
        return None
    changed = node.copy()
    changed.set("format", exp.Literal.string(node.text("format").replace("%-d", "\1%d")))
    return call("bqv_padded", changed)


def _select(node: exp.Select) -> exp.Expr | None:
    """Columns without a name are f0_, f1_ … in what a query returns."""
    if node.parent is not None or node.args.get("kind"):
        return None
    names = map("f{}_".format, itertools.count())
    for one in node.expressions:
        if not isinstance(one, (exp.Alias, exp.Column, exp.Star)):
            one.replace(exp.alias_(one.copy(), one.name if isinstance(one, exp.Dot) else next(names)))
    return node


def _rows(node: exp.Delete | exp.Update) -> exp.Expr:
    if node.parent is None and not node.args.get("where"):
        raise InvalidQueryError(f"{node.key.upper()} must have a WHERE clause")
    if node.args.get("tables") and not node.this:  # DELETE t, without FROM
        node.set("this", node.args["tables"][0])
        node.set("tables", None)
    return node


def _foreign(node: exp.Describe | exp.Pragma | exp.Copy | exp.Command) -> exp.Expr | None:
    """Refuse DuckDB's own statements."""
    word = node.name.upper() if isinstance(node, exp.Command) else node.key.upper()
    if word in {"COPY", "DESCRIBE", "EXPLAIN", "PRAGMA", "SHOW"}:
        raise InvalidQueryError(f'Syntax error: Unexpected identifier "{word}" at [1:1]', location="query")
    return None


def _parameter(node: exp.Parameter) -> exp.Expr | None:
    if isinstance(node.this, exp.Parameter):
        raise InvalidQueryError(f"The sandbox's BigQuery has no system variables: @@{node.this.name}")
    return None


def _extract(node: exp.Extract) -> exp.Expr | None:
    # ISOWEEK is the emulator's.
    day = _first_day(node.this)
    if day is not None and node.name.upper() != "ISOWEEK":
        return call("bqv_week_number", node.expression, exp.Literal.number(day))
    # DuckDB's have the seconds with them.
    whole = {"MILLISECOND": 1000, "MICROSECOND": 1_000_000}.get(node.name.upper())
    return call("bqv_fraction", node.copy(), exp.Literal.number(whole)) if whole else None


def _substring(node: exp.Substring) -> exp.Expr | None:
    start = node.args["start"]
    if isinstance(start, exp.Literal) and start.name != "0":
        return _counted(node)
    changed = node.copy()
    changed.set("start", call("bqv_start", node.this.copy(), start.copy()))
    return _counted(changed) or changed


def _split(node: exp.Split) -> exp.Expr | None:
    separator = node.expression
    return None if separator.is_string else call("bqv_split", node.copy(), separator.copy())


def _divided(node: exp.IntDiv | exp.Mod) -> exp.Expr:
    # sqlglot makes an operator of the function, without parentheses.
    name = "bqv_div" if isinstance(node, exp.IntDiv) else "bqv_mod"
    return call(name, node.this.unnest(), node.expression.unnest())


def _format(node: exp.Format) -> exp.Expr | None:
    words, arguments = node.this, list(node.expressions)
    if not words.is_string or "*" in words.name:
        return None
    place = 0

    def text(match: re.Match[str]) -> str:
        nonlocal place
        one = match[0]
        if one == "%%" or place >= len(arguments):
            return one
        place += 1
        macro = TEXTS.get(one[-1]) or ("bqv_grouped" if "'" in one else None)
        form: tuple[exp.Expr, ...] = ()
        if macro is None:
            return one
        if macro == "bqv_grouped" and one[-1] in "fF":
            digits = one[:-1].partition(".")[2] or "6"
            one, macro, form = (
                re.sub(r"[.]\d+", "", one),
                "bqv_grouped_float",
                (exp.Literal.string(f"{{:,.{digits}f}}"),),
            )
        arguments[place - 1] = call(macro, arguments[place - 1], *form)
        return one[:-1].replace("'", "") + "s"

    changed = SPECIFIER.sub(text, words.name)
    if (
        changed == "%s" and len(arguments) == 1
    ):  # which sqlglot would make format('{}', x), and then printf of that
        return (
            arguments[0]
            if changed != words.name
            else exp.DPipe(this=arguments[0], expression=exp.Literal.string(""))
        )
    return (
        None if changed == words.name else exp.Format(this=exp.Literal.string(changed), expressions=arguments)
    )


CHANGES: dict[type[exp.Expr], Callable[[Any], exp.Expr | None]] = {
    exp.DataType: _decimal,
    exp.Cast: _cast,
    exp.TryCast: _cast,
    exp.JSONFormat: _json_format,
    exp.ArraySlice: lambda node: call("bqv_slice", node.this, node.args["start"], node.args["end"]),
    exp.Bracket: _at,
    exp.RegexpExtract: _regexp_extract,
    exp.StrToDate: _parse_date,
    exp.ArrayToString: _array_to_string,
    exp.TimestampDiff: _timestamp_diff,
    exp.TimestampAdd: _timestamp_unit,
    exp.TimestampSub: _timestamp_unit,
    exp.UnixMillis: _unix,
    exp.UnixSeconds: _unix,
    exp.UnixToTime: _timestamp,
    exp.DateTrunc: _trunc,
    exp.TimestampTrunc: _trunc,
    exp.DatetimeTrunc: _trunc,
    exp.DateDiff: _weeks,
    exp.DatetimeDiff: _weeks,
    exp.LastDay: _last_day,
    exp.StrToTime: _parse_timestamp,
    exp.String: _string,
    exp.Trim: _trim,
    exp.Left: _counted,
    exp.Right: _counted,
    exp.Repeat: _counted,
    exp.TimeToStr: _time_text,
    exp.JSONType: lambda node: call("bqv_json_type", node.this),
    exp.Select: _select,
    exp.Delete: _rows,
    exp.Update: _rows,
    exp.Describe: _foreign,
    exp.Pragma: _foreign,
    exp.Copy: _foreign,
    exp.Command: _foreign,
    exp.Parameter: _parameter,
    exp.Extract: _extract,
    exp.Substring: _substring,
    exp.Split: _split,
    exp.IntDiv: _divided,
    exp.Mod: _divided,
    exp.Format: _format,
}


@patches.replaces(
    "sql.translator",
    "rewrite_create_table_schema_ctas",
    "values as BigQuery's: NULL, odd text, halves, bounds",
)
def with_values(sql: str) -> str:
    """Return the statement with the functions above as macros, then what the emulator makes of it."""
    try:
        tree = parse_cache.reading(sqlglot.parse_one)(sql, read="bigquery")
    except sqlglot.errors.SqlglotError:
        return str(_ctas(sql))
    if not tree.find(*CHANGES):
        return str(_ctas(sql))
    tree = tree.copy()
    changed = select_names.resolve(tree)
    # From the leaves up: what is replaced takes its children along.
    for node in reversed(list(tree.walk())):
        change = CHANGES.get(type(node))
        replacement = change(node) if change else None
        if replacement is not None:
            changed = True
            if isinstance(node.parent, exp.PropertyEQ):
                # Where DuckDB expands a macro in a lateral join, the field of a struct loses its name.
                replacement = exp.Coalesce(this=replacement, expressions=[exp.null()])
            node.replace(replacement)
    if changed:
        sql = tree.sql("bigquery")
        parse_cache.keep(sql, tree)
    return str(_ctas(sql))


@patches.replaces_method(_engine, "_register_builtin_udfs", why="the macros of functions.py")
def with_macros(self: Any) -> None:  # noqa: ANN401 (the emulator's engine)
    """Register the emulator's functions, and ours."""
    _start(self)
    for head, body in MACROS.items():
        self.connection.execute(f"CREATE OR REPLACE MACRO main.{head} AS {body}")
