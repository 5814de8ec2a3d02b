"""Two sources that are nothing like the example's, from template to marts.

Each is a project of its own, made by `make new EMPTY=1` and `make entity`; then only what is the source's own is written:
streams.py and the settings that the API asks for. What a second run, a deletion and a crash leave in the marts is looked at.
"""

import json
import os
import re
import select
import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from foreign.own_project import FOREIGN, OwnProject
from foreign.servers import TOKEN, Answers, IssueTracker, Shop, serving
from run_pipeline import answers
from testkit.fault_matrix import INSERT
from testkit.programs import eventually
from testkit.project_files import ROOT
from testkit.proxies import proxied
from testkit.whole_pipeline import Sandbox, running_sandbox
from warehouse import Warehouse, kept_dbt

MOST_LINES = 120
# What the issue tracker's tap asks for beside the template's settings.
SETTINGS = """\
    "token": {"type": "string", "secret": true, "writeOnly": true, "title": "Token", "description": "Bearer token."},
    "full_read": {"type": ["boolean", "null"], "title": "Full read", "description": "Reads every issue, so that deletions are found."},
"""
SINCE = ["--since", "updated_at"]


@pytest.fixture(scope="module")
def sandbox_alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A local Cloud Storage and BigQuery of this module's own."""
    with running_sandbox(tmp_path_factory.mktemp("sandbox"), "--parts", "storage,bigquery") as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def tracker_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The issue tracker's project."""
    source = IssueTracker(url="http://127.0.0.1")
    folder = tmp_path_factory.mktemp("tracker") / "an issue tracker"
    project = OwnProject("tracker", source, folder)
    issues = json.loads(json.dumps(list(source.issues.values())[:60]).replace('"-1"', '"minus_one"'))
    comments, labels = source.comments(50), source.labels
    project.make({"issues": (issues, SINCE), "comments": (comments, SINCE), "labels": (labels, [])}, SETTINGS)
    assert project.lines <= MOST_LINES
    return folder


def test_a_reference_in_a_schema_is_followed(tracker_folder: Path) -> None:
    """The SDK's catalog has no definitions: a target would get a field without a type, and another column than dbt expects."""
    (file,) = tracker_folder.glob("tap-*/src/*/schemas/labels.json")
    known = file.read_text()
    schema = json.loads(known)
    schema["definitions"] = {"colour": schema["properties"]["color"]}
    schema["properties"]["color"] = {"$ref": "#/definitions/colour"}
    file.write_text(json.dumps(schema))
    try:
        with serving(IssueTracker(count=1)) as source:
            messages = OwnProject("tracker", source, tracker_folder).extract(token=TOKEN)
    finally:
        file.write_text(known)
    sent = [json.loads(line) for line in messages.read_text().splitlines()]
    (labels,) = (m["schema"] for m in sent if m["type"] == "SCHEMA" and m["stream"] == "labels")
    assert labels["properties"]["color"] == schema["definitions"]["colour"]


@contextmanager
def reading(source: IssueTracker, sandbox: Sandbox, folder: Path) -> Iterator[OwnProject]:
    """The issue tracker's project on an empty warehouse."""
    client = sandbox.client()
    for dataset in list(client.list_datasets()):
        client.delete_dataset(dataset.reference, delete_contents=True)
    with serving(source):
        yield OwnProject("tracker", source, folder, sandbox)


@pytest.fixture
def tracker(sandbox_alone: Sandbox, tracker_folder: Path) -> Iterator[OwnProject]:
    """The project, on a source of 1,050 issues."""
    with reading(IssueTracker(), sandbox_alone, tracker_folder) as project:
        yield project


@pytest.fixture
def small(sandbox_alone: Sandbox, tracker_folder: Path) -> Iterator[OwnProject]:
    """The project after its first run, on a source of 30 issues in pages of 10; three of them have changed since."""
    with reading(IssueTracker(count=30, most=10), sandbox_alone, tracker_folder) as project:
        # BigQuery remembers the jobs of a dataset that is gone.
        project.prefix = f"t{uuid.uuid4().hex[:8]}_"
        project.load(token=TOKEN)
        for number in (7, 8, 30):
            project.source.put(number, state="closed")
        yield project


@pytest.fixture
def dbt(tracker: OwnProject, tmp_path: Path) -> Iterator[Warehouse]:
    """A dbt process on the issue tracker's project."""
    with kept_dbt(tracker.sandbox, tmp_path, tracker.folder / "transform") as warehouse:
        yield warehouse


