"""What is secret in a setting is in no line, whatever goes wrong with it."""

from __future__ import annotations

import os
import subprocess

import pytest
from testkit.required_tools import tool

SECRETS = ("planted-user", "planted-password", "planted-key")
# Nobody listens on the discard port.
ADDRESS = "http://planted-user:planted-password@127.0.0.1:9/api?key=planted-key"


@pytest.mark.parametrize(
    "arguments", [[], ["--test"], ["--discover"], ["--about"]], ids=lambda a: " ".join(a) or "run"
)
def test_a_secret_in_the_taps_address_is_printed_nowhere(arguments: list[str]) -> None:
    """User, password and key of an address are in no log line, error, catalog or STATE."""
    done = subprocess.run(
        [tool("tap-rickandmorty"), "--config=ENV", *arguments],
        env={
            **os.environ,
            "TAP_RICKANDMORTY_API_URL": ADDRESS,
            "TAP_RICKANDMORTY_MAX_ATTEMPTS": "1",
            "TAP_RICKANDMORTY_LISTING_ATTEMPTS": "1",
        },
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode == 0) == bool(set(arguments) & {"--discover", "--about"}), done.stderr[-2000:]
    assert not [secret for secret in SECRETS if secret in done.stdout + done.stderr]
