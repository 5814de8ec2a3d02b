"""Signals reach a main thread that waits."""

import os
import signal
import threading
import time

PAUSE_SECONDS = 0.5


def repeat_signals() -> None:
    """Let a thread send SIGINT or SIGTERM to the main thread again until its handler has ended the program.

    Python runs a handler in the main thread, between two of its steps: one that begins to wait just then, for a line or for a
    reader, would go on waiting. https://docs.python.org/3/library/signal.html#execution-of-python-signal-handlers
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_repeat, args=(reading,), name="signals", daemon=True).start()


def _repeat(reading: int) -> None:
    (number,) = os.read(reading, 1)
    while True:
        time.sleep(PAUSE_SECONDS)
        signal.pthread_kill(threading.main_thread().ident or 0, number)
