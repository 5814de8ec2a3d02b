"""The landing zone in Cloud Storage: objects are created once, their checksums verified, and never overwritten."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
from google.api_core.exceptions import Forbidden, NotFound, PreconditionFailed
from google.cloud.storage.exceptions import DataCorruption

from target_bigquery.cloud import FAILURES, Cloud, message_of
from target_bigquery.errors import TargetError
from target_bigquery.parts import Part

# Bytes held in memory while a large part is sent; Google's client would read up to 100 MiB at once.
CHUNK = 4 << 20
DOING = {"write": "upload", "read": "reading", "list": "listing"}


@dataclass(frozen=True)
class Staged:
    """A part in Cloud Storage: its gs:// address, rows, compressed bytes, and CRC32C in base64."""

    uri: str
    rows: int
    size: int
    crc32c: str


def crc32c(path: Path) -> str:
    """Return a file's CRC32C in Cloud Storage's form: base64 of four bytes, big-endian."""
    checksum: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            checksum.update(block)
    return base64.b64encode(checksum.digest()).decode()


class Landing:
    """The run's bucket."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._bucket = cloud.storage.bucket(cloud.settings.bucket)

    def upload(self, part: Part) -> Staged:
        """Upload a part."""
        uri, checksum = self.address(part.name), crc32c(part.path)
        blob = self._bucket.blob(part.name, chunk_size=CHUNK)
        with self._doing("write", uri):
            try:
                blob.upload_from_filename(
                    str(part.path),
                    content_type="application/gzip",
                    checksum="crc32c",
                    if_generation_match=0,
                    **self._cloud.storage_call,
                )
            except PreconditionFailed:
                # Only this process uses the name: the answer to the first try was lost.
                blob.reload(**self._cloud.storage_call)
        if blob.crc32c != checksum:
            raise TargetError(
                f"{uri}: crc32c is {blob.crc32c}, this part's is {checksum}; run again with the same run id"
            )
        return Staged(uri, part.rows, part.size, checksum)

    def create(self, name: str, content: bytes) -> bool:
        """Create an object; return False where one of that name existed, with any content."""
        with self._doing("write", self.address(name)):
            try:
                self._bucket.blob(name).upload_from_string(
                    content,
                    content_type="application/json",
                    checksum="crc32c",
                    if_generation_match=0,
                    **self._cloud.storage_call,
                )
            except PreconditionFailed:
                return False
        return True

    def read(self, uri: str) -> bytes:
        """Return an object's content."""
        blob = self._bucket.blob(uri.removeprefix(self.address("")))
        with self._doing("read", uri):
            try:
                content: bytes = blob.download_as_bytes(raw_download=True, **self._cloud.storage_call)
            except NotFound as error:
                raise TargetError(
                    f"{uri} is gone; a run cannot be repeated under its run id without it; run with another run id"
                ) from error
        return content

    def names(self, prefix: str, start: str = "") -> Iterator[str]:
        """Yield the object names with a prefix, in order, from `start` on."""
        with self._doing("list", self.address(prefix)):
            for blob in self._cloud.storage.list_blobs(
                self._bucket,
                prefix=prefix,
                start_offset=start or None,
                fields="items(name),nextPageToken",
                **self._cloud.storage_call,
            ):
                yield blob.name

    def address(self, name: str) -> str:
        """Return an object's gs:// address."""
        return f"gs://{self._cloud.settings.bucket}/{name}"

    @contextmanager
    def _doing(self, what: str, uri: str) -> Iterator[None]:
        """Turn the errors of Google's client into one line."""
        bucket = self._cloud.settings.bucket
        try:
            yield
        except NotFound as error:
            raise TargetError(
                f"{uri}: bucket {bucket} does not exist; create it, or change the bucket setting"
            ) from error
        except Forbidden as error:
            raise TargetError(
                f"{uri}: no permission to {what}; the account needs roles/storage.objectCreator and roles/storage.objectViewer "
                f"on {bucket}"
            ) from error
        except DataCorruption as error:
            raise TargetError(
                f"{uri}: the content that arrived is not what was sent; run again with the same run id"
            ) from error
        except FAILURES as error:
            raise TargetError(
                f"{uri}: {DOING[what]} failed: {message_of(error)}; run again with the same run id"
            ) from error
