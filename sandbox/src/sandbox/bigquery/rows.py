"""Newline-delimited JSON as Arrow tables that fit a BigQuery schema.

Arrow's reader takes a block of lines in which everything is as it should be. Any other block is read row by row, with
BigQuery's conversions, so that the error names the bad row and the reason. Dates, times and decimals are texts, which DuckDB casts.
"""

import base64
import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from gzip import GzipFile
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
from bqemulator.catalog.models import TableFieldSchema as Field
from pyarrow import json as arrow_json

from .schemas import kind

Scalar = str | int | Decimal  # of JSON; bool is an int
BLOCK = 32 << 20  # bytes of text at a time
CSV_ROWS = 10_000  # at a time
MAX_ROW = 100 << 20  # bytes, https://cloud.google.com/bigquery/quotas#load_jobs
DATE = r"\d{4}[-/]\d{1,2}[-/]\d{1,2}"
TIME = r"\d{1,2}:\d{1,2}:\d{1,2}(?:\.\d{0,6})?"
ZONE = r"\s?(?:[Zz]|UTC|[+-]\d{1,2}(?::?\d{2})?|[A-Za-z_]+/[A-Za-z_]+)"
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
FORMS = {
    "NUMERIC": NUMBER,
    # What the DuckDB type holds: more digits are refused, not rounded.
    "BIGNUMERIC": r"[+-]?(?:\d{1,20}(?:\.\d{0,18})?|\.\d{1,18})",
    "DATE": DATE,
    "TIME": TIME,
    "DATETIME": rf"{DATE}(?:[Tt ]{TIME})?",
    "TIMESTAMP": rf"{DATE}(?:[Tt ]{TIME})?(?:{ZONE})?",
}
ARROW = {"INT64": pa.int64(), "FLOAT64": pa.float64(), "BOOL": pa.bool_(), "BYTES": pa.binary()}
# Texts in JSON whose value is another one: Arrow's reader may find them absent only.
ENCODED = {"BYTES", "JSON"}
BOOLEANS = {"true": True, "t": True, "yes": True, "y": True, "1": True} | {
    "false": False, "f": False, "no": False, "n": False, "0": False,
}  # fmt: skip


class NotPlainError(ValueError):
    """The block must be read row by row."""


class BadRowError(Exception):
    """A row that BigQuery refuses: where it starts in the file (bytes, from 0; of CSV: which it is, from 1), and why."""

    def __init__(
        self, position: int, why: str, row: str = "JSON parsing error in row starting at position"
    ) -> None:
        super().__init__(f"{row} {position}: {why}")


def blocks(file: IO[bytes] | GzipFile) -> Iterator[tuple[int, bytes]]:
    """Yield runs of whole lines, each with its position in the file.

    Raises:
        BadRowError: A row is larger than BigQuery's limit.
    """
    position, rest = 0, b""
    while chunk := file.read(BLOCK):
        cut = chunk.rfind(b"\n") + 1
        if cut:
            yield position, rest + chunk[:cut]
            position, rest = position + len(rest) + cut, chunk[cut:]
        else:
            rest += chunk
            if len(rest) > MAX_ROW:
                raise BadRowError(position, f"Row size is larger than: {MAX_ROW}.")
    if rest:
        yield position, rest


def arrow_type(field: Field, *, plain: bool = False) -> pa.DataType:
    """Return a field's type in Arrow; `plain` for Arrow's own reader."""
    if kind(field) == "STRUCT":
        arrow = pa.struct([(inner.name, arrow_type(inner, plain=plain)) for inner in field.fields])
    else:
        arrow = pa.null() if plain and kind(field) in ENCODED else ARROW.get(kind(field), pa.string())
    return pa.list_(arrow) if field.mode == "REPEATED" else arrow


def _schema(fields: Sequence[Field], *, plain: bool = False) -> pa.Schema:
    return pa.schema([(field.name, arrow_type(field, plain=plain)) for field in fields])


def read_plain(block: bytes, fields: Sequence[Field], *, ignore_unknown: bool) -> pa.Table:
    """Return a block in which each value is written in its own type.

    Raises:
        ValueError: It is another one; pyarrow.ArrowInvalid is one too.
    """
    block.decode()  # Arrow does not look whether it is UTF-8
    table = arrow_json.read_json(
        pa.BufferReader(block),
        read_options=arrow_json.ReadOptions(use_threads=False, block_size=len(block) + 1),
        parse_options=arrow_json.ParseOptions(
            explicit_schema=_schema(fields, plain=True),
            unexpected_field_behavior="ignore" if ignore_unknown else "error",
        ),
    )
    arrays = [_conform(table.column(field.name).combine_chunks(), field) for field in fields]
    return pa.Table.from_arrays(arrays, schema=_schema(fields))


