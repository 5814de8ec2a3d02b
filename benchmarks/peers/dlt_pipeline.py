"""Peer: dlt's REST source, and its BigQuery destination with staging in Cloud Storage; everything as it comes.

    dlt_pipeline.py FOLDER extract API_URL
    dlt_pipeline.py FOLDER load FILE DATASET
    dlt_pipeline.py FOLDER both API_URL DATASET

FOLDER is the pipeline's own; what dlt knows of an earlier run is in it.
"""

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dlt
from dlt.sources.rest_api import rest_api_source

STREAMS = {"characters": "character", "episodes": "episode", "locations": "location"}


def from_api(api_url: str) -> Any:  # noqa: ANN401 (dlt's)
    """Return the source: three listings, pages by number."""
    return rest_api_source(
        {
            "client": {
                "base_url": api_url,
                "paginator": {
                    "type": "page_number",
                    "base_page": 1,
                    "page_param": "page",
                    "total_path": "info.pages",
                },
            },
            "resource_defaults": {"primary_key": "id", "write_disposition": "append"},
            "resources": [
                {"name": stream, "endpoint": {"path": resource, "data_selector": "results"}}
                for stream, resource in STREAMS.items()
            ],
        },
        name="rickandmorty",
    )


def from_file(path: str) -> Any:  # noqa: ANN401 (dlt's)
    """Return resources that read the RECORD messages of a file."""

    def records(wanted: str) -> Iterator[list[dict[str, Any]]]:
        page: list[dict[str, Any]] = []
        mark = re.compile(rf'\{{"type": ?"RECORD", ?"stream": ?"{wanted}"')
        with Path(path).open(encoding="utf-8") as lines:
            for line in lines:
                if mark.match(line):
                    page.append(json.loads(line)["record"])
                if len(page) == 1000:  # noqa: PLR2004 (a page)
                    yield page
                    page = []
        yield page

    return [
        dlt.resource(records, name=stream, primary_key="id", write_disposition="append")(stream)
        for stream in STREAMS
    ]


def pipeline(folder: str, dataset: str) -> Any:  # noqa: ANN401 (dlt's)
    """Return the pipeline."""
    return dlt.pipeline(
        "bench",
        pipelines_dir=folder,
        destination="bigquery",
        staging=dlt.destinations.filesystem(f"gs://{os.environ['TARGET_BIGQUERY_BUCKET']}/dlt"),
        dataset_name=dataset,
    )


def main() -> None:
    """Do what the command line says."""
    match sys.argv[1:]:
        case [folder, "extract", api_url]:
            dlt.pipeline("bench", pipelines_dir=folder).extract(from_api(api_url), loader_file_format="jsonl")
        case [folder, "load", path, dataset]:
            pipeline(folder, dataset).run(from_file(path), loader_file_format="jsonl")
        case [folder, "both", api_url, dataset]:
            pipeline(folder, dataset).run(from_api(api_url), loader_file_format="jsonl")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
