"""`make run`: the whole pipeline on the sandbox, with progress, and a verdict at the end.

    python scripts/run_pipeline.py [--data FOLDER | --live | --version N]

Runs exactly `meltano run tap-rickandmorty target-bigquery dbt-bigquery:build` with a run id of its own, shows what the
warehouse holds of it, and builds the page of the marts (report/). Exit status: 0; Meltano's where it failed; 1 when the
verdict is fail, there is no page, or another `make run` is under way here; 2 for bad arguments; 128 and the signal's
number when ended by one.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from http import HTTPStatus
from pathlib import Path
from typing import NoReturn

import doctor
import run_meltano
from command_line import OneLine, end_with
from run_alone import exec_on_sandbox
from run_progress import Progress, clean
from run_summary import LOADS, VERDICT, query_marts, show_counts, show_problems, show_times, show_verdict

ROOT = Path(__file__).resolve().parent.parent
LIVE_API = "https://rickandmortyapi.com/api"
# What `meltano run report:build` runs, without Meltano's start.
REPORT = ROOT / ".meltano" / "utilities" / "report" / "venv" / "bin" / "report"
PAGE = ROOT / "output" / "report.html"
# Answers of the real API that a project keeps: its data by default.
ANSWERS = ROOT / "answers"
CAPTURE = "'.venvs/sandbox/bin/sandbox capture FOLDER'"


class Ended(Exception):  # noqa: N818 (a signal, not an error)
    """A signal asks this program to end; the signal's number is its argument."""


def fail(message: str, status: int = 1) -> NoReturn:
    """End the program with one line on stderr."""
    print(f"make run: {message}", file=sys.stderr)
    raise SystemExit(status)


def answers(url: str) -> bool:
    """Return whether an API answers at `url` with JSON, even with a 4xx (seconds: 3 to connect, 5 to read)."""
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

    try:
        listed = yaml.safe_load((ROOT / "entities.yml").read_text(encoding="utf-8"))["entities"]
        return [entity["resource"] for entity in listed]
    except (yaml.YAMLError, LookupError, TypeError) as error:
        fail(f"entities.yml: expected a list of entities: {clean(str(error))}; make lint checks it", 2)


def source_options(data: Path | None, *, live: bool, version: int | None) -> list[str]:
    """Return the options of `sandbox exec` for the source that was asked for; SystemExit(2) where it is not there."""
    if live:
        if not answers(LIVE_API):
            fail(f"{LIVE_API} does not answer; `make run` without LIVE=1 needs no network", 2)
        return ["--live"]
    if version is None and not data and ANSWERS.is_dir():
        data = ANSWERS
    if data is None:
        return ["--universe", f"version={version or 1}"]
    data = Path(os.path.expanduser(data))  # noqa: PTH111 (~nobody raises there)
    if not data.is_dir():
        fail(f"DATA={data}: not a folder; make one with {CAPTURE}", 2)
    if missing := [f"{name}.jsonl" for name in resources() if not (data / f"{name}.jsonl").is_file()]:
        fail(f"DATA={data}: {', '.join(missing)} not found; make such a folder with {CAPTURE}", 2)
    return ["--data", str(data.resolve())]


def build_page() -> tuple[subprocess.CompletedProcess[str] | None, float]:
    """Build the page of the marts, where this project has one; return the finished program and its seconds."""
    began = time.monotonic()
    if not (ROOT / "report").is_dir():
        return None, 0.0
    command = [str(REPORT), "build", "--output", str(PAGE)]
    page = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    return page, time.monotonic() - began


