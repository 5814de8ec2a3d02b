"""Two APIs that are nothing like the example's: an issue tracker, and a shop with a request for each record.

They are real servers on a port of this machine; what they serve is changed while they run, as a source changes.
"""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import Message
from typing import Any, TypeVar
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from testkit.servers import Server

TOKEN = "a-token-of-the-tests"
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)

Answer = tuple[int, dict[str, str], Any]


def moment(minutes: int) -> str:
    """Return a time so many minutes after the beginning, as APIs write it."""
    return (BEGINNING + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Source:
    """What an API serves, and what it was asked.

    Attributes:
        url: Its address, once it runs.
        asked: Path and query of every request, in order.
    """

    url: str = ""
    asked: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str, query: dict[str, str], headers: Mapping[str, str]) -> Answer:
        """Return status, headers and body of an answer."""
        raise NotImplementedError


@dataclass
class IssueTracker(Source):
    """An issue tracker: Link headers, a bearer token, `since`, rate limits; issues, their comments, labels.

    Attributes:
        count: Issues at first.
        issues: By number.
        refusals: Requests that are refused with 429 before the next is answered.
        most: Records of a page.
        last_page: The page after it is not served.
    """

    count: int = 1050
    issues: dict[int, dict[str, Any]] = field(default_factory=dict)
    clock: int = 0
    refusals: int = 1
    most: int = 100
    last_page: int | None = None

    def __post_init__(self) -> None:
        for number in range(1, self.count + 1):
            self.put(number)
        self.labels = [
            {"id": f"LA_{name}", "name": name, "color": f"{number:06x}", "default": number == 0}
            for number, name in enumerate(("bug", "feature", "question"))
        ]

    def put(self, number: int, **fields: Any) -> None:
        """Add an issue, or change one; its change date is the newest of all."""
        self.clock += 1
        made = self.issues.get(number, {}).get("created_at") or moment(self.clock)
        self.issues[number] = {
            "id": 9_000_000_000 + number,
            "number": number,
            "title": f"Issue {number}",
            "state": "open",
            "user": {"login": f"person{number % 7}", "site_admin": False},
            "labels": [{"id": "LA_bug", "name": "bug", "default": True}] if number % 2 else [],
            "reactions": {"total_count": number % 3, "+1": number % 3, "-1": 0, "default": None},
            "comments": 2 if number % 50 == 0 else 0,
            "closed_at": None,
            **fields,
            "created_at": made,
            "updated_at": moment(self.clock),
        }

    def delete(self, number: int) -> None:
        """Take an issue away: no listing tells of it any more."""
        del self.issues[number]

    def answer(self, path: str, query: dict[str, str], headers: Mapping[str, str]) -> Answer:
        """Return a page of issues, comments or labels."""
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, {}, {"message": "Bad credentials"}
        if self.refusals:
            self.refusals -= 1
            return 429, {"Retry-After": "0", "X-RateLimit-Remaining": "0"}, {"message": "rate limit"}
        match path.strip("/").split("/"):
            case ["repos", "acme", "shop", "issues"]:
                since = query.get("since", "")
                records = sorted(self.issues.values(), key=lambda issue: issue["updated_at"])
                return self.page(path, query, [r for r in records if r["updated_at"] >= since])
            case ["repos", "acme", "shop", "issues", number, "comments"]:
                return self.page(path, query, self.comments(int(number)))
            case ["repos", "acme", "shop", "labels"]:
                return self.page(path, query, self.labels)
        return 404, {}, {"message": "Not Found"}

    def comments(self, number: int) -> list[dict[str, Any]]:
        """Return the comments of an issue."""
        issue = self.issues[number]
        return [
            {
                "id": issue["id"] * 10 + k,
                "body": f"Comment {k}",
                "user": issue["user"],
                "updated_at": issue["updated_at"],
            }
            for k in range(issue["comments"])
        ]

    def page(self, path: str, query: dict[str, str], records: list[dict[str, Any]]) -> Answer:
        """Return a page with the links to the others and what is left of the rate limit."""
        number = int(query.get("page", "1"))
        size = min(int(query.get("per_page", "30")), self.most)
        if self.last_page and number > self.last_page:
            return 503, {}, {"message": "busy"}
        last = max(1, -(-len(records) // size))

        def link(to: int, rel: str) -> str:
            return f'<{self.url}{path}?{urlencode({**query, "page": to})}>; rel="{rel}"'

        links = [link(number + 1, "next"), link(last, "last")] if number < last else [link(1, "first")]
        left = {"X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": str(5000 - len(self.asked))}
        return 200, {"Link": ", ".join(links), **left}, records[(number - 1) * size : number * size]


@dataclass
class Shop(Source):
    """A shop: listings by offset and limit that hold ids only, and a request for each record."""

    articles: dict[int, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for number in range(1, 61):
            self.articles[number * 10] = {
                "sku": number * 10,
                "title": f"Article {number}",
                "price": {"amount": f"{number}.50", "currency": "EUR"},
                "tags": ["new"] if number % 4 == 0 else [],
            }

    def answer(self, path: str, query: dict[str, str], headers: Mapping[str, str]) -> Answer:  # noqa: ARG002 (no token)
        """Return ids from an offset, or one record."""
        skus = sorted(self.articles)
        match path.strip("/").split("/"):
            case ["v2", "articles"]:
                begin, size = int(query.get("offset", "0")), int(query.get("limit", "10"))
                listed = [{"sku": sku} for sku in skus[begin : begin + size]]
                return 200, {}, {"total": len(skus), "items": listed}
            case ["v2", "articles", sku]:
                return 200, {}, self.articles[int(sku)]
        return 404, {}, {"error": "not found"}


@dataclass
class Answers(Source):
    """Lists of records, each at its address and all at once."""

    records: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def answer(self, path: str, query: dict[str, str], headers: Mapping[str, str]) -> Answer:  # noqa: ARG002 (nothing is asked for)
        """Return a list."""
        return 200, {}, self.records[unquote(path).strip("/")]


S = TypeVar("S", bound=Source)


class _SourceServer(Server):
    def __init__(self, source: Source) -> None:
        self.source = source
        super().__init__()

    def respond(self, _: str, path: str, headers: Message, __: bytes) -> tuple[int, bytes, Mapping[str, str]]:
        parts = urlsplit(path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        with self.source.lock:
            self.source.asked.append(path)
            status, more, body = self.source.answer(parts.path, query, dict(headers))
        return status, json.dumps(body).encode(), more


@contextmanager
def serving(source: S) -> Iterator[S]:
    """Serve a source on a free port until the block ends."""
    with _SourceServer(source) as server:
        source.url = server.url
        yield source
