"""A service of the sandbox in the foreground, for as long as a test needs it."""

from __future__ import annotations

import json
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def served(command: str, *arguments: str) -> Iterator[str]:
    """Run `sandbox api`, `proxy` or `strict`; give its address."""
    with subprocess.Popen([command, *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["url"]
        finally:
            process.terminate()
    assert process.returncode == 0
