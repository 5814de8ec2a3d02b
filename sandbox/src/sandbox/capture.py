"""Copies the live API into a folder of JSON lines that the API server can serve."""

import json
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from sandbox.errors import SandboxError
from sandbox.records import entities
from sandbox.source import CAPTURED

ATTEMPTS = 5
RETRIED = (429, 500, 502, 503, 504)
# Seconds between two requests.
PAUSE = 0.2


def capture(folder: Path, api_url: str) -> None:
    """Copy every resource of entities.yml; the folder appears whole or not at all.

    Raises:
        SandboxError: The API does not answer, its pages do not add up, or the folder exists.
    """
    if folder.exists():
        raise SandboxError(f"{folder} exists already; name a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        with requests.Session() as session:
            retry = Retry(ATTEMPTS - 1, backoff_factor=0.5, status_forcelist=RETRIED)
            session.mount(api_url, HTTPAdapter(max_retries=retry))
            for resource in entities()[0]:
                with (work / f"{resource}.jsonl").open("w", encoding="utf-8") as file:
                    count = _resource(session, f"{api_url.rstrip('/')}/{resource}", file)
                print(f"{resource}: {count} records", file=sys.stderr)  # noqa: T201 (progress)
        captured = {"api_url": api_url, "captured_at": datetime.now(UTC).isoformat(timespec="seconds")}
        (work / CAPTURED).write_text(json.dumps(captured) + "\n", "utf-8")
        work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _resource(session: requests.Session, url: str, file: TextIO) -> int:
    number, pages, written, count = 1, 1, 0, 0
    while number <= pages:
        answer = _get(session, f"{url}?page={number}")
        try:
            count, pages = (int(answer["info"][name]) for name in ("count", "pages"))
            records = answer["results"]
        except (LookupError, TypeError, ValueError):
            raise SandboxError(
                f"{url}?page={number}: expected info.count, info.pages and results, as the sandbox's API serves them; nothing was captured"
            ) from None
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n")
            written += 1
        number += 1
        time.sleep(PAUSE)
    if written != count:
        raise SandboxError(f"{url}: {written} records on {pages} pages, the API counts {count}; try again")
    return written


def _get(session: requests.Session, url: str) -> Any:  # noqa: ANN401 (JSON)
    try:
        response = session.get(url, timeout=30)
        response.raise_for_status()
        return response.json()
    except (requests.RequestException, ValueError) as error:
        raise SandboxError(f"{url}: {error}; at most {ATTEMPTS} attempts, nothing was captured") from error
