"""What the tap does when the API fails: a table of temporary faults, one of permanent ones, one of those not retried."""

import functools
import gzip
import time
from datetime import UTC, datetime

import pytest
from tap_api import (
    Api,
    Fault,
    Handler,
    RunTap,
    bad_json,
    drip_body,
    drip_headers,
    early_hints,
    hang_up,
    no_status,
    reset,
    slow,
    status,
    truncate,
)
from tap_rickandmorty.session import Address, Session, retry_after

GZIP = {"Content_Encoding": "gzip"}
TEMPORARY = {
    "408": status(408),
    "425": status(425),
    "429": status(429, b"slow down"),
    "429-with-retry-after": status(429, b"", Retry_After="1"),
    "429-with-retry-after-0": status(429, b"", Retry_After="0"),
    "429-until-a-date-in-the-past": status(429, b"", Retry_After="Sat, 01 Jan 2022 00:00:00 GMT"),
    "429-with-an-odd-retry-after": status(429, b"", Retry_After="\u00b2"),
    "500": status(500),
    "502-html": status(502, b"<html>Bad gateway</html>"),
    "503": status(503),
    "504": status(504, b""),
    "520": status(520),
    "526": status(526, b"<html>Invalid SSL certificate</html>"),
    "530": status(530, b"error code: 1033"),
    "599": status(599),
    "html-with-200": status(200, b"<html>hello</html>"),
    "empty-body": status(200, b""),
    "not-utf-8": status(200, b'{"info":{"count":1},"results":[{"id":1,"name":"\xff\xfe"}]}'),
    "deep-json": status(200, b"[" * 100_000),
    "not-a-number": status(200, b'{"info":{"count":NaN}}'),
    "broken-gzip": status(200, b"no gzip at all", **GZIP),
    "an-encoding-not-asked-for": status(200, b"\x0b\x02\x80hi\x03", Content_Encoding="br"),
    "utf-16": status(200, '{"info":{}}'.encode("utf-16")),
    "cut-gzip": status(200, gzip.compress(b'{"info":{}}' * 99)[:-20], **GZIP),
    "reset": reset,
    "truncated-body": truncate,
    "cut-json": bad_json,
    "time-out": slow(1.6),
    "dripping-headers": drip_headers,
    "dripping-body": drip_body,
}


# A request by ids is sent and read as any other; only how often differs.
ON_PAGE_1 = [(fault, r"character$") for fault in TEMPORARY]
BY_IDS = [(fault, r"character/1,") for fault in ("429", "503", "html-with-200", "truncated-body", "time-out")]


@pytest.mark.parametrize(("fault", "path"), ON_PAGE_1 + BY_IDS)
def test_a_temporary_fault_is_retried(api: Api, run_tap: RunTap, fault: str, path: str) -> None:
    """A failed request is sent again, each record is sent once, and the stream is whole."""
    api.fault(path, TEMPORARY[fault])
    run = run_tap(timeout=1).succeeded()
    assert len(run.activated("characters")) == 1
    assert [r["id"] for r in run.records("characters")] == list(range(1, 46))
    assert len(api.asked("character")) == 3
    assert "Traceback" not in run.log


@pytest.mark.parametrize("manner", [hang_up, early_hints])
def test_what_a_server_may_do_to_a_connection_costs_no_record(
    api: Api, run_tap: RunTap, manner: Fault
) -> None:
    """It may close it after each answer, or send ahead of one what is none."""
    api.fault(r"/api/", manner, times=99)
    run = run_tap(concurrency=1).succeeded()
    assert len(run.records("characters")) == 45
    assert len(run.records("locations")) == 21


def test_an_unreachable_server_is_named(api: Api, run_tap: RunTap) -> None:
    """A refused connection and an unknown host name are reported, with the address that was set."""
    for url in ("http://127.0.0.1:1/api", "http://nowhere.invalid/api"):
        run_tap(api_url=url, max_attempts=2).failed(
            f"GET {url}/character: connection failed (", f"api_url is {url}) after 2 attempts"
        )
    assert api.requests == []


@functools.cache
def bomb() -> bytes:
    """200 MB in 200 KB."""
    return gzip.compress(b" " * 200_000_000, 9)


PERMANENT = {
    "503": (status(503, b"try later"), "status 503, body 'try later'"),
    "html": (status(200, b"<html>hello</html>"), "not JSON: '<html>hello</html>'"),
    "empty-body": (status(200, b""), "not JSON: nothing"),
    "reset": (reset, "connection failed"),
    "no-status": (no_status, "connection failed"),
    "cut-json": (bad_json, "not JSON"),
    "deep-json": (status(200, b"[" * 100_000), "not JSON"),
    "not-utf-8": (status(200, b'"\xff"'), "not JSON"),
    "broken-gzip": (status(200, b"no gzip", **GZIP), "not what its Content-Encoding says"),
    "time-out": (slow(1.3), "no whole answer within 1 s"),
    "dripping-headers": (drip_headers, "no whole answer within 1 s"),
    "dripping-body": (drip_body, "no whole answer within 1 s"),
}


