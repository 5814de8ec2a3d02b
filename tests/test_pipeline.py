"""Whole runs of the real Meltano project on the sandbox: what the one whole run has landed, and further loads elsewhere."""

import contextlib
import json
import os
import re
import signal
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from google.api_core.exceptions import NotFound
from testkit.programs import eventually
from testkit.project_files import ROOT
from testkit.whole_pipeline import RESOURCES, SHARED_DATA, BuiltPipeline, Project

LANDING = "local_rickandmorty_landing"
MARTS = "local_rickandmorty_marts"
needs_real_data = pytest.mark.skipif(
    not SHARED_DATA.is_dir(), reason="../shared/data/rickandmorty is not there"
)


def newest(stream: str) -> str:
    """The condition that selects the newest version of a stream in its landing table."""
    return f"_sdc_table_version = (SELECT MAX(_sdc_table_version) FROM `{LANDING}.{stream}`)"


def landed(project: Project) -> dict[str, int]:
    """Return the number of rows in each landing table that has any."""
    try:
        tables = project.sandbox.ask(f"SELECT table_name FROM `{LANDING}.INFORMATION_SCHEMA.TABLES`")
    except NotFound:
        return {}
    counts = {
        s: project.sandbox.value(f"SELECT COUNT(*) FROM `{LANDING}.{s}`") for s in RESOURCES if (s,) in tables
    }
    return {stream: count for stream, count in counts.items() if count}


def as_served(row: dict[str, Any]) -> dict[str, Any]:
    """A landing row as the API gave it: no metadata, times in the API's form."""
    record = {k: v for k, v in row.items() if not k.startswith("_sdc_")}
    assert record.pop("new_fields") is None
    created = record["created"]
    assert isinstance(created, datetime)
    return {
        **record,
        "created": created.strftime("%Y-%m-%dT%H:%M:%S.") + f"{created.microsecond // 1000:03d}Z",
    }


@pytest.mark.parametrize("stream", RESOURCES)
def test_landing_equals_the_api_field_for_field(built_pipeline: BuiltPipeline, stream: str) -> None:
    """Every record that the API serves is landed, each field with its value."""
    client = built_pipeline.sandbox.client()
    rows = client.query(f"SELECT * FROM `{LANDING}.{stream}` WHERE {newest(stream)}").result()
    found = {row["id"]: as_served(dict(row)) for row in rows}
    assert found == {record["id"]: record for record in built_pipeline.sandbox.served(RESOURCES[stream])}


@needs_real_data
def test_the_real_data_set_has_its_exact_counts(built_pipeline: BuiltPipeline) -> None:
    """493 characters, 76 locations and 31 episodes are landed and in the dimensions; characters list 802 links."""
    value = built_pipeline.sandbox.value
    expected = {"characters": 493, "locations": 76, "episodes": 31}
    assert {s: value(f"SELECT COUNT(*) FROM `{LANDING}.{s}` WHERE {newest(s)}") for s in expected} == expected
    assert {s: value(f"SELECT COUNT(*) FROM `{MARTS}.dim_{s}`") for s in expected} == expected
    assert value(f"SELECT COUNT(*) FROM `{MARTS}.fct_appearances` WHERE listed_by_character") == 802
    assert value(f"SELECT COUNT(*) FROM `{MARTS}.fct_appearances` WHERE listed_by_episode") == 800


@needs_real_data
def test_every_oddity_of_the_real_data_set_is_still_visible(built_pipeline: BuiltPipeline) -> None:
    """What the data set's README lists as odd is in the warehouse: flagged or kept, never dropped."""
    ask, value = built_pipeline.sandbox.ask, built_pipeline.sandbox.value
    one_sided = ask(
        f"SELECT character_id, episode_id FROM `{MARTS}.fct_appearances` "
        "WHERE listed_by_character AND NOT listed_by_episode ORDER BY 1, 2"
    )
    assert one_sided == [(125, 18), (125, 21)]
    url = "https://rickandmortyapi.com/api/character/242"
    both = f"SELECT id FROM `{LANDING}.locations`, UNNEST(residents) AS r WHERE r = '{url}' AND {newest('locations')}"
    assert sorted(i for (i,) in ask(both)) == [53, 67]
    characters = f"FROM `{LANDING}.characters` WHERE {newest('characters')}"
    assert value(f"SELECT COUNT(*) {characters} AND origin.name = 'unknown' AND origin.url = ''") == 244
    assert value(f"SELECT COUNT(*) {characters} AND location.name = 'unknown' AND location.url = ''") == 24
    assert value(f"SELECT COUNT(*) {characters} AND type = ''") == 296
    names = f"SELECT COUNT(*) FROM (SELECT character_name FROM `{MARTS}.dim_characters` GROUP BY character_name HAVING COUNT(*) > 1)"
    assert value(names) == 21
    empty = f"SELECT COUNT(*) FROM `{LANDING}.locations` WHERE {newest('locations')} AND ARRAY_LENGTH(residents) = 0"
    assert value(empty) == 21


