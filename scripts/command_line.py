"""A command line whose errors are one line each. With the standard library alone: the doctor and the guard of plans use it."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable


class OneLine(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, without the usage; exit status 2.

    Who typed `make` gave VERSION=2, not --version.
    """

    def error(self, message: str) -> NoReturn:
        """End the program."""
        if self.prog.startswith("make "):
            message = re.sub(r"(?:argument )?(?<!\S)--([a-z]+)", lambda found: found[1].upper(), message)
        self.exit(2, f"{self.prog}: {message}\n")


def end_with(main: Callable[[], int]) -> NoReturn:
    """End the program with the status of `main`; as a signal would where it was interrupted, or nobody reads its output."""
    for number, (name, mode) in enumerate({"stdin": "r", "stdout": "w", "stderr": "w"}.items()):
        if getattr(sys, name) is None:
            # Closed by the caller: a file opened later would take its place.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # noqa: FBT003 (positional only)
            setattr(sys, name, open(number, mode))  # noqa: PTH123, SIM115 (a descriptor, for good)
    try:
        try:
            status = main()
        except SystemExit as ended:
            if ended.code:
                raise
            status = 0  # --help
        sys.stdout.flush()
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    except OSError as error:
        status = 128 + signal.SIGPIPE if isinstance(error, BrokenPipeError) else 1
        if status == 1:
            print(f"{Path(sys.argv[0]).stem}: {error}", file=sys.stderr)
    finally:
        # `| head` has read enough, or the disk is full: what is left goes nowhere, at the interpreter's end too.
        for output in (sys.stdout, sys.stderr):
            try:
                output.flush()
            except OSError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())
    raise SystemExit(status)
