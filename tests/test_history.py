"""Several versions of a small world, one after the other: marts, changes and snapshots show exactly what happened."""

import copy
import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from marts_in_python import ENTITIES, MARTS, Load, Marts, code, day, number, numbers
from test_marts import SCHEMA, differences, newest_loads, served
from testkit.whole_pipeline import RUN_ALL, Project, Sandbox
from warehouse import SITE, Warehouse, character, episode, location, place

Records = dict[str, list[dict[str, Any]]]
SNAPSHOTS = "local_rickandmorty_snapshots"


def links(resource: str, *ids: int) -> list[str]:
    """Addresses of records."""
    return [f"{SITE}/{resource}/{i}" for i in ids]


# One leads to an episode that is not there, two end in no id.
UNREADABLE = [*links("episode", 9), f"{SITE}/episode/10/", ""]
NOWHERE = {"name": "", "url": "nowhere"}


def nothing() -> Records:
    """An API without a record."""
    return {entity: [] for entity in ENTITIES}


def world() -> Records:
    """A small world, odd in all the ways that the marts tell apart."""
    return {
        "characters": [
            character(1, (1, 2, 1), 1, origin=place(1)),
            character(2, (1, 3), 1, status="Dead", type="Clone", name="Who 1", origin=place(3)),
            character(3, (2,), None, status="Frozen", species="Alien", gender="unknown", origin=NOWHERE),
            # Where nobody lists the character, and an episode that is not there.
            character(4, (9,), 2, status="unknown", name='Œil d\'"O\\hara"', episode=UNREADABLE),
            character(5, (2, 1), 7, image=""),
            character(7, (5,), name="", status="", species="", gender="", origin={"name": "", "url": ""}),
        ],
        "episodes": [
            episode(1, (1, 2, 5)),
            episode(2, (5, 3, 1, 8)),
            episode(3, (2, 4), air_date="soon", episode="Special 1"),
            # The first of all by its code.
            episode(4, (), episode="S00E10", air_date=""),
            episode(5, (), name="", episode="S1E1", air_date="February 30, 2014"),
            episode(6, (), episode="s01e01"),
            episode(7, (), episode="S10E123 (special)"),
            episode(8, (), episode=""),
        ],
        "locations": [
            location(1, (1, 2)),
            location(2, (3,), type=""),
            location(3, (), dimension=""),
            # Once more the first character, twice, and an empty address.
            location(4, name="") | {"residents": [*links("character", 1, 1), ""]},
        ],
    }


def edited() -> Records:
    """The same world after edits, a deletion and an addition."""
    records = copy.deepcopy(world())
    one, two, *_ = records["characters"]
    one.update(
        status="Dead", episode=links("episode", 1, 2, 4), location=place(3), new_fields={"b": 1, "a": [2]}
    )
    two["type"] = ""
    records["characters"][3]["episode"] = [*UNREADABLE[:1], f"{SITE}/episode/11/", ""]
    # The id is given to another.
    records["characters"][4].update(name="Another 5", species="Robot", created="2025-01-02T03:04:05.006Z")
    del records["characters"][2]
    records["characters"].append(character(6, (4,), 3, species="Robot"))
    records["characters"][2]["episode"].reverse()
    records["episodes"][0]["characters"].reverse()
    records["episodes"][3]["characters"] = links("character", 1, 6)
    records["locations"][1]["type"] = None
    records["locations"][0].update(name="Place 1 (Rebuilt)", residents=links("character", 2))
    return records


