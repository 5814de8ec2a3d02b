"""Whatever the order of messages, whatever dies and is repeated: every record once, or no STATE past it.

The target is the real one, in this process and in one thread; Cloud Storage and BigQuery are what Google's clients would have
kept, in a few lines, and the tap's source grows. An attempt may die before any of its effects on them.
"""

import gzip
import io
import json
import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from google.api_core.exceptions import Conflict, NotFound, PreconditionFailed
from google.cloud import bigquery
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from target_bigquery.errors import TargetError
from target_bigquery.landing import crc32c
from target_bigquery.target import TargetBigQuery

EXAMPLES = int(os.environ.get("LIFECYCLE_EXAMPLES", "100"))
# Shrinking takes minutes; a failing example is short as it is.
PHASES = [Phase.explicit, Phase.reuse, Phase.generate]
BUCKET = "gs://bucket/"


class DiedError(BaseException):
    """The process was killed: no handler of an Exception sees it."""


class _OneThread(Executor):
    """Does work when it is submitted, so that an example is the same each time."""

    def __init__(self, *_: Any, **__: Any) -> None:
        """Take the arguments of a pool, and need none."""

    def submit(self, work: Callable[[], Any]) -> Future[Any]:  # type: ignore[override]
        future: Future[Any] = Future()
        try:
            future.set_result(work())
        except Exception as error:  # noqa: BLE001 (as a pool's thread)
            future.set_exception(error)
        return future


@dataclass
class World:
    """Cloud Storage, BigQuery, and the runner that keeps the STATE; `dies_after` as many effects, the process dies."""

    objects: dict[str, bytes] = field(default_factory=dict)
    tables: dict[str, bigquery.Table] = field(default_factory=dict)
    jobs: dict[str, Any] = field(default_factory=dict)
    ledger: dict[str, dict[str, Any]] = field(default_factory=dict)
    states: list[dict[str, Any]] = field(default_factory=list)
    dies_after: int = 0
    emptied: bool = False

    def effect(self) -> None:
        """Die, where it is time to."""
        if self.dies_after == 0:
            raise DiedError
        self.dies_after -= 1

    def rows(self) -> list[dict[str, Any]]:
        """The rows of all tables, with the stream of each."""
        return [row for job in self.jobs.values() for row in job.rows]

    def write(self, text: str) -> None:
        """Take a STATE from standard output."""
        self.effect()
        self.states.append(json.loads(text))

    def flush(self) -> None:
        """Do nothing: it is there."""


class _Blob:
    """An object of Cloud Storage."""

    def __init__(self, world: World, name: str) -> None:
        self._world, self.name, self.crc32c = world, name, ""

    def upload_from_filename(self, path: str, **_: Any) -> None:
        self.crc32c = crc32c(Path(path))
        self.upload_from_string(Path(path).read_bytes())

    def upload_from_string(self, content: bytes, **_: Any) -> None:
        self._world.effect()
        if self.name in self._world.objects:
            raise PreconditionFailed(self.name)
        self._world.objects[self.name] = content

    def download_as_bytes(self, **_: Any) -> bytes:
        return self._world.objects[self.name]


class _Storage:
    """Google's client of Cloud Storage."""

    def __init__(self, world: World) -> None:
        self._world = world

    def bucket(self, _: str) -> "_Storage":
        return self

    def blob(self, name: str, **_: Any) -> _Blob:
        return _Blob(self._world, name)

    def list_blobs(self, _: "_Storage", *, prefix: str, start_offset: str | None, **__: Any) -> list[_Blob]:
        names = sorted(name for name in self._world.objects if name.startswith(prefix))
        return [self.blob(name) for name in names if name >= (start_offset or "")]


