"""The session of all streams: `requests` with limits that protect the API and the tap.

One gate for all requests, a deadline for each, a bound on a body's size, redirects within the host, and errors of one
line without secrets. Proxies and certificates come from the environment, as `requests` reads it.
"""

import codecs
import email.utils
import logging
import os
import re
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache, cached_property
from http import HTTPStatus
from http.client import HTTPResponse
from typing import Any, cast
from urllib.parse import parse_qs, unquote, urljoin, urlsplit, urlunsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from singer_sdk.exceptions import FatalAPIError, RetriableAPIError
from typing_extensions import override

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
MOST_REDIRECTS = 5
LARGEST_BODY = 32 << 20
CHUNK = 64 << 10
LONGEST_CAUSE = 200  # of an error in the log: it may be the whole of a body
BROKEN = (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError, ConnectionError)
REFUSALS = frozenset({429, 503})
# What a header of another name says, such as an API's key, may be a secret.
OPEN_HEADERS = {
    "accept",
    "accept-encoding",
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "user-agent",
}


class Address:
    """The API's address, taken apart so that its secrets stay out of logs, STATE and Referer.

    Attributes:
        base: Without user, password and query.
        params: The query, sent with every request.
        login: User and password, None where the address has none.
    """

    def __init__(self, api_url: str) -> None:
        try:
            parts = urlsplit(api_url)
        except ValueError:
            # The settings' own check says so.
            parts = urlsplit("")
        host = parts.netloc.rpartition("@")[2]
        self.base = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
        self.params = parse_qs(parts.query, keep_blank_values=True)
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        self.login = (user, password) if user or password else None


def safe(text: object) -> str:
    """Return a text in one line, without the secrets of any address in it, and with long lists of ids cut."""
    line = " ".join(str(text).split())
    line = re.sub(r"//[^/\s]+@", "//***@", line)
    line = re.sub(r"([?&])(?!page=)[^=&?\s]+=[^&\s'\")]*", r"\1***", line)
    return re.sub(r"(/\d+,\d+,)[\d,]{20,},(\d+)", r"\1…,\2", line)


def retry_after(value: str | None, now: datetime) -> float:
    """Return the seconds that a Retry-After header asks for (RFC 9110, 10.2.3); 0 where it cannot be used."""
    text = (value or "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return float(text)
    with suppress(ValueError, TypeError, OverflowError, IndexError):
        at = email.utils.parsedate_to_datetime(text)
        return max(0.0, ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds())
    return 0.0


class PauseError(RetriableAPIError):
    """The API asks for so long a pause that a request fails without one: another run may succeed."""


class Gate:
    """Lets the requests of all threads through, with pauses between them for as long as the API refuses some.

    A refusal doubles the pause between two requests, an answer shortens it by a fifth.
    """

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._lock = threading.Lock()
        self._next = self._refused = self._pause = 0.0

    def enter(self) -> float:
        """Wait for this request's turn; return when it came, in monotonic seconds.

        Raises:
            PauseError: The API asked for a longer pause than `retry_seconds` allows.
        """
        while True:
            with self._lock:
                now = time.monotonic()
                wait = self._next - now
                if wait <= 0:
                    self._next = now + self._pause
                    return now
            if wait > self._longest:
                raise PauseError(
                    f"the API asks for a pause of {wait:.0f} s (allowed: retry_seconds {self._longest:.0f})"
                )
            time.sleep(wait)

    def refused(self, entered: float, asked: float) -> None:
        """Make all requests wait: as long as the API asks for, and no shorter than the backoff."""
        with self._lock:
            if entered >= self._refused:
                self._pause = min(LONGEST_PAUSE, max(FIRST_PAUSE, self._pause * 2))
                self._refused = time.monotonic()
            self._next = max(self._next, time.monotonic() + max(asked, self._pause))

    def answered(self) -> None:
        """Shorten the pause between requests: the API let one through."""
        with self._lock:
            self._pause = self._pause * 0.8 if self._pause > 0.05 else 0.0  # noqa: PLR2004 (seconds)


class _Deadline(threading.Timer):
    """Breaks this thread's connection when a request takes too long: a socket's own time-out restarts with each byte."""

    current = threading.local()

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds, self._pass)
        self.daemon, self.passed = True, False
        self.sock: socket.socket | None = None
        self.current.deadline = self

    def _pass(self) -> None:
        self.passed = True
        if self.sock is not None:
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)


