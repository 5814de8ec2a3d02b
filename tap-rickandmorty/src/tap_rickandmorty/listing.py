"""Listings: a resource that is activated only when it was read whole (docs/decisions.md, "Reading by ids")."""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from http import HTTPStatus
from itertools import islice
from typing import Any, ClassVar, cast

import requests
from singer_sdk import Tap
from singer_sdk.exceptions import FatalAPIError
from singer_sdk.helpers.types import Context
from singer_sdk.streams.rest import HTTPRequest, PageContext
from typing_extensions import override

from tap_rickandmorty.client import ApiStream, decoded, excerpt
from tap_rickandmorty.drift import Metric, log_count
from tap_rickandmorty.errors import ApiError, CollapsedError, IncompleteError
from tap_rickandmorty.reading import NOTHING_HERE, PageToken, Reading, Records, RefusedError, parse_page
from tap_rickandmorty.session import FIRST_PAUSE, REFUSALS, Address, Answer, Session

MOST_HELD = 5_000  # records kept until their listing is whole; above, they are sent as they come
TRIES_BY_IDS = 2


class ListingStream(ApiStream):
    """A resource of the API as a FULL_TABLE stream: ACTIVATE_VERSION follows a listing that was read whole, and no other."""

    primary_keys: ClassVar[tuple[str, ...]] = ("id",)
    # The API has no change date (`created` never changes), so there is nothing to replicate by.
    replication_key = None

    def __init__(self, tap: Tap, address: Address, session: Session) -> None:
        super().__init__(tap, address, session)
        self._reading: Reading
        self._records: Records = []
        self._begun: tuple[Iterator[Records], Future[list[Records]]] | None = None

    @override
    def get_new_paginator(self) -> Reading:
        return self._reading

    @override
    def get_http_request(self, *, page: PageContext[PageToken]) -> HTTPRequest:
        request, token = super().get_http_request(page=page), cast("PageToken", page.next_page_token)
        if token.ids:
            request.url += f"/{token.ids}"
        elif token.page > 1:
            request.params["page"] = token.page
        if token.fresh:
            request.headers["Cache-Control"] = "no-cache"
        return request

    @override
    def tries(self, status: int | None) -> int:
        # An address that names ids is usually refused for its length: pages are read instead of trying again.
        by_ids = self._reading.current_value.ids and status not in REFUSALS
        return TRIES_BY_IDS if by_ids else super().tries(status)

    @override
    def validate_response(self, response: requests.Response) -> None:
        answer, token = cast("Answer", response), self._reading.current_value
        empty = f'"{NOTHING_HERE}"'.encode() in answer.content and not token.ids
        if answer.status_code == HTTPStatus.NOT_FOUND and empty:
            answer.document = decoded(answer)
        else:
            super().validate_response(answer)
        try:
            page = parse_page(answer.document, by_ids=bool(token.ids))
        except (KeyError, TypeError, AttributeError, OverflowError):
            raise FatalAPIError(
                "expected info.count, info.pages and results with whole-number ids, "
                f"got {excerpt(answer.content)}"
            ) from None
        page.size = len(answer.content)
        self._reading.page, self._records = page, page.records if token.emits else []
        page.records, answer.document, answer.content = [], None, b""

    @override
    def parse_response(self, response: requests.Response) -> Iterable[Any]:
        """Yield the records of an answer as one list."""
        yield self._records

    @override
    def get_records(self, context: Context | None) -> Iterable[dict[str, Any]]:
        """Yield every record of the listing, ascending by id.

        Raises:
            IncompleteError: The answers of every reading contradict each other.
            CollapsedError: The listing is empty or has shrunk too far.
            ApiError: A page could not be read.
        """
        attempts, attempt, by_ids = int(self.config["listing_attempts"]), 1, True
        while True:
            batches = self._batches(fresh=attempt > 1, by_ids=by_ids)
            try:
                for batch in batches:
                    batch.reverse()
                    while batch:
                        yield batch.pop()
                break
            except (RefusedError, ApiError) as refusal:
                by_ids = bool(self._reading.current_value.ids)
                if isinstance(refusal, ApiError) and (
                    not by_ids or refusal.status == HTTPStatus.TOO_MANY_REQUESTS
                ):
                    raise
                self.logger.warning(
                    "%s: cannot be read by ids (%s); reading pages instead", self.name, refusal
                )
                by_ids = False
            except IncompleteError as error:
                if isinstance(error, CollapsedError) and attempt > 1:
                    raise self._collapsed(error) from error
                if attempt >= attempts:
                    raise IncompleteError(
                        f"{self.name}: the listing changed while it was read, {attempts} times: {error}; "
                        "its version is not activated, so nothing of it counts; run again later"
                    ) from error
                attempt, by_ids = attempt + 1, by_ids and attempt < TRIES_BY_IDS
                self.logger.warning(
                    "%s: the listing changed while it was read (%s); reading it again, attempt %d of %d",
                    self.name,
                    error,
                    attempt,
                    attempts,
                )
                time.sleep(FIRST_PAUSE)
        self.finish()

    def _batches(self, *, fresh: bool, by_ids: bool) -> Iterator[Records]:
        """Yield a reading's records: held until it is whole, or, where it is too large for that, answer by answer."""
        if self._begun is None:
            self.begin(fresh=fresh, by_ids=by_ids)
        (answers, future), self._begun = cast("Any", self._begun), None
        if self.ABORT_AT_RECORD_COUNT is None:
            streams = list(self.tap.streams.values())
            following = [s for s in streams[streams.index(self) + 1 :] if isinstance(s, ListingStream)]
            for stream in [s for s in following if s.selected][: self.config["concurrency"] - 1]:
                stream.begin()
        held = future.result()
        self.begin_version()
        while held:
            # The next answer is read while this one is sent.
            future = self._session.pool.submit(list, islice(answers, 1))
            yield from held
            held = future.result()

    def begin(self, *, fresh: bool = False, by_ids: bool = True) -> None:
        """Start a reading that get_records continues: all of it, or page 1 where it is too large to be held."""
        if self._begun is None:
            self._reading = reading = Reading(self._fewest, fresh=fresh, by_ids=by_ids)
            answers = cast("Iterator[Records]", iter(self.request_records(None)))

            def first() -> list[Records]:
                begun = list(islice(answers, 1))
                return begun if reading.page.count > MOST_HELD else begun + list(answers)

            self._begun = answers, self._session.pool.submit(first)

    @property
    def source(self) -> str:
        """The name of the data's source: counts are compared within one source only."""
        return str(self.config.get("source") or self.address.base)

    @property
    def _last_count(self) -> int | None:
        """The count of the last whole reading of this source, None where none is known."""
        kept = self.stream_state
        count = kept.get("complete_count") if kept.get("source", self.source) == self.source else None
        return None if count is None else int(count)

    @property
    def _fewest(self) -> int:
        stays = 100 - int(self.config["max_shrink_percent"])
        return min(stays, 1) if self._last_count is None else -(-self._last_count * stays // 100)

    def _collapsed(self, error: CollapsedError) -> CollapsedError:
        count = self._last_count
        before = "no earlier reading is known" if count is None else f"{count} records when it was last whole"
        return CollapsedError(
            f"{self.name}: {error}, also when asked past the caches ({before}, source {self.source}); look at the "
            f"source, and where this is right, set max_shrink_percent (now {self.config['max_shrink_percent']}) to "
            "the share that may vanish, 100 for all"
        )

    @override
    def finish(self) -> None:
        """Record that the stream was read whole: in the log, as a METRIC, in STATE for the next run, and for the target."""
        count = self._reading.total or 0
        way = "ids" if self._reading.by_ids else "pages"
        self.logger.info("%s: %d records, whole, read by %s", self.name, count, way)
        log_count(Metric.SOURCE_RECORD_COUNT, count, {"stream": self.name})
        self.stream_state.update(complete_count=count, source=self.source)
        super().finish()
