"""A stream on its way: records of a version to parts, whole versions to the loader."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import msgspec
from singer_sdk import Sink
from singer_sdk.exceptions import MissingKeyPropertiesError
from typing_extensions import override

from target_bigquery import tables
from target_bigquery.errors import TargetError, ValueRefusedError
from target_bigquery.load import WholeVersion
from target_bigquery.names import LEDGER, clean
from target_bigquery.parts import PartWriter
from target_bigquery.schema import convert_record, metadata_fields, translate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

    from target_bigquery.load import Prepared
    from target_bigquery.parts import Part
    from target_bigquery.target import TargetBigQuery

encoder = msgspec.json.Encoder(decimal_format="number")
# https://cloud.google.com/bigquery/quotas#load_jobs
LONGEST_ROW = 100_000_000


class StreamSink(Sink):
    """Takes a stream's records.

    A version is whole when its ACTIVATE_VERSION comes after its records. A version announced before its records, as
    other taps do, and a stream without versions are whole at the end of input. When the stream's schema changes on the
    way, the SDK makes another sink: it takes over the version in progress, and loads it into the columns of both.
    """

    def __init__(
        self,
        target: TargetBigQuery,
        stream_name: str,
        schema: dict[str, Any],
        key_properties: Sequence[str] | None,
    ) -> None:
        super().__init__(target, stream_name, schema, key_properties)
        self._bigquery_target = target
        self._keys = list(key_properties or ())
        self._columns = translate(stream_name, schema, self._keys)
        self._fields = [*(column.field() for column in self._columns), *metadata_fields()]
        self._required = frozenset(schema.get("required", ()))
        self._incremental = target.bookmarked(stream_name)
        self._table = clean(stream_name)
        if self._table == LEDGER:
            raise TargetError(f"{stream_name}: the ledger has that name; rename the stream with a stream map")
        if target.settings.load_method == "upsert" and not self._keys:
            raise TargetError(
                f"{stream_name}: upsert needs a key, the tap names none; use append-only or overwrite"
            )
        self._version: int | None = None
        self._announced: int | None = None
        self._activated: set[int] = set()
        self._writer: PartWriter | None = None
        self._prepared: Future[Prepared] | None = None
        self._uploads: list[Future[str | None]] = []
        self._started = datetime.now(UTC)
        self._batched_at = self._started.isoformat()
        self._sequence = 0

    def take_over(self, previous: StreamSink) -> None:
        """Goes on where the stream's sink of the schema before stopped.

        Raises:
            TargetError: The version in progress cannot be loaded under both schemas.
        """
        self._announced, self._activated = previous._announced, previous._activated
        if previous._writer is None:
            return
        where = f"{self.stream_name}: the schema changed within a version"
        if self._keys != previous._keys:
            raise TargetError(f"{where}: the key was {previous._keys}, now it is {self._keys}")
        self._fields, _ = tables.merge(previous._fields, self._fields, where)
        self._version, self._writer = previous._version, previous._writer
        self._started, self._batched_at = previous._started, previous._batched_at
        self._sequence, self._uploads = previous._sequence, previous._uploads
        previous._writer = previous._announced = None
        self._writer.closed = self._upload
        self._prepare()

    def take(self, record: dict[str, Any], message: dict[str, Any]) -> None:
        """Takes one record.

        Raises:
            ValueRefusedError: A value does not fit its column.
            MissingKeyPropertiesError: The record lacks a key.
            TargetError: Its version is older than the one in progress, or was whole already.
        """
        version = message.get("version")
        if self._writer is None or version != self._version:
            self._begin(version)
        row = self._row(record)
        now = time.time_ns()
        # Strictly ascending, so that the last record of a key can be told.
        self._sequence = max(self._sequence + 1, now // 1_000_000)
        row["_sdc_extracted_at"] = message.get("time_extracted")
        row["_sdc_received_at"] = datetime.fromtimestamp(now / 1e9, UTC).isoformat()
        row["_sdc_batched_at"] = self._batched_at
        row["_sdc_sequence"] = self._sequence
        row["_sdc_table_version"] = self._number
        row["_sdc_run_id"] = self._bigquery_target.settings.run_id
        line = encoder.encode(row)
        if len(line) > LONGEST_ROW:
            raise ValueRefusedError(
                f"{self.stream_name}: record {self._which(record)}: {len(line)} bytes, BigQuery takes {LONGEST_ROW} a row"
            )
        cast("PartWriter", self._writer).write(line)

    def activate(self, version: int) -> None:
        """Takes the tap's word about a version: whole, where its records came before; else announced."""
        if self._writer is not None and version == self._version:
            self._hand_over("tap")
            self._activated.add(version)
        else:
            self._announced = version

    @property
    def announced(self) -> int | None:
        """The version announced, that is activated before its records."""
        return self._announced

    def end(self) -> None:
        """Ends the stream with the input.

        Raises:
            TargetError: Its version is not whole, or it lacks a version it announced.
        """
        if self._writer is not None:
            if self._version is not None and self._version != self._announced:
                raise TargetError(
                    f"{self.stream_name}: {self._writer.rows} records staged, stream not complete, nothing loaded; "
                    f"expected ACTIVATE_VERSION {self._version} after them; look at the tap's message, then run again"
                )
            self._hand_over("end_of_input")
        elif self._announced is not None and self._announced not in self._activated:
            self._begin(self._announced)
            self._hand_over("end_of_input")

    @property
    def _number(self) -> int:
        return self._version if self._version is not None else int(self._started.timestamp() * 1000)

    def _begin(self, version: int | None) -> None:
        if version in self._activated:
            raise TargetError(
                f"{self.stream_name}: a record of version {version} came after that version was whole"
            )
        if self._writer is not None:
            if version is None or (self._version is not None and version < self._version):
                raise TargetError(
                    f"{self.stream_name}: a record of version {version} came after records of version {self._version}"
                )
            self.logger.info(
                "%s: version %s replaces %s, whose %d records are dropped: it was never whole",
                self.stream_name,
                version,
                self._version,
                self._writer.rows,
            )
            self._writer.abandon()
            for upload in self._uploads:
                upload.cancel()
        self._version = version
        self._started = datetime.now(UTC)
        self._batched_at = self._started.isoformat()
        target = self._bigquery_target
        self._writer = PartWriter(
            target.folder,
            f"{self._table}-{id(self)}-{self._number}",
            target.settings.part_size,
            self._upload,
        )
        self._uploads = []
        if self._prepared is None:
            self._prepare()

    def _prepare(self) -> None:
        self._prepared = self._bigquery_target.prepare(
            self.stream_name, self._table, self._fields, self._key_columns
        )

    @property
    def _key_columns(self) -> list[str]:
        return [column.name for column in self._columns if column.source in self._keys]

    def _upload(self, number: int, part: Part) -> None:
        """Sends a part on its way while the next is written.

        Raises:
            TargetError: One before could not be uploaded.
        """
        for upload in self._uploads:
            if upload.done():
                upload.result()
        self._uploads.append(
            self._bigquery_target.upload(
                self.stream_name, self._number, number, part, cast("Future[Prepared]", self._prepared)
            )
        )

    def _which(self, record: dict[str, Any]) -> str:
        number = cast("PartWriter", self._writer).rows + 1
        return ", ".join(f"{k} {record.get(k)!r}" for k in self._keys) or f"number {number} of its version"

    def _row(self, record: dict[str, Any]) -> dict[str, Any]:
        deleted = record.pop("_sdc_deleted_at", None)
        for name in [n for n in record if n.startswith("_sdc_")]:
            del record[name]
        for key in self._keys:
            if record.get(key) is None:
                raise MissingKeyPropertiesError(
                    f"{self.stream_name}: a record lacks its key {key}; the tap must send it"
                )
        try:
            row = convert_record(self._columns, self._required, record)
        except ValueRefusedError as error:
            raise ValueRefusedError(
                f"{self.stream_name}: record {self._which(record)}: {error}; nothing of it is loaded"
            ) from None
        if deleted is not None:
            row["_sdc_deleted_at"] = deleted
        return row

    def _hand_over(self, proof: str) -> None:
        writer = cast("PartWriter", self._writer)
        # An empty version replaces the table's rows too, and that takes a file.
        parts = writer.close(least=1 if self._bigquery_target.settings.load_method == "overwrite" else 0)
        self.record_counter_metric.increment(writer.rows)
        self._bigquery_target.submit(
            WholeVersion(
                self.stream_name,
                self._table,
                self._number,
                self._fields,
                self._key_columns,
                parts,
                self._uploads,
                writer.rows,
                self._started,
                cast("Future[Prepared]", self._prepared),
                proof,
                "incremental" if self._incremental and self._version is None else "full",
            )
        )
        self._writer = None

    @override
    def process_record(self, record: dict[str, Any], context: dict[str, Any]) -> None:
        raise TargetError("records come through take()")

    @override
    def process_batch(self, context: dict[str, Any]) -> None:
        """Nothing waits in the sink: records are on disk already."""
