"""Reads messages: a line that is not a message is one line in the log, not a traceback."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import msgspec
from singer_sdk.contrib.msgspec import MsgSpecReader, decoder
from typing_extensions import override

from target_bigquery.errors import TargetError

SHOWN = 120


def decode(text: str | bytes) -> Any:  # noqa: ANN401 (JSON)
    """Return the value of a JSON text, with numbers that have a point or an exponent as Decimal.

    Python's extensions of JSON (NaN, half of a surrogate pair) are read too, so that the error can name their field.

    Raises:
        ValueError: The text is not JSON.
        RecursionError: It nests too deeply.
    """
    try:
        return decoder.decode(text)
    except msgspec.DecodeError:
        return json.loads(text, parse_float=Decimal)


class Reader(MsgSpecReader):
    """Reads Singer messages from standard input."""

    @override
    def deserialize_json(self, line: str) -> dict[str, Any]:
        try:
            message = decode(line)
        except (ValueError, RecursionError) as error:
            raise TargetError(
                f"a line is not JSON ({error}): {line[:SHOWN].rstrip()!r}; look at the tap: something else wrote to its "
                "standard output"
            ) from None
        if not isinstance(message, dict):
            raise TargetError(f"a line is not a Singer message: {line[:SHOWN].rstrip()!r}; look at the tap")
        return message

    @override
    def _process_unknown_message(self, message_dict: dict[str, Any]) -> None:
        raise TargetError(
            f"a message of type {message_dict.get('type')!r}: expected SCHEMA, RECORD, STATE, BATCH or "
            "ACTIVATE_VERSION; look at the tap"
        )
