#!/usr/bin/env python3
# ruff: noqa: T201 - a program that prints
"""Takes Meltano's place in the tests of the flows: logs what Meltano 4.4 logs, and does what `behaviour.json` says.

`FAKES` names the folder: `behaviour.json` maps a job to {"fail": times, "status": n, "sleep": seconds}; each call is told in `calls.jsonl`.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from pathlib import Path

FOLDER = Path(os.environ["FAKES"])
ROWS = {"character": 826, "episode": 51, "location": 126}


def log(level: str, event: str, **more: object) -> None:
    """Logs as Meltano does with --log-format json: one object a line on stderr."""
    print(json.dumps({**more, "event": event, "level": level}), file=sys.stderr, flush=True)


def told(job: str, **what: object) -> int:
    """Writes down a call's beginning or end; gives the number of this job's calls that began before."""
    with (FOLDER / "calls.jsonl").open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        before = [json.loads(line) for line in file]
        file.write(json.dumps({"job": job, "time": time.time(), **what}) + "\n")
    return sum(c["job"] == job and c["what"] == "begin" for c in before)


def dbt(message: str, level: str = "info") -> None:
    """Prints as dbt does with DBT_LOG_FORMAT=json."""
    print(json.dumps({"info": {"level": level, "msg": message}, "data": {}}), flush=True)


def main() -> int:
    """Runs as the job that the arguments name."""
    arguments = [a for a in sys.argv[1:] if a not in {"--log-format", "json"}]
    job = "dbt" if arguments[0] == "invoke" else arguments[1]
    given = {
        k: v
        for k, v in os.environ.items()
        if k.startswith(("MELTANO_", "TARGET_", "GOOGLE_", "SECRET_", "DBT_"))
    }
    before = told(job, what="begin", arguments=arguments, environment=given, pid=os.getpid())
    behaviour = json.loads((FOLDER / "behaviour.json").read_text(encoding="utf-8")).get(job, {})
    log("info", "Meltano 4.4.1")
    log("warning", "No state was found, complete import.")
    time.sleep(behaviour.get("sleep", 0))
    if before < behaviour.get("fail", 0):
        log(
            "error",
            f"{job}s: 420 records staged, stream not complete, nothing loaded",
            string_id="target-bigquery",
        )
        told(job, what="end", status=behaviour.get("status", 1))
        return int(behaviour.get("status", 1))
    if job == "dbt":
        dbt("1 of 2 OK created sql table model")
        dbt("Warning in test not_null", "warn")
        dbt("Finished running 2 table models in 0 hours 1 minutes and 2.50 seconds (62.50s).")
        dbt("Done. PASS=2 WARN=1 ERROR=0 SKIP=0 NO-OP=0 TOTAL=3")
    else:
        loaded = f"{job}s: {ROWS[job]} rows staged in 1 part (48 kB), loaded by job l_{job}s_0, 1.5 s"
        log("info", loaded, string_id="target-bigquery", stdio="stderr")
        log("info", "METRIC", metric_info={"type": "counter"})
        log("info", "Run completed", duration_seconds=2.25, status="success")
    told(job, what="end", status=0)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
