"""What was measured as tables and charts in docs/performance.md, between its markers."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path
from typing import Any

from cells import COLD, NAMES, PARTS, SIZES, WARM

DOCS = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
NONE = "-"
# The bars of the task that are not ratios.
MOST_ABOVE_IMPORT, MOST_REQUESTS = 0.6, 52
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
        f"{told['date']}, commit {told['commit']}. {said}.{_bytecode(told.get('without_bytecode'))}"
    )
    text = [head]
    for part, title in PARTS.items():
        chosen = [cell for cell in cells if cell["part"] == part]
        if not chosen:
            continue
        text += [f"**{title}**", _table(HEADINGS, [_line(cell, records) for cell in chosen])]
        if drawn := chart(part, chosen):
            text.append(drawn)
        if part == "meltano" and (split := _split(chosen)):
            text.append(split)
    if lines := bars(results):
        text += ["**What must hold**", _table(["", "bar", "measured", "holds"], lines)]
    return "\n\n".join(text)


def _bytecode(missing: list[str] | None) -> str:
    if missing is None:
        return " Whether bytecode was installed was not looked at."
    return (
        f" Without bytecode: {', '.join(missing)}."
        if missing
        else " Every program's environment has its bytecode."
    )


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


def chart(part: str, cells: list[dict[str, Any]]) -> str:
    """Return the median seconds of a part's cells as a Mermaid bar chart; nothing where no run was good."""
    measured = [(_label(cell).replace("`", ""), median(cell)) for cell in cells if good(cell)]
    if not measured:
        return ""
    labels = ", ".join(f'"{label}"' for label, _ in measured)
    seconds = ", ".join(f"{value:.2f}" for _, value in measured)
    return "\n".join(
        [
            "```mermaid",
            "xychart-beta horizontal",
            f'    title "{PARTS[part].replace("`", "")}: median seconds"',
            f"    x-axis [{labels}]",
            '    y-axis "seconds"',
            f"    bar [{seconds}]",
            "```",
        ]
    )


def dumped(results: Results) -> str:
    """Return the results as JSON with one line per cell, seconds and megabytes to three decimals."""

    def rounded(value: Any) -> Any:  # noqa: ANN401 (JSON)
        if isinstance(value, float):
            return round(value, 3)
        if isinstance(value, dict):
            return {key: rounded(item) for key, item in value.items()}
        return [rounded(item) for item in value] if isinstance(value, list) else value

    cells = ",\n".join("  " + json.dumps(rounded(cell)) for cell in results["cells"])
    return f'{{"conditions": {json.dumps(results["conditions"])},\n "cells": [\n{cells}\n]}}\n'


def write_all(folder: Path) -> None:
    """Write the generated parts of docs/performance.md from the results of every size."""
    every = [json.loads(file.read_text()) for size in SIZES if (file := folder / f"{size}.json").exists()]
    for results in every:
        insert(results["conditions"]["size"], markdown(results))
    if every:
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
