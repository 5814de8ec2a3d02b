"""A local API, and the tap run on it as a process."""

from __future__ import annotations

import json
import multiprocessing
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tap_api import Api, Outcome, command, in_this_process, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Each run is a process of its own, forked from one that has imported the tap: the import is most of what a run costs.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tap_rickandmorty.tap"])


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
def run_tap(api: Api, tmp_path: Path) -> Callable[..., Outcome]:
    """Runs the tap as a process against the local API."""

    def run(*arguments: str, **settings: Any) -> Outcome:
        line, env = command(api, *arguments, **settings)
        out, err = tmp_path / "out", tmp_path / "err"
        process = PROCESSES.Process(target=in_this_process, args=(line[3:], env, str(out), str(err)))
        process.start()
        process.join(60)
        assert process.exitcode is not None, err.read_text()
        messages = [json.loads(text) for text in out.read_text().splitlines() if text.startswith('{"type"')]
        return Outcome(process.exitcode, messages, err.read_text(), out.read_text())

    return run
