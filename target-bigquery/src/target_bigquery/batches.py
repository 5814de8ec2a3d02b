"""BATCH messages: records in JSON lines files on the local disk, gzip or plain (https://sdk.meltano.com/en/latest/batch.html)."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit

from target_bigquery.errors import TargetError
from target_bigquery.reader import decode

if TYPE_CHECKING:
    from collections.abc import Iterator

COMPRESSIONS = (None, "none", "gzip")


def records(stream: str, message: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield each record of the files, after its file and line.

    Raises:
        TargetError: A file is not local, not JSON lines, or cannot be read.
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
        parts = urlsplit(address)
        if parts.scheme not in {"", "file"}:
            raise TargetError(
                f"{stream}: BATCH file {address} is not on the local disk; set the storage root in the tap's "
                "batch_config to a file:// folder"
            )
        # In file://folder/…, with a slash too few, the first folder is parsed as the host.
        path = Path(unquote(parts.netloc + parts.path) if parts.scheme else address)
        try:
            with _opened(path, encoding.get("compression")) as lines:
                for number, line in enumerate(lines, 1):
                    yield f"{path}, line {number}", decode(line)
        except (OSError, EOFError, ValueError, RecursionError, zlib.error) as error:
            raise TargetError(f"{stream}: BATCH file {path} cannot be read: {error}") from error


def _opened(path: Path, compression: str | None) -> IO[bytes]:
    if compression != "gzip":
        return path.open("rb")
    if not path.stat().st_size:
        raise EOFError("it is empty, and gzip begins with a header")
    return cast("IO[bytes]", gzip.open(path))
