"""The panels' sentences against their figures, and marts in which anything is missing."""

import re
from itertools import zip_longest
from typing import Any

import made_up_marts
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rickandmorty_report import page, panels
from rickandmorty_report.sentences import distinct_names

Rows = list[dict[str, Any]]
# What the queries count themselves, and the keys of the marts: never missing.
NEVER = {*("total_rows", "total_count", "place"), *("breakdown", "entity", "change", "rule", "severity")}
COLUMNS = {
    query: [column for column in rows[0] if column not in NEVER and not column.endswith("_id")]
    for query, rows in made_up_marts.marts().items()
}
# One column of each query at a time: a part of the page shows one query.
TURNS = [
    {query: column for query, column in zip(COLUMNS, turn, strict=True) if column}
    for turn in zip_longest(*COLUMNS.values())
]


def without(missing: dict[str, str], *, step: int) -> dict[str, Rows]:
    """The made-up marts with NULL in a column of each query, in its first row and every so many further ones."""
    found = made_up_marts.marts()
    for query, column in missing.items():
        for row in found[query][::step]:
            row[column] = None
    return found


@pytest.mark.parametrize("missing", TURNS)
def test_a_value_that_is_missing_is_a_dash_or_a_word(missing: dict[str, str]) -> None:
    """NULL in each column in turn, in every second row: the page is made, and no None or nan is read on it."""
    html = page.render(without(missing, step=2), made_up_marts.MADE_AT)
    text = re.sub(r"(?s)<(script|style)[^>]*>.*?</\1>|<[^>]+>", " ", html)
    text = " ".join(text.replace("None has any", "").split())
    assert not re.findall(r".{40}\b(?:None|nan|NaN)\b.{20}", text)


def test_marts_without_any_value_are_a_page() -> None:
    """NULL in all of these columns and rows at once."""
    found = made_up_marts.marts()
    for query, columns in COLUMNS.items():
        for row in found[query]:
            row.update(dict.fromkeys(columns))
    assert page.render(found, made_up_marts.MADE_AT)


def test_an_episode_without_a_season_has_its_bar_and_its_choice() -> None:
    """A special is drawn after the seasons and can be chosen."""
    panel = panels.episodes(without({"episodes": "season_number"}, step=100))
    assert panel.rows[-1][0] == made_up_marts.marts()["episodes"][0]["episode_code"]
    assert list(panel.controls[0].options)[-1] == "no season"
    assert "What has no season" in panels.seasons(without({"seasons": "season_number"}, step=1)).sentence


def test_without_pairs_among_the_leading_nobody_is_said_to_be_alone() -> None:
    """The query asks for pairs of those who appear most; others, and crowds, may have been seen together."""
    sentence = panels.pairs({**made_up_marts.marts(), "pairs": []}).sentence
    assert sentence == "No two of those who appear most are counted as seen together."


def test_a_name_turns_no_figure_round_and_is_never_blank() -> None:
    """Text from right to left is isolated, and what would end that or turn text is gone; what nobody sees is no name; 0 is an id."""
    assert page.cut("\u2069\u202eRick") == "Rick"
    assert page.cut("\u05e8\u05d9\u05e7 7") == "\u2068\u05e8\u05d9\u05e7 7\u2069"
    assert page.cut("\u0152il \U0001f680") == "\u0152il \U0001f680"
    found = made_up_marts.hostile(" \t\u00a0\n\u200b\ufeff")
    found["findings"][0]["record_id"] = 0
    html = page.render(found, made_up_marts.MADE_AT)
    assert "(no name) #1" in html
    assert len({value for by, value, *_ in panels.statuses(found).rows if by == "species"}) == 10
    rows = [{"id": key, "name": name} for key, name in enumerate(("Who", "Who", "Who #1"))]
    assert list(distinct_names(rows, "id", "name").values()) == ["Who #0", "Who #1", "Who #1 #2"]
    assert re.search(r'<th scope="row">— <span class="muted">#0</span>', html)


# A busy machine is no fault.
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(0, 4), min_size=1, max_size=8), st.integers(0, 3))
def test_everybody_who_has_the_most_is_said_to(counts: list[int], more: int) -> None:
    """One is named alone; several share it, three by name and the rest by number; none where nobody has any."""
    rows: Rows = [
        {
            "character_id": n,
            "character_name": f"N{n}",
            "species": "Human",
            "status": "Alive",
            "episode_count": count,
            "total_rows": len(counts) + more,
            "total_count": sum(counts) + more,
        }
        for n, count in enumerate(sorted(counts, reverse=True))
    ]
    sentence = panels.characters({"characters": rows}).sentence
    most = max(counts)
    leading = [f"N{n}" for n, count in enumerate(sorted(counts, reverse=True)) if count == most]
    if not most:
        assert sentence == "None has any episode."
        return
    episodes = f"{most} episode{'' if most == 1 else 's'}"
    if len(leading) == 1:
        assert sentence == f"N0 appears most: in {episodes}."
    elif len(leading) == len(rows) and more:
        assert sentence == f"At least {len(leading)} appear most: in {episodes} each."
    else:
        assert sentence.endswith(f" appear most: in {episodes} each.")
        assert re.findall(r"N\d", sentence) == leading[:3]
        assert (f"{len(leading) - 3} more" in sentence) == (len(leading) > 3)


