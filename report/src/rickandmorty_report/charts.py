"""The charts, as Vega-Lite made by Altair.

Colours are the page's CSS variables, so that a chart follows the page into the dark and onto paper without being drawn again.
A parameter (`season`, `breakdown`, `measure`) is set by a control of the page.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import altair as alt

from rickandmorty_report.marts import Row

Spec = dict[str, Any]

STATUS_COLOURS = {"Alive": "var(--alive)", "Dead": "var(--dead)", "unknown": "var(--unknown)"}
OTHER_COLOUR = "var(--other)"
ROW = 22
# Columns that are wide enough for a figure above each, on a phone too.
FIGURES_FIT = 8
# One bar alone does not fill the width.
NO_WIDER = alt.ExprRef("min(72, bandwidth('x'))")
# The page's own, by name: Vega measures text with it.
FONT = 'system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif'
CONFIG = {
    "background": "transparent",
    "font": FONT,
    "view": {"stroke": None},
    "axis": {
        "domain": False,
        "ticks": False,
        "gridColor": "var(--line)",
        "labelColor": "var(--text)",
        "titleColor": "var(--muted)",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelLimit": 128,
        "labelPadding": 6,
    },
    "legend": {
        "orient": "top",
        "title": None,
        "labelColor": "var(--text)",
        "titleColor": "var(--muted)",
        "labelFontSize": 12,
        "symbolType": "square",
        "symbolStrokeWidth": 0,
    },
    "bar": {"fill": "var(--accent)"},
    "rect": {"fill": "var(--accent)"},
    "text": {"fill": "var(--text)", "fontSize": 12},
}


def _spec(chart: alt.Chart | alt.LayerChart, height: int) -> Spec:
    sized = chart.properties(width="container", height=height, autosize=alt.AutoSizeParams(type="fit-x"))
    found: Spec = sized.to_dict()
    return found | {"config": CONFIG}


def _chart(rows: Iterable[Row]) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=list(rows)))


def _count_axis() -> alt.Axis:
    """Return an axis of counts: Vega halves steps where counts are small, so fractions get no label."""
    return alt.Axis(tickCount=5, labelExpr="datum.value % 1 ? '' : format(datum.value, ',')")


def _name_axis(field: str) -> alt.Y:
    """Return the vertical axis of a chart with one row per name, in the rows' order."""
    return alt.Y(
        f"{field}:N", sort=None, title=None, axis=alt.Axis(grid=False), scale=alt.Scale(paddingInner=0.2)
    )


def _column_axis(**more: Any) -> alt.Axis:  # noqa: ANN401 (Altair's)
    """Return the horizontal axis of a chart with one column per name; labels that would overlap are left out."""
    return alt.Axis(grid=False, labelAngle=0, labelOverlap="greedy", labelSeparation=4, **more)


def _status_colour(rows: Iterable[Row]) -> alt.Color:
    found = {row["status"] for row in rows}
    domain = [*(s for s in STATUS_COLOURS if s in found), *sorted(found - STATUS_COLOURS.keys())]
    return alt.Color(
        "status:N",
        scale=alt.Scale(domain=domain, range=[STATUS_COLOURS.get(s, OTHER_COLOUR) for s in domain]),
    )


def seasons(rows: list[Row]) -> Spec:
    """Appearances of each season: `season`, `appearances`, `characters`, `episodes`; in the rows' order."""
    base = _chart(rows).encode(
        x=alt.X(
            "season:N",
            title="season",
            sort=None,
            axis=_column_axis(),
            scale=alt.Scale(paddingInner=0.5, paddingOuter=0.25),
        ),
        y=alt.Y("appearances:Q", title="appearances", axis=_count_axis()),
        tooltip=["season:N", "episodes:Q", "appearances:Q", "characters:Q"],
    )
    figures = base.mark_text(baseline="bottom", dy=-4).encode(text=alt.Text("appearances:Q", format=","))
    bars = base.mark_bar(width=NO_WIDER)
    return _spec(bars + figures if len(rows) <= FIGURES_FIT else bars, 320)


