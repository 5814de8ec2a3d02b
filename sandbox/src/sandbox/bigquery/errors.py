"""Refuses at once what the emulator cannot do.

Google's clients retry a 500 until their time-out is over (google.cloud.bigquery.retry), which hides what is wrong.
"""

import traceback

from bqemulator.domain.errors import DomainError, InvalidQueryError, UnsupportedFeatureError, ValidationError
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from . import patches

SERVER_ERROR = 500
_install = patches.get("api.errors", "install_exception_handlers")

UnsupportedFeatureError.http_status = 400
patches.REASONS.append(("domain.errors.UnsupportedFeatureError", "400 in place of 501"))


def refusal(error: Exception) -> DomainError:
    """Return a 400 for an unforeseen error; its traceback goes to the log."""
    traceback.print_exception(error)
    message = f"The sandbox's BigQuery cannot do this: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    kind = InvalidQueryError if type(error).__module__.startswith(("duckdb", "sqlglot")) else ValidationError
    return kind(message)


async def _answer(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, DomainError) or error.http_status >= SERVER_ERROR:
        error = refusal(error)
    # What was not foreseen ends the connection too: the client is not to use it again.
    return JSONResponse(error.to_bigquery_error(), error.http_status, {"Connection": "close"})


@patches.replaces(
    "api.errors",
    "install_exception_handlers",
    also=("api.app",),
    why="400 in place of 500: what fails here fails again",
)
def install(app: FastAPI) -> None:
    """Register the emulator's handlers, and one for everything that it would answer with a 5xx."""
    _install(app)
    app.add_exception_handler(DomainError, _answer)
    app.add_exception_handler(Exception, _answer)