@pytest.mark.parametrize(("fault", "named"), PERMANENT.values(), ids=PERMANENT.keys())
def test_a_permanent_fault_is_an_error_in_detail(api: Api, run_tap: RunTap, fault: Fault, named: str) -> None:
    """After the attempts allowed the last line names address, what was got and the attempts; nothing is whole."""
    api.fault(r"character$", fault, times=99)
    run = run_tap(max_attempts=2, timeout=1).failed(f"GET {api.url}/character: ", named, "after 2 attempts")
    assert run.activated("characters") == []
    assert "Traceback" not in run.log


NOT_RETRIED = {
    **{
        str(code): (status(code, b'{"error":"not for you"}'), f"status {code}")
        for code in (400, 401, 403, 404, 410, 418)
    },
    "204": (status(204, b""), "status 204"),
    "302-without-a-place": (status(302, b""), "status 302"),
    "another-shape": (status(200, b'{"hello":"world"}'), "expected info.count"),
    "a-number": (status(200, b"7"), "expected info.count"),
    "count-is-text": (status(200, b'{"info":{"count":"45","pages":3},"results":[]}'), "expected info.count"),
    "id-is-text": (status(200, b'{"info":{"count":1,"pages":1},"results":[{"id":"1"}]}'), "whole-number ids"),
    "gzip-bomb": (lambda handler: handler.answer(200, bomb(), **GZIP), "larger than 32 MB"),
    "gzip-bomb-of-a-redirect": (
        lambda handler: handler.answer(302, bomb(), **GZIP, Location="/api/character?page=1"),
        "larger than 32 MB",
    ),
    "redirect-to-another-host": (
        status(302, b"", Location="http://127.0.0.2:1/api/character?token=abc"),
        "allow_other_hosts",
    ),
    "redirect-to-another-port": (status(302, b"", Location="http://127.0.0.1:1/api"), "allow_other_hosts"),
    "redirect-to-a-file": (status(302, b"", Location="file:///etc/passwd"), "allow_other_hosts"),
    "count-is-no-whole-number": (status(200, b'{"info":{"count":45.0},"results":[]}'), "expected info.count"),
    "results-are-an-object": (status(200, b'{"info":{"count":1},"results":{}}'), "expected info.count"),
    "results-are-null": (status(200, b'{"info":{"count":1},"results":null}'), "expected info.count"),
    "a-record-is-null": (status(200, b'{"info":{"count":1},"results":[null]}'), "expected info.count"),
    "an-error-with-200": (status(200, b'{"error":"rate limited"}'), 'got \'{"error":"rate limited"}\''),
    "redirect-to-itself": (status(302, b"", Location="/api/character"), "redirects"),
    "redirect-to-nonsense": (status(302, b"", Location="http://[/"), "look at the api_url setting"),
}


@pytest.mark.parametrize(("fault", "named"), NOT_RETRIED.values(), ids=NOT_RETRIED.keys())
def test_a_fault_that_cannot_pass_is_not_retried(api: Api, run_tap: RunTap, fault: Fault, named: str) -> None:
    """An answer that will not change is requested once; the one line says what it was, without secrets."""
    api.fault(r"character$", fault, times=99)
    run = run_tap().failed(named, "after 1 attempt in", "look at the api_url setting")
    assert "abc" not in run.log
    assert run.activated("characters") == []


def test_redirects_on_the_host_are_followed_and_to_others_where_allowed(api: Api, run_tap: RunTap) -> None:
    """A moved path costs a request; another host is asked only with the setting."""
    api.fault(r"character$", status(301, b"", Location="/api/character?page=1"))
    run = run_tap().succeeded()
    elsewhere = api.url.replace("127.0.0.1", "localhost")
    api.fault(r"character$", status(307, b"", Location=f"{elsewhere}/character?page=1"))
    run = run_tap(allow_other_hosts="true").succeeded()
    assert len(run.records("characters")) == 45


@pytest.mark.parametrize(("host", "kept"), [("localhost", False), ("127.0.0.1", True)])
def test_a_key_in_a_header_stays_on_the_host(api: Api, host: str, *, kept: bool) -> None:
    """Whatever the header's name; what the request is about goes on to another host."""
    api.fault(r"character$", status(307, b"", Location=f"{api.url.replace('127.0.0.1', host)}/episode"))
    session = Session(Address(api.url), 1, 0, other_hosts=True)
    secret = {"X-Api-Key": "abc", "Authorization": "abc"}
    answer = session.get(f"{api.url}/character", headers={"Cache-Control": "no-cache", **secret})
    asked = api.requests[-1][1]
    assert (answer.status_code, asked["Cache-Control"]) == (200, "no-cache")
    assert (asked.keys() & secret.keys()) == (secret.keys() if kept else set())


