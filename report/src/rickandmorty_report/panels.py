"""What each panel says of its rows: a title, a sentence, a chart, and the same figures as a table."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rickandmorty_report import charts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rickandmorty_report.charts import Spec
    from rickandmorty_report.marts import Marts, Row

STATUSES = ("alive", "dead", "unknown")


@dataclass(frozen=True)
class Column:
    """A table's column: its heading, and whether it holds numbers."""

    heading: str
    number: bool = False


@dataclass(frozen=True)
class Control:
    """A choice that sets a parameter of the chart: values to labels, the first one chosen."""

    parameter: str
    label: str
    options: dict[str, str]


@dataclass(frozen=True)
class Panel:
    """A chart, what it says, and its figures; `chart` is None where there is nothing to draw."""

    key: str
    title: str
    says: str
    columns: list[Column]
    rows: list[list[Any]]
    chart: Spec | None
    left_out: str = ""
    controls: list[Control] = field(default_factory=list)
    wide: bool = False


def _number(value: float, one: str, many: str = "") -> str:
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def _named(rows: Iterable[Row], key: str, name: str) -> dict[Any, str]:
    """Gives each key's name; the key is added where two share one, and an empty name is said."""
    names = {row[key]: row[name] or "(no name)" for row in rows}
    often = Counter(names.values())
    return {k: f"{n} #{k}" if often[n] > 1 else n for k, n in names.items()}


def seasons(marts: Marts) -> Panel:
    """Appearances a season."""
    rows = sorted(marts["seasons"], key=lambda row: row["season_number"])
    says = "There is no season yet."
    if rows:
        most = max(rows, key=lambda row: row["appearance_count"])
        says = (
            f"Season {most['season_number']} has the most appearances: {most['appearance_count']:,} "
            f"in {_number(most['episode_count'], 'episode')}."
        )
    return Panel(
        key="seasons",
        title="Appearances a season",
        says=says,
        columns=[
            Column("season"),
            Column("episodes", number=True),
            Column("first aired"),
            Column("last aired"),
            Column("appearances", number=True),
            Column("characters", number=True),
            Column("first seen", number=True),
            Column("characters an episode", number=True),
        ],
        rows=[
            [
                f"Season {row['season_number']}",
                row["episode_count"],
                row["first_air_date"],
                row["last_air_date"],
                row["appearance_count"],
                row["character_count"],
                row["first_appearance_count"],
                row["characters_per_episode"],
            ]
            for row in rows
        ],
        chart=charts.seasons(
            [
                {
                    "season": row["season_number"],
                    "episodes": row["episode_count"],
                    "appearances": row["appearance_count"],
                    "characters": row["character_count"],
                }
                for row in rows
            ]
        )
        if rows
        else None,
        left_out=_left_out(rows, "season", "older"),
    )


def episodes(marts: Marts) -> Panel:
    """Characters an episode."""
    rows = sorted(marts["episodes"], key=lambda r: (r["season_number"], r["episode_number"], r["episode_id"]))
    codes = _named(rows, "episode_id", "episode_code")
    says = "There is no episode yet."
    if rows:
        most = max(rows, key=lambda row: row["character_count"])
        says = f"{most['episode_code']}, “{most['episode_name']}”, has the most: {_number(most['character_count'], 'character')}."
    numbers = sorted({row["season_number"] for row in rows})
    return Panel(
        key="episodes",
        title="Characters an episode",
        says=says,
        columns=[
            Column("episode"),
            Column("name"),
            Column("aired"),
            Column("characters", number=True),
            Column("first seen here", number=True),
        ],
        rows=[
            [
                codes[row["episode_id"]],
                row["episode_name"],
                row["air_date"],
                row["character_count"],
                row["first_appearance_count"],
            ]
            for row in rows
        ],
        chart=charts.episodes(
            [
                {
                    "code": codes[row["episode_id"]],
                    "episode": row["episode_name"],
                    "season": str(row["season_number"]),
                    "aired": str(row["air_date"] or "unknown"),
                    "kind": kind,
                    "place": place,
                    "characters": count,
                }
                for row in rows
                for place, kind, count in (
                    (0, "first seen here", row["first_appearance_count"]),
                    (1, "seen before", row["character_count"] - row["first_appearance_count"]),
                )
            ]
        )
        if rows
        else None,
        left_out=_left_out(rows, "episode", "older", "character_count", "appearance"),
        controls=[
            Control("season", "Season", {"all": "all", **{str(number): str(number) for number in numbers}})
        ]
        if len(numbers) > 1
        else [],
        wide=True,
    )


