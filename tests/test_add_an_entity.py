"""The walk-throughs of docs/onboarding.md, followed literally, each on a copy of the project.

Its text is the program: blocks after Create, In … after/replace … add/with, and Run are carried out in their order.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import yaml
from testkit.project_copy import ProjectCopy, copy_project
from testkit.whole_pipeline import ROOT, program

if TYPE_CHECKING:
    from pathlib import Path

PAGE = ROOT / "docs" / "onboarding.md"
FENCE = r"```\w*\n(?P<{}>.*?)^```$"
STEP = re.compile(
    r"^(?:(?P<create>Create) `(?P<new>[^`]+)`:\n\n"
    + FENCE.format("content")
    + r"|In `(?P<file>[^`]+)`, (?P<verb>after|replace):\n\n"
    + FENCE.format("old")
    + r"\n\n(?:add|with):\n\n"
    + FENCE.format("text")
    + r"|(?P<run>Run):\n\n"
    + FENCE.format("commands")
    + r")",
    re.MULTILINE | re.DOTALL,
)
MOST_EDITS = 5
PYTHON = shlex.quote(sys.executable)


# That no step of the page changes; a new project's tap and tests have an environment of their own.
ENVIRONMENTS = (".python", "meltano", "sql", "uv")


def section(title: str) -> str:
    """Return the part of the page under a heading of the second rank."""
    found = re.search(
        rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert found is not None
    return found[1]


def change(copy: ProjectCopy, step: re.Match[str]) -> None:
    """Carry out a step that makes or changes a file."""
    path = copy.folder / (step["new"] or step["file"])
    if step["create"]:
        assert not path.exists(), f"{path} is there already"
        path.parent.mkdir(exist_ok=True)
        path.write_text(step["content"], encoding="utf-8")
        return
    text = path.read_text(encoding="utf-8")
    assert text.count(step["old"]) == 1, f"{path.relative_to(copy.folder)}: not once there:\n{step['old']}"
    put = step["text"] if step["verb"] == "replace" else step["old"] + step["text"]
    path.write_text(text.replace(step["old"], put), encoding="utf-8")


@pytest.fixture
def copy(tmp_path: Path) -> ProjectCopy:
    """The project's files with the environments that no step of the page changes."""
    program("SANDBOX_COMMAND", ".venvs/sandbox/bin/sandbox")
    made = copy_project(tmp_path / "a project", ("dev", *ENVIRONMENTS), plugins=False)
    made.run("git init --quiet")
    return made


def run(copy: ProjectCopy, commands: str, environments: tuple[str, ...] = ENVIRONMENTS) -> None:
    """Run a step's commands; where they lead to a new project, it is the copy from then on, with these environments."""
    copy.run(commands, seconds=1200)
    if moved := re.search(r"(?m)^cd (\S+)$", commands):
        copy.folder = (copy.folder / moved[1]).resolve()
        for path in copy.folder.rglob("*"):
            if path.is_file() and ".git" not in path.parts:
                os.utime(path, (0, 0))
        (copy.folder / ".venvs").mkdir()
        for name in environments:
            if (ROOT / ".venvs" / name).exists():
                (copy.folder / ".venvs" / name).symlink_to(ROOT / ".venvs" / name)


def follow(copy: ProjectCopy, title: str) -> None:
    """Carry out every step of a section, in its order; the sandbox that it starts is stopped."""
    steps = list(STEP.finditer(section(title)))
    assert len(steps) == len(re.findall(r"^(?:Create|In|Run)\b[^\n]*:$", section(title), re.MULTILINE))
    try:
        for step in steps:
            if step["run"]:
                run(copy, step["commands"])
            else:
                change(copy, step)
    finally:
        sandbox = copy.folder / ".venvs" / "sandbox" / "bin" / "sandbox"
        if sandbox.exists():
            subprocess.run([sandbox, "stop"], cwd=copy.folder, check=False, capture_output=True, timeout=60)


@pytest.mark.slow
def test_the_walk_through_gives_a_fourth_working_entity(copy: ProjectCopy) -> None:
    """After the page's steps vehicles are in their mart, in Terraform's schemas and in the flows; run and lint are green."""
    follow(copy, "Add an entity")
    assert re.search(r"\b25\b\W+17\b", copy.output[copy.output.rindex("Verdict: ") :]), copy.output[-2000:]


@pytest.mark.slow
def test_the_walk_through_lands_another_api(copy: ProjectCopy) -> None:
    """After the page's steps the books of an API with another envelope are in their mart; run, lint and tests are green."""
    follow(copy, "Make it yours for another API")
    assert re.search(r"\b3\b\W+1000\W+3\b", copy.output[copy.output.rindex("Verdict: ") :]), copy.output[
        -2000:
    ]


