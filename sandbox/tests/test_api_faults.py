"""The API server's made-up universe and the faults it can be told to have."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import requests

if TYPE_CHECKING:
    from collections.abc import Iterator


def serve(command: str, *options: str) -> tuple[subprocess.Popen[str], str]:
    """Starts the API server; gives the process and its address."""
    process = subprocess.Popen([command, "api", *options], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())["url"]


@pytest.fixture(scope="module")
def url(command: str) -> Iterator[str]:
    """A universe of the default size."""
    process, address = serve(command)
    with process:
        yield address
        process.terminate()


def order(url: str, *rules: dict[str, Any]) -> None:
    """Orders faults."""
    requests.put(url.replace("/api", "/__sandbox__/faults"), json=list(rules), timeout=5).raise_for_status()


def everything(url: str, resource: str) -> list[dict[str, Any]]:
    """Every record of a resource."""
    pages = requests.get(f"{url}/{resource}", timeout=10).json()["info"]["pages"]
    found = []
    for page in range(1, pages + 1):
        found += requests.get(f"{url}/{resource}?page={page}", timeout=10).json()["results"]
    return found


def test_the_universe_has_the_real_sizes_and_oddities(url: str) -> None:
    """826, 126 and 51 records; links told by one side, unknown places, empty types and shared names are among them."""
    characters, places, episodes = (everything(url, r) for r in ("character", "location", "episode"))
    assert (len(characters), len(places), len(episodes)) == (826, 126, 51)
    told = {(c["url"], e) for c in characters for e in c["episode"]}
    heard = {(c, e["url"]) for e in episodes for c in e["characters"]}
    assert told - heard
    assert heard - told
    lives = Counter(resident for place in places for resident in place["residents"])
    assert max(lives.values()) > 1
    assert any(c["location"]["url"] and c["url"] not in lives for c in characters)
    assert any(c["origin"] == {"name": "unknown", "url": ""} for c in characters)
    assert any(c["type"] == "" for c in characters)
    assert any(p["dimension"] == "" for p in places)
    assert any(p["residents"] == [] for p in places)
    assert max(Counter(c["name"] for c in characters).values()) > 1
    assert any(not c["name"].isascii() for c in characters)
    assert any(
        e["characters"] != sorted(e["characters"], key=lambda u: int(u.rsplit("/")[-1])) for e in episodes
    )


def test_the_same_seed_makes_the_same_universe(command: str, url: str) -> None:
    """Two servers of one seed serve the same records; another seed serves others."""
    for options, same in (([], True), (["--universe", "seed=2"], False)):
        process, other = serve(command, *options)
        with process:
            assert (everything(other, "episode") == everything(url, "episode")) is same
            process.terminate()


def test_an_empty_universe_answers_as_the_api_does(command: str) -> None:
    """A listing without records is 404 with the API's words."""
    process, address = serve(command, "--universe", "characters=0,locations=0,episodes=0")
    with process:
        answer = requests.get(f"{address}/character", timeout=5)
        assert (answer.status_code, answer.json()) == (404, {"error": "There is nothing here"})
        process.terminate()


def test_a_status_is_answered_as_often_as_ordered(url: str) -> None:
    """A rule spoils the requests that match, after those to skip, as many times as it says."""
    rule = {
        "path": "page=2",
        "skip": 1,
        "times": 1,
        "action": "status",
        "status": 429,
        "headers": {"Retry-After": "3"},
    }
    order(url, rule)
    answers = [requests.get(f"{url}/character?page=2", timeout=5) for _ in range(3)]
    assert [a.status_code for a in answers] == [200, 429, 200]
    assert answers[1].headers["Retry-After"] == "3"


def test_a_reset_breaks_the_connection(url: str) -> None:
    """The client sees a broken connection, not an answer."""
    order(url, {"path": "episode", "action": "reset"})
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{url}/episode", timeout=5)


def test_a_truncated_body_is_shorter_than_its_length(url: str) -> None:
    """The header tells the whole length; the connection ends before."""
    order(url, {"path": "episode", "action": "truncate", "bytes": 50})
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        requests.get(f"{url}/episode", timeout=5)


def test_bad_json_has_the_right_length(url: str) -> None:
    """The body comes whole, and is no JSON."""
    order(url, {"path": "episode", "action": "bad_json"})
    answer = requests.get(f"{url}/episode", timeout=5)
    assert answer.status_code == 200
    with pytest.raises(ValueError, match=r"."):
        answer.json()


def test_count_and_fields_change_as_ordered(url: str) -> None:
    """Faults of the data alter one answer, and leave the records as they were."""
    order(url, {"path": "character$", "action": "count", "count": 827})
    assert requests.get(f"{url}/character", timeout=5).json()["info"]["count"] == 827
    order(url, {"path": "character$", "action": "field", "id": 7, "set": {"planet": "x"}, "drop": ["gender"]})
    record = requests.get(f"{url}/character", timeout=5).json()["results"][6]
    assert record["planet"] == "x"
    assert "gender" not in record
    after = requests.get(f"{url}/character", timeout=5).json()["results"][6]
    assert "planet" not in after
    assert "gender" in after


def test_a_held_request_ends_when_the_rules_are_cleared(url: str) -> None:
    """A held request has no answer; clearing the rules breaks its connection."""
    order(url, {"path": "location", "action": "hold"})
    with pytest.raises(requests.ReadTimeout):
        requests.get(f"{url}/location", timeout=0.5)
    requests.delete(url.replace("/api", "/__sandbox__/faults"), timeout=5).raise_for_status()
    assert requests.get(f"{url}/location", timeout=5).status_code == 200


def test_the_requests_seen_are_listed(url: str) -> None:
    """Method, path, query and status of each request, control requests left out."""
    control = url.replace("/api", "/__sandbox__/requests")
    requests.delete(control, timeout=5)
    requests.get(f"{url}/episode?page=2", timeout=5)
    (seen,) = requests.get(control, timeout=5).json()
    assert {k: seen[k] for k in ("method", "path", "query", "status")} == {
        "method": "GET",
        "path": "/api/episode",
        "query": "page=2",
        "status": 200,
    }


def test_a_wrong_rule_is_refused_with_its_reason(url: str) -> None:
    """An unknown action or key is a 400 that says what is expected."""
    answer = requests.put(url.replace("/api", "/__sandbox__/faults"), json=[{"action": "explode"}], timeout=5)
    assert answer.status_code == 400
    assert "expected an object with an action" in answer.json()["error"]