@pytest.mark.slow
def test_an_incremental_source_is_whole_after_each_run(tracker: OwnProject, dbt: Warehouse) -> None:
    """1,050 issues, then a delta of 3: 1,050 in the mart both times, as they are now; a full read finds a deletion."""
    source = tracker.source
    tracker.load(token=TOKEN)
    assert tracker.loads("issues") == [("incremental", 1050)]
    dbt.build().succeeded()
    assert len(tracker.mart("issues")) == 1050
    assert len(tracker.mart("comments")) == 2 * 21
    assert {row["label_id"] for row in tracker.mart("labels")} == {"LA_bug", "LA_feature", "LA_question"}
    staged = f"SELECT reactions._1 FROM `local_tracker_staging.stg_tracker__issues` WHERE issue_id = {9_000_000_002}"
    assert tracker.sandbox.value(staged) == 2

    # The newest of all is read again: `since` means at or after.
    for number in (7, 8, 1050):
        source.put(number, state="closed", closed_at="2026-02-01T00:00:00Z")
    source.asked.clear()
    tracker.load(token=TOKEN)
    assert tracker.loads("issues")[1:] == [("incremental", 3)]
    assert any("since=" in path for path in source.asked)
    dbt.build().succeeded()
    second = tracker.mart("issues")
    assert len(second) == 1050
    assert {row["number"] for row in second if row["state"] == "closed"} == {7, 8, 1050}

    # A run that brings nothing: what `make run` shows of it is not what an earlier run has loaded.
    assert tracker.shown("another", "issues") == (0, None, 1050)

    source.delete(9)
    tracker.load(token=TOKEN)
    tracker.load(token=TOKEN, full_read=True)
    assert tracker.loads("issues")[-1] == ("full", 1049)
    source.put(10, title="Changed after the full read")
    tracker.load(token=TOKEN)
    dbt.build().succeeded()
    third = {row["number"]: row for row in tracker.mart("issues")}
    assert len(third) == 1049
    assert 9 not in third
    assert third[10]["title"] == "Changed after the full read"
    verdict = "SELECT entity, check_name FROM `local_tracker_marts.rpt_verdict` WHERE status = 'fail'"
    assert tracker.sandbox.ask(verdict) == []
    a_delta_read_as_a_version_is_found(tracker, dbt)


def a_delta_read_as_a_version_is_found(tracker: OwnProject, dbt: Warehouse) -> None:
    """The unit tests hold the right macro, and every test fails that looks at a delta read as a version."""
    dbt.dbt("test", "--select", "test_type:unit").succeeded()
    model = tracker.folder / "transform" / "models" / "staging" / "stg_tracker__issues.sql"
    right = model.read_text()
    versions = "(SELECT MAX(table_version) FROM {{ ref('int_build_versions') }} WHERE entity = 'issues')"
    delta = "{{ source('tracker', 'issues') }} AS landing\nWHERE landing._sdc_table_version = " + versions
    model.write_text(right.partition("FROM ")[0] + f"FROM {delta}\n")
    wrong = dbt.build("--select", "+dim_issues")
    assert any(name.startswith("every_key_is_there_") for name in wrong.of("fail")), wrong.results
    assert len(tracker.mart("issues")) == 1049, "the mart stays as it was"
    assert not dbt.dbt("test", "--select", "test_type:unit,stg_tracker__issues").ok
    model.write_text(right.replace("newest_record_of_each_key('issues', ['id'])", "newest_version('issues')"))
    refused = dbt.build("--select", "+dim_issues")
    assert "got a delta" in refused.messages()
    model.write_text(right)


@pytest.mark.slow
def test_killed_between_load_and_state_nothing_is_lost_and_nothing_is_twice(
    tracker: OwnProject, dbt: Warehouse
) -> None:
    """The target is killed once the rows are loaded, before STATE; the next run brings the same state of things."""
    source = tracker.source
    tracker.load(token=TOKEN)
    for number in (7, 8, 1050):
        source.put(number, state="closed")
    before = tracker.state
    # A pipe that is full: the target waits where it would write STATE.
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    filled = 0
    with suppress(BlockingIOError):
        while True:
            filled += os.write(writing, b"." * 4096)
    os.set_blocking(writing, True)
    with (
        tracker.start(tracker.extract(token=TOKEN), stdout=writing) as target,
        os.fdopen(reading, "rb") as out,
    ):
        os.close(writing)
        while tracker.sandbox.value("SELECT COUNT(*) FROM `local_tracker_landing.issues`") < 1053:
            assert target.poll() is None
        target.send_signal(signal.SIGKILL)
        # Reading makes room for what it would still write: it is dead when nobody holds the other end.
        hang_up = select.poll()
        hang_up.register(out, 0)
        eventually(lambda: hang_up.poll(0), "the killed target has not ended")
        assert out.read() == b"." * filled, "STATE was out before the kill"
    assert target.returncode == -signal.SIGKILL
    assert tracker.state == before
    tracker.load(token=TOKEN)
    dbt.build().succeeded()
    found = tracker.mart("issues")
    assert len(found) == 1050
    assert sum(row["state"] == "closed" for row in found) == 3
    assert tracker.state != before