class _BigQuery:
    """Google's client of BigQuery; each job runs once, all or nothing."""

    def __init__(self, world: World) -> None:
        self._world = world

    def get_dataset(self, _: Any, **__: Any) -> None:
        """Find it."""

    def get_table(self, reference: bigquery.TableReference, **_: Any) -> bigquery.Table:
        if reference.table_id not in self._world.tables:
            raise NotFound(reference.table_id)
        return self._world.tables[reference.table_id]

    def create_table(self, table: bigquery.Table, **_: Any) -> None:
        self._world.effect()
        self._world.tables[table.table_id] = table

    def get_job(self, job_id: str, **_: Any) -> Any:
        if job_id not in self._world.jobs:
            raise NotFound(job_id)
        return self._world.jobs[job_id]

    def load_table_from_uri(
        self, uris: list[str], table: bigquery.TableReference, *, job_id: str, job_config: Any, **_: Any
    ) -> Any:
        parts = [gzip.decompress(self._world.objects[uri.removeprefix(BUCKET)]) for uri in uris]
        rows = [json.loads(line) | {"stream": table.table_id} for part in parts for line in part.splitlines()]
        return self._run(job_id, job_config.labels, rows)

    def query(self, _: str, *, job_config: Any, job_id: str = "", **__: Any) -> Any:
        asked = {parameter.name: parameter.value for parameter in job_config.query_parameters}
        if not job_id:
            return SimpleNamespace(result=lambda **_: [{"rows": self._count(**asked)}])
        job = self._run(job_id, job_config.labels, [])
        entries = json.loads(asked["entries"])
        keys = [
            json.dumps([row[name] for name in ("run_id", "stream", "table_version", "job_id")])
            for row in entries
        ]
        assert len(keys) == len(set(keys)), "a MERGE inserts both"
        self._world.ledger = dict(zip(keys, entries, strict=True)) | self._world.ledger
        return job

    def _run(self, job_id: str, labels: dict[str, str], rows: list[dict[str, Any]]) -> Any:
        self._world.effect()
        if job_id in self._world.jobs:
            raise Conflict(job_id)
        self._world.jobs[job_id] = SimpleNamespace(
            job_id=job_id, labels=labels, rows=rows, output_rows=len(rows), state="DONE",
            ended=None, error_result=None, done=lambda **_: True,
        )  # fmt: skip
        return self._world.jobs[job_id]

    def _count(self, batched_at: Any, run_id: str, version: int) -> int:
        names = ("_sdc_batched_at", "_sdc_run_id", "_sdc_table_version")
        wanted = (batched_at.isoformat(), run_id, version)
        return sum(tuple(row[name] for name in names) == wanted for row in self._world.rows())


def attempt(world: World, run_id: str, sent: list[dict[str, Any]], plan: dict[str, Any]) -> None:
    """Run the target on these messages to the end of input, or to its death."""
    world.dies_after = plan["dies_after"]
    config = {"project": "p", "dataset": "d", "bucket": "bucket", "run_id": run_id}
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(world):  # type: ignore[type-var]
        patch.setattr("google.cloud.bigquery.Client", lambda **_: _BigQuery(world))
        patch.setattr("google.cloud.storage.Client", lambda **_: _Storage(world))
        patch.setattr("target_bigquery.work.ThreadPoolExecutor", _OneThread)
        target = TargetBigQuery(config=config | ({"load_every_rows": 1} if plan["checkpoints"] else {}))
        try:
            # It reads bytes, as standard input gives them.
            lines: Any = io.BytesIO(b"".join(json.dumps(message).encode() + b"\n" for message in sent))
            target.listen(lines)
        finally:
            target.close()


STYLES = ("incremental", "unversioned", "announced", "activated")


@dataclass
class Source:
    """What a tap reads: streams of numbered records, of which there are more at each attempt."""

    styles: dict[str, str]
    size: Counter[str] = field(default_factory=Counter)
    versions: int = 0


@st.composite
def attempts(draw: st.DrawFn) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Streams and their styles, and what each attempt draws."""
    names = ["a", "b", "c"][: draw(st.integers(1, 3))]
    styles = {name: draw(st.sampled_from(STYLES)) for name in names}
    with_bookmarks = [True] if "incremental" in styles.values() else [True, False]
    plan = st.fixed_dictionaries(
        {
            "grows": st.fixed_dictionaries({name: st.integers(0, 3) for name in names}),
            "order": st.randoms(use_true_random=False),
            "dies_after": st.integers(0, 24) | st.just(99),
            "cut": st.none() | st.integers(0, 20),
            "states": st.integers(0, 3),
            "checkpoints": st.booleans(),
            "announced_again": st.booleans(),
            "same_versions": st.booleans(),
            "bookmarks": st.sampled_from(with_bookmarks),
            "emptied": st.sampled_from([False] * 9 + [True]),
            "repeated": st.booleans() if "incremental" not in styles.values() else st.just(value=True),
        }
    )
    return styles, draw(st.lists(plan, min_size=1, max_size=5))


def queue_of(name: str, source: Source, start: int, plan: dict[str, Any]) -> list[dict[str, Any]]:
    """A stream's messages, in their order."""
    style = source.styles[name]
    bookmarked: dict[str, Any] = {"bookmark_properties": ["id"]} if style == "incremental" else {}
    properties = {"properties": {"id": {"type": "integer"}}}
    schema = {"type": "SCHEMA", "stream": name, "schema": properties, "key_properties": ["id"], **bookmarked}
    version: dict[str, Any] = {"version": source.versions} if style in {"announced", "activated"} else {}
    activate = {"type": "ACTIVATE_VERSION", "stream": name, **version}
    queue = [schema, activate] if style == "announced" else [schema]
    for number in range(start + 1 if style == "incremental" else 1, source.size[name] + 1):
        queue.append({"type": "RECORD", "stream": name, "record": {"id": number}, **version})
        if style == "announced" and plan["announced_again"]:
            queue += [schema, activate]
    return [*queue, activate] if style == "activated" else queue


