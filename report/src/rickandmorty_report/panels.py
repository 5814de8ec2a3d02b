"""The panels: a title, a sentence, a chart, and the same figures as a table.

A panel is declared once: a column has its heading and where its figure comes from, and the chart's data are the same
figures under the same headings, which its tooltips show. Any value of a mart may be missing.
"""

import functools
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from rickandmorty_report import charts
from rickandmorty_report.charts import Spec
from rickandmorty_report.marts import Marts, Row
from rickandmorty_report.sentences import counted, distinct_names, enumeration, leaders, most_sentence

Describe = Callable[[Marts], "Panel"]

STATUSES = ("Alive", "Dead", "unknown")
NO_SEASON = "no season"
HAS_MOST = ("has the most:", "have the most:")


@dataclass(frozen=True)
class Column:
    """A table's column: heading, source (a column of the mart, or a function of its row), whether it is a number."""

    heading: str
    source: str | Callable[[Row], Any]
    number: bool = False

    def value(self, row: Row) -> Any:  # noqa: ANN401 (a cell's value)
        """Return the cell of a row."""
        return row[self.source] if isinstance(self.source, str) else self.source(row)


@dataclass(frozen=True)
class Control:
    """A choice that sets a parameter of the chart: values to labels, the first one chosen."""

    parameter: str
    label: str
    options: dict[str, str]


@dataclass(frozen=True)
class Note:
    """What a chart leaves out; where `when` names a value of the control `parameter`, it holds for that choice only."""

    text: str
    parameter: str = ""
    when: str = ""


@dataclass(frozen=True)
class Panel:
    """A chart, a sentence about it, and its figures; `chart` is None where there is nothing to draw."""

    sentence: str
    columns: list[Column] = field(default_factory=list)
    figures: list[Row] = field(default_factory=list)
    chart: Spec | None = None
    notes: list[Note] = field(default_factory=list)
    controls: list[Control] = field(default_factory=list)
    # Of its declaration (see declared).
    key: str = ""
    title: str = ""
    wide: bool = False

    @property
    def rows(self) -> list[list[Any]]:
        """The table's cells."""
        return [[column.value(row) for column in self.columns] for row in self.figures]


def declared(title: str, *, empty: str, wide: bool = False) -> Callable[[Describe], Describe]:
    """Decorate the function that describes the rows of the query of its name; without a row the panel says `empty`."""

    def decorate(describe: Describe) -> Describe:
        @functools.wraps(describe)
        def panel(marts: Marts) -> Panel:
            content = describe(marts) if marts[describe.__name__] else Panel(empty)
            return replace(content, key=describe.__name__, title=title, wide=wide)

        return panel

    return decorate


def chart_data(columns: list[Column], rows: Iterable[Row], *headings: str) -> list[Row]:
    """Return a chart's data: these columns of the table (all where none is named), as JSON has them."""
    chosen = [column for column in columns if not headings or column.heading in headings]

    def plain(column: Column, value: Any) -> Any:  # noqa: ANN401 (a cell's value)
        if value is None:
            return None if column.number else "unknown"
        return value if isinstance(value, int | float | str) else str(value)

    return [{column.heading: plain(column, column.value(row)) for column in chosen} for row in rows]


def sort_key(*values: Any) -> tuple[Any, ...]:  # noqa: ANN401 (a row's values)
    """Return a key to sort by: what is missing comes last."""
    return tuple(part for value in values for part in (value is None, value or 0))


def season(row: Row) -> str:
    """Return a season's name."""
    return NO_SEASON if row["season_number"] is None else str(row["season_number"])


@declared("Appearances per season", empty="There is no season yet.")
def seasons(marts: Marts) -> Panel:
    """Appearances per season."""
    rows = sorted(marts["seasons"], key=lambda row: sort_key(row["season_number"]))

    def name(row: Row) -> str:
        return "What has no season" if row["season_number"] is None else f"Season {row['season_number']}"

    columns = [
        Column("season", season),
        Column("episodes", "episode_count", number=True),
        Column("first aired", "first_air_date"),
        Column("last aired", "last_air_date"),
        Column("appearances", "appearance_count", number=True),
        Column("characters", "character_count", number=True),
        Column("first seen", "first_appearance_count", number=True),
        Column("characters per episode", "characters_per_episode", number=True),
    ]
    return Panel(
        sentence=_most_of_newest(rows, "appearance_count", name, "appearance"),
        columns=columns,
        figures=rows,
        chart=charts.seasons(chart_data(columns, rows, "season", "episodes", "appearances", "characters")),
        notes=_left_out(rows, "older season"),
    )


