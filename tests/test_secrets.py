"""What is secret in a setting is in no line, whatever goes wrong with it."""

import os

import pytest
from testkit.programs import run
from testkit.required_tools import tool

SECRETS = ("planted-user", "planted-password", "planted-key")
# Nobody listens on the discard port.
ADDRESS = "http://planted-user:planted-password@127.0.0.1:9/api?key=planted-key"


@pytest.mark.parametrize(
    "arguments", [[], ["--test"], ["--discover"], ["--about"]], ids=lambda a: " ".join(a) or "run"
)
def test_a_secret_in_the_taps_address_is_printed_nowhere(arguments: list[str]) -> None:
    """User, password and key of an address are in no log line, error, catalog or STATE."""
    settings = {"API_URL": ADDRESS, "MAX_ATTEMPTS": "1", "LISTING_ATTEMPTS": "1"}
    env = os.environ | {f"TAP_RICKANDMORTY_{name}": value for name, value in settings.items()}
    done = run(tool("tap-rickandmorty"), "--config=ENV", *arguments, env=env)
    assert (done.returncode == 0) == bool(set(arguments) & {"--discover", "--about"}), done.stderr[-2000:]
    assert not [secret for secret in SECRETS if secret in done.stdout + done.stderr]
