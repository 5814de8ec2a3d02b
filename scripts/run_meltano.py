"""Runs `meltano run` with its progress shown and its whole log kept."""

import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

from run_progress import Progress

ROOT = Path(__file__).resolve().parent.parent
BLOCKS = ["tap-rickandmorty", "target-bigquery", "dbt-bigquery:build"]
# A shell or a .env may ask Meltano and dbt for less, or for another place: then nothing could be counted.
READABLE = {
    "MELTANO_CLI_LOG_CONFIG": "",
    "DBT_LOG_FORMAT": "json",
    "DBT_LOG_LEVEL": "info",
    "DBT_QUIET": "false",
    "DBT_TARGET_PATH": str(ROOT / "transform" / "target"),
    "NO_COLOR": "1",
}
LOGS = ROOT / ".meltano" / "run-logs"
KEPT_LOGS = 20
# Seconds between two lines of progress where there is no terminal.
PROGRESS_SECONDS = 10.0
STOP_SECONDS = 10.0


def log_file(run_id: str) -> Path:
    """Return the file for a run's whole log; the oldest are deleted."""
    LOGS.mkdir(parents=True, exist_ok=True)
    for old in sorted(LOGS.glob("*.jsonl"), key=lambda path: path.stat().st_mtime)[: -KEPT_LOGS + 1]:
        old.unlink()
    return LOGS / f"{run_id}.jsonl"


def run(run_id: str, progress: Progress, log: Path) -> int:
    """Run Meltano; return its exit status."""
    program = os.environ.get("MELTANO_COMMAND") or str(ROOT / ".venvs/meltano/bin/meltano")
    # --force: this folder's lock excludes other runs; one that was killed may still be in Meltano's list of runs.
    command = [program, "--log-format", "json", "--log-level", "info", "run", "--force", *BLOCKS]
    print(f"Running: meltano run {' '.join(BLOCKS)}  (run id {run_id})")
    with (
        log.open("w", encoding="utf-8") as kept,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **READABLE, "MELTANO_RUN_ID": run_id, "DBT_AS_OF": ""},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        ) as process,
    ):
        try:
            follow(_lines(process), progress, kept)
            return process.wait()
        except BaseException:
            stop(process)
            raise


def _lines(process: subprocess.Popen[str]) -> queue.Queue[str | None]:
    """Return the queue of a process's lines, which ends with None."""
    lines: queue.Queue[str | None] = queue.Queue()

    def pump() -> None:
        for line in process.stdout or ():
            lines.put(line)
        lines.put(None)

    threading.Thread(target=pump, daemon=True).start()
    return lines


def follow(lines: queue.Queue[str | None], progress: Progress, kept: TextIO) -> None:
    """Show the run until its log ends: the phase every ten seconds, on a terminal in one line that is redrawn."""
    terminal = sys.stdout.isatty()
    interval, erase = (0.5, "\r\x1b[K") if terminal else (PROGRESS_SECONDS, "")
    due, shown = time.monotonic() + (0 if terminal else interval), ""
    while True:
        try:
            line = lines.get(timeout=max(0.05, min(due - time.monotonic(), 1.0)))
        except queue.Empty:
            line = ""
        if line is None:
            print(end=erase, flush=True)
            return
        kept.write(line)
        for text in progress.read(line):
            print(f"{erase}{progress.since():6.1f} s  {text}", flush=True)
        if time.monotonic() >= due and (terminal or progress.phase != shown):
            due, shown = time.monotonic() + interval, progress.phase
            # 80 where the terminal does not know its own.
            width = max(20, shutil.get_terminal_size().columns - 12) if terminal else None
            end = "" if terminal else "\n"
            print(f"{erase}{progress.since():6.1f} s  {shown[:width]}", end=end, flush=True)


def stop(process: subprocess.Popen[str]) -> None:
    """End a process and its whole group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        # The group may outlive its first process.
        time.sleep(0.1)
