"""`make run`: the whole pipeline on the sandbox, with progress and a table at the end.

    python scripts/run_pipeline.py [--data FOLDER | --live]

Runs exactly `meltano run tap-rickandmorty target-bigquery dbt-bigquery:build` with a run id of its own, then counts
what each step holds and builds the page of the marts (report/). Exit status: 0, Meltano's where it failed, 1 when the
counts differ or there is no page, 2 for bad arguments.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import requests
from google.api_core.exceptions import GoogleAPIError
from google.cloud import bigquery
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
LIVE_API = "https://rickandmortyapi.com/api"
BLOCKS = ["tap-rickandmorty", "target-bigquery", "dbt-bigquery:build"]
# What `meltano run report:build` runs, without Meltano's start.
REPORT = ROOT / ".meltano" / "utilities" / "report" / "venv" / "bin" / "report"
PAGE = ROOT / "output" / "report.html"
# Stream, the API's resource, dimension.
ENTITIES = [
    ("characters", "character", "dim_characters"),
    ("locations", "location", "dim_locations"),
    ("episodes", "episode", "dim_episodes"),
]
RESOURCES = [resource for _, resource, _ in ENTITIES]
# Lines of the plugins that tell a person where the run is.
TELLING = re.compile(
    r"records?, \d+ pages?|\bpages? of\b|rows? staged|\bloaded\b|^\S* ?\d+ of \d+ (OK|PASS|WARN|FAIL|ERROR|NO-OP)|Done\. PASS"
)
# Records in the tap's closing line of a stream, such as "characters: 826 of 826 records, 42 pages".
EXTRACTED = re.compile(r"(characters|locations|episodes): (\d+) of (\d+) records")
ANSI = re.compile(r"\x1b\[[0-9;]*m")

console = Console(highlight=False)


def fail(message: str, status: int = 1) -> NoReturn:
    """Ends the program with one line on stderr."""
    print(f"make run: {message}", file=sys.stderr)
    raise SystemExit(status)


def answers(url: str) -> bool:
    """Says whether an API answers at `url` (seconds: 3 to connect, 5 to read)."""
    try:
        response = requests.get(f"{url}/episode", timeout=(3, 5))
        return response.ok and "info" in response.json()
    except (requests.RequestException, ValueError):
        return False


def under_sandbox(data: Path | None, *, live: bool) -> NoReturn:
    """Become this program again with the sandbox around it; each source has a warehouse of its own."""
    if data:
        if not data.is_dir():
            fail(f"DATA={data}: not a folder; make one with '.venvs/sandbox/bin/sandbox capture FOLDER'", 2)
        if missing := [f"{n}.jsonl" for n in RESOURCES if not (data / f"{n}.jsonl").is_file()]:
            fail(
                f"DATA={data}: {', '.join(missing)} not found; make such a folder with "
                "'.venvs/sandbox/bin/sandbox capture FOLDER'",
                2,
            )
    if live and not answers(LIVE_API):
        fail(f"{LIVE_API} does not answer; `make run` without LIVE=1 uses a made-up universe", 2)
    options = ["--live"] if live else ["--data", str(data.resolve())] if data else ["--universe", ""]
    program = os.environ.get("SANDBOX_COMMAND") or str(ROOT / ".venvs/sandbox/bin/sandbox")
    inside = [sys.executable, __file__, "--inside", str(time.time())]
    os.chdir(ROOT)
    os.execv(program, [program, "exec", *options, "--", *inside])  # noqa: S606 (no shell)


@dataclass
class Run:
    """One `meltano run`: what it logged and how long its parts took (seconds since `started`)."""

    run_id: str
    log: Path
    started: float = field(default_factory=time.monotonic)
    extracted: dict[str, int] = field(default_factory=dict)
    marks: dict[str, float] = field(default_factory=dict)
    tail: list[str] = field(default_factory=list)

    def since(self) -> float:
        """Gives the seconds since the run's start."""
        return time.monotonic() - self.started

    def read(self, line: str) -> str | None:
        """Takes one line of Meltano's JSON log; gives the text to show, if it is one that tells something."""
        text, level, name = line, "", ""
        try:
            entry: dict[str, Any] = json.loads(line)
        except ValueError:
            pass
        else:
            text, level, name = (
                str(entry.get("event", "")),
                str(entry.get("level", "")),
                str(entry.get("name", "")),
            )
            singer = entry.get("metric_info") or {}
            if singer:
                return None
        text = ANSI.sub("", text).strip()
        if not text:
            return None
        if name.startswith(("tap-", "target-")):
            self.marks.setdefault("extract and load begins", self.since())
            self.marks["extract and load ends"] = self.since()
        elif name.startswith("dbt"):
            self.marks.setdefault("dbt begins", self.since())
            self.marks["dbt ends"] = self.since()
        self.tail = [*self.tail[-24:], f"{name}: {text}" if name else text]
        if found := EXTRACTED.search(text):
            self.extracted[found[1]] = int(found[2])
        if level in ("error", "critical") or TELLING.search(text):
            return f"{name or 'meltano'}: {text}"
        return None