def _conform(array: pa.Array, field: Field) -> pa.Array:
    """Return the array as the field's, without NULL in the place of an empty array."""
    if field.mode == "REPEATED":
        one = field.model_copy(update={"mode": "REQUIRED"})
        return pa.ListArray.from_arrays(array.offsets, _conform(array.values, one))
    if field.mode == "REQUIRED" and array.null_count:
        raise NotPlainError
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), arrow_type(field))
    if kind(field) == "STRUCT":
        inner = []
        for place, one in enumerate(field.fields):
            child, within = array.field(place), one
            if one.mode == "REQUIRED":
                if pc.any(pc.and_(child.is_null(), array.is_valid())).as_py():
                    raise NotPlainError
                within = one.model_copy(update={"mode": "NULLABLE"})
            inner.append(_conform(child, within))
        return pa.StructArray.from_arrays(inner, names=[f.name for f in field.fields], mask=array.is_null())
    if (form := FORMS.get(kind(field))) and pc.all(
        pc.match_substring_regex(array, f"^(?:{form})$")
    ).as_py() is False:
        raise NotPlainError
    if field.max_length and (pc.max(pc.utf8_length(array)).as_py() or 0) > field.max_length:
        raise NotPlainError
    return array


def read_each(block: bytes, position: int, fields: Sequence[Field], *, ignore_unknown: bool) -> pa.Table:
    """Return a block, read row by row; `position` is where it starts in the file.

    Raises:
        BadRowError: BigQuery would refuse a row.
    """
    records = []
    for line in block.split(b"\n"):
        if line.strip():
            try:
                value = json.loads(
                    line.removeprefix(b"\xef\xbb\xbf"), parse_float=Decimal, parse_constant=_reject_constant
                )
                if not isinstance(value, dict):
                    raise NotPlainError("Value encountered without start of object")  # noqa: TRY301
                records.append(_record(value, fields, ignore_unknown=ignore_unknown))
            except NotPlainError as error:
                raise BadRowError(position, str(error)) from None
            except (ValueError, RecursionError) as error:
                raise BadRowError(position, f"Parser terminated before end of string: {error}") from None
        position += len(line) + 1
    return pa.Table.from_pylist(records, schema=_schema(fields))


def read_csv(
    file: IO[bytes] | GzipFile, fields: Sequence[Field], config: dict[str, Any]
) -> Iterator[pa.Table]:
    """Yield a CSV file's rows, by `skipLeadingRows`, `fieldDelimiter`, `quote`, `nullMarker` … of the job's configuration.

    Raises:
        BadRowError: BigQuery would refuse a row.
    """
    delimiter = {"tab": "\t"}.get(config.get("fieldDelimiter") or ",", config.get("fieldDelimiter") or ",")
    quote = config.get("quote", '"')
    quoting: dict[str, Any] = {"quotechar": quote} if quote else {"quoting": csv.QUOTE_NONE}
    lines = csv.reader(
        io.TextIOWrapper(file, "utf-8", newline=""), delimiter=delimiter, strict=True, **quoting
    )
    records: list[dict[str, Any]] = []
    number = 0
    try:
        for number, values in enumerate(lines, 1):
            if number > int(config.get("skipLeadingRows") or 0) and values:
                records.append(_record(_csv_record(values, fields, config), fields, ignore_unknown=False))
            if len(records) == CSV_ROWS:
                yield pa.Table.from_pylist(records, schema=_schema(fields))
                records = []
    except (NotPlainError, UnicodeDecodeError, csv.Error, json.JSONDecodeError) as error:
        row = number + (not isinstance(error, NotPlainError))
        raise BadRowError(row, str(error), "CSV parsing error in row") from None
    yield pa.Table.from_pylist(records, schema=_schema(fields))


def _csv_record(values: list[str], fields: Sequence[Field], config: dict[str, Any]) -> dict[str, Any]:
    if len(values) < len(fields) and not config.get("allowJaggedRows"):
        raise NotPlainError(f"Missing columns: {len(values)} of {len(fields)} are there.")
    if len(values) > len(fields) and not config.get("ignoreUnknownValues"):
        raise NotPlainError(f"Too many values in row: {len(values)} for {len(fields)} columns.")
    if any("\n" in value for value in values) and not config.get("allowQuotedNewlines"):
        raise NotPlainError("Missing close quote character: a quoted newline needs allowQuotedNewlines.")
    null = config.get("nullMarker") or ""
    return {
        field.name: json.loads(value) if kind(field) == "JSON" else value
        for field, value in zip(fields, values, strict=False)
        if value != null
    }


def refused(row: dict[str, Any], fields: Sequence[Field], *, ignore_unknown: bool) -> str:
    """Return why BigQuery would not take a row, '' where it does."""
    try:
        _record(row, fields, ignore_unknown=ignore_unknown)
    except NotPlainError as error:
        return str(error)
    return ""


def _reject_constant(word: str) -> Any:  # noqa: ANN401 (what json asks for)
    raise NotPlainError(f"Parser terminated before end of string: {word} is not JSON")


