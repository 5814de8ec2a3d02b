"""The walk-throughs of docs/onboarding.md, followed literally, each on a copy of the project.

Its text is the program: blocks after Create, In … after/replace … add/with, and Run are carried out in their order.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import entities
import new_entity
import pytest
import yaml
from entities import Entity
from entity_models import columns, model_files
from sample_schema import infer_field, infer_object
from testkit.project_copy import ProjectCopy, copy_project
from testkit.project_files import ROOT
from testkit.whole_pipeline import program
from yamllint import linter
from yamllint.config import YamlLintConfig

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
# Longer than a line, as of APIs that nest deeply.
LONG = "login_of_" * 20


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
    copy.run(commands)
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
            subprocess.run([sandbox, "stop"], cwd=copy.folder, check=False, capture_output=True)


@pytest.mark.slow
def test_the_walk_through_gives_a_fourth_working_entity(copy: ProjectCopy) -> None:
    """After the page's steps vehicles are in their mart, in Terraform's schemas and in the flows; run and lint are green."""
    follow(copy, "Add an entity")
    assert re.search(r"\b25\b\W+17\b", copy.output[copy.output.rindex("Verdict: ") :]), copy.output[-2000:]


@pytest.mark.slow
def test_the_walk_through_lands_another_api(copy: ProjectCopy) -> None:
    """After the page's steps the books of an API with another envelope are in their mart; run, lint and tests are green."""
    follow(copy, "Make it yours for another API")
    assert "Where to look next:" in copy.output
    assert "questions.md" not in copy.output
    assert re.search(r"\b3\b\W+1000\W+3\b", copy.output[copy.output.rindex("Verdict: ") :]), copy.output[
        -2000:
    ]


