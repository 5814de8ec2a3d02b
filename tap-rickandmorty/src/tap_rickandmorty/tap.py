"""The tap: its settings, its streams, and how it ends."""

from __future__ import annotations

import os
import signal
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from singer_sdk import Tap
from singer_sdk import typing as th
from typing_extensions import override

from tap_rickandmorty.client import Client
from tap_rickandmorty.drift import KINDS, POLICIES
from tap_rickandmorty.errors import TapError
from tap_rickandmorty.listing import Listings
from tap_rickandmorty.streams import STREAMS
from tap_rickandmorty.writer import Writer

if TYPE_CHECKING:
    from types import FrameType

    from singer_sdk import Stream

DRIFT_TEXTS = {
    "new_field": "a field that the schema lacks (with warn, its values are kept in `new_fields`)",
    "missing_field": "a field of the schema that a record lacks",
    "retyped_field": "a value of another type than the schema says",
    "unknown_value": "a status or gender that the API's documentation does not list",
}


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

    config_jsonschema: ClassVar[dict[str, Any]] = th.PropertiesList(
        th.Property(
            "api_url",
            th.StringType(pattern=r"^https?://\S+$"),
            default="https://rickandmortyapi.com/api",
            title="API address",
            description="Address of the API, ending in /api. Pages are asked from here whatever the API's own links say.",
        ),
        th.Property(
            "concurrency",
            th.IntegerType(minimum=1, maximum=64),
            default=24,
            title="Concurrency",
            description="Pages fetched side by side (1 to 64). Fewer is slower and easier on the API.",
        ),
        th.Property(
            "timeout",
            th.IntegerType(minimum=1, maximum=600),
            default=30,
            title="Time-out",
            description="Seconds to wait for a connection, and for the next bytes of an answer (1 to 600).",
        ),
        th.Property(
            "max_attempts",
            th.IntegerType(minimum=1, maximum=20),
            default=6,
            title="Attempts a page",
            description="Requests for one page, the first included, when the API fails in a way that may pass (1 to 20).",
        ),
        th.Property(
            "retry_seconds",
            th.IntegerType(minimum=0, maximum=3600),
            default=120,
            title="Retry budget",
            description="Seconds from a page's first request after which it is not tried again, pauses that the API asks for included (0 to 3600).",
        ),
        th.Property(
            "listing_attempts",
            th.IntegerType(minimum=1, maximum=10),
            default=3,
            title="Attempts a listing",
            description="How often a stream is read when its pages do not fit together, the first time included (1 to 10).",
        ),
        th.Property(
            "user_agent",
            th.StringType(min_length=1),
            default=f"tap-rickandmorty/{version('rickandmorty-tap')}",
            title="User agent",
            description="How the tap introduces itself to the API.",
        ),
        *[_drift_setting(kind) for kind in KINDS],
    ).to_dict()

    @override
    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        # An empty variable, such as a line of a .env that nobody has filled in, is a setting that is not given.
        for name in [name for name, value in self._config.items() if value == ""]:
            del self._config[name]
        return super()._validate_config(raise_errors=raise_errors)

    @override
    def discover_streams(self) -> list[Stream]:
        config = self.config
        client = Client(
            config["api_url"],
            concurrency=config["concurrency"],
            timeout=config["timeout"],
            max_attempts=config["max_attempts"],
            retry_seconds=config["retry_seconds"],
            user_agent=config["user_agent"],
        )
        listings = Listings(client, config["concurrency"])
        return [stream(self, listings) for stream in STREAMS]

    @classmethod
    @override
    def invoke(cls, **kwargs: Any) -> None:
        """Runs the tap; a foreseen failure is one line and exit status 1."""
        for name, setting in cls.config_jsonschema["properties"].items():
            variable = f"{cls._env_var_prefix}{name.upper()}"
            value = os.environ.get(variable, "")
            if "integer" in setting["type"] and value and not value.strip().isdecimal():
                # The SDK would end with a traceback.
                cls._end(f"{variable} is {value!r}: expected a whole number; {setting['description']}")
        try:
            super().invoke(**kwargs)
        except TapError as error:
            cls._end(str(error))
        except BrokenPipeError:
            # The reader has gone; its own message says why. Python would complain again when it closes stdout.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            cls._end("the program that reads the records has ended before the tap; look at its message")

    @classmethod
    def _end(cls, message: str) -> NoReturn:
        cls.logger.error(message)
        # Threads may still wait for the API; nothing of theirs is needed any more.
        sys.stdout.flush()
        os._exit(1)

    @override
    def _handle_termination(self, signum: int, frame: FrameType | None) -> None:
        # No STATE and no last records: what was sent is not said to be whole, and the target will not load it.
        name = signal.Signals(signum).name
        os.write(2, f"tap-rickandmorty: ended by {name}; the stream in progress is not complete\n".encode())
        os._exit(128 + signum)
