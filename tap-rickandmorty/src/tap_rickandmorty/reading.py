"""One reading of a listing: the requests that it takes, as the SDK's paginator, and whether their answers are consistent.

Page 1 gives the count; then one address names every id up to it and a margin, so that all records come from one
query. Where the API refuses such addresses, pages are read, twice (docs/decisions.md, "Reading by ids").
"""

import hashlib
from array import array
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import requests
from singer_sdk.pagination import BaseAPIPaginator
from typing_extensions import override

from tap_rickandmorty.errors import CollapsedError, IncompleteError

Records = list[dict[str, Any]]

PAGE = 20
NOTHING_HERE = "There is nothing here"
LONGEST_IDS = 6_000  # characters of an address; the makers' program takes 12 KB, others 8
LARGEST_ANSWER = 1 << 20  # bytes that one address of a listing that takes several should ask for
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
        if page.count < len(page.ids):
            raise IncompleteError(f"page 1 counts {page.count} records and has {len(page.ids)}")

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
            answer = yield PageToken(ids=address, emits=True, fresh=self._fresh)
            self._add(answer.ids, low, ids[-1])
            low = ids[-1] + 1
            most = min(2 * len(ids), LARGEST_ANSWER * len(ids) // answer.size) if cut else LONGEST_IDS
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

    def _add(self, ids: "array[int]", low: int | None = None, high: int | None = None) -> None:
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


def parse_page(document: Any, *, by_ids: bool) -> Page:  # noqa: ANN401 (JSON)
    """Return the page, or the records where they were requested by ids, in an answer.

    Raises:
        KeyError, TypeError, AttributeError, OverflowError: It is neither a listing nor a list of records with integer ids.
    """
    if by_ids and isinstance(document, list):
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
