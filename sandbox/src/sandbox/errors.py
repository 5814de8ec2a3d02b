"""What ends a command of the sandbox with one line."""


class SandboxError(Exception):
    """Ends the command with one line on stderr and status 1."""


class Ended(Exception):  # noqa: N818 (a signal, not an error)
    """A signal asks this process to end; the signal's number is its argument."""
