"""When a listing is whole: what the tap does with answers of different ages, gaps, lies, and a source that collapses."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tap_api import Api, Fault, Handler, Outcome, RunTap, character, environment, episode, move_on
from tap_api import status as answer

from testkit import programs

NOTHING = answer(404, b'{"error":"There is nothing here"}')


def page_one(**changes: Any) -> Fault:
    """The fault of a page 1 whose info is another."""

    def apply(handler: Handler) -> None:
        code, body = handler.server.api.page(handler.path)
        document = json.loads(body)
        document["info"].update(changes)
        if not document["info"]["count"]:
            document["results"] = []
        handler.answer(code, json.dumps(document).encode())

    return apply


def changed(change: Callable[[Any], Any]) -> Fault:
    """The fault of an answer with another document."""

    def apply(handler: Handler) -> None:
        code, body = handler.server.api.page(handler.path)
        handler.answer(code, json.dumps(change(json.loads(body))).encode())

    return apply


ONCE = {
    "a-stray-404": (r"character$", NOTHING),
    "count-0": (r"character$", page_one(count=0, pages=0)),
    "count-null": (r"character$", page_one(count=None, pages=None)),
    "count-too-low": (r"character$", page_one(count=44)),
    "count-far-too-low": (r"character$", page_one(count=1, pages=1)),
    "count-too-high": (r"character$", page_one(count=46)),
    "count-far-too-high": (r"character$", page_one(count=10**9, pages=5 * 10**7)),
    "count-beyond-all-ids": (r"character$", page_one(count=10**30)),
    "a-record-missing": (r"character/1,", changed(lambda records: records[:-1])),
    "none": (r"character/1,", changed(lambda _: [])),
    "a-record-twice": (r"character/1,", changed(lambda records: [*records, records[3]])),
    "a-record-not-asked-for": (r"character/1,", changed(lambda records: [*records[:-1], character(999)])),
}


@pytest.mark.parametrize(("path", "fault"), ONCE.values(), ids=ONCE.keys())
def test_one_odd_answer_is_read_again(api: Api, run_tap: RunTap, path: str, fault: Fault) -> None:
    """The second reading goes past the caches, is whole, and each record is sent once."""
    api.fault(path, fault)
    run = run_tap().succeeded()
    assert [r["id"] for r in run.records("characters")] == list(range(1, 46))
    assert len(run.activated("characters")) == 1
    assert "no-cache" in {h.get("Cache-Control") for p, h in api.requests if "character" in p}


@pytest.mark.parametrize(
    "change",
    [
        lambda _: [],
        lambda page: page["results"],
        lambda page: {**page, "info": {"count": 0, "pages": 0}},
        lambda page: {**page, "info": {"count": None}},
    ],
    ids=["a-list", "a-list-of-records", "count-0-and-records", "count-null-and-records"],
)
def test_a_page_1_that_is_no_listing_is_no_empty_one(
    api: Api, run_tap: RunTap, change: Callable[[Any], Any]
) -> None:
    """Not even where everything may vanish."""
    api.fault(r"character$", changed(change), times=99)
    run = run_tap(max_shrink_percent=100, listing_attempts=2).failed()
    assert run.activated("characters") == []


def test_an_answer_out_of_order_is_sent_in_order(api: Api, run_tap: RunTap) -> None:
    """Ids ascend whatever order the API gives records in."""
    api.fault(r"character/1,", changed(lambda records: records[::-1]))
    run = run_tap()
    assert [r["id"] for r in run.records("characters")] == list(range(1, 46))
    assert len(api.asked("character")) == 2


@pytest.mark.parametrize(
    "ids", [[*range(1, 40), *range(140, 146)], [*range(1, 40), *range(300, 306)], [1, 10**9]]
)
def test_gaps_in_the_ids_are_bridged(api: Api, run_tap: RunTap, ids: list[int]) -> None:
    """Numbers beyond the count, left by deletions, are found: by the margin, by the last page's ids, or by pages."""
    api.records["character"] = [character(i) for i in ids]
    run = run_tap().succeeded()
    assert [r["id"] for r in run.records("characters")] == ids
    assert len(api.asked("character")) < 12


def test_an_api_that_answers_few_ids_only_is_read_by_pages(api: Api, run_tap: RunTap) -> None:
    """Where answers by ids stay short, pages are whole."""
    api.fault(r"character/1,", changed(lambda records: records[:20]), times=99)
    run = run_tap().succeeded()
    assert [r["id"] for r in run.records("characters")] == list(range(1, 46))


def test_a_record_that_slips_between_two_pages_is_found(api: Api, run_tap: RunTap) -> None:
    """One deleted and one added while pages are read keep count and order; the second reading differs."""
    api.fault(r"character/1,", answer(414), times=99)
    api.fault(r"character\?page=2$", move_on(46))
    run = run_tap().succeeded()
    assert "the pages held other records" in run.log
    assert [r["id"] for r in run.records("characters")] == [*range(1, 5), *range(6, 47)]


