"""What the tap sends: every record once, in order, and ACTIVATE_VERSION only when the version is whole."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tap_api import RESOURCES, Api, RunTap, character, environment, episode, location, slow, started

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "rickandmorty"


def test_records_are_what_the_api_serves_in_its_order(api: Api, run_tap: RunTap) -> None:
    """Each stream's records equal the API's, field for field, ascending by id."""
    run = run_tap().succeeded()
    for stream, resource in RESOURCES.items():
        assert run.records(stream) == api.records[resource]


def test_activate_version_follows_the_last_record(run_tap: RunTap) -> None:
    """A stream's one ACTIVATE_VERSION comes after its last RECORD, with the version that every RECORD carries."""
    run = run_tap()
    for stream in RESOURCES:
        of_stream = [m for m in run.messages if m.get("stream") == stream and m["type"] != "SCHEMA"]
        assert of_stream[-1]["type"] == "ACTIVATE_VERSION"
        assert {m["version"] for m in of_stream} == {of_stream[-1]["version"]}
        assert len(run.activated(stream)) == 1


def test_a_run_of_the_real_sizes_takes_six_requests_over_three_connections(api: Api, run_tap: RunTap) -> None:
    """826 characters, 126 locations and 51 episodes: page 1 for the count and one address for all ids, each."""
    api.records = {
        "character": [character(i) for i in range(1, 827)],
        "location": [location(i) for i in range(1, 127)],
        "episode": [episode(i) for i in range(1, 52)],
    }
    run_tap().succeeded()
    assert {r: len(api.asked(r)) for r in api.records} == {"character": 2, "location": 2, "episode": 2}
    assert len(api.connections) <= 3
    assert max(len(path) for path, _ in api.requests) < 6_100
    assert {headers["User-Agent"] for _, headers in api.requests} == {"tap-rickandmorty/0.1.0"}


def test_a_large_listing_is_cut_into_addresses_and_its_edge_is_read_again(api: Api, run_tap: RunTap) -> None:
    """12,000 characters: the last page before and after, and the ids between in addresses of safe length."""
    api.records["character"] = [character(i) for i in range(1, 12_001)]
    run = run_tap().succeeded()
    assert [r["id"] for r in run.records("characters")] == list(range(1, 12_001))
    by_ids = [path for path in api.asked("character") if "," in path]
    assert len(by_ids) > 1
    assert max(map(len, by_ids)) < 6_100
    assert [path for path in api.asked("character") if "," not in path] == [
        "/api/character",
        "/api/character?page=600",
        "/api/character?page=600",
    ]


def test_addresses_are_cut_to_answers_of_about_a_megabyte(api: Api, run_tap: RunTap) -> None:
    """A large listing that begins with large records: few ids at first, and as many as an address holds afterwards."""
    api.records["character"] = [character(i, name="x" * 20_000 if i <= 60 else "x") for i in range(1, 6_001)]
    run = run_tap().succeeded()
    assert [r["id"] for r in run.records("characters")] == list(range(1, 6_001))
    named = [path.count(",") + 1 for path in api.asked("character") if "," in path]
    assert named[0] < 60
    assert max(named) > 1_000


def test_an_empty_listing_without_a_past_is_an_error_unless_allowed(api: Api, run_tap: RunTap) -> None:
    """No records are asked for again past the caches, then an error that names the setting; with it, an empty version."""
    api.records["episode"] = []
    run = run_tap().failed("episodes: the API serves 0 records", "max_shrink_percent")
    assert [h.get("Cache-Control") for p, h in api.requests if "episode" in p] == [None, "no-cache"]
    run = run_tap(max_shrink_percent=100).succeeded()
    assert run.records("episodes") == []
    assert len(run.activated("episodes")) == 1


def test_the_connection_test_sends_no_activate_version(run_tap: RunTap) -> None:
    """`--test` reads one record per stream and activates none."""
    run = run_tap("--test").succeeded()
    assert [m for m in run.messages if m["type"] == "ACTIVATE_VERSION"] == []


@pytest.fixture
def reading(api: Api) -> Iterator[subprocess.Popen[str]]:
    """The tap, with a request open."""
    api.fault(r"character/1,", slow(5))
    with started(api) as process:
        while len(api.asked("character")) < 2:
            assert process.poll() is None
            time.sleep(0.02)
        yield process


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_tap_with_one_line(reading: subprocess.Popen[str], sent: signal.Signals) -> None:
    """SIGTERM and Ctrl-C end the tap while requests are open; no version is activated, and no STATE goes out."""
    reading.send_signal(sent)
    out, err = reading.communicate()
    assert reading.returncode == 128 + sent
    line = f"tap-rickandmorty: ended by {sent.name}; the stream in progress is not complete"
    assert err.strip().rpartition("\n")[2] == line
    assert "ACTIVATE_VERSION" not in out
    assert "STATE" not in out


def test_a_signal_ends_the_tap_though_nobody_reads_its_log(reading: subprocess.Popen[str]) -> None:
    """Meltano may be dead already."""
    assert reading.stderr is not None
    reading.stderr.close()
    reading.terminate()
    assert reading.wait() == 128 + signal.SIGTERM


# A thread of another stream has a line to log as soon as the error is written, and time to do so.
ANOTHER_THREAD_LOGS = """
import logging, threading
from tap_rickandmorty.tap import TapRickAndMorty
class AfterTheError(logging.Handler):
    def emit(self, record):
        if record.levelno == logging.ERROR:
            other = threading.Thread(target=logging.warning, args=("a line of another stream",), daemon=True)
            other.start()
            other.join(0.2)
cli = TapRickAndMorty.cli
logging.getLogger().addHandler(AfterTheError())
cli(["--config=ENV"])
"""


def test_the_error_is_the_last_line_though_other_threads_log(api: Api) -> None:
    """Streams are read concurrently: what the others log does not come after the line that says what failed."""
    api.records["character"][40] = character(41, gender=None)
    command = [sys.executable, "-c", ANOTHER_THREAD_LOGS]
    ended = subprocess.run(command, env=environment(api), capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "retyped field gender in record id 41" in ended.stderr.splitlines()[-1]


def test_a_reader_that_ends_is_one_line(api: Api) -> None:
    """When the target dies, the tap ends with status 1 and one line, without a traceback."""
    api.records["character"] = [character(i, name="x" * 4000) for i in range(1, 401)]
    with started(api) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
        process.wait()
    assert process.returncode == 1
    assert "has ended before the tap" in err
    assert "Traceback" not in err


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data/rickandmorty is not there")
def test_the_real_data_set_comes_through_field_for_field(api: Api, run_tap: RunTap) -> None:
    """All 493 characters, 76 locations and 31 episodes are sent exactly as the API gives them."""
    for resource in api.records:
        with (SHARED / f"{resource}.jsonl").open(encoding="utf-8") as lines:
            api.records[resource] = [json.loads(line) for line in lines]
    run = run_tap().succeeded()
    for stream, resource in RESOURCES.items():
        assert run.records(stream) == api.records[resource]
    assert {s: len(run.records(s)) for s in RESOURCES} == {"characters": 493, "episodes": 31, "locations": 76}