class _FinalResponse(HTTPResponse):
    """The answer after informational ones (RFC 9110, 15.2), of which http.client passes over no other than 100."""

    def begin(self) -> None:
        super().begin()
        while HTTPStatus.SWITCHING_PROTOCOLS < self.status < HTTPStatus.OK:
            # So that it reads on.
            self.headers = None  # type: ignore[assignment]
            super().begin()


class _Watched:
    """A connection that registers its socket with this thread's deadline."""

    response_class = _FinalResponse
    sock: socket.socket | None

    def _new_conn(self) -> socket.socket:
        # A proxy's answer to CONNECT comes before the request.
        sock = _Deadline.current.deadline.sock = super()._new_conn()  # type: ignore[misc]
        return cast("socket.socket", sock)

    def request(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 (urllib3's)
        super().request(*args, **kwargs)  # type: ignore[misc]
        _Deadline.current.deadline.sock = self.sock


@cache
def _watched(connection: type) -> type:
    return type("WatchedConnection", (_Watched, connection), {})


class _Adapter(HTTPAdapter):
    """Makes connections that trust SSL_CERT_FILE and SSL_CERT_DIR, which `requests` does not read."""

    def __init__(self, connections: int) -> None:
        self._context: ssl.SSLContext | None = None
        self._lock = threading.Lock()
        if os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR"):
            self._context = urllib3.util.ssl_.create_urllib3_context()
            self._context.set_default_verify_paths()
        super().__init__(pool_connections=connections, pool_maxsize=connections, pool_block=True)

    @override
    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        # Two threads that need it first would make one each, with connections of its own.
        with self._lock:
            return super().proxy_manager_for(*args, **kwargs)

    @override
    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        host, pool = super().build_connection_pool_key_attributes(request, verify, cert)
        if verify is True and self._context is not None:
            pool["ssl_context"] = self._context
        return host, pool

    @override
    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        if not issubclass(pool.ConnectionCls, _Watched):
            pool.ConnectionCls = _watched(pool.ConnectionCls)
        return pool


class Answer(requests.Response):
    """A whole answer, whose body can be dropped: the SDK keeps an answer until the next has come.

    Attributes:
        content: The body.
        document: The JSON document in it, once it is decoded.
    """

    content = b""

    def __init__(self, response: requests.Response, content: bytes) -> None:
        super().__init__()
        vars(self).update(vars(response), content=content)
        self.document: Any = None


def _read(response: requests.Response, **_: Any) -> Answer:  # noqa: ANN401 (a hook of requests)
    """Return an answer with its body, of which no more than LARGEST_BODY is decompressed."""
    body = bytearray()
    for piece in response.iter_content(CHUNK):
        body += piece
        if len(body) > LARGEST_BODY:
            response.close()
            raise FatalAPIError(
                f"the answer is larger than {LARGEST_BODY >> 20} MB; look at the api_url setting"
            )
    # Some servers write a byte order mark, which no JSON has.
    return Answer(response, bytes(body).removeprefix(codecs.BOM_UTF8))


class Session(requests.Session):
    """Sends requests and reads whole answers; safe to use from several threads.

    Args:
        address: The API's.
        connections: Most connections at a time.
        retry_seconds: The longest pause that the API may ask for.
        other_hosts: Whether redirects may lead away from the API's host.
    """

    def __init__(
        self, address: Address, connections: int, retry_seconds: float, *, other_hosts: bool
    ) -> None:
        super().__init__()
        self._address = address
        self._other_hosts = other_hosts
        self._gate = Gate(retry_seconds)
        self.max_redirects = MOST_REDIRECTS
        adapter = _Adapter(connections)
        self.mount("https://", adapter)
        self.mount("http://", adapter)
        self.hooks["response"] = _read
        self._connections = connections
        # It logs whole addresses, of headers that it cannot read with a traceback.
        logging.getLogger("urllib3").setLevel(logging.ERROR)

    @cached_property
    def pool(self) -> ThreadPoolExecutor:
        """The threads of streams that are read concurrently."""
        return ThreadPoolExecutor(self._connections, thread_name_prefix="reading")

    @override
    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> Answer:
        """Send a request.

        Raises:
            RetriableAPIError: It failed in a way that may pass.
            FatalAPIError: It failed in a way that will not.
        """
        entered = self._gate.enter()
        seconds = kwargs.get("timeout") or LONGEST_PAUSE
        failure: Exception | None = None
        deadline = _Deadline(seconds)
        deadline.start()
        try:
            environment = self.merge_environment_settings(request.url, {}, None, None, None)
            if _goes_without_proxy(request.url or ""):
                environment["proxies"] = {}
            response = super().send(request, **{**kwargs, **environment, "stream": False})
        except (FatalAPIError, RetriableAPIError):
            raise
        # requests lets some of urllib3's failures and Python's through, for odd addresses and certificates.
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
            failure = error
        finally:
            deadline.cancel()
        if deadline.passed:
            raise RetriableAPIError(f"no whole answer within {seconds:.0f} s")
        if failure is not None:
            raise self._classified(failure, seconds) from failure
        if response.status_code in REFUSALS:
            asked = retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
            self._gate.refused(entered, asked)
        else:
            self._gate.answered()
        return cast("Answer", response)

    @override
    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp)
        if target is not None and not self._other_hosts:
            goal = urljoin(resp.url, target)
            # The rule by which requests sends a password on: the same host and port, or from http to https.
            if self.should_strip_auth(resp.url, goal):  # type: ignore[no-untyped-call]
                host = urlsplit(goal)
                raise FatalAPIError(
                    f"status {resp.status_code} leads to another host, {host.scheme}://{host.netloc.rpartition('@')[2]}; "
                    "change api_url, or set allow_other_hosts"
                )
        return target

    @override
    def rebuild_auth(self, prepared_request: Any, response: Any) -> None:
        # To another host requests sends all of them but Authorization.
        headers = prepared_request.headers
        if self.should_strip_auth(response.request.url, prepared_request.url):  # type: ignore[no-untyped-call]
            for name in [name for name in headers if name.lower() not in OPEN_HEADERS]:
                del headers[name]
        super().rebuild_auth(prepared_request, response)  # type: ignore[no-untyped-call]

    def _classified(self, error: Exception, seconds: float) -> RetriableAPIError | FatalAPIError:
        """Return the SDK's error for one of requests: worth a retry or not, with the cause in one line."""
        cause = safe(_innermost(error))[:LONGEST_CAUSE]
        if isinstance(error, requests.exceptions.Timeout):
            return RetriableAPIError(f"no whole answer within {seconds:.0f} s")
        if isinstance(error, requests.exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in cause:
            return FatalAPIError(f"{cause}; look at api_url, REQUESTS_CA_BUNDLE and SSL_CERT_FILE")
        if isinstance(error, requests.exceptions.ContentDecodingError):
            return RetriableAPIError(f"the body is not what its Content-Encoding says ({cause})")
        if isinstance(error, BROKEN):
            to = (
                "connection to the proxy"
                if isinstance(error, requests.exceptions.ProxyError)
                else "connection"
            )
            return RetriableAPIError(f"{to} failed ({cause}; api_url is {self._address.base})")
        return FatalAPIError(
            f"{cause}; look at the api_url setting, and at proxies and certificates in the environment"
        )


def _goes_without_proxy(url: str) -> bool:
    """Return whether no_proxy names host and port; requests reads such entries for names, not for IP addresses."""
    listed = (os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "").replace(" ", "").split(",")
    return urlsplit(url).netloc.rpartition("@")[2].lower() in [entry.lower() for entry in listed if entry]


def _innermost(error: BaseException) -> str:
    """Return the text of the deepest cause that requests and urllib3 wrapped."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error) or type(error).__name__
