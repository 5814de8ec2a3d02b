"""`make bench`: ours and the peers side by side on the sandbox; tables and charts.

    python benchmarks/bench.py [--size small|100k|1m] [--rounds N] [--parts extract,load,both,meltano] [--peers ours,dlt,…]

Every cell runs in its own locked environment, as a process measured by a small program (measure.py); the cells of a
round run one after another, each round beginning with another one. The rows of every run are counted; a run that lost
rows or failed is told in the table and left out of its median. Results go to benchmarks/results and docs/performance.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tables
from cells import (
    DBT,
    MELTANO,
    NAMES,
    PARTS,
    ROOT,
    SIZES,
    STATES,
    TAP,
    TARGET,
    WHO,
    Bench,
    Counts,
    Job,
    lost,
    python,
)
from services import Counting, Services, forget, seen

# What a run may take, in seconds: the slowest peer on a busy machine, and a share for each record.
LEAST_SECONDS, SECONDS_A_RECORD = 600, 0.02
ENVIRONMENTS = ("requests", "limit", "tap-template", "dlt", "z3")
PACKAGES = {
    "tap-template": ["singer-sdk", "requests"],
    "dlt": ["dlt"],
    "z3": ["z3-target-bigquery", "singer-sdk"],
}


@dataclass
class Cell:
    """A part done by a peer in a state of the tables, and its runs."""

    part: str
    peer: str
    state: str
    runs: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, int] | None = None


class Runner:
    """Runs cells and keeps what was measured."""

    def __init__(self, bench: Bench, api_url: str, cells: list[Cell]) -> None:
        self.bench, self.api_url, self.cells = bench, api_url, cells
        self._folder = bench.work / "run"
        self._folder.mkdir(parents=True, exist_ok=True)

    def set_up(self) -> None:
        """Makes the loads' input files and the whole runs' folders, tables and views."""
        bench, parts = self.bench, {cell.part for cell in self.cells}
        if parts & {"load", "meltano"}:
            makers = {
                "ours": bench.tap(self.api_url),
                "template": bench.template_tap(self.api_url),
                "plain": bench.limit("extract", self.api_url),
            }
            for kind, command in makers.items():
                say(f"input of the loads: {kind}")
                self._must(Job([command], lambda _: {}))
                shutil.move(self._folder / "stdout", bench.input(kind))
        for peer in {cell.peer for cell in self.cells if cell.part == "meltano"}:
            bench.set_up_meltano(peer)
            if peer != "ours":
                say("z3's tables, and views over them for dbt")
                self._must(Job([bench.z3("z3_raw")], lambda _: {}, bench.input("template")))
                bench.adapt_z3()
                bench.empty_z3()
            say(f"{peer}: a whole run that is not measured, so that dbt has parsed the project")
            if failed := self.measure(bench.job("meltano", peer, self.api_url, ""))["failed"]:
                say(f"{peer}: {'; '.join(failed)}")

    def _must(self, job: Job) -> None:
        run = self.measure(job)
        if run["failed"]:
            raise SystemExit(f"bench: the set-up failed: {'; '.join(run['failed'])}")

    def count(self) -> None:
        """Runs every cell once behind what counts connections and calls; this also warms the machine's caches."""
        with self.bench.services.counting(self.api_url) as counting:
            for cells in self._groups(0):
                self._group(cells, "counted", counting)

    def round(self, number: int) -> None:
        """Runs every cell once."""
        for cells in self._groups(number):
            self._group(cells, str(number), None)

    def _groups(self, turn: int) -> list[list[Cell]]:
        """Gives the cells, those that share a dataset together; each turn begins with another."""
        groups: dict[tuple[str, str], list[Cell]] = {}
        for cell in self.cells:
            groups.setdefault((cell.part, cell.peer), []).append(cell)
        found = list(groups.values())
        turn %= len(found)
        return found[turn:] + found[:turn]

    def _group(self, cells: list[Cell], name: str, counting: Counting | None) -> None:
        part, peer = cells[0].part, cells[0].peer
        dataset = f"bench_{part}_{peer}_{name}".replace("-", "_")
        url = counting.environment["TAP_RICKANDMORTY_API_URL"] if counting else self.api_url
        for times, cell in enumerate(cells, 1):
            if part == "meltano" and peer != "ours":
                self.bench.empty_z3()
            job = self.bench.job(part, peer, url, dataset)
            job.times = times if part in ("load", "both") else 1
            if counting:
                counting.restart()
                run = self.measure(job, counting.environment)
                cell.counts = {"requests": run["requests"], **counting.counts()}
            else:
                run = self.measure(job)
                cell.runs.append({"round": int(name), **run})
            told = "; ".join(run["failed"]) or f"{run['seconds']:.2f} s"
            say(f"{name}: {part}, {peer}{', ' + cell.state if cell.state else ''}: {told}")
        if part in ("load", "both"):
            self.bench.drop(dataset)

    def measure(self, job: Job, environment: dict[str, str] | None = None) -> dict[str, Any]:
        """Runs a job and gives seconds, CPU, memory, requests, rows, and what failed."""
        base = {
            k: v for k, v in os.environ.items() if not k.startswith(("TAP_", "TARGET_", "MELTANO_", "DBT_"))
        }
        shared = {**base, **self.bench.services.environment, **(environment or {})}
        spec, result = self._folder / "spec.json", self._folder / "result.json"
        result.unlink(missing_ok=True)
        commands = [
            {"name": c.name, "argv": c.argv, "env": {**shared, **c.env}, "cwd": str(c.cwd)}
            for c in job.commands
        ]
        spec.write_text(
            json.dumps(
                {
                    "commands": commands,
                    "folder": str(self._folder),
                    "stdin": str(job.stdin) if job.stdin else None,
                }
            )
        )
        server = self.api_url.removesuffix("/api")
        forget(server)
        limit = LEAST_SECONDS + SECONDS_A_RECORD * sum(self.bench.expected.values())
        argv = [sys.executable, "-I", "-S", str(ROOT / "benchmarks/measure.py"), str(spec), str(result)]
        with subprocess.Popen(argv, start_new_session=True) as process:
            try:
                process.wait(limit)
            except BaseException as error:
                os.killpg(process.pid, signal.SIGKILL)
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
        if not result.exists():
            return {"seconds": None, "requests": None, "failed": [f"did not end within {limit:.0f} s"]}
        run: dict[str, Any] = json.loads(result.read_text())
        run["requests"] = len(seen(server))
        failed = [
            f"{p['name']}: exit status {p['status']}, {self._last_line(p['name'])}"
            for p in run["processes"]
            if p["status"]
        ]
        counts: Counts = {} if failed else job.check(self._folder)
        if counts:
            failed = lost(counts, self.bench.expected, job.times)
        if job.commands[0].name == "meltano":
            run["parts"] = meltano_parts(self._folder / "stderr-meltano", run["seconds"])
        return {**run, "rows": {stream: found["rows"] for stream, found in counts.items()}, "failed": failed}

    def _last_line(self, name: str) -> str:
        lines = (self._folder / f"stderr-{name}").read_text(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "no message"


def meltano_parts(log: Path, seconds: float) -> dict[str, float]:
    """Gives the seconds of a whole run's parts, from the times in Meltano's JSON log."""
    marks: dict[str, list[float]] = {"extract and load": [], "dbt": []}
    times = []
    for line in log.read_text(errors="replace").splitlines():
        try:
            entry = json.loads(line)
            at = datetime.fromisoformat(entry["timestamp"]).timestamp()
        except (ValueError, KeyError, TypeError):
            continue
        times.append(at)
        name = str(entry.get("name") or "")
        for part, beginnings in (("extract and load", ("tap-", "target-")), ("dbt", ("dbt",))):
            if name.startswith(beginnings):
                marks[part].append(at)
    if not all(marks.values()):
        return {}
    loading, building = marks["extract and load"], marks["dbt"]
    # The log's first line comes after Meltano's own start, so the run's end is what is counted back from.
    began = max(times) - seconds
    return {
        "Meltano and the plugins' start": loading[0] - began,
        "extract and load": loading[-1] - loading[0],
        "dbt": building[-1] - loading[-1],
    }


def say(text: str) -> None:
    """Prints where the benchmark is."""
    print(f"{datetime.now(UTC):%H:%M:%S}  {text}", flush=True)


def versions() -> dict[str, str]:
    """Return the versions of the peers and of the frames, from the pins."""
    found = {}
    for name, packages in PACKAGES.items():
        lock = (ROOT / f"benchmarks/requirements/{name}.txt").read_text()
        for package in packages:
            if match := re.search(rf"^{package}(?:\[[^]]*\])?==([^ ;\\]+)", lock, re.MULTILINE):
                found[f"{package} ({name})"] = match[1]
    return found


def without_bytecode() -> list[str]:
    """Return the programs whose first start compiles: any of their environment's modules has no bytecode."""
    interpreters = {name: Path(python(name)) for name in ENVIRONMENTS} | {
        Path(program).name: Path(program) for program in (TAP, TARGET, str(DBT), MELTANO)
    }
    return [
        name
        for name, interpreter in interpreters.items()
        if not all(
            Path(importlib.util.cache_from_source(str(module))).exists()
            for module in interpreter.parent.parent.glob("lib/python*/site-packages/*/__init__.py")
        )
    ]


def conditions(arguments: argparse.Namespace) -> dict[str, Any]:
    """Gives where and how it was measured."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": commit.stdout.strip(),
        "size": arguments.size,
        "records": SIZES[arguments.size],
        "latency_ms": arguments.latency_ms,
        "rounds": arguments.rounds,
        "cores": os.cpu_count(),
        "processor": model[1] if model else platform.machine(),
        "load_before": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "without_bytecode": without_bytecode(),
        "versions": versions(),
    }


def options() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument(
        "--size", choices=SIZES, default="small", help="characters: 826, 100,000 or 1,000,000"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--parts", help=f"of {', '.join(PARTS)}; default all, without meltano for the large sizes"
    )
    parser.add_argument("--peers", help=f"of {', '.join(NAMES)}; default all")
    parser.add_argument("--latency-ms", type=int, help="the API's; default 100, and 0 for the large sizes")
    parser.add_argument(
        "--counts",
        action=argparse.BooleanOptionalAction,
        help="one more run of each cell that counts connections and calls; default for the small size",
    )
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results")
    parser.add_argument("--docs", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument(
        "--render", action="store_true", help="measure nothing: write the tables again from the results"
    )
    arguments = parser.parse_args()
    small = arguments.size == "small"
    if arguments.latency_ms is None:
        arguments.latency_ms = 100 if small else 0
    if arguments.counts is None:
        arguments.counts = small
    chosen = (arguments.parts or ("extract,load,both" + (",meltano" if small else ""))).split(",")
    peers = arguments.peers.split(",") if arguments.peers else list(NAMES)
    for given, known in ((chosen, PARTS), (peers, NAMES)):
        if unknown := set(given) - set(known):
            parser.error(f"unknown: {', '.join(sorted(unknown))}; expected {', '.join(known)}")
    arguments.cells = [
        Cell(part, peer, state)
        for part in PARTS
        if part in chosen
        for peer in WHO[part]
        if peer in peers
        for state in STATES[part]
    ]
    return arguments


def check_environments() -> None:
    """Ends with one line when something that is measured is not installed."""
    programs = [*map(python, ENVIRONMENTS), TAP, TARGET, str(DBT), MELTANO]
    if missing := [program for program in programs if not Path(program).exists()]:
        raise SystemExit(f"bench: not installed: {', '.join(missing)}; 'make bench' installs them")


def main() -> int:
    """Measures, and writes results; gives 1 when a run failed or lost rows."""
    arguments = options()
    if arguments.render:
        tables.write_all(arguments.results)
        return 0
    check_environments()
    work = ROOT / ".cache" / "bench"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    command = os.environ.get("SANDBOX_COMMAND") or str(ROOT / ".venvs/sandbox/bin/sandbox")
    services = Services(command, work / "sandbox")
    bench = Bench(services, work, arguments.size)
    told = conditions(arguments)
    with services.running(), services.api(bench.universe, arguments.latency_ms) as api_url:
        runner = Runner(bench, api_url, arguments.cells)
        runner.set_up()
        if arguments.counts:
            runner.count()
        for number in range(1, arguments.rounds + 1):
            runner.round(number)
    results = {
        "conditions": told,
        "cells": [
            {"part": c.part, "peer": c.peer, "state": c.state, "counts": c.counts, "runs": c.runs}
            for c in arguments.cells
        ],
    }
    arguments.results.mkdir(parents=True, exist_ok=True)
    file = arguments.results / f"{arguments.size}.json"
    file.write_text(tables.dumped(results))
    if arguments.docs:
        tables.write_all(arguments.results)
    shutil.rmtree(work, ignore_errors=True)
    print(tables.markdown(results))
    return 1 if any(run["failed"] for cell in arguments.cells for run in cell.runs) else 0


if __name__ == "__main__":
    sys.exit(main())
