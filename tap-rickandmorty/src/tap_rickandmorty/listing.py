"""Listings: a resource read whole, or not said to be whole. docs/decisions/0008-reading-by-ids.md says what is proved.

Page 1 tells the count; then one address names every id up to it and a margin, so that all records come from one
query. Where the API refuses such addresses, pages are read, twice. The SDK drives both: each way is a paginator.
"""

from __future__ import annotations

import time
from array import array
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, ClassVar, cast

from singer_sdk.exceptions import FatalAPIError, RetriableAPIError
from singer_sdk.pagination import BaseAPIPaginator
from typing_extensions import override

from tap_rickandmorty.client import ApiStream, beginning, payload
from tap_rickandmorty.drift import Metric, log_count
from tap_rickandmorty.errors import ApiError, CollapsedError, IncompleteError, TapError
from tap_rickandmorty.session import FIRST_PAUSE, REFUSALS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from concurrent.futures import Future, ThreadPoolExecutor

    import requests
    from singer_sdk import Tap
    from singer_sdk.helpers.types import Context
    from singer_sdk.streams.rest import HTTPRequest, PageContext

    from tap_rickandmorty.session import Address, Session

PAGE = 20
NOTHING_HERE = "There is nothing here"
LONGEST_IDS = 6_000  # characters of an address; the makers' program takes 12 KB, others 8
MOST_HELD = 5_000  # records kept until their listing is whole; above, they are sent as they come
AHEAD = 1_000  # records read while as many are sent
TRIES_BY_IDS = 2
SPARSEST = 10  # ids for each record; beyond, pages are fewer requests


class MisfitError(Exception):
    """The answers of one reading do not fit together: they are of different ages, or records came or went."""


class CollapseError(MisfitError):
    """The listing is empty, or has shrunk beyond what may vanish."""


class RefusedError(Exception):
    """The listing cannot be read by ids."""


@dataclass(frozen=True)
class Ask:
    """A request: of a page, or of records by their ids.

    Attributes:
        emits: Its records are the listing's.
        fresh: Ask the caches on the way for a new answer.
        reading: Which reading of the pages it belongs to.
    """

    page: int = 1
    ids: str = ""
    emits: bool = False
    fresh: bool = False
    reading: int = 1


@dataclass
class Page:
    """A page of a listing, or the records asked for by ids (then without count)."""

    records: list[dict[str, Any]]
    count: int = 0
    pages: int = 0

    @property
    def ids(self) -> list[int]:
        """The ids of the records, in their order."""
        return [record["id"] for record in self.records]


