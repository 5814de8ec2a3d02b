"""How `meltano-job` ends: by itself, by a signal, by its time limit; and that nothing which Meltano started outlives it."""

import json
import os
import signal
from pathlib import Path

import pytest
from meltano_stand_in import BLOCK, Meltano
from testkit.programs import alive

# A child in Meltano's group that has ended; its parent, in a session of its own, never asks for its status.
LEAVES_A_ZOMBIE = """#!/usr/bin/env python3
import os, pathlib, time
said = pathlib.Path(os.environ["FAKES"], "parent")
if os.fork() == 0:
    if (child := os.fork()) == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    os.setsid()
    os.closerange(0, 3)
    said.with_suffix(".new").write_text(str(os.getpid()))
    said.with_suffix(".new").rename(said)
    time.sleep(86400)
while not said.exists():
    time.sleep(0.01)
print('{"block_type": "ExtractLoadBlocks", "success": true}')
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_meltano_and_no_attempt_follows(meltano: Meltano, number: int) -> None:
    """As Kestra's kill: the processes are gone and the exit status says which signal it was."""
    meltano.behave(episode={"sleep": 86400})
    with meltano.start(ATTEMPTS="5") as process:
        pid = meltano.until("episode")["pid"]
        process.send_signal(number)
        process.communicate()
    assert process.returncode == 128 + number
    assert not alive(pid)
    assert meltano.times == {"episode": 1}


def test_a_job_that_takes_too_long_ends_with_its_processes(meltano: Meltano) -> None:
    """After `job_timeout` Meltano is stopped, no attempt follows, and the line says which setting it was."""
    meltano.behave(episode={"sleep": 86400})
    done = meltano.run(ATTEMPTS="5", JOB_TIMEOUT="PT3S")
    assert done.status == 124
    (error,) = done.at("ERROR")
    assert error == "job episode: the time limit is over (job_timeout, 3 s) and Meltano was stopped"
    (call,) = meltano.begun()
    assert not alive(call["pid"])


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("sleep infinity & echo $! >stray; cat block", 0),
        ("sleep infinity >/dev/null 2>&1 & echo $! >stray; kill -KILL $$", 137),
    ],
    ids=["it holds the log open", "Meltano is killed for memory"],
)
def test_nothing_that_meltano_started_outlives_it(meltano: Meltano, program: str, status: int) -> None:
    """A process that is left would keep the job from ending, whatever its time limit, or load beside the next attempt."""
    (meltano.folder / "block").write_text(json.dumps(BLOCK | {"success": True}))
    meltano.becomes(f'#!/bin/bash\ncd "$FAKES"\n{program}\n')
    done = meltano.run(ATTEMPTS="1")
    assert done.status == status
    assert any("outlived it" in message for message in done.at("WARN"))
    assert not status or "failed with status 137 after 1 attempt; " in done.at("ERROR")[0]
    assert not alive(meltano.pid("stray"))


def test_a_process_that_has_ended_is_not_a_stray_one(meltano: Meltano) -> None:
    """A helper of dbt ends with it, and its new parent may ask for its status late: no warning, and nothing is waited for."""
    meltano.becomes(LEAVES_A_ZOMBIE)
    done = meltano.run()
    os.kill(meltano.pid("parent"), signal.SIGKILL)
    assert done.status == 0
    assert not any("outlived it" in message for message in done.at("WARN"))


def test_a_log_that_cannot_be_written_ends_meltano(meltano: Meltano) -> None:
    """The disk is full: one line on standard error, no traceback, whether Meltano or the program itself has something to say."""
    meltano.becomes('#!/bin/bash\necho $$ >"$FAKES/pid"\nwhile sleep 0.1; do echo a line; done\n')
    for given in ({}, {"MELTANO_RUN_ID": "yesterday"}):
        with Path("/dev/full").open("w") as full, meltano.start(stdout=full, **given) as process:
            _, errors = process.communicate()
        assert process.returncode == 70
        assert errors.splitlines() == [
            "standard output cannot be written, so the job ends: [Errno 28] No space left on device"
        ]
    assert not alive(meltano.pid("pid"))


def test_a_log_that_nobody_reads_ends_meltano(meltano: Meltano) -> None:
    """Kestra's worker has died: a second run, started when it is back, does not meet the first."""
    meltano.becomes('#!/bin/bash\necho $$ >"$FAKES/pid"\nwhile sleep 0.1; do echo a line; done\n')
    with meltano.start() as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 128 + signal.SIGPIPE
    assert not alive(meltano.pid("pid"))