def odd() -> Records:
    """Records whose texts, dates, codes and addresses are odd in ways in which engines differ."""
    texts = ["", " ", "\u00a0", "\u200b", "é", "e\u0301", "\U0001f680", "\u05e8\u05d9", "\t", "null"]
    texts += ["%s %d {}", "a\nb", "O'Hara\\", "Z", "z", "é", "unknown"]
    days = "Dec 2, 2013|December 2,2013|December2, 2013| december  02, 2013\n|February 29, 2013|February 29, 2012|December 2, 13|December 2, 0|Sept 2, 2013|2013-12-02|December 31, 9999|January 1, 1|December 2, 99999|\u00a0May 2, 2013|May 32, 2013|May 2, \u0662\u0660\u0661\u0663|May 1, 2014"
    codes = "S01E01|S01E01|S1E1|S99999999999999999999E1|S\u0660\u0661E01|S01E01\n| S01E02|S00E00|S-1E1|S01E2147483648|S9223372036854775807E1|S02E01|S02E01|SE|S1E|S01E01E02|S01 E01"
    ends = ["1", "01", "1/", "1?y=2", "9" * 20, str(2**53), "1\n", " ", "\u0662", "-1", "1.0"]
    urls = ["/1", "1", "x1", *(f"{SITE}/character/{end}" for end in ends)]
    fields = {"b": 1, "a": {"z": 1.5, "y": None}, "\U0001f680": ["\u2028"]}
    return {
        "characters": [
            character(n, (1, 2), n % 3, **dict.fromkeys(("name", "species", "status", "type", "gender"), t))
            | {"origin": {"name": t, "url": urls[n % len(urls)]}, "new_fields": fields if n % 2 else None}
            for n, t in enumerate(texts)
        ],
        "episodes": [
            episode(n, (1, 2, 3), name=texts[n], air_date=d, episode=c)
            for n, (d, c) in enumerate(zip(days.split("|"), codes.split("|"), strict=True))
        ],
        "locations": [
            location(n, name=t, type=t, dimension=t) | {"residents": urls} for n, t in enumerate(texts)
        ],
    }


def single() -> Records:
    """One record of each entity; the character is again as it first was."""
    return {
        "characters": world()["characters"][:1],
        "episodes": edited()["episodes"][:1],
        "locations": edited()["locations"][:1],
    }


# An empty world and one of single records are no fault here.
POLICIES = {"empty": "ignore", "drop": "ignore"}
# One of the world's episodes has more.
CROWD_SIZE = 3
VERSIONS = {"nothing": nothing(), "world": world(), "edited": edited(), "single": single()}


def states(entity: str, records: Records) -> dict[int, tuple[Any, ...]]:
    """What a snapshot keeps of each record: its columns between the key and the times."""

    def state(r: dict[str, Any]) -> tuple[Any, ...]:
        if entity == "characters":
            fields = [r[f] or None for f in ("name", "status", "species", "type", "gender")]
            for place in (r["origin"], r["location"]):
                fields += [number(place["url"]), place["name"] or None]
            return (*fields, numbers(r["episode"]))
        if entity == "episodes":
            text = r["episode"]
            aired, cast = day(r["air_date"]), numbers(r["characters"])
            return (r["name"] or None, text or None, code(text, 1), code(text, 2), aired, cast)
        return (r["name"] or None, r["type"] or None, r["dimension"] or None, numbers(r["residents"]))

    return {r["id"]: state(r) for r in records[entity]}


SNAPSHOT_COLUMNS = {
    "characters": "character_name, status, species, character_type, gender, origin_location_id, origin_name, "
    "last_location_id, last_location_name, episode_ids",
    "episodes": "episode_name, episode_code, season_number, episode_number, air_date, character_ids",
    "locations": "location_name, location_type, dimension, resident_ids",
}


def history(sandbox: Sandbox, entity: str) -> list[tuple[Any, ...]]:
    """The rows of a snapshot: id, state, since when, and whether the state still holds."""
    rows = sandbox.ask(
        f"SELECT {ENTITIES[entity]}_id, {SNAPSHOT_COLUMNS[entity]}, dbt_valid_from, dbt_valid_to "
        f"FROM `{SNAPSHOTS}.snap_{entity}`"
    )
    return sorted(
        ((i, (*fields, json.loads(ids)), since, until) for i, *fields, ids, since, until in rows),
        key=lambda row: (row[0], row[2]),
    )


