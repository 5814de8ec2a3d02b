"""A made-up universe of any size, the same for the same seed, shaped as the real data is.

A few stars in nearly every episode, some regulars, and four of five characters in one episode only; a handful of places
where most live, and one place in four empty; seasons of some ten weekly episodes, years apart.

With the irregularities of the real data, as often: links that only one side lists, a resident listed in two locations, a location
that does not list who lives there, unknown origins with an empty address, empty types, an empty dimension, names that
several characters share (one in seventeen is another version of a regular), arrays that do not ascend, names beyond ASCII.

A later version of the same universe (`version=2`, `version=3`, …) has a further episode with newcomers, and some who have
died, moved or gone.
"""

# ruff: noqa: SIM905 (words are easier to read and to add to than quoted ones)
import random
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Self

from sandbox.records import Records

SITE = "https://rickandmortyapi.com/api"


def _weights(text: str) -> dict[str, int]:
    """Return each value with how often it occurs, from `Human 495, Alien 268`."""
    return {value: int(weight) for value, _, weight in (item.rpartition(" ") for item in text.split(", "))}


# Prime to each other in number, so that the names of neighbours differ in both parts.
FIRST = """
    Zorp Milla Grun Tavi Ösk Pell Quibb Renn Sloo Ünna Vark Wim Abra Bexley Corvo Dree Elspet Fenn Gorrin Hexa Ilka Jorum Kip Lazlo
    Moxie Nub Orla Pim Quell Rusk Sabine Tull Ursk Vesna Wren Xan Yola Zeb Ansel Brom Cass Doon Ebba Flim Gilda Hob""".split()
LAST = """
    Glanthor Brindle Foss Marrow Çelik Twelvetrees Ag Lunt Okonjo Pfennig Quark Ravel Stoat Thimble Umber Vantongeren Wick Xylo Yarrow
    Zeller Abernathy Blot Crumb Dross Everly Fiddle Grackle Hush Inkwell Jute Kelp Larkspur Mudd Nettle Orrery Pith Quince Rook Sedge
    Tansy Usk Vetch Wisp""".split()
SPECIES = _weights(
    "Human 495, Alien 268, Humanoid 108, Animal 35, Robot 22, Cronenberg 16, "
    "Mythological Creature 14, Poopybutthole 12, unknown 12, Disease 8, Parasite 10"
)
STATUSES = _weights("Alive 57, Dead 30, unknown 13")
GENDERS = _weights("Male 75, Female 15, unknown 9, Genderless 1")
TYPES = "Clone Monster Game Gazorpian Plutonian Hologram Bird-Person Cyborg Superhuman".split()
ADJECTIVES = "New Old Upper Hollow Singing Second Lost Quiet Inside-Out Far Glass".split()
PLACES = "Citadel Station Moon Colony Bazaar Résidence Archive Reef Resort Prime".split()
KINDS = _weights("Planet 62, Space station 8, Microverse 7, Dream 5, Cluster 5, Resort 5, TV 4, unknown 4")
DIMENSIONS = _weights(
    "unknown 38, Replacement Dimension 24, Dimension C-500A 14, Fantasy Dimension 6, "
    "Cronenberg Dimension 5, Chair Dimension 4"
)
TITLES = "Affair Job Trial Wedding Heist Holiday Paradox Recipe Machine Inheritance".split()
SEASON = 10
BETWEEN_SEASONS = timedelta(days=600)
# How likely each of the first characters is in an episode; of the others, how many episodes they are in.
STARS = (0.98, 0.97, 0.78, 0.76, 0.68)
REGULARS = 20
SEEN = {1: 83, 2: 8, 3: 5, 4: 2, 6: 1, 8: 1}
# How many of a hundred live in each of the first places.
HUBS = (21, 18, 12, 6)