def issues_now(tracker: OwnProject) -> dict[int, dict[str, Any]]:
    """Return the issues that the landing table and the ledger say there are now: the newest row of each since the last whole version."""
    landing = f"{tracker.prefix}{tracker.name}_landing"
    loads = tracker.sandbox.ask(
        f"SELECT table_version, replication, started_at FROM `{landing}._loads` WHERE stream = 'issues'"
    )
    since = max((began for _, replication, began in loads if replication == "full"), default=None)
    rows = tracker.sandbox.client().query(
        f"SELECT * FROM `{landing}.issues` ORDER BY _sdc_batched_at, _sdc_sequence"
    )
    counted = {version for version, _, began in loads if since is None or began >= since}
    return {row["number"]: dict(row) for row in rows.result() if row["_sdc_table_version"] in counted}


def is_as_the_source(tracker: OwnProject) -> None:
    """Every issue is there, as it is at the source."""
    found = {n: (row["title"], row["state"], row["comments"]) for n, row in issues_now(tracker).items()}
    assert found == {n: (i["title"], i["state"], i["comments"]) for n, i in tracker.source.issues.items()}


def test_an_api_that_asks_for_a_token_answers() -> None:
    """`make run LIVE=1` goes on where the API refuses in JSON, and not where there is none."""
    with serving(IssueTracker(count=0)) as source:
        assert answers(source.url)
    assert not answers(source.url)


def test_every_fault_of_a_delta_has_a_test() -> None:
    """Each row of docs/reliability.md names the test of this file that holds it."""
    named = re.findall(r"^\|.*\| `(test_\w+)` \|$", (ROOT / "docs/reliability.md").read_text(), re.MULTILINE)
    assert named
    assert set(named) <= globals().keys()


@pytest.mark.slow
def test_killed_before_the_load_the_next_run_brings_the_delta(small: OwnProject) -> None:
    """SIGKILL where the load job would start: the table has the first run alone, and the state of before brings the changes."""
    before = small.state
    with proxied(small.sandbox.command, small.sandbox.env["BIGQUERY_EMULATOR_HOST"]) as bigquery_proxy:
        bigquery_proxy.inject({"action": "hold", "times": None, **INSERT, "contains": "sourceUris"})
        messages = small.extract(token=TOKEN)
        with small.start(messages, BIGQUERY_EMULATOR_HOST=bigquery_proxy.url) as target:
            assert bigquery_proxy.await_held(target)
            target.kill()
            assert target.communicate()[0] == b""
        bigquery_proxy.inject()
    assert small.loads("issues") == [("incremental", 30)]
    assert small.state == before
    small.load(token=TOKEN)
    assert small.loads("issues") == [("incremental", 30), ("incremental", 3)]
    is_as_the_source(small)


@pytest.mark.slow
def test_state_lost_everything_is_read_again(small: OwnProject) -> None:
    """A run without the state of before loads every issue again, each once in what staging reads."""
    small.load(token=TOKEN)
    small.state = None
    small.source.put(9, state="closed")
    small.load(token=TOKEN)
    assert small.loads("issues") == [("incremental", 30), ("incremental", 3), ("incremental", 30)]
    is_as_the_source(small)


@pytest.mark.slow
def test_the_same_run_id_again_loads_a_delta_once(small: OwnProject) -> None:
    """An orchestrator that starts a run twice, while the source moves on: what is loaded is not again, and what is new is."""
    run = {"MELTANO_RUN_ID": str(uuid.uuid4())}
    before = small.state
    small.load(run, token=TOKEN)
    small.state = before
    small.load(run, token=TOKEN)
    assert small.loads("issues") == [("incremental", 30), ("incremental", 3)]
    small.state = before
    small.source.put(9, state="closed")
    small.load(run, token=TOKEN)
    assert small.loads("issues") == [("incremental", 30), ("incremental", 3), ("incremental", 1)]
    is_as_the_source(small)


