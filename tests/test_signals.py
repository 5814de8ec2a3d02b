"""SIGINT and SIGTERM end tap and target, whatever the main thread waits for."""

import os
import signal
import sys

import pytest
from testkit.programs import run

# The signal arrives at another thread while the main thread reads: as one that arrives just before, it does not end the read.
WAITS = """
import os, signal, threading, time
import {module} as module

def wait(*_):
    state = f"/proc/self/task/{{threading.get_native_id()}}/stat"
    def send():
        reads = 0
        while reads < 5:
            time.sleep(0.01)
            with open(state) as stat:
                reads = reads + 1 if stat.read().rpartition(")")[2].split()[0] == "S" else 0
        signal.pthread_kill(threading.get_ident(), {number})
    threading.Thread(target=send, daemon=True).start()
    os.read(os.pipe()[0], 1)

module.{waits} = wait
module.{program}.cli(["--config=ENV", *{options}])
"""
SETTINGS = {"TARGET_BIGQUERY_PROJECT": "p", "TARGET_BIGQUERY_DATASET": "d", "TARGET_BIGQUERY_BUCKET": "landing"}  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("module", "program", "waits", "options"),
    [
        ("tap_rickandmorty.tap", "TapRickAndMorty", "TapRickAndMorty.sync_all", []),
        ("target_bigquery.target", "TargetBigQuery", "TargetBigQuery.listen", []),
        ("target_bigquery.target", "TargetBigQuery", "checks.run", ["--check"]),
    ],
    ids=["tap", "target", "check of the target"],
)
def test_a_signal_that_does_not_end_a_read_ends_the_program(
    module: str, program: str, waits: str, options: list[str], number: signal.Signals
) -> None:
    """Python's handler would run when the read is over, which it never is."""
    code = WAITS.format(module=module, program=program, waits=waits, options=options, number=int(number))
    done = run(sys.executable, "-c", code, env=os.environ | SETTINGS)
    assert f"ended by {number.name}" in done.stderr
    assert done.returncode == 128 + number
