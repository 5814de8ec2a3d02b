"""What every mart must hold, worked out in plain Python from the API's records.

It shares nothing with the SQL but the marts' names and columns.
"""

import json
import re
from collections import Counter, defaultdict
from datetime import UTC, date, datetime
from itertools import combinations
from typing import Any, NamedTuple

Row = dict[str, Any]
# Rule, severity, entity, record, detail.
Finding = tuple[str, str, str, int | None, str]
ENTITIES = {"characters": "character", "episodes": "episode", "locations": "location"}
LAST = 1_000_000
# As in dbt_project.yml.
POLICIES = {
    **dict.fromkeys(("missing", "empty", "counts", "drop", "source", "order"), "fail"),
    **dict.fromkeys(("proof", "drift", "freshness", "status_values", "findings_error"), "warn"),
    "findings_warning": "ignore",
}


class Load(NamedTuple):
    """What the ledger says of an entity's version."""

    run_id: str
    loaded_at: datetime
    version: int = 0


def number(url: str) -> int | None:
    """The id at the end of an address."""
    end = url.rpartition("/")[2]
    return int(end) if end.isdecimal() else None


def unreadable(record: Row) -> int:
    """How many addresses of a record have no number; an empty one counts in a list only."""
    listed = [url for value in record.values() if isinstance(value, list) for url in value]
    places = [value["url"] for value in record.values() if isinstance(value, dict) and value.get("url")]
    return sum(number(url) is None for url in listed + places)


def new_fields(record: Row) -> str | None:
    """The fields of a record that the tap does not know, as BigQuery writes JSON."""
    found = record.get("new_fields")
    return found and json.dumps(found, sort_keys=True, separators=(",", ":"))


def numbers(urls: list[str]) -> list[int]:
    """The ids of several addresses."""
    return [found for found in map(number, urls) if found is not None]


def code(text: str, part: int) -> int | None:
    """Season (1) or episode (2) of a code such as S01E02."""
    found = re.fullmatch(r"S(\d+)E(\d+)", text)
    return int(found[part]) if found else None


def day(text: str) -> date | None:
    """A date such as December 2, 2013."""
    try:
        return datetime.strptime(text, "%B %d, %Y").replace(tzinfo=UTC).date()
    except ValueError:
        return None


def statuses(characters: dict[int, Row], ids: set[int]) -> Row:
    """Characters by status; one that is not there is unknown."""
    found = Counter(characters[i]["status"] if i in characters else "" for i in ids)
    return {
        "alive_count": found["Alive"],
        "dead_count": found["Dead"],
        "unknown_count": len(ids) - found["Alive"] - found["Dead"],
    }


