"""What a job did, as data: Singer METRIC points in Meltano's JSON log, and the files that dbt writes.

A point is singer-sdk's (https://sdk.meltano.com/en/latest/implementation/logging.html): type, metric, value, tags. Meltano's JSON log
carries it as `metric_info`.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# How a plugin prints a point whose log Meltano does not parse (https://github.com/singer-io/getting-started/blob/master/docs/SYNC_MODE.md#metric-messages).
PRINTED_POINT = re.compile(r"(?:^|.*\s)METRIC: (?=\{)", re.DOTALL)
ANSI = re.compile(r"\x1b\[[0-9;]*m")
# Meltano's levels and dbt's; any other is INFO.
LEVELS = {"debug": "DEBUG", "warn": "WARN", "warning": "WARN", "error": "ERROR", "critical": "ERROR"}
# The target's points of a loaded version, and the names of their figures in the result.
LOADED = {"rows_loaded": "rows", "bytes_staged": "bytes", "load_duration": "seconds"}
# Kinds of dbt's nodes that build something; tests and the like are counted.
BUILT = {"model", "seed", "snapshot"}
FAILED = {"error", "fail", "runtime error", "partial success"}
MOST_ERRORS = 20
MOST_COUNTED = 2**63


@dataclass
class Line:
    """One line of Meltano's log, for a person."""

    level: str
    message: str


