"""Listings: a resource that is activated only when it was read whole (docs/decisions/0008-reading-by-ids.md).

Page 1 gives the count; then one address names every id up to it and a margin, so that all records come from one
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

from tap_rickandmorty.client import ApiStream, decoded, excerpt
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

    from tap_rickandmorty.session import Address, Answer, Session

    Records = list[dict[str, Any]]

PAGE = 20
NOTHING_HERE = "There is nothing here"
LONGEST_IDS = 6_000  # characters of an address; the makers' program takes 12 KB, others 8
LARGEST_ANSWER = 1 << 20  # bytes that one address of a listing that takes several should ask for
MOST_HELD = 5_000  # records kept until their listing is whole; above, they are sent as they come
TRIES_BY_IDS = 2
SPARSEST = 10  # ids per record; beyond, pages are fewer requests


class RefusedError(Exception):
    """The listing cannot be read by ids."""


@dataclass(eq=False)
class PageToken:
    """A request for a page, or for records by their ids.

    Attributes:
        emits: Its records are the listing's.
        fresh: Caches on the way are asked for a new answer.
    """

    page: int = 1
    ids: str = ""
    emits: bool = False
    fresh: bool = False


@dataclass
class Page:
    """A page of a listing, or the records requested by ids (then without count).

    Attributes:
        size: Bytes of the answer.
    """

    records: Records
    count: int = 0
    pages: int = 0
    size: int = 0

    def __post_init__(self) -> None:
        self.ids = array("q", [record["id"] for record in self.records])


class Reading(BaseAPIPaginator[PageToken]):
    """One reading of a listing: the requests that it takes, and whether their answers are consistent.

    Args:
        fewest: The least count that the listing may have.
        fresh: Caches on the way are asked for new answers.
        by_ids: Read by ids, or by pages.

    Attributes:
        total: The API's own count; None until page 1 is read.
        page: The last answer.
    """

    def __init__(self, fewest: int, *, fresh: bool, by_ids: bool) -> None:
        self.by_ids = by_ids
        self.total: int | None = None
        self.page = Page([])
        self._fewest, self._fresh = fewest, fresh
        self._count, self._digest = 0, hashlib.sha256()
        self._last: int | None = None
        self._tokens = self._by_ids() if by_ids else self._by_pages()
        super().__init__(next(self._tokens))

    @override
    def get_next(self, response: requests.Response) -> PageToken | None:
        """Return the next request.

        Raises:
            IncompleteError: The answers contradict each other.
            RefusedError: The ids are too far apart to be requested.
        """
        with suppress(StopIteration):
            return self._tokens.send(self.page)
        return None

    def _start(self, page: Page) -> None:
        self.total = page.count
        if page.count < self._fewest:
            raise CollapsedError(
                f"the API serves {page.count} records, at least {self._fewest} were expected"
            )

    def _by_ids(self) -> Generator[PageToken, Page, None]:
        page = yield PageToken(fresh=self._fresh)
        self._start(page)
        if not page.count:
            return
        low = min([1, *page.ids[:1]])
        top, last = page.count + max(100, page.count // 50), page.pages
        cut = _ids_address(low, top)[0][-1] < top
        most = LARGEST_ANSWER * len(page.ids) // page.size if cut else LONGEST_IDS
        if self._fresh or cut:
            page = yield PageToken(page=last, fresh=True)
            if not page.ids:
                raise IncompleteError(f"page 1 says there are {last} pages, and page {last} has no records")
            if page.count > page.ids[-1] - low + 1:
                raise IncompleteError(
                    f"the API counts {page.count} records, and its last id is {page.ids[-1]}"
                )
            top = max(top, page.ids[-1] + 100)
            if top > SPARSEST * page.count + 1_000:
                raise RefusedError(f"ids up to {page.ids[-1]} for {page.count} records")
        while low <= top:
            ids, address = _ids_address(low, top, most)
            found = yield PageToken(ids=address, emits=True, fresh=self._fresh)
            self._add(found.ids, low, ids[-1])
            low = ids[-1] + 1
            most = min(2 * len(ids), LARGEST_ANSWER * len(ids) // found.size) if cut else LONGEST_IDS
        if cut:
            page = yield PageToken(page=last, fresh=True)
            if page.ids[-1:].tolist() != [self._last]:
                raise IncompleteError(
                    f"the last id read is {self._last}, and is now {page.ids[-1:].tolist()}"
                )
        self.total = page.count
        self._check_count()

    def _by_pages(self) -> Generator[PageToken, Page, None]:
        before = ""
        for fresh, emits in ((self._fresh, True), (True, False)):
            self._count, self._last, self._digest = 0, None, hashlib.sha256()
            page = first = yield PageToken(emits=emits, fresh=fresh)
            self._start(first)
            self._add(page.ids)
            for number in range(2, first.pages + 1):
                page = yield PageToken(number, emits=emits, fresh=fresh)
                if (page.count, page.pages) != (first.count, first.pages):
                    raise IncompleteError(
                        f"page 1 counts {first.count} records on {first.pages} pages, "
                        f"page {number} counts {page.count} on {page.pages}"
                    )
                self._add(page.ids)
            self._check_count()
            if before not in {"", self._digest.hexdigest()}:
                raise IncompleteError("the pages held other records when they were read again")
            before = self._digest.hexdigest()

    def _add(self, ids: array[int], low: int | None = None, high: int | None = None) -> None:
        for number in ids:
            if self._last is not None and number <= self._last:
                raise IncompleteError(f"id {number} comes after id {self._last}")
            if low is not None and high is not None and not low <= number <= high:
                raise IncompleteError(f"ids {low} to {high} were asked for, and id {number} came")
            self._last = number
        self._count += len(ids)
        self._digest.update(ids.tobytes())

    def _check_count(self) -> None:
        if self._count != self.total:
            raise IncompleteError(f"{self._count} records came, but the API counts {self.total}")


def _ids_address(low: int, top: int, most: int = LONGEST_IDS) -> tuple[range, str]:
    """Return as many ids from `low` to `top` as one address may name, at least two, and their text in the address."""
    most = min(most, LONGEST_IDS // (len(str(top)) + 1))
    ids = range(low, max(low + 2, min(top + 1, low + most)))
    return ids, ",".join(map(str, ids))


def parse_page(document: Any) -> Page:  # noqa: ANN401 (JSON)
    """Return the page, or the records, in an answer.

    Raises:
        KeyError, TypeError, AttributeError, OverflowError: It is neither a listing nor a list of records with integer ids.
    """
    if isinstance(document, list):
        return Page(sorted(document, key=lambda record: _integer(record["id"])))
    if document.get("error") == NOTHING_HERE:
        return Page([])
    info, records = document["info"], document["results"]
    if not isinstance(records, list):
        raise TypeError(records)
    for record in records:
        _integer(record["id"])
    if info["count"] is None and not records:
        return Page([])
    pages = info.get("pages")
    return Page(
        records, _integer(info["count"]), -(-info["count"] // PAGE) if pages is None else _integer(pages)
    )


def _integer(number: Any) -> int:  # noqa: ANN401 (JSON)
    if type(number) is not int:
        raise TypeError(number)
    return number


class ListingStream(ApiStream):
    """A resource of the API as a FULL_TABLE stream: ACTIVATE_VERSION follows a listing that was read whole, and no other."""

    primary_keys: ClassVar[tuple[str, ...]] = ("id",)
    # The API has no change date (`created` never changes), so there is nothing to replicate by.
    replication_key = None

    def __init__(self, tap: Tap, address: Address, session: Session) -> None:
        super().__init__(tap, address, session)
        self._pool = session.pool
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
            page = parse_page(answer.document)
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
            future = self._pool.submit(list, islice(answers, 1))
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

            self._begun = answers, self._pool.submit(first)

    @property
    def source(self) -> str:
        """The name of the data's source: counts are compared within one source only."""
        return str(self.config.get("source") or self.address.base)

    @property
    def _last_count(self) -> int | None:
        """The count of the last whole reading of this source, None where none is known."""
        kept = self.stream_state
        count = kept.get("complete_count") if kept.get("source") == self.source else None
        return count if isinstance(count, int) else None

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
