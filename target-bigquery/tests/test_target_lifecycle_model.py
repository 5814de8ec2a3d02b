"""Whatever the order of messages, whatever dies and is repeated: every record once, or no STATE past it.

The lifecycle of versions and the comparison with manifests are the target's own; Cloud Storage, BigQuery and a tap whose
source grows are modelled in a few lines. An attempt may die before any of its effects on them.
"""

from __future__ import annotations

import gzip
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from target_bigquery.errors import TargetError
from target_bigquery.landing import Staged
from target_bigquery.lifecycle import Begin, Drop, Lifecycle, Load, Proof, Release, Replication
from target_bigquery.manifest import Candidate, Earlier, Manifest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from target_bigquery.lifecycle import Action

EXAMPLES = int(os.environ.get("LIFECYCLE_EXAMPLES", "200"))
# Shrinking takes minutes; a failing example is short as it is.
PHASES = [Phase.explicit, Phase.reuse, Phase.generate]


class DiedError(Exception):
    """The attempt was killed."""


@dataclass
class World:
    """Cloud Storage, BigQuery, and the runner that keeps the STATE."""

    objects: dict[str, bytes] = field(default_factory=dict)
    jobs: dict[str, list[bytes]] = field(default_factory=dict)
    states: list[dict[str, Any]] = field(default_factory=list)

    def rows(self) -> list[dict[str, Any]]:
        """The table's rows, of all streams."""
        return [msgspec.json.decode(line) for lines in self.jobs.values() for line in lines]


class Attempt:
    """One process of the target: the loader's order of effects, on the world."""

    def __init__(self, world: World, run_id: str, name: int, dies_after: int) -> None:
        self.world, self.run_id, self.name = world, run_id, name
        self.left = dies_after
        self.lifecycle = Lifecycle()
        self.earlier: dict[str, Earlier] = {}
        self.staged: dict[str, list[bytes]] = {}
        self.version: dict[str, int | None] = {}
        self.places = 0

    def effect(self) -> None:
        """Die, where it is time to."""
        if self.left == 0:
            raise DiedError
        self.left -= 1

    def send(self, messages: Iterable[tuple[Any, ...]]) -> None:
        """Take messages to the end of input, or to this attempt's."""
        for kind, *rest in messages:
            match kind:
                case "schema":
                    self.lifecycle.schema(rest[0], bookmarked=rest[1])
                case "record":
                    stream, version, number = rest
                    self.do(self.lifecycle.record(stream, version))
                    row = {"stream": stream, "record": number, "_sdc_run_id": self.run_id}
                    self.staged[stream].append(
                        msgspec.json.encode(
                            {**row, "_sdc_sequence": self.name, "_sdc_table_version": version}
                        )
                    )
                case "activate":
                    self.do(self.lifecycle.activate(*rest))
                case "state":
                    self.lifecycle.state(rest[0])
                case "checkpoint":
                    self.do(self.lifecycle.checkpoint())
        actions, wrong = self.lifecycle.end()
        last = [action for action in actions if isinstance(action, Release)]
        self.do(action for action in actions if action not in last)
        for manifest in self.manifests():
            self.run(manifest)
        if wrong:
            raise TargetError(wrong[0])
        self.do(last)

    def do(self, actions: Iterable[Action]) -> None:
        """Carry out the lifecycle's actions."""
        for action in actions:
            match action:
                case Begin(stream, version):
                    self.staged[stream], self.version[stream] = [], version
                case Drop(stream, _, _):
                    self.staged[stream] = []
                case Load(stream, version, _, replication):
                    self.load(stream, version, replication)
                case Release(state):
                    self.effect()
                    self.world.states.append(state)

    def manifests(self, stream: str | None = None) -> list[Manifest]:
        """Those that are there, by place."""
        manifests = [
            Manifest.decode(v) for k, v in sorted(self.world.objects.items()) if k.startswith("_manifests/")
        ]
        return [m for m in manifests if m.run_id == self.run_id and stream in {None, m.stream}]

    def load(self, stream: str, version: int | None, replication: Replication) -> None:
        """Upload, decide, load: in the loader's order."""
        lines = self.staged.pop(stream)
        earlier = self.earlier.setdefault(
            stream, Earlier(self.manifests(stream), self.world.objects.__getitem__)
        )
        for manifest in earlier.manifests:
            self.run(manifest)
        number = version if version is not None else 1_000_000 * self.name + self.places
        candidate = Candidate(
            stream=stream,
            number=number,
            numbered=version is not None,
            rows=len(lines),
            replication=replication,
            method="append-only",
        )
        if earlier.is_another_attempt:
            decided = earlier.decide(candidate, [gzip.compress(b"\n".join(lines))] if lines else [])
            if isinstance(decided, Manifest):
                return
            if decided is not None:
                lines = list(decided)
                if not lines:
                    return
        self.effect()
        uri = f"{stream}/{number}-{self.name}-{self.places}"
        self.world.objects[uri] = gzip.compress(b"\n".join(lines))
        self.places += 1
        manifest = Manifest(
            destination="p.d",
            run_id=self.run_id,
            stream=stream,
            table=stream,
            place=len(earlier.manifests),
            version=number,
            method="append-only",
            replication=replication,
            proof=Proof.TAP,
            source=None,
            extractor=None,
            keys=[],
            fields=[],
            fingerprint="",
            parts=[Staged(uri, len(lines), 0, "")] if lines else [],
            started_at="",
            numbered=version is not None,
        )
        self.effect()
        assert manifest.name not in self.world.objects
        self.world.objects[manifest.name] = manifest.encode()
        earlier.add(manifest)
        self.run(manifest)

    def run(self, manifest: Manifest) -> None:
        """Run a manifest's job once; all or nothing."""
        if manifest.digest not in self.world.jobs:
            self.effect()
            parts = [gzip.decompress(self.world.objects[part.uri]) for part in manifest.parts]
            self.world.jobs[manifest.digest] = [line for part in parts for line in part.split(b"\n") if line]


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
    plans = draw(
        st.lists(
            st.fixed_dictionaries(
                {
                    "grows": st.fixed_dictionaries({name: st.integers(0, 3) for name in names}),
                    "order": st.randoms(use_true_random=False),
                    "dies_after": st.integers(0, 14) | st.just(99),
                    "cut": st.none() | st.integers(0, 20),
                    "states": st.integers(0, 3),
                    "checkpoints": st.booleans(),
                    "announced_again": st.booleans(),
                    "same_versions": st.booleans(),
                    "bookmarks": st.sampled_from(
                        [True] if "incremental" in styles.values() else [True, False]
                    ),
                }
            ),
            min_size=1,
            max_size=5,
        )
    )
    return styles, plans


