"""What a STATE proves, which bookmarks go out along the way, and which version is a delta: the lifecycle, message by message."""

from typing import Any

import pytest
from target_bigquery.lifecycle import Lifecycle, Load, Proof, Release, Replication, says_done

STATES = {
    "its bookmark": ({"bookmarks": {"s": {}}}, True),
    "no bookmarks at all": ({"at": 5}, True),
    "another's bookmark": ({"bookmarks": {"other": {}}}, False),
    "null for a bookmark": ({"bookmarks": {"s": None}}, False),
    "progress markers": ({"bookmarks": {"s": {"progress_markers": {"replication_key_value": 1}}}}, False),
    "progress markers in a partition": (
        {"bookmarks": {"s": {"partitions": [{"context": {}, "progress_markers": {"x": 1}}]}}},
        False,
    ),
    "being read": ({"currently_syncing": "s", "bookmarks": {"s": {"id": 1}}}, False),
    "another being read": ({"currently_syncing": "t", "bookmarks": {"s": {"id": 1}}}, True),
}


@pytest.mark.parametrize(("state", "done"), STATES.values(), ids=STATES.keys())
def test_what_a_state_says_of_a_stream(state: dict[str, Any], done: bool) -> None:  # noqa: FBT001 (a table)
    """A STATE proves a stream where it speaks of it as done."""
    assert says_done(state, "s") is done


@pytest.mark.parametrize("is_known", [True, False])
def test_a_stream_with_records_that_are_not_loaded_keeps_its_bookmark(is_known: bool) -> None:  # noqa: FBT001 (a table)
    """Along the way, STATE is put together from the bookmarks of what is loaded; where one is not known, STATE waits."""
    lifecycle = Lifecycle()
    lifecycle.schema("inc", bookmarked=True)
    lifecycle.schema("full")
    if is_known:
        lifecycle.state({"bookmarks": {"full": {"v": 1}, "inc": {"replication_key_value": 0}}})
    lifecycle.record("full", 7)
    lifecycle.record("inc", None)
    lifecycle.state({"bookmarks": {"full": {"v": 2}, "inc": {"replication_key_value": 5}}})
    load, *release = lifecycle.checkpoint()
    assert load == Load("inc", None, Proof.STATE, Replication.INCREMENTAL)
    kept = Release({"bookmarks": {"full": {"v": 1}, "inc": {"replication_key_value": 5}}})
    assert release == ([kept] if is_known else [])


def test_an_announcement_is_no_empty_version_where_records_have_no_number() -> None:
    """Its records are loaded along the way; nothing with that number comes after them, which would hide them."""
    lifecycle = Lifecycle()
    lifecycle.schema("inc", bookmarked=True)
    lifecycle.record("inc", None)
    lifecycle.state({"bookmarks": {"inc": {"replication_key_value": 5}}})
    assert isinstance(lifecycle.checkpoint()[0], Load)
    lifecycle.activate("inc", 7)
    lifecycle.state({"bookmarks": {"inc": {"replication_key_value": 5}}})
    actions, _ = lifecycle.end()
    assert not [action for action in actions if isinstance(action, Load)]


@pytest.mark.parametrize(
    ("records", "states", "proof"), [(9_999, 1, "state"), (10_000, 1, "end_of_input"), (10_000, 2, "state")]
)
def test_a_state_after_ten_thousand_records_may_be_one_along_the_way(
    records: int, states: int, proof: str
) -> None:
    """singer-sdk sends one then, and at the end only one that differs: a tap that fails next looks as one that has ended."""
    lifecycle = Lifecycle()
    lifecycle.schema("s")
    for _ in range(records):
        lifecycle.record("s", None)
    for _ in range(states):
        lifecycle.state({"bookmarks": {"s": {"starting_replication_value": None}}})
    assert [action.proof for action in lifecycle.end()[0] if isinstance(action, Load)] == [proof]


# singer-sdk's own order for two parents of which each has one child, before the parents' end.
CHILD = {"partitions": [{"context": {"parent": 1}}]}
ONE_PARENT = [
    ("schema", "parents"),
    ("activate", "parents", 7),
    ("schema", "children"),
    ("activate", "children", 7),
    ("record", "children", 7),
    ("state", {"bookmarks": {"children": CHILD}}),
    ("record", "parents", 7),
]
TWO_PARENTS = [*ONE_PARENT, *ONE_PARENT[2:]]
PARENTS_END = ("state", {"bookmarks": {"children": CHILD, "parents": {}}})
CHILDREN = {
    "both whole": ([*TWO_PARENTS, PARENTS_END], {"parents", "children"}),
    "one parent, whole": ([*ONE_PARENT, PARENTS_END], {"parents", "children"}),
    "cut off after the first parent": (ONE_PARENT, set()),
    "cut off after the second parent": (TWO_PARENTS, set()),
    "cut off after the second parent's children": (TWO_PARENTS[:-1], set()),
    "cut off when the second parent's children begin": (TWO_PARENTS[:8], set()),
    "one STATE in all": (
        [m for m in TWO_PARENTS if m[0] != "state"] + [PARENTS_END],
        {"parents", "children"},
    ),
}


@pytest.mark.parametrize(("messages", "proven"), CHILDREN.values(), ids=CHILDREN.keys())
def test_which_streams_of_parents_and_children_a_state_proves(
    messages: list[tuple[Any, ...]], proven: set[str]
) -> None:
    """A STATE after one parent's children says nothing of the next one's."""
    lifecycle = Lifecycle(overwrite=True)
    for kind, *rest in messages:
        getattr(lifecycle, kind)(*rest)
    actions, _ = lifecycle.end()
    assert {action.stream for action in actions if isinstance(action, Load)} == proven


@pytest.mark.parametrize(
    ("bookmarked", "bookmark", "replication"),
    [
        (False, {"version": 5, "replication_key": "id", "replication_key_value": 3}, "incremental"),
        (True, {"version": 5, "lsn": 7}, "incremental"),
        (False, {"version": 5, "xmin": None, "last_replication_method": "FULL_TABLE"}, "full"),
        (False, {}, "full"),
    ],
)
def test_a_delta_that_has_the_number_of_the_last_full_read(
    bookmarked: bool,  # noqa: FBT001 (a table)
    bookmark: dict[str, Any],
    replication: str,
) -> None:
    """Taps of databases announce that number before each delta; its bookmark shows that it is one."""
    lifecycle = Lifecycle()
    lifecycle.schema("rows", bookmarked=bookmarked)
    lifecycle.activate("rows", 5)
    lifecycle.record("rows", 5)
    lifecycle.state({"bookmarks": {"rows": bookmark}})
    actions, _ = lifecycle.end()
    assert [action.replication for action in actions if isinstance(action, Load)] == [replication]
