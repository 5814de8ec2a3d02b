"""The errors that end an extraction, sorted by what the reader of the log does next.

TapError
├── ApiError          a request failed: look at the API, then run again
├── IncompleteError   the answers contradict each other, since the listing changed while it was read: run again later
│   └── CollapsedError    the listing is empty or has shrunk too far: look at the source, or raise max_shrink_percent
└── DriftError        records do not match the schema: change schema or policy
"""

# What a stream map raises is its expressions' own.
MISMAPPED = "stream_maps or flattening cannot be applied to {}: {}; look at the setting"


class TapError(Exception):
    """Ends the run with one line and exit status 1."""


class ApiError(TapError):
    """A request failed for good.

    Attributes:
        status: The last answer's status; None where there was no answer.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class IncompleteError(TapError):
    """A stream was not read whole: the answers of a reading contradict each other."""


class CollapsedError(IncompleteError):
    """A stream is empty, or has far fewer records than it had when it was last whole."""


class DriftError(TapError):
    """A record does not match the stream's schema, and the policy is to fail."""
