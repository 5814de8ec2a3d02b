"""`make run`: the whole pipeline on the sandbox, with progress, and a verdict at the end.

    python scripts/run_pipeline.py [--data FOLDER | --live | --version N]

Runs exactly `meltano run tap-rickandmorty target-bigquery dbt-bigquery:build` with a run id of its own, shows what the
warehouse holds of it, and builds the page of the marts (report/). Exit status: 0; Meltano's where it failed; 1 when the
verdict is fail, there is no page, or another `make run` is under way here; 2 for bad arguments; 128 and the signal's
number when ended by one.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from run_progress import Progress, clean

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).resolve().parent.parent
LIVE_API = "https://rickandmortyapi.com/api"
BLOCKS = ["tap-rickandmorty", "target-bigquery", "dbt-bigquery:build"]
# What `meltano run report:build` runs, without Meltano's start.
REPORT = ROOT / ".meltano" / "utilities" / "report" / "venv" / "bin" / "report"
PAGE = ROOT / "output" / "report.html"
RUN_RESULTS = ROOT / "transform" / "target" / "run_results.json"
# A shell or a .env for the cloud may say otherwise; what runs on the sandbox is Meltano's environment `local`.
LOCAL = {"MELTANO_ENVIRONMENT": "local", "DATASET_PREFIX": "local_"}
# Answers of the real API that a project keeps: its data by default.
ANSWERS = ROOT / "answers"
# Seconds between two lines of progress where there is no terminal.
PROGRESS_SECONDS = 10.0
STOP_SECONDS = 10.0
KEPT_LOGS = 20


class Ended(Exception):  # noqa: N818 (a signal, not an error)
    """A signal asks this program to end; the signal's number is its argument."""


def echo(text: str = "") -> None:
    """Print a line in UTF-8, whatever the locale says."""
    sys.stdout.buffer.write(f"{text}\n".encode(errors="replace"))
    sys.stdout.buffer.flush()


def fail(message: str, status: int = 1) -> NoReturn:
    """End the program with one line on stderr."""
    sys.stderr.buffer.write(f"make run: {message}\n".encode(errors="replace"))
    raise SystemExit(status)


def answers(url: str) -> bool:
    """Return whether an API answers at `url` with JSON, be it a refusal (seconds: 3 to connect, 5 to read)."""
    import requests  # noqa: PLC0415 (a fifth of a second that only LIVE=1 needs)

    try:
        response = requests.get(f"{url}/{resources()[0]}", timeout=(3, 5))
        response.json()
    except (requests.RequestException, ValueError):
        return False
    return response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR


def resources() -> list[str]:
    """Return the addresses of the entities in the API, which name the files of a data folder."""
    import yaml  # noqa: PLC0415 (only a data folder and LIVE=1 need it)

    listed = yaml.safe_load((ROOT / "entities.yml").read_text(encoding="utf-8"))["entities"]
    return [entity["resource"] for entity in listed]


