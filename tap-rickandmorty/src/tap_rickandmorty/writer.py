"""Writes messages: records by the buffer, everything else at once."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from singer_sdk.contrib.msgspec import MsgSpecWriter
from singer_sdk.singerlib import RecordMessage
from typing_extensions import override

if TYPE_CHECKING:
    from singer_sdk.singerlib import Message

LARGEST_BUFFER = 1 << 16


class Writer(MsgSpecWriter):
    """Writes to standard output; the SDK's own writer makes a system call for each record."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 (the SDK's)
        super().__init__(*args, **kwargs)
        self._buffer = bytearray()

    @override
    def write_message(self, message: Message) -> None:
        self._buffer += self.format_message(message)
        if len(self._buffer) >= LARGEST_BUFFER or not isinstance(message, RecordMessage):
            self.flush()

    def flush(self) -> None:
        """Lets out what waits."""
        sys.stdout.buffer.write(self._buffer)
        sys.stdout.flush()
        self._buffer.clear()
