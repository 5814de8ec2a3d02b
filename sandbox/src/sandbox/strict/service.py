"""The strict services as programs of the sandbox."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sandbox import serving
from sandbox.errors import SandboxError
from sandbox.strict.bigquery import StrictBigQuery
from sandbox.strict.rules import Rules
from sandbox.strict.storage import StrictStorage

if TYPE_CHECKING:
    from pathlib import Path

KINDS = {"bigquery": StrictBigQuery, "storage": StrictStorage}


def serve(kind: str, upstream: str, port: int, accounts: Path | None) -> int:
    """Serve the strict `bigquery` or `storage` in the foreground until SIGTERM or SIGINT.

    Raises:
        SandboxError: The port is in use, or the accounts cannot be read.
    """
    rules = read_rules(accounts)
    return serving.serve(lambda: KINDS[kind](upstream, rules).app(), port)


def read_rules(accounts: Path | None) -> Rules:
    """Return the rules, with the accounts of a JSON file among theirs.

    Raises:
        SandboxError: The file cannot be read, or names roles that are not stated.
    """
    rules = Rules()
    if accounts is not None:
        try:
            rules.add_accounts(json.loads(accounts.read_text("utf-8")))
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise SandboxError(f"--accounts {accounts}: {error}") from error
    return rules
