"""Rows as the page's queries give them (report/queries), made up: a small world, an empty one, a hostile one."""

# ruff: noqa: SIM905 (names are easier to read and to add to than quoted ones)
from datetime import UTC, date, datetime, timedelta
from typing import Any

MADE_AT = datetime(2026, 3, 14, 9, 30, tzinfo=UTC)
NAMES = (
    "Rick Sanchez, Morty Smith, Summer Smith, Beth Smith, Jerry Smith, Birdperson, Mr. Poopybutthole, Squanchy, "
    "Supernova, Tammy Guetermann, Unity, Evil Morty, Noob-Noob, Phoenixperson, Doofus Rick, "
    "Krombopulos Michael of the Gromflomite Insurgency, Scary Terry, Scary Terry, Sleepy Gary, Ants in my Eyes Johnson"
).split(", ")
SPECIES = (
    "Human, Alien, Humanoid, Robot, Mythological Creature, Animal, Cronenberg, unknown, Poopybutthole, Disease"
).split(", ")
ORIGINS = (
    "unknown, Earth (Replacement Dimension), Earth (C-137), Cronenberg Earth, Venzenulon 7, Gromflom Prime, "
    "Citadel of Ricks, Interdimensional Cable, Anatomy Park, Bird World, Pluto, Nuptia 4"
).split(", ")
STATUS = ["Alive", "Dead", "unknown"]
CHANGED = "entity change record_id record_name field_name value_before value_after total_rows".split()


