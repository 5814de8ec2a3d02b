"""What `make run` prints when dbt is done: the problems, the verdict, and the counts of each entity at each step."""

import json
import os
from pathlib import Path
from typing import Any

from run_progress import Progress, clean

ROOT = Path(__file__).resolve().parent.parent
RUN_RESULTS = ROOT / "transform" / "target" / "run_results.json"
# By the build and not by the run: a run of incremental streams without a new record has loaded no version.
VERDICT = """
SELECT status, message
FROM rpt_verdict
WHERE build_id = '{build_id}'
ORDER BY CASE status WHEN 'fail' THEN 0 WHEN 'warn' THEN 1 ELSE 2 END, check_name, entity
"""
# An incremental stream without a record loads nothing: its newest load is an earlier run's, the mart's rows are today's.
LOADS = """
SELECT
    entity,
    replication,
    IF(run_id = '{run_id}', row_count, 0) AS row_count,
    IF(run_id = '{run_id}', landed_row_count, NULL) AS landed_row_count,
    mart_row_count,
    IF(run_id = '{run_id}', seconds, NULL) AS seconds,
    COUNT(*) OVER (PARTITION BY entity) AS loads
FROM rpt_loads
WHERE TRUE
QUALIFY ROW_NUMBER() OVER (PARTITION BY entity ORDER BY finished_at DESC) = 1
ORDER BY row_count DESC
"""


def query_marts(sql: str, **values: str) -> list[dict[str, Any]]:
    """Return the rows of a query with these values on the local BigQuery's marts; none where its table is missing.

    Raises:
        GoogleAPIError: BigQuery refuses the query.
        OSError: It is gone; it is asked once.
    """
    # Half a second of start that waits until it is needed.
    from google.api_core.exceptions import NotFound  # noqa: PLC0415
    from google.api_core.retry import Retry, if_exception_type  # noqa: PLC0415
    from google.cloud import bigquery  # noqa: PLC0415

    client = bigquery.Client()
    marts = f"{client.project}.{os.environ['DATASET_PREFIX']}rickandmorty_marts"
    config = bigquery.QueryJobConfig(default_dataset=marts)
    once = Retry(predicate=if_exception_type())
    try:
        job = client.query(sql.format(**values), job_config=config, timeout=60, retry=once, job_retry=None)
        rows = job.result(timeout=60, retry=once, job_retry=None)
    except NotFound:
        return []
    return [dict(row.items()) for row in rows]


def show_problems(progress: Progress) -> None:
    """Repeat the warnings and errors, dbt's from its run_results.json."""
    try:
        results = json.loads(RUN_RESULTS.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        results = {}
    progress.results(results)
    warnings, errors = progress.warnings, list(dict.fromkeys(progress.errors or progress.meltano_errors))
    for heading, texts in ((f"Warnings ({len(warnings)}):", warnings), ("What failed:", errors)):
        if texts:
            print("\n  ".join([heading, *texts]))


def show_verdict(checks: list[dict[str, Any]]) -> str:
    """Print the verdict in one line, and a line per check that did not pass; return its status."""
    by_status = {
        status: [c for c in checks if c["status"] == status] for status in ("fail", "warn", "ignore", "pass")
    }
    worst = next((status for status in ("fail", "warn") if by_status[status]), "pass")
    counts = ", ".join(f"{len(found)} {status}" for status, found in by_status.items() if found)
    print(f"Verdict: {worst} ({len(checks)} checks: {counts})")
    for check in by_status["fail"] + by_status["warn"]:
        print(f"  {check['status']}: {clean(str(check['message']))}")
    return worst


def show_counts(loads: list[dict[str, Any]], progress: Progress) -> bool:
    """Print the counts of each entity at each step; return whether those that are known agree."""
    table = [["entity", "API's count", "extracted", "loaded", "landed", "in the mart", "seconds"]]
    equal = True
    for load in loads:
        entity = load["entity"]
        counts = [
            progress.source_counts.get(entity),
            progress.extracted.get(entity),
            load["row_count"],
            load["landed_row_count"],
            load["mart_row_count"],
        ]
        # The mart holds every record, a delta only what has changed.
        compared = counts[:-1] if load["replication"] == "incremental" else counts
        agree = len({count for count in compared if count is not None}) == 1
        equal = equal and agree
        seconds = "-" if load["seconds"] is None else f"{load['seconds']:.1f}"
        cells = ["-" if count is None else f"{count:,}" for count in counts]
        table.append([entity, *cells, seconds + ("" if agree else "  <- differ")])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for entity, *cells in table:
        aligned = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        print("  ".join([entity.ljust(widths[0]), *aligned]).rstrip())
    return equal


def show_times(progress: Progress, sandbox_seconds: float, page_seconds: float) -> None:
    """Print the seconds of each part of the run."""
    marks, end = progress.marks, progress.since()
    begin, middle = marks.get("extract and load begins", 0.0), marks.get("extract and load ends", 0.0)
    dbt = marks.get("dbt ends", middle)
    print(
        f"{end + sandbox_seconds:.1f} s: sandbox {sandbox_seconds:.1f}, Meltano's start {begin:.1f}, extract and load "
        f"{middle - begin:.1f}, dbt {dbt - middle:.1f}, page {page_seconds:.1f}, the rest {end - dbt - page_seconds:.1f}"
    )