@dataclass
class Life:
    """What the versions were, and what the warehouse showed after each: differences by mart; the history after all."""

    loaded: list[tuple[Records, dict[str, Load]]]
    differences: dict[str, dict[str, Any]]
    history: dict[str, list[tuple[Any, ...]]]
    older_loads: list[tuple[Any, ...]] = field(default_factory=list)


@pytest.fixture(scope="module")
def life(dbt_warehouse: Warehouse) -> Life:
    """No record, a world, its edited form and single records, each landed and built; data tests run on the edited form."""
    dbt_warehouse.empty()
    sandbox = dbt_warehouse.sandbox
    lived = Life([], {}, {})
    for version, records in VERSIONS.items():
        # Of characters and locations either is the newer once.
        for entity in sorted(ENTITIES, reverse=version == "edited"):
            # It has just landed.
            dbt_warehouse.clock = datetime.now(UTC) - timedelta(hours=1, minutes=1)
            proof = "tap" if records[entity] else "state"
            landed = dbt_warehouse.land(entity, records[entity], version, proof=proof)
            # Rows without a row of the ledger: under the same number by another run, and newer.
            for record in records[entity][:1]:
                killed = {**record, "_sdc_table_version": landed, "_sdc_run_id": "killed"}
                newer = {**record, "_sdc_table_version": landed + 1, "_sdc_run_id": version}
                at = {"_sdc_batched_at": dbt_warehouse.clock.isoformat()}
                dbt_warehouse.append(entity, [killed | at, newer | at])
        # Which is no new field either.
        dbt_warehouse.ask(
            "UPDATE `local_rickandmorty_landing.characters` SET new_fields = JSON 'null' WHERE id = 2"
        )
        build = ["build", "--exclude-resource-type", "unit_test"] if version == "edited" else ["run"]
        policies = {f"DBT_VERDICT_{c.upper()}": p for c, p in POLICIES.items()}
        dbt_warehouse.dbt(*build, DBT_CROWD_SIZE=str(CROWD_SIZE), **policies).succeeded()
        lived.loaded.append((records, newest_loads(sandbox)))
        marts = Marts(*lived.loaded[-1], lived.loaded[:-1], POLICIES, CROWD_SIZE)
        lived.differences[version] = {
            mart: differences(sandbox, mart, getattr(marts, mart)()) for mart in MARTS
        }
    lived.history = {entity: history(sandbox, entity) for entity in ENTITIES}
    older = f"SELECT seconds, landed_row_count, mart_row_count, new_field_count FROM `{SCHEMA}.rpt_loads` WHERE NOT is_newest"
    lived.older_loads = sandbox.ask(older)
    return lived


@pytest.mark.parametrize("version", VERSIONS)
def test_marts_and_changes_follow_each_version(life: Life, version: str) -> None:
    """After no record, a world, its edited form and single records, each row of each mart is right."""
    assert life.differences[version] == dict.fromkeys(MARTS, ([], []))


def test_an_older_load_is_not_compared_with_what_the_build_has_not_read(life: Life) -> None:
    """It is listed with its seconds; what landed and what is in the mart are the newest version's."""
    assert life.older_loads == [(30.0, None, None, None)] * 3 * len(ENTITIES)