def hold_run_lock() -> None:
    """Hold the lock of this folder's `make run` while this process lives, across `exec` too."""
    (ROOT / ".sandbox").mkdir(exist_ok=True)
    # Not truncated before the lock is held: it names the other run.
    lock = os.open(ROOT / ".sandbox" / "run.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        other = os.read(lock, 100).decode(errors="replace").strip()
        fail(
            f"another run is under way in this folder (process {other}); wait for it, or end it: kill {other}"
        )
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    os.set_inheritable(lock, True)  # noqa: FBT003 (positional only)


def under_sandbox(data: Path | None, *, live: bool, version: int | None) -> NoReturn:
    """Replace this process by `sandbox exec` of this program; each source has a warehouse of its own."""
    if version is None and not data and ANSWERS.is_dir():
        data = ANSWERS
    if data:
        if not data.is_dir():
            fail(f"DATA={data}: not a folder; make one with '.venvs/sandbox/bin/sandbox capture FOLDER'", 2)
        if missing := [f"{name}.jsonl" for name in resources() if not (data / f"{name}.jsonl").is_file()]:
            fail(
                f"DATA={data}: {', '.join(missing)} not found; make such a folder with "
                "'.venvs/sandbox/bin/sandbox capture FOLDER'",
                2,
            )
    if live and not answers(LIVE_API):
        fail(f"{LIVE_API} does not answer; `make run` without LIVE=1 uses a made-up universe", 2)
    options = (
        ["--live"]
        if live
        else ["--data", str(data.resolve())]
        if data
        else ["--universe", f"version={version or 1}"]
    )
    program = os.environ.get("SANDBOX_COMMAND") or str(ROOT / ".venvs/sandbox/bin/sandbox")
    inside = [sys.executable, __file__, "--inside", str(time.time())]
    os.chdir(ROOT)
    hold_run_lock()
    os.execv(program, [program, "exec", *options, "--", *inside])  # noqa: S606 (no shell)


def log_file(run_id: str) -> Path:
    """Return the file for a run's whole log; the oldest are deleted."""
    folder = ROOT / ".meltano" / "run-logs"
    folder.mkdir(parents=True, exist_ok=True)
    for old in sorted(folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime)[: -KEPT_LOGS + 1]:
        old.unlink()
    return folder / f"{run_id}.jsonl"


def stop(process: subprocess.Popen[str]) -> None:
    """End a process and its whole group."""
    for number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
        # The group may outlive its first process.
        time.sleep(0.1)


def meltano(run_id: str, progress: Progress, log: Path) -> int:
    """Run Meltano with its progress shown and its whole log kept; return its exit status."""
    program = os.environ.get("MELTANO_COMMAND") or str(ROOT / ".venvs/meltano/bin/meltano")
    environment = {
        **os.environ,
        "MELTANO_RUN_ID": run_id,
        "DBT_LOG_FORMAT": "json",
        "NO_COLOR": "1",
    }
    # What a killed run has left in Meltano's list is no other run: the lock of this folder says so.
    command = [program, "--log-format", "json", "run", "--force", *BLOCKS]
    echo(f"Running: meltano run {' '.join(BLOCKS)}  (run id {run_id})")
    lines: queue.Queue[str | None] = queue.Queue()
    with (
        log.open("w", encoding="utf-8") as kept,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        ) as process,
    ):
        assert process.stdout is not None  # noqa: S101 (a pipe was asked for)

        def pump(stream: Iterable[str]) -> None:
            for line in stream:
                lines.put(line)
            lines.put(None)

        threading.Thread(target=pump, args=(process.stdout,), daemon=True).start()
        try:
            follow(lines, progress, kept)
            return process.wait()
        except BaseException:
            stop(process)
            raise


def follow(lines: queue.Queue[str | None], progress: Progress, kept: Any) -> None:  # noqa: ANN401 (a text file)
    """Show the run until its log ends: the phase every ten seconds, on a terminal in a line that changes."""
    terminal = sys.stdout.isatty()
    due, shown = time.monotonic() + (0 if terminal else PROGRESS_SECONDS), ""

    def erase() -> None:
        if terminal:
            sys.stdout.write("\r\x1b[K")

    while True:
        try:
            line = lines.get(timeout=max(0.05, min(due - time.monotonic(), 1.0)))
        except queue.Empty:
            line = ""
        if line is None:
            erase()
            return
        if line:
            kept.write(line)
            for text in progress.read(line):
                erase()
                echo(f"{progress.since():6.1f} s  {text}")
        if time.monotonic() >= due and (terminal or progress.phase != shown):
            shown, due = progress.phase, time.monotonic() + (0.5 if terminal else PROGRESS_SECONDS)
            if terminal:
                # 80 where the terminal does not know its own.
                width = max(20, shutil.get_terminal_size().columns - 12)
                sys.stdout.write(f"\r\x1b[K{progress.since():6.1f} s  {shown[:width]}")
                sys.stdout.flush()
            else:
                echo(f"{progress.since():6.1f} s  {shown}")


def query_marts(sql: str) -> list[dict[str, Any]] | None:
    """Return the rows of a query on the local BigQuery's marts, as this run has left them; None where its table is missing.

    Raises:
        GoogleAPIError: BigQuery refuses the query.
    """
    # Half a second of start that waits until it is needed.
    from google.api_core.exceptions import NotFound  # noqa: PLC0415
    from google.cloud import bigquery  # noqa: PLC0415

    client = bigquery.Client()
    marts = f"{client.project}.{LOCAL['DATASET_PREFIX']}rickandmorty_marts"
    try:
        config = bigquery.QueryJobConfig(default_dataset=marts)
        found = client.query(sql, job_config=config, timeout=60).result(timeout=60)
    except NotFound:
        return None
    return [dict(row.items()) for row in found]


