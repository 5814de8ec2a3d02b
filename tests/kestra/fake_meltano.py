#!/usr/bin/env python3
# ruff: noqa: T201 - a program that prints
"""Takes Meltano's place in the tests of the flows: logs what Meltano 4.4 logs, METRIC points too, writes what dbt 1.12 writes, and does what `behaviour.json` says.

`FAKES` names the folder: `behaviour.json` maps a job to {"fail": times, "status": n, "sleep": seconds, "together": n, "after": job}:
"together" waits until so many calls have begun, "after" until a job has ended twice. Each call is written to `calls.jsonl`.
"""

import fcntl
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ["FAKES"])
ROWS = {"character": 826, "episode": 51, "location": 126}


def log(level: str, event: str, **more: object) -> None:
    """Log as Meltano does with --log-format json: one object per line on stderr."""
    print(json.dumps({**more, "event": event, "level": level}), file=sys.stderr, flush=True)


def write_down(job: str, **what: object) -> int:
    """Write down a call's beginning or end; return the number of this job's calls that began before."""
    with (FOLDER / "calls.jsonl").open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        before = [json.loads(line) for line in file]
        file.write(json.dumps({"job": job, "time": time.time(), **what}) + "\n")
    return sum(c["job"] == job and c["what"] == "begin" for c in before)


def wait(enough: Callable[[list[dict[str, Any]]], bool]) -> None:
    """Wait for what other calls do, a minute at most."""
    for _ in range(600):
        lines = (FOLDER / "calls.jsonl").read_text(encoding="utf-8").splitlines()
        if enough([json.loads(line) for line in lines if line.endswith("}")]):
            return
        time.sleep(0.1)


def dbt(message: str, level: str = "info") -> None:
    """Print as dbt does with DBT_LOG_FORMAT=json."""
    print(json.dumps({"info": {"level": level, "msg": message}, "data": {}}), flush=True)


def block(*, success: bool) -> None:
    """Log the end of a block of `meltano run`."""
    log("info", "Block run completed", set_number=0, block_type="ExtractLoadBlocks", success=success)


def results(**by_status: list[str]) -> None:
    """Write dbt's run_results.json."""
    folder = Path(os.environ["DBT_TARGET_PATH"])
    folder.mkdir(parents=True, exist_ok=True)
    made = [
        {"unique_id": node, "status": status, "execution_time": 1.25, "message": f"{status} of {node}"}
        for status, nodes in by_status.items()
        for node in nodes
    ]
    (folder / "run_results.json").write_text(json.dumps({"results": made}))


def main() -> int:
    """Run as the job that the arguments name."""
    arguments = [a for a in sys.argv[1:] if a not in {"--log-format", "json"}]
    job = "dbt" if arguments[0] == "invoke" else arguments[1]
    kept = ("MELTANO_", "TARGET_", "GOOGLE_", "SECRET_", "KESTRA_", "DBT_")
    given = {name: value for name, value in os.environ.items() if name.startswith(kept)}
    before = write_down(job, what="begin", arguments=arguments, environment=given, pid=os.getpid())
    behaviour = json.loads((FOLDER / "behaviour.json").read_text(encoding="utf-8")).get(job, {})
    log("info", "Meltano 4.4.1")
    log("warning", "No state was found, complete import.")
    time.sleep(behaviour.get("sleep", 0))
    wait(lambda calls: sum(c["what"] == "begin" for c in calls) >= behaviour.get("together", 0))
    if "after" in behaviour:
        wait(lambda calls: sum(c["what"] == "end" and c["job"] == behaviour["after"] for c in calls) > 1)
    if before < behaviour.get("fail", 0):
        reason = f"{job}s: 420 records staged, stream not complete, nothing loaded"
        log("error", reason, string_id="target-bigquery")
        if job == "dbt":
            results(error=["model.p.dim_episodes"], skipped=["model.p.rpt_episodes"])
        block(success=False)
        write_down(job, what="end", status=behaviour.get("status", 1))
        return int(behaviour.get("status", 1))
    if job == "dbt":
        dbt("1 of 2 OK created sql table model")
        dbt("Warning in test not_null", "warn")
        results(success=["model.p.dim_episodes", "snapshot.p.snap_episodes"], warn=["test.p.not_null.1"])
    else:
        rows = behaviour.get("rows", ROWS.get(job, 1))
        figures = {"source_record_count": rows, "record_count": rows, "rows_loaded": rows}
        figures |= {"bytes_staged": behaviour.get("bytes", 48123), "load_duration": 1.5}
        tags = {"run_id": os.environ["MELTANO_RUN_ID"], "table_version": "1", "job_id": f"l_{job}s_0"}
        tags |= {"stream": f"{job}s", "proof": "tap", "loaded_before": "false"}
        # No wording of a sentence matters.
        log("info", f"whatever the target says of {job}s", string_id="target-bigquery", stdio="stderr")
        for metric, value in figures.items():
            kind = "timer" if metric == "load_duration" else "counter"
            log("info", "METRIC", metric_info={"type": kind, "metric": metric, "value": value, "tags": tags})
        block(success=True)
    write_down(job, what="end", status=0)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
