"""Newline-delimited JSON against a BigQuery schema.

Two readers of the same rules. `select` makes one SQL statement that converts a block of lines and raises at the
first thing wrong: fast, but it cannot say which row. `Checker` reads a row at a time in Python, says what is wrong
with it, and gives it back in regular form; it only sees the blocks at which the statement failed.
"""

import base64
import json
import re
from datetime import date, datetime, time
from decimal import Decimal

DATE_ = r"\d{4}[-/]\d{1,2}[-/]\d{1,2}"
TIME_ = r"\d{1,2}:\d{1,2}:\d{1,2}(\.\d{0,6})?"
ZONE_ = r"\s?([Zz]|UTC|[+-]\d{1,2}(:?\d{2})?|[A-Za-z_]+/[A-Za-z_]+)"
FORM = {  # what the text of a value must look like; the cast then checks the rest
    "INT64": r"[+-]?\d+(\.0+)?",
    "FLOAT64": r"(?i)[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|inf|infinity)",
    "NUMERIC": r"(?i)[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?",
    "DATE": DATE_,
    "TIME": TIME_,
    "DATETIME": rf"{DATE_}([Tt ]{TIME_})?",
    "TIMESTAMP": rf"{DATE_}([Tt ]{TIME_})?({ZONE_})?",
}
FORM["BIGNUMERIC"] = (
    r"[+-]?(\d{1,20}(\.\d{0,18})?|\.\d{1,18})"  # what the DuckDB type holds; more digits are refused, not rounded
)
NUMBER = r"(?i)-?\d+(\.\d+)?(e[+-]?\d+)?"
COMPILED = {k: re.compile(v) for k, v in FORM.items()}
LOOSE = r",\s*[}\]]"  # a trailing comma, which DuckDB's JSON reader lets pass
TRUE, FALSE = ("true", "t", "yes", "y", "1"), ("false", "f", "no", "n", "0")
STANDARD = {
    "INTEGER": "INT64",
    "FLOAT": "FLOAT64",
    "BOOLEAN": "BOOL",
    "RECORD": "STRUCT",
    "DECIMAL": "NUMERIC",
    "BIGDECIMAL": "BIGNUMERIC",
}


def kind(field):
    return STANDARD.get(field.type.upper(), field.type.upper())


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def text(value):
    return "'" + value.replace("'", "''") + "'"


