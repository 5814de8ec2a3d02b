"""dbt kept running: one invocation per line on stdin, its outcome per line on stdout; the project is parsed once."""

from __future__ import annotations

import json
import os
import sys

from dbt.cli.main import dbtRunner

runner, answers = dbtRunner(), os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
for line in sys.stdin:
    request = json.loads(line)
    before = dict(os.environ)
    os.environ.update(request["environment"])
    done = runner.invoke(request["arguments"])
    os.environ.clear()
    os.environ.update(before)
    results = [
        [r.node.name if hasattr(r, "node") else r.unique_id, str(r.status), r.message or ""]
        for r in getattr(done.result, "results", None) or []
    ]
    answers.write(
        json.dumps({"ok": bool(done.success), "error": str(done.exception or ""), "results": results}) + "\n"
    )
    answers.flush()
