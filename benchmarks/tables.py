"""What was measured as Markdown, as a picture, and in docs/performance.md between its markers."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

from cells import COLD, NAMES, PARTS, SIZES, WARM

if TYPE_CHECKING:
    from matplotlib.axes import Axes

mpl.use("svg")
# Text stays text, and the same figures give the same file.
mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "bench", "font.family": "sans-serif"})

from matplotlib import pyplot as plt  # noqa: E402 (after the choice of what draws)

DOCS = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
NONE = "-"
# The bars of the task that are not ratios.
MOST_ABOVE_IMPORT, MOST_REQUESTS = 0.6, 52
OURS, PEER, LIMIT = "#1f77b4", "#9aa5b1", "#d9dee4"
Results = dict[str, Any]


def good(cell: dict[str, Any]) -> list[dict[str, Any]]:
    """Gives the runs that lost nothing."""
    return [run for run in cell["runs"] if not run["failed"]]


def median(cell: dict[str, Any] | None) -> float | None:
    """Gives the median seconds of a cell's good runs."""
    runs = good(cell) if cell else []
    return statistics.median(run["seconds"] for run in runs) if runs else None


def _label(cell: dict[str, Any]) -> str:
    return NAMES[cell["peer"]] + (f", {cell['state']}" if cell["state"] and cell["part"] != "meltano" else "")


def _rows(cell: dict[str, Any]) -> str:
    failed = [run for run in cell["runs"] if run["failed"]]
    if failed:
        return f"**{len(failed)} of {len(cell['runs'])} runs: {'; '.join(failed[-1]['failed'])}**".replace(
            "|", "/"
        )
    return "all" if cell["runs"] and cell["runs"][0]["rows"] else "none asked"


def _memory(runs: list[dict[str, Any]]) -> str:
    names = [process["name"] for process in runs[0]["processes"]]
    most = [max(run["processes"][i]["rss"] for run in runs) for i in range(len(names))]
    return " + ".join(
        f"{name} {rss:.0f}" if len(names) > 1 else f"{rss:.0f}" for name, rss in zip(names, most, strict=True)
    )


def _line(cell: dict[str, Any], records: int) -> list[str]:
    runs, counts = good(cell), cell["counts"] or {}

    def counted(name: str) -> str:
        return f"{counts[name]:,}" if counts.get(name) is not None else NONE

    if not runs:
        return [
            _label(cell),
            *[NONE] * 5,
            *map(counted, ("requests", "connections")),
            NONE,
            NONE,
            _rows(cell),
        ]
    seconds = [run["seconds"] for run in runs]
    middle = statistics.median(seconds)
    cpu = statistics.median(sum(process["cpu"] for process in run["processes"]) for run in runs)
    speed = f"{records / middle:,.0f}" if runs[0]["rows"] and cell["part"] != "meltano" else NONE
    requests = sorted({run["requests"] for run in runs})
    return [
        _label(cell),
        f"{middle:.2f}",
        f"{min(seconds):.2f}",
        f"{max(seconds):.2f}",
        f"{cpu:.2f}",
        _memory(runs),
        " to ".join(f"{n:,}" for n in dict.fromkeys((requests[0], requests[-1]))) if requests[-1] else NONE,
        counted("connections") if requests[-1] else NONE,
        f"{counted('storage_calls')} / {counted('bigquery_calls')}" if cell["part"] != "extract" else NONE,
        speed,
        _rows(cell),
    ]


HEADINGS = [
    "",
    "median s",
    "min",
    "max",
    "CPU s",
    "peak RSS MB",
    "API requests",
    "connections",
    "calls to Cloud Storage / BigQuery",
    "records/s",
    "rows verified",
]


