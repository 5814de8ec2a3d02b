"""Columns, and the records' values in them: a record becomes the row that a JSON load job reads."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from google.cloud.bigquery import SchemaField

from target_bigquery.errors import ValueRefusedError
from target_bigquery.values import text


@dataclass(frozen=True)
class Column:
    """One column: its type, its name at the source and in BigQuery, and how values get there."""

    type: str
    source: str = ""
    name: str = ""
    mode: str = "NULLABLE"
    description: str = field(default="", compare=False)
    columns: tuple["Column", ...] = ()
    required: frozenset[str] = field(default=frozenset(), compare=False)
    convert_one: Callable[[Any], Any] | None = field(default=None, compare=False, repr=False)

    def field(self) -> SchemaField:
        """Return the column as Google's client has it."""
        fields = [column.field() for column in self.columns]
        if not self.description:
            return SchemaField(self.name, self.type, mode=self.mode, fields=fields)
        return SchemaField(self.name, self.type, mode=self.mode, description=self.description, fields=fields)

    @cached_property
    def convert(self) -> Callable[[Any], Any]:
        """Return a value as a JSON load job reads it; raises ValueRefusedError where the column cannot hold it."""
        one = self.convert_one or record_converter(self.columns, self.required)
        return partial(_convert_items, one) if self.mode == "REPEATED" else one


def _convert_items(convert: Callable[[Any], Any], value: Any) -> list[Any]:  # noqa: ANN401 (JSON)
    if not isinstance(value, list):
        raise ValueRefusedError.of("an array", value)
    done: list[Any] = []
    for item in value:
        try:
            done.append(convert(item))
        except ValueRefusedError as error:
            raise error.under(f"[{len(done)}]") from None
    return done


def record_converter(
    columns: Iterable[Column],
    required: frozenset[str],
    extra: Column | None = None,
    ignored: Callable[[str], bool] = lambda _: False,
) -> Callable[[Any], dict[str, Any]]:
    """Return the function that makes a row of a record: column names, no nulls.

    It raises ValueRefusedError where a field is not in the schema, a required one is missing, or a value does not fit.

    Args:
        columns: The columns of the fields that the schema lists.
        required: The fields that a record must have.
        extra: The column of fields that the schema allows and does not list.
        ignored: Which unlisted fields are left out, by name.
    """
    known = {column.source: (column.name, column.convert, column.convert is text) for column in columns}
    needed = required & known.keys()

    def convert(record: Any) -> dict[str, Any]:  # noqa: ANN401 (JSON)
        if not isinstance(record, dict):
            raise ValueRefusedError.of("RECORD", record)
        row, rest = {}, {}
        for source, value in record.items():
            if source not in known:
                rest[source] = value
                continue
            name, convert_value, is_text = known[source]
            # Most values are texts, and taken as they are: a call less for each.
            if is_text and value.__class__ is str:
                row[name] = value
            elif value is not None:
                try:
                    row[name] = convert_value(value)
                except ValueRefusedError as error:
                    raise error.under(source) from None
        if not needed.issubset(record):
            missing = next(name for name in known if name in needed and name not in record)
            raise ValueRefusedError("the schema requires it, and it is missing").under(missing)
        return row | _unlisted(rest, extra, ignored) if rest else row

    return convert


def _unlisted(fields: dict[str, Any], extra: Column | None, ignored: Callable[[str], bool]) -> dict[str, Any]:
    kept = {name: value for name, value in fields.items() if not ignored(name)}
    if kept and extra is None:
        refused = ValueRefusedError("not in the stream's schema; add it there, or deselect it")
        raise refused.under(next(iter(kept)))
    return {extra.name: extra.convert(kept)} if kept and extra else {}