@declared("Characters per episode", empty="There is no episode yet.", wide=True)
def episodes(marts: Marts) -> Panel:
    """Characters per episode."""
    rows = sorted(
        marts["episodes"],
        key=lambda row: sort_key(row["season_number"], row["episode_number"], row["episode_id"]),
    )
    codes = distinct_names(rows, "episode_id", "episode_code")

    def name(row: Row) -> str:
        return f"{codes[row['episode_id']]} “{row['episode_name'] or '(no name)'}”"

    columns = [
        Column("episode", lambda row: codes[row["episode_id"]]),
        Column("name", "episode_name"),
        Column("aired", "air_date"),
        Column("characters", "character_count", number=True),
        Column("first seen here", "first_appearance_count", number=True),
    ]
    bars = [
        {**shown, "season": season(row), "kind": kind, "place": place, "characters": count}
        for row, shown in zip(rows, chart_data(columns, rows, "episode", "name", "aired"), strict=True)
        for place, kind, count in (
            (0, "first seen here", row["first_appearance_count"] or 0),
            (1, "seen before", (row["character_count"] or 0) - (row["first_appearance_count"] or 0)),
        )
    ]
    seasons = dict.fromkeys(map(season, rows))
    choices = {"all": "all", **{number: number for number in seasons}}
    return Panel(
        sentence=_most_of_newest(rows, "character_count", name, "character"),
        columns=columns,
        figures=rows,
        chart=charts.episodes(bars),
        notes=_left_out(rows, "older episode", "character_count", "appearance"),
        controls=[Control("season", "Season", choices)] if len(seasons) > 1 else [],
    )


@declared("Who appears most", empty="There is no character yet.")
def characters(marts: Marts) -> Panel:
    """The characters with the most episodes."""
    rows = marts["characters"]
    names = distinct_names(rows, "character_id", "character_name")
    columns = [
        Column("character", lambda row: names[row["character_id"]]),
        Column("species", "species"),
        Column("status", "status"),
        Column("episodes", "episode_count", number=True),
    ]
    verb = ("appears most: in", "appear most: in")
    return Panel(
        sentence=most_sentence(
            rows, "episode_count", lambda row: names[row["character_id"]], verb, "episode"
        ),
        columns=columns,
        figures=rows,
        chart=charts.by_status(chart_data(columns, rows), "character", "episodes", "species"),
        notes=_left_out(rows, "more character", "episode_count", "appearance"),
    )


@declared("Status by species and origin", empty="There is no character yet.")
def statuses(marts: Marts) -> Panel:
    """Status by species and by origin."""
    rows = marts["statuses"]
    sizes: Counter[tuple[str, int]] = Counter()
    for row in rows:
        sizes[row["breakdown"], row["place"]] += row["character_count"] or 0

    def share(row: Row) -> float:
        return (row["character_count"] or 0) / (sizes[row["breakdown"], row["place"]] or 1)

    totals = {str(row["breakdown"]): row["total_rows"] or 0 for row in rows}
    # Long values may be cut to the same text: each has its own bar.
    names = {
        by: distinct_names(
            [{**row, "name": _value(row)} for row in rows if row["breakdown"] == by], "place", "name"
        )
        for by in totals
    }
    columns = [
        Column("by", lambda row: str(row["breakdown"])),
        Column("value", lambda row: names[row["breakdown"]][row["place"]]),
        Column("status", lambda row: row["status"] or "unknown"),
        Column("characters", lambda row: row["character_count"] or 0, number=True),
        Column("share", lambda row: f"{share(row):.1%}", number=True),
    ]
    bars = [
        {**shown, "share": share(row), "place": _status_rank(shown["status"])}
        for row, shown in zip(rows, chart_data(columns, rows), strict=True)
    ]
    by_status: Counter[str] = Counter()
    for bar in bars:
        by_status[bar["status"]] += bar["characters"] if bar["by"] == bars[0]["by"] else 0
    counts = [
        f"{by_status[status]:,} {status.lower()}"
        for status in sorted(by_status, key=lambda status: (_status_rank(status), status))
        if by_status[status]
    ]
    return Panel(
        sentence=f"Of all characters: {', '.join(counts)}.",
        columns=columns,
        figures=rows,
        chart=charts.breakdowns(bars),
        notes=[
            Note(
                f"By {breakdown}, the last bar sums {counted(total - 12, 'smaller value')}.",
                "breakdown",
                breakdown,
            )
            for breakdown, total in totals.items()
            if total > 12  # noqa: PLR2004 (queries/statuses.sql)
        ],
        controls=[
            Control("breakdown", "By", {name: name for name in sorted(totals, reverse=True)}),
            Control("measure", "Show", {"share": "shares", "count": "counts"}),
        ],
    )


