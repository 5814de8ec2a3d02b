"""A local API, and the tap run on it as a process."""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from tap_api import TRUST, Api, Outcome, RunTap, environment, serving

from testkit import programs, warm


@pytest.fixture(autouse=True)
def direct_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests do without the machine's own proxies and certificates."""
    for name in os.environ:
        if name.lower().endswith("_proxy") or name in TRUST:
            monkeypatch.delenv(name)


@pytest.fixture
def api() -> Iterator[Api]:
    """An API of 45 characters, 3 episodes and 21 locations on a free port."""
    with serving() as api:
        yield api


@pytest.fixture
def run_tap(api: Api) -> RunTap:
    """Runs the tap as a process against the local API."""

    def run(*arguments: str, **settings: Any) -> Outcome:
        command = warm.command("tap_rickandmorty", "--config=ENV", *arguments)
        done = programs.run(*command, env=environment(api, **settings))
        messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"type"')]
        return Outcome(done.returncode, messages, done.stderr, done.stdout)

    return run