@pytest.mark.parametrize(
    "title", ["Add an entity", pytest.param("Make it yours for another API", marks=pytest.mark.slow)]
)
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
    copy.run(f"{PYTHON} scripts/generated_files.py landing_schemas")
    copy.run(f"{PYTHON} scripts/generated_files.py --check entities landing_schemas")
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
            # Two names that are one to BigQuery, as the case does not count.
            "id": f"I_{n}",
            "ID": n,
            "+1": n,
            "default": None,
            "user": {LONG: "a"},
            "changed": f"2026-01-0{n}T00:00:00Z",
        }
        for n in (1, 2, 3)
    ]
    (copy.folder / "issues.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))
    copy.run(
        f"{PYTHON} scripts/new_entity.py issues --sample issues.jsonl --since changed && "
        f"{PYTHON} scripts/generated_files.py --check entities landing_schemas && "
        f"{PYTHON} -m ruff format --check tap-rickandmorty/src/tap_rickandmorty/streams.py && "
        f"{PYTHON} -m ruff check tap-rickandmorty/src/tap_rickandmorty/streams.py && "
        f"{PYTHON} -m yamllint --strict transform"
    )
    tap = copy.folder / "tap-rickandmorty" / "src" / "tap_rickandmorty"
    schema = json.loads((tap / "schemas" / "issues.json").read_text())
    assert schema["properties"]["id"]["type"] == "string"
    assert schema["properties"]["changed"]["format"] == "date-time"
    assert schema["properties"]["default"]["type"] == ["string", "null"]
    assert 'replication_key = "changed"' in (tap / "streams.py").read_text()
    staging = copy.folder / "transform" / "models" / "staging"
    model = (staging / "stg_rickandmorty__issues.sql").read_text()
    assert "newest_record_of_each_key('issues', ['id_a56145'])" in model
    assert "landing._1 AS issue_1," in model
    (described,) = yaml.safe_load((staging / "_issues.yml").read_text())["models"]
    assert described["data_tests"][0]["unique_combination_of_columns"]["arguments"] == {
        "combination_of_columns": ["id_a56145"]
    }
    meltano = yaml.safe_load((copy.folder / "meltano.yml").read_text())
    assert {"name": "issue", "tasks": ["tap-rickandmorty-issue target-bigquery"]} in meltano["jobs"]
    flow = (copy.folder / "orchestrate" / "kestra" / "rick_and_morty_pipeline.yml").read_text()
    assert "values: [character, episode, location, issue]" in flow
    fields = yaml.safe_load((copy.folder / "transform" / "dbt_project.yml").read_text())["vars"]["fields"]
    assert fields["issues"] == {
        "id_a56145": "STRING",
        "ID_384397": "INT64",
        "_1": "INT64",
        "default": "STRING",
        f"user.{LONG}": "STRING",
        "changed": "TIMESTAMP",
        "new_fields": "JSON",
    }
    table = json.loads((copy.folder / "terraform" / "schemas" / "issues.json").read_text())
    assert table["clustered_by"] == ["id_a56145"]


@pytest.mark.parametrize(
    ("field", "value", "landed", "name"),
    [
        ("id", 1, "id", "order_id"),
        ("from", "x", "`from`", "order_from"),
        ("None", True, "`None`", "none"),
        ("Größe", 1, "`Größe`", "grosse"),
        ("aB", 1, "`aB`", "a_b"),
        ("_type", "x", "_type", "type"),
        ("2fast", 1, "_2fast", "order_2fast"),
        ("_", 1, "_", "order_field"),
        ("run_id", "x", "run_id", "order_run_id"),
        ("is_new", 1, "is_new", "order_is_new"),
        ("is_new", True, "is_new", "is_new"),
        ("sold_at", "soon", "sold_at", "sold_at_value"),
        ("sold_at", "2026-01-01T00:00:00+05:30", "sold_at", "sold_at"),
        ("part_count", "two", "part_count", "part_count_value"),
    ],
)
def test_a_column_has_a_name_that_lint_takes(field: str, value: Any, landed: str, name: str) -> None:
    """Lower case, no word of SQL, and of the type that its ending promises (dbt-bouncer.yml); what SQL reads otherwise is quoted."""
    entity = Entity("orders", "order", "order", ("id",), "full")
    schema = {"type": "object", **infer_object([{"id": 1, field: value}])}
    column = columns(entity, schema)[0][field]
    assert (column.read, column.name) == (landed, name)


def test_a_mart_has_an_objects_fields_one_by_one() -> None:
    """As JSON:API has them, where nothing else is of use; a list of objects is named, as its grain is another."""
    entity = Entity("orders", "order", "order", ("id",), "full")
    fields = {"End": "2026-01-01", "tags": ["a"], "by": {"Größe": 1}, "lines": [{"sku": "a"}]}
    schema = {"type": "object", **infer_object([{"id": 1, "order": fields}])}
    (mart,) = (text for path, text in model_files(entity, schema).items() if path.name == "dim_orders.sql")
    assert [line.strip(" ,") for line in mart.splitlines()[1:-3]] == [
        "-- order.lines is a list of objects: UNNEST it in a model of its own.",
        "SELECT",
        "order_id",
        "order_order.`End` AS order_order_end",
        "order_order.tags AS order_order_tags",
        "order_order.`by`.`Größe` AS order_order_by_grosse",
    ]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2**63 - 1, None], {"type": ["integer", "null"]}),
        ([1, 2**63], {"type": "number", "multipleOf": 1}),
        ([1, 1.5], {"type": "number"}),
        (["2026-02-28", None], {"type": ["string", "null"], "format": "date"}),
        (["2026-02-28", "2026-02-30"], {"type": "string"}),
        (
            ["2026-02-28T00:00:00Z", "2026-02-28 23:59:59.123+05:30"],
            {"type": "string", "format": "date-time"},
        ),
        # The target takes microseconds.
        (["2026-02-28T00:00:00.1234560Z"], {"type": "string", "format": "date-time"}),
        (["2026-02-28T00:00:00.1234567Z"], {"type": "string"}),
        (["2026-02-28T00:00:00Z", ""], {"type": "string"}),
        ([None], {"type": ["string", "null"]}),
        ([{}, {}], {"type": "object"}),
        (
            [{"a": 1}, {}],
            {
                "type": "object",
                "additionalProperties": False,
                "required": [],
                # As Singer's SDK tests a tap: what a record lacks is null.
                "properties": {
                    "a": {"type": ["integer", "null"], "description": "translated.a, as the API gives it."}
                },
            },
        ),
    ],
)
def test_a_field_has_the_type_of_its_values(values: list[Any], expected: dict[str, Any]) -> None:
    """Dates that are in the calendar, numbers that an INT64 holds or not, nothing but null."""
    translated = infer_field(values, "translated")
    assert translated.pop("description")
    assert translated == expected


def test_the_lists_of_many_entities_pass_lint() -> None:
    """However long a flow's list of jobs becomes."""
    many = [Entity(f"things_{n}", f"thing_{n}", "thing", ("id",), "full") for n in range(30)]
    config = YamlLintConfig(file=str(ROOT / ".yamllint.yaml"))
    for path, text in entities.flow_files(many).items():
        assert not list(linter.run(text, config, str(path.relative_to(ROOT))))


