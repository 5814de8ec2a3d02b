"""A command line whose errors are one line each."""

from __future__ import annotations

import argparse
import os
import re
import signal
from typing import TYPE_CHECKING, NoReturn

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable


class OneLine(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, without the usage; exit status 2.

    Who typed `make` gave VERSION=2, not --version.
    """

    @override
    def error(self, message: str) -> NoReturn:
        if self.prog.startswith("make "):
            message = re.sub(r"(?:argument )?(?<!\S)--([a-z]+)", lambda found: found[1].upper(), message)
        self.exit(2, f"{self.prog}: {message}\n")


def end_with(main: Callable[[], int]) -> NoReturn:
    """End the program with the status of `main`; as a signal would where it was interrupted, or nobody reads its output."""
    try:
        status = main()
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    except BrokenPipeError:
        # `| head` has read enough: what is left goes nowhere, at the interpreter's end too.
        for output in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), output)
        status = 128 + signal.SIGPIPE
    raise SystemExit(status)