def test_a_pause_longer_than_the_budget_is_an_error_at_once(api: Api, run_tap: RunTap) -> None:
    """A Retry-After beyond the retry budget is an error that names it, without a wait."""
    api.fault(r"character$", status(429, b"", Retry_After="3600"), times=99)
    advice = "run again when the API answers"
    run_tap(retry_seconds=5).failed("the API asks for a pause of 3600 s", advice)
    assert len(api.asked("character")) == 1
    # Another stream's requests wait too: their error is no other.
    api.faults.clear()
    api.fault(r"character$", slow(0.5))
    api.fault(r"(episode|location)$", status(429, b"", Retry_After="3600"), times=99)
    run_tap(retry_seconds=5).failed("the API asks for a pause of 3", "(allowed: retry_seconds 5)", advice)


def test_a_refusal_slows_every_request(api: Api, run_tap: RunTap) -> None:
    """After a 429 for one stream no other stream is asked for earlier than Retry-After allows."""
    times: list[float] = []

    def refuse(handler: Handler) -> None:
        times.append(time.monotonic())
        status(429, b"", Retry_After="1")(handler)

    def note(handler: Handler) -> None:
        times.append(time.monotonic())
        slow(0)(handler)

    api.fault(r"character$", refuse)
    api.fault(r"(episode|location)$", slow(0.3), times=2)
    api.fault(r"/1,", note, times=99)
    run_tap().succeeded()
    assert len(times) == 4
    assert min(times[1:]) - times[0] >= 1


@pytest.mark.parametrize(("allowed", "seconds"), [(10, 5.0), (1, 1.0)], ids=["10-in-5-s", "1-a-second"])
@pytest.mark.parametrize("way", ["by-ids", pytest.param("by-pages", marks=pytest.mark.slow)])
def test_a_rate_limit_without_retry_after_is_respected(
    api: Api, run_tap: RunTap, allowed: int, seconds: float, way: str
) -> None:
    """Denied requests do not count, as with most rate limiters; every stream is whole."""
    api.limit(allowed, seconds)
    if way == "by-pages":
        api.fault(r"/1,", status(414), times=99)
    run = run_tap().succeeded()
    assert [len(run.records(s)) for s in ("characters", "episodes", "locations")] == [45, 3, 21]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        *[("7", 7), (" 1 ", 1), ("0", 0), ("1.5", 1.5), ("Thu, 01 Jan 2026 00:01:30 GMT", 90)],
        *((value, 0) for value in (None, "", "soon", "-1", "²", "٣", "1, 2", "1e3")),
        ("Mon, 99 Foo 2026 99:99:99 GMT", 0),
        ("Fri, 31 Dec 99999 23:59:59 GMT", 0),
        ("Wed, 31 Dec 2025 23:58:30 GMT", 0),
    ],
)
def test_retry_after(value: str | None, seconds: float) -> None:
    """Seconds, or a date that has not passed; anything else is as if it were not there."""
    assert retry_after(value, datetime(2026, 1, 1, tzinfo=UTC)) == seconds


def test_a_failure_of_the_next_stream_does_not_touch_this_one(api: Api, run_tap: RunTap) -> None:
    """The next stream is asked for early; where it fails, the stream before it is still whole."""
    api.fault(r"episode$", status(403), times=99)
    run = run_tap().failed(f"GET {api.url}/episode: status 403")
    assert len(run.activated("characters")) == 1
    assert run.records("episodes") == []


REFUSING = {
    **{str(code): status(code) for code in (400, 403, 404, 405, 413, 414, 431, 500, 501, 502)},
    "html": status(200, b"<html>blocked</html>"),
    "one-record": status(200, b'{"id":1}'),
    "reset": reset,
}


@pytest.mark.parametrize("fault", REFUSING.values(), ids=REFUSING.keys())
def test_where_long_addresses_are_refused_pages_are_read_and_the_log_says_so(
    api: Api, run_tap: RunTap, fault: Fault
) -> None:
    """Every page is read twice, and each record is sent once."""
    api.fault(r"character/1,", fault, times=99)
    run = run_tap().succeeded()
    assert "characters: cannot be read by ids" in run.log
    assert [r["id"] for r in run.records("characters")] == list(range(1, 46))
    assert len(run.activated("characters")) == 1
    assert [path for path in api.asked("character") if "," not in path].count("/api/character?page=2") == 2
