"""Two sources that are nothing like the example's, from template to marts.

Each is a project of its own, made by `make new EMPTY=1` and `make entity`; then only what is the source's own is written:
streams.py and the settings that the API asks for. What a second run, a deletion and a crash leave in the marts is looked at.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from foreign.servers import TOKEN, IssueTracker, Shop, Source, serving
from testkit.programs import succeed
from testkit.whole_pipeline import ROOT, Sandbox, running_sandbox
from warehouse import Warehouse, kept_dbt

from testkit import warm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOREIGN = ROOT / "tests" / "foreign"
MOST_LINES = 120
# What the issue tracker's tap asks for beside the template's settings.
SETTINGS = """\
    "token": {"type": "string", "secret": true, "writeOnly": true, "title": "Token", "description": "Bearer token."},
    "full_read": {"type": ["boolean", "null"], "title": "Full read", "description": "Reads every issue, so that deletions are found."},
"""
SINCE = ["--since", "updated_at"]


@dataclass
class OwnProject:
    """A project of a foreign source; `state` is what Meltano would keep."""

    name: str
    source: Source
    sandbox: Sandbox
    folder: Path
    state: dict[str, Any] | None = None
    # Of the source's own, beside schemas.
    lines: int = 0

    def script(self, script: str, *arguments: str, folder: Path = ROOT) -> None:
        """Run a script of the project in `folder`."""
        succeed(sys.executable, folder / "scripts" / script, *arguments, cwd=folder)

    def make(self, samples: dict[str, tuple[list[dict[str, Any]], list[str]]], settings: str = "") -> None:
        """Make it as docs/onboarding.md says: `make new`, `make entity` for each, then streams and settings."""
        self.script("new_project.py", "--empty", "--api", self.source.url, self.name, str(self.folder))
        for entity, (records, options) in samples.items():
            sample = self.folder.parent / f"{entity}.jsonl"
            sample.write_text("".join(f"{json.dumps(record)}\n" for record in records))
            arguments = ("--add", entity, "--sample", str(sample), *options)
            self.script("entities.py", *arguments, folder=self.folder)
        package = self.folder / f"tap-{self.name}" / "src" / f"tap_{self.name}"
        # What an installation would leave; the environment is this project's.
        metadata = package.parent / f"{self.name}_tap-0.1.0.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text(f"Metadata-Version: 2.1\nName: {self.name}-tap\nVersion: 0.1.0\n")
        own = FOREIGN / self.name / "streams.py"
        shutil.copy(own, package / "streams.py")
        known = package / "settings.json"
        mark = '    "source": {'
        assert known.read_text().count(mark) == 1
        known.write_text(known.read_text().replace(mark, settings + mark))
        self.lines = len((own.read_text() + settings).splitlines())

    def start(self, stdout: int = subprocess.PIPE, **config: Any) -> subprocess.Popen[bytes]:
        """Start the target, with the tap's messages as its input."""
        config_file, state_file = self.folder / "config.json", self.folder / "state.json"
        config_file.write_text(json.dumps({"api_url": self.source.url, "retry_seconds": 20, **config}))
        command = warm.command(f"tap_{self.name}", "--config", str(config_file), imports="tap_rickandmorty.*")
        if self.state is not None:
            state_file.write_text(json.dumps(self.state))
            command += ["--state", str(state_file)]
        messages = self.folder / "messages.singer"
        with messages.open("wb") as out:
            tap = subprocess.run(
                command,
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(self.folder / f"tap-{self.name}" / "src")},
                check=False,
                stdout=out,
                stderr=subprocess.PIPE,
                timeout=120,
            )
        assert tap.returncode == 0, tap.stderr.decode()[-3000:]
        return subprocess.Popen(
            # Where it is killed it must be the target itself that dies.
            warm.command("target_bigquery", "--config=ENV")
            if stdout == subprocess.PIPE
            else [sys.executable, "-m", "target_bigquery", "--config=ENV"],
            env={
                **os.environ,
                **self.sandbox.env,
                "TARGET_BIGQUERY_DATASET": f"local_{self.name}_landing",
                "TARGET_BIGQUERY_SOURCE": self.source.url,
                "MELTANO_RUN_ID": str(uuid.uuid4()),
            },
            stdin=messages.open("rb"),
            stdout=stdout,
            stderr=subprocess.PIPE,
        )

    def load(self, **config: Any) -> None:
        """Run tap and target; keep the last STATE that the target let out."""
        with self.start(**config) as target:
            out, err = target.communicate(timeout=120)
        assert target.returncode == 0, err.decode()[-3000:]
        states = [json.loads(line) for line in out.splitlines()]
        if states and not config.get("full_read"):
            self.state = states[-1]

    def loads(self, stream: str) -> list[tuple[Any, ...]]:
        """Return what the ledger says of a stream's loads, in their order: replication and rows."""
        return self.sandbox.ask(
            f"SELECT replication, `rows` FROM `local_{self.name}_landing._loads` WHERE stream = '{stream}' ORDER BY finished_at"
        )

    def mart(self, entity: str) -> list[dict[str, Any]]:
        """Return the rows of an entity's mart."""
        rows = self.sandbox.client().query(f"SELECT * FROM `local_{self.name}_marts.dim_{entity}`")
        return [dict(row) for row in rows.result(timeout=60)]


@pytest.fixture(scope="module")
def sandbox_alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A local Cloud Storage and BigQuery of this module's own."""
    with running_sandbox(tmp_path_factory.mktemp("sandbox"), "--parts", "storage,bigquery") as sandbox:
        yield sandbox


