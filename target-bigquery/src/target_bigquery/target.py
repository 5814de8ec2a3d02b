"""The target: passes messages to the versions' lifecycle, and carries out its actions; STATE goes out last."""

import json
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, cast

import click
from singer_sdk import Target
from singer_sdk.exceptions import (
    ConfigValidationError,
    MissingKeyPropertiesError,
    RecordsWithoutSchemaException,
)
from singer_sdk.helpers.capabilities import PluginCapabilities
from singer_sdk.mapper import RemoveRecordTransform, StreamMap
from singer_sdk.singerlib.json import serialize_json
from typing_extensions import override

from target_bigquery import checks
from target_bigquery.alternatives import root
from target_bigquery.errors import TargetError
from target_bigquery.lifecycle import Action, Begin, Drop, Lifecycle, Load, Release
from target_bigquery.reader import Reader, batch_records
from target_bigquery.settings import SCHEMA, Settings, invalid_variables
from target_bigquery.signals import repeat_signals
from target_bigquery.stage import Stage, StreamSink
from target_bigquery.values import INT64
from target_bigquery.work import Work

PROGRESS_EVERY = 100_000
FAILURES_CHECKED_EVERY = 1000
EXPECTED_ERRORS = (TargetError, RecordsWithoutSchemaException, MissingKeyPropertiesError)
# What a stream map raises is its expressions' own.
MISMAPPED = "{}: stream_maps or flattening cannot be applied to {}: {}; look at the setting"
# The SDK lists these for every target; this one does not use them.
UNUSED_SETTINGS = ("add_record_metadata", "batch_size_rows")


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
        self.append_builtin_config(self.config_jsonschema)
        wrong = list(invalid_variables(self._env_var_prefix)) if kwargs.get("parse_env_config") else []
        if wrong:
            raise ConfigValidationError("Config validation failed", errors=wrong, schema=SCHEMA)
        super().__init__(**kwargs)
        self.settings = Settings.of(self.config)
        self._work = Work(self.settings)
        self._lifecycle = Lifecycle(overwrite=self.settings.load_method == "overwrite")
        self._stages: dict[str, Stage] = {}
        self._taken = self._taken_before = 0
        self._checked_at = time.monotonic()

    @override
    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        # Null and blank settings count as absent: a line of a .env may not be filled in.
        for name in [name for name, value in self._config.items() if value in (None, "")]:
            del self._config[name]
        # The SDK leaves numbers of the environment as texts.
        for name, value in self._config.items():
            if isinstance(value, str) and "number" in SCHEMA["properties"].get(name, {}).get("type", ()):
                with suppress(ValueError):
                    self._config[name] = float(value)
        absent = [name for name in SCHEMA["required"] if name not in self._config]
        if absent and raise_errors:
            errors = [
                f"{name} is not set: {self._env_var_prefix}{name.upper()} sets it, or {name} in the config. {SCHEMA['properties'][name]['description']}"
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
        stream = _name(message_dict["stream"])
        keys = message_dict.get("key_properties") or []
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise TargetError(
                f"{stream}: key_properties is {keys!r}: expected a list of names; look at the tap"
            )
        schema = root(stream, message_dict["schema"], keys)
        maps = self.mapper.stream_maps.get(stream)
        if not maps or (maps[0].raw_schema, maps[0].raw_key_properties) != (schema, keys):
            try:
                self.mapper.register_raw_stream_schema(stream, schema, keys)
            except Exception as error:
                raise TargetError(MISMAPPED.format(stream, "its schema", error)) from error
        for stream_map in self._maps(stream):
            self.get_sink(
                stream_map.stream_alias,
                schema=stream_map.transformed_schema,
                key_properties=stream_map.transformed_key_properties,
            )
            self._lifecycle.schema(
                stream_map.stream_alias,
                source=stream,
                bookmarked=bool(message_dict.get("bookmark_properties")),
            )

    def _maps(self, stream: str) -> list[StreamMap]:
        """Return what the stream is sent on as: nothing where the stream maps remove it."""
        if _name(stream) not in self.mapper.stream_maps:
            self._assert_sink_exists(stream)
        return [one for one in self.mapper.stream_maps[stream] if not isinstance(one, RemoveRecordTransform)]

    def _version(self, message: dict[str, Any]) -> int | None:
        """Return a message's version, None where it has none or versions are not used."""
        version = message.get("version")
        if version is None:
            return None
        if isinstance(version, bool) or not isinstance(version, int) or version not in INT64:
            raise TargetError(
                f"{message['stream']}: a version is {version!r}: expected a whole number of 64 bits; look at the tap"
            )
        return version if self.settings.process_activate_version_messages else None

    @override
    def _process_record_message(self, message_dict: dict[str, Any]) -> None:
        version, extracted = self._version(message_dict), message_dict.get("time_extracted")
        self._take(message_dict["stream"], message_dict["record"], version, extracted)

    def _take(self, stream: str, record: Any, version: int | None, extracted: str | None) -> None:  # noqa: ANN401 (a tap's)
        if not isinstance(record, dict):
            raise TargetError(
                f"{stream}: a record is a {type(record).__name__}, {str(record)[:60]!r}: expected an object; look at the tap"
            )
        for stream_map in self._maps(stream):
            try:
                mapped = stream_map.transform(record.copy())
            except Exception as error:
                which = f"record number {self._taken + 1} of the input"
                raise TargetError(MISMAPPED.format(stream, which, error)) from error
            if mapped is not None:
                alias = stream_map.stream_alias
                self._do(self._lifecycle.record(alias, version))
                self._stages[alias].take(cast("dict[str, Any]", mapped), extracted)
        self._taken += 1
        if self._taken % PROGRESS_EVERY == 0:
            self.logger.info("%d records staged so far", self._taken)
        if self._taken % FAILURES_CHECKED_EVERY == 0:
            self._work.raise_failed()

    @override
    def _process_activate_version_message(self, message_dict: dict[str, Any]) -> None:
        version = self._version(message_dict)
        for stream_map in self._maps(message_dict["stream"]):
            if version is not None and self.sink_exists(stream_map.stream_alias):
                self._do(self._lifecycle.activate(stream_map.stream_alias, version))

    @override
    def _process_batch_message(self, message_dict: dict[str, Any]) -> None:
        """Take the records of local JSON lines files."""
        stream, maps = message_dict["stream"], self._maps(message_dict["stream"])
        version = self._version(message_dict)
        if message_dict.get("version") is None and maps:
            version = self._lifecycle.version_of_batch(maps[0].stream_alias)
        for where, record in batch_records(stream, message_dict):
            try:
                self._take(stream, record, version, None)
            except EXPECTED_ERRORS as error:
                raise TargetError(f"{error} (BATCH record {where})") from error

    @override
    def _process_state_message(self, message_dict: dict[str, Any]) -> None:
        value = message_dict["value"]
        if not isinstance(value, dict):
            raise TargetError(f"a STATE is {str(value)[:60]!r}: expected an object; look at the tap")
        self._lifecycle.state(value)
        rows, minutes = self.settings.load_every_rows, self.settings.load_every_minutes
        is_due = (rows is not None and self._taken - self._taken_before >= rows) or (
            minutes is not None and time.monotonic() - self._checked_at >= minutes * 60
        )
        if is_due and (actions := self._lifecycle.checkpoint()):
            self._do(actions)
            self._taken_before, self._checked_at = self._taken, time.monotonic()

    @override
    def _handle_max_record_age(self) -> None:
        """Do nothing: STATE goes out when its data is loaded; the SDK would send it after five minutes."""

    def _do(self, actions: Iterable[Action]) -> None:
        """Carry out the lifecycle's actions, in order."""
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
                    if failures := self._work.wait():
                        raise TargetError(" | ".join(failures))
                    if state:
                        self._send(state)

    def _send(self, state: dict[str, Any]) -> None:
        try:
            # With every digit: a bookmark that is rounded up skips records.
            sys.stdout.write(f"{serialize_json(state)}\n")
            sys.stdout.flush()
        except OSError as error:
            _end_output()
            raise TargetError(
                f"STATE cannot be written to standard output: {error.strerror or error}; its data is loaded; run again with "
                "the same run id"
            ) from error

    @override
    def process_endofpipe(self) -> None:
        """Load what is whole and write the ledger; send STATE where everything is loaded."""
        actions, failures = self._lifecycle.end()
        last = [action for action in actions if isinstance(action, Release)]
        self._do(action for action in actions if action not in last)
        failures += self._work.wait()
        try:
            if not failures and self._stages:
                self._work.loader.finish_earlier()
        except TargetError as error:
            failures.append(str(error))
        try:
            self._work.write_ledger()
        except TargetError as error:
            failures.append(str(error))
        if failures:
            raise TargetError(" | ".join(dict.fromkeys(failures)))
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
        for name in UNUSED_SETTINGS:
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

    @classmethod
    @override
    def invoke(cls, *, check: bool = False, **kwargs: Any) -> None:
        """Run the target; a failure is one line and exit status 1, and no STATE goes out past what is loaded."""
        config, file_input = kwargs.pop("config"), kwargs.pop("file_input", None)
        # The SDK's own method creates the target in a local variable; it has to be closed here.
        super(Target, cls).invoke(**kwargs)
        cls.print_version(print_fn=cls.logger.info)
        target: TargetBigQuery | None = None
        try:
            repeat_signals()
            target = cls(config=config.config, validate_config=True, parse_env_config=config.parse_env)
            if check:
                checks.exit_process(passed=checks.run(target.settings))
            target.listen(file_input)
        except ConfigValidationError:
            # The SDK's command line reports each of its errors in a line.
            raise
        except Exception as error:  # noqa: BLE001 (whatever it is, the run ends in one line, and cleaned up)
            cls._exit(target, error)

    @classmethod
    def _exit(cls, target: "TargetBigQuery | None", error: Exception) -> NoReturn:
        if target is not None:
            # Waits for load jobs that have started, so that their outcome is in the log.
            target.close()
        if cls.logger.isEnabledFor(logging.DEBUG) and not isinstance(error, EXPECTED_ERRORS):
            cls.logger.debug("".join(traceback.format_exception(error)))
        cls.logger.error(one_line(error))
        sys.exit(1)

    @override
    def _handle_termination(self, signum: int, frame: FrameType | None) -> None:
        # The SDK would drain its sinks, and so load what is not whole.
        name = signal.Signals(signum).name
        self._work.remove_folder()
        # Whoever read the log may have ended too.
        with suppress(OSError):
            os.write(
                2, f"target-bigquery: ended by {name}; what was not whole is not loaded, no STATE\n".encode()
            )
        os._exit(128 + signum)


def _name(stream: Any) -> str:  # noqa: ANN401 (a tap's)
    """Return a message's stream, which is a name."""
    if not isinstance(stream, str) or not stream:
        raise TargetError(f"a message's stream is {stream!r}: expected a name; look at the tap")
    return stream


def _end_output() -> None:
    """Let nothing more go to standard output, which has failed: Python would try again when it exits, and print a traceback."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> None:
    """Run the command line; an output that takes nothing is one line and exit status 1."""
    if sys.stdout is None:
        sys.exit(
            f"{TargetBigQuery.name}: standard output is closed; nothing was loaded; open it, then run again"
        )
    try:
        try:
            TargetBigQuery.cli()
        finally:
            sys.stdout.flush()
    except OSError as error:
        _end_output()
        sys.exit(
            f"{TargetBigQuery.name}: standard output: {error.strerror or error}; make room where it goes"
        )


def one_line(error: Exception) -> str:
    """Return the error that ended the run, in one line."""
    text = " ".join(str(error).split())
    if isinstance(error, EXPECTED_ERRORS):
        return text
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"unexpected {type(error).__name__} at {os.path.basename(frame.filename)}:{frame.lineno}: {text[:300]}; nothing more "  # noqa: PTH119
        "was loaded, no STATE; run again with the same run id, and with TARGET_BIGQUERY_LOGLEVEL=debug for its traceback"
    )
