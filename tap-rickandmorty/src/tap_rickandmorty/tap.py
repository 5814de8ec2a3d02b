"""The tap: its settings, its streams, and how it ends."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn
from urllib.parse import urlsplit

import click
from singer_sdk import Tap
from singer_sdk.exceptions import ConfigValidationError
from singer_sdk.helpers.capabilities import PluginCapabilities
from typing_extensions import override

from tap_rickandmorty.errors import TapError
from tap_rickandmorty.session import Address, Session, safe
from tap_rickandmorty.streams import STREAMS
from tap_rickandmorty.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import FrameType

    from singer_sdk import Stream

PREFIX = "TAP_RICKANDMORTY_"


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


# Whether a variable of the environment can be read as a setting of such a type.
FORMS: dict[str, Callable[[str], object]] = {
    "integer": re.compile(r"\s*[+-]?[0-9]+\s*").fullmatch,
    "boolean": re.compile(r"true|false|yes|no|on|off|1|0", re.IGNORECASE).fullmatch,
    "object": _is_json_object,
}


class TapRickAndMorty(Tap):
    """Singer tap for the Rick and Morty API."""

    name = "tap-rickandmorty"
    package_name = "rickandmorty-tap"
    message_writer_class = Writer
    # A listing that is read again would be in the batches twice.
    capabilities: ClassVar[list[Any]] = [c for c in Tap.capabilities if c is not PluginCapabilities.BATCH]

    config_jsonschema: ClassVar[dict[str, Any]] = json.loads(
        (files("tap_rickandmorty") / "settings.json").read_bytes()
    )
    config_jsonschema["properties"]["user_agent"]["default"] = f"{name}/{version(package_name)}"

    def __init__(
        self,
        *,
        config: dict[str, Any] | None = None,
        parse_env_config: bool = False,
        **kwargs: Any,  # noqa: ANN401 (the SDK's)
    ) -> None:
        # Null and blank settings count as absent: Meltano passes them where a variable is not set.
        config = {name: value for name, value in (config or {}).items() if value not in (None, "")}
        self.append_builtin_config(self.config_jsonschema)
        wrong = list(_invalid_variables(self.config_jsonschema["properties"])) if parse_env_config else []
        if not wrong:
            super().__init__(config=config, parse_env_config=parse_env_config, **kwargs)
            wrong = list(_invalid_settings(self.config)) if kwargs.get("validate_config", True) else []
        if wrong:
            raise ConfigValidationError(
                "Config validation failed", errors=wrong, schema=self.config_jsonschema
            )
        if kwargs.get("catalog") is not None and not any(stream.selected for stream in self.streams.values()):
            raise TapError(
                "the catalog selects no stream, so there is nothing to do; look at it, or at 'select' in meltano.yml: the "
                f"streams are {', '.join(self.streams)}"
            )
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
        return [stream(self, address, session) for stream in STREAMS]

    @classmethod
    @override
    def invoke(cls, **kwargs: Any) -> None:
        """Run the tap; a failure is one line and exit status 1."""
        with _one_line(cls.logger):
            for option, part, kind in (("state", "bookmarks", dict), ("catalog", "streams", list)):
                if file := kwargs.get(option):
                    text = file.read()
                    _check_json(f"--{option} {file.name}", text, part, kind)
                    kwargs[option] = io.StringIO(text)
            super().invoke(**kwargs)

    @classmethod
    @override
    def cb_config(cls, ctx: click.Context, param: click.Option, value: tuple[str, ...]) -> Any:
        """Read the files of settings; one that cannot be read is named."""
        config = super().cb_config(ctx, param, ())
        for file in value:
            try:
                of_file = super().cb_config(ctx, param, (file,))
                config.config |= of_file.config
            except (OSError, ValueError, TypeError) as error:
                raise click.BadParameter(
                    f"{file}: expected a file with a JSON object, or ENV ({error})"
                ) from error
            config.parse_env |= of_file.parse_env
        return config

    @classmethod
    @override
    def cb_test(cls, ctx: click.Context, param: click.Option, value: str) -> None:
        """Run the tap's connection test; a failure is one line and exit status 1."""
        with _one_line(cls.logger):
            super().cb_test(ctx, param, value)


def _check_json(name: str, text: str, part: str, kind: type) -> None:
    """Refuse a text that is not a JSON object, or whose `part`, where it has one, is of another kind.

    Raises:
        TapError: It is such a text.
    """
    try:
        content = json.loads(text)
    except ValueError as error:
        raise TapError(f"{name}: expected a JSON object, got what is not JSON: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get(part, kind()), kind):
        raise TapError(
            f"{name}: expected a JSON object with {part!r} as {'an object' if kind is dict else 'a list'}, got {text[:60]!r}"
        )


def _invalid_variables(settings: dict[str, Any]) -> Iterator[str]:
    """Remove blank variables, and yield what is wrong with others: the SDK takes any other word for false, and fails on the rest."""
    for name, item in settings.items():
        value = os.environ.get(PREFIX + name.upper())
        if value is None:
            continue
        if not value.strip():
            del os.environ[PREFIX + name.upper()]
            continue
        for kind, fits in FORMS.items():
            if kind in item["type"] and not fits(value):
                yield f"{name}: {value!r} is not of type '{kind}'"


def _invalid_settings(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the settings beyond their JSON schema, without secrets."""
    url = config["api_url"]
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and parts.hostname and (parts.port or 1)
    except ValueError:
        good = False
    if not good or re.search(r"\s", url):
        yield f"api_url: expected http://HOST/api or https://HOST/api, got {safe(url)!r}"
    if not config["user_agent"].isprintable() or not config["user_agent"].isascii():
        yield f"user_agent: expected letters, digits and signs of ASCII, got {config['user_agent']!r}"
    if config.get("batch_config") is not None:
        yield "batch_config: BATCH messages are not supported; remove the setting, records go out as RECORD messages"


@contextmanager
def _one_line(logger: logging.Logger) -> Iterator[None]:
    """End the process with one line in the log where something fails; level DEBUG adds the traceback."""
    try:
        yield
    except (ConfigValidationError, click.exceptions.Exit, click.ClickException, click.Abort):
        raise
    except BrokenPipeError:
        # The reader's own message says why it ended. Python would complain again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _end(logger, "the program that reads the records has ended before the tap; look at its message")
    except TapError as error:
        _end(logger, str(error))
    except Exception as error:
        logger.debug("unexpected", exc_info=True)
        _end(
            logger,
            f"{type(error).__name__}: {safe(error)}; this error is unexpected: run again with "
            f"{PREFIX}LOGLEVEL=debug for its traceback",
        )


def _end(logger: logging.Logger, message: str) -> NoReturn:
    # Threads may still read from the API: what they read is no longer needed, and none of them logs after this line.
    for handler in logging.getLogger().handlers:
        handler.acquire()
    logger.error(message)
    sys.stdout.flush()
    os._exit(1)


def _terminated(signum: int, _: FrameType | None) -> NoReturn:
    # No STATE and no ACTIVATE_VERSION: the target will not load what was sent.
    name = signal.Signals(signum).name
    # Whoever read the log may have ended too.
    with suppress(OSError):
        os.write(2, f"tap-rickandmorty: ended by {name}; the stream in progress is not complete\n".encode())
    os._exit(128 + signum)
