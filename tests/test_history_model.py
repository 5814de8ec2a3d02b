"""History against a model: whatever is loaded, retracted and rebuilt, it is what the versions that count say.

Each location lives its own life over the versions (absent, edited, gone, back, an id given to another), so that one
sequence of builds tries many lives at once.
"""

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from warehouse import Warehouse, location

LIVES = 60
ONLY_HISTORY = ("run", "--select", "stg_rickandmorty__loads", "int_build_versions", "snap_locations")
# What a life can be in a version: not there, a record, its edits, and another record under the same id.
FORMS: dict[str, dict[str, Any] | None] = {
    "absent": None,
    "first": {},
    "renamed": {"name": "Elsewhere"},
    "emptied": {"type": "", "dimension": ""},
    "moved in": {"residents": ["https://rickandmortyapi.com/api/character/1"]},
    "reused": {"name": "Another", "created": "2026-01-02T03:04:05.006Z"},
}
versions = st.lists(st.sampled_from(sorted(FORMS)), min_size=LIVES, max_size=LIVES)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("load"), versions),
        st.tuples(st.just("load late"), versions),
        st.tuples(st.just("retract"), st.integers(0, 99)),
        st.tuples(st.just("read again"), st.integers(0, 99)),
        st.tuples(st.just("change the logic"), st.none()),
        st.tuples(st.just("delete from the ledger"), st.none()),
        st.tuples(st.just("build again"), st.none()),
        st.tuples(st.just("full refresh"), st.none()),
    ),
    min_size=4,
    max_size=5,
)


class Model:
    """What has been loaded, which of it counts, and how names are cleaned."""

    def __init__(self) -> None:
        self.loaded: dict[int, tuple[datetime, list[str]]] = {}
        self.retracted: set[int] = set()
        self.upper = False

    def rows(self) -> list[tuple[Any, ...]]:
        """Return the history that there has to be: id, name, type, residents, created year, from, to."""
        counted = sorted((v, at, forms) for v, (at, forms) in self.loaded.items() if v not in self.retracted)
        rows: list[tuple[Any, ...]] = []
        for life in range(LIVES):
            now: tuple[Any, ...] | None = None
            since = None
            for _, at, forms in counted:
                state = self.state(FORMS[forms[life]])
                if state != now:
                    if now is not None:
                        rows.append((life, *now, since, at))
                    now, since = state, at
            if now is not None:
                rows.append((life, *now, since, None))
        return sorted(rows, key=repr)

    def state(self, form: dict[str, Any] | None) -> tuple[Any, ...] | None:
        """Return the columns of a record in a form."""
        if form is None:
            return None
        name = form.get("name", "Place")
        return (
            name.upper() if self.upper else name,
            form.get("type", "Planet") or None,
            "[1]" if form.get("residents") else "[]",
            int(form.get("created", "2017")[:4]),
        )


def load(warehouse: Warehouse, model: Model, number: int, forms: list[str], *, late: bool) -> None:
    """Load a version; a late one is older than all that have been loaded, though it comes after them."""
    records = [
        location(life, **{"name": "Place", **(FORMS[form] or {})})
        for life, form in enumerate(forms)
        if FORMS[form] is not None
    ]
    now = warehouse.clock
    if late and model.loaded:
        # It is loaded an hour on: one second before the oldest.
        warehouse.clock = min(at for at, _ in model.loaded.values()) - timedelta(hours=1, seconds=1)
    version = warehouse.land("locations", records, f"run {number}")
    at = warehouse.clock
    warehouse.clock = max(now, at)
    model.loaded[version] = (at, forms)


def follow(warehouse: Warehouse, model: Model, number: int, step: tuple[str, Any]) -> None:
    """Carry out one step on the warehouse and on the model, and build."""
    what, given_value = step
    ledger = "`local_rickandmorty_landing._loads`"
    arguments: tuple[str, ...] = ()
    cleaning = warehouse.folder / "transform" / "macros" / "records.sql"
    if what in ("load", "load late"):
        load(warehouse, model, number, given_value, late=what == "load late")
    elif what in ("retract", "read again") and model.loaded:
        version = sorted(model.loaded)[given_value % len(model.loaded)]
        mark = "CURRENT_TIMESTAMP()" if what == "retract" else "NULL"
        warehouse.sandbox.client().query(
            f"UPDATE {ledger} SET retracted_at = {mark} WHERE table_version = {version}"
        ).result()
        (model.retracted.add if what == "retract" else model.retracted.discard)(version)
    elif what == "change the logic":
        plain, upper = "NULLIF(landing.name, '')", "NULLIF(UPPER(landing.name), '')"
        head, tail = cleaning.read_text().split("macro cleaned_locations", 1)
        tail = tail.replace(upper, plain) if model.upper else tail.replace(plain, upper)
        cleaning.write_text(f"{head}macro cleaned_locations{tail}")
        model.upper = not model.upper
    elif what == "delete from the ledger" and model.loaded:
        version = max(model.loaded)
        warehouse.sandbox.client().query(f"DELETE FROM {ledger} WHERE table_version = {version}").result()
        del model.loaded[version]
    elif what == "full refresh":
        arguments = ("--full-refresh",)
    warehouse.dbt(*ONLY_HISTORY, *arguments).succeeded()


@pytest.mark.slow
@settings(
    max_examples=2, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
@given(first=versions, second=versions, then=steps)
def test_history_is_what_the_versions_that_count_say(
    dbt_warehouse: Warehouse, first: list[str], second: list[str], then: list[tuple[str, Any]]
) -> None:
    """After every step each record of each version has one row: no overlap, no gap, times of the versions."""
    dbt_warehouse.empty()
    model = Model()
    cleaning = dbt_warehouse.folder / "transform" / "macros" / "records.sql"
    before = cleaning.read_text()
    try:
        with dbt_warehouse.without_verdict():
            for number, step in enumerate([("load", first), ("load", second), *then]):
                follow(dbt_warehouse, model, number, step)
                found = dbt_warehouse.ask(
                    "SELECT location_id, location_name, location_type, resident_ids, EXTRACT(YEAR FROM created_at), "
                    "dbt_valid_from, dbt_valid_to FROM `local_rickandmorty_snapshots.snap_locations`"
                )
                assert sorted(found, key=repr) == model.rows(), step
    finally:
        cleaning.write_text(before)
