"""Kestra's output protocol: a line `::{json}::` on standard output is outputs, metrics or log lines with a level.

https://kestra.io/docs/workflow-components/tasks/scripts/outputs-metrics
"""

import json
import os
import sys

# In bytes. Docker cuts a line at 16 KB, Cloud Logging at 256 KB, and the parts would be no frames.
LONGEST = 16_000


def frame(**content: object) -> str:
    """Return one line of the protocol; the keys are `outputs`, `metrics` and `logs`."""
    return f"::{json.dumps(content, separators=(',', ':'))}::"


def write(line: str) -> None:
    """Write a line to standard output at once.

    Raises:
        OSError: Nobody reads any more, or the disk is full; what is written from now on goes nowhere.
    """
    try:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            sys.stderr.write(f"standard output cannot be written, so the job ends: {error}\n")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def log(level: str, message: str) -> None:
    """Write one log line; `level` is DEBUG, INFO, WARN or ERROR. A very long message is several lines, each whole."""
    line = frame(logs=[{"level": level, "message": message}])
    # A character has up to 12 bytes in JSON.
    if len(line) <= LONGEST:
        write(line)
        return
    middle = len(message) // 2
    log(level, message[:middle])
    log(level, message[middle:])
