"""A local API, and the tap run on it as a process."""

from __future__ import annotations

import json
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tap_api import Api, Outcome, command, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def api() -> Iterator[Api]:
    """An API of 45 characters, 3 episodes and 21 locations on a free port."""
    server = serve()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server.api
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def run_tap(api: Api) -> Callable[..., Outcome]:
    """Runs the tap as a process against the local API."""

    def run(*arguments: str, **settings: Any) -> Outcome:
        line, env = command(api, *arguments, **settings)
        done = subprocess.run(line, env=env, check=False, capture_output=True, text=True, timeout=60)
        messages = [json.loads(text) for text in done.stdout.splitlines() if text.startswith('{"type"')]
        return Outcome(done.returncode, messages, done.stderr)

    return run