VERDICT = """
SELECT status, message
FROM rpt_verdict
WHERE run_id = '{run_id}'
QUALIFY decided_at = MAX(decided_at) OVER ()
ORDER BY CASE status WHEN 'fail' THEN 0 WHEN 'warn' THEN 1 ELSE 2 END, check_name, entity
"""
# An incremental stream without a record loads nothing: its newest load is an earlier run's, the mart's rows are today's.
LOADS = """
SELECT
    entity,
    replication,
    IF(run_id = '{run_id}', row_count, 0) AS row_count,
    IF(run_id = '{run_id}', landed_row_count, NULL) AS landed_row_count,
    mart_row_count,
    IF(run_id = '{run_id}', seconds, NULL) AS seconds,
    COUNT(*) OVER (PARTITION BY entity) AS loads
FROM rpt_loads
WHERE TRUE
QUALIFY ROW_NUMBER() OVER (PARTITION BY entity ORDER BY finished_at DESC) = 1
ORDER BY row_count DESC
"""


def show_verdict(checks: list[dict[str, Any]]) -> str:
    """Print the verdict in one line, and a line per check that did not pass; return its status."""
    by_status = {
        status: [c for c in checks if c["status"] == status] for status in ("fail", "warn", "ignore", "pass")
    }
    worst = next((status for status in ("fail", "warn") if by_status[status]), "pass")
    counted = ", ".join(f"{len(found)} {status}" for status, found in by_status.items() if found)
    echo(f"Verdict: {worst} ({len(checks)} checks: {counted})")
    for check in by_status["fail"] + by_status["warn"]:
        echo(f"  {check['status']}: {clean(str(check['message']))}")
    return worst


def show_counts(rows: list[dict[str, Any]], progress: Progress) -> bool:
    """Print the counts of each entity at each step; return whether those that are known agree."""
    headings = ["entity", "API's count", "extracted", "loaded", "landed", "in the mart", "seconds"]
    cells, equal = [headings], True
    for row in rows:
        entity = row["entity"]
        counts = [
            progress.source_counts.get(entity),
            progress.extracted.get(entity),
            row["row_count"],
            row["landed_row_count"],
            row["mart_row_count"],
        ]
        # The mart holds every record, a delta only what has changed.
        compared = counts[:-1] if row["replication"] == "incremental" else counts
        same = len({count for count in compared if count is not None}) == 1
        equal = equal and same
        seconds = "-" if row["seconds"] is None else f"{row['seconds']:.1f}"
        shown = ["-" if count is None else f"{count:,}" for count in counts]
        cells.append([entity, *shown, seconds + ("" if same else "  <- differ")])
    widths = [max(len(line[column]) for line in cells) for column in range(len(headings))]
    for line in cells:
        first, *others = (text.rjust(width) for text, width in zip(line, widths, strict=True))
        echo("  ".join([line[0].ljust(len(first)), *others]).rstrip())
    return equal


def times(progress: Progress, sandbox_seconds: float, page_seconds: float) -> str:
    """Return the seconds of each part of the run."""
    marks, end = progress.marks, progress.since()
    begin, middle = marks.get("extract and load begins", 0.0), marks.get("extract and load ends", 0.0)
    dbt = marks.get("dbt ends", middle)
    return (
        f"{end + sandbox_seconds:.1f} s: sandbox {sandbox_seconds:.1f}, Meltano's start {begin:.1f}, extract and load "
        f"{middle - begin:.1f}, dbt {dbt - middle:.1f}, page {page_seconds:.1f}, the rest {end - dbt - page_seconds:.1f}"
    )


def build_page() -> tuple[subprocess.CompletedProcess[str] | None, float]:
    """Build the page of the marts, where this project has one; return the finished program and its seconds."""
    began = time.monotonic()
    if not (ROOT / "report").is_dir():
        return None, 0.0
    command = [str(REPORT), "build", "--output", str(PAGE)]
    page = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    return page, time.monotonic() - began


