"""The limit: what the same work takes with threads and no framework, and with no care for anything that may go wrong.

limit.py extract API_URL               records as JSON lines on stdout
limit.py load FILE DATASET             such a file into BigQuery through Cloud Storage
limit.py both API_URL DATASET
"""

from __future__ import annotations

import gzip
import os
import sys
import tempfile
import uuid
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import urllib3

if TYPE_CHECKING:
    from collections.abc import Iterator

STREAMS = {"characters": "character", "episodes": "episode", "locations": "location"}
THREADS = 52
PLACE = [("name", "STRING"), ("url", "STRING")]
SCHEMAS: dict[str, list[tuple[str, str]]] = {
    "characters": [
        ("id", "INTEGER"),
        *[(name, "STRING") for name in ("name", "status", "species", "type", "gender", "image", "url")],
        ("origin", "RECORD"),
        ("location", "RECORD"),
        ("episode", "REPEATED"),
        ("created", "TIMESTAMP"),
    ],
    "episodes": [
        ("id", "INTEGER"),
        *[(name, "STRING") for name in ("name", "air_date", "episode", "url")],
        ("characters", "REPEATED"),
        ("created", "TIMESTAMP"),
    ],
    "locations": [
        ("id", "INTEGER"),
        *[(name, "STRING") for name in ("name", "type", "dimension", "url")],
        ("residents", "REPEATED"),
        ("created", "TIMESTAMP"),
    ],
}


class _Info(msgspec.Struct):
    pages: int


class _Page(msgspec.Struct):
    info: _Info
    results: list[msgspec.Raw]


def pages(api_url: str) -> Iterator[tuple[str, list[msgspec.Raw]]]:
    """Yields the records of each page, not decoded, of all listings at once."""
    pool = urllib3.PoolManager(maxsize=THREADS, block=True)
    decoder = msgspec.json.Decoder(_Page)

    def page(stream: str, number: int) -> tuple[str, int, _Page]:
        answer = pool.request("GET", f"{api_url}/{STREAMS[stream]}?page={number}", timeout=30)
        return stream, number, decoder.decode(answer.data)

    with ThreadPoolExecutor(THREADS) as threads:
        todo: deque[tuple[str, int]] = deque()
        waiting: deque[Future[tuple[str, int, _Page]]] = deque(
            threads.submit(page, stream, 1) for stream in STREAMS
        )
        while waiting:
            stream, number, found = waiting.popleft().result()
            if number == 1:
                todo.extend((stream, n) for n in range(2, found.info.pages + 1))
            while todo and len(waiting) < 2 * THREADS:
                waiting.append(threads.submit(page, *todo.popleft()))
            yield stream, found.results


def extract(api_url: str) -> None:
    """Writes every record to stdout."""
    out = sys.stdout.buffer
    for stream, records in pages(api_url):
        head = b'{"stream":"%s","record":' % stream.encode()
        out.write(b"".join(head + bytes(record) + b"}\n" for record in records))
    out.flush()


def from_file(path: str) -> Iterator[tuple[str, list[msgspec.Raw]]]:
    """Yields the records of a file that `extract` has written."""

    class Line(msgspec.Struct):
        stream: str
        record: msgspec.Raw

    decoder = msgspec.json.Decoder(Line)
    with Path(path).open("rb") as lines:
        for text in lines:
            line = decoder.decode(text)
            yield line.stream, [line.record]


def load(found: Iterator[tuple[str, list[msgspec.Raw]]], dataset: str) -> None:
    """Takes records to BigQuery: a file, an upload and a load job a stream, the streams side by side."""
    from google.cloud import bigquery, storage  # noqa: PLC0415 (extract does without)

    client, stores = bigquery.Client(), storage.Client()
    bucket = stores.bucket(os.environ["TARGET_BIGQUERY_BUCKET"])
    run_id = uuid.uuid4().hex

    def field(name: str, kind: str) -> Any:  # noqa: ANN401 (Google's)
        if kind == "RECORD":
            return bigquery.SchemaField(name, kind, fields=[bigquery.SchemaField(n, k) for n, k in PLACE])
        return (
            bigquery.SchemaField(name, "STRING", "REPEATED")
            if kind == "REPEATED"
            else bigquery.SchemaField(name, kind)
        )

    def send(stream: str, path: Path) -> None:
        name = f"limit/{run_id}/{stream}.jsonl.gz"
        bucket.blob(name).upload_from_filename(str(path))
        config = bigquery.LoadJobConfig(
            source_format="NEWLINE_DELIMITED_JSON",
            schema=[field(*column) for column in SCHEMAS[stream]],
            write_disposition="WRITE_APPEND",
        )
        client.load_table_from_uri(
            f"gs://{bucket.name}/{name}", f"{client.project}.{dataset}.{stream}", job_config=config
        ).result()

    client.create_dataset(dataset, exists_ok=True)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(len(STREAMS)) as threads:
        files = {
            stream: gzip.open(Path(folder) / stream, "wb", compresslevel=1)  # noqa: SIM115 (closed below)
            for stream in STREAMS
        }
        for stream, records in found:
            files[stream].write(b"".join(bytes(record) + b"\n" for record in records))
        for file in files.values():
            file.close()
        for sent in [threads.submit(send, stream, Path(folder) / stream) for stream in STREAMS]:
            sent.result()


def main() -> None:
    """Does what the command line says."""
    match sys.argv[1:]:
        case ["extract", api_url]:
            extract(api_url)
        case ["load", path, dataset]:
            load(from_file(path), dataset)
        case ["both", api_url, dataset]:
            load(pages(api_url), dataset)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
