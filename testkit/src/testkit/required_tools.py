"""Programs that a check needs: where they are, or a skip that names what is missing.

`REQUIRE_TOOLS`, a list with spaces, makes a missing one a failure: CI sets it, so that no check passes by not running.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import pytest


def missing(name: str, advice: str) -> NoReturn:
    """Skips the test, or fails it where `REQUIRE_TOOLS` names the tool."""
    message = f"{name} is not there: {advice}"
    if name in os.environ.get("REQUIRE_TOOLS", "").split():
        pytest.fail(message)
    pytest.skip(message)


def tool(name: str, advice: str = "`make install` installs it") -> str:
    """Return the program `name` of the developer tools' environment, or of the PATH."""
    beside = Path(sys.executable).with_name(name)
    if beside.is_file():
        return str(beside)
    return shutil.which(name) or missing(name, advice)
