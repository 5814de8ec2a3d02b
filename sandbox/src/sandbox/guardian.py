"""Runs beside each command of `sandbox exec`: waits until it has ended, whatever the cause, and ends what it has left running.

    python -m sandbox.guardian HOME MARK

Its standard input is a pipe whose other end `sandbox exec` holds: it closes when that process ends or is killed.
"""

import sys
from pathlib import Path

from sandbox.signals import ignore_signals
from sandbox.supervisor import Sandbox


def main(home: str, mark: str) -> None:
    """Wait for the end of `sandbox exec`, then clear up."""
    ignore_signals()
    sys.stdin.buffer.read()
    Sandbox(Path(home)).release(mark)


if __name__ == "__main__":
    main(*sys.argv[1:])