@dataclass
class Reading:
    """One reading of a listing: which requests it takes, and whether their answers fit together.

    Attributes:
        fewest: The listing has collapsed where the API counts fewer.
        fresh: Ask the caches on the way for new answers.
        count: The API's own count; None until page 1 has come.
    """

    fewest: int
    fresh: bool
    by_ids: bool
    count: int | None = None
    _ids: array[int] = field(default_factory=lambda: array("q"))

    def asks(self) -> Generator[Ask, Page, None]:
        """Yield each request, and take its answer.

        Raises:
            MisfitError: The answers do not fit together.
            RefusedError: The ids are too far apart to be asked for.
        """
        return self._by_ids() if self.by_ids else self._by_pages()

    def _first(self, page: Page) -> None:
        self.count = page.count
        if page.count < self.fewest:
            raise CollapseError(f"the API serves {page.count} records, at least {self.fewest} were expected")

    def _by_ids(self) -> Generator[Ask, Page, None]:
        page = yield Ask(fresh=self.fresh)
        self._first(page)
        if not page.count:
            return
        low = min([1, *page.ids[:1]])
        top, last = page.count + max(100, page.count // 50), page.pages
        cut = _ids_address(low, top)[0][-1] < top
        if self.fresh or cut:
            page = yield Ask(page=last, fresh=True, reading=2)
            if not page.records:
                raise MisfitError(f"page 1 tells of {last} pages, and page {last} has no records")
            top = max(top, page.ids[-1] + 100)
            if top > SPARSEST * page.count + 1_000:
                raise RefusedError(f"ids up to {page.ids[-1]} for {page.count} records")
        while low <= top:
            ids, address = _ids_address(low, top)
            found = yield Ask(ids=address, emits=True, fresh=self.fresh)
            self._take(found.ids, low, ids[-1])
            low = ids[-1] + 1
        if cut:
            page = yield Ask(page=last, fresh=True, reading=3)
            if page.ids[-1:] != self._ids[-1:].tolist():
                raise MisfitError(
                    f"the last id read is {self._ids[-1:].tolist()}, and is now {page.ids[-1:]}"
                )
        self.count = page.count
        self._agree()

    def _by_pages(self) -> Generator[Ask, Page, None]:
        before: array[int] | None = None
        for reading in (1, 2):
            page = first = yield Ask(emits=reading == 1, fresh=self.fresh or reading > 1, reading=reading)
            self._first(first)
            self._take(page.ids)
            for number in range(2, first.pages + 1):
                page = yield Ask(number, emits=reading == 1, fresh=self.fresh or reading > 1, reading=reading)
                if (page.count, page.pages) != (first.count, first.pages):
                    raise MisfitError(
                        f"page 1 counts {first.count} records on {first.pages} pages, "
                        f"page {number} counts {page.count} on {page.pages}"
                    )
                self._take(page.ids)
            self._agree()
            if before is not None and before != self._ids:
                raise MisfitError("the pages held other records when they were read again")
            before, self._ids = self._ids, array("q")

    def _take(self, ids: list[int], low: int | None = None, high: int | None = None) -> None:
        for number in ids:
            if self._ids and number <= self._ids[-1]:
                raise MisfitError(f"id {number} comes after id {self._ids[-1]}")
            if low is not None and high is not None and not low <= number <= high:
                raise MisfitError(f"ids {low} to {high} were asked for, and id {number} came")
            self._ids.append(number)

    def _agree(self) -> None:
        if len(self._ids) != self.count:
            raise MisfitError(f"{len(self._ids)} records came, but the API counts {self.count}")


def _ids_address(low: int, top: int) -> tuple[range, str]:
    """Return as many ids from `low` to `top` as one address may name, and how it names them; always two or more."""
    most = max(2, LONGEST_IDS // (len(str(top)) + 1))
    ids = range(low, max(low + 2, min(top + 1, low + most)))
    return ids, ",".join(map(str, ids))


class Paginator(BaseAPIPaginator[Ask]):
    """Lets the SDK's loop make the requests of a reading."""

    def __init__(self, reading: Reading) -> None:
        self._asks = reading.asks()
        super().__init__(next(self._asks))

    @override
    def get_next(self, response: requests.Response) -> Ask | None:
        try:
            return self._asks.send(page_of(response))
        except StopIteration:
            return None

    @override
    def continue_if_empty(self, response: requests.Response) -> bool:
        return True


class ReadAhead:
    """Reads records in a thread, so many at a time, while those before are used."""

    def __init__(self, pool: ThreadPoolExecutor, records: Iterator[dict[str, Any]]) -> None:
        self._next: Callable[[], Future[list[dict[str, Any]]]] = lambda: pool.submit(
            lambda: list(islice(records, AHEAD))
        )
        self._waiting = self._next()

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        """Yield records; none is kept."""
        while batch := self._waiting.result():
            self._waiting = self._next()
            yield batch


def page_of(response: requests.Response) -> Page:
    """Return the page, or the records, that an answer holds.

    Raises:
        FatalAPIError: It is no listing, and no list of records with whole-number ids.
    """
    kept = vars(response)
    if "page" not in kept:
        try:
            kept["page"] = _page(payload(response))
        except (KeyError, TypeError, AttributeError):
            raise FatalAPIError(
                "expected info.count, info.pages and results with whole-number ids, "
                f"got {beginning(response.content)}"
            ) from None
    return cast("Page", kept["page"])


def _page(said: Any) -> Page:  # noqa: ANN401 (JSON)
    if isinstance(said, list):
        return Page(sorted(said, key=_whole_id))
    if said.get("error") == NOTHING_HERE:
        return Page([])
    info, records = said["info"], said["results"]
    for record in records:
        _whole_id(record)
    if info["count"] is None and not records:
        return Page([])
    pages = info.get("pages")
    return Page(records, _whole(info["count"]), -(-info["count"] // PAGE) if pages is None else _whole(pages))


def _whole_id(record: dict[str, Any]) -> int:
    return _whole(record["id"])


def _whole(number: Any) -> int:  # noqa: ANN401 (JSON)
    if type(number) is not int:
        raise TypeError(number)
    return number


def _says_nothing_here(response: requests.Response) -> bool:
    with suppress(RetriableAPIError):
        said = payload(response)
        return isinstance(said, dict) and said.get("error") == NOTHING_HERE
    return False


class ListingStream(ApiStream):
    """A resource of the API as a FULL_TABLE stream.

    ACTIVATE_VERSION goes out after the last record, and only when the listing was read whole: it is the tap's word.
    """

    primary_keys: ClassVar[tuple[str, ...]] = ("id",)
    # The API has no change date (`created` never changes), so there is nothing to replicate by.
    replication_key = None

    def __init__(self, tap: Tap, address: Address, session: Session, pool: ThreadPoolExecutor) -> None:
        super().__init__(tap, address, session)
        self._pool = pool
        self._reading: Reading
        self._ask = Ask()
        self._begun: ReadAhead | None = None

    @override
    def get_new_paginator(self) -> Paginator:
        return Paginator(self._reading)

    @override
    def get_http_request(self, *, page: PageContext[Ask]) -> HTTPRequest:
        request, ask = super().get_http_request(page=page), page.next_page_token
        self._ask = cast("Ask", ask)
        if self._ask.ids:
            request.url += f"/{self._ask.ids}"
        elif self._ask.page > 1:
            request.params["page"] = self._ask.page
        if self._ask.fresh:
            request.headers["Cache-Control"] = "no-cache"
        return request

    @override
    def tries(self, status: int | None) -> int:
        # What the API says to an address by ids is the address's fault as a rule, and pages are read instead.
        return TRIES_BY_IDS if self._ask.ids and status not in REFUSALS else super().tries(status)

    @override
    def validate_response(self, response: requests.Response) -> None:
        if response.status_code != HTTPStatus.NOT_FOUND or self._ask.ids or not _says_nothing_here(response):
            super().validate_response(response)
        page_of(response)

    @override
    def parse_response(self, response: requests.Response) -> Iterable[dict[str, Any]]:
        return page_of(response).records if self._ask.emits else ()

    @override
    def get_records(self, context: Context | None) -> Iterable[dict[str, Any]]:
        """Yield every record of the listing, ascending by id.

        Raises:
            IncompleteError: Every reading found answers that do not fit together.
            CollapsedError: The listing is empty or has shrunk too far.
            ApiError: A page could not be read.
            DriftError: A record drifted in a way whose policy is `fail`.
        """
        attempts, attempt, by_ids = int(self.config["listing_attempts"]), 1, True
        while True:
            ahead = self._begin(fresh=attempt > 1, by_ids=by_ids)
            self._begin_others()
            try:
                yield from self._records(ahead)
                break
            except (RefusedError, ApiError) as refusal:
                if isinstance(refusal, ApiError) and (not self._ask.ids or refusal.status == 429):  # noqa: PLR2004
                    raise
                self.logger.warning(
                    "%s: not to be read by ids (%s); reading pages instead", self.name, refusal
                )
                by_ids = False
            except MisfitError as misfit:
                if isinstance(misfit, CollapseError) and attempt > 1:
                    raise self._collapsed(misfit) from misfit
                if attempt >= attempts:
                    raise IncompleteError(
                        f"{self.name}: the listing changed while it was read, {attempts} times: {misfit}; "
                        "the version is not said to be whole, so nothing of it counts; run again later"
                    ) from misfit
                self.logger.warning(
                    "%s: the listing changed while it was read (%s); reading it again, attempt %d of %d",
                    self.name,
                    misfit,
                    attempt + 1,
                    attempts,
                )
                attempt, by_ids = attempt + 1, by_ids and attempt < TRIES_BY_IDS
                time.sleep(FIRST_PAUSE)
        self._finish()

    def _records(self, ahead: ReadAhead) -> Iterator[dict[str, Any]]:
        """Yield a reading's records: once it is whole, or, where it is too large to be held, as they come."""
        batches = iter(ahead)
        records: Iterable[dict[str, Any]] = next(batches, [])
        if (self._reading.count or 0) <= MOST_HELD:
            records = list(chain(records, *batches))
            batches = iter(())
        if self.replication_method == "FULL_TABLE":
            self._stream_version = max(time.time_ns() // 1_000_000, (self._stream_version or 0) + 1)
        try:
            yield from chain(records, chain.from_iterable(batches))
        except TapError:
            self._flush()
            raise

    def begin(self) -> None:
        """Start the first reading, for the stream itself to go on with."""
        self._begun = self._begin()

    def _begin(self, *, fresh: bool = False, by_ids: bool = True) -> ReadAhead:
        """Start a reading, or return the one that an earlier stream has started."""
        begun, self._begun = self._begun, None
        if begun is None:
            self._reading = Reading(self._fewest, fresh, by_ids)
            begun = ReadAhead(self._pool, iter(self.request_records(None)))
        return begun

    def _begin_others(self) -> None:
        """Start the reading of the streams that follow, as far as there are connections for them."""
        if self.ABORT_AT_RECORD_COUNT is not None:
            return
        streams = list(self._tap.streams.values())
        later = [s for s in streams[streams.index(self) + 1 :] if isinstance(s, ListingStream) and s.selected]
        for stream in later[: self.config["concurrency"] - 1]:
            stream.begin()

    @property
    def _past(self) -> int | None:
        """The count of the last whole reading of this source, None where none is known."""
        kept = self.stream_state
        past = kept.get("complete_count") if kept.get("source") == self.source else None
        return past if isinstance(past, int) else None

    @property
    def _fewest(self) -> int:
        stays = 100 - int(self.config["max_shrink_percent"])
        return min(stays, 1) if self._past is None else -(-self._past * stays // 100)

    def _collapsed(self, misfit: MisfitError) -> CollapsedError:
        past = self._past
        before = "no earlier reading is known" if past is None else f"{past} records when it was last whole"
        return CollapsedError(
            f"{self.name}: {misfit}, also when asked past the caches ({before}, source {self.source}); look at the "
            f"source, and where this is right, set max_shrink_percent (now {self.config['max_shrink_percent']}) to "
            "the share that may vanish, 100 for all"
        )

    def _finish(self) -> None:
        """Say that the stream is whole: in the log, as a METRIC, in STATE for the next run, and to the target."""
        count = self._reading.count or 0
        self.drift.report()
        self.logger.info(
            "%s: %d records, whole, read by %s", self.name, count, "ids" if self._reading.by_ids else "pages"
        )
        log_count(Metric.SOURCE_RECORD_COUNT, count, {"stream": self.name})
        self.stream_state.update(complete_count=count, source=self.source)
        if self.selected and self.replication_method == "FULL_TABLE":
            self._write_activate_version_message(cast("int", self._stream_version))
