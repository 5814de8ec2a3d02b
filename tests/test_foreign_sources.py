"""Two sources that are nothing like the example's, through the template's tap, the target and the warehouse's SQL.

Each is written as docs/onboarding.md says: streams.py, the settings that the API asks for, and schemas from a sample of records.
What a second run, a deletion and a crash leave behind is looked at in the landing tables.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from foreign.servers import TOKEN, IssueTracker, Shop, Source, serving
from testkit.whole_pipeline import ROOT, Sandbox, program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOREIGN = ROOT / "tests" / "foreign"
TEMPLATE = next(ROOT.glob("tap-*/src/tap_*"))
MOST_LINES = 120
# What the issue tracker's tap asks for beside the template's settings, and what its streams are made with.
SETTINGS = """\
        th.Property("token", th.StringType(), required=True, secret=True, title="Token", description="Bearer token."),
        th.Property(
            "full_read",
            th.BooleanType(),
            default=False,
            title="Full read",
            description="Reads every issue, whatever changed, so that deletions are found.",
        ),
"""
EDITS = {
    "stream(self, address, session, pool) for": "stream(self, address, session) for",
    '        pool = ThreadPoolExecutor(config["concurrency"], thread_name_prefix="reading")\n': "",
}


def script(name: str) -> Any:
    """A script of the project, as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@dataclass
