"""Requests to the API: retried within a budget, answers decoded, failures told in one line.

What the API and the cache before it are known to do (measured, see the README): 429 with `Retry-After`, bodies that
are not JSON on 429, 502 and 504, idle connections closed after 5 seconds, 404 for a page past the end.
"""

from __future__ import annotations

import email.utils
import logging
import os
import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import certifi
import msgspec
import urllib3

from tap_rickandmorty.errors import ApiError

logger = logging.getLogger("tap-rickandmorty.client")

RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
NOTHING_HERE = "There is nothing here"
MOST_REDIRECTS = 5
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
SHOWN_BODY = 120


@dataclass(frozen=True)
class Page:
    """One page of a listing.

    Attributes:
        number: From 1.
        count: `info.count`, the records of the whole listing.
        pages: `info.pages`.
        records: At most 20, ascending by id; empty past the end.
    """

    number: int
    count: int
    pages: int
    records: list[dict[str, Any]]


class _RetryableError(Exception):
    """One attempt failed in a way that another may not; `pause` is what the server asked for, in seconds."""

    def __init__(self, what: str, pause: float | None = None) -> None:
        super().__init__(what)
        self.pause = pause


def retry_after(value: str | None, now: datetime) -> float | None:
    """Gives the seconds that a Retry-After header asks for (RFC 9110, 10.2.3), None where it says nothing usable."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        at = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0.0, (at - now).total_seconds())


def _beginning(body: bytes) -> str:
    text = " ".join(body[: SHOWN_BODY * 2].decode("utf-8", "replace").split())
    return f"{text[:SHOWN_BODY]!r}" if text else "nothing"


class Client:
    """Reads pages of the API; safe to use from several threads.

    Args:
        api_url: Ends in /api.
        concurrency: Connections kept open.
        timeout: Seconds to connect, and between two reads.
        max_attempts: Requests for one page, the first included.
        retry_seconds: Seconds from a page's first request after which it is not tried again.
        user_agent: Sent with each request.
    """

    def __init__(  # noqa: PLR0913 (each is a setting)
        self,
        api_url: str,
        *,
        concurrency: int,
        timeout: float,
        max_attempts: int,
        retry_seconds: float,
        user_agent: str,
    ) -> None:
        self._api_url = api_url.rstrip("/")
        self._timeout = timeout
        self._max_attempts = max_attempts
        self._retry_seconds = retry_seconds
        self._headers = {"User-Agent": user_agent, "Accept": "application/json"}
        self._pool = _pool(self._api_url, concurrency, timeout)

    def url(self, resource: str, number: int) -> str:
        """Gives the address of a page; never `info.next`, which names the live site whatever host was asked."""
        return f"{self._api_url}/{resource}" + (f"?page={number}" if number > 1 else "")

    def page(self, resource: str, number: int, *, fresh: bool = False) -> Page:
        """Reads one page of a listing.

        Args:
            resource: `character`, `episode` or `location`.
            number: From 1.
            fresh: Ask the caches on the way for a new answer.

        Raises:
            ApiError: No usable answer within the attempts and seconds allowed.
        """
        url = self.url(resource, number)
        began = time.monotonic()
        attempt = 0
        while True:
            attempt += 1
            try:
                return self._attempt(url, number, fresh=fresh)
            except _RetryableError as failure:
                pause = failure.pause
                if pause is None:
                    pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempt - 1)) * random.uniform(0.5, 1)  # noqa: S311 (jitter)
                spent = time.monotonic() - began
                if attempt >= self._max_attempts or spent + pause > self._retry_seconds:
                    raise ApiError(
                        f"GET {url}: {failure} after {attempt} attempts in {spent:.0f} s "
                        f"(allowed: max_attempts {self._max_attempts}, retry_seconds {self._retry_seconds:.0f}"
                        + (f"; the API asks for a pause of {pause:.0f} s" if failure.pause else "")
                        + "); run again when the API answers"
                    ) from failure.__cause__
                logger.warning("GET %s: %s; attempt %d, again in %.1f s", url, failure, attempt, pause)
                time.sleep(pause)

    def _attempt(self, url: str, number: int, *, fresh: bool) -> Page:
        headers = {**self._headers, "Cache-Control": "no-cache"} if fresh else self._headers
        try:
            response = self._pool.request("GET", url, headers=headers)
        except urllib3.exceptions.NewConnectionError as error:
            raise _RetryableError(
                f"connection failed ({_innermost(error)}; api_url is {self._api_url})"
            ) from error
        except urllib3.exceptions.TimeoutError as error:
            raise _RetryableError(f"no answer within {self._timeout:.0f} s") from error
        except urllib3.exceptions.SSLError as error:
            raise ApiError(f"GET {url}: {error}; look at the api_url setting and SSL_CERT_FILE") from error
        except (urllib3.exceptions.ProtocolError, urllib3.exceptions.ProxyError) as error:
            raise _RetryableError(f"connection failed ({_innermost(error)})") from error
        except urllib3.exceptions.HTTPError as error:
            raise ApiError(f"GET {url}: {error}; look at the api_url setting") from error
        status, body = response.status, response.data
        if status == HTTPStatus.OK:
            return _page(url, number, body)
        if status in RETRIED_STATUSES:
            pause = retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
            raise _RetryableError(f"status {status}, body {_beginning(body)}", pause)
        if status == HTTPStatus.NOT_FOUND and _says_nothing_here(body):
            return Page(number, 0, 0, [])
        raise ApiError(
            f"GET {url}: status {status} after 1 attempt, body {_beginning(body)}; look at the api_url setting"
        )


def _pool(api_url: str, connections: int, timeout: float) -> urllib3.PoolManager:
    """Gives the connections, through the environment's proxy where it names one (HTTPS_PROXY, NO_PROXY …)."""
    parts = urlsplit(api_url)
    proxies = {} if proxy_bypass(parts.hostname or "") else getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    options: dict[str, Any] = {
        "num_pools": 1,
        "maxsize": connections,
        "timeout": timeout,
        # Redirects are followed; what fails is tried again by Client.page, which tells it.
        "retries": urllib3.Retry(None, connect=False, read=False, other=False, redirect=MOST_REDIRECTS),
        "ca_certs": os.environ.get("REQUESTS_CA_BUNDLE")
        or os.environ.get("SSL_CERT_FILE")
        or certifi.where(),
    }
    if not proxy:
        return urllib3.PoolManager(**options)
    user = urlsplit(proxy)
    if user.username:
        options["proxy_headers"] = urllib3.make_headers(
            proxy_basic_auth=f"{unquote(user.username)}:{unquote(user.password or '')}"
        )
    return urllib3.ProxyManager(proxy, **options)


