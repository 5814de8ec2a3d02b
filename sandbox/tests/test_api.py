"""The API server answers as the API's own program did: recorded answers, replayed, and what they do not have."""

import hashlib
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from testkit.proxies import served

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
RECORDINGS = sorted((SHARED / "api-responses").glob("*.json"))
NO_ID = (500, "Hey! you must provide an id")
BAD_ARRAY = (500, "Bad... bad array :/")
NOTHING = (404, "There is nothing here")
NO_ROUTE = (404, "There is nothing here.")
CAST = 'Cast to Number failed for value "{}" at path "id" for model "Character"'
ANSWERS: dict[str, Any] = {
    # path and query -> the ids that come, the id of one record, or status and error
    "/api/character/1": 1,
    "/api/character/1/": 1,
    "/api/character/%201": 1,
    "/api/character/1?name=x": 1,
    "/api/character/-1": (404, "Character not found"),
    "/api/character/1abc": (500, CAST.format("1abc")),
    "/api/character/1,abc": (500, CAST.format("NaN")),
    "/api/character/abc": NO_ID,
    "/api/character/2,1,1": [1, 2],
    "/api/character/1,,2,": [1, 2],
    "/api/character/1%2C%202": [1, 2],
    "/api/character/99998,99999": [],
    "/api/character/[1,2]": [1, 2],
    "/api/character/[]": BAD_ARRAY,
    "/api/character/1,2]": BAD_ARRAY,
    "/api/character/1/2": NO_ROUTE,
    "/api/character": [*range(1, 21)],
    "/api/character/": [*range(1, 21)],
    "/api/character?page=": [*range(1, 21)],
    "/api/character?page=-1": [*range(1, 21)],
    "/api/character?page=abc": [*range(1, 21)],
    "/api/character?page=%202&unknown=x": [*range(21, 41)],
    "/api/character?page=3": [*range(41, 46)],
    "/api/character?page=4": NOTHING,
    "/api/character?name=(": NOTHING,
    "/api/characters": NO_ROUTE,
    "/character": NO_ROUTE,
}


@pytest.fixture(scope="module")
def recorded(command: str) -> Iterator[int]:
    """The API server over the recorded answers' data set: its port."""
    with served(command, "api", "--data", str(SHARED / "rickandmorty")) as url:
        yield urlsplit(url).port or 0


@pytest.fixture(scope="module")
def port(command: str) -> Iterator[int]:
    """A universe of three pages of characters: its port."""
    with served(command, "api", "--universe", "characters=45") as url:
        yield urlsplit(url).port or 0


def ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    """Send a path as it is; return the answer and its body."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request(method, path, headers={key.replace("_", "-"): text for key, text in headers.items()})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


@pytest.mark.skipif(not RECORDINGS, reason="../shared/data/api-responses is not there")
@pytest.mark.parametrize("path", RECORDINGS or [Path("none")], ids=lambda p: p.stem)
def test_a_recorded_answer_is_given_again(recorded: int, path: Path) -> None:
    """Status, body to the byte and etag are those of the makers' program."""
    recording: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    asked, expected = recording["request"], recording["response"]
    answer, body = ask(recorded, asked["path"], asked["method"], **asked["headers"])
    assert answer.status == expected["status"], body[:200]
    assert answer.getheader("etag") == expected["headers"].get("etag")
    assert answer.getheader("content-type") == expected["headers"].get("content-type")
    if "body_sha256" in expected:
        assert hashlib.sha256(body).hexdigest() == expected["body_sha256"], body[:300]


@pytest.mark.parametrize(("path", "expected"), ANSWERS.items(), ids=str)
def test_ids_and_pages_in_every_form(port: int, path: str, expected: Any) -> None:
    """One id gives a record, several a list of those that exist; what is no page from 1 on is page 1; errors have the program's words."""
    answer, body = ask(port, path)
    document = json.loads(body)
    if isinstance(expected, tuple):
        assert (answer.status, document) == (expected[0], {"error": expected[1]})
        return
    if "info" in document:
        assert (document["info"]["count"], document["info"]["pages"]) == (45, 3)
        document = document["results"]
    ids = [record["id"] for record in document] if isinstance(document, list) else document["id"]
    assert (answer.status, ids) == (200, expected)


def test_filters_are_trimmed_and_kept_in_links(port: int) -> None:
    """Case and blanks around a filter's value do not count; male does not find Female; links keep the filters."""
    everyone, other, men = (
        json.loads(ask(port, f"/api/character?gender={text}")[1])
        for text in ("female", "%20FEMALE%20", "male")
    )
    assert {record["gender"] for record in everyone["results"]} == {"Female"}
    assert other["results"] == everyone["results"]
    assert {record["gender"] for record in men["results"]} == {"Male"}
    assert men["info"]["next"] == "https://rickandmortyapi.com/api/character?page=2&gender=male"


def test_tags_are_compared_weakly(port: int) -> None:
    """`*`, the tag, its strong form and a list with it give 304 without a body; an error is given whole."""
    path = "/api/character/1"
    weak = ask(port, path)[0].headers["ETag"]
    strong = weak.removeprefix("W/")
    for known in ("*", weak, strong, f'"x", {weak}', f'"x",{strong} , "y"'):
        answer, body = ask(port, path, If_None_Match=known)
        assert (answer.status, body, answer.headers["ETag"]) == (304, b"", weak), known
    for known in ('"x"', strong.strip('"')):
        assert ask(port, path, If_None_Match=known)[0].status == 200, known
    assert ask(port, "/api/character/99999", If_None_Match="*")[0].status == 404
