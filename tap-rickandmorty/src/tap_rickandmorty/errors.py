"""What can end an extraction, sorted by what the reader of the log does next.

TapError
├── ApiError          the API did not answer as it should: look at it, then run again
├── IncompleteError   the listing kept changing while it was read: run again later
└── DriftError        the API's records are not what the schema says: change schema or policy
"""

from __future__ import annotations


class TapError(Exception):
    """Ends the run with one line and exit status 1."""


class ApiError(TapError):
    """A request failed for good."""


class IncompleteError(TapError):
    """A stream could not be read whole."""


class DriftError(TapError):
    """A record does not match the stream's schema, and the policy is to fail."""
