"""Other projects' taps and targets, run by Meltano in this project: all it takes is their entry in meltano.yml.

They are in environments of their own, which `make test` installs. More of them are run in the tests of tap and target.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from testkit.project_copy import ProjectCopy, copy_project
from testkit.project_files import ROOT
from testkit.whole_pipeline import RESOURCES, Sandbox, program

from testkit import programs

# Not the dataset of the tests that share the sandbox.
PREFIX = "others_"
LANDING = f"{PREFIX}rickandmorty_landing"
ROWS: list[dict[str, Any]] = [
    {"id": 1, "name": "Ünna"},
    {"id": 2, "name": None},
    {"id": 3, "name": 'O\'Neil, "x"\n'},
]


@pytest.fixture
def copy(tmp_path: Path) -> ProjectCopy:
    """The project, where a plugin can be added to meltano.yml."""
    program("MELTANO_COMMAND", ".venvs/meltano/bin/meltano")
    return copy_project(tmp_path / "a project", ("meltano",))


def run(copy: ProjectCopy, sandbox: Sandbox, kind: str, plugin: dict[str, Any]) -> None:
    """Add a plugin, and run it with ours on the other side."""
    name = plugin["name"]
    executable = programs.foreign(name)
    file = copy.folder / "meltano.yml"
    project = yaml.safe_load(file.read_text(encoding="utf-8"))
    added = {"namespace": name.replace("-", "_"), "executable": str(executable), **plugin}
    project["plugins"][kind].append(added)
    project["environments"][0]["env"]["DATASET_PREFIX"] = PREFIX
    file.write_text(yaml.safe_dump(project), encoding="utf-8")
    blocks = f"{name} target-bigquery" if kind == "extractors" else f"tap-rickandmorty {name}"
    copy.run(f".venvs/meltano/bin/meltano run {blocks}", **dict[str, Any](sandbox.env))


def test_another_tap_lands_every_row(copy: ProjectCopy, sandbox: Sandbox) -> None:
    """The landing table of its stream holds what its source does, and the ledger says so."""
    lines = copy.folder / "lines.jsonl"
    lines.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS), encoding="utf-8")
    plugin = {
        "name": "tap-jsonl",
        "capabilities": ["catalog", "discover", "state"],
        "select": ["lines.*"],
        "config": {"path": str(lines), "stream_name": "lines", "primary_keys": ["id"]},
    }
    run(copy, sandbox, "extractors", plugin)
    landed = sandbox.ask(f"SELECT id, name FROM `{LANDING}.lines` ORDER BY id")
    assert landed == [(row["id"], row["name"]) for row in ROWS]
    ledger = f"SELECT extractor, `rows` FROM `{LANDING}._loads` WHERE stream = 'lines'"
    assert sandbox.ask(ledger) == [("tap-jsonl", len(ROWS))]


def served_by(sandbox: Sandbox, resource: str) -> list[dict[str, Any]]:
    """Return a resource's records: the project's own answers where it has some, whatever envelope they are served in."""
    answers = ROOT / "answers" / f"{resource}.jsonl"
    if not answers.is_file():
        return sandbox.served(resource)
    return [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()]


def test_another_target_gets_every_record(copy: ProjectCopy, sandbox: Sandbox) -> None:
    """The file of each stream holds the API's records, each once."""
    folder = copy.folder / "written"
    folder.mkdir()
    config = {"destination_path": str(folder), "do_timestamp_file": False}
    run(copy, sandbox, "loaders", {"name": "target-jsonl", "config": config})
    for stream, resource in RESOURCES.items():
        (path,) = folder.glob(f"{stream}*.jsonl")
        written = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        served = served_by(sandbox, resource)
        key = next(iter(served[0]))
        assert sorted(str(record[key]) for record in written) == sorted(str(record[key]) for record in served)
