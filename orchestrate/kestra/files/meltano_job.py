# ruff: noqa: INP001, T201 - a program on its own, whose lines Kestra reads
"""Runs one Meltano job, and tells Kestra what it did: log lines at their levels, rows, bytes and seconds.

    python3 meltano_job.py

Takes from the environment `JOB` (character, episode, location or dbt), `DBT_SELECT` (for dbt), `MELTANO` (the program),
`MELTANO_PROJECT` (its folder) and whatever Meltano itself reads. The exit status is Meltano's.

Standard library only: it runs wherever a container or a worker has Python. Kestra reads lines of the form `::{json}::`.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LOADED = re.compile(
    r"(?P<stream>\w+): (?P<rows>\d+) rows staged in \d+ parts? \((?P<kilobytes>\d+) kB\), loaded by job (?P<job>\S+), (?P<seconds>[\d.]+) s"
)
LOADED_BEFORE = re.compile(
    r"(?P<stream>\w+): run \S+ is loaded already, (?P<rows>\d+) rows by job (?P<job>[^\s;]+)"
)
EMPTY = re.compile(r"(?P<stream>\w+): 0 rows, the stream is empty")
DBT_DONE = re.compile(
    r"Done\. PASS=(?P<passed>\d+) WARN=(?P<warned>\d+) ERROR=(?P<failed>\d+) SKIP=(?P<skipped>\d+)"
)
DBT_SECONDS = re.compile(r"Finished running .* \((?P<seconds>[\d.]+)s\)")
ANSI = re.compile(r"\x1b\[[0-9;]*m")
LEVELS = {
    "debug": "DEBUG",
    "info": "INFO",
    "warn": "WARN",
    "warning": "WARN",
    "error": "ERROR",
    "critical": "ERROR",
    "exception": "ERROR",
}
# Kestra's own secrets and settings are in the environment of its worker; no job needs them.
PRIVATE = ("SECRET_", "KESTRA_", "DATASOURCES_", "MICRONAUT_")


def arguments(job: str, select: str = "") -> list[str]:
    """Gives the arguments of `meltano` for a job: `run <job>`, or dbt's build with a selection."""
    if job != "dbt":
        return ["--log-format", "json", "run", job]
    selection = ["--select", *select.split()] if select.strip() else []
    return ["--log-format", "json", "invoke", "dbt-bigquery:build", *selection]


def variables() -> dict[str, str]:
    """Gives the variables that make every part log JSON."""
    return {
        "DBT_LOG_FORMAT": "json",
        "DBT_USE_COLORS": "false",
        "MELTANO_SEND_ANONYMOUS_USAGE_STATS": "false",
        "NO_COLOR": "1",
    }


def framed(**content: object) -> str:
    """Gives one line of Kestra's output protocol."""
    return f"::{json.dumps(content, separators=(',', ':'))}::"


class Translator:
    """Turns Meltano's log into Kestra's lines, and adds up what the job did."""

    def __init__(self) -> None:
        self.streams: dict[str, dict[str, Any]] = {}
        self.dbt: dict[str, int] = {}
        self.seconds: float | None = None

    def line(self, text: str) -> str | None:
        """Translates one line of Meltano's log; nothing for a line that says nothing."""
        level, source, message = self._read(ANSI.sub("", text.rstrip("\r\n")))
        if not message.strip():
            return None
        self._count(message)
        return framed(logs=[{"level": level, "message": f"{source}: {message}" if source else message}])

    def _read(self, text: str) -> tuple[str, str, str]:
        try:
            record = json.loads(text)
        except ValueError:
            return "INFO", "", text
        if not isinstance(record, dict):
            return "INFO", "", text
        if isinstance(info := record.get("info"), dict):
            return LEVELS.get(str(info.get("level")), "INFO"), "dbt", str(info.get("msg", ""))
        if record.get("event") == "METRIC":
            return "INFO", "", ""
        if record.get("event") == "Run completed" and isinstance(record.get("duration_seconds"), int | float):
            self.seconds = float(record["duration_seconds"])
        message = str(record.get("event", text))
        if message.startswith('{"'):
            inner = self._read(message)
            if inner[1] == "dbt":
                return inner
        return LEVELS.get(str(record.get("level")), "INFO"), str(record.get("string_id") or ""), message

    def _count(self, message: str) -> None:
        if found := LOADED.search(message):
            self.streams[found["stream"]] = {
                "rows": int(found["rows"]),
                "bytes": int(found["kilobytes"]) * 1000,
                "seconds": float(found["seconds"]),
                "load_job": found["job"],
            }
        elif found := LOADED_BEFORE.search(message):
            self.streams[found["stream"]] = {
                "rows": int(found["rows"]),
                "load_job": found["job"],
                "loaded_before": True,
            }
        elif found := EMPTY.search(message):
            self.streams[found["stream"]] = {"rows": 0, "bytes": 0, "seconds": 0.0}
        elif found := DBT_DONE.search(message):
            self.dbt = {name: int(value) for name, value in found.groupdict().items()}
        elif found := DBT_SECONDS.search(message):
            self.seconds = float(found["seconds"])

    def summary(self) -> str:
        """Gives the outputs and the metrics, as one line."""
        outputs: dict[str, Any] = {}
        if self.streams:
            outputs["rows"] = sum(s["rows"] for s in self.streams.values())
            outputs["bytes"] = sum(s.get("bytes", 0) for s in self.streams.values())
            outputs["streams"] = self.streams
        if self.dbt:
            outputs["dbt"] = self.dbt
        if self.seconds is not None:
            outputs["seconds"] = round(self.seconds, 1)
        metrics: list[dict[str, Any]] = []
        for stream, figures in self.streams.items():
            tags = {"stream": stream}
            metrics += [
                {"name": name, "type": "counter", "value": figures[name], "tags": tags}
                for name in ("rows", "bytes")
                if name in figures
            ]
            if "seconds" in figures:
                metrics.append({"name": "load", "type": "timer", "value": figures["seconds"], "tags": tags})
        metrics += [
            {"name": f"dbt.{k}", "type": "counter", "value": v, "tags": {}} for k, v in self.dbt.items()
        ]
        return framed(outputs=outputs, metrics=metrics)


def translated(lines: Iterable[str], translator: Translator) -> Iterator[str]:
    """Gives Kestra's line for each line that says something."""
    for text in lines:
        if (line := translator.line(text)) is not None:
            yield line


def main() -> int:
    """Runs the job that the environment names."""
    program = os.environ.get("MELTANO") or "meltano"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(PRIVATE)} | variables()
    try:
        process = subprocess.Popen(
            [program, *arguments(os.environ["JOB"], os.environ.get("DBT_SELECT", ""))],
            cwd=os.environ.get("MELTANO_PROJECT") or None,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except OSError as error:
        told = f"Meltano could not be started: {error}; look at the settings 'meltano' and 'meltano_project' (orchestrate/README.md)"
        print(framed(logs=[{"level": "ERROR", "message": told}]), flush=True)
        return 127
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    translator = Translator()
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    for line in translated(process.stdout, translator):
        print(line, flush=True)
    status = process.wait()
    print(translator.summary(), flush=True)
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