@dataclass(frozen=True)
class Size:
    """How many records the first version has, the seed they are made of, and the version."""

    characters: int = 826
    locations: int = 126
    episodes: int = 51
    seed: int = 1
    version: int = 1

    @property
    def worlds(self) -> int:
        """How many universes of the real size this is: a larger one has more stars and hubs, not busier ones."""
        names = ("characters", "locations", "episodes")
        return max(1, int(min(getattr(self, name) // getattr(Size, name) for name in names)))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `characters=826,locations=126,episodes=51,seed=1`; with characters alone the others follow in proportion.

        Raises:
            ValueError: A key is unknown, or a value is not an integer from 0 up.
        """
        sizes: dict[str, int] = {}
        for item in filter(None, text.split(",")):
            key, _, value = item.partition("=")
            if key not in cls.__dataclass_fields__ or not value.isdecimal():
                raise ValueError(
                    f"{item!r}: expected characters=N, locations=N, episodes=N, seed=N or version=N"
                )
            sizes[key] = int(value)
        if "characters" in sizes:
            sizes.setdefault("locations", -(-sizes["characters"] * 126 // 826))
            sizes.setdefault("episodes", -(-sizes["characters"] * 51 // 826))
        return cls(**sizes)


def make(size: Size) -> Records:
    """Make the universe.

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
    _add_irregularities(size, characters, appearances, residents)
    records = {
        "character": characters,
        "location": [_location(number, size, residents[number]) for number in range(1, size.locations + 1)],
        "episode": [_episode(number, appearances[number]) for number in range(1, size.episodes + 1)],
    }
    for version in range(2, size.version + 1):
        _later(records, random.Random(size.seed * 1000 + version))  # noqa: S311 (the same)
    return records


def _weighted(chance: random.Random, weights: dict[Any, int]) -> Any:  # noqa: ANN401 (a key)
    return chance.choices([*weights], [*weights.values()])[0]


def _name(number: int) -> str:
    if number > REGULARS and number % 17 == 0:
        # Another version of a regular, as the real ones have them.
        number = number // 17 % REGULARS + 1
    names = len(FIRST) * len(LAST)
    first, last, again = FIRST[number % len(FIRST)], LAST[number % len(LAST)], number // names
    return f"{first} {last}" if not again else f"{first} {last} {again + 1}"


def _seen(number: int, size: Size, chance: random.Random) -> list[int]:
    every = range(1, size.episodes + 1)
    world, star = divmod(number - 1, Size.characters)
    if star < len(STARS) and world < size.worlds:
        if size.worlds > 1:
            every = every[world * Size.episodes : (world + 1) * Size.episodes]
        appearances = [episode for episode in every if chance.random() < STARS[star]]
        return appearances or [*every[:1]]
    times = chance.randrange(4, 10) if number <= REGULARS else _weighted(chance, SEEN)
    return sorted(chance.sample(every, min(size.episodes, times)))


def _home(size: Size, chance: random.Random) -> int:
    """Return where a character lives, 0 for unknown; the last location, and one in four, is empty."""
    if chance.random() < 0.05:  # noqa: PLR2004 (one in twenty)
        return 0
    hubs = min(len(HUBS), size.locations - 1)
    if hubs > 0 and chance.random() < sum(HUBS) / 100:
        hub = int(chance.choices(range(1, hubs + 1), HUBS[:hubs])[0])
        return hub + Size.locations * chance.randrange(size.worlds) if size.worlds > 1 else hub
    home = chance.randrange(max(1, size.locations))
    return home - 1 if home > hubs and home % 4 == 0 else home


def _character(
    number: int, size: Size, chance: random.Random, appearances: list[list[int]], residents: list[list[int]]
) -> dict[str, Any]:
    seen = _seen(number, size, chance)
    for episode in seen:
        appearances[episode].append(number)
    home = _home(size, chance)
    residents[home].append(number)
    origin = chance.choice((home, chance.randrange(size.locations + 1))) if chance.random() < 0.5 else 0  # noqa: PLR2004 (half unknown)
    species = _weighted(chance, SPECIES)
    return _character_record(
        number,
        [f"{SITE}/episode/{episode}" for episode in seen],
        status=_weighted(chance, STATUSES) if number > len(STARS) else "Alive",
        species=species if number > len(STARS) else "Human",
        type="" if chance.random() < 0.6 else chance.choice(TYPES),  # noqa: PLR2004 (most empty)
        gender=_weighted(chance, GENDERS),
        origin=_place(origin),
        location=_place(home),
    )


def _character_record(number: int, episodes: list[str], **fields: Any) -> dict[str, Any]:  # noqa: ANN401 (the API's)
    return {
        "id": number,
        "name": _name(number),
        **fields,
        "image": f"{SITE}/character/avatar/{number}.jpeg",
        "episode": episodes,
        "url": f"{SITE}/character/{number}",
        "created": _created(number),
    }


def _later(records: Records, chance: random.Random) -> None:
    """Turn a version into the next: an episode with newcomers; some die, some move, one is gone."""
    characters, locations, episodes = records["character"], records["location"], records["episode"]
    if len(characters) < 10 or len(locations) < 2 or not episodes:  # noqa: PLR2004 (too small for a story)
        return
    some = max(1, len(characters) // 150)
    for character in chance.sample([c for c in characters if c["status"] == "Alive"][len(STARS) :], some):
        character["status"] = "Dead"
    for character in chance.sample(characters, some):
        old, new = character["location"]["url"], chance.choice(locations)
        for location in locations:
            if location["url"] == old and character["url"] in location["residents"]:
                location["residents"].remove(character["url"])
        character["location"] = {"name": new["name"], "url": new["url"]}
        if character["url"] not in new["residents"]:
            new["residents"].append(character["url"])
    _remove(records, chance.choice(characters[REGULARS:] or characters[-1:]))
    episode = _episode(episodes[-1]["id"] + 1, [])
    cast = [
        *characters[: len(STARS)],
        *chance.sample(characters[len(STARS) :], min(8, len(characters) - len(STARS))),
    ]
    first = characters[-1]["id"] + 1
    unknown = {"status": "Alive", "species": "Alien", "type": "", "gender": "unknown", "origin": _place(0)}
    for number in range(first, first + max(1, first // 300)):
        home = chance.choice(locations)
        place = {"name": home["name"], "url": home["url"]}
        newcomer = _character_record(number, [], **unknown, location=place)
        home["residents"].append(newcomer["url"])
        characters.append(newcomer)
        cast.append(newcomer)
    for character in cast:
        character["episode"].append(episode["url"])
        episode["characters"].append(character["url"])
    episodes.append(episode)


def _remove(records: Records, gone: dict[str, Any]) -> None:
    records["character"].remove(gone)
    for resource, field in (("location", "residents"), ("episode", "characters")):
        for record in records[resource]:
            record[field] = [url for url in record[field] if url != gone["url"]]


def _add_irregularities(
    size: Size, characters: list[dict[str, Any]], appearances: list[list[int]], residents: list[list[int]]
) -> None:
    """Add links that only one side lists, and residents that two locations or none list."""
    if size.characters < 3 or size.locations < 2 or size.episodes < 2:  # noqa: PLR2004 (too small for irregularities)
        return
    first, second, third = characters[0], characters[1], characters[2]
    last = f"{SITE}/episode/{size.episodes}"
    if last not in first["episode"]:
        first["episode"].append(last)
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
    again = number // (len(ADJECTIVES) * len(PLACES))
    name = f"{ADJECTIVES[number % len(ADJECTIVES)]} {LAST[number % len(LAST)]} {PLACES[number % len(PLACES)]}"
    return f"{name} {again + 1}" if again else name


def _created(number: int) -> str:
    at = datetime(2017, 11, 4, 18, 48, 46, 250_000, UTC) + number * timedelta(minutes=7, milliseconds=13)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _location(number: int, size: Size, residents: list[int]) -> dict[str, Any]:
    chance = random.Random(size.seed * 1_000_003 + number)  # noqa: S311 (a made-up world)
    return {
        "id": number,
        "name": _place_name(number),
        "type": "" if number == size.locations else _weighted(chance, KINDS),
        "dimension": "" if number % 63 == 0 else _weighted(chance, DIMENSIONS),
        "residents": [f"{SITE}/character/{character}" for character in residents],
        "url": f"{SITE}/location/{number}",
        "created": _created(number),
    }


def _episode(number: int, cast: list[int]) -> dict[str, Any]:
    season, place = divmod(number - 1, SEASON)
    # A calendar has no place for more than some thousands of seasons.
    aired = date(2013, 12, 2) + season % 1000 * BETWEEN_SEASONS + timedelta(weeks=place)
    return {
        "id": number,
        "name": f"The {LAST[number * 7 % len(LAST)]} {TITLES[number % len(TITLES)]}",
        "air_date": f"{aired:%B} {aired.day}, {aired.year}",
        "episode": f"S{season + 1:02}E{place + 1:02}",
        "characters": [f"{SITE}/character/{character}" for character in cast],
        "url": f"{SITE}/episode/{number}",
        "created": _created(number),
    }
