"""The errors that end a run."""

SHOWN = 60


class TargetError(Exception):
    """Ends the run with one line and exit status 1; no STATE goes out past what is loaded.

    Whatever reads, stages or loads may raise it; docstrings name other exceptions only.
    """


class ValueRefusedError(TargetError):
    """A record's value does not fit its column; the field's path is added while the error propagates."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason, self.path = reason, ""

    @classmethod
    def of(cls, expected: str, value: object) -> "ValueRefusedError":
        """Return the error for a value that is not what was expected."""
        try:
            text = str(value)
        except ValueError:  # Python prints no integer of more than 4,300 digits
            text = hex(value) if isinstance(value, int) else "?"
        shown = text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."
        return cls(f"expected {expected}, got {type(value).__name__} {shown!r}")

    def under(self, step: str) -> "ValueRefusedError":
        """Return this error with a step before its path: a field's name, or an item's number in brackets."""
        self.path = (step or "''") + ("." if self.path and not self.path.startswith("[") else "") + self.path
        return self

    def __str__(self) -> str:
        """Return the line: field, expected, got."""
        return f"field {self.path}: {self.reason}" if self.path else self.reason
