"""Parts to Cloud Storage: created once, checksum verified, never overwritten."""

from __future__ import annotations

import base64
import logging
from typing import TYPE_CHECKING, Any

import google_crc32c
from google.api_core.exceptions import Forbidden, GoogleAPIError, NotFound, PreconditionFailed
from google.auth.exceptions import GoogleAuthError
from google.cloud.storage.exceptions import DataCorruption  # type: ignore[import-untyped]
from google.cloud.storage.retry import DEFAULT_RETRY  # type: ignore[import-untyped]
from requests import RequestException

from target_bigquery.errors import TargetError

if TYPE_CHECKING:
    from pathlib import Path

    from google.cloud import storage  # type: ignore[attr-defined]

logger = logging.getLogger("target-bigquery.landing")

# Bytes held in memory while a large part is sent; Google's client would read up to 100 MiB at once.
CHUNK = 4 << 20


def crc32c(path: Path) -> str:
    """Gives a file's CRC32C as Cloud Storage writes it: base64 of four bytes, big-endian."""
    checksum: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            checksum.update(block)
    return base64.b64encode(checksum.digest()).decode()


def upload(client: storage.Client, bucket: str, name: str, path: Path, timeout: float) -> str:
    """Uploads a part; gives its gs:// address.

    An object of that name with the same content is taken as this part, uploaded before (an answer was lost). One with
    other content stays as it is, and this part goes beside it, its checksum in its name.

    Raises:
        TargetError: The bucket refuses, is not there, or what arrived is not what was sent.
    """
    uri = f"gs://{bucket}/{name}"
    checksum = crc32c(path)
    try:
        if _put(client, bucket, name, path, timeout) == checksum:
            return uri
        stem, _, end = name.partition(".")
        beside = f"{stem}-{base64.b64decode(checksum).hex()}.{end}"
        logger.warning("%s: there already with other content, kept; this part goes to %s", uri, beside)
        uri = f"gs://{bucket}/{beside}"
        arrived = _put(client, bucket, beside, path, timeout)
    except NotFound as error:
        raise TargetError(
            f"{uri}: bucket {bucket} is not there; create it, or change the bucket setting"
        ) from error
    except Forbidden as error:
        raise TargetError(
            f"{uri}: no permission to write; the account needs roles/storage.objectCreator and objectViewer on {bucket}"
        ) from error
    except DataCorruption as error:
        raise TargetError(
            f"{uri}: what arrived is not what was sent; run again with the same run id"
        ) from error
    except (GoogleAPIError, GoogleAuthError, RequestException) as error:
        said = " ".join(str(error).split())[:300]
        raise TargetError(f"{uri}: upload failed: {said}; run again with the same run id") from error
    if arrived != checksum:
        raise TargetError(
            f"{uri}: crc32c is {arrived}, this part's is {checksum}; delete the object, then run again"
        )
    return uri


def _put(client: storage.Client, bucket: str, name: str, path: Path, timeout: float) -> str | None:
    """Uploads where nothing of that name is; gives the checksum of what is there then."""
    blob = client.bucket(bucket).blob(name, chunk_size=CHUNK)
    retry = DEFAULT_RETRY.with_timeout(timeout)
    try:
        blob.upload_from_filename(
            str(path),
            content_type="application/gzip",
            checksum="crc32c",
            if_generation_match=0,
            timeout=timeout,
            retry=retry,
        )
    except PreconditionFailed:
        blob.reload(timeout=timeout, retry=retry)
    found: str | None = blob.crc32c
    return found
