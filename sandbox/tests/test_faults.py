"""Faults of the API server and of proxies: rules that a test puts, what a client sees of each, and the requests listed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import requests
from testkit.proxies import served

if TYPE_CHECKING:
    from collections.abc import Iterator


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
    return requests.put(url.replace("/api", "/__sandbox__/faults"), json=list(rules), timeout=5)


def get(url: str, path: str, seconds: float = 5) -> requests.Response:
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
        ({"action": "reset"}, 5, requests.ConnectionError),
        ({"action": "truncate", "bytes": 50}, 5, CUT),
        ({"action": "hold"}, 0.5, requests.ReadTimeout),
    ],
    ids=["reset", "truncated", "held"],
)
def test_a_broken_answer_is_no_answer(url: str, rule: dict[str, Any], seconds: float, error: Any) -> None:
    """A reset connection, a body shorter than its length, silence; clearing the rules ends what is held."""
    inject(url, {"path": "location", **rule})
    with pytest.raises(error):
        get(url, "location", seconds)
    requests.delete(url.replace("/api", "/__sandbox__/faults"), timeout=5).raise_for_status()
    assert get(url, "location").status_code == 200


def test_bad_json_has_the_right_length(url: str) -> None:
    """The body comes whole, and cannot be parsed."""
    inject(url, {"path": "episode", "action": "bad_json"})
    answer = get(url, "episode")
    assert answer.status_code == 200
    with pytest.raises(ValueError, match=r"."):
        answer.json()


def test_count_and_fields_can_be_changed(url: str) -> None:
    """Faults of the data alter one answer, and leave the records as they were."""
    inject(url, {"path": "character$", "action": "count", "count": 827})
    assert get(url, "character").json()["info"]["count"] == 827
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
    ],
    ids=["replaced", "nothing-to-replace", "no-such-record"],
)
def test_a_rule_that_changes_nothing_has_not_hit(url: str, change: dict[str, Any], hits: int) -> None:
    """A test can tell that the fault it injected came about."""
    inject(url, {"path": "location$", **change})
    assert get(url, "location").json()["info"]["count"] == (1 if hits else 126)
    assert requests.get(url.replace("/api", "/__sandbox__/faults"), timeout=5).json() == [hits]


def test_the_requests_seen_are_listed(url: str) -> None:
    """Method, path, query and status of each request, control requests left out."""
    control = url.replace("/api", "/__sandbox__/requests")
    requests.delete(control, timeout=5)
    get(url, "episode?page=2")
    (seen,) = requests.get(control, timeout=5).json()
    wanted = {"method": "GET", "path": "/api/episode", "query": "page=2", "status": 200}
    assert wanted.items() <= seen.items()


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"action": "explode"}, "expected an object with an action"),
        ({"action": "reset", "wen": "after"}, "unknown key wen"),
        ({"action": "reset", "path": "("}, "path '('"),
        ({"action": "reset", "contains": 1}, "contains 1"),
        ({"action": "replace", "find": "a"}, "replace needs with"),
    ],
    ids=["action", "key", "path", "contains", "replace"],
)
def test_a_wrong_rule_is_refused_with_its_reason(url: str, rule: dict[str, Any], reason: str) -> None:
    """An unknown action or key, or a path that cannot be compiled, is a 400 that names it."""
    answer = inject(url, rule)
    assert answer.status_code == 400
    assert reason in answer.json()["error"]