@pytest.fixture
def tracker(sandbox_alone: Sandbox, tmp_path: Path) -> Iterator[OwnProject]:
    """The issue tracker's project."""
    client = sandbox_alone.client()
    for dataset in list(client.list_datasets()):
        client.delete_dataset(dataset.reference, delete_contents=True)
    with serving(IssueTracker()) as source:
        assert isinstance(source, IssueTracker)
        project = OwnProject("tracker", source, sandbox_alone, tmp_path / "an issue tracker")
        issues = json.loads(json.dumps(list(source.issues.values())[:60]).replace('"-1"', '"minus_one"'))
        project.make(
            {
                "issues": (issues, SINCE),
                "comments": (source.comments(50), SINCE),
                "labels": (source.labels, []),
            },
            SETTINGS,
        )
        yield project


@pytest.fixture
def dbt(tracker: OwnProject, tmp_path: Path) -> Iterator[Warehouse]:
    """A dbt process on the issue tracker's project."""
    with kept_dbt(tracker.sandbox, tmp_path, tracker.folder / "transform") as warehouse:
        yield warehouse


def built(dbt: Warehouse) -> None:
    """Run `dbt build` as Meltano does."""
    done = dbt.build()
    assert done.ok, done.messages()


def test_an_incremental_source_is_whole_after_each_run(tracker: OwnProject, dbt: Warehouse) -> None:
    """1,050 issues, then a delta of 3: 1,050 in the mart both times, as they are now; a full read finds a deletion."""
    source = tracker.source
    assert isinstance(source, IssueTracker)
    assert tracker.lines <= MOST_LINES
    tracker.load(token=TOKEN)
    assert tracker.loads("issues") == [("incremental", 1050)]
    built(dbt)
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
    built(dbt)
    second = tracker.mart("issues")
    assert len(second) == 1050
    assert {row["number"] for row in second if row["state"] == "closed"} == {7, 8, 1050}

    source.delete(9)
    tracker.load(token=TOKEN)
    tracker.load(token=TOKEN, full_read=True)
    assert tracker.loads("issues")[-1] == ("full", 1049)
    source.put(10, title="Changed after the full read")
    tracker.load(token=TOKEN)
    built(dbt)
    third = {row["number"]: row for row in tracker.mart("issues")}
    assert len(third) == 1049
    assert 9 not in third
    assert third[10]["title"] == "Changed after the full read"
    verdict = "SELECT entity, check_name FROM `local_tracker_marts.rpt_verdict` WHERE status = 'fail'"
    assert tracker.sandbox.ask(verdict) == []

    # The unit tests hold the right macro, and every test fails that looks at a delta read as a version.
    unit = dbt.dbt("test", "--select", "test_type:unit")
    assert unit.ok, unit.messages()
    staging = tracker.folder / "transform" / "models" / "staging" / "stg_tracker__issues.sql"
    right = staging.read_text()
    versions = "(SELECT MAX(table_version) FROM {{ ref('int_build_versions') }} WHERE entity = 'issues')"
    delta = "{{ source('tracker', 'issues') }} AS landing\nWHERE landing._sdc_table_version = " + versions
    staging.write_text(right.partition("FROM ")[0] + f"FROM {delta}\n")
    wrong = dbt.build("--select", "+dim_issues")
    assert any(name.startswith("every_key_is_there_") for name in wrong.of("fail")), wrong.results
    assert len(tracker.mart("issues")) == 1049, "the mart stays as it was"
    assert not dbt.dbt("test", "--select", "test_type:unit,stg_tracker__issues").ok
    staging.write_text(
        right.replace("newest_record_of_each_key('issues', ['id'])", "newest_version('issues')")
    )
    refused = dbt.build("--select", "+dim_issues")
    assert "got a delta" in refused.messages()


def test_killed_between_load_and_state_nothing_is_lost_and_nothing_is_twice(
    tracker: OwnProject, dbt: Warehouse
) -> None:
    """The target is killed once the rows are loaded, before STATE; the next run brings the same state of things."""
    source = tracker.source
    assert isinstance(source, IssueTracker)
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
    with tracker.start(writing, token=TOKEN) as target, os.fdopen(reading, "rb") as out:
        os.close(writing)
        while tracker.sandbox.value("SELECT COUNT(*) FROM `local_tracker_landing.issues`") < 1053:
            assert target.poll() is None
        target.send_signal(signal.SIGKILL)
        # Once it is dead: reading makes room for what it would still write.
        target.wait()
        assert out.read() == b"." * filled, "STATE was out before the kill"
    assert target.returncode == -signal.SIGKILL
    assert tracker.state == before
    tracker.load(token=TOKEN)
    built(dbt)
    found = tracker.mart("issues")
    assert len(found) == 1050
    assert sum(row["state"] == "closed" for row in found) == 3
    assert tracker.state != before


def test_a_listing_by_offset_with_a_request_for_each_record_is_landed(
    sandbox_alone: Sandbox, tmp_path: Path
) -> None:
    """60 articles, each told by a request of its own, are a whole version; the next run is another, without what is gone."""
    with serving(Shop()) as source:
        assert isinstance(source, Shop)
        project = OwnProject("shop", source, sandbox_alone, tmp_path / "shop")
        project.make({"articles": (list(source.articles.values()), ["--key", "sku"])})
        assert project.lines <= MOST_LINES
        project.load()
        del source.articles[30]
        project.load()
        assert project.loads("articles") == [("full", 60), ("full", 59)]
        with kept_dbt(sandbox_alone, tmp_path, project.folder / "transform") as dbt:
            built(dbt)
        assert len(project.mart("articles")) == 59
        landed = "SELECT MAX(price.amount) FROM `local_shop_staging.stg_shop__articles`"
        assert sandbox_alone.value(landed) == "9.50"
