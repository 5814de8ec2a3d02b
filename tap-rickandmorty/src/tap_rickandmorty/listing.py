"""Listings: all pages of a resource, fetched side by side, given in order, and checked to be whole."""

from __future__ import annotations

import collections
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tap_rickandmorty.client import Client, Page

IDLE_SECONDS = 0.1


class ListingChangedError(Exception):
    """The pages of one listing do not fit together: they are of different ages, or records came or went."""


class _Fetch:
    """The pages of one listing that are asked for and not yet read, in order."""

    def __init__(self, ask: Callable[[int], Future[Page]]) -> None:
        self._ask = ask
        self._asked = 0
        self._first: Future[Page] | None = None
        self.waiting: collections.deque[Future[Page]] = collections.deque()

    def ask_next(self) -> bool:
        """Asks for one page more; says whether there was one to ask for. How many there are, the first one tells."""
        if self._first is not None and not self._known():
            return False
        self._asked += 1
        future = self._ask(self._asked)
        self._first = self._first or future
        self.waiting.append(future)
        return True

    def _known(self) -> bool:
        first = self._first
        if first is None or not first.done() or first.cancelled() or first.exception() is not None:
            return False
        return self._asked < first.result().pages

    @property
    def all_asked(self) -> bool:
        """Whether every page of the listing was asked for."""
        return self._first is not None and self._first.done() and not self._known()


class Listings:
    """Reads listings one after the other, with at most `concurrency` pages asked for or waiting to be read.

    While the last pages of a listing are awaited, the first ones of the next are asked for.

    Args:
        client: Does the requests.
        concurrency: Pages fetched side by side.
    """

    def __init__(self, client: Client, concurrency: int) -> None:
        self._client = client
        self._concurrency = concurrency
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="page")
        self._fetches: dict[str, _Fetch] = {}

    def read(
        self, resource: str, *, upcoming: Sequence[str], idle: Callable[[], None], fresh: bool = False
    ) -> Iterator[Page]:
        """Yields every page of a listing in order.

        Args:
            resource: `character`, `episode` or `location`.
            upcoming: The resources that will be read after this one, in order.
            idle: Called when the next page has not come for a tenth of a second.
            fresh: Ask the caches on the way for new answers.

        Raises:
            ListingChangedError: Counts differ between pages, ids do not ascend, or the records are not `info.count`.
            ApiError: A page could not be read.
        """
        first: Page | None = None
        seen, last_id = 0, None
        for page in self._in_order(resource, upcoming, idle, fresh=fresh):
            first = first or page
            if (page.count, page.pages) != (first.count, first.pages):
                raise ListingChangedError(
                    f"page 1 counts {first.count} records on {first.pages} pages, "
                    f"page {page.number} counts {page.count} on {page.pages}"
                )
            for record in page.records:
                if last_id is not None and record["id"] <= last_id:
                    raise ListingChangedError(f"page {page.number} has id {record['id']} after id {last_id}")
                last_id = record["id"]
            seen += len(page.records)
            yield page
        if first is not None and seen != first.count:
            raise ListingChangedError(
                f"{seen} records on {first.pages} pages, but the API counts {first.count}"
            )

    def _in_order(
        self, resource: str, upcoming: Sequence[str], idle: Callable[[], None], *, fresh: bool
    ) -> Iterator[Page]:
        if fresh:
            self._drop(resource)
        whole = False
        try:
            while True:
                self._ask([resource, *upcoming], fresh=fresh)
                waiting = self._fetches[resource].waiting
                if not waiting:
                    whole = True
                    return
                yield _await(waiting.popleft(), idle)
        finally:
            self._drop(resource)
            if not whole:
                for other in upcoming:
                    self._drop(other)

    def _ask(self, resources: Sequence[str], *, fresh: bool) -> None:
        """Asks for as many pages as may wait: of the first resource, then of those after it."""
        free = self._concurrency - sum(len(fetch.waiting) for fetch in self._fetches.values())
        for resource in resources:
            fetch = self._fetches.get(resource)
            if fetch is None:
                now = fresh and resource == resources[0]
                fetch = self._fetches[resource] = _Fetch(self._asker(resource, fresh=now))
            while free > 0 and fetch.ask_next():
                free -= 1
            if not fetch.all_asked and resource == resources[0]:
                return

    def _asker(self, resource: str, *, fresh: bool) -> Callable[[int], Future[Page]]:
        return lambda number: self._pool.submit(self._client.page, resource, number, fresh=fresh)

    def _drop(self, resource: str) -> None:
        fetch = self._fetches.pop(resource, None)
        for future in fetch.waiting if fetch else ():
            future.cancel()


def _await(future: Future[Page], idle: Callable[[], None]) -> Page:
    try:
        return future.result(IDLE_SECONDS)
    except TimeoutError:
        if future.done():
            raise
        idle()
        return future.result()