class Marts:
    """The marts of one version of every entity.

    Args:
        records: The API's records of each entity.
        loads: What the ledger says of each entity's version.
        earlier: The records of each version before, oldest first, and what the ledger says of it; none on a first run.
        policies: What a check of the verdict does when it does not hold, where that is not the project's default.
        crowd_size: Most characters of an episode whose pairs are counted.
    """

    def __init__(
        self,
        records: dict[str, list[Row]],
        loads: dict[str, Load],
        earlier: list[tuple[dict[str, list[Row]], dict[str, Load]]] | None = None,
        policies: dict[str, str] | None = None,
        crowd_size: int = 100,
    ) -> None:
        self.crowd_size = crowd_size
        self.by_id = {entity: {r["id"]: r for r in found} for entity, found in records.items()}
        self.characters, self.episodes, self.locations = (self.by_id[entity] for entity in ENTITIES)
        self.loads = loads
        self.earlier = earlier or []
        self.policies = {**POLICIES, **(policies or {})}
        self.newest_run = max(loads.values(), key=lambda load: load.loaded_at).run_id
        self.seen_by_character = {(i, e) for i, c in self.characters.items() for e in numbers(c["episode"])}
        self.seen_by_episode = {(c, i) for i, e in self.episodes.items() for c in numbers(e["characters"])}
        self.home_by_character = {
            (i, home)
            for i, c in self.characters.items()
            if (home := number(c["location"]["url"])) is not None
        }
        self.home_by_location = {(c, i) for i, x in self.locations.items() for c in numbers(x["residents"])}
        self.cast: dict[int, set[int]] = defaultdict(set)
        for character, episode in self.seen_by_character | self.seen_by_episode:
            self.cast[episode].add(character)
        self.residents: dict[int, set[int]] = defaultdict(set)
        for character, location in self.home_by_character | self.home_by_location:
            self.residents[location].add(character)
        self.first: dict[int, int] = {}
        for character, episode in self.seen_by_character | self.seen_by_episode:
            known = self.first.setdefault(character, episode)
            self.first[character] = min(known, episode, key=self.place)

    def place(self, episode: int) -> tuple[int, int, int]:
        """Where an episode stands in the order of seasons."""
        text = self.episodes[episode]["episode"] if episode in self.episodes else ""
        season, part = code(text, 1), code(text, 2)
        return (LAST, LAST, episode) if season is None or part is None else (season, part, episode)

    def origin(self, entity: str, record: Row) -> Row:
        """The columns that say where a row comes from."""
        load = self.loads[entity]
        created = datetime.fromisoformat(record["created"])
        return {"created_at": created, "loaded_at": load.loaded_at, "run_id": load.run_id}

    def dim_characters(self) -> list[Row]:
        """One row per character."""
        appearances = Counter(c for cast in self.cast.values() for c in cast)
        return [
            {
                "character_id": c["id"],
                "character_name": c["name"] or None,
                "status": c["status"] or None,
                "species": c["species"] or None,
                "character_type": c["type"] or None,
                "gender": c["gender"] or None,
                "origin_location_id": number(c["origin"]["url"]),
                "origin_name": c["origin"]["name"] or None,
                "last_location_id": number(c["location"]["url"]),
                "last_location_name": c["location"]["name"] or None,
                "episode_count": appearances[c["id"]],
                "image_url": c["image"] or None,
                **self.origin("characters", c),
            }
            for c in self.characters.values()
        ]

    def dim_locations(self) -> list[Row]:
        """One row per location."""
        return [
            {
                "location_id": x["id"],
                "location_name": x["name"] or None,
                "location_type": x["type"] or None,
                "dimension": x["dimension"] or None,
                "listed_resident_count": len(numbers(x["residents"])),
                **self.origin("locations", x),
            }
            for x in self.locations.values()
        ]

    def dim_episodes(self) -> list[Row]:
        """One row per episode."""
        return [
            {
                "episode_id": e["id"],
                "episode_name": e["name"] or None,
                "episode_code": e["episode"] or None,
                "season_number": code(e["episode"], 1),
                "episode_number": code(e["episode"], 2),
                "air_date": day(e["air_date"]),
                "listed_character_count": len(numbers(e["characters"])),
                **self.origin("episodes", e),
            }
            for e in self.episodes.values()
        ]

    def fct_appearances(self) -> list[Row]:
        """One row per character and episode."""
        one_sided = self.seen_by_character ^ self.seen_by_episode
        return [
            {
                "character_id": character,
                "episode_id": episode,
                "listed_by_character": (character, episode) in self.seen_by_character,
                "listed_by_episode": (character, episode) in self.seen_by_episode,
                "is_asymmetric": (character, episode) in one_sided,
                "is_first_appearance": self.first[character] == episode,
                "air_date": day(self.episodes[episode]["air_date"]) if episode in self.episodes else None,
            }
            for character, episode in self.seen_by_character | self.seen_by_episode
        ]

    def fct_residencies(self) -> list[Row]:
        """One row per character and location."""
        one_sided = self.home_by_character ^ self.home_by_location
        return [
            {
                "character_id": character,
                "location_id": location,
                "listed_by_character": (character, location) in self.home_by_character,
                "listed_by_location": (character, location) in self.home_by_location,
                "is_asymmetric": (character, location) in one_sided,
                "loaded_at": max(self.loads[entity].loaded_at for entity in ("characters", "locations")),
            }
            for character, location in self.home_by_character | self.home_by_location
        ]

    def rpt_character_status(self) -> list[Row]:
        """One row per breakdown, value and status."""
        found: Counter[tuple[str, str, str]] = Counter()
        for c in self.characters.values():
            status = c["status"] or "unknown"
            found["species", c["species"] or "unknown", status] += 1
            found["origin", c["origin"]["name"] or "unknown", status] += 1
        whole: Counter[tuple[str, str]] = Counter()
        for (breakdown, value, _), count in found.items():
            whole[breakdown, value] += count
        return [
            {
                "breakdown": breakdown,
                "breakdown_value": value,
                "status": status,
                "character_count": count,
                "share": count / whole[breakdown, value],
            }
            for (breakdown, value, status), count in found.items()
        ]

    def rpt_episode_summary(self) -> list[Row]:
        """One row per episode."""
        return [
            {
                "episode_id": e["id"],
                "episode_code": e["episode"] or None,
                "episode_name": e["name"] or None,
                "season_number": code(e["episode"], 1),
                "episode_number": code(e["episode"], 2),
                "air_date": day(e["air_date"]),
                "character_count": len(self.cast[e["id"]]),
                "first_appearance_count": sum(self.first[c] == e["id"] for c in self.cast[e["id"]]),
                **statuses(self.characters, self.cast[e["id"]]),
            }
            for e in self.episodes.values()
        ]

    def rpt_season_summary(self) -> list[Row]:
        """One row per season."""
        seasons: dict[int, list[Row]] = defaultdict(list)
        for e in self.episodes.values():
            season = code(e["episode"], 1)
            if season is not None:
                seasons[season].append(e)
        rows = []
        for season, episodes in seasons.items():
            days = [aired for e in episodes if (aired := day(e["air_date"])) is not None]
            casts = [self.cast[e["id"]] for e in episodes]
            appearances = sum(map(len, casts))
            rows.append(
                {
                    "season_number": season,
                    "episode_count": len(episodes),
                    "first_air_date": min(days, default=None),
                    "last_air_date": max(days, default=None),
                    "appearance_count": appearances,
                    "character_count": len(set().union(*casts)),
                    "first_appearance_count": sum(
                        self.first[c] == e["id"] for e in episodes for c in self.cast[e["id"]]
                    ),
                    "characters_per_episode": appearances / len(episodes),
                }
            )
        return rows

    def rpt_location_summary(self) -> list[Row]:
        """One row per location."""
        origins = Counter(number(c["origin"]["url"]) for c in self.characters.values())
        return [
            {
                "location_id": x["id"],
                "location_name": x["name"] or None,
                "location_type": x["type"] or None,
                "dimension": x["dimension"] or None,
                "resident_count": len(self.residents[x["id"]]),
                "origin_count": origins[x["id"]],
                **statuses(self.characters, self.residents[x["id"]]),
            }
            for x in self.locations.values()
        ]

    def rpt_character_pairs(self) -> list[Row]:
        """One row per pair of characters that share an episode."""
        casts = [cast for cast in self.cast.values() if len(cast) <= self.crowd_size]
        alone = Counter(c for cast in casts for c in cast)
        together = Counter(pair for cast in casts for pair in combinations(sorted(cast), 2))
        rows = []
        for (a, b), shared in together.items():
            either = alone[a] + alone[b] - shared
            rows.append(
                {
                    "first_character_id": a,
                    "first_character_name": self.name("characters", a),
                    "second_character_id": b,
                    "second_character_name": self.name("characters", b),
                    "shared_episode_count": shared,
                    "either_episode_count": either,
                    "similarity": shared / either,
                }
            )
        return rows

    def name(self, entity: str, record_id: int | None) -> str | None:
        """The name of a record that may not be there."""
        return self.by_id[entity].get(record_id or 0, {}).get("name") or None

    def rpt_changes(self) -> list[Row]:
        """One row per entity, record and changed field."""
        if not self.earlier:
            return []
        rows = []
        records_before, loads_before = self.earlier[-1]
        for entity in ENTITIES:
            # What another run than the newest has changed is history.
            if self.loads[entity].run_id != self.newest_run:
                continue
            old = {r["id"]: r for r in records_before[entity]}
            new = self.by_id[entity]
            runs = {
                "run_id_before": loads_before[entity].run_id,
                "run_id_after": self.loads[entity].run_id,
                "loaded_at_before": loads_before[entity].loaded_at,
                "loaded_at_after": self.loads[entity].loaded_at,
            }
            found: list[tuple[int, str, str | None, str | None, str | None]] = [
                *((i, "added", None, None, None) for i in new.keys() - old.keys()),
                *((i, "removed", None, None, None) for i in old.keys() - new.keys()),
            ]
            for i in old.keys() & new.keys():
                was, is_ = fields(old[i]), fields(new[i])
                found += [(i, "changed", f, was[f], is_[f]) for f in was if was[f] != is_[f]]
            rows += [
                {
                    "entity": entity,
                    "record_id": i,
                    "record_name": new.get(i, old.get(i, {}))["name"],
                    "change": change,
                    "field_name": field,
                    "value_before": value_before,
                    "value_after": value_after,
                    **runs,
                }
                for i, change, field, value_before, value_after in found
            ]
        return rows

    def rpt_data_quality(self) -> list[Row]:
        """One row per finding."""
        found = self.findings() + self.reused_ids()
        return [
            {
                "rule": rule,
                "severity": severity,
                "entity": entity,
                "record_id": i,
                "record_name": self.name(entity, i),
                "detail": detail,
            }
            for rule, severity, entity, i, detail in found
        ]

    def findings(self) -> list[Finding]:
        """What is odd in these records alone."""
        found = self.links_that_fail() + self.odd_records() + self.names_that_disagree()
        for entity, records in self.by_id.items():
            names = Counter(r["name"] for r in records.values() if r["name"])
            found += [
                ("duplicate_name", "info", entity, i, f"{names[r['name']]} {entity} have this name")
                for i, r in records.items()
                if names[r["name"]] > 1
            ]
            if not records:
                run = self.loads[entity].run_id
                found.append(("empty_entity", "error", entity, None, f"run {run} loaded no record"))
        return found

    def names_that_disagree(self) -> list[Finding]:
        """Locations that characters call by another name."""
        callers: dict[tuple[int, str], set[int]] = defaultdict(set)
        for c in self.characters.values():
            for place in (c["origin"], c["location"]):
                location = number(place["url"])
                if location in self.locations and place["name"]:
                    callers[location or 0, place["name"]].add(c["id"])
        return [
            (
                "names_disagree",
                "warning",
                "locations",
                x,
                f"by {len(who)} of the characters called {other_name}",
            )
            for (x, other_name), who in callers.items()
            if other_name != self.locations[x]["name"]
        ]

    def reused_ids(self) -> list[Finding]:
        """Records whose id was another record's before, by the time of creation."""
        found: list[Finding] = []
        for entity, records in self.by_id.items():
            for i, r in records.items():
                was = [old for past, _ in self.earlier for old in past[entity] if old["id"] == i]
                others = [old for old in was if old["created"] != r["created"]]
                if others:
                    detail = f"was {others[-1]['name'] or 'a record without a name'}, created {others[-1]['created'][:10]}"
                    found.append(("id_reused", "warning", entity, i, detail))
        return found

    def rpt_verdict(self) -> list[Row]:
        """One row per entity and check, without the times."""
        severities = Counter(severity for _, severity, *_ in self.findings())
        odd = sum(rule == "unknown_status_value" for rule, *_ in self.findings())
        checks: list[tuple[str | None, str, bool, str]] = [
            (None, "source", True, "the tests"),
            (None, "findings_error", not severities["error"], str(severities["error"])),
            (None, "findings_warning", not severities["warning"], str(severities["warning"])),
            ("characters", "status_values", not odd, str(odd)),
        ]
        for entity, records in self.by_id.items():
            count = len(records)
            before = len(self.earlier[-1][0][entity]) if self.earlier else 0
            checks += [
                (entity, "missing", True, f"version {self.loads[entity].version}"),
                (entity, "empty", count > 0, f"{count}"),
                (
                    entity,
                    "order",
                    True,
                    f"version {self.loads[entity].version} of run {self.loads[entity].run_id}",
                ),
                (entity, "counts", True, f"{count} in the landing table"),
                # A version of no record closes with the STATE after it: an announcement alone is no proof.
                (entity, "proof", True, "tap" if count else "state"),
                (entity, "drop", count >= before * 0.9, f"{count}"),
                (
                    entity,
                    "drift",
                    not (new := self.new_field_count(entity)),
                    f"new fields in {new} of its records",
                ),
                (entity, "source", True, "the tests"),
                (entity, "freshness", True, "loaded 1 h ago"),
            ]
        return [
            {
                "run_id": self.newest_run,
                "entity": entity,
                "check_name": check,
                "status": "pass" if holds else self.policies[check],
                "got": got,
            }
            for entity, check, holds, got in checks
        ]

    def new_field_count(self, entity: str) -> int:
        """How many records of an entity have fields that the tap does not know."""
        return sum(new_fields(record) is not None for record in self.by_id[entity].values())

    def links_that_fail(self) -> list[Finding]:
        """Links that one side lists, and links that lead nowhere."""
        one_sided, links = [], set()
        for rule, other, by_character, by_other in (
            ("asymmetric_appearance", "episodes", self.seen_by_character, self.seen_by_episode),
            ("asymmetric_residency", "locations", self.home_by_character, self.home_by_location),
        ):
            one_sided += [(rule, "characters", c, other, x) for c, x in by_character - by_other]
            one_sided += [(rule, other, x, "characters", c) for c, x in by_other - by_character]
            links |= {("characters", c, other, x) for c, x in by_character}
            links |= {(other, x, "characters", c) for c, x in by_other}
        for i, c in self.characters.items():
            origin = number(c["origin"]["url"])
            if origin is not None:
                links.add(("characters", i, "locations", origin))
        return [
            (rule, "warning", entity, i, f"lists {other} {x}, which does not list it")
            for rule, entity, i, other, x in one_sided
        ] + [
            ("missing_record", "error", entity, i, f"leads to {other} {x}, which is not there")
            for entity, i, other, x in links
            if x not in self.by_id[other]
        ]

    def odd_records(self) -> list[Finding]:
        """What single records lack or say oddly."""
        found: list[Finding] = []

        def check(odd: object, rule: tuple[str, str], entity: str, record: Row, detail: str) -> None:
            if odd:
                found.append((*rule, entity, record["id"], detail))

        for entity, records in self.by_id.items():
            for r in records.values():
                check(not r["name"], ("empty_name", "warning"), entity, r, "no name")
                check(new := new_fields(r), ("new_field", "warning"), entity, r, str(new))
                unread = unreadable(r)
                detail = f"addresses that end in no id: {unread}"
                check(unread, ("unreadable_address", "warning"), entity, r, detail)
        for c in self.characters.values():
            for rule, field in (("unknown_origin", "origin"), ("unknown_location", "location")):
                place = c[field]
                unknown = number(place["url"]) is None
                check(unknown, (rule, "info"), "characters", c, place["name"] or "no name")
            check(not c["type"], ("empty_type", "info"), "characters", c, "no type")
            for field, values in (
                ("status", ("Alive", "Dead", "unknown")),
                ("gender", ("Female", "Male", "Genderless", "unknown")),
            ):
                rule, detail = f"unknown_{field}_value", c[field] or f"no {field}"
                check(c[field] not in values, (rule, "warning"), "characters", c, detail)
        for x in self.locations.values():
            check(not x["type"], ("empty_type", "info"), "locations", x, "no type")
            check(not x["dimension"], ("empty_dimension", "info"), "locations", x, "no dimension")
            nobody = not numbers(x["residents"])
            check(nobody, ("location_without_residents", "info"), "locations", x, "lists no residents")
        for e in self.episodes.values():
            season, aired, crowd = code(e["episode"], 1), day(e["air_date"]), len(self.cast[e["id"]])
            detail = e["episode"] or "no code"
            check(season is None, ("malformed_code", "error"), "episodes", e, detail)
            detail = "no date such as December 2, 2013"
            check(aired is None, ("malformed_air_date", "error"), "episodes", e, detail)
            detail = f"{crowd} characters, more than {self.crowd_size}: left out of rpt_character_pairs"
            check(crowd > self.crowd_size, ("crowded_episode", "info"), "episodes", e, detail)
        return found

    def rpt_loads(self) -> list[Row]:
        """The newest load of each entity: what can be known without the warehouse."""
        return [
            {
                "run_id": self.loads[entity].run_id,
                "entity": entity,
                "row_count": len(records),
                "landed_row_count": len(records),
                "mart_row_count": len(records),
                "new_field_count": self.new_field_count(entity),
                "started_at": self.loads[entity].loaded_at,
                "is_newest": True,
            }
            for entity, records in self.by_id.items()
        ]


def fields(record: Row) -> dict[str, str | None]:
    """A record's fields as rpt_changes lists them: text, nested ones by a dot, addresses by their last parts."""
    texts = {"new_fields": new_fields(record)}
    for name, value in record.items():
        if name == "new_fields":
            continue
        if isinstance(value, list):
            texts[name] = ", ".join(
                re.findall(r"[^/]*/*$", text)[0] if text.startswith("http") else text for text in value
            )
        elif isinstance(value, dict):
            texts.update({f"{name}.{inner}": text for inner, text in value.items()})
        elif name not in {"id", "url", "created"}:
            texts[name] = value
    return texts


MARTS = sorted(name for name in vars(Marts) if name.startswith(("dim_", "fct_", "rpt_")))