def test_a_field_that_is_named_as_the_target_s_own_is_left_out() -> None:
    """A source that was itself landed by Singer: its metadata is not a column of the models."""
    entity = Entity("orders", "order", "order", ("id",), "full")
    records = [{"_sdc_run_id": "x", "id": 1, "name": "a"}]
    found, _ = columns(entity, {"type": "object", **infer_object(records)})
    assert list(found) == ["id", "name"]


@pytest.mark.parametrize("key", ["id", [], ["id", "id"], [""], [1], None], ids=repr)
def test_a_key_is_a_list_of_fields(key: Any) -> None:
    """A key without its brackets would be a key of two letters."""
    with pytest.raises(ValueError, match="expected a list of one or more fields, each once"):
        entities.validate([asdict(Entity("orders", "order", "order", ("id",), "full")) | {"key": key}])


@pytest.mark.parametrize(
    "case",
    [
        ('{"id": 1}', "order-items", "such as order_items, and no word of YAML; resource takes"),
        ('{"id": 1}', "on", "name 'on': expected"),
        ('{"id": 1}', "v" * 41, "expected at most 40 lower-case letters"),
        ('{"id": 1}', "issues --singular dbt", "dbt is there twice"),
        ('{"id": 1}', "character --resource people", "character is there twice"),
        ('{"id": 1}', "issues --key number", "no number; name another KEY or SINCE"),
        ('{"id": 1}', "issues --since changed", "record 1 of the sample: no changed"),
        ('{"id": 1, "a": true}', "issues --since a", "record 1 of the sample: a is neither a number"),
        ('{"id": 1, "a": "3 days ago"}', "issues --since a", "a date such as 2026-01-31"),
        ('{"id": 1}', "characters --singular hero", "characters is there twice"),
        ('{"id": 1}', "loads", "loads.sql: exists already"),
        ('{"id": {"a": 1}}', "issues", "id is neither an integer nor a string"),
        ('{"id": 1.5}', "issues", "id is neither an integer nor a string"),
        ('{"id": 1}\n{"id": 2}\n{"id": 1}', "issues", "record 3 of the sample: the same id as record 1"),
        ('{"id": 1, "a": NaN}', "issues", "line 1: expected a JSON object in UTF-8"),
        ('[{"id": 1}]', "issues", "one JSON object per line; jq -c '.[]' makes lines"),
        ('{"id": 1}\nnull', "issues", "one JSON object per line"),
        ('{"id": 1}\n{"id": 2', "issues", "line 2: expected a JSON object in UTF-8"),
        # Of another encoding: its names would be columns.
        ('{"id": 1, "gr\udcf6\udcdfe": 2}', "issues", "line 1: expected a JSON object in UTF-8"),
        ("", "issues", "expected at least one record"),
        (None, "issues", "expected a file"),
        (None, "issues --sample=", "SAMPLE is not given"),
        ('{"id": 1}', "api", "the tap has a class ApiStream already"),
        ('{"id": 1}', "listing", "the tap has a class ListingStream already"),
        ('{"id": 1}', "all_of_it --singular rickandmorty", "rickandmorty is the job of all entities"),
        ('{"id": 1}', 'issues --resource a"b', "expected what follows the API's own address"),
        ('{"id": 1}', "issues --resource /issue", "expected what follows the API's own address"),
        ('{"id": 1}', "issues --key id,", "one or more fields, each once"),
        ('{"id": 1, "new_fields": 2}', "issues", "new_fields is the tap's own column"),
    ],
    ids=lambda case: case[2],
)
def test_make_entity_refuses_what_it_cannot_do(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    case: tuple[str | None, str, str],
) -> None:
    """It says what was expected in one line, and writes nothing."""
    sample, arguments, expected = case
    file = tmp_path / "a sample.jsonl"
    if sample is not None:
        file.write_text(sample, "utf-8", "surrogateescape")
    written: list[Path] = []
    monkeypatch.setattr(Path, "write_text", lambda path, *_, **__: written.append(path))
    monkeypatch.setattr(sys, "argv", ["new_entity.py", "--sample", str(file), *arguments.split()])
    with pytest.raises(SystemExit) as ended:
        new_entity.main()
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("make entity: ")
    assert error.count("\n") == 1
    assert expected in error
    assert written == []
