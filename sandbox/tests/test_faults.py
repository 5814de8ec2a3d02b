"""Faults of the API server and of proxies: rules that a test puts, what a client sees of each, and the requests listed."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from testkit.proxies import served


@pytest.fixture(scope="module", params=["api", "proxy"])
def url(command: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """An API server, and a proxy in front of one, which has the same faults."""
    with served(command, "api") as api:
        if request.param == "api":
            yield api
        else:
            with served(command, "proxy", api.removesuffix("/api")) as proxy:
                yield f"{proxy}/api"


def inject(url: str, *rules: dict[str, Any]) -> requests.Response:
    """Inject faults in place of those before."""
    return requests.put(url.replace("/api", "/__sandbox__/faults"), json=list(rules))


def get(url: str, path: str, seconds: float | None = None) -> requests.Response:
    """Return the API's answer."""
    return requests.get(f"{url}/{path}", timeout=seconds)


def test_a_rule_skips_and_then_applies_as_often_as_it_says(url: str) -> None:
    """The requests that match are counted: those to skip first, then those to spoil; the others pass."""
    headers = {"Retry-After": "3"}
    rule = {"path": "page=2", "skip": 1, "times": 1, "action": "status", "status": 429, "headers": headers}
    inject(url, rule)
    answers = [get(url, "character?page=2") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 429, 200]
    assert answers[1].headers["Retry-After"] == "3"


CUT = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)


@pytest.mark.parametrize(
    ("rule", "seconds", "error"),
    [
        ({"action": "reset"}, None, requests.ConnectionError),
        ({"action": "truncate", "bytes": 50}, None, CUT),
        ({"action": "hold"}, 0.5, requests.ReadTimeout),
    ],
    ids=["reset", "truncated", "held"],
)
def test_a_broken_answer_is_no_answer(
    url: str, rule: dict[str, Any], seconds: float | None, error: Any
) -> None:
    """A reset connection, a body shorter than its length, silence; clearing the rules ends what is held."""
    inject(url, {"path": "location", **rule})
    with pytest.raises(error):
        get(url, "location", seconds)
    requests.delete(url.replace("/api", "/__sandbox__/faults")).raise_for_status()
    assert get(url, "location").status_code == 200


def test_bad_json_has_the_right_length(url: str) -> None:
    """The body comes whole, and cannot be parsed."""
    inject(url, {"path": "episode", "action": "bad_json"})
    answer = get(url, "episode")
    assert answer.status_code == 200
    with pytest.raises(ValueError, match=r"."):
        answer.json()


def test_fields_can_be_changed(url: str) -> None:
    """Faults of the data alter one answer, and leave the records as they were."""
    inject(
        url, {"path": "character$", "action": "field", "id": 7, "set": {"planet": "x"}, "drop": ["gender"]}
    )
    changed, after = (get(url, "character").json()["results"][6] for _ in range(2))
    assert changed["planet"] == "x"
    assert after.keys() - changed.keys() == {"gender"}
    assert changed.keys() - after.keys() == {"planet"}


@pytest.mark.parametrize(
    ("change", "hits"),
    [
        ({"action": "replace", "find": '"count": ?126', "with": '"count":1'}, 1),
        ({"action": "replace", "find": "nothing of the kind", "with": ""}, 0),
        ({"action": "field", "id": 999, "set": {"planet": "x"}}, 0),
        ({"action": "field", "id": 1, "set": {"id": 1}, "drop": ["planet"]}, 0),
        ({"action": "truncate", "bytes": 1_000_000}, 0),
    ],
    ids=["replaced", "nothing-to-replace", "no-such-record", "same-values", "whole"],
)
def test_a_rule_that_changes_nothing_has_not_hit(url: str, change: dict[str, Any], hits: int) -> None:
    """A test can tell that the fault it injected came about: what changes nothing is not spent, and the next rule applies."""
    follows = {"action": "field", "id": 1, "set": {"name": "spoiled"}}
    inject(url, {"path": "location$", **change}, {"path": "location$", **follows})
    answers = [get(url, "location").json() for _ in range(2)]
    assert [answer["info"]["count"] for answer in answers] == [1 if hits else 126, 126]
    spoiled = [answer["results"][0]["name"] == "spoiled" for answer in answers]
    assert spoiled == [not hits, bool(hits)]
    assert requests.get(url.replace("/api", "/__sandbox__/faults")).json() == [hits, 1]