def queue_of(name: str, source: Source, start: int, plan: dict[str, Any]) -> list[tuple[Any, ...]]:
    """A stream's messages, in their order."""
    style = source.styles[name]
    version = None if style in {"incremental", "unversioned"} else source.versions
    numbers = range(start + 1 if style == "incremental" else 1, source.size[name] + 1)
    queue: list[tuple[Any, ...]] = [("schema", name, style == "incremental")]
    if style == "announced":
        queue.append(("activate", name, version))
    for number in numbers:
        queue.append(("record", name, version, number))
        if style == "announced" and plan["announced_again"]:
            queue += [("schema", name, False), ("activate", name, version)]
    if style == "activated":
        queue.append(("activate", name, version))
    return queue


def messages(source: Source, state: dict[str, Any], plan: dict[str, Any]) -> list[tuple[Any, ...]]:
    """One reading of the source from the STATE: streams interleaved, STATEs between."""
    random = plan["order"]
    queues: dict[str, list[tuple[Any, ...]]] = {}
    if not plan["same_versions"]:
        source.versions += 1
    for name in source.styles:
        source.size[name] += plan["grows"][name]
        start = (state.get("bookmarks", {}).get(name) or {}).get("replication_key_value", 0)
        queues[name] = queue_of(name, source, start, plan)
    at = {name: (state.get("bookmarks", {}).get(name) or {}) for name in source.styles}
    sent: list[tuple[Any, ...]] = []
    total = sum(map(len, queues.values()))
    states_at = {random.randrange(total + 1) for _ in range(plan["states"])}
    while any(queues.values()):
        name = random.choice([name for name, queue in queues.items() if queue])
        message = queues[name].pop(0)
        sent.append(message)
        if message[0] == "record" and source.styles[name] == "incremental":
            at[name] = {"replication_key": "n", "replication_key_value": message[3]}
        if len(sent) in states_at:
            sent.append(("state", {"bookmarks": dict(at)}))
            if plan["checkpoints"]:
                sent.append(("checkpoint",))
    final = {"bookmarks": dict(at)} if plan["bookmarks"] else {"done": source.versions}
    return [*sent, ("state", final)]


def check(world: World, source: Source, sent: list[tuple[Any, ...]], run_id: str, *, whole: bool) -> None:
    """The model: each record once, or no STATE past it."""
    rows = world.rows()
    for name, style in source.styles.items():
        own = [row for row in rows if row["stream"] == name]
        if style == "incremental":
            counted = Counter(row["record"] for row in own)
            assert all(count == 1 for count in counted.values()), f"{name}: loaded twice: {counted}"
            for state in world.states:
                at = (state["bookmarks"].get(name) or {}).get("replication_key_value", 0)
                assert set(range(1, at + 1)) <= set(counted), f"{name}: STATE {at} past {sorted(counted)}"
        else:
            # A version that is loaded is loaded once: no record twice under one number of one attempt.
            counted = Counter((row["record"], row["_sdc_run_id"], row["_sdc_sequence"]) for row in own)
            assert all(count == 1 for count in counted.values()), f"{name}: loaded twice: {counted}"
        if whole:
            wanted = {message[3] for message in sent if message[0] == "record" and message[1] == name}
            loaded = {row["record"] for row in own if row["_sdc_run_id"] == run_id}
            assert wanted <= loaded, f"{name}: STATE is out, {wanted - loaded} are not loaded"


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), phases=PHASES)
@given(attempts())
def test_each_record_once_or_no_state_past_it(drawn: tuple[dict[str, str], list[dict[str, Any]]]) -> None:
    """Any streams, any order, any death, any repetition."""
    styles, plans = drawn
    world, source = World(), Source(styles)
    run = 1
    for number, plan in enumerate(plans):
        run_id = f"run-{run}"
        state = world.states[-1] if world.states else {}
        sent = messages(source, state, plan)
        if plan["cut"] is not None:
            # The tap dies: what it has not sent, the STATE at the end included, never comes.
            sent = sent[: plan["cut"]]
        attempt = Attempt(world, run_id, number, plan["dies_after"])
        try:
            attempt.send(sent)
        except DiedError:
            event("died")
            check(world, source, sent, run_id, whole=False)
            continue
        except TargetError as error:
            event(f"refused: {str(error).partition(':')[2][:30]}")
            check(world, source, sent, run_id, whole=False)
            if "run with another run id" in str(error) and "incremental" in styles.values():
                return  # another run id reads again what this one has loaded
            if "run with another run id" in str(error):
                run += 1
            continue
        event("ended well")
        check(world, source, sent, run_id, whole=True)
        if plan["cut"] is None:
            run += 1  # else the tap has died, and the runner repeats the run
