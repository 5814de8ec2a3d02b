"""The tap: its settings, its streams, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn
from urllib.parse import urlsplit

import click
from singer_sdk import Tap
from singer_sdk import typing as th
from singer_sdk.configuration._dict_config import parse_environment_config
from singer_sdk.exceptions import ConfigValidationError
from singer_sdk.helpers.capabilities import PluginCapabilities
from typing_extensions import override

from tap_rickandmorty.drift import KINDS, POLICIES
from tap_rickandmorty.errors import TapError
from tap_rickandmorty.session import Address, Session
from tap_rickandmorty.streams import STREAMS
from tap_rickandmorty.writer import Writer

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator
    from types import FrameType

    from singer_sdk import Stream

PREFIX = "TAP_RICKANDMORTY_"
DRIFT_TEXTS = {
    "new_field": "a field that the schema lacks (with warn, its values are kept in `new_fields`)",
    "missing_field": "a field that the schema requires and a record lacks (unless fail, the SCHEMA sent requires none)",
    "retyped_field": "a value of another type than the schema says (unless fail, it is null, and kept in `new_fields`)",
    "unknown_value": "a value that the API's documentation does not list, of status or gender",
}


def _number(name: str, bounds: range, default: int, title: str, text: str) -> th.Property[Any]:
    low, high = bounds.start, bounds.stop - 1
    kind = th.IntegerType(minimum=low, maximum=high)
    return th.Property(name, kind, default=default, title=title, description=f"{text} ({low} to {high}).")


def _drift_setting(kind: str) -> th.Property[Any]:
    return th.Property(
        f"drift_{kind}",
        th.StringType(allowed_values=list(POLICIES)),
        default=KINDS[kind],
        title=f"Drift: {kind.replace('_', ' ')}",
        description=f"What {DRIFT_TEXTS[kind]} does: end the run, be told once a field at the end, or nothing.",
    )


class TapRickAndMorty(Tap):
    """Singer tap for the Rick and Morty API."""

    name = "tap-rickandmorty"
    package_name = "rickandmorty-tap"
    message_writer_class = Writer
    # A version that is read again would be in the batches twice.
    capabilities: ClassVar[list[Any]] = [c for c in Tap.capabilities if c is not PluginCapabilities.BATCH]

    config_jsonschema: ClassVar[dict[str, Any]] = th.PropertiesList(
        th.Property(
            "api_url",
            th.StringType(),
            default="https://rickandmortyapi.com/api",
            title="API address",
            description="Address of the API, ending in /api; its user, password and query go with every request, and into no log.",
        ),
        th.Property(
            "source",
            th.StringType(),
            title="Source",
            description="Name of the data behind api_url. A stream's count is compared with that of its last whole reading from the same source only; default: api_url.",
        ),
        _number(
            "concurrency", range(1, 9), 3, "Connections", "Streams read side by side, over a connection each"
        ),
        _number(
            "timeout",
            range(1, 601),
            60,
            "Time-out",
            "Seconds for a request, from its first to its answer's last byte",
        ),
        _number(
            "max_attempts",
            range(1, 21),
            6,
            "Attempts",
            "Times a request is sent that fails in a way that may pass, the first included",
        ),
        _number(
            "retry_seconds",
            range(3601),
            120,
            "Retry budget",
            "Seconds from its first attempt after which a request is not sent again, and the longest pause that the API may ask for",
        ),
        _number(
            "listing_attempts",
            range(1, 11),
            4,
            "Readings",
            "Times a stream is read whose answers do not fit together, the first included; the first two by ids, the others by pages",
        ),
        _number(
            "max_shrink_percent",
            range(101),
            10,
            "Share that may vanish",
            "Share of a stream's records that may be gone since it was last whole; more is an error, and so is an empty stream without a past. With 100, anything goes",
        ),
        th.Property(
            "allow_other_hosts",
            th.BooleanType(),
            default=False,
            title="Redirects to other hosts",
            description="Whether redirects that lead away from the API's host are followed.",
        ),
        th.Property(
            "user_agent",
            th.StringType(),
            default=f"tap-rickandmorty/{version('rickandmorty-tap')}",
            title="User agent",
            description="How the tap introduces itself to the API.",
        ),
        *[_drift_setting(kind) for kind in KINDS],
    ).to_dict()

    def __init__(
        self,
        *,
        config: dict[str, Any] | None = None,
        parse_env_config: bool = False,
        **kwargs: Any,  # noqa: ANN401 (the SDK's)
    ) -> None:
        given = {**(config or {}), **(_environment(self.config_jsonschema) if parse_env_config else {})}
        # A setting that is null or blank, as Meltano gives those whose variable is not set, is not given.
        given = {name: value for name, value in given.items() if value not in (None, "")}
        errors = list(_misconfigured(given))
        if errors and kwargs.get("validate_config", True):
            raise ConfigValidationError(
                "Config validation failed", errors=errors, schema=self.config_jsonschema
            )
        super().__init__(config=given, **kwargs)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, _terminated)

    @override
    def discover_streams(self) -> list[Stream]:
        config = self.config
        address = Address(config["api_url"])
        session = Session(
            address, config["concurrency"], config["retry_seconds"], other_hosts=config["allow_other_hosts"]
        )
        pool = ThreadPoolExecutor(config["concurrency"], thread_name_prefix="reading")
        return [stream(self, address, session, pool) for stream in STREAMS]

    @classmethod
    @override
    def invoke(cls, **kwargs: Any) -> None:
        """Run the tap; a failure is one line and exit status 1."""
        with _one_line(cls.logger):
            super().invoke(**kwargs)

    @classmethod
    @override
    def cb_test(cls, ctx: click.Context, param: click.Option, value: str) -> None:
        """Run the tap's connection test; a failure is one line and exit status 1."""
        with _one_line(cls.logger):
            super().cb_test(ctx, param, value)