class Pipeline:
    """A foreign tap into the target, on a landing dataset of its own; `state` is what Meltano would keep."""

    source: Source
    sandbox: Sandbox
    folder: Path
    package: str
    dataset: str = field(default_factory=lambda: f"foreign_{uuid.uuid4().hex[:8]}")
    state: dict[str, Any] | None = None

    def write_tap(self, samples: dict[str, list[dict[str, Any]]], *, settings: str = "") -> int:
        """Write the tap's package from the template's; return how many lines of it are the source's own, beside schemas."""
        package = self.folder / self.package
        shutil.copytree(TEMPLATE, package, ignore=shutil.ignore_patterns("__pycache__", "schemas"))
        for file in package.glob("*.py"):
            file.write_text(file.read_text().replace(TEMPLATE.name, self.package))
        own = FOREIGN / self.folder.name / "streams.py"
        shutil.copy(own, package / "streams.py")
        tap = package / "tap.py"
        text = tap.read_text()
        mark = '        th.Property(\n            "source",\n'
        for old, put in {**EDITS, mark: settings + mark}.items():
            assert text.count(old) == 1, old
            text = text.replace(old, put)
        tap.write_text(text)
        entities = script("entities")
        (package / "schemas").mkdir()
        for name, records in samples.items():
            schema = {"type": "object", **entities.object_of(records)}
            schema["properties"]["new_fields"] = entities.NEW_FIELDS
            (package / "schemas" / f"{name}.json").write_text(json.dumps(schema))
        return sum(len(text.splitlines()) for text in (own.read_text(), settings, *EDITS.values()))

    def start(self, run_id: str | None = None, **config: Any) -> subprocess.Popen[bytes]:
        """Start the target, with the tap's messages as its input."""
        config_file, state_file = self.folder / "config.json", self.folder / "state.json"
        config_file.write_text(json.dumps({"api_url": self.source.url, "retry_seconds": 20, **config}))
        command = [sys.executable, "-m", self.package, "--config", str(config_file)]
        if self.state is not None:
            state_file.write_text(json.dumps(self.state))
            command += ["--state", str(state_file)]
        messages = self.folder / "messages.singer"
        with messages.open("wb") as out:
            tap = subprocess.run(
                command,
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(self.folder)},
                check=False,
                stdout=out,
                stderr=subprocess.PIPE,
                timeout=120,
            )
        assert tap.returncode == 0, tap.stderr.decode()[-3000:]
        return subprocess.Popen(
            [sys.executable, "-m", "target_bigquery", "--config=ENV"],
            env={
                **os.environ,
                **self.sandbox.env,
                "TARGET_BIGQUERY_DATASET": self.dataset,
                "MELTANO_RUN_ID": run_id or str(uuid.uuid4()),
            },
            stdin=messages.open("rb"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, run_id: str | None = None, **config: Any) -> None:
        """Run tap and target; keep the last STATE that the target let out."""
        with self.start(run_id, **config) as target:
            out, err = target.communicate(timeout=120)
        assert target.returncode == 0, err.decode()[-3000:]
        states = [json.loads(line) for line in out.splitlines()]
        if states and not config.get("full_read"):
            self.state = states[-1]

    def loads(self, stream: str) -> list[tuple[Any, ...]]:
        """What the ledger says of a stream's loads, in their order: replication and rows."""
        return self.sandbox.ask(
            f"SELECT replication, `rows` FROM `{self.dataset}._loads` WHERE stream = '{stream}' ORDER BY finished_at"
        )

    def newest(self, stream: str) -> dict[int, dict[str, Any]]:
        """The newest record of each key since the last whole version, as the staging macro reads them."""
        rows = self.sandbox.client().query(
            f"""
            SELECT * FROM `{self.dataset}.{stream}` AS landing
            WHERE landing._sdc_table_version >= IFNULL(
                (SELECT MAX(table_version) FROM `{self.dataset}._loads` WHERE stream = '{stream}' AND replication = 'full'), 0
            )
            QUALIFY ROW_NUMBER() OVER (PARTITION BY id ORDER BY _sdc_batched_at DESC, _sdc_sequence DESC) = 1
            """
        )
        return {row["id"]: dict(row) for row in rows.result(timeout=60)}


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A local Cloud Storage and BigQuery of this module's own."""
    sandbox = Sandbox(
        program("SANDBOX_COMMAND", ".venvs/sandbox/bin/sandbox"), tmp_path_factory.mktemp("sandbox")
    )
    try:
        sandbox.start("--parts", "storage,bigquery")
        yield sandbox
    finally:
        sandbox.stop()


@pytest.fixture
def tracker(warehouse: Sandbox, tmp_path: Path) -> Iterator[Pipeline]:
    """The issue tracker, its tap written."""
    with serving(IssueTracker()) as source:
        assert isinstance(source, IssueTracker)
        folder = tmp_path / "issue_tracker"
        folder.mkdir()
        pipeline = Pipeline(source, warehouse, folder, "tap_tracker")
        path = "/repos/acme/shop/issues/50/comments"
        source.refusals = 0
        headers = {"Authorization": f"Bearer {TOKEN}"}
        issues = json.loads(json.dumps(list(source.issues.values())[:60]).replace('"-1"', '"minus_one"'))
        samples = {
            "issues": issues,
            "comments": source.answer(path, {}, headers)[2],
            "labels": source.labels,
        }
        source.refusals = 1
        lines = pipeline.write_tap(samples, settings=SETTINGS)
        assert lines <= MOST_LINES
        yield pipeline


def test_an_incremental_source_is_whole_after_each_run(tracker: Pipeline) -> None:
    """1,050 issues, then a delta of 3: 1,050 both times, the changed ones as they are now; a full read finds a deletion."""
    source = tracker.source
    assert isinstance(source, IssueTracker)
    tracker.run(token=TOKEN)
    assert tracker.loads("issues") == [("incremental", 1050)]
    first = tracker.newest("issues")
    assert len(first) == 1050
    assert first[9_000_000_002]["reactions"]["_1"] == 2
    assert tracker.sandbox.value(f"SELECT COUNT(*) FROM `{tracker.dataset}.comments`") == 2 * 21
    assert tracker.sandbox.ask(f"SELECT id FROM `{tracker.dataset}.labels` ORDER BY id")[0] == ("LA_bug",)

    # The newest of all is read again: `since` means at or after.
    for number in (7, 8, 1050):
        source.put(number, state="closed", closed_at="2026-02-01T00:00:00Z")
    source.asked.clear()
    tracker.run(token=TOKEN)
    assert tracker.loads("issues")[1:] == [("incremental", 3)]
    assert any("since=" in path for path in source.asked)
    second = tracker.newest("issues")
    assert len(second) == 1050
    assert {key for key, row in second.items() if row["state"] == "closed"} == {
        9_000_000_000 + number for number in (7, 8, 1050)
    }

    source.delete(9)
    tracker.run(token=TOKEN)
    assert len(tracker.newest("issues")) == 1050, "no delta tells of a deletion"
    tracker.run(token=TOKEN, full_read=True)
    assert tracker.loads("issues")[-1] == ("full", 1049)
    third = tracker.newest("issues")
    assert len(third) == 1049
    assert 9_000_000_009 not in third
    source.put(10, title="Changed after the full read")
    tracker.run(token=TOKEN)
    fourth = tracker.newest("issues")
    assert len(fourth) == 1049
    assert fourth[9_000_000_010]["title"] == "Changed after the full read"


def test_killed_between_load_and_state_nothing_is_lost_and_nothing_is_twice(tracker: Pipeline) -> None:
    """The target is killed once the ledger has the load; its STATE is lost, and the next run brings the same state of things."""
    source = tracker.source
    assert isinstance(source, IssueTracker)
    tracker.run(token=TOKEN)
    for number in (7, 8, 1050):
        source.put(number, state="closed")
    before = tracker.state
    with tracker.start(token=TOKEN) as target:
        # Its output is not read before it ends: whatever it says of STATE is lost with it.
        while len(tracker.loads("issues")) < 2 and target.poll() is None:
            pass
        target.send_signal(signal.SIGKILL)
    assert tracker.state == before
    tracker.run(token=TOKEN)
    found = tracker.newest("issues")
    assert len(found) == 1050
    assert sum(row["state"] == "closed" for row in found.values()) == 3
    assert tracker.state != before


def test_a_listing_by_offset_with_a_request_for_each_record_is_landed(
    warehouse: Sandbox, tmp_path: Path
) -> None:
    """60 articles, each told by a request of its own, are a whole version; the next run is another, without what is gone."""
    with serving(Shop()) as source:
        assert isinstance(source, Shop)
        folder = tmp_path / "shop"
        folder.mkdir()
        pipeline = Pipeline(source, warehouse, folder, "tap_shop")
        lines = pipeline.write_tap({"articles": list(source.articles.values())})
        assert lines <= MOST_LINES
        pipeline.run()
        del source.articles[30]
        pipeline.run()
        assert pipeline.loads("articles") == [("full", 60), ("full", 59)]
        landed = f"FROM `{pipeline.dataset}.articles` WHERE _sdc_table_version = (SELECT MAX(_sdc_table_version) FROM `{pipeline.dataset}.articles`)"
        assert warehouse.ask(f"SELECT COUNT(*), MAX(price.amount) {landed}") == [(59, "9.50")]
