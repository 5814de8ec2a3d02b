"""The API server answers as the makers' own server program did: recorded answers, replayed."""

from __future__ import annotations

import hashlib
import http.client
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
RECORDINGS = sorted((SHARED / "api-responses").glob("*.json"))


@pytest.fixture(scope="module")
def port(command: str) -> Iterator[int]:
    """The API server over the recorded answers' data set."""
    with subprocess.Popen(
        [command, "api", "--data", str(SHARED / "rickandmorty")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield int(json.loads(process.stdout.readline())["url"].split(":")[2].split("/")[0])
        process.terminate()
        assert process.wait(timeout=10) == 0


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
