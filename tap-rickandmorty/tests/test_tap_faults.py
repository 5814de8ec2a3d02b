"""What the tap does when the API fails: one table of faults that pass, one of faults that stay."""

from __future__ import annotations

import email.utils
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from tap_api import Api, Outcome, bad_json, hang_up, reset, slow, status, truncate
from tap_rickandmorty.client import retry_after

if TYPE_CHECKING:
    from collections.abc import Callable

PASSING = {
    "429": status(429, b"slow down"),
    "429-with-retry-after": status(429, b"", Retry_After="1"),
    "500": status(500),
    "502-html": status(502, b"<html>Bad gateway</html>"),
    "503": status(503),
    "504": status(504, b""),
    "html-with-200": status(200, b"<html>hello</html>"),
    "empty-body": status(200, b""),
    "reset": reset,
    "truncated-body": truncate,
    "cut-json": bad_json,
    "time-out": slow(1.6),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
def test_a_fault_that_passes_is_retried(
    api: Api, run_tap: Callable[..., Outcome], fault: Callable[..., None]
) -> None:
    """One failed answer is asked again, and the stream is whole."""
    api.fault(r"character\?page=2$", fault)
    run = run_tap(timeout=1)
    assert run.status == 0, run.log
    assert len(run.activated("characters")) == 1
    assert len(run.records("characters")) == 45
    assert len(api.asked("character")) == 4


def test_a_connection_closed_under_us_is_opened_anew(api: Api, run_tap: Callable[..., Outcome]) -> None:
    """A server that closes each kept-alive connection after its answer costs connections, not records or requests."""
    api.fault(r"/api/", hang_up, times=99)
    run = run_tap(concurrency=1)
    assert run.status == 0, run.log
    assert len(run.records("characters")) == 45
    assert len(run.records("locations")) == 21
    assert len(api.asked("character")) == 3


def test_a_server_that_is_not_there_is_named(api: Api, run_tap: Callable[..., Outcome]) -> None:
    """A refused connection and a name that leads nowhere are told as such, with the address that was set."""
    for url in ("http://127.0.0.1:1/api", "http://nowhere.invalid/api"):
        run = run_tap(api_url=url, max_attempts=2)
        assert run.status == 1
        assert f"GET {url}/character: connection failed (" in run.last_line()
        assert f"api_url is {url}) after 2 attempts" in run.last_line()
    assert api.requests == []


STAYING = {
    "503": (status(503, b"try later"), "status 503, body 'try later'"),
    "html": (status(200, b"<html>hello</html>"), "not JSON: '<html>hello</html>'"),
    "empty-body": (status(200, b""), "not JSON: nothing"),
    "reset": (reset, "connection failed"),
    "cut-json": (bad_json, "not JSON"),
    "time-out": (slow(1.3), "no answer within 1 s"),
}


@pytest.mark.parametrize(("fault", "said"), STAYING.values(), ids=STAYING.keys())
def test_a_fault_that_stays_is_an_error_that_tells_all(
    api: Api, run_tap: Callable[..., Outcome], fault: Callable[..., None], said: str
) -> None:
    """After the attempts allowed the last line names address, what was got and the attempts; nothing is whole."""
    api.fault(r"character\?page=2$", fault, times=99)
    run = run_tap(max_attempts=2, timeout=1)
    assert run.status == 1
    assert f"GET {api.url}/character?page=2: " in run.last_line()
    assert said in run.last_line()
    assert "after 2 attempts" in run.last_line()
    assert run.activated("characters") == []
    assert "Traceback" not in run.log


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 418])
def test_other_4xx_are_not_retried(api: Api, run_tap: Callable[..., Outcome], code: int) -> None:
    """An answer that will not change is asked once, and the error tells its body."""
    api.fault(r"character$", status(code, b'{"error":"not for you"}'), times=99)
    run = run_tap()
    assert run.status == 1
    assert len(api.asked("character")) == 1
    assert f"status {code} after 1 attempt" in run.last_line()
    assert "not for you" in run.last_line()


