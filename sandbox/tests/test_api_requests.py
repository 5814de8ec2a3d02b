"""Odd requests: the API server answers as Express, qs, express-validator, Mongoose, cors and fresh make the makers' program answer."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from testkit.proxies import served

if TYPE_CHECKING:
    from collections.abc import Iterator

SITE = "https://rickandmortyapi.com/api"
NOT_FOUND = (404, "Character not found")
NO_ID = (500, "Hey! you must provide an id")
BAD_ARRAY = (500, "Bad... bad array :/")
NOTHING = (404, "There is nothing here")
NO_ROUTE = (404, "There is nothing here.")


def cast(value: str) -> tuple[int, str]:
    """Return Mongoose's refusal of a value."""
    return 500, f'Cast to Number failed for value "{value}" at path "id" for model "Character"'


BY_ID: dict[str, Any] = {
    # path after /api/character/ -> one record's id, a list of ids, or status and error
    "1": 1,
    "1/": 1,
    "1.0": 1,
    "01": 1,
    "1e0": 1,
    "0x1": 1,
    "+1": 1,
    "%201": 1,
    "1%20": 1,
    "1?name=x": 1,
    "1.5": NOT_FOUND,
    "-1": NOT_FOUND,
    "99999": NOT_FOUND,
    "1abc": cast("1abc"),
    "abc": NO_ID,
    "-": NO_ID,
    ",": NO_ID,
    "%20": NO_ID,
    "1,": [1],
    ",1": [1],
    "1,,2": [1, 2],
    "2,1": [1, 2],
    "1,1": [1],
    "1.0,2": [1, 2],
    "-1,2": [2],
    " 1, 2".replace(" ", "%20"): [1, 2],
    "99998,99999": [],
    "1,abc": cast("NaN"),
    "[1,2]": [1, 2],
    "[2]": [2],
    '["1",2]'.replace('"', "%22"): [1, 2],
    "[1,null]": [1],
    "[1,2": BAD_ARRAY,
    "1,2]": BAD_ARRAY,
    "[]": BAD_ARRAY,
    "[1,]": BAD_ARRAY,
    "%ff": (400, "Failed to decode param '%ff'"),
    "1/2": NO_ROUTE,
}
LISTS: dict[str, Any] = {
    # path and query -> page that comes, or status and error
    "/api/character": 1,
    "/api/character/": 1,
    "/API/character": 1,
    "/api/character?page=": 1,
    "/api/character?page=0": 1,
    "/api/character?page=-1": 1,
    "/api/character?page=abc": 1,
    "/api/character?page=2": 2,
    "/api/character?page=%202": 2,
    "/api/character?page=+2": 2,
    "/api/character?page=02": 2,
    "/api/character?page=2.0": 2,
    "/api/character?page[]=2": 2,
    "/api/character?page=2&page=3": 1,
    "/api/character?PAGE=2": 1,
    "/api/character?page=2&unknown=x": 2,
    "/api/character?page=4": NOTHING,
    "/api/character?page=1e9": NOTHING,
    "/api/character?page=Infinity": NOTHING,
    "/api/character?name=nobody-of-that-name": NOTHING,
    "/api/character?name=(": NOTHING,
    "/api/character?gender=male(": (500, "Invalid regular expression: /^male(/: Unterminated group"),
    "/api/Character": (500, "Cannot read properties of undefined (reading 'findAndCount')"),
    "/api/character//": NO_ROUTE,
    "//api/character": NO_ROUTE,
    "/api//character": 1,
    "/api/characters": NO_ROUTE,
    "/character": NO_ROUTE,
    "/": NO_ROUTE,
}


@pytest.fixture(scope="module")
def port(command: str) -> Iterator[int]:
    """A universe of three pages of characters: its port."""
    with served(command, "api", "--universe", "characters=45") as url:
        yield urlsplit(url).port or 0


def ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, Any]:
    """Send a path as it is; return the answer and its body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(
        method, path, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, json.loads(body) if body else None


@pytest.mark.parametrize(("path", "expected"), BY_ID.items(), ids=str)
def test_ids_in_every_form(port: int, path: str, expected: Any) -> None:
    """One id gives a record, several a list of those that exist; what is not a number is refused in the program's words."""
    answer, body = ask(port, f"/api/character/{path}")
    if isinstance(expected, tuple):
        assert (answer.status, body) == (expected[0], {"error": expected[1]})
    else:
        ids = [record["id"] for record in body] if isinstance(body, list) else body["id"]
        assert (answer.status, ids) == (200, expected)


@pytest.mark.parametrize(("path", "expected"), LISTS.items(), ids=str)
def test_pages_in_every_form(port: int, path: str, expected: Any) -> None:
    """What is no page from 1 on is page 1; past the end there is nothing."""
    answer, body = ask(port, path)
    if isinstance(expected, tuple):
        assert (answer.status, body) == (expected[0], {"error": expected[1]})
    else:
        assert answer.status == 200
        assert (body["info"]["count"], body["info"]["pages"]) == (45, 3)
        assert body["results"][0]["id"] == 20 * expected - 19


def test_half_a_page_begins_half_a_page_later(port: int) -> None:
    """`page=1.5` skips ten records; its neighbours are those of page 1."""
    _, body = ask(port, "/api/character?page=1.5")
    assert body["results"][0]["id"] == 11
    assert body["info"]["next"] == f"{SITE}/character?page=2"
    assert body["info"]["prev"] is None


def test_filters_are_trimmed_and_the_first_of_several_counts(port: int) -> None:
    """Blanks around a filter's value do not count; male does not find Female; links keep the filters."""
    _, everyone = ask(port, "/api/character?gender=female")
    for query in ("gender=%20Female%20", "gender=FEMALE", "gender=female&gender=male", "gender[]=female"):
        _, body = ask(port, f"/api/character?{query}")
        assert body["info"]["count"] == everyone["info"]["count"], query
        assert body["results"] == everyone["results"], query
    _, men = ask(port, "/api/character?gender=male")
    assert {record["gender"] for record in men["results"]} == {"Male"}
    assert men["info"]["next"] == f"{SITE}/character?page=2&gender=male"


def test_tags_are_compared_weakly(port: int) -> None:
    """`*`, the tag, its strong form and a list with it give 304 without a body; no-cache gives the whole answer."""
    path = "/api/character/1"
    weak = ask(port, path)[0].headers["ETag"]
    strong = weak.removeprefix("W/")
    for known in ("*", weak, strong, f'"x", {weak}', f'"x",{strong} , "y"'):
        answer, body = ask(port, path, If_None_Match=known)
        assert (answer.status, body, answer.headers["ETag"]) == (304, None, weak), known
    for known in ('"x"', strong.strip('"'), '*, "x"'):
        assert ask(port, path, If_None_Match=known)[0].status == 200, known
    assert ask(port, path, If_None_Match=weak, Cache_Control="no-cache")[0].status == 200
    assert ask(port, "/api/character/99999", If_None_Match="*")[0].status == 404


def test_methods_and_their_headers(port: int) -> None:
    """OPTIONS is answered on any path, HEAD as GET without a body, any other method as a path that is not there."""
    for path in ("/api/character", "/nope"):
        answer, body = ask(port, path, "OPTIONS", Origin="http://a", Access_Control_Request_Headers="X-A")
        assert (answer.status, body) == (204, None)
        assert answer.headers["Access-Control-Allow-Methods"] == "GET,HEAD,PUT,PATCH,POST,DELETE"
        assert answer.headers["Access-Control-Allow-Headers"] == "X-A"
        assert answer.headers["Vary"] == "Access-Control-Request-Headers"
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
    head, nothing = ask(port, "/api/character", "HEAD")
    whole, _ = ask(port, "/api/character")
    assert nothing is None
    assert (head.status, head.headers["ETag"]) == (200, whole.headers["ETag"])
    assert head.headers["Content-Length"] == whole.headers["Content-Length"]
    for method in ("POST", "PUT", "DELETE"):
        answer, body = ask(port, "/api/character", method)
        assert (answer.status, body) == (404, {"error": "There is nothing here."})
    for answer in (head, whole):
        assert answer.headers["X-Powered-By"] == "Express"
        assert answer.headers["Server"] is None
