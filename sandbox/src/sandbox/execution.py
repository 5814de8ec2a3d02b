"""A command on the sandbox: it uses the parts while it lives, and nothing that it started outlives it."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator

from sandbox import processes
from sandbox.errors import SandboxError
from sandbox.parts import environment_without_mark
from sandbox.signals import ignore_signals, on_signals
from sandbox.supervisor import Sandbox

# Who has started this process, before anything is started here: that may die while the parts start.
PARENT = os.getppid()


@contextlib.contextmanager
def using(sandbox: Sandbox) -> Iterator[str]:
    """Use a sandbox while this process lives; yields the mark of what runs on it.

    The guardian ends what carries the mark, and parts without a user, even when this process is killed.
    """
    mark = uuid.uuid4().hex
    sandbox.prepare()
    with sandbox.users.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        guardian = subprocess.Popen(
            [sys.executable, "-P", "-m", "sandbox.guardian", str(sandbox.home), mark],
            env=environment_without_mark(),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield mark
        finally:
            ignore_signals()
            lock.close()
            guardian.communicate()
            if guardian.returncode:
                # It was killed.
                sandbox.release(mark)


def run(command: list[str], environment: dict[str, str]) -> int:
    """Run a command with the environment added; signals and the death of this process's parent are passed on to it.

    Returns:
        Its exit status; 128 and the signal's number where one has ended it.

    Raises:
        SandboxError: There is no such program.
    """
    try:
        process = subprocess.Popen(command, env={**os.environ, **environment})
    except FileNotFoundError:
        raise SandboxError(f"{command[0]}: no such program") from None
    except OSError as error:
        raise SandboxError(f"{command[0]} cannot be run: {error.strerror}") from None

    def forward(number: int, _: object = None) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        # A process that ignores the signal is killed.
        timer = threading.Timer(processes.STOP_SECONDS, process.kill)
        timer.daemon = True
        timer.start()

    def watch() -> None:
        while os.getppid() == PARENT:
            time.sleep(0.5)
        forward(signal.SIGTERM)

    on_signals(forward)
    threading.Thread(target=watch, daemon=True).start()
    while (status := process.poll()) is None:
        # A signal that came just before a wait without end would be passed on after it.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1)
    return status if status >= 0 else 128 - status