def test_a_pause_longer_than_the_budget_is_an_error_at_once(
    api: Api, run_tap: Callable[..., Outcome]
) -> None:
    """A Retry-After beyond the retry budget is not waited for: the error tells it."""
    api.fault(r"character$", status(429, b"", Retry_After="3600"), times=99)
    run = run_tap(retry_seconds=5)
    assert run.status == 1
    assert "the API asks for a pause of 3600 s" in run.last_line()
    assert len(api.asked("character")) == 1


def test_retry_after_is_waited_for(api: Api, run_tap: Callable[..., Outcome]) -> None:
    """The next request comes no earlier than Retry-After asks."""
    times: list[float] = []

    def refuse(handler: object) -> None:
        times.append(time.monotonic())
        status(429, b"", Retry_After="1")(handler)  # type: ignore[arg-type]

    def note(handler: object) -> None:
        times.append(time.monotonic())
        slow(0)(handler)  # type: ignore[arg-type]

    api.fault(r"episode$", refuse)
    api.fault(r"episode$", note)
    run = run_tap()
    assert run.status == 0, run.log
    assert times[1] - times[0] >= 1


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, None), ("7", 7.0), (" 0 ", 0.0), ("soon", None), ("-1", None)],
)
def test_retry_after_in_seconds(value: str | None, seconds: float | None) -> None:
    """Whole seconds are taken; anything else that is no date is as if it were not there."""
    assert retry_after(value, datetime.now(UTC)) == seconds


def test_retry_after_as_a_date() -> None:
    """A date is the seconds until then, and nothing when it has passed."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert retry_after(email.utils.format_datetime(now + timedelta(seconds=90), usegmt=True), now) == 90
    assert retry_after(email.utils.format_datetime(now - timedelta(seconds=90), usegmt=True), now) == 0


def test_an_answer_of_another_shape_names_the_setting(run_tap: Callable[..., Outcome], api: Api) -> None:
    """JSON that is no listing is one line that names the address and the setting to look at."""
    api.fault(r"character$", status(200, b'{"hello":"world"}'), times=9)
    run = run_tap()
    assert run.status == 1
    assert "expected info.count" in run.last_line()
    assert "api_url" in run.last_line()


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("concurrency", 0, "0 is less than the minimum of 1"),
        ("concurrency", "many", "TAP_RICKANDMORTY_CONCURRENCY is 'many': expected a whole number"),
        ("api_url", "ftp://x", "does not match"),
        ("drift_new_field", "maybe", "'maybe' is not one of"),
        ("max_attempts", 99, "99 is greater than the maximum of 20"),
    ],
)
def test_bad_settings_are_one_clear_line(
    run_tap: Callable[..., Outcome], api: Api, setting: str, value: object, said: str
) -> None:
    """A setting out of its range is named with its range before any request; no traceback, no other setting shown."""
    run = run_tap(**{setting: value})
    assert run.status != 0
    assert said in run.log
    assert "Traceback" not in run.log
    assert api.requests == []


def test_records_before_a_failure_are_sent(api: Api, run_tap: Callable[..., Outcome]) -> None:
    """When a page fails for good the pages before it have gone out, so that the target can say what is not complete."""
    api.fault(r"character\?page=3$", status(403), times=99)
    run = run_tap()
    assert run.status == 1
    assert [r["id"] for r in run.records("characters")] == list(range(1, 41))
    assert run.activated("characters") == []


def test_a_failure_of_the_next_stream_does_not_touch_this_one(
    api: Api, run_tap: Callable[..., Outcome]
) -> None:
    """Pages of the next stream are asked for early; where one fails, the stream before it is still whole."""
    api.fault(r"episode$", status(403), times=99)
    run = run_tap()
    assert run.status == 1
    assert f"GET {api.url}/episode: status 403" in run.last_line()
    assert len(run.activated("characters")) == 1
    assert run.records("episodes") == []