def test_the_ledger_has_one_row_for_each_stream_of_the_run(built_pipeline: BuiltPipeline) -> None:
    """`_loads` tells for each stream the rows that its landing table holds of that run."""
    ledger = built_pipeline.sandbox.ask(f"SELECT stream, rows, run_id FROM `{LANDING}._loads`")
    for stream in RESOURCES:
        for name, rows, run_id in ledger:
            if name == stream:
                held = f"SELECT COUNT(*) FROM `{LANDING}.{stream}` WHERE _sdc_run_id = '{run_id}'"
                assert built_pipeline.sandbox.value(held) == rows
    assert {name for name, _, _ in ledger} == set(RESOURCES)


def test_the_page_of_costs_has_no_fewer_queries_than_a_build(built_pipeline: BuiltPipeline) -> None:
    """A build runs a query for each table and test of the project; a view costs nothing, and a build runs no unit test."""
    page = ROOT / "terraform" / "README.md"
    if not page.is_file():
        pytest.skip("terraform/ was removed from this project")
    (queries,) = re.findall(r"some (\d+) per run", page.read_text(encoding="utf-8"))
    nodes = built_pipeline.manifest["nodes"].values()
    asked = [n for n in nodes if n["resource_type"] == "test" or n["config"]["materialized"] == "table"]
    assert len(asked) < int(queries)


def test_what_the_landing_bucket_forgets_is_what_runs_leave_but_not_meltanos_state(
    built_pipeline: BuiltPipeline,
) -> None:
    """Each object of a run falls under a rule of Terraform's; a pipeline that rests for longer finds its bookmarks."""
    configuration = ROOT / "terraform" / "main.tf"
    if not configuration.is_file():
        pytest.skip("terraform/ was removed from this project")
    text = configuration.read_text(encoding="utf-8")
    (rules,) = re.findall(r"(?m)^ +delete += (\[.*\])$", text)
    ends = tuple(json.loads(re.findall(r"suffixes = (\[.*?\])", rules)[0]))
    beginnings = tuple(json.loads(re.findall(r"prefixes = (\[.*?\])", rules)[0]))
    host = built_pipeline.sandbox.env["STORAGE_EMULATOR_HOST"]
    listed = requests.get(f"{host}/storage/v1/b/local-landing/o").json()["items"]
    names = [item["name"] for item in listed]
    assert {name.partition("/")[0] for name in names} >= {"characters", "_manifests"}
    assert not [name for name in names if not name.endswith(ends) and not name.startswith(beginnings)]
    (state,) = re.findall(
        r"gs://\$\{module.landing_bucket.name\}/([\w-]+)", (ROOT / "terraform" / "outputs.tf").read_text()
    )
    kept = f"{state}/prod:tap-rickandmorty-to-target-bigquery/state.json"
    assert not kept.endswith(ends)
    assert not kept.startswith(beginnings)


def test_the_same_run_id_twice_lands_rows_once(own_project: Project) -> None:
    """A second run with the id of a finished one ends well and changes no landing table; a job loads its own stream only."""
    before, run_id = landed(own_project), str(uuid.uuid4())
    served = len(own_project.sandbox.served("episode"))
    for _ in range(2):
        status, log = own_project.run("episode", run_id=run_id)
        assert status == 0, log[-4000:]
        assert landed(own_project) == {**before, "episodes": before.get("episodes", 0) + served}


def tap_of(run_id: str) -> int:
    """Return the process of the tap that reads for a run."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes().decode()
            runs = "/tap-rickandmorty\0" in command and "--discover" not in command
            if runs and run_id.encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
    (tap,) = found
    return tap


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="/proc is not there")
def test_a_tap_killed_in_the_middle_lands_nothing(own_project: Project) -> None:
    """When the tap is killed, the run fails, and no landing table changes."""
    sandbox = own_project.sandbox
    before = landed(own_project)
    sandbox.api.inject({"method": "GET", "path": r"/character/1,", "action": "hold"})
    try:
        run_id = str(uuid.uuid4())
        process = own_project.start("character", run_id=run_id)
        eventually(sandbox.api.held, "the tap has not asked for the characters")
        os.kill(tap_of(run_id), signal.SIGKILL)
        log, _ = process.communicate()
    finally:
        sandbox.api.inject()
    assert process.returncode != 0, log[-4000:]
    assert landed(own_project) == before
