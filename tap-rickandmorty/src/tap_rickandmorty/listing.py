"""Listings: a resource read whole, or not said to be whole. docs/decisions/0008-reading-by-ids.md says what is proved.

Page 1 tells the count; then one address names every id up to it and a margin, so that all records come from one
query. Where the API refuses such addresses, pages are read, twice. The SDK drives both: a reading is its paginator.
"""

from __future__ import annotations

import hashlib
import time
from array import array
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, cast

from singer_sdk.exceptions import FatalAPIError
from singer_sdk.pagination import BaseAPIPaginator
from typing_extensions import override

from tap_rickandmorty.client import ApiStream, beginning, decoded
from tap_rickandmorty.drift import Metric, log_count
from tap_rickandmorty.errors import ApiError, CollapsedError, IncompleteError
from tap_rickandmorty.session import FIRST_PAUSE, REFUSALS

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from concurrent.futures import Future

    import requests
    from singer_sdk import Tap
    from singer_sdk.helpers.types import Context
    from singer_sdk.streams.rest import HTTPRequest, PageContext

    from tap_rickandmorty.session import Address, Session

    Records = list[dict[str, Any]]

PAGE = 20
NOTHING_HERE = "There is nothing here"
LONGEST_IDS = 6_000  # characters of an address; the makers' program takes 12 KB, others 8
LARGEST_ANSWER = 1 << 20  # bytes that one address of a listing that takes several should ask for
MOST_HELD = 5_000  # records kept until their listing is whole; above, they are sent as they come
TRIES_BY_IDS = 2
SPARSEST = 10  # ids for each record; beyond, pages are fewer requests


class MisfitError(Exception):
    """The answers of one reading do not fit together: they are of different ages, or records came or went."""


class CollapseError(MisfitError):
    """The listing is empty, or has shrunk beyond what may vanish."""


class RefusedError(Exception):
    """The listing cannot be read by ids."""


@dataclass(eq=False)
class Ask:
    """A request: of a page, or of records by their ids.

    Attributes:
        emits: Its records are the listing's.
        fresh: Ask the caches on the way for a new answer.
    """

    page: int = 1
    ids: str = ""
    emits: bool = False
    fresh: bool = False


@dataclass
class Page:
    """A page of a listing, or the records asked for by ids (then without count).

    Attributes:
        size: Bytes of the answer.
    """

    records: Records
    count: int = 0
    pages: int = 0
    size: int = 0

    def __post_init__(self) -> None:
        self.ids = array("q", [record["id"] for record in self.records])