@dataclass
class Figures:
    """The figures of a job, added up while its log passes by."""

    loads: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    source_records: dict[str, int] = field(default_factory=dict)
    # Of any tap or target: the SDK's count of what it passed on.
    records: int = 0
    # The kinds of Meltano's blocks that ended well, an extractor with its loader or a command: where there is none, `meltano run` did nothing.
    blocks: set[str] = field(default_factory=set)
    drift: int = 0
    nodes: list[dict[str, Any]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def begin(self) -> None:
        """Begin an attempt: the tap reads everything again, and what it counts is not added up; versions that were loaded stay."""
        self.drift = self.records = 0
        self.blocks.clear()

    def take(self, text: str) -> Line | None:
        """Take one line of Meltano's JSON log; return what a person should see of it."""
        text = ANSI.sub("", text.rstrip("\r\n"))
        found = self._read(text)
        if found is None or not found.message.strip():
            return None
        if found.level == "ERROR":
            self.errors = [*self.errors, found.message][-MOST_ERRORS:]
        return found

    def _read(self, text: str, source: str = "") -> Line | None:
        try:
            record = json.loads(text)
        except (ValueError, RecursionError):
            return Line("INFO", f"{source}: {text}" if source else text)
        if not isinstance(record, dict):
            return Line("INFO", text)
        point = record.get("metric_info", record)
        if isinstance(point, dict) and {"metric", "value", "tags"} <= point.keys():
            self._point(point)
            return None
        # A plugin's line names it.
        if "string_id" not in record and "block_type" in record and record.get("success") is True:
            self.blocks.add(str(record["block_type"]))
        # dbt's own JSON log, bare or inside a line of Meltano's.
        if isinstance(info := record.get("info"), dict):
            message = str(info.get("msg", ""))
            return Line(
                LEVELS.get(str(info.get("level")), "INFO"), f"dbt: {message}" if message.strip() else ""
            )
        message = PRINTED_POINT.sub("", str(record.get("event", text)))
        if message.startswith('{"'):
            return self._read(message, str(record.get("string_id") or ""))
        source = str(record.get("string_id") or source)
        return Line(
            LEVELS.get(str(record.get("level")), "INFO"),
            f"{source}: {message}" if source and message else message,
        )

    def _point(self, point: dict[str, Any]) -> None:
        name, value, tags = point.get("metric"), point.get("value"), point.get("tags")
        # No number, NaN and Infinity included, and none that Kestra could keep.
        if not isinstance(value, int | float) or not abs(value) < MOST_COUNTED or not isinstance(tags, dict):
            return
        stream = str(tags.get("stream"))
        if name == "record_count":
            self.records += int(value)
        elif name == "schema_drift":
            self.drift += int(value)
        elif name == "source_record_count":
            self.source_records[stream] = int(value)
        elif name in LOADED:
            # A second attempt reports a version that the first has loaded already: the same key.
            load = self.loads.setdefault((stream, str(tags.get("table_version"))), {})
            load[LOADED[name]] = value if name == "load_duration" else int(value)
            load |= {"load_job": tags.get("job_id"), "proof": tags.get("proof")}
            load["loaded_before"] = str(tags.get("loaded_before")).lower() == "true"

    @property
    def streams(self) -> dict[str, dict[str, Any]]:
        """Each stream's figures, its versions added up: rows, bytes, seconds, and the last version's job, proof, loaded_before."""
        found: dict[str, dict[str, Any]] = {}
        for (stream, version), load in self.loads.items():
            figures = found.setdefault(stream, {})
            sums = {name: figures.get(name, 0) + load[name] for name in LOADED.values() if name in load}
            figures |= {**load, "table_version": version, **sums}
        for stream, count in self.source_records.items():
            found.setdefault(stream, {})["source_records"] = count
        return found

    def dbt(self, folder: Path) -> None:
        """Take dbt's results from its target folder, where there are any.

        Raises:
            ValueError: run_results.json is not what dbt writes.
        """
        path = folder / "run_results.json"
        if not path.is_file():
            return
        try:
            results = json.loads(path.read_text(encoding="utf-8"))["results"]
            self.nodes = [
                {
                    "name": result["unique_id"].split(".", 2)[-1],
                    "kind": result["unique_id"].partition(".")[0],
                    "state": result["status"],
                    "seconds": round(float(result["execution_time"]), 2),
                    "message": " ".join(str(result.get("message") or "").split())[:400],
                }
                for result in results
                # An exposure: dbt has nothing to do for it.
                if result["status"] != "no-op"
            ]
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{path}: {error!r}; expected dbt's run results, schema version 6") from None

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of dbt's nodes by outcome; empty where dbt did not run."""
        if not self.nodes:
            return {}
        groups = {"passed": {"success", "pass"}, "warned": {"warn"}, "failed": FAILED}
        counts = {name: sum(n["state"] in states for n in self.nodes) for name, states in groups.items()}
        return {**counts, "skipped": len(self.nodes) - sum(counts.values())}

    @property
    def failed_nodes(self) -> list[dict[str, Any]]:
        """Dbt's nodes that failed."""
        return [node for node in self.nodes if node["state"] in FAILED]

    @property
    def did(self) -> bool:
        """Whether dbt did anything: a hook alone, or nodes that were skipped, are nothing."""
        return any(node["kind"] != "operation" and node["state"] != "skipped" for node in self.nodes)

    @property
    def _built(self) -> list[dict[str, Any]]:
        return [node for node in self.nodes if node["kind"] in BUILT]

    def outputs(self) -> dict[str, Any]:
        """Return the figures as the outputs of Kestra's task and as a part of the result."""
        found: dict[str, Any] = {}
        streams = self.streams
        if streams:
            for total in ("rows", "bytes"):
                # Another project's target may report none: that is not 0.
                if counts := [figures[total] for figures in streams.values() if total in figures]:
                    found[total] = sum(counts)
            found["streams"] = streams
        if self.drift:
            found["drift"] = self.drift
        if self.nodes:
            found["dbt"] = self.counts
            found["models"] = [{k: node[k] for k in ("name", "state", "seconds")} for node in self._built]
        return found

    def metrics(self) -> list[dict[str, Any]]:
        """Return the figures as Kestra's metrics: counters, and timers in seconds."""
        found = [
            {"name": name, "type": kind, "value": figures[figure], "tags": {"stream": stream}}
            for stream, figures in self.streams.items()
            for name, figure, kind in (
                ("rows", "rows", "counter"),
                ("bytes", "bytes", "counter"),
                ("load", "seconds", "timer"),
            )
            if figure in figures
        ]
        found += [
            {"name": f"dbt.{name}", "type": "counter", "value": n, "tags": {}}
            for name, n in self.counts.items()
        ]
        for node in self._built:
            tags = {"model": node["name"], "state": node["state"]}
            found.append({"name": "dbt.model", "type": "timer", "value": node["seconds"], "tags": tags})
        return found
