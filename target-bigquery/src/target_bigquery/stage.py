"""A stream on its way: its columns, and the records of the version in progress as parts on the local disk."""

import copy
import time
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from google.cloud.bigquery import SchemaField
from singer_sdk import Sink
from singer_sdk.exceptions import MissingKeyPropertiesError
from typing_extensions import override

from target_bigquery import tables
from target_bigquery.errors import TargetError, ValueRefusedError
from target_bigquery.landing import Staged
from target_bigquery.lifecycle import Proof, Replication
from target_bigquery.load import Prepared, Version
from target_bigquery.names import LEDGER, clean
from target_bigquery.parts import Part, PartWriter
from target_bigquery.schema import metadata_fields, translate
from target_bigquery.settings import Settings
from target_bigquery.work import Work

if TYPE_CHECKING:
    # It imports this module.
    from target_bigquery.target import TargetBigQuery

encoder = msgspec.json.Encoder(decimal_format="number")
# https://cloud.google.com/bigquery/quotas#load_jobs
LONGEST_ROW = 100_000_000
# The metadata that comes from the tap; the rest is the target's own.
EXTRACTED_AT = "_sdc_extracted_at"
TAPS_TIMES = (EXTRACTED_AT, "_sdc_deleted_at")


class Stage:
    """Stages a stream's records, one version at a time."""

    def __init__(self, stream: str, settings: Settings, work: Work) -> None:
        self._stream, self._settings, self._work = stream, settings, work
        self._table = clean(stream)
        if not _is_text(stream):
            raise TargetError(
                f"{stream!r}: a stream's name has half of a surrogate pair, which is not a character"
            )
        if self._table.lower() == LEDGER:
            raise TargetError(f"{stream}: this is the ledger's name; rename the stream with a stream map")
        self._keys: list[str] = []
        self._fields: list[SchemaField] = []
        # Columns with values that a FLOAT would round, and the columns that the schemas of the version have named.
        self._wide: set[str] = set()
        self._shapes: list[list[SchemaField]] = []
        self._version: int | None = None
        self._number = 0
        self._writer: PartWriter | None = None
        self._prepared: Future[Prepared] | None = None
        self._uploads: list[Future[Staged | Part]] = []
        self._started = datetime.now(UTC)
        self._batched_at = ""
        self._sequence = 0
        # The last times and their texts: many records share one.
        self._received: tuple[int, str] = (0, "")
        self._last_moment: tuple[Any, str] = (None, "")

    def reshape(self, schema: dict[str, Any], keys: Sequence[str] | None) -> None:
        """Take a schema of the stream; a version in progress is loaded into the columns of both."""
        stream, keys = self._stream, list(keys or ())
        translated = translate(stream, schema, keys, lossy=self._settings.allow_loss, wide=self._wide.add)
        self._key_columns = [column.name for column in translated.columns if column.source in keys]
        if self._settings.load_method == "upsert" and (not keys or len(self._key_columns) < len(set(keys))):
            raise TargetError(
                f"{stream}: upsert needs a key among the schema's properties, and the tap's is {keys}; use append-only or overwrite"
            )
        fields = [*translated.fields(), *metadata_fields()]
        where = f"{stream}: the schema changed within a version"
        if self._writer is not None:
            if keys != self._keys:
                raise TargetError(f"{where}: the key was {self._keys}, now it is {keys}")
            # Nothing is rounded while every integer so far is exact as a FLOAT.
            exact = self._settings.allow_loss or not self._wide
            fields, _ = tables.merge(self._fields, fields, where, lossy=exact)
        self._keys, self._fields, self._translated = keys, fields, translated
        self._shapes.append(translated.fields())
        self._times = [name for name in TAPS_TIMES if name not in keys]
        self._prepared = None
        if self._writer is not None:
            self._prepare()

    @property
    def rows(self) -> int:
        """Records of the version in progress."""
        return self._writer.rows if self._writer else 0

    def begin(self, version: int | None) -> None:
        """Start a version."""
        self._version = version
        self._started = datetime.now(UTC)
        self._batched_at = self._started.isoformat()
        # Versions without a number are numbered by their start; numbers are unique.
        self._number = (
            version if version is not None else max(int(self._started.timestamp() * 1000), self._number + 1)
        )
        self._wide.clear()
        self._shapes = self._shapes[-1:]
        self._uploads = []
        if self._prepared is None:
            self._prepare()
        # Different for each process of a run.
        self._prefix = (
            f"{self._table}/run_id={self._settings.run_id}/{self._number}-{self._settings.process}-"
        )
        self._writer = PartWriter(self._work.folder, self._prefix, self._settings.part_size, self._upload)

    def take(self, record: dict[str, Any], time_extracted: str | None) -> None:
        """Take one record of the version in progress.

        Raises:
            ValueRefusedError: A value does not fit its column.
            MissingKeyPropertiesError: The record has no value for a key.
        """
        writer = self._writer
        assert writer is not None, "a record before its version began"  # noqa: S101 (Lifecycle's order)
        row = self._row(record, time_extracted)
        now = time.time_ns() // 1_000_000
        if now != self._received[0]:
            self._received = now, datetime.fromtimestamp(now / 1000, UTC).isoformat()
        # Strictly ascending, so that upsert finds the last record of a key.
        self._sequence = max(self._sequence + 1, now)
        row["_sdc_received_at"] = self._received[1]
        row["_sdc_batched_at"] = self._batched_at
        row["_sdc_sequence"] = self._sequence
        row["_sdc_table_version"] = self._number
        row["_sdc_run_id"] = self._settings.run_id
        try:
            line = encoder.encode(row)
        except UnicodeEncodeError:
            field = next(name for name, value in row.items() if not _is_text(value))
            raise self._refused(
                record, f"field {field}: half of a surrogate pair, which is not a character"
            ) from None
        if len(line) > LONGEST_ROW:
            raise self._refused(record, f"{len(line)} bytes, BigQuery takes {LONGEST_ROW} per row")
        writer.write(line)

    def drop(self) -> None:
        """Discard the version in progress; the bucket's lifecycle rule deletes its uploaded parts."""
        if self._writer is not None:
            self._writer.abandon()
        for upload in self._uploads:
            upload.cancel()
        self._writer = None

    def finish(self, proof: Proof, replication: Replication) -> Version:
        """End the version in progress, and return it."""
        writer, prepared = self._writer, self._prepared
        assert writer is not None, "the end of a version before its beginning"  # noqa: S101 (Lifecycle's order)
        assert prepared is not None, "a version in progress has its table"  # noqa: S101
        # Replacing the rows by none takes a load job too, and so a part.
        writer.close(least=1 if self._settings.load_method == "overwrite" else 0)
        self._writer = None
        wide = set() if self._settings.allow_loss else self._wide
        return Version(
            stream=self._stream,
            table=self._table,
            number=self._number,
            numbered=self._version is not None,
            prefix=self._prefix,
            fields=self._fields,
            keys=self._key_columns,
            uploads=self._uploads,
            rows=writer.rows,
            started=self._started,
            prepared=prepared,
            method=self._settings.load_method,
            proof=proof,
            replication=replication,
            exact=[one for columns in self._shapes for one in columns if one.name in wide],
        )

    def _prepare(self) -> None:
        self._prepared = self._work.prepare(self._stream, self._table, self._fields, self._key_columns)

    def _upload(self, part: Part) -> None:
        """Start a part's upload."""
        for upload in self._uploads:
            if upload.done():
                upload.result()
        assert self._prepared is not None, "a version in progress has its table"  # noqa: S101
        self._uploads.append(self._work.upload(part, self._prepared))

    def _refused(self, record: dict[str, Any], why: str) -> ValueRefusedError:
        which = ", ".join(f"{key} {record.get(key)!r}" for key in self._keys)
        return ValueRefusedError(
            f"{self._stream}: record {which or f'number {self.rows + 1} of its version'}: {why}; nothing of it is loaded; "
            "correct it at the source, change it with stream_maps, or deselect it"
        )

    def _row(self, record: dict[str, Any], time_extracted: str | None) -> dict[str, Any]:
        for key in self._keys:
            if record.get(key) is None:
                raise MissingKeyPropertiesError(
                    f"{self._stream}: record number {self.rows + 1} of its version lacks its key {key}; the tap must send it"
                )
        try:
            row = self._translated.row(record)
            for name in self._times:
                value = (time_extracted if name == EXTRACTED_AT else None) or record.get(name)
                if value is not None:
                    row[name] = self._moment(name, value)
        except ValueRefusedError as error:
            raise self._refused(record, str(error)) from None
        return row

    def _moment(self, name: str, value: Any) -> Any:  # noqa: ANN401 (a tap's own)
        if value == self._last_moment[0]:
            return self._last_moment[1]
        try:
            checked = self._translated.moment(value)
        except ValueRefusedError as error:
            raise error.under(name) from None
        self._last_moment = value, checked
        return checked


class StreamSink(Sink):
    """A stream under one schema; the SDK makes another one when the schema changes, on the same stage."""

    def __init__(
        self,
        target: "TargetBigQuery",
        stream_name: str,
        schema: dict[str, Any],
        key_properties: Sequence[str] | None,
    ) -> None:
        # The SDK's constructor removes its own metadata from the schema, even a key.
        super().__init__(target, stream_name, copy.deepcopy(schema), key_properties)
        target.stage(stream_name).reshape(schema, key_properties)

    @override
    def get_validator(self) -> None:
        """Return None: the stage checks records against their columns, for schemas of every draft."""

    @override
    def process_record(self, record: dict[str, Any], context: dict[str, Any]) -> None:
        raise TargetError("records go to the stage")

    @override
    def process_batch(self, context: dict[str, Any]) -> None:
        """Do nothing: the records are on disk already."""


def _is_text(value: Any) -> bool:  # noqa: ANN401 (JSON)
    """Return whether all texts in a value are whole characters."""
    try:
        encoder.encode(value)
    except UnicodeEncodeError:
        return False
    return True