def _table(headings: list[str], lines: list[list[str]]) -> str:
    rules = ["---", *["---:"] * (len(headings) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (headings, rules, *lines))


def _size(told: dict[str, Any]) -> str:
    return ", ".join(f"{number:,} {stream}" for stream, number in told["records"].items())


def markdown(results: Results) -> str:
    """Gives conditions, tables and bars."""
    told = results["conditions"]
    cells = results["cells"]
    records = sum(told["records"].values())
    said = ", ".join(f"{name} {version}" for name, version in told["versions"].items())
    head = (
        f"{_size(told)}; API latency {told['latency_ms']} ms; "
        f"{told['rounds']} interleaved round{'s' if told['rounds'] != 1 else ''}; {told['cores']} cores "
        f"({told['processor']}), load {told['load_before']} before the start; Python {told['python']}; "
        f"{told['date']}, commit {told['commit']}. {said}."
    )
    text = [head]
    for part, title in PARTS.items():
        chosen = [cell for cell in cells if cell["part"] == part]
        if not chosen:
            continue
        text += [f"**{title}**", _table(HEADINGS, [_line(cell, records) for cell in chosen])]
        if part == "meltano" and (split := _split(chosen)):
            text.append(split)
    if lines := bars(results):
        text += ["**What must hold**", _table(["", "bar", "measured", "holds"], lines)]
    return "\n\n".join(text)


def _split(cells: list[dict[str, Any]]) -> str:
    lines, names = [], []
    for cell in cells:
        parts = [run["parts"] for run in good(cell) if run.get("parts")]
        if parts:
            names = list(parts[0])
            lines.append(
                [NAMES[cell["peer"]], *[f"{statistics.median(p[n] for p in parts):.1f}" for n in names]]
            )
    return _table(["of which, seconds", *names], lines) if lines else ""


def bars(results: Results) -> list[list[str]]:
    """Gives each bar of the task that these results can tell of: its text, the limit, the figure, yes or no."""
    found = {(c["part"], c["peer"], c["state"]): c for c in results["cells"]}
    size = results["conditions"]["size"]

    def ratio(text: str, ours: tuple[str, str, str], other: tuple[str, str, str], most: float) -> None:
        a, b = median(found.get(ours)), median(found.get(other))
        if a is not None and b is not None:
            lines.append([text, f"at most {most:.2f} of its time", f"{a / b:.2f}", _yes(a / b <= most)])

    lines: list[list[str]] = []
    ours, template = ("extract", "ours", ""), ("extract", "template", "")
    if size == "1m":
        ratio("tap and target, against the template tap alone", ("both", "ours", COLD), template, 0.5)
        ratio(
            "tap and target, against template tap and z3",
            ("both", "ours", COLD),
            ("both", "template-z3", COLD),
            0.5,
        )
    if size != "small":
        lines += _memory_bars(found.get(("both", "ours", WARM)))
        return lines
    ratio("extraction, against the template tap", ours, template, 0.25)
    a, b = median(found.get(ours)), median(found.get(("extract", "import", "")))
    if a is not None and b is not None:
        lines.append(
            [
                "extraction, above `import singer_sdk`",
                f"at most {MOST_ABOVE_IMPORT} s",
                f"{a - b:.2f} s",
                _yes(a - b <= MOST_ABOVE_IMPORT),
            ]
        )
    requests = max((run["requests"] for run in good(found[ours])), default=0) if ours in found else 0
    if requests:
        lines.append(
            [
                "extraction, API requests",
                f"at most {MOST_REQUESTS}",
                str(requests),
                _yes(requests <= MOST_REQUESTS),
            ]
        )
    both, z3 = ("both", "ours", WARM), "template-z3"
    ratio("extraction and load, tables there, against dlt", both, ("both", "dlt", WARM), 1 / 5)
    ratio("extraction and load, tables there, against z3", both, ("both", z3, WARM), 1 / 3)
    ratio("extraction and load, first run, against z3", ("both", "ours", COLD), ("both", z3, COLD), 1 / 10)
    ratio("the whole run, against the same with z3", ("meltano", "ours", WARM), ("meltano", z3, WARM), 1 / 2)
    return lines


def _memory_bars(cell: dict[str, Any] | None) -> list[list[str]]:
    runs = good(cell) if cell else []
    lines = []
    for name, most in (("tap", 80), ("target", 200)):
        rss = [p["rss"] for run in runs for p in run["processes"] if p["name"] == name]
        if rss:
            lines.append(
                [f"{name}, peak memory", f"at most {most} MB", f"{max(rss):.0f} MB", _yes(max(rss) <= most)]
            )
    return lines


def growth(every: list[Results]) -> str:
    """Gives how memory and time grow from size to size, for ours."""
    lines = []
    for results in every:
        told = results["conditions"]
        cell = next(
            (c for c in results["cells"] if (c["part"], c["peer"], c["state"]) == ("both", "ours", WARM)),
            None,
        )
        runs = good(cell) if cell else []
        if not runs:
            continue
        middle = statistics.median(run["seconds"] for run in runs)
        cpu = statistics.median(sum(p["cpu"] for p in run["processes"]) for run in runs)
        lines.append(
            [
                f"{told['records']['characters']:,}",
                str(told["latency_ms"]),
                f"{middle:.2f}",
                f"{cpu:.2f}",
                _memory(runs),
                f"{sum(told['records'].values()) / middle:,.0f}",
            ]
        )
    headings = ["characters", "API latency ms", "seconds", "CPU s", "peak RSS MB", "records/s"]
    return _table(headings, lines) if lines else ""


def _yes(holds: bool) -> str:  # noqa: FBT001 (what was measured)
    return "yes" if holds else "**no**"


def picture(results: Results, file: Path) -> None:
    """Draws a chart of bars for each part: medians, with a line from the least to the most."""
    told = results["conditions"]
    parts = [part for part in PARTS if any(c["part"] == part and good(c) for c in results["cells"])]
    if not parts:
        return
    chosen = {
        part: [c for c in results["cells"] if c["part"] == part and c["peer"] != "import" and good(c)]
        for part in parts
    }
    heights = [len(chosen[part]) + 1.2 for part in parts]
    figure, axes = plt.subplots(
        len(parts),
        1,
        figsize=(9, 0.36 * sum(heights) + 0.8),
        height_ratios=heights,
        squeeze=False,
        layout="constrained",
    )
    for (ax,), part in zip(axes, parts, strict=True):
        _bars(ax, chosen[part], PARTS[part].replace("`", ""))
    axes[-1][0].set_xlabel(
        f"seconds, median of {told['rounds']} (line: least to most); {told['records']['characters']:,} characters, "
        f"API latency {told['latency_ms']} ms"
    )
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    # matplotlib leaves blanks at the ends of lines.
    file.write_text("\n".join(line.rstrip() for line in file.read_text().splitlines()) + "\n")


def _bars(ax: Axes, cells: list[dict[str, Any]], title: str) -> None:
    seconds = [[run["seconds"] for run in good(cell)] for cell in cells]
    middles = [statistics.median(s) for s in seconds]
    spread = [
        [m - min(s) for m, s in zip(middles, seconds, strict=True)],
        [max(s) - m for m, s in zip(middles, seconds, strict=True)],
    ]
    colors = [OURS if c["peer"] == "ours" else LIMIT if c["peer"] == "limit" else PEER for c in cells]
    labels = [_label(cell).replace("`", "") for cell in cells]
    ax.barh(labels, middles, color=colors, xerr=spread, ecolor="#444444", height=0.7)
    ax.invert_yaxis()
    ax.set_title(title, loc="left", fontsize=11, fontweight="bold")
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    room = max(max(s) for s in seconds)
    for number, (middle, found) in enumerate(zip(middles, seconds, strict=True)):
        ax.text(max(found) + room * 0.01, number, f"{middle:.2f}", va="center", fontsize=9)
    ax.set_xlim(0, room * 1.1)


def write_all(folder: Path, *, docs: bool) -> None:
    """Writes Markdown and picture of every size measured, and the parts of docs/performance.md that are generated."""
    every = []
    for size in SIZES:
        file = folder / f"{size}.json"
        if not file.exists():
            continue
        results = json.loads(file.read_text())
        every.append(results)
        text = markdown(results)
        file.with_suffix(".md").write_text(text + "\n")
        picture(results, file.with_suffix(".svg"))
        if docs:
            insert(size, f"![Seconds of each](../benchmarks/results/{size}.svg)\n\n{text}")
    if docs and every:
        insert("growth", growth(every))


def insert(name: str, text: str, page: Path = DOCS) -> None:
    """Puts a text between its two markers on a page.

    Raises:
        SystemExit: The page has no such markers.
    """
    begin, end = f"<!-- bench:{name} begin -->", f"<!-- bench:{name} end -->"
    before = page.read_text()
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(before):
        raise SystemExit(f"bench: {page} has no markers {begin} … {end}")
    page.write_text(pattern.sub(lambda _: f"{begin}\n\n{text}\n\n{end}", before))