def _says_nothing_here(body: bytes) -> bool:
    try:
        return bool(msgspec.json.decode(body, type=_Error).error == NOTHING_HERE)
    except msgspec.MsgspecError:
        return False


def _innermost(error: BaseException) -> str:
    """Names the deepest cause that urllib3 wrapped."""
    seen: BaseException = error
    while True:
        inner = seen.args[-1] if seen.args and isinstance(seen.args[-1], BaseException) else None
        inner = inner or getattr(seen, "reason", None)
        if not isinstance(inner, BaseException):
            return " ".join(str(seen).split()) or type(seen).__name__
        seen = inner


class _Info(msgspec.Struct):
    count: int
    pages: int


class _Listing(msgspec.Struct):
    info: _Info
    results: list[dict[str, Any]]


class _Error(msgspec.Struct):
    error: str


_decoder = msgspec.json.Decoder(_Listing)


def _page(url: str, number: int, body: bytes) -> Page:
    try:
        listing = _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise ApiError(
            f"GET {url}: expected info.count, info.pages and results ({error}), got {_beginning(body)}; "
            "look at the api_url setting"
        ) from error
    except msgspec.DecodeError as error:
        raise _RetryableError(f"status {HTTPStatus.OK}, but not JSON: {_beginning(body)}") from error
    for record in listing.results:
        if type(record.get("id")) is not int:
            raise ApiError(f"GET {url}: expected records with a whole-number id, got id {record.get('id')!r}")
    return Page(number, listing.info.count, listing.info.pages, listing.results)
