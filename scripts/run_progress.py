"""Reads a run's log by its structure alone: METRIC points of tap and target, dbt's JSON events, levels.

Meltano's `--log-format json` gives a JSON object per line; with DBT_LOG_FORMAT=json the text of dbt's lines (`event`) is
an event of dbt's own. Nothing here depends on the wording of a line.
"""

import json
import re
import time
from dataclasses import dataclass, field
from typing import Any

# Colours and other controls of a terminal.
ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07]*\x07|[@-_])|[\x00-\x08\x0b-\x1f\x7f]")
BAD = {"error", "fail", "runtime error"}


def clean(text: str) -> str:
    """Return a text as one line without a terminal's controls."""
    return " ".join(ESCAPES.sub("", text.replace("\n", " ")).split())


def parsed(text: str) -> dict[str, Any]:
    """Return a JSON object; an empty one where the text is none."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


@dataclass
class Progress:
    """The progress of a run. Times are seconds since `started`; counters are per stream."""

    started: float = field(default_factory=time.monotonic)
    phase: str = "Meltano starts"
    source_counts: dict[str, int] = field(default_factory=dict)
    extracted: dict[str, int] = field(default_factory=dict)
    loaded: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    dbt_errors: list[str] = field(default_factory=list)
    # Meltano's own say little more than that a part has failed; they count where no part has said why.
    meltano_errors: list[str] = field(default_factory=list)
    # The last line that a part wrote past its log, as the last one of a traceback is: all that is known of one that could not start.
    last_words: list[str] = field(default_factory=list)
    # dbt's invocation, by which run_results.json is recognised.
    invocation: str | None = None
    marks: dict[str, float] = field(default_factory=dict)
    _done: int = 0

    def since(self) -> float:
        """Return the seconds since the run's start."""
        return time.monotonic() - self.started

    def read(self, line: str) -> list[str]:
        """Read a line of the log; return the lines to show for it."""
        entry = parsed(line)
        name, event = str(entry.get("name") or ""), str(entry.get("event") or "")
        point = entry.get("metric_info")
        if isinstance(point, dict):
            self._mark("extract and load")
            return self._metric(name, point, extractor=bool(entry.get("producer")))
        logged = parsed(event)
        if isinstance(logged.get("info"), dict):
            self._mark("dbt")
            return self._dbt(logged["info"], logged.get("data") or {})
        if entry.get("producer") or entry.get("consumer"):
            self._mark("extract and load")
        if entry.get("level") in {"error", "critical"} and (text := clean(event)):
            if name:
                return self._once(self.errors, f"{name}: {text}", "error")
            self.meltano_errors += [*self.last_words, f"meltano: {text}"]
        elif (
            name
            and entry.get("stdio") == "stderr"
            and not entry.get("plugin_logger")
            and (text := clean(event))
        ):
            self.last_words = [f"{name}: {text}"]
        return []

    def _mark(self, part: str) -> None:
        self.marks.setdefault(f"{part} begins", self.since())
        self.marks[f"{part} ends"] = self.since()

    def _once(self, kept: list[str], text: str, kind: str) -> list[str]:
        if text in kept:
            return []
        kept.append(text)
        return [f"{kind}: {text}"]

    def _metric(self, name: str, point: dict[str, Any], *, extractor: bool) -> list[str]:
        metric, value, tags = point.get("metric"), point.get("value"), point.get("tags") or {}
        stream = str(tags.get("stream"))
        if metric == "schema_drift":
            where = f"{stream}: {tags.get('field')}" + (
                f" of record {tags['record_id']}" if tags.get("record_id") is not None else ""
            )
            records = f"{value} record{'' if value == 1 else 's'}"
            text = f"{name}: {where}: {str(tags.get('kind')).replace('_', ' ')} in {records}, expected {tags.get('expected')}, got {tags.get('got')}"
            return self._once(self.warnings, clean(text), "warning")
        if metric == "source_record_count":
            self.source_counts[stream] = int(value or 0)
        elif metric == "record_count" and extractor:
            self.extracted[stream] = self.extracted.get(stream, 0) + int(value or 0)
            self.phase = f"extract: {stream} {self.extracted[stream]:,}"
        elif metric == "rows_loaded":
            self.loaded[stream] = int(value or 0)
            self.phase = f"load: {stream} {self.loaded[stream]:,}"
            return [f"{name}: {stream}: {self.loaded[stream]:,} rows loaded"]
        return []

    def _dbt(self, info: dict[str, Any], data: dict[str, Any]) -> list[str]:
        self.invocation = info.get("invocation_id") or self.invocation
        node = data.get("node_info")
        if not isinstance(node, dict):
            if not self.phase.startswith("dbt"):
                self.phase = "dbt reads the project"
            if info.get("level") == "error":
                self.dbt_errors.append(clean(str(info.get("msg"))))
            return []
        total = data.get("total") or data.get("num_models")
        if not total:
            return []
        name, status = str(node.get("node_name")), str(node.get("node_status"))
        if status == "started":
            self.phase = f"dbt {self._done + 1} of {total}: {name}"
            return []
        self._done += 1
        self.phase = f"dbt {self._done} of {total}: {name}"
        rows = data.get("num_failures")
        counted = f"{name}: {rows} row{'' if rows == 1 else 's'}" if rows else name
        if status == "warn":
            return [f"warning: dbt: {counted}"]
        return [f"error: dbt: {counted}"] if status in BAD else []

    def results(self, run_results: dict[str, Any]) -> None:
        """Read every warning and failure of dbt's run_results.json, with its rows and message.

        Where it is not of this run, dbt ended before it ran a node: its events are all there is.
        """
        if (run_results.get("metadata") or {}).get("invocation_id") != self.invocation:
            self.errors += self.dbt_errors
            return
        for result in run_results.get("results", []):
            status, rows = result.get("status"), result.get("failures")
            name = str(result.get("unique_id", "")).split(".")[2:3]
            text = f"dbt: {''.join(name)}: " + (
                f"{rows} row{'' if rows == 1 else 's'}" if rows else clean(str(result.get("message")))
            )
            if status == "warn":
                self.warnings.append(text)
            elif status in BAD:
                self.errors.append(text)