def characters(marts: Marts) -> Panel:
    """The characters with the most episodes."""
    rows = marts["characters"]
    names = _named(rows, "character_id", "character_name")
    says = "There is no character yet."
    if rows:
        says = f"{rows[0]['character_name']} appears most: in {_number(rows[0]['episode_count'], 'episode')}."
    return Panel(
        key="characters",
        title="Who appears most",
        says=says,
        columns=[Column("character"), Column("species"), Column("status"), Column("episodes", number=True)],
        rows=[
            [names[row["character_id"]], row["species"], row["status"], row["episode_count"]] for row in rows
        ],
        chart=charts.characters(
            [
                {
                    "name": names[row["character_id"]],
                    "species": row["species"],
                    "status": row["status"],
                    "episodes": row["episode_count"],
                }
                for row in rows
            ]
        )
        if rows
        else None,
        left_out=_left_out(rows, "character", "more", "episode_count", "appearance"),
    )


def statuses(marts: Marts) -> Panel:
    """Status by species and by origin."""
    rows = marts["statuses"]
    sizes: Counter[tuple[str, int]] = Counter()
    for row in rows:
        sizes[row["breakdown"], row["place"]] += row["character_count"]
    told = [
        {
            "breakdown": row["breakdown"],
            "name": _value(row),
            "status": row["status"],
            "place": _place(row["status"]),
            "characters": row["character_count"],
            "share": row["character_count"] / (sizes[row["breakdown"], row["place"]] or 1),
        }
        for row in rows
    ]
    says = "There is no character yet."
    if rows:
        by_status: Counter[str] = Counter()
        for row in rows:
            if row["breakdown"] == rows[0]["breakdown"]:
                by_status[row["status"]] += row["character_count"]
        says = "Of all characters: " + ", ".join(
            f"{count:,} {status.lower()}"
            for status, count in sorted(by_status.items(), key=lambda i: _place(i[0]))
        )
        says += "."
    totals = {row["breakdown"]: row["total_rows"] for row in rows}
    return Panel(
        key="statuses",
        title="Status by species and origin",
        says=says,
        columns=[
            Column("by"),
            Column("value"),
            Column("status"),
            Column("characters", number=True),
            Column("share", number=True),
        ],
        rows=[
            [row["breakdown"], row["name"], row["status"], row["characters"], f"{row['share']:.1%}"]
            for row in told
        ],
        chart=charts.statuses(told) if rows else None,
        left_out=" ".join(
            f"The {total - 12:,} smallest by {breakdown} are summed."
            for breakdown, total in totals.items()
            if total > 12  # noqa: PLR2004 (queries/statuses.sql)
        ),
        controls=[
            Control("breakdown", "By", {name: name for name in sorted(totals, reverse=True)}),
            Control("measure", "Show", {"share": "shares", "count": "counts"}),
        ]
        if rows
        else [],
    )


def _value(row: Row) -> str:
    if row["shown_value"] is None:
        return f"the other {row['total_rows'] - 12:,}"
    return row["shown_value"] or "(empty)"


def _place(status: str) -> int:
    return STATUSES.index(status.lower()) if status.lower() in STATUSES else len(STATUSES)


