"""The files of the project, and where they lie."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
# Everything else does without them (docs/onboarding.md).
OPTIONAL_FOLDERS = ("report", "orchestrate", "terraform", "benchmarks")
REMOVED_FOLDERS = {name for name in OPTIONAL_FOLDERS if not (ROOT / name).is_dir()}


def project_files() -> list[str]:
    """Return the names of the files that git tracks, or would, in order."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return sorted(name for name in set(listed.stdout.split("\0")) if name and (ROOT / name).is_file())
