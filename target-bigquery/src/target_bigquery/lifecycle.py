"""The lifecycle of a stream's versions: Singer messages in, actions out, no I/O.

A version is a sequence of records that one job loads: the records of one `version` number, or those of a stream
without numbers. Its proof shows that it is whole:

- `tap`: ACTIVATE_VERSION after its records. Where the version was announced before them, no SCHEMA may stand between: taps of
  databases announce the first version and activate it; singer-sdk taps announce each, and its child streams send SCHEMA and
  announce it again for each parent.
- `state`: a STATE after its last record that reports the stream as done (`says_done`). singer-sdk sends one after each
  parent's children too, and starts the child stream again for the next parent: the stream is done when the number of
  such STATEs in a row exceeds that between two parents. It also sends one after every 10,000 records, and at the end only
  one that differs: where the bookmark holds no position, one such STATE after as many records proves nothing.
- `end_of_input`: nothing but the end. Meltano closes the target's input when a tap dies, so this proves nothing.

A version that was not announced and that no ACTIVATE_VERSION closes is never loaded. One that was announced, or has no
number, is loaded with whatever proof there is; `overwrite` refuses those with `end_of_input`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from target_bigquery.errors import TargetError


class Proof(StrEnum):
    """What shows that a version is whole."""

    TAP = "tap"
    STATE = "state"
    END_OF_INPUT = "end_of_input"


class Replication(StrEnum):
    """Whether a version has all records of the source, or the new ones."""

    FULL = "full"
    INCREMENTAL = "incremental"


@dataclass(frozen=True)
class Begin:
    """Start to stage a version's records."""

    stream: str
    version: int | None


@dataclass(frozen=True)
class Load:
    """Load the stream's staged version, which may be empty."""

    stream: str
    version: int | None
    proof: Proof
    replication: Replication


@dataclass(frozen=True)
class Drop:
    """Discard the stream's staged version; `why` is for the log."""

    stream: str
    version: int | None
    why: str


@dataclass(frozen=True)
class Release:
    """Send this STATE once every load before it has succeeded."""

    state: dict[str, Any]


Action = Begin | Load | Drop | Release
NOTHING: tuple[Action, ...] = ()
MARKERS = "progress_markers"
# singer-sdk's Stream.STATE_MSG_FREQUENCY.
SDK_STATE_EVERY = 10_000


def bookmark_of(state: Mapping[str, Any], stream: str) -> Any:  # noqa: ANN401 (a tap's own)
    """Return the stream's bookmark, None where the state has none for it.

    Without `bookmarks`, those of singer-python's `update_state` are the state's own items.
    """
    bookmarks = state.get("bookmarks", state)
    return bookmarks.get(stream) if isinstance(bookmarks, dict) else None


def resumable(state: Mapping[str, Any], stream: str) -> bool:
    """Return whether the state covers all of the stream's records before it.

    singer-sdk writes `progress_markers` where a stream's records are not sorted: until they are gone, the bookmark is the
    one before the run. A state without `bookmarks` covers everything before it.
    """
    if not isinstance(state.get("bookmarks"), dict):
        return True
    bookmark = bookmark_of(state, stream)
    return bookmark is not None and not _has_markers(bookmark)


def says_done(state: Mapping[str, Any], stream: str) -> bool:
    """Return whether the state reports the stream as done: resumable, and not `currently_syncing`."""
    return resumable(state, stream) and state.get("currently_syncing") != stream


def _has_markers(bookmark: Any) -> bool:  # noqa: ANN401
    if isinstance(bookmark, dict):
        return bool(bookmark.get(MARKERS)) or any(_has_markers(value) for value in bookmark.values())
    return isinstance(bookmark, list) and any(_has_markers(value) for value in bookmark)


def has_position(bookmark: Any) -> bool:  # noqa: ANN401
    """Return whether a bookmark holds a position to resume from: any value but a version or a partition's context."""
    if isinstance(bookmark, dict):
        return any(has_position(v) for k, v in bookmark.items() if k not in {"version", "context"})
    if isinstance(bookmark, list):
        return any(has_position(value) for value in bookmark)
    return bookmark is not None and bookmark is not False


@dataclass
class _Progress:
    """What a stream's messages so far amount to; `source` is its name in the tap's states."""

    source: str
    incremental: bool = False
    open: bool = False
    version: int | None = None
    rows: int = 0
    # Number of STATEs before its last message, and the last STATE before its first record that is not loaded.
    states_before: int = 0
    base: dict[str, Any] | None = None
    # Most STATEs in a row that reported it as done before it was started again.
    too_early: int = 0
    # Versions announced before their records, and whole ones; whether any record had no number.
    announced: set[int] = field(default_factory=set)
    done: set[int] = field(default_factory=set)
    has_unnumbered: bool = False
    # Whether a record has followed its last SCHEMA, and whether an ACTIVATE_VERSION has followed that record.
    recorded: bool = False
    ended: bool = False

    @property
    def ends_with_input(self) -> bool:
        return self.version is None or self.version in self.announced


