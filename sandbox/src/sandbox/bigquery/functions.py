"""Functions, operators and types whose values differ between BigQuery and DuckDB: NULL, odd text, halves, bounds.

They become macros of DuckDB before the emulator translates the statement. `sandbox/tests/documented_values.txt` has the
answers of Google's documentation.
"""

import re
from collections.abc import Callable
from typing import Any

import sqlglot
from bqemulator.domain.errors import InvalidQueryError
from sqlglot import exp
from sqlglot.dialects.bigquery import BigQuery

from . import dates, parse_cache, patches, select_names, statements
from .dates import call

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
        WHEN starts_with(typeof(x), 'TIME') THEN regexp_replace(regexp_replace(CAST(x AS VARCHAR),
          '([.]\\d(?:\\d{3})?)([+]|$)', '\\100\\2'), '([.]\\d{2}(?:\\d{3})?)([+]|$)', '\\10\\2')
        WHEN typeof(x) IN ('DOUBLE', 'FLOAT') THEN regexp_replace(CAST(x AS VARCHAR), '[.]0$', '')
        WHEN typeof(x) LIKE 'DECIMAL(%' AND contains(CAST(x AS VARCHAR), '.')
          THEN rtrim(rtrim(CAST(x AS VARCHAR), '0'), '.')
        WHEN typeof(x) = 'BLOB' THEN decode(TRY_CAST(x AS BLOB))
        ELSE CAST(x AS VARCHAR) END""",
    "bqv_bytes(x)": "CASE WHEN typeof(x) = 'BLOB' THEN TRY_CAST(x AS BLOB) ELSE encode(CAST(x AS VARCHAR)) END",
    "bqv_array_to_string(list, separator)": """CASE
        WHEN list IS NOT NULL AND separator IS NOT NULL THEN coalesce(array_to_string(list, separator), '') END""",
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
    "bqv_at(list, place)": """CASE
        WHEN place < 0 OR place >= len(list) THEN error('Array index ' || place || ' is out of bounds (overflow)')
        ELSE list[place + 1] END""",
    # DuckDB counts the items of a list from 1, those of JSON from 0.
    "bqv_item(x, place)": "x[CASE WHEN typeof(x) = 'JSON' THEN place ELSE place + 1 END]",
    "bqv_json_text(x)": "CASE WHEN typeof(x) = 'JSON' THEN json_extract_string(to_json(x), '$') ELSE bqv_string(x) END",
    # No match is NULL; a match of nothing is ''.
    "bqv_regexp_extract(x, pattern, part)": "CASE WHEN regexp_matches(x, pattern) THEN regexp_extract(x, pattern, part) END",
    # A pattern with a group, escapes and classes aside, means its group.
    "bqv_regexp_extract_by(x, pattern)": """CASE
        WHEN regexp_matches(regexp_replace(pattern, '\\\\.|\\[(\\\\.|[^]])*\\]', '', 'g'), '[(]([^?]|[?]P?<)')
        THEN bqv_regexp_extract(x, pattern, 1) ELSE bqv_regexp_extract(x, pattern, 0) END""",
    # TRY, which SAFE. becomes, takes no error().
    "bqv_count(x)": "CASE WHEN x < 0 THEN CAST('a negative number: ' || x AS BIGINT) ELSE x END",
    "bqv_json_type(x)": """CASE CAST(json_type(x) AS VARCHAR)
        WHEN 'VARCHAR' THEN 'string' WHEN 'OBJECT' THEN 'object' WHEN 'ARRAY' THEN 'array' WHEN 'BOOLEAN' THEN 'boolean'
        WHEN 'NULL' THEN 'null' ELSE CASE WHEN x IS NOT NULL THEN 'number' END END""",
    "bqv_32_bits(x)": "CAST(x AS INTEGER)",
    "bqv_32_bits_each(x)": "CAST(x AS INTEGER[])",
    # A text begins at 1, which 0 and what lies before it mean too.
    "bqv_start(x, start)": "CASE WHEN start = 0 OR start < -length(x) THEN 1 ELSE start END",
    "bqv_split(list, separator)": "CASE WHEN separator IS NOT NULL THEN list END",
    # Texts, bytes or arrays: the emulator would make a text of them all.
    "bqv_concat(x, y)": "x || y",
    # In a text, null is no value.
    "bqv_json_query(x, path)": """CASE
        WHEN typeof(x) = 'JSON' THEN CAST(json_extract(x, path) AS VARCHAR)
        ELSE nullif(CAST(json_extract(x, path) AS VARCHAR), 'null') END""",
    "bqv_div(x, y)": "x // CASE WHEN y = 0 THEN error('division by zero') ELSE y END",
    "bqv_mod(x, y)": "x % CASE WHEN y = 0 THEN error('division by zero') ELSE y END",
    "bqv_text(x)": """coalesce(
        CASE WHEN typeof(x) IN ('DOUBLE', 'FLOAT') THEN CAST(x AS VARCHAR) ELSE bqv_string(x) END, 'NULL')""",
    "bqv_literal(x)": """CASE
        WHEN x IS NULL THEN 'NULL'
        WHEN typeof(x) = 'VARCHAR' THEN CAST(to_json(CAST(x AS VARCHAR)) AS VARCHAR)
        WHEN typeof(x) = 'TIMESTAMP WITH TIME ZONE' THEN 'TIMESTAMP "' || bqv_string(x) || '"'
        WHEN typeof(x) = 'TIMESTAMP' THEN 'DATETIME "' || bqv_string(x) || '"'
        WHEN typeof(x) IN ('DATE', 'TIME') THEN typeof(x) || ' "' || bqv_string(x) || '"'
        WHEN typeof(x) LIKE 'DECIMAL(%' THEN 'NUMERIC "' || bqv_string(x) || '"'
        WHEN typeof(x) = 'BLOB' THEN 'b"' || CAST(x AS VARCHAR) || '"'
        ELSE CAST(x AS VARCHAR) END""",
    "bqv_grouped(x)": "format('{:,}', CAST(x AS BIGINT))",
    "bqv_grouped_float(x, form)": "format(form, CAST(x AS DOUBLE))",
    **dates.MACROS,
}
SPECIFIER = re.compile(r"%(?:%|[-+ #0']*(?:\d+|\*)?(?:\.(?:\d+|\*))?[a-zA-Z])")
KINDS = {
    exp.DataType.Type.TEXT: "string",
    exp.DataType.Type.BIGINT: "int64",
    exp.DataType.Type.BOOLEAN: "bool",
    exp.DataType.Type.BINARY: "bytes",
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
GROUP = re.compile(r"\\.|\[(?:\\.|[^\]])*\]|\((?!\?)|\(\?P?<(?![=!])", re.DOTALL)

_engine = patches.get("storage.engine", "DuckDBEngine")
_start = _engine._register_builtin_udfs  # noqa: SLF001 (replaced below)
_ctas = patches.get("sql.translator", "rewrite_create_table_schema_ctas")
# By it a cast would lose its digits whenever a statement is written out between two of the emulator's steps.
del BigQuery.Generator.TRANSFORMS[exp.Cast]


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
    if kind in dates.TEXTS_OF and node.this.is_string and not isinstance(node, exp.TryCast):
        return None
    safe = "safe_" if isinstance(node, exp.TryCast) and kind not in {"string", "bytes"} else ""
    value = call(f"bqv_{safe}{kind}", node.this)
    return type(node)(this=value, to=node.to) if node.to.this in DIGITS else value


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
    if node.args.get("position") or node.args.get("occurrence"):
        return None
    if not pattern.is_string and not isinstance(pattern, exp.RawString):
        return call("bqv_regexp_extract_by", node.this, pattern)
    groups = sum(found.startswith("(") for found in GROUP.findall(pattern.name))
    if groups > 1:
        return call("bqv_fail", exp.Literal.string("Regular expression has more than 1 capturing group"))
    return call("bqv_regexp_extract", node.this, exp.Literal.string(pattern.name), exp.Literal.number(groups))


def _array_to_string(node: exp.ArrayToString) -> exp.Expr | None:
    return None if node.args.get("null") else call("bqv_array_to_string", node.this, node.expression)


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


def _within(node: exp.Expr) -> exp.Expr | None:
    place, macro = WITHIN[type(node)]
    given = node.args.get(place)
    if given is None or isinstance(given, exp.Literal):
        return None
    changed = node.copy()
    calls = [call(macro, one.copy()) for one in (given if isinstance(given, list) else [given])]
    changed.set(place, calls if isinstance(given, list) else calls[0])
    return changed


def _substring(node: exp.Substring) -> exp.Expr | None:
    start = node.args["start"]
    if isinstance(start, exp.Literal) and start.name != "0":
        return _within(node)
    changed = node.copy()
    changed.set("start", call("bqv_start", node.this.copy(), start.copy()))
    return _within(changed) or changed


def _split(node: exp.Split) -> exp.Expr | None:
    separator = node.expression
    return None if separator.is_string else call("bqv_split", node.copy(), separator.copy())


def _divided(node: exp.IntDiv | exp.Mod) -> exp.Expr:
    # sqlglot makes an operator of the function, without parentheses.
    name = "bqv_div" if isinstance(node, exp.IntDiv) else "bqv_mod"
    return call(name, node.this.unnest(), node.expression.unnest())


def _like(node: exp.Like) -> exp.Expr | None:
    pattern = node.expression
    # DuckDB is faster where nothing can be escaped.
    plain = isinstance(pattern, (exp.Literal, exp.RawString)) and "\\" not in pattern.name
    return None if plain else exp.Escape(this=node.copy(), expression=exp.Literal.string("\\"))


def _concat(node: exp.Concat | exp.DPipe) -> exp.Expr | None:
    joined, *parts = node.expressions if isinstance(node, exp.Concat) else [node.left, node.right]
    # DuckDB would give what is joined to NULL the type of an integer.
    if any(isinstance(one.this if isinstance(one, exp.Cast) else one, exp.Null) for one in (joined, *parts)):
        return None
    for part in parts:
        joined = call("bqv_concat", joined, part)
    return joined


def _count_if(node: exp.CountIf) -> exp.Expr | None:
    if isinstance(node.this, exp.Distinct):
        return None
    return exp.Count(this=exp.If(this=node.this, true=exp.Literal.number(1)))


def _without_nulls(node: exp.IgnoreNulls) -> exp.Expr | None:
    """ARRAY_AGG([DISTINCT] x IGNORE NULLS [ORDER BY …] [LIMIT n])."""
    if not isinstance(node.this, exp.ArrayAgg):
        return None
    items, limit = node.this.this, None
    if isinstance(items, exp.Limit):
        items, limit = items.this, items.expression
    value = items.this if isinstance(items, exp.Order) else items
    value = value.expressions[0] if isinstance(value, exp.Distinct) else value
    condition = exp.Where(this=value.is_(exp.null()).not_())
    kept = exp.Filter(this=exp.ArrayAgg(this=items.copy()), expression=condition)
    return call("list_slice", kept, exp.Literal.number(1), limit.copy()) if limit else kept


def _json_query(node: exp.JSONExtract) -> exp.Expr | None:
    if not isinstance(node.expression, exp.JSONPath):
        return None
    path = node.expression.sql("duckdb")[1:-1]
    return call("bqv_json_query", node.this, exp.Literal.string(path))


def _no_counterpart(node: exp.Expr) -> None:
    """Refuse what DuckDB would give another value or name."""
    match node:
        case exp.ApproxTopK():
            instead = "GROUP BY and LIMIT"
        case exp.StrPosition() if isinstance(node.args.get("position"), exp.Neg):
            instead = "a position from the left"
        case exp.RegexpInstr() if any(one.startswith("(") for one in GROUP.findall(node.expression.name)):
            instead = "a pattern without a group, as (?:…)"
        case exp.Pivot() if not node.unpivot and any(isinstance(one, exp.Alias) for one in node.expressions):
            instead = "an aggregate without an alias"
        case _:
            return
    raise InvalidQueryError(f"The sandbox's BigQuery has no {node.sql('bigquery').strip()}: use {instead}")


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


# The argument of a function that is put into a macro: no negative count, and what DuckDB takes with 32 bits only.
WITHIN: dict[type[exp.Expr], tuple[str, str]] = {
    exp.Substring: ("length", "bqv_count"),
    exp.Repeat: ("times", "bqv_count"),
    **dict.fromkeys((exp.Left, exp.Right), ("expression", "bqv_count")),
    **dict.fromkeys((exp.Round, exp.Trunc), ("decimals", "bqv_32_bits")),
    exp.Pad: ("expression", "bqv_32_bits"),
    exp.Chr: ("expressions", "bqv_32_bits"),
    exp.CodePointsToString: ("this", "bqv_32_bits_each"),
}
CHANGES: dict[type[exp.Expr], Callable[[Any], exp.Expr | None]] = {
    **dict.fromkeys(WITHIN, _within),
    exp.DataType: _decimal,
    exp.Cast: _cast,
    exp.TryCast: _cast,
    exp.JSONFormat: _json_format,
    exp.ArraySlice: lambda node: call("bqv_slice", node.this, node.args["start"], node.args["end"]),
    exp.Bracket: _at,
    exp.RegexpExtract: _regexp_extract,
    exp.ArrayToString: _array_to_string,
    exp.String: _string,
    exp.Trim: _trim,
    exp.JSONType: lambda node: call("bqv_json_type", node.this),
    exp.Substring: _substring,
    exp.Split: _split,
    exp.Like: _like,
    exp.CountIf: _count_if,
    exp.IgnoreNulls: _without_nulls,
    **dict.fromkeys((exp.ApproxTopK, exp.StrPosition, exp.RegexpInstr, exp.Pivot), _no_counterpart),
    exp.DPipe: _concat,
    exp.Concat: _concat,
    exp.JSONExtract: _json_query,
    exp.IntDiv: _divided,
    exp.Mod: _divided,
    exp.Format: _format,
    **dates.CHANGES,
    **statements.CHANGES,
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
