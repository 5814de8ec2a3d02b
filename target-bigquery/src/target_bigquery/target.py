"""The target: messages to the life of versions, its actions to stages and loads, STATE last."""

from __future__ import annotations

import copy
import logging
import os
import signal
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any, NoReturn, cast

import click
from singer_sdk import Target
from singer_sdk.exceptions import (
    ConfigValidationError,
    InvalidInputLine,
    MissingKeyPropertiesError,
    RecordsWithoutSchemaException,
)
from singer_sdk.helpers.capabilities import PluginCapabilities
from typing_extensions import override

from target_bigquery import batches, checks
from target_bigquery.errors import TargetError
from target_bigquery.lifecycle import Begin, Drop, Lifecycle, Load, Release
from target_bigquery.reader import Reader
from target_bigquery.schema import root
from target_bigquery.settings import SCHEMA, Settings
from target_bigquery.sink import StreamSink
from target_bigquery.stage import Stage
from target_bigquery.work import Work

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType

    from target_bigquery.lifecycle import Action

PROGRESS_EVERY = 100_000
FAILURES_LOOKED_FOR_EVERY = 1000
FORESEEN = (TargetError, InvalidInputLine, RecordsWithoutSchemaException, MissingKeyPropertiesError)
# The SDK lists these for every target; nothing here reads them.
UNREAD = ("add_record_metadata", "batch_size_rows")