@pytest.mark.slow
def test_an_api_that_fails_in_the_middle_of_a_delta(small: OwnProject) -> None:
    """The second page does not come: what came before it is loaded without a new STATE, and the next run brings all of it."""
    for number in range(10, 30):
        small.source.put(number, title="Changed")
    before = (small.state or {})["bookmarks"]["issues"]
    small.source.last_page = 1
    small.load(tap=1, token=TOKEN, retry_seconds=1, max_attempts=2)
    assert (small.state or {})["bookmarks"]["issues"] == before
    small.source.last_page = None
    small.load(token=TOKEN)
    assert small.loads("issues") == [("incremental", 30), ("incremental", 10), ("incremental", 23)]
    is_as_the_source(small)


def test_a_delta_with_no_record(small: OwnProject) -> None:
    """The only issues that changed since are gone again: no load, and the next change is found."""
    small.load(token=TOKEN)
    before = small.state
    newest = small.source.issues[30]
    small.source.delete(30)
    small.load(token=TOKEN)
    assert small.loads("issues") == [("incremental", 30), ("incremental", 3)]
    assert small.state == before
    small.source.issues[30] = newest
    small.source.put(9, state="closed")
    small.load(token=TOKEN)
    is_as_the_source(small)


@pytest.mark.slow
def test_a_delta_after_the_schema_has_got_a_field(small: OwnProject) -> None:
    """The tap's schema has a field more than at the first run: a column, NULL where the record came before."""
    (file,) = small.folder.glob("tap-*/src/*/schemas/issues.json")
    known = file.read_text()
    schema = json.loads(known)
    schema["properties"]["milestone"] = {"type": "string", "description": "Milestone."}
    file.write_text(json.dumps(schema))
    try:
        small.source.put(9, milestone="1.0")
        small.load(token=TOKEN)
    finally:
        file.write_text(known)
    assert small.loads("issues") == [("incremental", 30), ("incremental", 4)]
    is_as_the_source(small)
    milestones = {number: row["milestone"] for number, row in issues_now(small).items()}
    assert milestones == {**dict.fromkeys(range(1, 31)), 9: "1.0"}


@pytest.mark.slow
def test_a_listing_by_offset_with_a_request_for_each_record_is_landed(
    sandbox_alone: Sandbox, tmp_path: Path
) -> None:
    """60 articles, each from a request of its own, are a whole version; the next run is another, without what is gone."""
    with serving(Shop()) as source:
        project = OwnProject("shop", source, tmp_path / "shop", sandbox_alone)
        project.make({"articles": (list(source.articles.values()), ["--key", "sku"])})
        assert project.lines <= MOST_LINES
        project.load()
        del source.articles[30]
        project.load()
        assert project.loads("articles") == [("full", 60), ("full", 59)]
        with kept_dbt(sandbox_alone, tmp_path, project.folder / "transform") as dbt:
            dbt.build().succeeded()
        assert len(project.mart("articles")) == 59
        landed = "SELECT MAX(price.amount) FROM `local_shop_staging.stg_shop__articles`"
        assert sandbox_alone.value(landed) == "9.50"


# Names of entities and fields, and values, that SQL, Python, YAML or the warehouse reserve or read otherwise: a file of
# records for each entity, and the options of `make entity`.
RESERVED_WORDS = FOREIGN / "reserved_words"
OPTIONS = {
    "orders": ["--since", "created_at"],
    "species": [],
    "story_arcs": ["--key", "arc, part", "--resource", "shows/1/arcs-on"],
    "select": ["--key", "select,order"],
    "lines": ["--key", "order-id,from", "--since", "at"],
}


@pytest.mark.slow
def test_names_and_values_that_languages_reserve_come_through(sandbox_alone: Sandbox, tmp_path: Path) -> None:
    """Keywords, builtins, signs, no English plural, composite keys, ids above 2^53, nulls, nested arrays: read, landed, built."""
    with serving(Answers()) as source:
        project = OwnProject("odd", source, tmp_path / "odd", sandbox_alone)
        texts = {entity: (RESERVED_WORDS / f"{entity}.jsonl").read_text("utf-8") for entity in OPTIONS}
        odd = {entity: [json.loads(line) for line in text.splitlines()] for entity, text in texts.items()}
        project.make({entity: (records, OPTIONS[entity]) for entity, records in odd.items()})
        for entity in yaml.safe_load((project.folder / "entities.yml").read_text())["entities"]:
            source.records[entity["resource"]] = odd[entity["name"]]
        project.load()
        with kept_dbt(sandbox_alone, tmp_path, project.folder / "transform") as dbt:
            dbt.build().succeeded()
            dbt.dbt("test", "--select", "test_type:unit").succeeded()
        for entity, records in odd.items():
            assert len(project.mart(entity)) == len(records), entity
        assert {row["order_id"] for row in project.mart("orders")} == {2**53 + 1, 2**53 + 2}