@pytest.mark.parametrize("records", [world(), edited()], ids=["world", "edited"])
def test_one_name_is_one_figure(records: Records) -> None:
    """A count has the same value in every mart of one key that has it, and a count of links is that of the fact's rows."""
    loads = dict.fromkeys(ENTITIES, Load("run", datetime.now(UTC)))
    marts = {name: getattr(Marts(records, loads), name)() for name in MARTS}
    figures_by_key: dict[tuple[str, int, str], set[int]] = {}
    for rows in marts.values():
        for key in ("character_id", "episode_id", "location_id"):
            ids = Counter(row[key] for row in rows if key in row)
            if ids and max(ids.values()) == 1:
                for row in rows:
                    for column in (name for name in row if name.endswith("_count")):
                        figures_by_key.setdefault((key, row[key], column), set()).add(row[column])
    links = [
        ("fct_appearances", "character_id", "episode_count"),
        ("fct_appearances", "episode_id", "character_count"),
        ("fct_residencies", "location_id", "resident_count"),
    ]
    for fact, key, column in links:
        for i, count in Counter(row[key] for row in marts[fact]).items():
            if (key, i, column) in figures_by_key:
                figures_by_key[key, i, column].add(count)
    assert {name: figures for name, figures in figures_by_key.items() if len(figures) > 1} == {}
    assert len(figures_by_key) > 30


def test_changes_name_exactly_the_edits_the_deletion_and_the_addition() -> None:
    """The comparison that the test above makes is not empty: the edits, written out."""
    loads = dict.fromkeys(ENTITIES, Load(run_id="", loaded_at=datetime.now(UTC)))
    rows = Marts(edited(), loads, [(world(), loads)]).rpt_changes()
    assert sorted((r["entity"], r["record_id"], r["change"], r["field_name"] or "") for r in rows) == [
        ("characters", 1, "changed", "episode"),
        ("characters", 1, "changed", "location.name"),
        ("characters", 1, "changed", "location.url"),
        ("characters", 1, "changed", "new_fields"),
        ("characters", 1, "changed", "status"),
        ("characters", 2, "changed", "type"),
        ("characters", 3, "removed", ""),
        ("characters", 4, "changed", "episode"),
        ("characters", 5, "changed", "name"),
        ("characters", 5, "changed", "species"),
        ("characters", 6, "added", ""),
        ("episodes", 1, "changed", "characters"),
        ("episodes", 4, "changed", "characters"),
        ("locations", 1, "changed", "name"),
        ("locations", 1, "changed", "residents"),
        ("locations", 2, "changed", "type"),
    ]


@pytest.mark.parametrize("entity", ENTITIES)
def test_snapshots_hold_every_state_and_when_it_held(life: Life, entity: str) -> None:
    """A changed record has a row for each state, one row meeting the next; a deleted one has its last row closed."""
    expected: list[tuple[int, tuple[Any, ...], datetime, datetime | None]] = []
    open_rows: dict[int, tuple[tuple[Any, ...], datetime]] = {}
    for records, loads in life.loaded:
        now, moment = states(entity, records), loads[entity].loaded_at
        for i, (state, since) in list(open_rows.items()):
            if now.get(i) != state:
                expected.append((i, state, since, moment))
                del open_rows[i]
        for i, state in now.items():
            open_rows.setdefault(i, (state, moment))
    expected += [(i, state, since, None) for i, (state, since) in open_rows.items()]
    assert life.history[entity] == sorted(expected, key=lambda row: (row[0], row[2]))


@pytest.mark.slow
def test_marts_are_right_and_pairs_bounded_on_100_000_characters(own_project: Project) -> None:
    """51 episodes of some 3,500 characters each would make 300 million pairs: the crowds are named, not counted."""
    sandbox = own_project.sandbox
    sandbox.start("--universe", "characters=100000,locations=1000,episodes=51")
    status, log = own_project.run(*RUN_ALL)
    assert status == 0, log[-6000:]
    marts = Marts(served(sandbox), newest_loads(sandbox))
    for mart in MARTS:
        assert differences(sandbox, mart, getattr(marts, mart)()) == ([], []), mart
    assert sandbox.value("SELECT COUNT(*) FROM `local_rickandmorty_marts.rpt_character_pairs`") == 0
    crowds = "SELECT COUNT(*) FROM `local_rickandmorty_marts.rpt_data_quality` WHERE rule = 'crowded_episode'"
    assert sandbox.value(crowds) == 51
