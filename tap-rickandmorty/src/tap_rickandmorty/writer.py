"""Writes messages: records with their stream's version and by standard output's own buffer, everything else at once."""

import sys

from singer_sdk.contrib.msgspec import MsgSpecWriter
from singer_sdk.singerlib import Message, RecordMessage
from typing_extensions import override


class Writer(MsgSpecWriter):
    """Writes to standard output; the SDK's own writer makes a system call per record.

    Attributes:
        versions: The version of each stream's records, by the name that the stream is sent under.
    """

    def __init__(self) -> None:
        super().__init__()
        self.versions: dict[str, int] = {}

    @override
    def write_message(self, message: Message) -> None:
        if isinstance(message, RecordMessage):
            message.version = self.versions.get(message.stream)
            sys.stdout.buffer.write(self.format_message(message))
        else:
            sys.stdout.buffer.write(self.format_message(message))
            sys.stdout.flush()