def locations(marts: Marts) -> Panel:
    """Residents by location."""
    rows = marts["locations"]
    names = _named(rows, "location_id", "location_name")
    says = "There is no location yet."
    if rows:
        says = f"“{rows[0]['location_name']}” has the most residents: {rows[0]['resident_count']:,}."
    told = []
    for row in rows:
        known = {
            "Alive": row["alive_count"],
            "Dead": row["dead_count"],
            "unknown": row["unknown_count"],
        }
        known["other"] = row["resident_count"] - sum(known.values())
        told += [
            {
                "name": names[row["location_id"]],
                "kind": row["location_type"],
                "dimension": row["dimension"],
                "status": status,
                "place": place,
                "residents": count,
            }
            for place, (status, count) in enumerate(known.items())
            if count or status == "Alive"
        ]
    return Panel(
        key="locations",
        title="Residents by location",
        says=says,
        columns=[
            Column("location"),
            Column("type"),
            Column("dimension"),
            Column("residents", number=True),
            Column("alive", number=True),
            Column("dead", number=True),
            Column("unknown", number=True),
        ],
        rows=[
            [
                names[row["location_id"]],
                row["location_type"],
                row["dimension"],
                row["resident_count"],
                row["alive_count"],
                row["dead_count"],
                row["unknown_count"],
            ]
            for row in rows
        ],
        chart=charts.locations(told) if rows else None,
        left_out=_left_out(rows, "location", "more", "resident_count", "resident"),
    )


def pairs(marts: Marts) -> Panel:
    """Who is seen with whom, among the characters with the most episodes."""
    rows = marts["pairs"]
    sides = [
        {"id": row[f"{side}_character_id"], "name": row[f"{side}_character_name"]}
        for row in rows
        for side in ("first", "second")
    ]
    names = _named(sides, "id", "name")
    # In the order of who appears most.
    order = [row["character_id"] for row in marts["characters"] if row["character_id"] in names]
    says = "No two characters have been seen together yet."
    if rows:
        says = (
            f"{rows[0]['first_character_name']} and {rows[0]['second_character_name']} share the most: "
            f"{_number(rows[0]['shared_episode_count'], 'episode')}."
        )
    total = rows[0]["total_rows"] if rows else 0
    return Panel(
        key="pairs",
        title="Who is seen with whom",
        says=says,
        columns=[
            Column("character"),
            Column("with"),
            Column("shared episodes", number=True),
            Column("episodes of either", number=True),
            Column("similarity", number=True),
        ],
        rows=[
            [
                names[row["first_character_id"]],
                names[row["second_character_id"]],
                row["shared_episode_count"],
                row["either_episode_count"],
                row["similarity"],
            ]
            for row in rows
        ],
        chart=charts.pairs(
            [
                {
                    "first": names[row[f"{one}_character_id"]],
                    "second": names[row[f"{two}_character_id"]],
                    "shared": row["shared_episode_count"],
                    "similarity": row["similarity"],
                }
                for row in rows
                for one, two in (("first", "second"), ("second", "first"))
            ],
            [names[key] for key in order],
        )
        if rows
        else None,
        left_out=f"Among the {len(names)} who appear most; of {total:,} pairs, {total - len(rows):,} are not drawn."
        if total > len(rows)
        else "",
        controls=[
            Control(
                "measure",
                "Show",
                {"shared": "shared episodes", "similarity": "similarity (shared of either)"},
            )
        ]
        if rows
        else [],
        wide=True,
    )


def _left_out(rows: list[Row], noun: str, how: str, counted: str = "", count_noun: str = "") -> str:
    """Says how many rows the query left out and, where `counted` names the column, what they add up to."""
    if not rows or rows[0]["total_rows"] <= len(rows):
        return ""
    said = f"Not drawn: {_number(rows[0]['total_rows'] - len(rows), f'{how} {noun}')}"
    if counted:
        rest = rows[0]["total_count"] - sum(row[counted] for row in rows)
        said += f" with {_number(rest, count_noun)}"
    return f"{said}."


ALL = (episodes, characters, statuses, seasons, locations, pairs)
