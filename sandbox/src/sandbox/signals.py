"""SIGINT, SIGTERM and SIGHUP: handled, raised or ignored."""

import signal
from collections.abc import Callable

from sandbox.errors import Ended

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def on_signals(handle: Callable[[int, object], None]) -> None:
    """Handle SIGINT, SIGTERM and SIGHUP; what nohup has switched off stays off."""
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handle)


def ignore_signals() -> None:
    """Ignore SIGINT, SIGTERM and SIGHUP."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def ended_by_signals() -> None:
    """Let those signals raise `Ended` in the main thread."""

    def end(number: int, _: object) -> None:
        raise Ended(number)

    on_signals(end)
