"""The API server answers as the API's own program did: recorded answers, replayed."""

from __future__ import annotations

import hashlib
import http.client
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from testkit.proxies import served

if TYPE_CHECKING:
    from collections.abc import Iterator

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
RECORDINGS = sorted((SHARED / "api-responses").glob("*.json"))


@pytest.fixture(scope="module")
def port(command: str) -> Iterator[int]:
    """The API server over the recorded answers' data set."""
    with served(command, "api", "--data", str(SHARED / "rickandmorty")) as url:
        yield urlsplit(url).port or 0


@pytest.mark.skipif(not RECORDINGS, reason="../shared/data/api-responses is not there")
@pytest.mark.parametrize("path", RECORDINGS or [Path("none")], ids=lambda p: p.stem)
def test_a_recorded_answer_is_given_again(port: int, path: Path) -> None:
    """Status, body to the byte and etag are those of the makers' program."""
    recording: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    asked, expected = recording["request"], recording["response"]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(asked["method"], asked["path"], headers=asked["headers"])
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.status == expected["status"], body[:200]
    assert answer.getheader("etag") == expected["headers"].get("etag")
    assert answer.getheader("content-type") == expected["headers"].get("content-type")
    if "body_sha256" in expected:
        assert hashlib.sha256(body).hexdigest() == expected["body_sha256"], body[:300]
