"""Parts: a version's rows as gzip JSON lines on the local disk, cut at a size."""

import contextlib
import uuid
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from target_bigquery.errors import TargetError

BUFFER = 1 << 18
LEVEL = 4
# https://docs.python.org/3/library/zlib.html#zlib.compressobj
GZIP = 16


@contextlib.contextmanager
def on_disk(path: Path) -> Iterator[None]:
    """Explain the local disk's errors in one line."""
    try:
        yield
    except OSError as error:
        raise TargetError(
            f"the local disk: {error.strerror or error} ({path}); nothing more was loaded, no STATE; parts are kept in TMPDIR until "
            "they are uploaded: make room there or lower part_size_mb, then run again with the same run id"
        ) from error


@dataclass(frozen=True)
class Part:
    """A finished file: the name of its object, its path, rows, and compressed bytes."""

    name: str
    path: Path
    rows: int
    size: int


class PartWriter:
    """Write lines to parts whose objects are named `<prefix>00000.jsonl.gz`, `<prefix>00001.jsonl.gz` and so on.

    Args:
        folder: Where the parts are written.
        prefix: Beginning of each object's name.
        limit: Compressed bytes after which a part is closed and the next begun.
        closed: Called with each part that is closed.
    """

    def __init__(self, folder: Path, prefix: str, limit: int, closed: Callable[[Part], None]) -> None:
        self._folder, self._prefix, self._limit = folder, prefix, limit
        self._closed, self._id = closed, uuid.uuid4().hex
        # Unbuffered: what a full disk has refused is not written once more when Python exits.
        self._file: FileIO | None = None
        self._buffer = bytearray()
        self._rows = 0
        self._closed_parts = 0
        self.rows = 0

    def write(self, line: bytes) -> None:
        """Add one line, given without its line break."""
        self._buffer += line
        self._buffer += b"\n"
        self._rows += 1
        self.rows += 1
        if len(self._buffer) >= BUFFER:
            self._flush()

    def close(self, *, least: int = 0) -> None:
        """Close the last part: at least one, which may be empty, where `least` is 1."""
        if self._buffer or (least and not self._closed_parts and self._file is None):
            self._flush()
        self._close_part()

    def abandon(self) -> None:
        """Delete the part in progress; closed ones belong to the caller's `closed`."""
        if self._file is not None:
            self._file.close()
            self._path().unlink()
            self._file = None

    def _flush(self) -> None:
        with on_disk(self._path()):
            if self._file is None:
                self._file = self._path().open("wb", buffering=0)
                # zlib's gzip has no time in its header: the same rows give the same bytes, and so the same checksum.
                self._gzip = zlib.compressobj(LEVEL, wbits=zlib.MAX_WBITS | GZIP)
            self._write(self._file, self._gzip.compress(self._buffer))
        self._buffer.clear()
        if self._file.tell() >= self._limit:
            self._close_part()

    @staticmethod
    def _write(file: FileIO, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[file.write(left) :]

    def _path(self) -> Path:
        # An object's name may be longer than a file's.
        return self._folder / f"{self._id}-{self._closed_parts:05}.jsonl.gz"

    def _close_part(self) -> None:
        if self._file is None:
            return
        path = self._path()
        with on_disk(path), self._file:
            self._write(self._file, self._gzip.flush())
            size = self._file.tell()
        name = f"{self._prefix}{self._closed_parts:05}.jsonl.gz"
        part = Part(name, path, self._rows, size)
        self._closed_parts += 1
        self._file, self._rows = None, 0
        self._closed(part)
