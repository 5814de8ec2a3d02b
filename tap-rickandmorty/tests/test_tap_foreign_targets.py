"""Behind other projects' targets, which know no versions, each record comes once."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from tap_api import RESOURCES, Api, RunTap, character, move_on, status, truncate

from testkit import programs


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The records of a file of JSON lines, or of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file)) if path.suffix == ".csv" else [json.loads(line) for line in file]


TARGETS: dict[str, dict[str, Any]] = {
    "jsonl": {"destination_path": ".", "do_timestamp_file": False},
    "csv": {"output_path": "."},
}


@pytest.mark.parametrize("target", TARGETS)
def test_each_record_comes_once(api: Api, run_tap: RunTap, tmp_path: Path, target: str) -> None:
    """Whatever passes while the tap reads, what the target has written are the API's records, none twice."""
    program = programs.foreign(f"target-{target}")
    api.records["character"][6] = character(7, planet="Mars", species=5)
    del api.records["character"][6]["gender"]
    api.fault(r"episode/1,", truncate)
    api.fault(r"character/1,", status(414), times=99)
    api.fault(r"character\?page=2$", move_on(46))
    run = run_tap(drift_missing_field="warn", drift_retyped_field="warn").succeeded()
    (tmp_path / "config.json").write_text(json.dumps(TARGETS[target]))
    programs.succeed(program, "--config", tmp_path / "config.json", stdin=run.out, cwd=tmp_path)
    for stream, resource in RESOURCES.items():
        (file,) = tmp_path.glob(f"{stream}*.{target}")
        assert [int(r["id"]) for r in lines_of(file)] == [r["id"] for r in api.records[resource]]
