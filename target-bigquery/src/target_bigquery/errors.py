"""What can end a load."""

from __future__ import annotations


class TargetError(Exception):
    """Ends the run with one line and exit status 1; no STATE goes out."""


class ValueRefusedError(TargetError):
    """A record's value cannot be what its column holds."""