def test_a_listing_that_changes_between_its_addresses_is_read_again(api: Api, run_tap: RunTap) -> None:
    """A large listing in which one record goes and one comes between two addresses; only the second version counts."""
    api.records["character"] = [character(i) for i in range(1, 12_001)]
    api.fault(r"character/1[0-9]{3},", move_on(20_000))
    run = run_tap().succeeded()
    (version,) = run.activated("characters")
    assert [r["id"] for r in run.records("characters", version)] == [*range(1, 5), *range(6, 12_001), 20_000]


@pytest.mark.parametrize(
    ("count", "named"),
    [(46, "45 records came, but the API counts 46"), (44, "45 records came, but the API counts 44")],
)
def test_a_count_that_never_fits_is_an_error_with_the_numbers(
    api: Api, run_tap: RunTap, count: int, named: str
) -> None:
    """A listing that does not add up is read as often as allowed, then fails; none of its records is sent."""
    api.fault(r"character($|\?)", page_one(count=count), times=99)
    run = run_tap(listing_attempts=3).failed(named, "3 times")
    assert run.records("characters") == []


def state_of(run: Outcome) -> dict[str, Any]:
    """The last STATE."""
    return [m["value"] for m in run.messages if m["type"] == "STATE"][-1]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("left", "setting", "status"),
    [(41, 10, 0), (40, 10, 1), (40, 12, 0), (0, 99, 1), (0, 100, 0), (44, 0, 1)],
)
def test_a_listing_that_has_shrunk_too_far_is_an_error_that_names_the_setting(  # noqa: PLR0913, PLR0917
    api: Api, run_tap: RunTap, tmp_path: Path, left: int, setting: int, status: int
) -> None:
    """45 records before: what may vanish is the setting's share; the last count stands in STATE."""
    state = state_of(run_tap())
    assert state["bookmarks"]["characters"] == {"complete_count": 45, "source": api.url}
    (tmp_path / "state.json").write_text(json.dumps(state))
    del api.records["character"][left:]
    run = run_tap("--state", str(tmp_path / "state.json"), max_shrink_percent=setting)
    assert run.status == status, run.log
    if not status:
        assert state_of(run)["bookmarks"]["characters"]["complete_count"] == left
        return
    assert f"the API serves {left} records" in run.last_line()
    assert "45 records when it was last whole" in run.last_line()
    assert "max_shrink_percent" in run.last_line()
    assert run.activated("characters") == []


def test_the_count_of_another_source_does_not_matter(api: Api, run_tap: RunTap, tmp_path: Path) -> None:
    """With another name for the source, or another address, a smaller listing is not refused."""
    (tmp_path / "state.json").write_text(json.dumps(state_of(run_tap(source="made-up"))))
    del api.records["character"][3:]
    assert run_tap("--state", str(tmp_path / "state.json"), source="made-up").status == 1
    assert run_tap("--state", str(tmp_path / "state.json"), source="captured").status == 0
    assert run_tap("--state", str(tmp_path / "state.json")).status == 0


def test_batches_are_not_advertised(run_tap: RunTap) -> None:
    """--about names no batch capability."""
    assert '"batch"' not in run_tap("--about", "--format=json").out


def test_counts_are_metric_points(run_tap: RunTap) -> None:
    """The API's own count of each stream is a point of the SDK's form."""
    points = [
        json.loads(line.partition("METRIC: ")[2]) for line in run_tap().log.splitlines() if "METRIC: " in line
    ]
    counted = {p["tags"]["stream"]: p["value"] for p in points if p["metric"] == "source_record_count"}
    assert counted == {"characters": 45, "episodes": 3, "locations": 21}
    assert {"record_count", "http_request_count", "http_request_duration", "sync_duration"} <= {
        p["metric"] for p in points
    }


# A stream of an API that names the next page by a cursor, on the hooks that docs/onboarding.md gives.
BY_CURSOR = """
from singer_sdk.pagination import JSONPathPaginator
from tap_rickandmorty import tap
from tap_rickandmorty.client import ApiStream
class Episodes(ApiStream):
    name, path, primary_keys, records_jsonpath = "episodes", "/episode", ("id",), "$.items[*]"
    def get_new_paginator(self):
        return JSONPathPaginator("$.next")
    def get_url_params(self, context, next_page_token):
        return {"cursor": next_page_token}
tap.STREAMS = [Episodes]
tap.TapRickAndMorty.cli(["--config=ENV"])
"""
LAST = {"items": [episode(2)], "next": None}