def _value(row: Row) -> str:
    if row["shown_value"] is None:
        return f"the other {(row['total_rows'] or 12) - 12:,}"
    return row["shown_value"] or "(empty)"


def _status_rank(status: str) -> int:
    return STATUSES.index(status) if status in STATUSES else len(STATUSES)


@declared("Residents by location", empty="There is no location yet.")
def locations(marts: Marts) -> Panel:
    """Residents by location."""
    rows = marts["locations"]
    names = distinct_names(rows, "location_id", "location_name")
    columns = [
        Column("location", lambda row: names[row["location_id"]]),
        Column("type", "location_type"),
        Column("dimension", "dimension"),
        Column("residents", "resident_count", number=True),
        Column("alive", "alive_count", number=True),
        Column("dead", "dead_count", number=True),
        Column("unknown", "unknown_count", number=True),
    ]
    bars = []
    for row, shown in zip(rows, chart_data(columns, rows, "location", "type", "dimension"), strict=True):
        known = {status: row[f"{status.lower()}_count"] or 0 for status in STATUSES}
        known["other"] = max((row["resident_count"] or 0) - sum(known.values()), 0)
        bars += [
            {**shown, "status": status, "place": place, "residents": count}
            for place, (status, count) in enumerate(known.items())
            if count or status == "Alive"
        ]
    return Panel(
        sentence=most_sentence(
            rows, "resident_count", lambda row: f"“{names[row['location_id']]}”", HAS_MOST, "resident"
        ),
        columns=columns,
        figures=rows,
        chart=charts.by_status(bars, "location", "residents", "type", "dimension"),
        notes=_left_out(rows, "more location", "resident_count", "resident"),
    )


@declared(
    "Who is seen with whom", empty="No two of those who appear most are counted as seen together.", wide=True
)
def pairs(marts: Marts) -> Panel:
    """Who is seen with whom, among the characters with the most episodes."""
    rows = marts["pairs"]
    sides = [
        {"id": row[f"{side}_character_id"], "name": row[f"{side}_character_name"]}
        for row in rows
        for side in ("first", "second")
    ]
    names = distinct_names(sides, "id", "name")
    columns = [
        Column("character", lambda row: names[row["first_character_id"]]),
        Column("with", lambda row: names[row["second_character_id"]]),
        Column("shared episodes", "shared_episode_count", number=True),
        Column("episodes of either", "either_episode_count", number=True),
        Column("similarity", "similarity", number=True),
    ]
    # In the order of who appears most.
    leading = [row["character_id"] for row in marts["characters"]]
    order = [*(key for key in leading if key in names), *(key for key in names if key not in leading)]
    found, most, _ = leaders(rows, "shared_episode_count")
    who = enumeration(
        [f"{names[row['first_character_id']]} with {names[row['second_character_id']]}" for row in found]
    )
    squares = [
        {**shown, "character": one, "with": two}
        for shown in chart_data(columns, rows)
        for one, two in ((shown["character"], shown["with"]), (shown["with"], shown["character"]))
    ]
    measures = {"shared": "shared episodes", "similarity": "similarity (shared of either)"}
    return Panel(
        sentence=f"Of those who appear most, {who}: {counted(most, 'shared episode')}{' each' if len(found) > 1 else ''}.",
        columns=columns,
        figures=rows,
        chart=charts.pairs(squares, [names[key] for key in order]),
        notes=_left_out(rows, "more pair"),
        controls=[Control("measure", "Show", measures)],
    )


def _most_of_newest(rows: list[Row], column: str, name: Callable[[Row], str], noun: str) -> str:
    """Return who has the most of the newest rows, and that it is of these alone where older ones are left out."""
    total = rows[0]["total_rows"] or 0
    sentence = most_sentence([{**row, "total_rows": len(rows)} for row in rows], column, name, HAS_MOST, noun)
    return f"Of the newest {len(rows):,}: {sentence}" if total > len(rows) else sentence


def _left_out(rows: list[Row], noun: str, column: str = "", column_noun: str = "") -> list[Note]:
    """Return a note of how many rows the query left out and, where `column` is given, what they add up to."""
    total = rows[0]["total_rows"] or 0
    if total <= len(rows):
        return []
    text = f"Not drawn: {counted(total - len(rows), noun)}"
    if column:
        rest = (rows[0]["total_count"] or 0) - sum(row[column] or 0 for row in rows)
        text += f" with {counted(rest, column_noun)}"
    return [Note(f"{text}.")]


ALL = (episodes, characters, statuses, seasons, locations, pairs)
