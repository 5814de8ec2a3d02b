"""Figures of a run as METRIC points, in singer-sdk's form and on its logger, for programs to read."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, cast

from singer_sdk import metrics


class Figure(StrEnum):
    """The METRICs of a version."""

    ROWS_LOADED = "rows_loaded"
    BYTES_STAGED = "bytes_staged"
    LOAD_DURATION = "load_duration"


def loaded(rows: int, size: int, seconds: float | None, **tags: str | int | None) -> None:
    """Log a loaded version, one point per figure.

    Args:
        rows: Rows in BigQuery.
        size: Compressed bytes in Cloud Storage.
        seconds: From the version's end to the end of its load; None where an earlier attempt loaded it.
        tags: stream, run_id, table_version, job_id, proof; `loaded_before` ("true" or "false") is added.
    """
    tags["loaded_before"] = "true" if seconds is None else "false"
    _point("counter", Figure.ROWS_LOADED, rows, tags)
    _point("counter", Figure.BYTES_STAGED, size, tags)
    _point("timer", Figure.LOAD_DURATION, round(seconds or 0.0, 3), tags)


def _point(kind: str, figure: Figure, value: float, tags: dict[str, Any]) -> None:
    # The SDK's Metric is an enum without a place for others.
    metrics.log(
        metrics.get_metrics_logger(), metrics.Point(kind, cast("metrics.Metric", figure), value, tags)
    )
