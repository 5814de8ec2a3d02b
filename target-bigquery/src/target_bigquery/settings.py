"""The target's settings: their schema, and the values of one run."""

from __future__ import annotations

import os
import re
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from singer_sdk import typing as th

from target_bigquery.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Mapping

RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")

SCHEMA: dict[str, Any] = th.PropertiesList(
    th.Property(
        "project",
        th.StringType,
        title="Project",
        description="Google Cloud project that jobs run in and datasets live in. Without it: GOOGLE_CLOUD_PROJECT.",
    ),
    th.Property(
        "dataset",
        th.StringType(pattern=r"^[A-Za-z0-9_]{1,1024}$"),
        required=True,
        title="Dataset",
        description="Dataset of the landing tables, one for each stream, and of the ledger `_loads`.",
    ),
    th.Property(
        "bucket",
        th.StringType(pattern=r"^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$"),
        required=True,
        title="Bucket",
        description="Cloud Storage bucket of the landing zone, in the dataset's location.",
    ),
    th.Property(
        "location",
        th.StringType(min_length=2),
        default="US",
        title="Location",
        description="Location of dataset and jobs, such as US, EU or europe-west1.",
    ),
    th.Property(
        "run_id",
        th.StringType,
        title="Run id",
        description="Names the run; the same id never loads twice. Letters, digits, - and _, at most 128. "
        "Without it: MELTANO_RUN_ID, else a new UUID.",
    ),
    th.Property(
        "source",
        th.StringType,
        title="Source",
        description="Names where the data comes from, for the ledger: an API's address, a file's name.",
    ),
    th.Property(
        "load_method",
        th.StringType,
        allowed_values=["append-only", "overwrite", "upsert"],
        default="append-only",
        title="Load method",
        description="append-only keeps every version; overwrite replaces the table's rows in one step; upsert replaces "
        "the rows of the keys sent and adds new ones (streams without a key are refused).",
    ),
    th.Property(
        "create_tables",
        th.BooleanType,
        default=True,
        title="Create tables",
        description="Make missing datasets, tables and columns. Off where Terraform makes them: a missing one is an error.",
    ),
    th.Property(
        "staging_dataset",
        th.StringType(pattern=r"^[A-Za-z0-9_]{1,1024}$"),
        title="Staging dataset",
        description="Where upsert makes a table for a moment, in the dataset's location. Without it: the dataset itself.",
    ),
    th.Property(
        "allow_loss",
        th.BooleanType,
        default=False,
        title="Allow loss",
        description="Cut what a column cannot hold (nanoseconds, digits beyond a FLOAT's or a NUMERIC's) and widen INTEGER "
        "and NUMERIC columns to FLOAT, instead of refusing it.",
    ),
    th.Property(
        "load_every_rows",
        th.IntegerType(minimum=1),
        title="Load every … rows",
        description="Load what incremental streams have sent, and let STATE out, at the first STATE after so many records. "
        "Without it and load_every_minutes: at the end only.",
    ),
    th.Property(
        "load_every_minutes",
        th.NumberType(minimum=0),
        title="Load every … minutes",
        description="The same, at the first STATE after so many minutes.",
    ),
    th.Property(
        "part_size_mb",
        th.IntegerType(minimum=1, maximum=4000),
        default=64,
        title="Part size",
        description="Compressed megabytes after which a part is closed (1 to 4000; BigQuery takes 4 GB).",
    ),
    th.Property(
        "timeout_seconds",
        th.IntegerType(minimum=5, maximum=3600),
        default=120,
        title="Time-out of a call",
        description="Seconds for one call to Google, its retries included (5 to 3600).",
    ),
    th.Property(
        "load_timeout_seconds",
        th.IntegerType(minimum=10, maximum=86400),
        default=3600,
        title="Time-out of a load",
        description="Seconds to wait for a load job (10 to 86400).",
    ),
).to_dict()


@dataclass(frozen=True)
class Settings:
    """The settings of one run, checked; times in seconds; `process` tells this process from another of the same run."""

    project: str
    dataset: str
    bucket: str
    location: str
    run_id: str
    load_method: str
    create_tables: bool
    part_size: int
    timeout: float
    load_timeout: float
    staging_dataset: str | None = None
    allow_loss: bool = False
    load_every_rows: int | None = None
    load_every_minutes: float | None = None
    heed_versions: bool = True
    source: str | None = None
    extractor: str | None = None
    process: str = field(default_factory=lambda: uuid.uuid4().hex[:12])

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Settings:
        """Read the settings; an empty text counts as not given.

        Raises:
            TargetError: No project is given anywhere, or the run id has other characters.
        """
        project = config.get("project") or os.environ.get("GOOGLE_CLOUD_PROJECT")
        if not project:
            raise TargetError("no project: set `project` (TARGET_BIGQUERY_PROJECT) or GOOGLE_CLOUD_PROJECT")
        run_id = config.get("run_id") or os.environ.get("MELTANO_RUN_ID") or str(uuid.uuid4())
        if not RUN_ID.fullmatch(run_id):
            raise TargetError(f"run_id is {run_id[:60]!r}: expected letters, digits, - and _, at most 128")
        return cls(
            project=project,
            dataset=config["dataset"],
            bucket=config["bucket"],
            location=config.get("location") or "US",
            run_id=run_id,
            load_method=config["load_method"],
            create_tables=config["create_tables"],
            part_size=config["part_size_mb"] * 1_000_000,
            timeout=config["timeout_seconds"],
            load_timeout=config["load_timeout_seconds"],
            staging_dataset=config.get("staging_dataset") or None,
            allow_loss=config["allow_loss"],
            load_every_rows=config.get("load_every_rows"),
            load_every_minutes=config.get("load_every_minutes"),
            heed_versions=config.get("process_activate_version_messages", True),
            source=config.get("source") or None,
            extractor=os.environ.get("MELTANO_EXTRACTOR_NAME") or None,
        )
