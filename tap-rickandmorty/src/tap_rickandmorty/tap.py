"""The tap: its settings, its streams, and how it ends."""

import errno
import io
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar, NoReturn

import click
from singer_sdk import Stream, Tap
from singer_sdk.exceptions import ConfigValidationError, MappingError
from singer_sdk.helpers.capabilities import PluginCapabilities
from singer_sdk.singerlib import Catalog
from typing_extensions import override

from tap_rickandmorty.errors import MISMAPPED, TapError
from tap_rickandmorty.inputs import PREFIX, check_streams, invalid_settings, invalid_variables, read_json
from tap_rickandmorty.session import Address, Session, safe
from tap_rickandmorty.signals import repeat_signals
from tap_rickandmorty.streams import STREAMS
from tap_rickandmorty.writer import Writer


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
        wrong = list(invalid_variables(self.config_jsonschema["properties"])) if parse_env_config else []
        if not wrong:
            super().__init__(config=config, parse_env_config=parse_env_config, **kwargs)
            wrong = list(invalid_settings(self.config)) if kwargs.get("validate_config", True) else []
        if wrong:
            raise ConfigValidationError(
                "Config validation failed", errors=wrong, schema=self.config_jsonschema
            )
        if self.input_catalog is not None:
            check_streams(self.input_catalog, self.streams)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, _terminated)

    @property
    @override
    def catalog(self) -> Catalog:
        """The streams as they go out: a catalog that is given selects, and the schema is always the tap's own."""
        return Catalog.from_dict(self.catalog_dict)

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
            if not (config := kwargs["config"]).config and not config.parse_env and not kwargs["about"]:
                names = [PREFIX + name.upper() for name in cls.config_jsonschema["properties"]]
                if unread := [name for name in names if os.environ.get(name, "").strip()]:
                    raise TapError(
                        f"{', '.join(unread)}: variables count only with --config=ENV; add it, or unset them"
                    )
            for option in ("state", "catalog"):
                if file := kwargs[option]:
                    kwargs[option] = io.StringIO(read_json(option, file))
            repeat_signals()
            super().invoke(**kwargs)

    @classmethod
    @override
    def cb_config(cls, ctx: click.Context, param: click.Option, value: tuple[str, ...]) -> Any:
        """Read the files of settings; one that cannot be read is named."""
        config = super().cb_config(ctx, param, ())
        for file in value:
            if file == "ENV":
                config.parse_env = True
                continue
            try:
                config.config.update(**json.loads(Path(file).read_bytes()))
            except (OSError, ValueError, TypeError) as error:
                raise click.BadParameter(
                    f"{file}: expected a file with a JSON object, or ENV ({error})"
                ) from error
        return config


def main() -> None:
    """Run the command line; a failure is one line and exit status 1."""
    with _one_line(TapRickAndMorty.logger):
        if sys.stdout is None:
            raise TapError("standard output is closed, so there is nowhere to write to")
        try:
            TapRickAndMorty.cli()
        finally:
            sys.stdout.flush()


@contextmanager
def _one_line(logger: logging.Logger) -> Iterator[None]:
    """End the process with one line in the log where something fails; level DEBUG adds the traceback."""
    try:
        yield
    except (click.exceptions.Exit, click.ClickException, click.Abort):
        raise
    except ConfigValidationError as error:
        _end(logger, f"{error}: {'; '.join(error.errors)}")
    except BrokenPipeError:
        # The reader's own message says why it ended.
        _discard_output()
        _end(logger, "the program that reads the records has ended before the tap; look at its message")
    except MappingError as error:
        _end(logger, MISMAPPED.format("the streams", safe(error)))
    except TapError as error:
        _end(logger, str(error))
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.EDQUOT, errno.EFBIG, errno.ENOSPC):
            _discard_output()
            _end(logger, f"output: {error.strerror}; make room where standard output goes, and run again")
        logger.debug("unexpected", exc_info=True)
        _end(
            logger,
            f"{type(error).__name__}: {safe(error)}; this error is unexpected: run again with "
            f"{PREFIX}LOGLEVEL=debug for its traceback",
        )


def _discard_output() -> None:
    """Let nothing more go to standard output, which has failed: it would fail again when Python closes it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _end(logger: logging.Logger, message: str) -> NoReturn:
    # Threads may still read from the API: what they read is no longer needed, and none of them logs after this line.
    for handler in logging.getLogger().handlers:
        handler.acquire()
    logger.error(message)
    if sys.stdout is not None:
        sys.stdout.flush()
    os._exit(1)


def _terminated(signum: int, _: FrameType | None) -> NoReturn:
    # No STATE and no ACTIVATE_VERSION: the target will not load what was sent.
    name = signal.Signals(signum).name
    # Whoever read the log may have ended too.
    with suppress(OSError):
        os.write(2, f"tap-rickandmorty: ended by {name}; the stream in progress is not complete\n".encode())
    os._exit(128 + signum)
