"""A command line whose errors are one line each."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

from typing_extensions import override


class OneLine(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, without the usage; exit status 2.

    Who typed `make` gave VERSION=2, not --version.
    """

    @override
    def error(self, message: str) -> NoReturn:
        if self.prog.startswith("make "):
            message = re.sub(r"(?:argument )?(?<!\S)--([a-z]+)", lambda found: found[1].upper(), message)
        self.exit(2, f"{self.prog}: {message}\n")
