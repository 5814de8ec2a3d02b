"""Renders the rows of the marts as one self-contained HTML file.

Names come from an API: they are text everywhere. The template escapes, the charts' data is JSON, and the page's policy lets
no script run but its own, by its hash, and nothing be fetched.
"""

import base64
import functools
import hashlib
import unicodedata
from collections import Counter
from datetime import UTC, date, datetime
from importlib import resources
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from rickandmorty_report import panels
from rickandmorty_report.marts import Marts, Row
from rickandmorty_report.sentences import counted, enumeration

EARLIEST = datetime.min.replace(tzinfo=UTC)
SEVERITIES = ("error", "warning", "info")
# Longer text is cut, so that no record makes the page grow without bound.
LONGEST = 200
RIGHT_TO_LEFT = {"R", "AL"}
# Unicode's commands to turn what follows round: a name needs none.
TURNING = dict.fromkeys(map(ord, "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"))
FILES = resources.files("rickandmorty_report") / "templates"


def render(marts: Marts, made_at: datetime) -> str:
    """Return the page's HTML.

    Args:
        marts: Each query's rows (see marts.read).
        made_at: When the rows were read, with its zone.
    """
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("rickandmorty_report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    templates.filters |= {"shown": shown, "moment": moment}
    marts = {
        name: [{column: cut(value) for column, value in row.items()} for row in rows]
        for name, rows in marts.items()
    }
    drawn = [make(marts) for make in panels.ALL]
    script = bundle()
    return templates.get_template("page.html.j2").render(
        made_at=made_at,
        style=Markup((FILES / "page.css").read_text("utf-8")),  # noqa: S704 (the package's own file)
        script=Markup(script),  # noqa: S704 (the package's own script)
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        panels=drawn,
        charts={panel.key: panel.chart for panel in drawn if panel.chart},
        **_run(marts["loads"], marts["verdict"]),
        **_changes(marts["changes"], marts["loads"]),
        **_findings(marts["findings"]),
    )


@functools.cache
def bundle() -> str:
    """Return the page's script with Vega in it."""
    return vl_convert.javascript_bundle((FILES / "page.js").read_text("utf-8"))


def cut(value: Any) -> Any:  # noqa: ANN401 (a row's value)
    """Return a value of a row: long text cut, invisible text empty, and what is written from right to left apart from the rest."""
    if not isinstance(value, str):
        return value
    text = value.translate(TURNING)
    if not any(letter.isprintable() and letter != " " for letter in text):
        return ""
    text = f"{text[:LONGEST]}…" if len(text) > LONGEST else text
    # Or a name would turn the figures after it round.
    turned = any(unicodedata.bidirectional(letter) in RIGHT_TO_LEFT for letter in text)
    return f"\N{FIRST STRONG ISOLATE}{text}\N{POP DIRECTIONAL ISOLATE}" if turned else text


def shown(value: object) -> str:
    """Return a cell's text: numbers with separators, dates as ISO 8601, a dash for nothing."""
    match value:
        case None | "":
            return "—"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.2f}"
        case datetime():
            return f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        case date():
            return value.isoformat()
    return str(value)


def moment(value: datetime) -> str:
    """Return a moment as HTML's `datetime` attribute takes it."""
    return value.astimezone(UTC).isoformat(timespec="seconds")


def _run(loads: list[Row], checks: list[Row]) -> dict[str, Any]:
    newest = sorted((row for row in loads if row["is_newest"]), key=lambda row: str(row["entity"]))
    unequal = [
        row["entity"]
        for row in newest
        if not row["row_count"] == row["landed_row_count"] == row["mart_row_count"]
    ]
    verdict, colour = _verdict(checks, unequal) if newest else ("Nothing is loaded yet", "bad")
    return {
        "verdict": verdict,
        "colour": colour,
        "checks": [check for status in ("fail", "warn") for check in checks if check["status"] == status],
        "sources": sorted({row["source"] or "a source without a name" for row in newest}),
        "newest": newest,
        "unequal": unequal,
        "drifted": [row["entity"] for row in newest if row["new_field_count"]],
        "loads": loads,
        "load_total": loads[0]["total_rows"] if loads else 0,
    }


def _verdict(checks: list[Row], unequal: list[str]) -> tuple[str, str]:
    """Return the page's first line and its class: good, warned or bad."""
    statuses, total = Counter(check["status"] for check in checks), counted(len(checks), "check")
    if statuses["fail"]:
        return f"Verdict: fail. The marts are those of the last build that passed ({total})", "bad"
    if unequal:
        return f"Counts differ: {', '.join(unequal)}", "bad"
    if statuses["warn"]:
        return f"Verdict: passed, with {counted(statuses['warn'], 'warning')} ({total})", "warned"
    if checks:
        return f"Verdict: passed ({total})", "good"
    return "All counts agree; there is no verdict", "warned"


def _changes(changes: list[Row], loads: list[Row]) -> dict[str, Any]:
    often = Counter(row["entity"] for row in loads)
    newest_run = max(loads, key=lambda row: row["finished_at"] or EARLIEST)["run_id"] if loads else None
    # What another run has loaded is not compared, whatever it changed then.
    again = [row for row in loads if row["run_id"] == newest_run and often[row["entity"]] > 1]
    compared = sorted({row["entity"] for row in again if row["load_method"] == "append-only"})
    replaced = sorted({row["entity"] for row in again} - set(compared))
    totals = {(row["entity"], row["change"]): row["total_rows"] for row in changes}
    return {
        "changes": changes,
        "change_totals": totals,
        "change_total": sum(totals.values()),
        "compared": enumeration(compared) if compared else "",
        "replaced": enumeration(replaced) if replaced else "",
    }


def _findings(findings: list[Row]) -> dict[str, Any]:
    def place(severity: str) -> int:
        return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)

    ordered = sorted(findings, key=lambda row: place(row["severity"]))
    totals = {(row["severity"], row["rule"], row["entity"]): row["total_rows"] for row in ordered}
    by_severity: Counter[str] = Counter()
    for (severity, _, _), count in totals.items():
        by_severity[severity] += count
    return {
        "findings": ordered,
        "finding_totals": totals,
        "finding_total": sum(totals.values()),
        "largest": max(totals.values(), default=1),
        "by_severity": by_severity,
    }