# --- SQL --------------------------------------------------------------------------------------------------------
class Select:
    """Builds the statement for a schema. `types` gives each leaf's DuckDB type: types(field) -> text."""

    def __init__(self, fields, types, ignore_unknown=False):
        self.fields, self.types, self.ignore = fields, types, ignore_unknown
        self.layers, self.names = [], 0

    def statement(self, source, regular=False):
        """`regular`: the lines come from Checker, so key names and commas are known to be in order."""
        self.layers, self.regular = [], regular
        values = [f"{self.field(f, 'r.' + quoted(f.name), 0)} AS {quoted(f.name)}" for f in self.fields]
        guard = (
            "true"
            if regular
            else f"starts_with(ltrim(line), '{{') AND NOT regexp_matches(line, {text(LOOSE)}) AND {self.keys('line', self.fields)}"
        )
        inner = f"SELECT pos, json_transform(CASE WHEN {guard} THEN line ELSE error('row') END, {self.shape(self.fields)}) AS r FROM {source}"
        for layer in self.layers:
            inner = f"SELECT *, {', '.join(f'{e} AS {n}' for n, e in layer)} FROM ({inner})"
        return f"SELECT {', '.join(values)} FROM ({inner})"

    def fresh(self, letter):
        self.names += 1
        return f"{letter}{self.names}"

    def shape(self, fields):
        return text(json.dumps({f.name: "JSON" for f in fields}, ensure_ascii=False))

    def keys(self, x, fields):
        """True when every key of the object x is a field's name, letter for letter."""
        if self.regular:
            return "true"
        known = "[" + ", ".join(text(f.name) for f in fields) + "]"
        if not self.ignore:
            return f"list_has_all({known}, json_keys({x}))"
        lower = (
            "[" + ", ".join(text(f.name.lower()) for f in fields) + "]"
        )  # a known name in other letters is no unknown name
        return (
            f"len(list_filter(json_keys({x}), lambda k: list_contains({lower}, lower(k))"
            f" AND NOT list_contains({known}, k))) = 0"
        )

    def object(self, x, f):
        return (
            f"CASE WHEN {x} IS NULL THEN NULL WHEN starts_with({x}::VARCHAR, '{{') AND {self.keys(x, f.fields)}"
            f" THEN json_transform({x}, {self.shape(f.fields)}) ELSE error('row') END"
        )

    def field(self, f, x, depth=None):
        """The value of field f out of the JSON expression x. depth: how many records deep, None inside an array."""
        if f.mode == "REPEATED":
            e = self.fresh("e")
            elements = f"json_transform({x}, '[\"JSON\"]')"
            if kind(f) == "STRUCT":
                s = self.fresh("s")
                elements = f"list_transform({elements}, lambda {e}: {self.object(e, f)})"
                each = (
                    f"lambda {s}: CASE WHEN {s} IS NULL THEN error('null') ELSE {self.pack(f, s, None)} END"
                )
            else:
                each = f"lambda {e}: CASE WHEN {e} IS NULL THEN error('null') ELSE {self.scalar(f, e)} END"
            return f"CASE WHEN {x} IS NULL THEN [] WHEN NOT starts_with({x}::VARCHAR, '[') THEN error('no array') ELSE list_transform({elements}, {each}) END"
        if kind(f) == "STRUCT":
            if depth is None:
                s = self.fresh("s")
                value = f"list_transform([{self.object(x, f)}], lambda {s}: CASE WHEN {s} IS NULL THEN NULL ELSE {self.pack(f, s, None)} END)[1]"
            else:
                s = self.fresh("s")
                while len(self.layers) <= depth:
                    self.layers.append([])
                self.layers[depth].append((s, self.object(x, f)))
                value = f"CASE WHEN {s} IS NULL THEN NULL ELSE {self.pack(f, s, depth + 1)} END"
        else:
            value = self.scalar(f, x)
        return (
            f"CASE WHEN {x} IS NULL THEN error('required') ELSE {value} END"
            if f.mode == "REQUIRED"
            else value
        )

    def pack(self, f, s, depth):
        return (
            "struct_pack("
            + ", ".join(
                f"{quoted(g.name)} := {self.field(g, s + '.' + quoted(g.name), depth)}" for g in f.fields
            )
            + ")"
        )

    def scalar(self, f, x):
        t, duck, raw, s = kind(f), self.types(f), f"{x}::VARCHAR", f"trim({x}->>'$')"
        if t == "JSON":
            return f"CAST({x} AS JSON)"
        head = f"CASE WHEN {x} IS NULL THEN NULL "
        tail = f"ELSE error('value') END"
        is_text = f"starts_with({raw}, '\"')"
        if t == "STRING":
            fits = f" AND length({x}->>'$') <= {f.max_length}" if f.max_length else ""
            return (
                head
                + f"WHEN {is_text}{fits} THEN {x}->>'$' WHEN regexp_full_match({raw}, {text(NUMBER + '|true|false')}) THEN {raw} {tail}"
            )
        if t == "INT64":
            return (
                head + f"WHEN regexp_full_match({raw}, '-?\\d{{1,18}}') THEN CAST({raw} AS BIGINT)"
                f" WHEN regexp_full_match({s}, {text(FORM[t])}) THEN CAST(split_part({s}, '.', 1) AS BIGINT) {tail}"
            )
        if t in ("FLOAT64", "NUMERIC", "BIGNUMERIC"):
            return head + f"WHEN regexp_full_match({s}, {text(FORM[t])}) THEN CAST({s} AS {duck}) {tail}"
        if t == "BOOL":
            words = lambda w: "(" + ", ".join(map(text, w)) + ")"
            return (
                head + f"WHEN {raw} = 'true' OR ({is_text} AND lower({s}) IN {words(TRUE)}) THEN true"
                f" WHEN {raw} = 'false' OR ({is_text} AND lower({s}) IN {words(FALSE)}) THEN false {tail}"
            )
        if t in ("DATE", "TIME", "DATETIME", "TIMESTAMP"):
            number = (
                f" WHEN regexp_full_match({raw}, {text(NUMBER)}) THEN to_timestamp(CAST({raw} AS DOUBLE))"
                if t == "TIMESTAMP"
                else ""
            )
            return (
                head
                + f"WHEN {is_text} AND regexp_full_match({s}, {text(FORM[t])}) THEN CAST({s} AS {duck}){number} {tail}"
            )
        if t == "BYTES":
            return head + f"WHEN {is_text} THEN from_base64({s}) {tail}"
        if t == "GEOGRAPHY":
            return head + f"WHEN {is_text} THEN ST_GeomFromText({s}) {tail}"
        return f"CAST({x} AS {duck})"


def total(terms):
    """The sum of the terms as a tree: DuckDB's parser allows an expression 1,000 levels."""
    if len(terms) < 2:
        return terms[0] if terms else "0"
    middle = len(terms) // 2
    return f"({total(terms[:middle])} + {total(terms[middle:])})"


