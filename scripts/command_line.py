"""A command line whose errors are one line each."""

from __future__ import annotations

import argparse
from typing import NoReturn

from typing_extensions import override


class OneLine(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, without the usage; exit status 2."""

    @override
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")
