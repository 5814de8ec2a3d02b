"""A made-up universe of any size, the same for the same seed, with the oddities of the real data.

Odd on purpose, as the real data is: links told by one side only, a resident listed in two locations, a location that
does not list who lives there, unknown origins with an empty address, empty types, an empty dimension, names that
several characters share, arrays that do not ascend, names beyond ASCII, locations without residents.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from sandbox.records import Records

SITE = "https://rickandmortyapi.com/api"
FIRST = ("Zorp", "Milla", "Grun", "Tavi", "Ösk", "Pell", "Quibb", "Renn", "Sloo", "Ünna", "Vark", "Wim")
LAST = (
    "of Nine",
    "Glanthor",
    "the Lesser",
    "Brindle",
    "Foss",
    "Marrow",
    "Çelik",
    "Twelvetrees",
    "Ag",
    "Lunt",
)
SPECIES = ("Human", "Alien", "Humanoid", "Robot", "Animal", "Cronenberg", "unknown", "Poopybutthole")
STATUSES = ("Alive", "Dead", "unknown")
GENDERS = ("Female", "Male", "Genderless", "unknown")
PLACES = ("Station", "Moon", "Colony", "Citadel", "Bazaar", "Résidence", "Archive", "Reef")
KINDS = ("Planet", "Space station", "Cluster", "Dream", "Microverse", "Resort")
DIMENSIONS = ("Dimension C-500A", "Replacement Dimension", "unknown", "Fantasy Dimension")
SEASON = 10


@dataclass(frozen=True)
class Size:
    """How many records, and the seed they are made of."""

    characters: int = 826
    locations: int = 126
    episodes: int = 51
    seed: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `characters=826,locations=126,episodes=51,seed=1`; with characters alone the others follow in proportion.

        Raises:
            ValueError: A key is unknown, or a value is no whole number from 0 on.
        """
        given: dict[str, int] = {}
        for item in filter(None, text.split(",")):
            key, _, value = item.partition("=")
            if key not in cls.__dataclass_fields__ or not value.isdecimal():
                raise ValueError(f"{item!r}: expected characters=N, locations=N, episodes=N or seed=N")
            given[key] = int(value)
        if "characters" in given:
            given.setdefault("locations", -(-given["characters"] * 126 // 826))
            given.setdefault("episodes", -(-given["characters"] * 51 // 826))
        return cls(**given)


def make(size: Size) -> Records:
    """Makes the universe.

    Args:
        size: At least one location and episode where there are characters with links.
    """
    chance = random.Random(size.seed)  # noqa: S311 (a made-up world)
    appearances: list[list[int]] = [[] for _ in range(size.episodes + 1)]
    residents: list[list[int]] = [[] for _ in range(size.locations + 1)]
    characters = [
        _character(number, size, chance, appearances, residents) for number in range(1, size.characters + 1)
    ]
    for cast in appearances[1:]:
        if chance.random() < 0.2:  # noqa: PLR2004 (a fifth of the episodes)
            chance.shuffle(cast)
    _bend(size, characters, appearances, residents)
    return {
        "character": characters,
        "location": [_location(number, size, residents[number]) for number in range(1, size.locations + 1)],
        "episode": [_episode(number, appearances[number]) for number in range(1, size.episodes + 1)],
    }


def _character(
    number: int,
    size: Size,
    chance: random.Random,
    appearances: list[list[int]],
    residents: list[list[int]],
) -> dict[str, Any]:
    seen = sorted(
        chance.sample(range(1, size.episodes + 1), min(size.episodes, chance.choice((1, 1, 1, 2, 4))))
    )
    for episode in seen:
        appearances[episode].append(number)
    # The last location is nobody's home.
    home = chance.randrange(max(1, size.locations))
    residents[home].append(number)
    origin = chance.randrange(size.locations + 1) if chance.random() < 0.5 else 0  # noqa: PLR2004 (half unknown)
    return {
        "id": number,
        "name": f"{chance.choice(FIRST)} {chance.choice(LAST)}",
        "status": chance.choice(STATUSES),
        "species": chance.choice(SPECIES),
        "type": "" if chance.random() < 0.6 else f"Type {chance.randrange(30)}",  # noqa: PLR2004 (most empty)
        "gender": chance.choice(GENDERS),
        "origin": _place(origin),
        "location": _place(home),
        "image": f"{SITE}/character/avatar/{number}.jpeg",
        "episode": [f"{SITE}/episode/{episode}" for episode in seen],
        "url": f"{SITE}/character/{number}",
        "created": _created(number),
    }


def _bend(
    size: Size, characters: list[dict[str, Any]], appearances: list[list[int]], residents: list[list[int]]
) -> None:
    """Puts in the links that one side only tells, and the residents that two locations or none list."""
    if size.characters < 3 or size.locations < 2 or size.episodes < 2:  # noqa: PLR2004 (too small to be odd)
        return
    first, second, third = characters[0], characters[1], characters[2]
    told = f"{SITE}/episode/{size.episodes}"
    if told not in first["episode"]:
        first["episode"].append(told)
    appearances[size.episodes] = [c for c in appearances[size.episodes] if c != 1]
    if second["id"] not in appearances[1]:
        appearances[1].append(2)
    second["episode"] = [url for url in second["episode"] if url != f"{SITE}/episode/1"]
    second["episode"] = second["episode"] or [f"{SITE}/episode/2"]
    third["location"] = _place(1)
    residents[:] = [[c for c in listed if c != third["id"]] for listed in residents]
    for location in (1, 2):
        if 1 not in residents[location]:
            residents[location].append(1)


def _place(number: int) -> dict[str, str]:
    if not number:
        return {"name": "unknown", "url": ""}
    return {"name": _place_name(number), "url": f"{SITE}/location/{number}"}


def _place_name(number: int) -> str:
    return f"{PLACES[number % len(PLACES)]} {number}"


def _created(number: int) -> str:
    at = datetime(2017, 11, 4, 18, 48, 46, 250_000, UTC) + timedelta(
        minutes=7 * number, milliseconds=13 * number
    )
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03}Z"


def _location(number: int, size: Size, residents: list[int]) -> dict[str, Any]:
    return {
        "id": number,
        "name": _place_name(number),
        "type": "" if number == size.locations else KINDS[number % len(KINDS)],
        "dimension": "" if number % 63 == 0 else DIMENSIONS[number % len(DIMENSIONS)],
        "residents": [f"{SITE}/character/{character}" for character in residents],
        "url": f"{SITE}/location/{number}",
        "created": _created(number),
    }


def _episode(number: int, cast: list[int]) -> dict[str, Any]:
    aired = date(2013, 12, 2) + timedelta(weeks=number - 1)
    return {
        "id": number,
        "name": f"The {LAST[number % len(LAST)]} Affair",
        "air_date": f"{aired:%B} {aired.day}, {aired.year}",
        "episode": f"S{(number - 1) // SEASON + 1:02}E{(number - 1) % SEASON + 1:02}",
        "characters": [f"{SITE}/character/{character}" for character in cast],
        "url": f"{SITE}/episode/{number}",
        "created": _created(number),
    }
