"""What a person at the terminal sees when `make run` cannot start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from testkit.whole_pipeline import ROOT, program


def test_a_bad_data_folder_is_one_line_that_says_what_is_missing(tmp_path: Path) -> None:
    """`--data` with a folder that lacks a file names it, says how to make one, and ends with status 2."""
    (tmp_path / "character.jsonl").write_text("")
    python = Path(program("SANDBOX_COMMAND", ".venvs/sandbox/bin/sandbox")).with_name("python")
    done = subprocess.run(
        [python, ROOT / "scripts" / "run_pipeline.py", "--data", tmp_path],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "location.jsonl, episode.jsonl not found" in done.stderr
    assert "sandbox capture" in done.stderr


NASTY = """it's `id` $HOME $(id) $(shell id) "quoted" \\ -- the end"""


def test_make_query_hands_the_sql_over_as_it_is(tmp_path: Path) -> None:
    """Backticks, dollars and quotes reach the sandbox unread by make and shell, from the line and from the environment."""
    spy = tmp_path / "spy"
    spy.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    spy.chmod(0o755)
    command = ["make", "--old-file=.venvs/sandbox/.done", "query", f"SANDBOX_COMMAND={spy}"]
    for arguments, environment in (([f"SQL={NASTY}"], {}), ([], {"SQL": NASTY})):
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        done = subprocess.run(
            [*command, *arguments],
            cwd=ROOT,
            env=kept | environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert json.loads(done.stdout)[-2:] == ["--", NASTY]


def test_make_run_hands_the_folder_over_as_it_is() -> None:
    """A folder whose name has a quote and a dollar is named in the one line, as it was typed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        [
            "make",
            *(f"--old-file={part}/.done" for part in (".venvs/sandbox", ".venvs/meltano", ".meltano")),
            "run",
            f"DATA={NASTY}",
        ],
        cwd=ROOT,
        env=kept,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert f"DATA={NASTY}: not a folder" in done.stderr