def test_a_rule_that_changed_nothing_still_has_its_times(url: str) -> None:
    """Requests that come before the one to change do not use the rule up."""
    inject(url, {"action": "replace", "find": "S01E01", "with": "S09E09", "times": 1})
    asked = ("location", "episode/2", "episode/1", "episode/1")
    assert ["S09E09" in get(url, path).text for path in asked] == [False, False, True, False]


def test_the_requests_seen_are_listed(url: str) -> None:
    """Method, path, query and status of each request, control requests left out."""
    control = url.replace("/api", "/__sandbox__/requests")
    requests.delete(control)
    get(url, "episode?page=2")
    (seen,) = requests.get(control).json()
    wanted = {"method": "GET", "path": "/api/episode", "query": "page=2", "status": 200}
    assert wanted.items() <= seen.items()


STATUS: dict[str, Any] = {"action": "status"}


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"action": "explode"}, "expected an object with an action"),
        ({"action": ["reset"]}, "expected an object with an action"),
        ({"action": "reset", "wen": "after"}, "reset: unknown key wen; expected action, contains, "),
        ({"action": "reset", "seconds": 3}, "reset: unknown key seconds"),
        ({"action": "field", "set": {}, "when": "after"}, "field: unknown key when"),
        ({"action": "reset", "when": "before"}, "when 'before': expected \"after\""),
        ({"action": "reset", "path": "("}, "path '(': expected a regular expression: "),
        ({"action": "reset", "contains": 1}, "contains 1: expected a regular expression"),
        ({"action": "reset", "contains": "\\u00e9"}, "expected a regular expression of bytes: bad escape"),
        ({"action": "reset", "times": "two"}, "times 'two': expected a whole number above 0, or null"),
        ({"action": "reset", "times": 0}, "times 0: expected a whole number above 0, or null"),
        ({"action": "reset", "skip": True}, "skip True: expected a whole number"),
        ({"action": "reset", "method": "post"}, "method 'post': expected a method in capitals"),
        ({**STATUS, "status": "x"}, "status 'x': expected a status from 200 to 599"),
        ({**STATUS, "status": 99}, "status 99: expected a status from 200 to 599"),
        ({**STATUS, "headers": {"Retry-After": 3}}, "expected an object of headers"),
        ({**STATUS, "headers": {"A": "b\r\nC: d"}}, "expected an object of headers"),
        ({**STATUS, "body": {}}, "body {}: expected a text"),
        ({**STATUS, "body": "\ud800"}, "surrogates not allowed"),
        ({"action": "truncate", "bytes": -1}, "bytes -1: expected a whole number"),
        ({"action": "slow", "seconds": "1"}, "seconds '1': expected a number of seconds"),
        ({"action": "slow", "seconds": float("inf")}, "seconds inf: expected a number of seconds"),
        ({"action": "field", "id": 1}, "field needs drop or set"),
        ({"action": "field", "id": [], "drop": ["name"]}, "id []: expected a whole number or a text"),
        ({"action": "field", "set": ["name"]}, "set ['name']: expected an object"),
        ({"action": "field", "drop": "name"}, "drop 'name': expected a list of texts"),
        ({"action": "replace", "find": "a"}, "replace needs with"),
        ({"action": "replace", "find": "a", "with": "\\1"}, "with '\\\\1': invalid group reference 1"),
    ],
    ids=lambda value: None if isinstance(value, str) else " ".join(map(str, value.values())),
)
def test_a_wrong_rule_is_refused_with_its_reason(url: str, rule: dict[str, Any], reason: str) -> None:
    """What no answer could be made of is a 400 that names action, key and value, and the rules before stay."""
    # As text: what JSON has no word for is sent too.
    control = url.replace("/api", "/__sandbox__/faults")
    inject(url)
    answer = requests.put(control, data=json.dumps([{"action": "reset"}, rule]))
    assert answer.status_code == 400
    assert reason in answer.json()["error"]
    for no_list in (rule, {}, None):
        answer = requests.put(control, data=json.dumps(no_list))
        assert answer.json() == {"error": "expected a list of rules"}
    assert requests.get(control).json() == []
