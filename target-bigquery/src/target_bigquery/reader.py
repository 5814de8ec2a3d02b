"""Reads messages: a line that is none is one line in the log, not a traceback."""

from __future__ import annotations

from typing import Any

import msgspec
from singer_sdk.contrib.msgspec import MsgSpecReader, decoder
from typing_extensions import override

from target_bigquery.errors import TargetError

SHOWN = 120


class Reader(MsgSpecReader):
    """Reads Singer messages from standard input."""

    @override
    def deserialize_json(self, line: str) -> dict[str, Any]:
        try:
            message = decoder.decode(line)
        except msgspec.DecodeError as error:
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