# Its end is an answer without records, which names a next one all the same.
BY_SCROLL = BY_CURSOR.replace(
    'JSONPathPaginator("$.next")',
    'type("Scroll", (JSONPathPaginator,), {"continue_if_empty": lambda *_: False})("$.next")',
)


def read_by(program: str, api: Api, answers: list[Any]) -> Outcome:
    """Run such a tap on an API that gives these answers."""
    for document in answers:
        # A byte order mark, as .NET writes it.
        body = json.dumps(document).encode("utf-8-sig")
        api.fault(r"episode", answer(200, body))
    done = programs.run(sys.executable, "-c", program, env=environment(api))
    return Outcome(done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr)


@pytest.mark.parametrize(
    ("program", "answers"),
    [
        (
            BY_SCROLL,
            [
                {"items": [episode(1)], "next": "b"},
                {"items": [episode(2)], "next": "c"},
                {"items": [], "next": "d"},
            ],
        ),
        (
            BY_CURSOR.replace("$.items[*]", "$.items[?(@.id<3)]"),
            [{"items": [episode(1), episode(2)], "next": "b"}, {"items": [episode(3)], "next": None}],
        ),
        (
            BY_CURSOR.replace("$.items[*]", "$.items.*"),
            [{"items": {"a": episode(1), "b": episode(2)}, "next": "b"}, {"items": {}, "next": None}],
        ),
        (
            BY_CURSOR.replace(", primary_keys", "").replace(', ("id",)', ""),
            [{"items": [episode(1)], "next": "b"}, LAST],
        ),
    ],
    ids=["a-scroll", "a-filter", "by-id", "without-a-key"],
)
def test_a_listing_ends_as_its_stream_says(api: Api, program: str, answers: list[Any]) -> None:
    """A paginator's own rule for an empty answer counts, and a place that holds none of the records asked for is one."""
    assert [record["id"] for record in read_by(program, api, answers).succeeded().records("episodes")] == [
        1,
        2,
    ]


@pytest.mark.parametrize(
    ("answers", "named"),
    [
        ([{"items": [episode(1)], "next": "b"}, LAST], None),
        (
            [
                {"items": [episode(1)], "next": "b"},
                {"items": [], "next": "c"},
                {"items": None, "next": "d"},
                LAST,
            ],
            None,
        ),
        (
            [{"items": [episode(1)], "next": "b"}, {"error": "busy"}],
            "***: episodes: expected records at $.items[*], got '{",
        ),
        ([[episode(1)]], "expected records at $.items[*], got '[{"),
        ([{"items": {"id": 1}}], "expected records at $.items[*]"),
        ([{"items": [None]}], "expected object, got null None"),
        (
            [{"items": [episode(1)], "next": "b"}, {"items": [episode(2)], "next": "b"}],
            "episodes: the API names the page",
        ),
    ],
    ids=["two", "none-in-between", "an-error", "a-list", "an-object", "a-null", "a-loop"],
)
def test_a_listing_by_cursor_is_read_to_its_end_or_not_activated(
    api: Api, answers: list[Any], named: str | None
) -> None:
    """An answer without records is no end where another follows, and one that is no listing is no empty one."""
    run = read_by(BY_CURSOR, api, answers)
    if named:
        run.failed(named)
    else:
        assert [record["id"] for record in run.succeeded().records("episodes")] == [1, 2]
    assert len(run.activated("episodes")) == (named is None)


CREATED = {"created": "2017-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("changes", "bookmark", "named"),
    [
        (CREATED, None, "Latest value '2017-01-01T00:00:00Z' is smaller"),
        (CREATED, {"replication_key": "id", "replication_key_value": 5}, "'replication_key': 'id'"),
        (
            {"created": None},
            None,
            "retyped field created in record id 2: expected string, got null None; it cannot",
        ),
        (
            {},
            None,
            "missing field created in record id 2: expected a value, got nothing; it cannot be left out",
        ),
    ],
    ids=["out-of-order", "another-in-state", "null", "missing"],
)
def test_a_replication_key_that_is_not_one_ends_the_run(
    api: Api, tmp_path: Path, changes: Any, bookmark: Any, named: str
) -> None:
    """Whatever policies allow elsewhere; no STATE goes out that says the record was read."""
    state = {"bookmarks": {"episodes": bookmark}} if bookmark else {}
    (tmp_path / "state.json").write_text(json.dumps(state))
    program = BY_CURSOR.replace("    def", '    replication_key, is_sorted = "created", True\n    def', 1)
    program = program.replace('["', f'["--state", {str(tmp_path / "state.json")!r}, "')
    second = {name: value for name, value in episode(2).items() if name != "created"} | changes
    run = read_by(program, api, [{"items": [episode(1), second], "next": None}]).failed(named)
    assert "unexpected" not in run.log
    assert all(message["value"] == state for message in run.messages if message["type"] == "STATE")
