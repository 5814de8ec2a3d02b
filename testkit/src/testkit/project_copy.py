"""A copy of the project, as a person with a fresh clone has it, and commands typed in it."""

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from testkit.programs import ending_with_us
from testkit.project_files import ROOT, project_files

# What `make test` hands on, and what the tests of this project tell their programs, is not for a copy.
OURS = (
    "ARGS",
    "SANDBOX_",
    "MELTANO_",
    "MAKE",
    "MFLAGS",
    "TAP_",
    "TARGET_",
    "DBT_",
    "GOOGLE_",
    "BIGQUERY_",
    "STORAGE_",
)
BARE_PATH = "/usr/local/bin:/usr/bin:/bin"
ENVIRONMENTS = (".python", "dev", "meltano", "sandbox", "sql", "uv")
PLUGINS = ("extractors", "loaders", "utilities")


def unmarked() -> dict[str, str]:
    """Return this process's environment without what belongs to the project's own tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OURS)}


def bare(home: Path) -> dict[str, str]:
    """Return the environment of somebody who has set nothing."""
    return {"PATH": BARE_PATH, "HOME": str(home)}


@dataclass
class ProjectCopy:
    """A copy of the project. `output` is everything that its commands have printed."""

    folder: Path
    env: dict[str, str] = field(default_factory=unmarked)
    output: str = ""

    def run(self, commands: str, status: int | None = 0, **env: str) -> str:
        """Run commands as a person's shell would, stopping at the first that fails; return what they print.

        Args:
            commands: For bash.
            status: The expected exit status; None for any.
            env: Further environment variables.
        """
        log = self.folder.with_suffix(".log")
        with (
            log.open("w", encoding="utf-8") as out,
            ending_with_us(
                ["bash", "-euo", "pipefail", "-c", commands],
                ["sh", "-c", 'kill -s KILL -- "-$0" 2>/dev/null || true'],
                cwd=self.folder,
                env={**self.env, "NO_COLOR": "1", **env},
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ) as process,
        ):
            ended = process.wait()
        text = log.read_text(encoding="utf-8", errors="replace")
        assert status is None or ended == status, f"{commands}\nstatus {ended}: {text[-6000:]}"
        self.output += text
        return text


def copy_project(
    folder: Path, environments: tuple[str, ...] = ENVIRONMENTS, *, plugins: bool = True
) -> ProjectCopy:
    """Copy the project's files; environments, and Meltano's plugins, are those of the project."""
    for name in project_files():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
        # Older than the environments: make has nothing to do for what is not changed.
        os.utime(folder / name, (0, 0))
    (folder / ".venvs").mkdir()
    for name in environments:
        if (ROOT / ".venvs" / name).exists():
            (folder / ".venvs" / name).symlink_to(ROOT / ".venvs" / name)
    if plugins:
        (folder / ".meltano").mkdir()
        for kind in PLUGINS:
            (folder / ".meltano" / kind).symlink_to(ROOT / ".meltano" / kind)
        for stamp in (".done", ".locks"):
            (folder / ".meltano" / stamp).touch()
    return ProjectCopy(folder)