def run_inside(started: float) -> int:
    """Run the pipeline on the sandbox around this program, which was asked for at `started`; return the exit status."""
    from google.api_core.exceptions import GoogleAPIError  # noqa: PLC0415

    sandbox_seconds = time.time() - started
    print(f"Source: {os.environ.get('TARGET_BIGQUERY_SOURCE')}")
    run_id = str(uuid.uuid4())
    log = run_meltano.log_file(run_id)
    log_name = log.relative_to(ROOT)
    progress = Progress()
    status = run_meltano.run(run_id, progress, log)
    show_problems(progress)
    try:
        # The verdict of an earlier build does not count.
        checks = query_marts(VERDICT, build_id=progress.invocation) if progress.invocation else []
        loads = query_marts(LOADS, run_id=run_id) if status == 0 else []
    except (GoogleAPIError, OSError) as error:
        fail(f"the local BigQuery could not be queried: {clean(str(error))}; the log is in {log_name}")
    verdict = show_verdict(checks) if checks else None
    if status:
        fail_with_meltano(status, verdict, log_name)
    page, page_seconds = build_page()
    equal = show_counts(loads, progress)
    show_times(progress, sandbox_seconds, page_seconds)
    versions = max((row["loads"] for row in loads), default=0)
    plural = "" if versions == 1 else "s"
    print(f"The warehouse holds {versions} version{plural} of this source; the marts show the newest.")
    if verdict in {"fail", None}:
        fail(
            f"the verdict is {verdict or 'missing: rpt_verdict has no row of this build'}; the log is in {log_name}"
        )
    if not equal:
        fail(f"the counts differ; the log is in {log_name}")
    if page and page.returncode:
        fail(f"the run succeeded, but its page could not be built: {clean(page.stderr)}")
    print("Where to look next:")
    print("  make tables         every table and its rows")
    # They are about the example.
    questions = "; docs/questions.md has ten questions with their answers' SQL"
    print("  make shell          a prompt for SQL" + questions * (ROOT / "docs" / "questions.md").is_file())
    print(f"  {log_name}")
    if page:
        print(f"The page: {PAGE.relative_to(ROOT)}")
    return 0


def fail_with_meltano(status: int, verdict: str | None, log: Path) -> NoReturn:
    """End the program after a failed Meltano."""
    reason = "look at the lines above"
    if verdict == "fail":
        # The page shows the verdict too, over the marts of the last build that passed; before the first build there is no page.
        build_page()
        reason = "the verdict is fail, the marts are as they were"
    doctor.show(problems_only=True)
    fail(f"meltano ended with status {status}: {reason}; the whole log is in {log}", max(status, 1))


def version(text: str) -> int:
    """Return the version of the made-up universe that was typed."""
    if not re.fullmatch("[1-9][0-9]{0,8}", text):
        raise argparse.ArgumentTypeError(f"VERSION={text}: expected 1, 2, 3 …")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Run the pipeline, which is asked for on the sandbox first; return the exit status."""
    if arguments.inside is None:
        inside = [sys.executable, __file__, "--inside", str(time.time())]
        exec_on_sandbox(
            source_options(arguments.data, live=arguments.live, version=arguments.version), inside
        )

    def end(number: int, _: object) -> None:
        raise Ended(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end)
    return run_inside(arguments.inside)


def main() -> int:
    """Run the command line; return the exit status."""
    parser = OneLine(prog="make run", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--data",
        type=Path,
        help="a folder with a file of JSON lines for each resource, such as character.jsonl",
    )
    source.add_argument("--live", action="store_true", help=f"the live API, {LIVE_API}")
    source.add_argument("--version", type=version, help="a later version of the made-up universe (1)")
    parser.add_argument("--inside", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    for stream in (sys.stdout, sys.stderr):
        # Whatever the locale, and whatever characters a log has.
        stream.reconfigure(encoding="utf-8", errors="replace", line_buffering=True)  # type: ignore[union-attr]
    try:
        return run(arguments)
    except BrokenPipeError:
        raise
    except OSError as error:
        # A full disk, a file of another user: what of this machine is the reason.
        doctor.show(problems_only=True)
        fail(clean(str(error)))
    except Ended as error:
        number = signal.Signals(error.args[0])
        how = "interrupted" if number == signal.SIGINT else f"ended by {number.name}"
        fail(f"{how}; what was not whole is not loaded, run it again", 128 + number)


if __name__ == "__main__":
    end_with(main)
