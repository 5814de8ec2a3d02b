"""BATCH messages: records in JSON lines files on the local disk, gzip or plain (https://sdk.meltano.com/en/latest/batch.html)."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING, Any
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
    encoding = message["encoding"]
    if encoding.get("format") != "jsonl" or encoding.get("compression") not in COMPRESSIONS:
        raise TargetError(
            f"{stream}: BATCH of format {encoding.get('format')} with compression {encoding.get('compression')}; expected "
            "jsonl, with gzip or without; change batch_config in the tap"
        )
    for address in message["manifest"]:
        parts = urlsplit(address)
        if parts.scheme not in {"", "file"}:
            raise TargetError(
                f"{stream}: BATCH file {address} is not on the local disk; set the storage root in the tap's "
                "batch_config to a file:// folder"
            )
        path = Path(unquote(parts.path))
        # In file://folder/…, with a slash too few, the first folder is parsed as the host.
        path = path if not parts.netloc else Path(parts.netloc + parts.path)
        try:
            with gzip.open(path) if encoding.get("compression") == "gzip" else path.open("rb") as lines:
                for number, line in enumerate(lines, 1):
                    yield f"{path}, line {number}", decode(line)
        except (OSError, EOFError, ValueError, RecursionError) as error:
            raise TargetError(f"{stream}: BATCH file {path} cannot be read: {error}") from error