def episodes(rows: list[Row]) -> Spec:
    """Characters of each episode in the order of airing: `episode`, `name`, `season`, `aired`, `kind`, `place`, `characters`."""
    kinds = ["first seen here", "seen before"]
    few = len({row["episode"] for row in rows}) <= FIGURES_FIT
    chart = (
        _chart(rows)
        .mark_bar(width=NO_WIDER)
        .transform_filter("season == 'all' || datum.season == season")
        .encode(
            x=alt.X(
                "episode:N",
                sort=None,
                title=None,
                axis=_column_axis(
                    # All of them: one label per season, or each where they are few; one season: its episodes.
                    labelExpr="season != 'all' ? substring(datum.value, 3) : "
                    + (
                        "datum.value"
                        if few
                        else "test(/E0*1$/, datum.value) ? substring(datum.value, 0, 3) : ''"
                    )
                ),
                scale=alt.Scale(paddingInner=0.2),
            ),
            y=alt.Y("characters:Q", title="characters", axis=_count_axis()),
            color=alt.Color(
                "kind:N", scale=alt.Scale(domain=kinds, range=["var(--accent)", "var(--accent-soft)"])
            ),
            order=alt.Order("place:Q"),
            tooltip=["episode:N", "name:N", "aired:N", "kind:N", "characters:Q"],
        )
        .add_params(alt.param(name="season", value="all"))
    )
    return _spec(chart, 260)


def by_status(rows: list[Row], name: str, count: str, *more: str) -> Spec:
    """One bar per name, coloured by `status`, in the order of `place` where a bar has several; `more` is for tooltips."""
    chart = (
        _chart(rows)
        .mark_bar()
        .encode(
            x=alt.X(f"{count}:Q", title=count, axis=_count_axis()),
            y=_name_axis(name),
            color=_status_colour(rows),
            order=alt.Order("place:Q"),
            tooltip=[f"{name}:N", *(f"{column}:N" for column in more), "status:N", f"{count}:Q"],
        )
    )
    return _spec(chart, ROW * len({row[name] for row in rows}))


def breakdowns(rows: list[Row]) -> Spec:
    """Status by species or origin: `by`, `value`, `status`, `place`, `characters`, `share` (0 to 1)."""
    chart = (
        _chart(rows)
        .mark_bar()
        .transform_filter("datum.by == breakdown")
        .transform_calculate(length="measure == 'share' ? datum.share : datum.characters")
        .encode(
            x=alt.X(
                "length:Q",
                title=None,
                axis=alt.Axis(
                    tickCount=5,
                    labelOverlap=True,
                    labelExpr="measure == 'share' ? format(datum.value, '.0%')"
                    " : datum.value % 1 ? '' : format(datum.value, ',')",
                ),
            ),
            y=_name_axis("value"),
            color=_status_colour(rows),
            order=alt.Order("place:Q"),
            tooltip=["value:N", "status:N", "characters:Q", alt.Tooltip("share:Q", format=".1%")],
        )
        .add_params(alt.param(name="breakdown", value="species"), alt.param(name="measure", value="share"))
    )
    # As high as the larger breakdown, so that the page does not jump.
    names = Counter(breakdown for breakdown, _ in {(row["by"], row["value"]) for row in rows})
    return _spec(chart, ROW * max(names.values()))


def pairs(rows: list[Row], names: list[str]) -> Spec:
    """Who is seen with whom: `character`, `with`, `shared episodes`, `similarity` (0 to 1); both halves of the square."""
    most = max((row["shared episodes"] or 0 for row in rows), default=0)
    step = max(1, -(-most // 4))
    counts = list(range(step, most + 1, step))
    nearest = max((row["similarity"] or 0 for row in rows), default=0)
    shares = [share / 10 for share in range(2, 11, 2) if share / 10 <= nearest]
    square: Any = {"sort": names, "title": None, "scale": alt.Scale(domain=names, paddingInner=0.08)}
    chart = (
        _chart(rows)
        .mark_rect(cornerRadius=2)
        .transform_calculate(value="measure == 'similarity' ? datum.similarity : datum['shared episodes']")
        .encode(
            x=alt.X("character:N", axis=alt.Axis(grid=False, labelAngle=-60, labelOverlap=False), **square),
            y=alt.Y("with:N", axis=alt.Axis(grid=False, labelOverlap=False), **square),
            opacity=alt.Opacity(
                "value:Q",
                scale=alt.Scale(zero=True, range=[0.06, 1]),
                legend=alt.Legend(
                    symbolFillColor="var(--accent)",
                    # Vega's own steps halve an episode.
                    values=alt.ExprRef(f"measure == 'similarity' ? {shares} : {counts}"),
                    labelExpr="format(datum.value, measure == 'similarity' ? '.1f' : ',')",
                    symbolSize=160,
                ),
            ),
            tooltip=["character:N", "with:N", "shared episodes:Q", alt.Tooltip("similarity:Q", format=".2f")],
        )
        .add_params(alt.param(name="measure", value="shared"))
    )
    return _spec(chart, ROW * len(names))