def show_problems(progress: Progress) -> None:
    """Repeat the warnings and errors, dbt's from its run_results.json."""
    try:
        results = json.loads(RUN_RESULTS.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        results = {}
    progress.results(results)
    if progress.warnings:
        echo(f"Warnings ({len(progress.warnings)}):")
        for text in progress.warnings:
            echo(f"  {text}")
    if progress.errors:
        echo("What failed:")
        for text in dict.fromkeys(progress.errors):
            echo(f"  {text}")


def show_machine_problems() -> None:
    """Print what on this machine may be the reason."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "doctor.py"), "--problems"],
        check=False,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    for line in done.stdout.splitlines():
        echo(line)


def inside(started: float) -> int:
    """Run the pipeline on the sandbox around this program; return the exit status."""
    from google.api_core.exceptions import GoogleAPIError  # noqa: PLC0415

    os.environ.update(LOCAL)
    sandbox_seconds = time.time() - started
    echo(f"Source: {os.environ.get('TARGET_BIGQUERY_SOURCE')}")
    run_id = str(uuid.uuid4())
    log = log_file(run_id)
    log_name = log.relative_to(ROOT)
    progress = Progress()
    status = meltano(run_id, progress, log)
    show_problems(progress)
    try:
        # An earlier run's verdict says nothing of this one.
        checks = query_marts(VERDICT.format(run_id=run_id))
        decided = show_verdict(checks) if checks else None
        if status:
            if decided == "fail":
                # The page says it too, over the marts of the last build that passed; before the first there is none.
                build_page()
            show_machine_problems()
            reason = (
                "the verdict is fail, the marts are as they were"
                if decided == "fail"
                else "look at the lines above"
            )
            fail(
                f"meltano ended with status {status}: {reason}; the whole log is in {log_name}",
                max(status, 1),
            )
        loads = query_marts(LOADS.format(run_id=run_id)) or []
    except GoogleAPIError as error:
        fail(f"the local BigQuery could not be queried: {clean(str(error))}; the log is in {log_name}")
    page, page_seconds = build_page()
    equal = show_counts(loads, progress)
    echo(times(progress, sandbox_seconds, page_seconds))
    versions = max((row["loads"] for row in loads), default=0)
    echo(
        f"The warehouse holds {versions} version{'' if versions == 1 else 's'} of this source; the marts show the newest."
    )
    if decided in {"fail", None}:
        fail(
            f"the verdict is {decided or 'missing: rpt_verdict has no row of this run'}; the log is in {log_name}"
        )
    if not equal:
        fail(f"the counts differ; the log is in {log_name}")
    if page and page.returncode:
        fail(f"the run succeeded, but its page could not be built: {clean(page.stderr)}")
    echo("Where to look next:")
    echo("  make tables         every table and its rows")
    echo(
        "  make shell          a prompt for SQL; docs/questions.md has ten questions with their answers' SQL"
    )
    echo(f"  {log_name}")
    if page:
        echo(f"The page: {PAGE.relative_to(ROOT)}")
    return 0


def main() -> int:
    """Run the pipeline; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="make run", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--data",
        type=Path,
        help="a folder with a file of JSON lines for each resource, such as character.jsonl",
    )
    source.add_argument("--live", action="store_true", help=f"the live API, {LIVE_API}")
    source.add_argument("--version", type=int, help="a later version of the made-up universe (1)")
    parser.add_argument("--inside", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside is None:
        under_sandbox(arguments.data, live=arguments.live, version=arguments.version)

    def end(number: int, _: Any) -> None:  # noqa: ANN401 (a frame)
        raise Ended(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end)
    return inside(arguments.inside)


if __name__ == "__main__":
    try:
        status = main()
    except KeyboardInterrupt:
        fail("interrupted", 128 + signal.SIGINT)
    except Ended as error:
        number = signal.Signals(error.args[0])
        how = "interrupted" if number == signal.SIGINT else f"ended by {number.name}"
        fail(f"{how}; what was not whole is not loaded, run it again", 128 + number)
    raise SystemExit(status)