class Reading(BaseAPIPaginator[Ask]):
    """One reading of a listing: which requests it takes, and whether their answers fit together.

    Args:
        fewest: The listing has collapsed where the API counts fewer.
        fresh: Ask the caches on the way for new answers.
        by_ids: By ids, or by pages.

    Attributes:
        total: The API's own count; None until page 1 has come.
        page: The last answer.
    """

    def __init__(self, fewest: int, *, fresh: bool, by_ids: bool) -> None:
        self.by_ids = by_ids
        self.total: int | None = None
        self.page = Page([])
        self._fewest, self._fresh = fewest, fresh
        self._count, self._digest = 0, hashlib.sha256()
        self._last: int | None = None
        self._asks = self._by_ids() if by_ids else self._by_pages()
        super().__init__(next(self._asks))

    @override
    def get_next(self, response: requests.Response) -> Ask | None:
        """Return the next request.

        Raises:
            MisfitError: The answers do not fit together.
            RefusedError: The ids are too far apart to be asked for.
        """
        with suppress(StopIteration):
            return self._asks.send(self.page)
        return None

    def _first(self, page: Page) -> None:
        self.total = page.count
        if page.count < self._fewest:
            raise CollapseError(f"the API serves {page.count} records, at least {self._fewest} were expected")

    def _by_ids(self) -> Generator[Ask, Page, None]:
        page = yield Ask(fresh=self._fresh)
        self._first(page)
        if not page.count:
            return
        low = min([1, *page.ids[:1]])
        top, last = page.count + max(100, page.count // 50), page.pages
        cut = _ids_address(low, top)[0][-1] < top
        most = LARGEST_ANSWER * len(page.ids) // page.size if cut else LONGEST_IDS
        if self._fresh or cut:
            page = yield Ask(page=last, fresh=True)
            if not page.ids:
                raise MisfitError(f"page 1 tells of {last} pages, and page {last} has no records")
            if page.count > page.ids[-1] - low + 1:
                raise MisfitError(f"the API counts {page.count} records, and its last id is {page.ids[-1]}")
            top = max(top, page.ids[-1] + 100)
            if top > SPARSEST * page.count + 1_000:
                raise RefusedError(f"ids up to {page.ids[-1]} for {page.count} records")
        while low <= top:
            ids, address = _ids_address(low, top, most)
            found = yield Ask(ids=address, emits=True, fresh=self._fresh)
            self._take(found.ids, low, ids[-1])
            low = ids[-1] + 1
            most = min(2 * len(ids), LARGEST_ANSWER * len(ids) // found.size) if cut else LONGEST_IDS
        if cut:
            page = yield Ask(page=last, fresh=True)
            if page.ids[-1:].tolist() != [self._last]:
                raise MisfitError(f"the last id read is {self._last}, and is now {page.ids[-1:].tolist()}")
        self.total = page.count
        self._agree()

    def _by_pages(self) -> Generator[Ask, Page, None]:
        before = ""
        for fresh, emits in ((self._fresh, True), (True, False)):
            self._count, self._last, self._digest = 0, None, hashlib.sha256()
            page = first = yield Ask(emits=emits, fresh=fresh)
            self._first(first)
            self._take(page.ids)
            for number in range(2, first.pages + 1):
                page = yield Ask(number, emits=emits, fresh=fresh)
                if (page.count, page.pages) != (first.count, first.pages):
                    raise MisfitError(
                        f"page 1 counts {first.count} records on {first.pages} pages, "
                        f"page {number} counts {page.count} on {page.pages}"
                    )
                self._take(page.ids)
            self._agree()
            if before not in {"", self._digest.hexdigest()}:
                raise MisfitError("the pages held other records when they were read again")
            before = self._digest.hexdigest()

    def _take(self, ids: array[int], low: int | None = None, high: int | None = None) -> None:
        for number in ids:
            if self._last is not None and number <= self._last:
                raise MisfitError(f"id {number} comes after id {self._last}")
            if low is not None and high is not None and not low <= number <= high:
                raise MisfitError(f"ids {low} to {high} were asked for, and id {number} came")
            self._last = number
        self._count += len(ids)
        self._digest.update(ids.tobytes())

    def _agree(self) -> None:
        if self._count != self.total:
            raise MisfitError(f"{self._count} records came, but the API counts {self.total}")


def _ids_address(low: int, top: int, most: int = LONGEST_IDS) -> tuple[range, str]:
    """Return as many ids from `low` to `top` as one address may name, and how it names them; always two or more."""
    most = min(most, LONGEST_IDS // (len(str(top)) + 1))
    ids = range(low, max(low + 2, min(top + 1, low + most)))
    return ids, ",".join(map(str, ids))


def page_of(said: Any) -> Page:  # noqa: ANN401 (JSON)
    """Return the page, or the records, that an answer holds.

    Raises:
        KeyError, TypeError, AttributeError, OverflowError: It is no listing, and no list of records with whole-number ids.
    """
    if isinstance(said, list):
        return Page(sorted(said, key=lambda record: _whole(record["id"])))
    if said.get("error") == NOTHING_HERE:
        return Page([])
    info, records = said["info"], said["results"]
    if not isinstance(records, list):
        raise TypeError(records)
    for record in records:
        _whole(record["id"])
    if info["count"] is None and not records:
        return Page([])
    pages = info.get("pages")
    return Page(records, _whole(info["count"]), -(-info["count"] // PAGE) if pages is None else _whole(pages))


def _whole(number: Any) -> int:  # noqa: ANN401 (JSON)
    if type(number) is not int:
        raise TypeError(number)
    return number


class ListingStream(ApiStream):
    """A resource of the API as a FULL_TABLE stream.

    ACTIVATE_VERSION goes out after the last record, and only when the listing was read whole: it is the tap's word.
    """

    primary_keys: ClassVar[tuple[str, ...]] = ("id",)
    # The API has no change date (`created` never changes), so there is nothing to replicate by.
    replication_key = None

    def __init__(self, tap: Tap, address: Address, session: Session) -> None:
        super().__init__(tap, address, session)
        self.tap, self._pool = tap, session.pool
        self._reading: Reading
        self._records: Records = []
        self._begun: tuple[Iterator[Records], Future[list[Records]]] | None = None

    @override
    def get_new_paginator(self) -> Reading:
        return self._reading

    @override
    def get_http_request(self, *, page: PageContext[Ask]) -> HTTPRequest:
        request, ask = super().get_http_request(page=page), cast("Ask", page.next_page_token)
        if ask.ids:
            request.url += f"/{ask.ids}"
        elif ask.page > 1:
            request.params["page"] = ask.page
        if ask.fresh:
            request.headers["Cache-Control"] = "no-cache"
        return request

    @override
    def tries(self, status: int | None) -> int:
        # What the API says to an address by ids is the address's fault as a rule, and pages are read instead.
        by_ids = self._reading.current_value.ids and status not in REFUSALS
        return TRIES_BY_IDS if by_ids else super().tries(status)

    @override
    def validate_response(self, response: requests.Response) -> None:
        nothing = f'"{NOTHING_HERE}"'.encode() in response.content and not self._reading.current_value.ids
        if response.status_code != HTTPStatus.NOT_FOUND or not nothing:
            super().validate_response(response)
        try:
            page = page_of(decoded(response))
        except (KeyError, TypeError, AttributeError, OverflowError):
            raise FatalAPIError(
                "expected info.count, info.pages and results with whole-number ids, "
                f"got {beginning(response.content)}"
            ) from None
        page.size = len(response.content)
        self._reading.page, self._records = page, page.records if self._reading.current_value.emits else []
        page.records = []
        # The SDK keeps an answer until the next has come: this one has been read.
        vars(response)["_content"] = b""

    @override
    def parse_response(self, response: requests.Response) -> Iterable[Any]:
        """Yield the records of an answer at once, as one list."""
        yield self._records

    @override
    def get_records(self, context: Context | None) -> Iterable[dict[str, Any]]:
        """Yield every record of the listing, ascending by id.

        Raises:
            IncompleteError: Every reading found answers that do not fit together.
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
                asked = self._reading.current_value
                if isinstance(refusal, ApiError) and (
                    not asked.ids or refusal.status == HTTPStatus.TOO_MANY_REQUESTS
                ):
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
                attempt, by_ids = attempt + 1, by_ids and attempt < TRIES_BY_IDS
                self.logger.warning(
                    "%s: the listing changed while it was read (%s); reading it again, attempt %d of %d",
                    self.name,
                    misfit,
                    attempt,
                    attempts,
                )
                time.sleep(FIRST_PAUSE)
        self._finish()

    def _batches(self, *, fresh: bool, by_ids: bool) -> Iterator[Records]:
        """Yield a reading's records: once it is whole, or, where it is too large to be held, each answer's as it comes."""
        if self._begun is None:
            self.begin(fresh=fresh, by_ids=by_ids)
        (answers, future), self._begun = cast("Any", self._begun), None
        if self.ABORT_AT_RECORD_COUNT is None:
            streams = [
                s
                for s in self.tap.streams.values()
                if (isinstance(s, ListingStream) and s.selected) or s is self
            ]
            for stream in streams[streams.index(self) + 1 :][: self.config["concurrency"] - 1]:
                stream.begin()
        held = future.result()
        self.new_version()
        while held:
            # One answer is read while the one before is sent.
            future = self._pool.submit(list, islice(answers, 1))
            yield from held
            held = future.result()

    def begin(self, *, fresh: bool = False, by_ids: bool = True) -> None:
        """Start a reading, for get_records to go on with: all of it, or page 1 where it is too large to be held."""
        if self._begun is None:
            self._reading = reading = Reading(self._fewest, fresh=fresh, by_ids=by_ids)
            answers = cast("Iterator[Records]", iter(self.request_records(None)))

            def first() -> list[Records]:
                begun = list(islice(answers, 1))
                return begun if reading.page.count > MOST_HELD else begun + list(answers)

            self._begun = answers, self._pool.submit(first)

    @property
    def source(self) -> str:
        """The name of where the records come from: counts are compared within one source only."""
        return str(self.config.get("source") or self.address.base)

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
        count = self._reading.total or 0
        self.drift.report()
        way = "ids" if self._reading.by_ids else "pages"
        self.logger.info("%s: %d records, whole, read by %s", self.name, count, way)
        log_count(Metric.SOURCE_RECORD_COUNT, count, {"stream": self.name})
        self.stream_state.update(complete_count=count, source=self.source)
        if self.selected and self._stream_version:
            self._write_activate_version_message(self._stream_version)
