"""SIGINT and SIGTERM end tap and target, whatever the main thread waits for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from testkit.programs import eventually

# A lock that no signal interrupts: as a signal finds a thread that is just beginning to read or write.
WAITS = """
import ctypes, sys
from {module} import {name} as Program
def wait(*_):
    lock, mutex = ctypes.CDLL(None).pthread_mutex_lock, ctypes.create_string_buffer(64)
    lock(mutex)
    print("waiting", file=sys.stderr, flush=True)
    lock(mutex)
Program.{method} = wait
Program.cli(["--config=ENV"])
"""
SETTINGS = {"TARGET_BIGQUERY_PROJECT": "p", "TARGET_BIGQUERY_DATASET": "d", "TARGET_BIGQUERY_BUCKET": "landing"}  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("module", "name", "method"),
    [
        ("tap_rickandmorty.tap", "TapRickAndMorty", "sync_all"),
        ("target_bigquery.target", "TargetBigQuery", "listen"),
    ],
)
def test_a_signal_ends_a_program_that_is_just_beginning_to_wait(
    module: str, name: str, method: str, number: signal.Signals
) -> None:
    """Python's own handler would run when the wait is over, which it never is."""
    code = WAITS.format(module=module, name=name, method=method)
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, env=os.environ | SETTINGS, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while "waiting" not in (line := process.stderr.readline()):
            assert line, "it ended before it waited"
        state = Path(f"/proc/{process.pid}/stat")
        eventually(lambda: state.read_text().rpartition(")")[2].split()[0] == "S", "it does not wait")
        process.send_signal(number)
        assert f"ended by {number.name}" in process.stderr.read()
    assert process.returncode == 128 + number
