"""Reads messages, and the files of BATCH messages: a line that is neither is one line in the log, not a traceback."""

import gzip
import json
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

import msgspec
from singer_sdk.contrib.msgspec import MsgSpecReader, decoder
from typing_extensions import override

from target_bigquery.errors import TargetError

SHOWN = 120
COMPRESSIONS = (None, "none", "gzip")
GZIP = b"\x1f\x8b"
# What a message of each type has.
NEEDED = {
    "RECORD": {"stream", "record"},
    "SCHEMA": {"stream", "schema"},
    "STATE": {"value"},
    "BATCH": {"stream", "encoding", "manifest"},
    "ACTIVATE_VERSION": {"stream", "version"},
}


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
        if not isinstance(message, dict) or (kind := str(message.get("type"))) not in NEEDED:
            raise TargetError(
                f"a line is not a Singer message: expected a type, one of {', '.join(NEEDED)}, got {_beginning(line)!r}; look at the tap"
            )
        if not NEEDED[kind].issubset(message):
            lacks = ", ".join(sorted(NEEDED[kind] - message.keys()))
            raise TargetError(f"a {kind} lacks {lacks}: {_beginning(line)!r}; look at the tap")
        if kind == "STATE":
            try:
                # It goes on as JSON, whatever else `decode` reads.
                msgspec.json.decode(line, type=msgspec.Raw)
            except msgspec.DecodeError as error:
                raise TargetError(
                    f"a STATE holds what JSON has not, such as NaN ({error}): {_beginning(line)!r}; look at the tap"
                ) from None
        return message


def _beginning(line: str | bytes) -> str:
    return (line if isinstance(line, str) else line.decode(errors="replace"))[:SHOWN].rstrip()


def batch_records(stream: str, message: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield each record of a BATCH's files, after its file and line.

    They are JSON lines on the local disk, gzip or plain (https://sdk.meltano.com/en/latest/batch.html).
    """
    encoding, files = message["encoding"], message["manifest"]
    if not isinstance(files, list) or not all(isinstance(address, str) for address in files):
        raise TargetError(
            f"{stream}: the manifest of a BATCH is {files!r}: expected a list of files; look at the tap"
        )
    encoding = encoding if isinstance(encoding, dict) else {"format": encoding}
    if encoding.get("format") != "jsonl" or encoding.get("compression") not in COMPRESSIONS:
        raise TargetError(
            f"{stream}: BATCH of format {encoding.get('format')} with compression {encoding.get('compression')}; expected "
            "jsonl, with gzip or without; change batch_config in the tap"
        )
    for address in files:
        path, number = Path(address), 0
        try:
            scheme = urlsplit(address).scheme
            if scheme not in {"", "file"}:
                raise TargetError(
                    f"{stream}: BATCH file {address} is not on the local disk; set the storage root in the tap's "
                    "batch_config to a file:// folder"
                )
            if scheme:
                # singer-sdk writes the path as it is, with # and %; others quote it.
                path = Path(address[len("file:") :].removeprefix("//"))
                path = path if path.exists() else Path(unquote(str(path)))
            with path.open("rb") as file:
                # singer-sdk compresses whatever its batch_config says.
                is_gzip = encoding.get("compression") == "gzip" or file.peek(2).startswith(GZIP)
                if is_gzip and not file.peek(1):
                    raise TargetError(
                        f"{stream}: BATCH file {path} cannot be read: it is empty, and gzip begins with a header"
                    )
                for number, line in enumerate(gzip.GzipFile(fileobj=file) if is_gzip else file, 1):
                    yield f"{path}, line {number}", decode(line)
        except (OSError, EOFError, ValueError, RecursionError, zlib.error) as error:
            at = f" at line {number}" if number else ""
            raise TargetError(f"{stream}: BATCH file {path} cannot be read{at}: {error}") from error
