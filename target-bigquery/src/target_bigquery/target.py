"""The target: messages to sinks, whole versions to load jobs side by side, STATE last."""

from __future__ import annotations

import copy
import os
import shutil
import signal
import sys
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

import click
from google.auth.exceptions import GoogleAuthError
from google.cloud import (  # type: ignore[attr-defined]  # storage has no types
    bigquery,
    storage,
)
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
from target_bigquery.load import Loader
from target_bigquery.reader import Reader
from target_bigquery.settings import SCHEMA, Settings
from target_bigquery.sink import StreamSink

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from google.cloud.bigquery import SchemaField
    from singer_sdk import Sink

    from target_bigquery.load import Prepared, WholeVersion
    from target_bigquery.parts import Part

LOADED_SIDE_BY_SIDE = 4
UPLOADED_SIDE_BY_SIDE = 4
PROGRESS_EVERY = 100_000


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

    # The SDK makes and runs the target in a class method; this is the one to close when it ends.
    _running: TargetBigQuery | None = None

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401 (the SDK's)
        super().__init__(**kwargs)
        TargetBigQuery._running = self
        self._loads: list[Future[Any]] = []
        self._tables: dict[str, str] = {}
        # Loads wait for uploads, and uploads and loads for preparations: each kind has its own threads.
        self._preparing = ThreadPoolExecutor(LOADED_SIDE_BY_SIDE, thread_name_prefix="prepare")
        self._uploading = ThreadPoolExecutor(UPLOADED_SIDE_BY_SIDE, thread_name_prefix="upload")
        self._loading = ThreadPoolExecutor(LOADED_SIDE_BY_SIDE, thread_name_prefix="load")
        self._taken = 0
        self._bookmarked: set[str] = set()

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

    @cached_property
    def settings(self) -> Settings:
        """The run's settings."""
        return Settings.of(self.config)

    @cached_property
    def folder(self) -> Path:
        """The folder of the parts, removed at the end."""
        return Path(tempfile.mkdtemp(prefix="target-bigquery-"))

    @cached_property
    def loader(self) -> Loader:
        """The loader, on Application Default Credentials.

        Raises:
            TargetError: There are none.
        """
        project = self.settings.project
        try:
            return Loader(self.settings, bigquery.Client(project=project), storage.Client(project=project))
        except GoogleAuthError as error:
            raise TargetError(
                f"no Application Default Credentials: {error}; run 'gcloud auth application-default login', "
                "or run where a service account is attached"
            ) from error

    def bookmarked(self, stream: str) -> bool:
        """Say whether the stream's SCHEMA names bookmark properties."""
        return stream in self._bookmarked

    @override
    def _process_schema_message(self, message_dict: dict[str, Any]) -> None:
        if message_dict.get("bookmark_properties"):
            self._bookmarked.add(message_dict.get("stream", ""))
        super()._process_schema_message(message_dict)

    def prepare(
        self, stream: str, table: str, fields: list[SchemaField], keys: list[str]
    ) -> Future[Prepared]:
        """Starts to make a stream's table ready, and to mend its ledger, beside the reading of its records.

        Raises:
            TargetError: Another stream has that table.
        """
        other = self._tables.setdefault(table.lower(), stream)
        if other != stream:
            raise TargetError(
                f"the streams {other!r} and {stream!r} would both be table {table}; rename one with a stream map"
            )

        def work() -> Prepared:
            return self.loader.prepare(stream, table, fields, keys)

        prepared = self._preparing.submit(work)
        self._loads += [
            prepared,
            self._loading.submit(lambda: self.loader.mend_ledger(stream, table, prepared)),
        ]
        return prepared

    def upload(
        self, stream: str, version: int, number: int, part: Part, prepared: Future[Prepared]
    ) -> Future[str | None]:
        """Starts the upload of a part beside the writing of the next."""
        return self._uploading.submit(lambda: self.loader.upload(stream, version, number, part, prepared))

    def submit(self, version: WholeVersion) -> None:
        """Starts the load of a whole version beside the reading of the next."""
        self._loads.append(self._loading.submit(lambda: self.loader.load(version)))

    @override
    def get_sink(
        self,
        stream_name: str,
        *,
        record: dict[str, Any] | None = None,
        schema: dict[str, Any] | None = None,
        key_properties: Sequence[str] | None = None,
    ) -> Sink:
        before = self._sinks_active.get(stream_name)
        sink = super().get_sink(stream_name, record=record, schema=schema, key_properties=key_properties)
        if before is not None and sink is not before:
            cast("StreamSink", sink).take_over(cast("StreamSink", before))
        return sink

    @override
    def _process_record_message(self, message_dict: dict[str, Any]) -> None:
        self._assert_line_requires(message_dict, requires={"stream", "record"})
        self._take(message_dict["stream"], message_dict["record"], message_dict)

    def _take(self, stream: str, record: dict[str, Any], message: dict[str, Any]) -> None:
        if stream not in self.mapper.stream_maps:
            self._assert_sink_exists(stream)
        for stream_map in self.mapper.stream_maps[stream]:
            mapped = stream_map.transform(copy.copy(record))
            if mapped is not None:
                sink = self.get_sink(stream_map.stream_alias)
                cast("StreamSink", sink).take(cast("dict[str, Any]", mapped), message)
        self._taken += 1
        if self._taken % PROGRESS_EVERY == 0:
            self.logger.info("%d records staged so far", self._taken)
        if self._taken % 1000 == 0:
            self._raise_failed()

    @override
    def _process_activate_version_message(self, message_dict: dict[str, Any]) -> None:
        self._assert_line_requires(message_dict, requires={"stream", "version"})
        stream = message_dict["stream"]
        if stream not in self.mapper.stream_maps:
            self._assert_sink_exists(stream)
        for stream_map in self.mapper.stream_maps[stream]:
            if self.sink_exists(stream_map.stream_alias):
                cast("StreamSink", self.get_sink(stream_map.stream_alias)).activate(message_dict["version"])

    @override
    def _process_batch_message(self, message_dict: dict[str, Any]) -> None:
        """Takes the records of local JSON lines files.

        Raises:
            TargetError: The files are elsewhere, in another format, or cannot be read.
        """
        self._assert_line_requires(message_dict, requires={"stream", "encoding", "manifest"})
        stream = message_dict["stream"]
        if stream not in self.mapper.stream_maps:
            self._assert_sink_exists(stream)
        aliases = [stream_map.stream_alias for stream_map in self.mapper.stream_maps[stream]]
        announced = cast("StreamSink", self.get_sink(aliases[0])).announced if aliases else None
        message = {} if announced is None else {"version": announced}
        for number, record in batches.records(stream, message_dict):
            try:
                self._take(stream, record, message)
            except TargetError as error:
                raise TargetError(f"{error} (BATCH record {number})") from error

    @override
    def _handle_max_record_age(self) -> None:
        """STATE goes out at the end only; the SDK would send it after five minutes, before its data is loaded."""

    @override
    def process_endofpipe(self) -> None:
        """Loads what is whole, fails for what is not, and only then lets STATE out.

        Raises:
            TargetError: A stream is not complete, or a load failed; all of them are told.
        """
        failures: list[str] = []
        for sink in [*self._sinks_to_clear, *self._sinks_active.values()]:
            try:
                cast("StreamSink", sink).end()
            except TargetError as error:
                failures.append(str(error))
        for load in self._loads:
            failed = load.exception()
            if isinstance(failed, TargetError):
                failures.append(str(failed))
            elif failed is not None:
                raise failed
        if failures:
            # Preparation, upload and load of a stream may tell the same failure.
            raise TargetError(" | ".join(dict.fromkeys(failures)))
        self.close()
        super().process_endofpipe()

    def close(self) -> None:
        """Ends the threads and removes the parts' folder."""
        for pool in (self._preparing, self._uploading, self._loading):
            pool.shutdown(wait=True, cancel_futures=True)
        if "folder" in self.__dict__:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _raise_failed(self) -> None:
        for load in self._loads:
            if load.done() and load.exception() is not None:
                load.result()

    @classmethod
    @override
    def get_singer_command(cls) -> click.Command:
        command = super().get_singer_command()
        command.params.append(
            click.Option(
                ["--check"],
                is_flag=True,
                help="Try credentials, dataset, bucket and permissions, and load nothing.",
            )
        )
        return command

    @classmethod
    @override
    def invoke(cls, *, check: bool = False, **kwargs: Any) -> None:
        """Runs the target; a foreseen failure is one line and exit status 1, and no STATE goes out."""
        try:
            if check:
                given = kwargs["config"]
                target = cls(config=given.config, validate_config=True, parse_env_config=given.parse_env)
                sys.exit(0 if checks.run(target.settings) else 1)
            super().invoke(**kwargs)
        except (
            TargetError,
            InvalidInputLine,
            RecordsWithoutSchemaException,
            MissingKeyPropertiesError,
        ) as error:
            cls._end(" ".join(str(error).split()))

    @classmethod
    def _end(cls, message: str) -> NoReturn:
        if cls._running is not None:
            # A load job that has begun is waited for, so that its outcome is in the log.
            cls._running.close()
        cls.logger.error(message)
        sys.exit(1)

    @override
    def _handle_termination(self, signum: int, frame: FrameType | None) -> None:
        # The SDK would drain, and so load what is not whole.
        name = signal.Signals(signum).name
        if "folder" in self.__dict__:
            shutil.rmtree(self.folder, ignore_errors=True)
        os.write(
            2, f"target-bigquery: ended by {name}; what was not whole is not loaded, no STATE\n".encode()
        )
        os._exit(128 + signum)
