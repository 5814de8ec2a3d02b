"""What was measured as tables, and their place between two markers of a page."""

import statistics
from pathlib import Path
from typing import Any

from cells import FIRST, LATER, NAMES, PARTS, SIZES

PERFORMANCE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
NONE = "-"
HEADER = ["", "median s", "min", "max", "CPU s", "peak RSS MB", "API requests", "records/s", "rows verified"]
# What must hold at the real size: the text, our cell, the other's, the most of its time.
Key = tuple[str, str, str]
RATIOS: dict[str, list[tuple[str, Key, Key, float]]] = {
    "small": [
        ("extraction, against the template tap", ("extract", "ours", ""), ("extract", "template", ""), 1 / 4),
        ("extraction and load, tables there, against dlt", ("both", "ours", LATER), ("both", "dlt", LATER), 1 / 5),
        ("extraction and load, tables there, against z3", ("both", "ours", LATER), ("both", "template-z3", LATER), 1 / 3),
        ("extraction and load, first run, against z3", ("both", "ours", FIRST), ("both", "template-z3", FIRST), 1 / 10),
        ("the whole run, against the same with z3", ("meltano", "ours", LATER), ("meltano", "template-z3", LATER), 1 / 2),
    ],
    "100k": [],
    "1m": [
        ("tap and target, against the template tap alone", ("both", "ours", FIRST), ("extract", "template", ""), 1 / 2),
        ("tap and target, against template tap and z3", ("both", "ours", FIRST), ("both", "template-z3", FIRST), 1 / 2),
    ],
}  # fmt: skip
MOST_ABOVE_IMPORT, MOST_REQUESTS = 0.6, 52
MOST_MEGABYTES = {"tap": 80, "target": 200}


def good(cell: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return the runs that lost nothing."""
    return [run for run in cell["runs"] if not run["failed"]] if cell else []


def median(cell: dict[str, Any] | None) -> float | None:
    """Return the median seconds of a cell's good runs."""
    runs = good(cell)
    return statistics.median(run["seconds"] for run in runs) if runs else None


def _verified(cell: dict[str, Any]) -> str:
    failed = [run for run in cell["runs"] if run["failed"]]
    if failed:
        reasons = "; ".join(failed[-1]["failed"]).replace("|", "/")
        return f"**{len(failed)} of {len(cell['runs'])} runs: {reasons}**"
    return "all" if cell["runs"][0]["rows"] else "none asked"


def _memory(runs: list[dict[str, Any]]) -> str:
    processes = list(zip(*(run["processes"] for run in runs), strict=True))
    most = [f"{same[0]['name']} {max(p['rss'] for p in same):.0f}" for same in processes]
    return " + ".join(most) if len(most) > 1 else most[0].partition(" ")[2]


def _row(cell: dict[str, Any], records: int) -> list[str]:
    state = f", {cell['state']}" if cell["state"] and cell["part"] != "meltano" else ""
    label, runs = NAMES[cell["peer"]] + state, good(cell)
    if not runs:
        return [label, *[NONE] * 7, _verified(cell)]
    seconds = [run["seconds"] for run in runs]
    middle = statistics.median(seconds)
    cpu = statistics.median(sum(process["cpu"] for process in run["processes"]) for run in runs)
    requests = sorted({run["requests"] for run in runs})
    return [
        label,
        *(f"{value:.2f}" for value in (middle, min(seconds), max(seconds), cpu)),
        _memory(runs),
        " to ".join(f"{n:,}" for n in dict.fromkeys((requests[0], requests[-1]))) if requests[-1] else NONE,
        f"{records / middle:,.0f}" if runs[0]["rows"] and cell["part"] != "meltano" else NONE,
        _verified(cell),
    ]


def table(headings: list[str], rows: list[list[str]]) -> str:
    """Return a table; every column but the first is right-aligned."""
    rules = ["---", *["---:"] * (len(headings) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (headings, rules, *rows))


def sections(size: str, cells: list[dict[str, Any]]) -> list[str]:
    """Return a heading and tables for each part, and what must hold."""
    text = []
    for part, title in PARTS.items():
        if chosen := [cell for cell in cells if cell["part"] == part]:
            rows = [_row(cell, sum(SIZES[size].values())) for cell in chosen]
            text += [f"**{title}**", table(HEADER, rows), *_parts(chosen)]
    if rows := bars(size, {(c["part"], c["peer"], c["state"]): c for c in cells}):
        text += ["**What must hold**", table(["", "bar", "measured", "holds"], rows)]
    return text


def _parts(cells: list[dict[str, Any]]) -> list[str]:
    measured = {
        NAMES[cell["peer"]]: parts
        for cell in cells
        if (parts := [r["parts"] for r in good(cell) if r.get("parts")])
    }
    if not measured:
        return []
    names = list(next(iter(measured.values()))[0])
    rows = [
        [peer, *(f"{statistics.median(p[name] for p in parts):.1f}" for name in names)]
        for peer, parts in measured.items()
    ]
    return [table(["of which, seconds", *names], rows)]


def bars(size: str, cells: dict[Key, dict[str, Any]]) -> list[list[str]]:
    """Return what must hold, as far as it was measured: its text, the limit, the figure, yes or no."""
    rows = []

    def bar(text: str, limit: str, figure: str, holds: bool) -> None:  # noqa: FBT001 (what was measured)
        rows.append([text, limit, figure, "yes" if holds else "**no**"])

    for text, ours, other, most in RATIOS[size]:
        a, b = median(cells.get(ours)), median(cells.get(other))
        if a is not None and b is not None:
            bar(text, f"at most {most:.2f} of its time", f"{a / b:.2f}", a / b <= most)
    extraction = cells.get(("extract", "ours", ""))
    a, b = median(extraction), median(cells.get(("extract", "import", "")))
    if size == "small" and a is not None:
        requests = max(run["requests"] for run in good(extraction))
        bar("extraction, API requests", f"at most {MOST_REQUESTS}", str(requests), requests <= MOST_REQUESTS)
        if b is not None:
            limit = f"at most {MOST_ABOVE_IMPORT} s"
            bar("extraction, above `import singer_sdk`", limit, f"{a - b:.2f} s", a - b <= MOST_ABOVE_IMPORT)
    if size != "small":
        runs = good(cells.get(("both", "ours", LATER)))
        for name, most in MOST_MEGABYTES.items():
            rss = max((p["rss"] for run in runs for p in run["processes"] if p["name"] == name), default=0)
            if rss:
                bar(f"{name}, peak memory", f"at most {most} MB", f"{rss:.0f} MB", rss <= most)
    return rows


def insert(name: str, text: str, page: Path = PERFORMANCE) -> None:
    """Put a text between its two markers on a page.

    Raises:
        SystemExit: The page has no such markers.
    """
    before, begin, rest = page.read_text(encoding="utf-8").partition(f"<!-- {name} begin -->")
    _, end, after = rest.partition(f"<!-- {name} end -->")
    if not begin or not end:
        raise SystemExit(f"{page}: no markers <!-- {name} begin --> … <!-- {name} end -->")
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")