@pytest.mark.parametrize("title", ["Add an entity", "Make it yours for another API"])
def test_every_change_of_the_walk_through_fits_the_files(copy: ProjectCopy, title: str) -> None:
    """The page's changes apply to what is there then, at most five by hand, and every list follows from entities.yml."""
    edits = 0
    for step in STEP.finditer(section(title)):
        if not step["run"]:
            change(copy, step)
            edits += not step["create"]
        elif step["commands"].startswith(("make entity", "make new")):
            run(copy, step["commands"], ("dev", *ENVIRONMENTS))
    assert edits <= MOST_EDITS
    copy.run(f"{PYTHON} scripts/landing_schemas.py")
    copy.run(f"{PYTHON} scripts/entities.py --check && {PYTHON} scripts/landing_schemas.py --check")
    copy.run(f"{PYTHON} -m ruff check --quiet . && {PYTHON} -m ruff format --check --quiet .")
    if title == "Add an entity":
        table = json.loads((copy.folder / "terraform" / "schemas" / "vehicles.json").read_text())
        assert {"id", "name", "seats", "pilots", "created"} <= {field["name"] for field in table["fields"]}
        flow = (copy.folder / "orchestrate" / "kestra" / "rick_and_morty_pipeline.yml").read_text()
        assert "values: [character, episode, location, vehicle]" in flow


def test_make_entity_writes_what_an_incremental_entity_needs(copy: ProjectCopy) -> None:
    """From three records: stream, schema, staging model with its test, Meltano's job, the flow's choice, Terraform's schema."""
    records = [
        {
            "id": f"I_{n}",
            "+1": n,
            "default": None,
            "user": {"login": "a"},
            "changed": f"2026-01-0{n}T00:00:00Z",
        }
        for n in (1, 2, 3)
    ]
    (copy.folder / "issues.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))
    copy.run(
        f"{PYTHON} scripts/entities.py --add issues --sample issues.jsonl --since changed && "
        f"{PYTHON} scripts/entities.py --check && {PYTHON} scripts/landing_schemas.py && "
        f"{PYTHON} -m ruff format --check tap-rickandmorty/src/tap_rickandmorty/streams.py && "
        f"{PYTHON} -m ruff check tap-rickandmorty/src/tap_rickandmorty/streams.py"
    )
    tap = copy.folder / "tap-rickandmorty" / "src" / "tap_rickandmorty"
    schema = json.loads((tap / "schemas" / "issues.json").read_text())
    assert schema["properties"]["id"]["type"] == "string"
    assert schema["properties"]["changed"]["format"] == "date-time"
    assert schema["properties"]["default"]["type"] == ["string", "null"]
    assert 'replication_key = "changed"' in (tap / "streams.py").read_text()
    staging = copy.folder / "transform" / "models" / "staging"
    model = (staging / "stg_rickandmorty__issues.sql").read_text()
    assert "newest_record_of_each_key('issues', ['id'])" in model
    assert "landing._1 AS issue_1," in model
    (described,) = yaml.safe_load((staging / "_issues.yml").read_text())["models"]
    assert described["data_tests"][0]["unique_combination_of_columns"]["arguments"] == {
        "combination_of_columns": ["issue_id"]
    }
    meltano = yaml.safe_load((copy.folder / "meltano.yml").read_text())
    assert {"name": "issue", "tasks": ["tap-rickandmorty-issue target-bigquery"]} in meltano["jobs"]
    flow = (copy.folder / "orchestrate" / "kestra" / "rick_and_morty_pipeline.yml").read_text()
    assert "values: [character, episode, location, issue]" in flow
    table = json.loads((copy.folder / "terraform" / "schemas" / "issues.json").read_text())
    assert table["clustered_by"] == ["id"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--add order-items --sample issues.jsonl", "such as order_items; RESOURCE= takes"),
        ("--add issues --sample nowhere.jsonl", "expected a file"),
        ("--add issues --sample issues.jsonl --key number", "record 1 of the sample: no number"),
        ("--add characters --sample issues.jsonl", "characters.json: is there already"),
    ],
    ids=["name", "sample", "key", "there"],
)
def test_make_entity_refuses_what_it_cannot_do(copy: ProjectCopy, arguments: str, expected: str) -> None:
    """It says what was expected, and writes nothing."""
    (copy.folder / "issues.jsonl").write_text('{"id": 1}\n')
    copy.run(f"! {PYTHON} scripts/entities.py {arguments}")
    assert expected in copy.output
    copy.run(f"{PYTHON} scripts/entities.py --check")