def _environment(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of the environment, and of .env; numbers that are none stay text, for the check to name."""
    parse_environment_config({}, PREFIX)  # reads .env
    settings = {
        name: item for name, item in schema["properties"].items() if os.environ.get(f"{PREFIX}{name.upper()}")
    }
    numbers = {
        name: os.environ[f"{PREFIX}{name.upper()}"].strip()
        for name, item in settings.items()
        if "integer" in item["type"]
    }
    odd = {name: text for name, text in numbers.items() if not re.fullmatch(r"[+-]?[0-9]+", text)}
    return (
        parse_environment_config(
            {"properties": {name: item for name, item in settings.items() if name not in odd}}, PREFIX
        )
        | odd
    )


def _misconfigured(config: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the settings that a JSON schema cannot say, without a secret."""
    url = config.get("api_url")
    if isinstance(url, str):
        try:
            parts = urlsplit(url)
            good = (
                parts.scheme in {"http", "https"}
                and parts.hostname
                and (parts.port or 1)
                and not re.search(r"\s", url)
            )
        except ValueError:
            good = False
        if not good:
            yield f"api_url: expected http://HOST/api or https://HOST/api, got {Address('').safe(url)!r}"
    if config.get("batch_config") is not None:
        yield "batch_config: BATCH messages are not supported; remove the setting, records go out as RECORD messages"


@contextmanager
def _one_line(logger: logging.Logger) -> Iterator[None]:
    """End the process with one line in the log where something fails; the traceback is there at level DEBUG."""
    try:
        yield
    except (ConfigValidationError, click.exceptions.Exit, click.ClickException, click.Abort):
        raise
    except BrokenPipeError:
        # The reader has gone; its own message says why. Python would complain again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _end(logger, "the program that reads the records has ended before the tap; look at its message")
    except TapError as error:
        _end(logger, str(error))
    except Exception as error:
        logger.debug("unforeseen", exc_info=True)
        _end(
            logger,
            f"{type(error).__name__}: {Address('').safe(error)}; this was not foreseen: run again with "
            f"{PREFIX}LOGLEVEL=debug for where it happened",
        )


def _end(logger: logging.Logger, message: str) -> NoReturn:
    logger.error(message)
    # Threads may still wait for the API; nothing of theirs is needed any more.
    sys.stdout.flush()
    os._exit(1)


def _terminated(signum: int, _: FrameType | None) -> NoReturn:
    # No STATE and no last records: what was sent is not said to be whole, and the target will not load it.
    name = signal.Signals(signum).name
    os.write(2, f"tap-rickandmorty: ended by {name}; the stream in progress is not complete\n".encode())
    os._exit(128 + signum)
