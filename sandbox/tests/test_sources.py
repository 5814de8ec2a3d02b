"""Sources: captured folders, their names and their homes."""

import json
import os
import shutil
from pathlib import Path

import pytest
import requests
from sandbox_command import API, refusal, run, write_records
from testkit.proxies import served

from testkit import programs


@pytest.mark.slow
def test_capture_makes_a_folder_that_serves_the_same(command: str, tmp_path: Path) -> None:
    """What is captured is what the API serves, with a failed request repeated; a folder that exists is refused."""
    arguments = ("capture", str(tmp_path / "data"), "--api-url")
    with served(command, "api", "--universe", "characters=41,locations=3,episodes=2") as url:
        faults = [{"path": "page=2", "action": "status"}, {"path": "location", "action": "reset"}]
        requests.put(url.replace("/api", "/__sandbox__/faults"), json=faults)
        done = run(command, tmp_path, *arguments, url)
        other = {"path": "page=1", "action": "status", "status": 200, "body": "[1]"}
        requests.put(url.replace("/api", "/__sandbox__/faults"), json=[other])
        refused = refusal(command, tmp_path, "capture", str(tmp_path / "other"), "--api-url", url)
        assert "page=1: expected info.count, info.pages and results" in refused
        assert "exists already" in refusal(command, tmp_path, *arguments, url)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "data" / "character.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == list(range(1, 42))


def test_a_folder_that_has_changed_is_read_again_or_refused(command: str, home: Path, tmp_path: Path) -> None:
    """An API that `start` has left running never serves the records of before: a command is refused, start reads again."""
    data = write_records(tmp_path / "data")
    served = ("--parts", "api", "--data", str(data))
    run(command, home, "start", *served)
    assert run(command, home, "exec", *served, "--", "true").returncode == 0
    (data / "character.jsonl").write_text('{"id": 1}\n{"id": 2}\n')
    # As `cp -p`, `rsync -t` and `tar` leave it: older than the other files.
    os.utime(data / "character.jsonl", (0, 0))
    # With the folder named, and without: it is the home's source.
    for named in (served, served[:2]):
        refused = refusal(command, home, "exec", *named, "--", "true")
        assert "serves something else than asked for" in refused
    assert run(command, home, "start", *served).returncode == 0
    assert run(command, home, "exec", *served, "--", "true").returncode == 0


def test_each_source_has_its_name_and_its_own_warehouse(command: str, tmp_path: Path) -> None:
    """Made-up, captured and live data get homes of their own; the last one chosen is meant where none is named."""
    data = write_records(tmp_path / "a folder")
    (data / "captured.json").write_text('{"captured_at": "2026-02-03T10:00:00+00:00"}')
    show = ["--", "sh", "-c", 'echo "$TARGET_BIGQUERY_SOURCE|$TAP_RICKANDMORTY_API_URL|$SANDBOX_HOME"']

    def shown(*options: str) -> list[str]:
        return programs.succeed(command, "exec", *options, *show, cwd=tmp_path).strip().split("|")

    made_up = shown("--parts", "api", "--universe", "characters=3,seed=4")
    captured = shown("--parts", "api", "--data", str(data))
    assert shown("--parts", "api")[2] == captured[2]
    namesake = tmp_path / "elsewhere" / data.name
    shutil.copytree(data, namesake)
    other = shown("--parts", "api", "--data", str(namesake))
    shutil.rmtree(other[2])
    assert shown("--parts", "api")[0].startswith("made-up universe characters=826")
    live = shown("--live", "--parts", "storage")
    assert made_up[0] == "made-up universe characters=3,locations=1,episodes=1 seed=4"
    assert captured[0] == "captured folder a folder of 2026-02-03"
    assert live[:2] == ["https://rickandmortyapi.com/api"] * 2
    assert other[0] == captured[0]
    assert len({made_up[2], captured[2], other[2], live[2]}) == 4


@pytest.mark.slow
def test_a_home_takes_no_second_source(command: str, tmp_path: Path) -> None:
    """Where a home is named, another source is refused in one line, unless one name is given to both."""
    assert run(command, tmp_path, *API, "--", "true").returncode == 0
    refused = refusal(command, tmp_path, "exec", "--live", "--", "true")
    assert "holds the warehouse of made-up universe characters=3" in refused
    home = tmp_path / "named"
    for universe in ("characters=3", "characters=4"):
        options = ("--source", "mine", "--universe", universe, "--parts", "api")
        done = run(command, home, "exec", *options, "--", "sh", "-c", "echo $TARGET_BIGQUERY_SOURCE")
        assert done.stdout == "mine\n"


def test_a_project_with_answers_of_its_own_uses_them_by_default(command: str, tmp_path: Path) -> None:
    """A folder answers/ in the project is the source where none is named; without it, it is the made-up universe."""

    def home() -> str:
        programs.run(command, "env", cwd=tmp_path)
        return (tmp_path / ".sandbox" / "current").read_text()

    assert home().startswith("made-up-universe")
    (tmp_path / ".sandbox" / "current").unlink()
    write_records(tmp_path / "answers")
    assert home().startswith("captured-folder-answers")


def test_keys_are_whole_numbers_or_texts_of_any_number_of_fields(command: str, tmp_path: Path) -> None:
    """Records are sorted by their key, which need not be one whole number."""
    records = [{"order": "b", "line": 2}, {"order": "a", "line": 10}, {"order": "a", "line": 9}]
    # As editors leave it: a mark at the beginning, empty lines.
    (tmp_path / "line.jsonl").write_text("\ufeff" + "\r\n\r\n".join(map(json.dumps, records)) + "\n\n")
    code = (
        "import json, sys, pathlib; from sandbox import records; records.entities = lambda: ({'line': ['order', 'line']}, {}); "
        "from sandbox.cli import main; len(sys.argv) == 3 and sys.exit(main()); "
        "print(json.dumps(records.read_folder(pathlib.Path(sys.argv[1]))))"
    )
    python = Path(command).with_name("python")
    assert json.loads(programs.succeed(python, "-c", code, tmp_path)) == {
        "line": [records[2], records[1], records[0]]
    }
    made_up = programs.run(python, "-c", code, "api", "--universe=seed=2")
    assert made_up.stderr.startswith("sandbox: --universe: it has no line, which entities.yml names")
