"""Kestra's output protocol: a line `::{json}::` on standard output is outputs, metrics or log lines with a level.

https://kestra.io/docs/workflow-components/tasks/scripts/outputs-metrics
"""

from __future__ import annotations

import json
import os
import sys


def frame(**content: object) -> str:
    """Return one line of the protocol; the keys are `outputs`, `metrics` and `logs`."""
    return f"::{json.dumps(content, separators=(',', ':'))}::"


def write(line: str) -> None:
    """Write a line to standard output at once.

    Raises:
        BrokenPipeError: Nobody reads any more; what is written from now on goes nowhere.
    """
    try:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def log(level: str, message: str) -> None:
    """Write one log line; `level` is DEBUG, INFO, WARN or ERROR."""
    write(frame(logs=[{"level": level, "message": message}]))
