"""The made-up universe: the same for the same seed, of any size, and shaped as the real data is."""

from collections import Counter
from typing import Any

import pytest
import requests
from testkit.proxies import served

Records = dict[str, list[dict[str, Any]]]
RESOURCES = ("character", "location", "episode")


def made(command: str, universe: str) -> Records:
    """What the API serves of a universe."""
    ids = ",".join(map(str, range(1, 1000)))
    with served(command, "api", "--universe", universe) as url:
        return {name: requests.get(f"{url}/{name}/{ids}").json() for name in RESOURCES}


@pytest.fixture(scope="module")
def universe(command: str) -> Records:
    """The default universe."""
    return made(command, "")


@pytest.mark.slow
def test_the_same_seed_makes_the_same_universe(command: str, universe: Records) -> None:
    """Twice the same, and another seed another."""
    assert made(command, "characters=826,locations=126,episodes=51,seed=1,version=1") == universe
    assert made(command, "seed=2") != universe


def test_it_has_the_proportions_of_the_real_data(universe: Records) -> None:
    """Stars and extras, crowded and empty places, few shared names, casts of some thirty."""
    characters, locations, episodes = (universe[resource] for resource in RESOURCES)
    assert [len(characters), len(locations), len(episodes)] == [826, 126, 51]
    seen = sorted((len(record["episode"]) for record in characters), reverse=True)
    assert seen[0] >= 45
    assert seen[4] >= 30
    assert seen[5] <= 10
    assert 0.75 < sum(count == 1 for count in seen) / 826 < 0.88
    names = Counter(record["name"] for record in characters)
    assert 0.02 < sum(count for count in names.values() if count > 1) / 826 < 0.12
    assert len({record["name"] for record in locations}) == 126
    assert len({record["name"] for record in episodes}) == 51
    residents = sorted((len(record["residents"]) for record in locations), reverse=True)
    assert residents[0] > 100
    assert 20 < sum(count == 0 for count in residents) < 50
    assert all(10 < len(record["characters"]) < 60 for record in episodes)
    assert {record["episode"][:3] for record in episodes} == {"S01", "S02", "S03", "S04", "S05", "S06"}
    unknown = sum(not record["origin"]["url"] for record in characters)
    assert 0.45 < unknown / 826 < 0.6


def test_it_has_the_oddities_of_the_real_data(universe: Records) -> None:
    """Links that one side lists (two of them), unknown places, empty types, casts out of order, names beyond ASCII."""
    characters, locations, episodes = (universe[resource] for resource in RESOURCES)
    by_character = {(record["url"], url) for record in characters for url in record["episode"]}
    by_episode = {(url, record["url"]) for record in episodes for url in record["characters"]}
    assert len(by_character - by_episode) == len(by_episode - by_character) == 1
    lives = Counter(resident for record in locations for resident in record["residents"])
    assert max(lives.values()) > 1
    assert any(record["location"]["url"] and record["url"] not in lives for record in characters)
    assert any(record["origin"] == {"name": "unknown", "url": ""} for record in characters)
    assert any(record["type"] == "" for record in characters)
    assert any(not record["name"].isascii() for record in characters)
    assert any(record["dimension"] == "" for record in locations)
    casts = [[int(url.rsplit("/")[-1]) for url in record["characters"]] for record in episodes]
    assert any(cast != sorted(cast) for cast in casts)


def test_a_later_version_has_changes_worth_reading(command: str, universe: Records) -> None:
    """An episode with newcomers, some dead, some moved, one gone; everything else as it was."""
    later = made(command, "version=2")
    before = {record["id"]: record for record in universe["character"]}
    after = {record["id"]: record for record in later["character"]}
    assert len(before.keys() - after.keys()) == 1
    assert len(after.keys() - before.keys()) == 2
    both = before.keys() & after.keys()
    assert sum(before[i]["status"] != after[i]["status"] for i in both) == 5
    assert 1 <= sum(before[i]["location"] != after[i]["location"] for i in both) <= 5
    assert all(before[i]["name"] == after[i]["name"] for i in both)
    assert [record["id"] for record in later["episode"]][51:] == [52]
    assert len(later["episode"][-1]["characters"]) == 15


@pytest.mark.parametrize(
    "size", ["characters=0", "characters=1", "characters=12,locations=2,episodes=1,version=3"]
)
def test_any_size_is_served(command: str, size: str) -> None:
    """No size is too small for a universe, or for a later version of it."""
    assert made(command, size).keys() == set(RESOURCES)