class Lifecycle:
    """All streams of one input; each method takes a message and returns the actions to carry out, in order.

    Args:
        overwrite: Whether a version replaces the table's rows, and so needs a proof.
    """

    def __init__(self, *, overwrite: bool = False) -> None:
        self._overwrite = overwrite
        self._streams: dict[str, _Progress] = {}
        self._states = 0
        self._state: dict[str, Any] | None = None

    def schema(self, stream: str, *, source: str | None = None, bookmarked: bool = False) -> None:
        """Take a SCHEMA.

        Args:
            stream: The stream's name, as the other methods take it.
            source: Its name in the tap's states, where a stream map has renamed it.
            bookmarked: Whether the SCHEMA names bookmark properties.
        """
        source = source or stream
        progress = self._streams.setdefault(stream, _Progress(source, states_before=self._states))
        if progress.source != source:
            raise TargetError(
                f"the streams {progress.source!r} and {source!r} would both be stream {stream!r}, of which no STATE could be "
                "right; give them names of their own in stream_maps"
            )
        progress.incremental = progress.incremental or bookmarked
        progress.recorded = progress.ended = False
        if progress.open or progress.announced:
            self._restarted(progress)

    def record(self, stream: str, version: int | None) -> tuple[Action, ...]:
        """Take a RECORD, which is staged after the actions."""
        progress = self._streams[stream]
        progress.recorded, progress.ended = True, False
        if progress.open and version == progress.version:
            progress.rows += 1
            progress.states_before = self._states
            return NOTHING
        if version in progress.done:
            raise TargetError(f"{stream}: a record of version {version} came after that version was whole")
        actions: list[Action] = []
        if progress.open:
            before = progress.version
            if version is None or (before is not None and version < before):
                raise TargetError(
                    f"{stream}: a record of version {version} came after records of version {before}"
                )
            actions.append(self._end_unfinished(stream, progress, version))
        progress.has_unnumbered = progress.has_unnumbered or version is None
        progress.open, progress.version, progress.rows = True, version, 1
        progress.states_before, progress.base = self._states, self._state
        return (*actions, Begin(stream, version))

    def activate(self, stream: str, version: int) -> tuple[Action, ...]:
        """Take an ACTIVATE_VERSION: the end of a version whose records came before, else an announcement."""
        progress = self._streams[stream]
        if version in progress.done or (
            progress.open and progress.version is not None and version < progress.version
        ):
            return NOTHING
        if progress.open and version == progress.version and version not in progress.announced:
            return (self._close(stream, progress, Proof.TAP),)
        if version in progress.announced:
            progress.ended = progress.open and progress.recorded and version == progress.version
            self._restarted(progress)
        progress.announced.add(version)
        progress.states_before = self._states
        return NOTHING

    def state(self, value: dict[str, Any]) -> None:
        """Take a STATE."""
        self._states += 1
        self._state = value

    def checkpoint(self) -> tuple[Action, ...]:
        """Return the loads that are possible at the STATE just taken, and the STATE to send after them.

        Only incremental streams are loaded before the end, and nothing is where the last load replaces the others. A stream
        with records that are not loaded keeps the bookmark that it had before them; where that is unknown, no STATE goes out.
        """
        state = self._state
        if state is None or self._overwrite:
            return NOTHING
        loads: list[Action] = []
        kept: dict[str, Any] = {}
        for name, progress in self._streams.items():
            if not progress.open or not progress.rows:
                continue
            if (
                progress.version is None
                and self._states > progress.states_before
                and self._replication(progress) is Replication.INCREMENTAL
                and resumable(state, progress.source)
            ):
                proof = Proof.STATE if says_done(state, progress.source) else Proof.END_OF_INPUT
                loads.append(self._close(name, progress, proof))
                continue
            before = bookmark_of(progress.base or {}, progress.source)
            if before is None or not isinstance(state.get("bookmarks"), dict):
                kept = {}
                break
            kept[progress.source] = before
        else:
            if loads:
                bookmarks = state.get("bookmarks")
                released = (
                    {**state, "bookmarks": {**bookmarks, **kept}} if isinstance(bookmarks, dict) else state
                )
                return (*loads, Release(released))
        return tuple(loads)

    def version_of_batch(self, stream: str) -> int | None:
        """Return the version of records that come without one in a BATCH."""
        progress = self._streams[stream]
        if progress.open:
            return progress.version
        return max((version for version in progress.announced if version not in progress.done), default=None)

    def end(self) -> tuple[tuple[Action, ...], list[str]]:
        """Take the end of input; return the actions, and an error per stream that is not whole."""
        actions: list[Action] = []
        wrong = []
        proofs = self._proofs()
        for name, progress in self._streams.items():
            if progress.open and not progress.ends_with_input:
                wrong.append(
                    f"{name}: {progress.rows} records staged, stream not complete, nothing loaded; expected "
                    f"ACTIVATE_VERSION {progress.version} after them; look at the tap's message, then run again (where the tap "
                    "never sends one, as in log-based replication, set process_activate_version_messages to false)"
                )
                actions.append(Drop(name, progress.version, "it was never whole"))
                continue
            if progress.open:
                proof = proofs[name]
                progress.open = False
                if self._overwrite and proof is Proof.END_OF_INPUT:
                    wrong.append(self._unproven(name, progress.rows))
                    actions.append(Drop(name, progress.version, "nothing says that it is whole"))
                else:
                    actions.append(Load(name, progress.version, proof, self._replication(progress)))
            elif not progress.has_unnumbered and (waiting := progress.announced - progress.done):
                version = max(waiting)
                if proofs[name] is Proof.STATE:
                    actions += [Begin(name, version), Load(name, version, Proof.STATE, Replication.FULL)]
                elif self._overwrite:
                    wrong.append(self._unproven(name, 0))
        if not wrong and self._state is not None:
            actions.append(Release(self._state))
        return tuple(actions), wrong

    def _unproven(self, stream: str, rows: int) -> str:
        return (
            f"{stream}: {rows} records, and nothing but the end of input says that they are all; overwrite replaces the "
            "table only where ACTIVATE_VERSION or a STATE after the last record says so; the table is as it was; look at "
            "the tap's message, then run again (where the tap never says so, use append-only or upsert)"
        )

    def _end_unfinished(self, stream: str, progress: _Progress, version: int | None) -> Action:
        """End the version in progress because the records of another follow."""
        proof = self._proof(progress) if progress.ends_with_input else None
        if proof is None or (self._overwrite and proof is Proof.END_OF_INPUT):
            return Drop(stream, progress.version, f"version {version} replaces it, and it was never whole")
        return self._close(stream, progress, proof)

    def _close(self, stream: str, progress: _Progress, proof: Proof) -> Load:
        progress.open = False
        if progress.version is not None:
            progress.done.add(progress.version)
        return Load(stream, progress.version, proof, self._replication(progress))

    def _restarted(self, progress: _Progress) -> None:
        """Take a SCHEMA or ACTIVATE_VERSION of a stream that has started: no STATE before it covers the whole stream."""
        if self._state is not None and says_done(self._state, progress.source):
            progress.too_early = max(progress.too_early, self._states - progress.states_before)
        progress.states_before = self._states

    def _proof(self, progress: _Progress) -> Proof:
        if progress.ended:
            return Proof.TAP
        states, state = self._states - progress.states_before, self._state or {}
        bookmark = bookmark_of(state, progress.source)
        full = progress.open and isinstance(bookmark, dict) and not has_position(bookmark)
        along_the_way = full and states == 1 and progress.rows % SDK_STATE_EVERY == 0
        done = states > progress.too_early and not along_the_way and says_done(state, progress.source)
        return Proof.STATE if done else Proof.END_OF_INPUT

    def _proofs(self) -> dict[str, Proof]:
        """Return the proof at the end of input of each stream that is not whole yet.

        A bookmark with partitions covers those so far: where another stream was cut off, that may be the parent.
        """
        proofs = {
            name: self._proof(progress)
            for name, progress in self._streams.items()
            if progress.open or progress.announced
        }
        if Proof.END_OF_INPUT in proofs.values():
            for name, proof in proofs.items():
                bookmark = bookmark_of(self._state or {}, self._streams[name].source)
                if proof is Proof.STATE and isinstance(bookmark, dict) and bookmark.get("partitions"):
                    proofs[name] = Proof.END_OF_INPUT
        return proofs

    def _replication(self, progress: _Progress) -> Replication:
        """Return whether the version in progress is a delta.

        Taps of databases number a delta too, by the version of the last full read, and announce that number first.
        """
        bookmark = bookmark_of(self._state or {}, progress.source)
        if progress.version is None:
            incremental = progress.incremental or has_position(bookmark)
        else:
            key = isinstance(bookmark, dict) and bookmark.get("replication_key")
            incremental = progress.version in progress.announced and bool(progress.incremental or key)
        return Replication.INCREMENTAL if incremental else Replication.FULL
