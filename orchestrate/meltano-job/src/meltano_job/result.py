"""The result of a job as a JSON object in the landing bucket, beside the parts of its run."""

import json
import os
from typing import Any

from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY

from meltano_job.settings import result_object

# For one call, and for all of them together.
SECONDS = 20


def put(bucket: str, run_id: str, job: str, result: dict[str, Any]) -> str:
    """Write the result, in place of an earlier one of the same run and job; return its address.

    Raises:
        OSError: It could not be written; the message says where and why.
    """
    name = result_object(run_id, job)
    where = f"gs://{bucket}/{name}"
    try:
        # Credentials are Application Default Credentials; an emulator wants none.
        client = (
            storage.Client.create_anonymous_client()
            if os.environ.get("STORAGE_EMULATOR_HOST")
            else storage.Client()
        )
        blob = client.bucket(bucket).blob(name)
        blob.upload_from_string(
            json.dumps(result, indent=1),
            content_type="application/json",
            timeout=SECONDS,
            checksum="crc32c",
            retry=DEFAULT_RETRY.with_timeout(SECONDS),
        )
    except Exception as error:  # noqa: BLE001 - the clients raise a dozen kinds, and none undoes what the job did
        reason = " ".join(str(error).split())[:300] or repr(error)
        raise OSError(f"{where} could not be written: {reason}") from None
    return where
