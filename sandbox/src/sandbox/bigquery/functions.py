"""Functions, operators and types whose values differ between BigQuery and DuckDB: NULL, odd text, halves, bounds.

They become macros of DuckDB before the emulator translates the statement. `sandbox/tests/documented_values.txt` has the
answers of Google's documentation.
"""

import re
from collections.abc import Callable
from typing import Any

import sqlglot
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
        WHEN typeof(x) IN ('DOUBLE', 'FLOAT') AND isfinite(TRY_CAST(x AS DOUBLE)) THEN bqv_string(x)
        WHEN typeof(x) IN ('DOUBLE', 'FLOAT')
          OR typeof(x) = 'BIGINT' AND abs(TRY_CAST(CAST(x AS VARCHAR) AS HUGEINT)) > 9007199254740992
          THEN '"' || CAST(to_json(x) AS VARCHAR) || '"'
        ELSE CAST(to_json(x) AS VARCHAR) END""",
    "bqv_int64(x)": INT64.format(cast="CAST", bad="error('Bad int64 value: ' || CAST(x AS VARCHAR))"),
    "bqv_safe_int64(x)": INT64.format(cast="TRY_CAST", bad="NULL"),
    "bqv_bool(x)": BOOL.format(cast="CAST", bad="error('Bad bool value: ' || CAST(x AS VARCHAR))"),
    "bqv_safe_bool(x)": BOOL.format(cast="TRY_CAST", bad="NULL"),
    **{
        f"bqv_{safe}{kind}(x)": f"{cast}(x AS DECIMAL(38, {scale}))"
        for kind, scale in (("numeric", 9), ("bignumeric", 18))
        for safe, cast in (("", "CAST"), ("safe_", "TRY_CAST"))
    },
    "bqv_at(list, place)": """CASE
        WHEN place < 0 OR place >= len(list) THEN error('Array index ' || place || ' is out of bounds (overflow)')
        ELSE list[place + 1] END""",
    # No match is NULL; a match of nothing is ''.
    "bqv_regexp_extract(x, pattern, part)": "CASE WHEN regexp_matches(x, pattern) THEN regexp_extract(x, pattern, part) END",
    # Whole units, not boundaries.
    "bqv_timestamp_diff(later, earlier, unit)": "date_sub(unit, CAST(earlier AS TIMESTAMPTZ), CAST(later AS TIMESTAMPTZ))",
    # Before 1970 too, whole units are those that have passed; a float has not the digits of a time stamp.
    "bqv_unix(x, unit, micros)": "epoch_us(date_trunc(unit, CAST(x AS TIMESTAMPTZ))) // micros",
    "bqv_timestamp(x, micros)": "make_timestamptz(CAST(x AS BIGINT) * micros)",
    # Of the type of their argument, as time_bucket is; DuckDB's week begins on Monday.
    "bqv_week(x, days)": "time_bucket(INTERVAL 7 DAY, x, DATE '2000-01-03' - days)",
    "bqv_day(x)": "time_bucket(INTERVAL 1 DAY, x)",
    "bqv_months(x, months)": "time_bucket(months * INTERVAL 1 MONTH, x)",
    "bqv_week_date(x, days)": "CAST(bqv_week(CAST(x AS TIMESTAMP), days) AS DATE)",
    "bqv_weeks(later, earlier, days)": "(bqv_week_date(later, days) - bqv_week_date(earlier, days)) // 7",
    "bqv_week_number(x, days)": "bqv_weeks(x, date_trunc('year', x) - INTERVAL 1 DAY, days)",
    "bqv_week_end(x, days)": "bqv_week_date(x, days) + 6",
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
}
SPECIFIER = re.compile(r"%(?:%|[-+ #0']*(?:\d+|\*)?(?:\.(?:\d+|\*))?[a-zA-Z])")
# Of PARSE_DATE: a month's name may be short, and where the format has a blank the text has any number of them.
DATE_PARTS = {
    **dict.fromkeys("Bbh", ("([[:alpha:]]+)", "%B")),
    **dict.fromkeys("de", ("([0-9]{1,2})", "%d")),
    "m": ("([0-9]{1,2})", "%m"),
    "Y": ("0{0,3}([1-9][0-9]{0,3})", "%Y"),
}
# The first days of weeks, by how many days later the next Monday is.
DAYS = ("MONDAY", "SUNDAY", "SATURDAY", "FRIDAY", "THURSDAY", "WEDNESDAY", "TUESDAY")
WEEKS = {"WEEK": "SUNDAY", "ISOWEEK": "MONDAY"}
MONTHS = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}
KINDS = {
    exp.DataType.Type.TEXT: "string",
    exp.DataType.Type.BIGINT: "int64",
    exp.DataType.Type.BOOLEAN: "bool",
    exp.DataType.Type.DECIMAL: "numeric",
    exp.DataType.Type.BIGDECIMAL: "bignumeric",
}
# Of a column: all digits, and those after the point. Where none are stated, DuckDB has 18 with 3; it has 38 at most.
DIGITS = {exp.DataType.Type.DECIMAL: (38, 9), exp.DataType.Type.BIGDECIMAL: (38, 18)}
TEXTS = {"t": "bqv_text", "T": "bqv_literal"}
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
    safe = "safe_" if isinstance(node, exp.TryCast) and kind != "string" else ""
    return call(f"bqv_{safe}{kind}", node.this)


def _json_format(node: exp.JSONFormat) -> exp.Expr | None:
    return None if node.args.get("options") else call("bqv_to_json_string", node.this)


def _at(node: exp.Bracket) -> exp.Expr | None:
    if node.args.get("offset") is None or node.args.get("safe") or len(node.expressions) != 1:
        return None
    place = node.expressions[0]
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


def _timestamp_diff(node: exp.TimestampDiff) -> exp.Expr | None:
    unit = exp.Literal.string(node.text("unit").lower())
    return call("bqv_timestamp_diff", node.this, node.expression, unit)


def _unix(node: exp.UnixMillis | exp.UnixSeconds) -> exp.Expr | None:
    unit, micros = ("millisecond", 1000) if isinstance(node, exp.UnixMillis) else ("second", 1_000_000)
    return call("bqv_unix", node.this, exp.Literal.string(unit), exp.Literal.number(micros))


def _timestamp(node: exp.UnixToTime) -> exp.Expr | None:
    return call("bqv_timestamp", node.this, exp.Literal.number(10 ** (6 - int(node.text("scale") or 0))))


def _days(unit: exp.Expr | None) -> exp.Expr | None:
    """Return how many days before Monday the weeks of a part begin; None where it is no week."""
    name = unit.name if unit else ""
    day = name if isinstance(unit, exp.WeekStart) else WEEKS.get(name)
    return exp.Literal.number(DAYS.index(day)) if day in DAYS else None


def _trunc(node: exp.DateTrunc | exp.TimestampTrunc | exp.DatetimeTrunc) -> exp.Expr | None:
    if node.args.get("zone"):
        return None
    value = exp.cast(node.this, "DATETIME") if isinstance(node, exp.DatetimeTrunc) else node.this
    if days := _days(node.unit):
        return call("bqv_week", value, days)
    if isinstance(node, exp.DateTrunc) and (months := MONTHS.get(node.unit.name)):
        return call("bqv_months", value, exp.Literal.number(months))
    return call("bqv_day", value) if isinstance(node, exp.DateTrunc) and node.unit.name == "DAY" else None


def _weeks(node: exp.DateDiff | exp.DatetimeDiff) -> exp.Expr | None:
    days = _days(node.args.get("unit"))
    return call("bqv_weeks", node.this, node.expression, days) if days else None


def _last_day(node: exp.LastDay) -> exp.Expr | None:
    days = _days(node.args.get("unit"))
    return call("bqv_week_end", node.this, days) if days else None


def _extract(node: exp.Extract) -> exp.Expr | None:
    if isinstance(node.this, exp.WeekStart):
        return call("bqv_week_number", node.expression, _days(node.this))
    # DuckDB's have the seconds with them.
    whole = {"MILLISECOND": 1000, "MICROSECOND": 1_000_000}.get(node.name.upper())
    return call("bqv_fraction", node.copy(), exp.Literal.number(whole)) if whole else None


def _substring(node: exp.Substring) -> exp.Expr | None:
    start = node.args["start"]
    if isinstance(start, exp.Literal) and start.name != "0":
        return None
    changed = node.copy()
    changed.set("start", call("bqv_start", node.this.copy(), start.copy()))
    return changed


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
        if macro is None:
            return one
        arguments[place - 1] = call(macro, arguments[place - 1])
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
    exp.Bracket: _at,
    exp.RegexpExtract: _regexp_extract,
    exp.StrToDate: _parse_date,
    exp.ArrayToString: _array_to_string,
    exp.TimestampDiff: _timestamp_diff,
    exp.UnixMillis: _unix,
    exp.UnixSeconds: _unix,
    exp.UnixToTime: _timestamp,
    exp.TimestampTrunc: _trunc,
    exp.DatetimeTrunc: _trunc,
    exp.DateTrunc: _trunc,
    exp.DateDiff: _weeks,
    exp.DatetimeDiff: _weeks,
    exp.LastDay: _last_day,
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
    if not tree.find(*CHANGES, *select_names.CLAUSES):
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