def marts() -> dict[str, list[dict[str, Any]]]:
    """A world of 826 characters, 126 locations and 51 episodes, loaded twice."""
    loads = [
        {
            "entity": entity,
            "run_id": f"0a1b2c3d-0000-4000-8000-00000000000{run}",
            "source": "made-up universe of a test",
            "load_method": "append-only",
            "row_count": count,
            "landed_row_count": count,
            "mart_row_count": count if run else None,
            "new_field_count": 0,
            "byte_count": count * 58,
            "part_count": 1,
            "finished_at": MADE_AT - timedelta(days=1 - run, minutes=8, seconds=58.5),
            "seconds": 1.5,
            "is_newest": run == 1,
            "total_rows": 6,
        }
        for run in (1, 0)
        for entity, count in (("characters", 826), ("episodes", 51), ("locations", 126))
    ]
    episodes: list[dict[str, Any]] = [
        {
            "episode_id": number,
            "episode_code": f"S{season:02}E{place:02}",
            "episode_name": f"The Ricklantis Mixup, part {number}",
            "season_number": season,
            "episode_number": place,
            "air_date": date(2013, 12, 2) + timedelta(days=7 * number),
            "character_count": (number * 37) % 49 + 6,
            "first_appearance_count": (number * 37) % 49 // 3 + 2,
        }
        for number, (season, place) in enumerate(
            ((s, p) for s, size in ((1, 11), (2, 10), (3, 10), (4, 10), (5, 10)) for p in range(1, size + 1)),
            1,
        )
    ]
    for row in episodes:
        row["total_rows"], row["total_count"] = 51, sum(e["character_count"] for e in episodes)
    seasons = [
        {
            "season_number": season,
            "episode_count": len(found),
            "first_air_date": found[0]["air_date"],
            "last_air_date": found[-1]["air_date"],
            "appearance_count": sum(e["character_count"] for e in found),
            "character_count": 150 + season * 7,
            "first_appearance_count": sum(e["first_appearance_count"] for e in found),
            "characters_per_episode": sum(e["character_count"] for e in found) / len(found),
            "total_rows": 5,
        }
        for season in range(5, 0, -1)
        if (found := [e for e in episodes if e["season_number"] == season])
    ]
    characters = [
        {
            "character_id": number,
            "character_name": name,
            "species": "Human" if number % 3 else "Alien",
            "status": STATUS[number % 3],
            "episode_count": max(51 - number * number // 3, 3),
            "total_rows": 826,
            "total_count": 1267,
        }
        for number, name in enumerate(NAMES[:15], 1)
    ]
    statuses = [
        {
            "breakdown": breakdown,
            "shown_value": value,
            "place": place,
            "total_rows": 81 if breakdown == "origin" else 10,
            "status": status,
            "character_count": max(400 // (place * place) - 30 * position, 1) if value else 90 - position,
        }
        for breakdown, found in (("species", SPECIES), ("origin", [*ORIGINS, None]))
        for place, value in enumerate(found, 1)
        for position, status in enumerate(STATUS)
    ]
    locations = [
        {
            "location_id": number,
            "location_name": name,
            "location_type": "Planet",
            "dimension": "Dimension C-137",
            "resident_count": 240 // number,
            "alive_count": 240 // number - 2 * (12 // number),
            "dead_count": 12 // number,
            "unknown_count": 12 // number,
            "total_rows": 126,
            "total_count": 1100,
        }
        for number, name in enumerate(ORIGINS, 1)
    ]
    pairs: list[dict[str, Any]] = [
        {
            "first_character_id": first,
            "first_character_name": NAMES[first - 1],
            "second_character_id": second,
            "second_character_name": NAMES[second - 1],
            "shared_episode_count": max(50 - first * second, 1),
            "either_episode_count": 51,
            "similarity": max(50 - first * second, 1) / 51,
            "total_rows": 8412,
        }
        for first in range(1, 16)
        for second in range(first + 1, 16)
        if (first * second) % 7
    ]
    pairs.sort(key=lambda row: -row["shared_episode_count"])
    changes = [
        dict(zip(CHANGED, row, strict=True))
        for row in (
            ("characters", "changed", 1, "Rick Sanchez", "status", "Alive", "unknown", 2),
            ("characters", "changed", 7, "Mr. Poopybutthole", "last_location_name", "Earth", None, 2),
            ("characters", "added", 827, "Space Cruiser", None, None, None, 1),
            ("locations", "removed", 20, "Earth (Replacement Dimension)", None, None, None, 1),
        )
    ]
    findings = [
        finding("asymmetric_appearance", "warning", "characters", 3, 3),
        *(finding("empty_type", "info", "characters", n, 412) for n in range(1, 51)),
        *(finding("duplicate_name", "info", "locations", n, 4) for n in range(1, 5)),
        *(finding("unknown_origin", "warning", "characters", n, 31) for n in range(1, 32)),
        finding("unknown_status_value", "error", "characters", 19, 1),
    ]
    verdict = [
        {"status": "pass", "message": f"{entity}: {name} holds"}
        for entity in ("characters", "episodes", "locations")
        for name in ("counts", "drop", "source", "freshness")
    ]
    return {
        "verdict": verdict,
        "loads": loads,
        "seasons": seasons,
        "episodes": episodes[::-1],
        "characters": characters,
        "statuses": statuses,
        "locations": locations,
        "pairs": pairs,
        "changes": changes,
        "findings": findings,
    }


def finding(rule: str, severity: str, entity: str, record: int, total: int) -> dict[str, Any]:
    """A row of the findings."""
    return {
        "rule": rule,
        "severity": severity,
        "entity": entity,
        "record_id": record,
        "record_name": NAMES[record % len(NAMES)],
        "detail": f"{rule.replace('_', ' ')} in record {record}",
        "total_rows": total,
    }


def empty() -> dict[str, list[dict[str, Any]]]:
    """Every mart without a row."""
    return {name: [] for name in marts()}


def sample() -> dict[str, list[dict[str, Any]]]:
    """Every tenth row and the last: whatever the page is made of, but little of each."""
    return {name: [*rows[::10], rows[-1]] for name, rows in marts().items()}


def hostile(text: str) -> dict[str, list[dict[str, Any]]]:
    """Every text that comes from the API (names, species, values) is `text`."""
    kept = "entity status breakdown change severity rule run_id load_method episode_code".split()
    return {
        name: [
            {key: text if isinstance(value, str) and key not in kept else value for key, value in row.items()}
            for row in rows
        ]
        for name, rows in marts().items()
    }


def collapsed() -> dict[str, list[dict[str, Any]]]:
    """A build that the verdict has stopped, with a warning beside it."""
    found = marts()
    found["verdict"][0].update(
        status="fail", message="characters: drop: expected 826, got 0; retract the version"
    )
    found["verdict"][1].update(status="warn", message="characters: drift: expected none, got 3")
    return found


def single() -> dict[str, list[dict[str, Any]]]:
    """One record in each mart."""
    return {name: [{**row, "total_rows": 1} for row in rows[:1]] for name, rows in marts().items()}


def few() -> dict[str, list[dict[str, Any]]]:
    """A world where every count is one or two."""
    found = marts()
    kinds = ("shared_episode", "character", "episode", "resident", "appearance")
    counts = {f"{kind}_count" for kind in kinds}
    for rows in found.values():
        for number, row in enumerate(rows):
            row.update(dict.fromkeys(counts & row.keys(), number % 2 + 1))
            row.update(dict.fromkeys({"alive_count", "first_appearance_count"} & row.keys(), 1))
            row.update(dict.fromkeys({"dead_count", "unknown_count"} & row.keys(), 0))
    return found


def unequal() -> dict[str, list[dict[str, Any]]]:
    """A load whose episodes did not all reach the mart, with fields that the tap does not know."""
    found = marts()
    for row in found["loads"]:
        if row["is_newest"] and row["entity"] == "episodes":
            row.update(mart_row_count=50, new_field_count=3)
    return found