def _record(
    value: dict[str, Any], fields: Sequence[Field], path: str = "", *, ignore_unknown: bool
) -> dict[str, Any]:
    by_name = {field.name.lower(): field for field in fields}
    record: dict[str, Any] = {field.name: [] for field in fields if field.mode == "REPEATED"}
    for key, item in value.items():
        field = by_name.get(key.lower())
        if field is None:
            if not ignore_unknown:
                raise NotPlainError(f"No such field: {path}{key}.")
        elif item is not None:
            record[field.name] = _value(item, field, path + field.name, ignore_unknown=ignore_unknown)
    for field in fields:
        if field.mode == "REQUIRED" and field.name not in record:
            raise NotPlainError(f"Missing required field: {path}{field.name}.")
    return record


def _value(value: Any, field: Field, path: str, *, ignore_unknown: bool) -> Any:  # noqa: ANN401 (JSON)
    if field.mode == "REPEATED":
        if not isinstance(value, list):
            raise NotPlainError(f"Repeated field must be imported as a JSON array. Field: {path}.")
        if None in value:
            raise NotPlainError(f"Only optional fields can be set to NULL. Field: {path}; Value: NULL")
        return [_element(item, field, path, ignore_unknown=ignore_unknown) for item in value]
    return _element(value, field, path, ignore_unknown=ignore_unknown)


def _element(value: Any, field: Field, path: str, *, ignore_unknown: bool) -> Any:  # noqa: ANN401 (JSON)
    name = kind(field)
    if name == "JSON":
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=float, sort_keys=True)
    if name == "STRUCT":
        if not isinstance(value, dict):
            raise NotPlainError(f"This field: {path} is not a record.")
        return _record(value, field.fields, path + ".", ignore_unknown=ignore_unknown)
    if isinstance(value, list):
        raise NotPlainError(f"Array specified for non-repeated field: {path}.")
    if isinstance(value, dict):
        raise NotPlainError(f"JSON object specified for non-record field: {path}")
    try:
        convert: Callable[[Scalar], Any] = CONVERSIONS.get(name, _string)
        converted = convert(value)
        if field.max_length and len(converted) > field.max_length:
            raise ValueError  # noqa: TRY301
        if name in FORMS and not re.fullmatch(FORMS[name], converted):
            raise ValueError  # noqa: TRY301
    except (ValueError, ArithmeticError):
        shown = str(value)[:200]
        raise NotPlainError(
            f"Could not convert value to {field.type.lower()}. Field: {path}; Value: {shown}"
        ) from None
    return converted


def _string(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(value: Scalar) -> str:
    if isinstance(value, bool):
        raise ValueError  # noqa: TRY004 (all that cannot be converted is a ValueError)
    return str(value).strip()


def _float(value: Scalar) -> float:
    if not re.fullmatch(rf"{NUMBER}|[+-]?(?i:nan|inf|infinity)", _number(value)):
        raise ValueError
    return float(_number(value))


def _integer(value: Scalar) -> int:
    match = re.fullmatch(r"([+-]?\d+)(\.0+)?", _number(value))
    if not match or not -(2**63) <= int(match[1]) < 2**63:
        raise ValueError
    return int(match[1])


def _numeric(value: Scalar) -> str:
    if abs(Decimal(_number(value))) >= Decimal(10) ** 29:
        raise ValueError
    return _number(value)


def _bool(value: Scalar) -> bool:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str) or value.strip().lower() not in BOOLEANS:
        raise ValueError
    return BOOLEANS[value.strip().lower()]


def _date_or_time(value: Scalar) -> str:
    """Return a date, a time, or both, that exists in the calendar."""
    if not isinstance(value, str):
        raise ValueError  # noqa: TRY004 (the same)
    text = value.strip()
    if day := re.match(DATE, text):
        date(*map(int, re.split("[-/]", day[0])))
    if clock := re.search(TIME, text):
        hour, minute, second = clock[0].split(":")
        time(int(hour), int(minute), int(float(second)))
    return text


def _timestamp(value: Scalar) -> str:
    """Return a moment; a number is the seconds since 1970."""
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        return datetime.fromtimestamp(float(value), UTC).isoformat(sep=" ")
    return _date_or_time(value)


def _bytes(value: Scalar) -> bytes:
    if not isinstance(value, str):
        raise ValueError  # noqa: TRY004 (the same)
    return base64.b64decode(value, validate=True)


CONVERSIONS: dict[str, Callable[[Scalar], Any]] = {
    "INT64": _integer,
    "FLOAT64": _float,
    "NUMERIC": _numeric,
    "BIGNUMERIC": _number,
    "BOOL": _bool,
    "DATE": _date_or_time,
    "TIME": _date_or_time,
    "DATETIME": _date_or_time,
    "TIMESTAMP": _timestamp,
    "BYTES": _bytes,
}
