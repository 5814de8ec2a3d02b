"""dbt kept running: one invocation per line on stdin, its outcome per line on stdout; the project is parsed once."""

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor

from dbt.cli.main import dbtRunner

runner, answers = dbtRunner(), os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
# In a thread its calls begin in a module: dbt searches all modules, some fifty times, for a frame that is of none.
with ThreadPoolExecutor(1) as pool:
    for line in sys.stdin:
        request = json.loads(line)
        before = dict(os.environ)
        os.environ.update(request["environment"])
        done = pool.submit(runner.invoke, request["arguments"]).result()
        os.environ.clear()
        os.environ.update(before)
        results = [
            [r.node.name if hasattr(r, "node") else r.unique_id, str(r.status), r.message or ""]
            for r in getattr(done.result, "results", None) or []
        ]
        answers.write(
            json.dumps({"ok": bool(done.success), "error": str(done.exception or ""), "results": results})
            + "\n"
        )
        answers.flush()
