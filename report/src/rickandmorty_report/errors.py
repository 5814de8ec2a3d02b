"""The error that ends a build of the page."""


class ReportError(Exception):
    """Ends the program with one line and exit status 1; no page is written."""