def messages(source: Source, state: dict[str, Any], plan: dict[str, Any]) -> list[dict[str, Any]]:
    """One reading of the source from the STATE: streams interleaved, STATEs between."""
    random = plan["order"]
    if not plan["same_versions"]:
        source.versions += 1
    source.size.update(plan["grows"])
    at = {name: (state.get("bookmarks", {}).get(name) or {}) for name in source.styles}
    queues = {name: queue_of(name, source, at[name].get("replication_key_value", 0), plan) for name in at}
    sent: list[dict[str, Any]] = []
    total = sum(map(len, queues.values()))
    states_at = {random.randrange(total + 1) for _ in range(plan["states"])}
    while any(queues.values()):
        name = random.choice([name for name, queue in queues.items() if queue])
        sent.append(queues[name].pop(0))
        if sent[-1]["type"] == "RECORD" and source.styles[name] == "incremental":
            at[name] = {"replication_key": "id", "replication_key_value": sent[-1]["record"]["id"]}
        if len(sent) in states_at:
            sent.append({"type": "STATE", "value": {"bookmarks": dict(at)}})
    final = {"bookmarks": at} if plan["bookmarks"] else {"done": source.versions}
    return [*sent, {"type": "STATE", "value": final}]


def check(world: World, source: Source) -> None:
    """The model: each record once, or no STATE past it."""
    for name, style in source.styles.items():
        own = [row for row in world.rows() if row["stream"] == name]
        # A later run reads the source again, and so does a later version of the same run where it has a number.
        known = {"incremental": (), "unversioned": ("_sdc_run_id",)}
        of = known.get(style, ("_sdc_run_id", "_sdc_table_version"))
        counted = Counter((row["id"], *(row[column] for column in of)) for row in own)
        assert all(count == 1 for count in counted.values()), f"{name}: loaded twice: {counted}"
        if style == "incremental":
            for state in world.states:
                at = state["bookmarks"].get(name, {}).get("replication_key_value", 0)
                assert set(range(1, at + 1)) <= {row["id"] for row in own}, f"{name}: STATE {at} past {own}"


def check_whole(world: World, sent: list[dict[str, Any]], run_id: str) -> None:
    """What was sent is loaded by this run; a run that has loaded anything has completed the ledger for every run."""
    loaded = Counter((row["_sdc_run_id"], row["stream"]) for row in world.rows())
    in_ledger: Counter[tuple[str, str]] = Counter()
    for row in world.ledger.values():
        in_ledger[row["run_id"], row["stream"]] += row["rows"]
    if sent and any(of == run_id for of, _ in loaded) and not world.emptied:
        assert +in_ledger == loaded
    here = {(row["stream"], row["id"]) for row in world.rows() if row["_sdc_run_id"] == run_id}
    wanted = {(one["stream"], one["record"]["id"]) for one in sent if one["type"] == "RECORD"}
    assert wanted <= here, f"STATE is out, {wanted - here} are not loaded"


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), phases=PHASES)
@given(attempts())
def test_each_record_once_or_no_state_past_it(drawn: tuple[dict[str, str], list[dict[str, Any]]]) -> None:
    """Any streams, any order, any death, any repetition."""
    styles, plans = drawn
    world, source = World(), Source(styles)
    run = 1
    for plan in plans:
        # Where it is cut the tap dies: what it has not sent, the STATE at the end included, never comes.
        sent = messages(source, world.states[-1] if world.states else {}, plan)[: plan["cut"]]
        if plan["emptied"]:
            # By the bucket's lifecycle rule.
            world.objects.clear()
            world.emptied = True
        before = set(world.objects)
        try:
            attempt(world, f"run-{run}", sent, plan)
        except DiedError:
            event("died")
            run += not plan["repeated"]
        except TargetError as error:
            event(f"refused: {str(error).partition(':')[2][:30]}")
            if "run with another run id" in str(error):
                if "incremental" in styles.values():
                    break  # another run id reads again what this one has loaded
                run += 1
        else:
            event("ended well")
            check_whole(world, sent, f"run-{run}")
            markers = {name for name in world.objects.keys() - before if name.startswith("_runs/")}
            assert len(markers) in {0, 2}, "the process's, and that the ledger has its rows"
            run += plan["cut"] is None  # else the tap has died, and the runner repeats the run
        check(world, source)
