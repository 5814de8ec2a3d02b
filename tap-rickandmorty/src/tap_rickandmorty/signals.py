"""Signals end the program, whatever its main thread waits for."""

from __future__ import annotations

import functools
import os
import signal
import threading
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable


def end_on_signals(end: Callable[[int], NoReturn]) -> None:
    """Let a thread call `end` with the number of the first SIGINT or SIGTERM.

    Python runs a handler in the main thread, between two of its steps: one that begins to wait just then, for a line or for a
    reader, would go on waiting. https://docs.python.org/3/library/signal.html#execution-of-python-signal-handlers
    """
    if threading.current_thread() is threading.main_thread():
        _watch(end)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)


@functools.cache
def _watch(end: Callable[[int], NoReturn]) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    threading.Thread(target=lambda: end(os.read(reading, 1)[0]), name="signals", daemon=True).start()