def size(f, x):
    """BigQuery's logical size of a value, as SQL."""
    t = kind(f)
    if f.mode == "REPEATED":
        e = "e" + str(abs(hash((f.name, x))) % 10**8)
        one = size(f.model_copy(update={"mode": "NULLABLE"}), e)
        return f"coalesce(list_sum(list_transform({x}, lambda {e}: {one})), 0)"
    if t == "STRUCT":
        return total([size(g, f"{x}.{quoted(g.name)}") for g in f.fields])
    if t in ("STRING", "JSON"):
        return f"coalesce(2 + strlen({x}::VARCHAR), 0)"
    if t == "BYTES":
        return f"coalesce(2 + octet_length({x}), 0)"
    bytes_ = {"BOOL": 1, "NUMERIC": 16, "BIGNUMERIC": 32, "INTERVAL": 16, "RANGE": 16, "GEOGRAPHY": 16}.get(
        t, 8
    )
    return f"CASE WHEN {x} IS NULL THEN 0 ELSE {bytes_} END"


# --- Python -----------------------------------------------------------------------------------------------------
class BadRow(Exception):
    pass


def no_constant(word):
    raise BadRow(f"Parser terminated before end of string: {word} is not JSON")


class Checker:
    def __init__(self, fields, ignore_unknown=False):
        self.fields, self.ignore = fields, ignore_unknown
        self.names = {}

    def line(self, raw):
        """The row in regular form, as JSON text, or BadRow."""
        try:
            value = json.loads(raw, parse_constant=no_constant)
        except (ValueError, RecursionError) as e:
            raise BadRow(f"Parser terminated before end of string: {e}") from None
        if not isinstance(value, dict):
            raise BadRow("Value encountered without start of object")
        return json.dumps(self.record(value, self.fields, ""), ensure_ascii=False)

    def record(self, value, fields, path):
        known = self.names.get(path)
        if known is None:
            known = self.names[path] = {f.name.lower(): f for f in fields}
        out = {}
        for key, v in value.items():
            f = known.get(key.lower())
            if f is None:
                if not self.ignore:
                    raise BadRow(f"No such field: {path}{key}.")
            elif v is not None:
                out[f.name] = self.value(v, f, path + f.name)
        for f in fields:
            if f.mode == "REQUIRED" and f.name not in out:
                raise BadRow(f"Missing required field: {path}{f.name}.")
        return out

    def value(self, v, f, path):
        if f.mode != "REPEATED":
            return self.one(v, f, path)
        if not isinstance(v, list):
            raise BadRow(f"Repeated field must be imported as a JSON array. Field: {path}.")
        if any(e is None for e in v):
            raise BadRow(f"Only optional fields can be set to NULL. Field: {path}; Value: NULL")
        return [self.one(e, f, path) for e in v]

    def one(self, v, f, path):
        t = kind(f)
        if t == "JSON":
            return v
        if t == "STRUCT":
            if not isinstance(v, dict):
                raise BadRow(f"This field: {path} is not a record.")
            return self.record(v, f.fields, path + ".")
        if isinstance(v, list):
            raise BadRow(f"Array specified for non-repeated field: {path}.")
        if isinstance(v, dict) and t != "RANGE":
            raise BadRow(f"JSON object specified for non-record field: {path}")
        try:
            if not self.fits(v, f, t):
                raise ValueError
        except (ValueError, ArithmeticError):
            shown = v if isinstance(v, str) else json.dumps(v)
            raise BadRow(
                f"Could not convert value to {f.type.lower()}. Field: {path}; Value: {shown[:200]}"
            ) from None
        return v

    def fits(self, v, f, t):
        words = v.strip() if isinstance(v, str) else json.dumps(v)
        if t == "STRING":
            return not (f.max_length and isinstance(v, str) and len(v) > f.max_length)
        if t == "BOOL":
            return isinstance(v, bool) or isinstance(v, str) and words.lower() in TRUE + FALSE
        if isinstance(v, bool):
            return False
        if t == "TIMESTAMP" and not isinstance(v, str):
            return -62135596800 <= v <= 253402300800
        if t in ("DATE", "TIME", "DATETIME", "TIMESTAMP", "BYTES", "GEOGRAPHY") and not isinstance(v, str):
            return False
        if t == "BYTES":
            base64.b64decode(words, validate=True)
        if t not in FORM:
            return True
        if not COMPILED[t].fullmatch(words):
            return False
        if t == "INT64":
            return -(2**63) <= int(words.split(".")[0]) < 2**63
        if t == "NUMERIC":
            return abs(Decimal(words)) < Decimal(10) ** 29
        if t in ("DATE", "DATETIME", "TIMESTAMP"):
            head, _, rest = words.replace("/", "-", 2).replace("t", "T").replace("T", " ").partition(" ")
            date(*map(int, head.split("-")))
            if m := re.match(TIME_, rest):
                clock(m.group())
        if t == "TIME":
            clock(words)
        return True


def clock(words):
    h, m, s = words.split(":")
    time(int(h), int(m), int(float(s)))