class TargetBigQuery(Target):
    """Singer target for BigQuery through Cloud Storage."""

    name = "target-bigquery"
    package_name = "rickandmorty-target-bigquery"
    config_jsonschema = SCHEMA
    default_sink_class = StreamSink
    message_reader_class = Reader
    capabilities = [  # noqa: RUF012 (the SDK's own class variable)
        PluginCapabilities.ABOUT,
        PluginCapabilities.STREAM_MAPS,
        PluginCapabilities.FLATTENING,
        PluginCapabilities.STRUCTURED_LOGGING,
        PluginCapabilities.ACTIVATE_VERSION,
    ]

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401 (the SDK's)
        super().__init__(**kwargs)
        self.settings = Settings.of(self.config)
        self._work = Work(self.settings)
        self._life = Lifecycle(overwrite=self.settings.load_method == "overwrite")
        self._stages: dict[str, Stage] = {}
        self._taken = self._taken_before = 0
        self._checked_at = time.monotonic()

    @override
    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        # An empty variable, such as a line of a .env that nobody has filled in, is a setting that is not given.
        for name in [name for name, value in self._config.items() if value == ""]:
            del self._config[name]
        absent = [name for name in SCHEMA["required"] if self._config.get(name) is None]
        if absent and raise_errors:
            errors = [
                f"{name} is not set: {self._env_var_prefix}{name.upper()} (or the config's {name}) gives it. {SCHEMA['properties'][name]['description']}"
                " In a Meltano project set it in .env; without a cloud, 'make run' sets it"
                for name in absent
            ]
            raise ConfigValidationError("Config validation failed", errors=errors, schema=SCHEMA)
        return super()._validate_config(raise_errors=raise_errors)

    def stage(self, stream: str) -> Stage:
        """Return the stage of a stream."""
        if stream not in self._stages:
            self._stages[stream] = Stage(stream, self.settings, self._work)
        return self._stages[stream]

    @override
    def _process_schema_message(self, message_dict: dict[str, Any]) -> None:
        self._assert_line_requires(message_dict, requires={"stream", "schema"})
        stream = message_dict["stream"]
        if not isinstance(stream, str) or not stream:
            raise TargetError(f"a SCHEMA of stream {stream!r}: expected a name; look at the tap")
        keys = message_dict.get("key_properties") or []
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise TargetError(
                f"{stream}: key_properties is {keys!r}: expected a list of names; look at the tap"
            )
        schema = root(stream, message_dict["schema"])
        super()._process_schema_message({**message_dict, "schema": schema, "key_properties": keys})
        for stream_map in self.mapper.stream_maps[stream]:
            self._life.schema(
                stream_map.stream_alias,
                source=stream,
                bookmarked=bool(message_dict.get("bookmark_properties")),
            )

    @override
    def _process_record_message(self, message_dict: dict[str, Any]) -> None:
        self._assert_line_requires(message_dict, requires={"stream", "record"})
        stream, record, version = message_dict["stream"], message_dict["record"], message_dict.get("version")
        if version is not None:
            version = self._version(stream, version)
        self._take(stream, record, version, message_dict.get("time_extracted"))

    def _version(self, stream: str, version: Any) -> int | None:  # noqa: ANN401 (a tap's)
        if isinstance(version, bool) or not isinstance(version, int):
            raise TargetError(f"{stream}: a version is {version!r}: expected a whole number; look at the tap")
        return version if self.settings.heed_versions else None

    def _take(self, stream: str, record: Any, version: int | None, extracted: str | None) -> None:  # noqa: ANN401 (a tap's)
        if not isinstance(record, dict):
            raise TargetError(
                f"{stream}: a record is a {type(record).__name__}, {str(record)[:60]!r}: expected an object; look at the tap"
            )
        if stream not in self.mapper.stream_maps:
            self._assert_sink_exists(stream)
        for stream_map in self.mapper.stream_maps[stream]:
            mapped = stream_map.transform(copy.copy(record))
            if mapped is not None:
                alias = stream_map.stream_alias
                self._do(self._life.record(alias, version))
                self._stages[alias].take(cast("dict[str, Any]", mapped), extracted)
        self._taken += 1
        if self._taken % PROGRESS_EVERY == 0:
            self.logger.info("%d records staged so far", self._taken)
        if self._taken % FAILURES_LOOKED_FOR_EVERY == 0:
            self._work.raise_failed()

    @override
    def _process_activate_version_message(self, message_dict: dict[str, Any]) -> None:
        self._assert_line_requires(message_dict, requires={"stream", "version"})
        stream = message_dict["stream"]
        version = self._version(stream, message_dict["version"])
        if stream not in self.mapper.stream_maps:
            self._assert_sink_exists(stream)
        for stream_map in self.mapper.stream_maps[stream]:
            if version is not None and self.sink_exists(stream_map.stream_alias):
                self._do(self._life.activate(stream_map.stream_alias, version))

    @override
    def _process_batch_message(self, message_dict: dict[str, Any]) -> None:
        """Take the records of local JSON lines files.

        Raises:
            TargetError: The files are elsewhere, in another format, or cannot be read.
        """
        self._assert_line_requires(message_dict, requires={"stream", "encoding", "manifest"})
        stream = message_dict["stream"]
        if stream not in self.mapper.stream_maps:
            self._assert_sink_exists(stream)
        version = message_dict.get("version")
        if version is not None:
            version = self._version(stream, version)
        else:
            aliases = [stream_map.stream_alias for stream_map in self.mapper.stream_maps[stream]]
            version = self._life.version_of_batch(aliases[0]) if aliases else None
        for where, record in batches.records(stream, message_dict):
            try:
                self._take(stream, record, version, None)
            except FORESEEN as error:
                raise TargetError(f"{error} (BATCH record {where})") from error

    @override
    def _process_state_message(self, message_dict: dict[str, Any]) -> None:
        self._assert_line_requires(message_dict, requires={"value"})
        value = message_dict["value"]
        if not isinstance(value, dict):
            raise TargetError(f"a STATE is {str(value)[:60]!r}: expected an object; look at the tap")
        self._life.state(value)
        if self._is_checkpoint_due():
            self._checkpoint()

    def _is_checkpoint_due(self) -> bool:
        rows, minutes = self.settings.load_every_rows, self.settings.load_every_minutes
        return (rows is not None and self._taken - self._taken_before >= rows) or (
            minutes is not None and time.monotonic() - self._checked_at >= minutes * 60
        )

    def _checkpoint(self) -> None:
        actions = self._life.checkpoint()
        if actions:
            self._do(actions)
            self._taken_before, self._checked_at = self._taken, time.monotonic()

    @override
    def _handle_max_record_age(self) -> None:
        """STATE goes out when its data is loaded; the SDK would send it after five minutes."""

    def _do(self, actions: Iterable[Action]) -> None:
        """Do what the life of the versions asks for, in order.

        Raises:
            TargetError: A load before a STATE failed.
        """
        for action in actions:
            match action:
                case Begin(stream, version):
                    self._stages[stream].begin(version)
                case Load(stream, _, proof, replication):
                    staged = self._stages[stream].finish(proof, replication)
                    self.get_sink(stream).record_counter_metric.increment(staged.rows)
                    self._work.load(staged)
                case Drop(stream, version, why):
                    stage = self._stages[stream]
                    self.logger.info(
                        "%s: version %s, %d records, is dropped: %s", stream, version, stage.rows, why
                    )
                    stage.drop()
                case Release(state):
                    self._raise_all(self._work.wait())
                    if state:
                        self._let_out(state)

    def _let_out(self, state: dict[str, Any]) -> None:
        try:
            self._write_state_message(state)
        except OSError as error:
            # Python would try once more at its end, and tell of it in a traceback.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise TargetError(
                f"STATE: standard output does not take it: {error.strerror or error}; what it speaks of is loaded: run again with "
                "the same run id"
            ) from error

    @staticmethod
    def _raise_all(failures: list[str]) -> None:
        if failures:
            raise TargetError(" | ".join(failures))

    @override
    def process_endofpipe(self) -> None:
        """Load what is whole, tell the ledger, fail for what is not whole, and only then let STATE out.

        Raises:
            TargetError: A stream is not complete, or a load failed; all of them are told.
        """
        actions, failures = self._life.end()
        last = [action for action in actions if isinstance(action, Release)]
        self._do(action for action in actions if action not in last)
        failures += self._work.wait()
        try:
            if not failures and self._stages:
                self._work.loader.finish_earlier()
        except TargetError as error:
            failures.append(str(error))
        try:
            self._work.tell()
        except TargetError as error:
            failures.append(str(error))
        self._raise_all(list(dict.fromkeys(failures)))
        self._do(last)
        self.close()
        super().process_endofpipe()

    def close(self) -> None:
        """End the threads and remove the parts' folder."""
        self._work.close()

    @classmethod
    @override
    def append_builtin_config(cls, config_jsonschema: dict[str, Any]) -> None:
        super().append_builtin_config(config_jsonschema)
        for name in UNREAD:
            config_jsonschema["properties"].pop(name, None)

    @classmethod
    @override
    def get_singer_command(cls) -> click.Command:
        command = super().get_singer_command()
        command.params.append(
            click.Option(
                ["--check"],
                is_flag=True,
                help="Try what a run does with credentials, dataset, bucket and permissions, and load nothing.",
            )
        )
        return command

    @classmethod
    @override
    def invoke(cls, *, check: bool = False, **kwargs: Any) -> None:
        """Run the target; a failure is one line and exit status 1, and no STATE goes out past what is loaded."""
        config, file_input = kwargs.pop("config"), kwargs.pop("file_input", None)
        # The SDK's own makes the target and keeps it to itself; this one has it to close.
        super(Target, cls).invoke(**kwargs)
        cls.print_version(print_fn=cls.logger.info)
        target: TargetBigQuery | None = None
        try:
            target = cls(config=config.config, validate_config=True, parse_env_config=config.parse_env)
            if check:
                checks.end(well=checks.run(target.settings))
            target.listen(file_input)
        except ConfigValidationError:
            # The SDK's command tells each of its errors in a line.
            raise
        except Exception as error:  # noqa: BLE001 (whatever it is, the run ends in one line, and cleaned up)
            cls._end(target, error)

    @classmethod
    def _end(cls, target: TargetBigQuery | None, error: Exception) -> NoReturn:
        if target is not None:
            # A load job that has begun is waited for, so that its outcome is in the log.
            target.close()
        if cls.logger.isEnabledFor(logging.DEBUG) and not isinstance(error, FORESEEN):
            cls.logger.debug("".join(traceback.format_exception(error)))
        cls.logger.error(one_line(error))
        sys.exit(1)

    @override
    def _handle_termination(self, signum: int, frame: FrameType | None) -> None:
        # The SDK would drain, and so load what is not whole.
        name = signal.Signals(signum).name
        self._work.remove_folder()
        os.write(
            2, f"target-bigquery: ended by {name}; what was not whole is not loaded, no STATE\n".encode()
        )
        os._exit(128 + signum)


def one_line(error: Exception) -> str:
    """Return what ended the run, in one line."""
    text = " ".join(str(error).split())
    if isinstance(error, FORESEEN):
        return text
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"unforeseen {type(error).__name__} at {os.path.basename(frame.filename)}:{frame.lineno}: {text[:300]}; nothing more "  # noqa: PTH119
        "was loaded, no STATE; run again with the same run id, and with TARGET_BIGQUERY_LOG_LEVEL=debug for its traceback"
    )