def test_several_and_one_are_said_rightly() -> None:
    """Where all tie, no two commas meet; what a chart leaves out is counted in its number: one value, one pair."""
    marts = made_up_marts.marts()
    for row in marts["episodes"]:
        row["character_count"] = 5
    for row in marts["statuses"] + marts["pairs"]:
        row["total_rows"] = 13 if "breakdown" in row else len(marts["pairs"]) + 1
    assert re.sub("The Ricklantis Mixup, part ", "", panels.episodes(marts).sentence) == (
        "S01E01 “1”, S01E02 “2”, S01E03 “3” and 48 more have the most: 5 characters each."
    )
    assert [note.text for note in panels.statuses(marts).notes] == [
        f"By {breakdown}, the last bar sums 1 smaller value." for breakdown in ("species", "origin")
    ]
    assert [note.text for note in panels.pairs(marts).notes] == ["Not drawn: 1 more pair."]
    # An older one that is not drawn may have more.
    for row in marts["episodes"] + marts["seasons"]:
        row["total_rows"] += 1
    assert panels.episodes(marts).sentence.startswith("Of the newest 51: S01E01")
    assert panels.seasons(marts).sentence.startswith("Of the newest 5: Season ")


def largest(rows: Rows, column: str) -> int:
    """The largest value of a column."""
    return int(max(row[column] or 0 for row in rows))


def test_each_sentence_says_what_its_figures_say() -> None:
    """The numbers in a panel's sentence and notes are those of its rows, computed here again."""
    marts = made_up_marts.marts()
    made = {panel.key: panel for panel in (make(marts) for make in panels.ALL)}

    def numbers(text: str) -> list[int]:
        return [int(n.replace(",", "")) for n in re.findall(r"(?<![\w#])\d[\d,]*(?!\w)", text)]

    assert numbers(made["characters"].sentence) == [largest(marts["characters"], "episode_count")]
    assert numbers(made["locations"].sentence) == [largest(marts["locations"], "resident_count")]
    season = max(marts["seasons"], key=lambda row: row["appearance_count"])
    assert numbers(made["seasons"].sentence) == [season["season_number"], season["appearance_count"]]
    assert numbers(made["episodes"].sentence)[-1] == largest(marts["episodes"], "character_count")
    assert numbers(made["pairs"].sentence)[-1] == largest(marts["pairs"], "shared_episode_count")
    species = [row for row in marts["statuses"] if row["breakdown"] == "species"]
    by_status = {s: sum(r["character_count"] for r in species if r["status"] == s) for s in panels.STATUSES}
    assert numbers(made["statuses"].sentence) == list(by_status.values())
    (left,) = made["characters"].notes
    shown = sum(row["episode_count"] for row in marts["characters"])
    assert numbers(left.text) == [826 - 15, 1267 - shown]
    assert [(note.parameter, note.when, numbers(note.text)) for note in made["statuses"].notes] == [
        ("breakdown", "origin", [81 - 12])
    ]


def test_the_chart_has_the_figures_of_the_table() -> None:
    """A column is stated once: the chart's data are the table's, under the same headings."""
    panel = panels.characters(made_up_marts.marts())
    assert panel.chart is not None
    (data,) = panel.chart["datasets"].values()
    headings = [column.heading for column in panel.columns]
    assert [[row[heading] for heading in headings] for row in data] == panel.rows


def test_without_changes_the_page_names_what_the_newest_run_has_loaded() -> None:
    """What another run loaded may well have changed then: only the newest run's entities are compared."""
    found = made_up_marts.marts()
    found["changes"] = []
    assert "Nothing changed in characters, episodes and locations, which" in page.render(
        found, made_up_marts.MADE_AT
    )
    for row in found["loads"]:
        if row["is_newest"] and row["entity"] == "episodes":
            row.update(run_id="a job of its own", finished_at=made_up_marts.MADE_AT)
            row["load_method"] = "overwrite"
    shown = page.render(found, made_up_marts.MADE_AT)
    assert "Not compared: episodes, where" in shown
    assert "one load" not in shown
    for row in found["loads"]:
        row["load_method"] = "append-only"
    assert "Nothing changed in episodes, which" in page.render(found, made_up_marts.MADE_AT)
    found["loads"] = [row for row in found["loads"] if row["is_newest"]]
    assert "There is one load" in page.render(found, made_up_marts.MADE_AT)
