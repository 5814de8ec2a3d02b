"""`make bench`: ours and the peers side by side on the sandbox, as tables in docs/performance.md.

    python benchmarks/bench.py [--size small|100k|1m] [--rounds N] [--parts extract,load,both,meltano] [--peers ours,dlt,…]

Every cell runs in its own locked environment, as a process measured by a small program (measure.py); the cells of a
round run one after another, each round beginning with another one. The rows of every run are counted; a run that lost
rows or failed is named in the table and left out of its median. With --parts or --peers the tables are printed alone.
"""

import argparse
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

from testkit.project_files import ROOT
from testkit.whole_pipeline import running_sandbox

import tables
from cells import NAMES, PARTS, PEERS, SIZES, STATES, Bench, Job, lost

# What a run may take, in seconds: the slowest peer on a busy machine, and a share for each record.
LEAST_SECONDS, SECONDS_PER_RECORD = 600, 0.02
PINS = sorted((ROOT / "benchmarks/requirements").glob("*.txt"))


@dataclass
class Cell:
    """A part done by a peer in a state of the tables, and its runs."""

    part: str
    peer: str
    state: str
    runs: list[dict[str, Any]] = field(default_factory=list)


class Runner:
    """Runs cells and keeps what was measured."""

    def __init__(self, bench: Bench, cells: list[Cell], expected: dict[str, int]) -> None:
        self.bench, self.cells, self.expected = bench, cells, expected
        self._folder = bench.work / "run"
        self._folder.mkdir(parents=True, exist_ok=True)

    def set_up(self) -> None:
        """Make the loads' input files and the whole runs' folders, tables and views."""
        bench, parts = self.bench, {cell.part for cell in self.cells}
        if parts & {"load", "meltano"}:
            for peer in ("ours", "template"):
                say(f"input of the loads: {peer}")
                self._must(Job([bench.tap(peer)]))
                shutil.move(self._folder / "stdout", bench.work / f"input-{peer}.jsonl")
        for peer in {cell.peer for cell in self.cells if cell.part == "meltano"}:
            bench.set_up_meltano(peer)
            if peer != "ours":
                say("z3's tables, and views over them for dbt")
                self._must(Job([bench.target("z3", "z3_raw")], stdin=bench.input("z3")))
                bench.adapt_z3()
                bench.empty_z3()
            say(f"{peer}: a whole run that is not measured, so that dbt has parsed the project")
            self._must(bench.job("meltano", peer, ""))

    def _must(self, job: Job) -> None:
        if failed := self.measure(job)["failed"]:
            raise SystemExit(f"bench: the set-up failed: {'; '.join(failed)}")

    def round(self, number: int) -> None:
        """Run every cell once, those that share a dataset together; each round begins with another."""
        groups: dict[tuple[str, str], list[Cell]] = {}
        for cell in self.cells:
            groups.setdefault((cell.part, cell.peer), []).append(cell)
        ordered = list(groups.values())
        turn = number % len(ordered)
        for cells in ordered[turn:] + ordered[:turn]:
            self._group(cells, number)

    def _group(self, cells: list[Cell], number: int) -> None:
        part, peer = cells[0].part, cells[0].peer
        dataset = f"bench_{part}_{peer}_{number}".replace("-", "_")
        for times, cell in enumerate(cells, 1):
            if part == "meltano" and peer != "ours":
                self.bench.empty_z3()
            run = self.measure(self.bench.job(part, peer, dataset), times if part in ("load", "both") else 1)
            cell.runs.append(run)
            outcome = "; ".join(run["failed"]) or f"{run['seconds']:.2f} s"
            say(f"{number}: {part}, {peer}{', ' + cell.state if cell.state else ''}: {outcome}")
        if part in ("load", "both"):
            self.bench.drop(dataset)

    def measure(self, job: Job, times: int = 1) -> dict[str, Any]:
        """Run a job, the `times`-th into its tables; return seconds, CPU, memory, requests, rows, and what failed."""
        kept = {
            k: v for k, v in os.environ.items() if not k.startswith(("TAP_", "TARGET_", "MELTANO_", "DBT_"))
        }
        shared = {**kept, **self.bench.sandbox.env}
        spec, result = self._folder / "spec.json", self._folder / "result.json"
        result.unlink(missing_ok=True)
        commands = [
            {"name": c.name, "argv": c.argv, "env": {**shared, **c.env}, "cwd": str(c.cwd)}
            for c in job.commands
        ]
        stdin = str(job.stdin) if job.stdin else None
        spec.write_text(json.dumps({"commands": commands, "folder": str(self._folder), "stdin": stdin}))
        self.bench.sandbox.api.inject()
        limit = LEAST_SECONDS + SECONDS_PER_RECORD * sum(self.expected.values())
        argv = [sys.executable, "-I", "-S", str(ROOT / "benchmarks/measure.py"), str(spec), str(result)]
        with subprocess.Popen(argv, start_new_session=True) as process:
            try:
                process.wait(limit)
            except BaseException as error:
                os.killpg(process.pid, signal.SIGKILL)
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
        if not result.exists():
            return {"failed": [f"did not end within {limit:.0f} s"]}
        run: dict[str, Any] = json.loads(result.read_text())
        run["requests"] = len(self.bench.sandbox.api.seen())
        run["failed"] = [
            f"{p['name']}: exit status {p['status']}, {self._last_line(p['name'])}"
            for p in run["processes"]
            if p["status"]
        ]
        run["rows"] = {} if run["failed"] else job.check(self._folder)
        if run["rows"]:
            run["failed"] = lost(run["rows"], self.expected, times)
        if job.commands[0].name == "meltano":
            run["parts"] = meltano_parts(self._folder / "stderr-meltano", run["seconds"])
        return run

    def _last_line(self, name: str) -> str:
        lines = (self._folder / f"stderr-{name}").read_text(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "no message"


def meltano_parts(log: Path, seconds: float) -> dict[str, float]:
    """Return the seconds of a whole run's parts, from the times in Meltano's JSON log."""
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
    """Print where the benchmark is."""
    print(f"{datetime.now(UTC):%H:%M:%S}  {text}", flush=True)


def versions() -> list[str]:
    """Return what each peer's environment is pinned to."""
    pins = {path.stem: re.findall(r"^[^#\s]+", path.read_text(), re.MULTILINE) for path in PINS}
    return [f"{peer}: {', '.join(packages)}" for peer, packages in pins.items()]


def conditions(arguments: argparse.Namespace) -> str:
    """Return in a paragraph what is measured, and where and how."""
    sizes = ", ".join(f"{number:,} {stream}" for stream, number in SIZES[arguments.size].items())
    rounds = f"{arguments.rounds} interleaved round{'s' if arguments.rounds != 1 else ''}"
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return (
        f"{sizes}; API latency {arguments.latency_ms} ms; {rounds}; "
        f"{os.cpu_count()} cores ({model[1] if model else platform.machine()}), "
        f"load {os.getloadavg()[0]:.1f} before the start; Python {platform.python_version()}; "
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit.stdout.strip()}. {'; '.join(versions())}."
    )


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="small", help="826, 100,000 or 1,000,000 characters")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--parts", help=f"of {', '.join(PARTS)}; default all, without meltano for the large sizes"
    )
    parser.add_argument("--peers", help=f"of {', '.join(NAMES)}; default all")
    arguments = parser.parse_args()
    small = arguments.size == "small"
    arguments.latency_ms = 100 if small else 0
    parts = (arguments.parts or ("extract,load,both" + (",meltano" if small else ""))).split(",")
    peers = arguments.peers.split(",") if arguments.peers else list(NAMES)
    for chosen, known in ((parts, PARTS), (peers, NAMES)):
        if unknown := set(chosen) - set(known):
            parser.error(f"unknown: {', '.join(sorted(unknown))}; expected {', '.join(known)}")
    arguments.cells = [
        Cell(part, peer, state)
        for part in PARTS
        if part in parts
        for peer in PEERS[part]
        if peer in peers
        for state in STATES[part]
    ]
    return arguments


def main() -> int:
    """Measure and write the tables; return 1 when a run failed or lost rows."""
    arguments = options()
    work = ROOT / ".cache" / "bench"
    shutil.rmtree(work, ignore_errors=True)
    expected = SIZES[arguments.size]
    universe = ",".join(f"{stream}={number}" for stream, number in expected.items())
    serve = ("--universe", universe, "--latency-ms", str(arguments.latency_ms))
    paragraph = conditions(arguments)
    with running_sandbox(work / "sandbox", *serve) as sandbox:
        runner = Runner(Bench(sandbox, work), arguments.cells, expected)
        runner.set_up()
        for number in range(1, arguments.rounds + 1):
            runner.round(number)
    cells = [vars(cell) for cell in arguments.cells]
    text = "\n\n".join([paragraph, *tables.sections(arguments.size, cells)])
    if not (arguments.parts or arguments.peers):
        tables.insert(f"bench:{arguments.size}", text)
    shutil.rmtree(work, ignore_errors=True)
    print(text)
    return 1 if any(run["failed"] for cell in cells for run in cell["runs"]) else 0


if __name__ == "__main__":
    sys.exit(main())