def meltano(run: Run) -> int:
    """Runs Meltano, shows its telling lines and keeps the whole log; returns its exit status."""
    program = os.environ.get("MELTANO_COMMAND") or str(ROOT / ".venvs/meltano/bin/meltano")
    # A .env for the cloud may name another environment; what runs on the sandbox is local.
    environment = {
        **os.environ,
        "MELTANO_ENVIRONMENT": "local",
        "MELTANO_RUN_ID": run.run_id,
        "NO_COLOR": "1",
    }
    console.print(f"Running: meltano run {' '.join(BLOCKS)}  (run id {run.run_id})", soft_wrap=True)
    with (
        run.log.open("w", encoding="utf-8") as log,
        console.status("Meltano starts"),
        subprocess.Popen(
            [program, "--log-format", "json", "run", *BLOCKS],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None  # noqa: S101 (a pipe was asked for)
        for line in process.stdout:
            log.write(line)
            if shown := run.read(line):
                console.print(f"[dim]{run.since():6.1f} s[/dim]  {shown}", soft_wrap=True, markup=True)
    return process.returncode


def counts(run: Run, api_url: str) -> list[dict[str, Any]]:
    """Counts each entity at each step, and the seconds from its first record to its load's end.

    Raises:
        GoogleAPIError: A table cannot be read.
        requests.RequestException: The API does not answer.
    """
    prefix = os.environ.get("DATASET_PREFIX", "local_")
    client = bigquery.Client()
    config = bigquery.QueryJobConfig(
        query_parameters=[bigquery.ScalarQueryParameter("run_id", "STRING", run.run_id)]
    )

    def ask(sql: str) -> Any:  # noqa: ANN401 (a row's value)
        return next(iter(client.query(sql, job_config=config, timeout=60).result(timeout=60)))[0]

    found = []
    for stream, resource, dimension in ENTITIES:
        info = requests.get(f"{api_url}/{resource}", timeout=30).json().get("info", {"count": 0})
        landing = f"`{prefix}rickandmorty_landing.{stream}`"
        ledger = f"`{prefix}rickandmorty_landing._loads`"
        found.append(
            {
                "entity": stream,
                "API's count": info["count"],
                "extracted": run.extracted.get(stream),
                "landed": ask(f"SELECT COUNT(*) FROM {landing} WHERE _sdc_run_id = @run_id"),  # noqa: S608
                "in the mart": ask(f"SELECT COUNT(*) FROM `{prefix}rickandmorty_marts.{dimension}`"),  # noqa: S608
                "seconds": ask(
                    "SELECT MAX(TIMESTAMP_DIFF(finished_at, started_at, MILLISECOND)) / 1000 "  # noqa: S608
                    f"FROM {ledger} WHERE run_id = @run_id AND stream = '{stream}'"
                ),
                "versions": ask(f"SELECT COUNT(DISTINCT _sdc_table_version) FROM {landing}"),  # noqa: S608
            }
        )
    return found


def build_page(run: Run) -> subprocess.CompletedProcess[str]:
    """Builds the page of the marts; gives the finished program, its complaint in `stderr`."""
    began = run.since()
    with console.status("Building the page"):
        done = subprocess.run(
            [REPORT, "build", "--output", PAGE], check=False, capture_output=True, text=True, cwd=ROOT
        )
    run.marks["page"] = run.since() - began
    return done


def report(run: Run, rows: list[dict[str, Any]], sandbox_seconds: float) -> bool:
    """Prints the table and the times; returns whether every row's counts are equal."""
    table = Table(title=None)
    headings = ["entity", "API's count", "extracted", "landed", "in the mart", "seconds"]
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "entity" else "right")
    equal = True
    for row in rows:
        same = len({row[h] for h in headings[1:5]}) == 1
        equal = equal and same
        cells = [
            "-" if row[h] is None else f"{row[h]:.1f}" if h == "seconds" else str(row[h]) for h in headings
        ]
        table.add_row(*cells, style=None if same else "bold red")
    console.print(table)
    marks, end = run.marks, run.since()
    begin, middle = marks.get("extract and load begins", 0.0), marks.get("extract and load ends", 0.0)
    console.print(
        f"{end + sandbox_seconds:.1f} s: sandbox {sandbox_seconds:.1f}, Meltano's start {begin:.1f}, "
        f"extract and load {middle - begin:.1f}, dbt {marks.get('dbt ends', middle) - middle:.1f}, "
        f"page {marks['page']:.1f}, the rest {end - marks.get('dbt ends', middle) - marks['page']:.1f}"
    )
    versions = max(row["versions"] for row in rows)
    console.print(f"The landing tables hold {versions} version(s); the marts show the newest.")
    return equal


def main() -> int:
    """Runs the pipeline; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="make run", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, help="a folder with character.jsonl, location.jsonl, episode.jsonl"
    )
    parser.add_argument("--live", action="store_true", help=f"the live API, {LIVE_API}")
    parser.add_argument("--inside", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside is None:
        under_sandbox(arguments.data, live=arguments.live)
    console.print(f"Source: {os.environ.get('TARGET_BIGQUERY_SOURCE')}", soft_wrap=True, markup=False)

    logs = ROOT / ".meltano" / "run-logs"
    logs.mkdir(parents=True, exist_ok=True)
    run_id = str(uuid.uuid4())
    run = Run(run_id, logs / f"{run_id}.jsonl")
    sandbox_seconds = time.time() - arguments.inside
    log_name = run.log.relative_to(ROOT)
    if status := meltano(run):
        console.print(
            "\nThe last lines of the log:", *run.tail[-12:], sep="\n  ", markup=False, soft_wrap=True
        )
        fail(
            f"meltano ended with status {status}; the whole log is in {log_name}", status if status > 0 else 1
        )
    api_url = os.environ.get("TAP_RICKANDMORTY_API_URL") or LIVE_API
    try:
        rows = counts(run, api_url)
    except (GoogleAPIError, requests.RequestException) as error:
        fail(f"the run succeeded, but counting its rows failed: {error}; the log is in {log_name}")
    page = build_page(run)
    if not report(run, rows, sandbox_seconds):
        fail(f"the counts differ; the log is in {log_name}")
    if page.returncode:
        fail(f"the run succeeded, but its page could not be built: {page.stderr.strip()}")
    console.print(
        "Where to look next:\n"
        "  make tables                          every table and its rows\n"
        '  make query SQL="SELECT character_name, episode_count FROM local_rickandmorty_marts.dim_characters LIMIT 5"\n'
        "  the run's log:",
        log_name,
        soft_wrap=True,
        markup=False,
    )
    console.print("The page:", PAGE.relative_to(ROOT), soft_wrap=True, markup=False)
    return 0


if __name__ == "__main__":
    try:
        status = main()
    except KeyboardInterrupt:
        fail("interrupted; what was not whole is not loaded, run it again", 130)
    raise SystemExit(status)
