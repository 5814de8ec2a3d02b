"""Reads messages: a line that is not a message is one line in the log, not a traceback."""

from __future__ import annotations

import json
import sys
from decimal import Decimal, InvalidOperation
from typing import IO, TYPE_CHECKING, Any

import msgspec
from singer_sdk.contrib.msgspec import MsgSpecReader, decoder
from typing_extensions import override

from target_bigquery.errors import TargetError

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

SHOWN = 120


def decode(text: str | bytes) -> Any:  # noqa: ANN401 (JSON)
    """Return the value of a JSON text, with numbers that have a point or an exponent as Decimal.

    Python's extensions of JSON (NaN, half of a surrogate pair) are read too, so that the error can name their field.

    Raises:
        ValueError: The text is not JSON, or a number's exponent is beyond any type.
        RecursionError: It nests too deeply.
    """
    try:
        return decoder.decode(text)
    except InvalidOperation:
        raise ValueError("a number has an exponent of more than 18 digits") from None
    except msgspec.DecodeError:
        return json.loads(text, parse_float=Decimal)


class Reader(MsgSpecReader):
    """Reads Singer messages."""

    @override
    def process_lines(
        self, file_input: IO[str] | None, callbacks: dict[str, Callable[[dict[str, Any]], None]]
    ) -> Counter[str]:
        lines = file_input or sys.stdin
        if lines is None:
            raise TargetError(
                "standard input is closed; pipe a tap into the target, or name a file with --input"
            )
        # As bytes: JSON is UTF-8, whatever the locale.
        return super().process_lines(getattr(lines, "buffer", lines), callbacks)

    @override
    def deserialize_json(self, line: str | bytes) -> dict[str, Any]:
        try:
            message = decode(line)
        except (ValueError, RecursionError) as error:
            raise TargetError(
                f"a line is not JSON ({error}): {_beginning(line)!r}; look at the tap: something else wrote to its standard output"
            ) from None
        if not isinstance(message, dict):
            raise TargetError(f"a line is not a Singer message: {_beginning(line)!r}; look at the tap")
        return message

    @override
    def _process_unknown_message(self, message_dict: dict[str, Any]) -> None:
        raise TargetError(
            f"a message of type {message_dict.get('type')!r}: expected SCHEMA, RECORD, STATE, BATCH or "
            "ACTIVATE_VERSION; look at the tap"
        )


def _beginning(line: str | bytes) -> str:
    return (line if isinstance(line, str) else line.decode(errors="replace"))[:SHOWN].rstrip()
