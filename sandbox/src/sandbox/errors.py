"""What ends a command of the sandbox with one line."""


class SandboxError(Exception):
    """Ends the command with one line on stderr and status 1."""
