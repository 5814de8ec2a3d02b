"""The three streams: a listing of the API each, read whole, or not said to be whole."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import cached_property
from importlib.resources import files
from typing import TYPE_CHECKING, Any, ClassVar, cast

import msgspec
from singer_sdk import Stream
from singer_sdk.helpers.conform import TypeConformanceLevel
from singer_sdk.singerlib import RecordMessage
from typing_extensions import override

from tap_rickandmorty.drift import KINDS, Drift
from tap_rickandmorty.errors import IncompleteError, TapError
from tap_rickandmorty.listing import ListingChangedError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from singer_sdk import Tap
    from singer_sdk.helpers.types import Context

    from tap_rickandmorty.listing import Listings
    from tap_rickandmorty.writer import Writer

SECONDS_BETWEEN_PROGRESS = 10.0


class ListingStream(Stream):
    """A resource of the API as a FULL_TABLE stream.

    Every attempt at a listing is a version of its own. ACTIVATE_VERSION goes out after the last record, and only
    when the records equal the API's `info.count`: it is the tap's word that this version is whole.
    """

    resource: ClassVar[str]
    primary_keys: ClassVar[list[str]] = ["id"]
    # The API has no change date (`created` never changes), so there is nothing to replicate by.
    replication_key = None
    # The drift check has seen every value; conformance would check them again, and drop fields in silence.
    TYPE_CONFORMANCE_LEVEL = TypeConformanceLevel.NONE

    def __init__(self, tap: Tap, listings: Listings) -> None:
        schema = msgspec.json.decode(
            (files("tap_rickandmorty") / "schemas" / f"{self.name}.json").read_bytes()
        )
        super().__init__(tap, schema=schema)
        self._listings = listings
        self._writes_messages = True

    @property
    def _writer(self) -> Writer:
        return cast("Writer", self._tap.message_writer)

    @property
    @override
    def emit_activate_version_messages(self) -> bool:
        # The SDK would send ACTIVATE_VERSION before the first record.
        return False

    @cached_property
    def drift(self) -> Drift:
        """The check of each record against the schema."""
        policies = {kind: self.config.get(f"drift_{kind}", default) for kind, default in KINDS.items()}
        return Drift(self.name, self.schema, policies)

    @override
    def _sync_records(
        self, context: Context | None = None, *, write_messages: bool = True
    ) -> Generator[dict[str, Any], Any, Any]:
        self._writes_messages = write_messages
        try:
            yield from super()._sync_records(context, write_messages=write_messages)
        except TapError:
            # The target still gets what came before the failure, and can say what is not complete.
            self._writer.flush()
            raise

    @override
    def get_records(self, context: Context | None) -> Iterable[dict[str, Any]]:
        """Yields every record of the listing, ascending by id.

        Raises:
            IncompleteError: Every attempt found pages that do not fit together.
            ApiError: A page could not be read.
            DriftError: A record drifted in a way whose policy is `fail`.
        """
        attempts: int = self.config["listing_attempts"]
        for attempt in range(1, attempts + 1):
            self._stream_version = max(time.time_ns() // 1_000_000, (self._stream_version or 0) + 1)
            try:
                yield from self._listing(fresh=attempt > 1)
            except ListingChangedError as change:
                if attempt == attempts:
                    raise IncompleteError(
                        f"{self.name}: the listing changed while it was read, {attempts} times: {change}; "
                        "the version is not said to be whole, so nothing of it counts; run again later"
                    ) from change
                self.logger.warning(
                    "%s: the listing changed while it was read (%s); reading it again, attempt %d of %d",
                    self.name,
                    change,
                    attempt + 1,
                    attempts,
                )
            else:
                if self.selected and self._writes_messages:
                    self._write_activate_version_message(self._stream_version)
                return

    @cached_property
    def _all_selected(self) -> bool:
        return all(self.mask.values())

    @override
    def _generate_record_messages(self, record: dict[str, Any]) -> Generator[RecordMessage, None, None]:
        if not self._all_selected:
            yield from super()._generate_record_messages(record)
            return
        # The SDK walks through every field for what is deselected, and copies; here nothing is.
        now = datetime.now(UTC)
        for stream_map in self.stream_maps:
            mapped = stream_map.transform(record)
            if mapped is not None:
                yield RecordMessage(
                    stream=stream_map.stream_alias,
                    record=mapped,
                    version=self._stream_version,
                    time_extracted=now,
                )

    @property
    def _upcoming(self) -> list[str]:
        """The resources that the tap reads after this one; none where it reads a sample only."""
        if not self._writes_messages:
            return []
        streams = [cast("ListingStream", stream) for stream in self._tap.streams.values()]
        later = streams[streams.index(self) + 1 :]
        return [stream.resource for stream in later if stream.selected]

    def _listing(self, *, fresh: bool) -> Iterable[dict[str, Any]]:
        began = told = time.monotonic()
        records = pages = count = 0
        for page in self._listings.read(
            self.resource, upcoming=self._upcoming, idle=self._writer.flush, fresh=fresh
        ):
            pages, count = pages + 1, page.count
            for record in page.records:
                self.drift.check(record)
                yield record
            records += len(page.records)
            if time.monotonic() - told > SECONDS_BETWEEN_PROGRESS:
                told = time.monotonic()
                self.logger.info("%s: %d of %d records so far", self.name, records, count)
        self.drift.report()
        self.logger.info(
            "%s: %d of %d records, %d pages, %.1f s",
            self.name,
            records,
            count,
            pages,
            time.monotonic() - began,
        )


class CharactersStream(ListingStream):
    """The characters of the show: one record each."""

    name = "characters"
    resource = "character"


class EpisodesStream(ListingStream):
    """The episodes of the show: one record each."""

    name = "episodes"
    resource = "episode"


class LocationsStream(ListingStream):
    """The places of the show: one record each."""

    name = "locations"
    resource = "location"


STREAMS: list[type[ListingStream]] = [CharactersStream, EpisodesStream, LocationsStream]
