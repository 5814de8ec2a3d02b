"""Reads messages: a line that is none is one line in the log, not a traceback."""

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
    """Return what a JSON text says, numbers with a point or an exponent as Decimal.

    What Python's own programs write and JSON has not (NaN, half of a surrogate pair) is read too: it is refused by its field.

    Raises:
        ValueError: It is no JSON.
        RecursionError: It nests too deep to be read.
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
                f"a line is no JSON ({error}): {line[:SHOWN].rstrip()!r}; look at the tap: something else wrote to its "
                "standard output"
            ) from None
        if not isinstance(message, dict):
            raise TargetError(f"a line is no Singer message: {line[:SHOWN].rstrip()!r}; look at the tap")
        return message

    @override
    def _process_unknown_message(self, message_dict: dict[str, Any]) -> None:
        raise TargetError(
            f"a message of type {message_dict.get('type')!r}: expected SCHEMA, RECORD, STATE, BATCH or "
            "ACTIVATE_VERSION; look at the tap"
        )
