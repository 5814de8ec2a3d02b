"""What a person at the terminal sees when `make run` cannot start."""

from __future__ import annotations

import subprocess
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
