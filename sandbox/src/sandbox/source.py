"""Where the API's records come from, by name: in the ledger, in the verdict, on the page, and as its home folder.

A warehouse holds the versions of one source. So each source has a home of its own below `.sandbox`, and `.sandbox/current`
names the one that was chosen last.
"""

import hashlib
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from sandbox.errors import SandboxError
from sandbox.records import check_folder
from sandbox.universe import Size

LIVE_API = "https://rickandmortyapi.com/api"
# Written by `sandbox capture` beside the records.
CAPTURED = "captured.json"
# Answers of the real API that a project keeps: the default source.
ANSWERS = Path("answers")


@dataclass(frozen=True)
class Source:
    """A source: its name, and the options of `sandbox api` that serve it; `url` instead where the API is not the sandbox's.

    `place` tells one folder from another of the same name and date: its path, from the project where it lies there.
    """

    name: str
    options: list[str] = field(default_factory=list)
    url: str | None = None
    place: str = ""

    @property
    def title(self) -> str:
        """Its name, and its place where it has one."""
        return f"{self.name} ({self.place})" if self.place else self.name

    @property
    def folder(self) -> str:
        """The name of its home below `.sandbox`."""
        readable = re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")[:40].strip("-")
        return f"{readable}-{hashlib.sha256(self.title.encode()).hexdigest()[:6]}"

    @property
    def stamp(self) -> str:
        """Name, size and time of each of a folder's files; empty for another source."""
        if self.options[:1] != ["--data"]:
            return ""
        files = sorted(Path(self.options[1]).glob("*.jsonl"))
        return ", ".join(
            f"{file.name} {found.st_size} {found.st_mtime_ns}" for file in files for found in [file.stat()]
        )


def made_up(universe: str = "") -> Source:
    """Return the made-up universe of a size.

    Raises:
        SandboxError: The size is not one.
    """
    try:
        size = Size.parse(universe)
    except ValueError as error:
        raise SandboxError(f"--universe: {error}") from error
    # A later version is the same universe after some edits.
    sizes = f"characters={size.characters},locations={size.locations},episodes={size.episodes}"
    return Source(
        f"made-up universe {sizes} seed={size.seed}",
        ["--universe", f"{sizes},seed={size.seed},version={size.version}"],
    )


def captured(folder: Path) -> Source:
    """Return the source of a folder with API-shaped JSON lines.

    Raises:
        SandboxError: A file is missing.
    """
    check_folder(folder)
    try:
        date = datetime.fromisoformat(json.loads((folder / CAPTURED).read_text("utf-8"))["captured_at"])
    except (OSError, ValueError, KeyError, TypeError):
        # A folder from elsewhere: its newest file.
        date = datetime.fromtimestamp(max(file.stat().st_mtime for file in folder.glob("*.jsonl")), UTC)
    path, here = folder.resolve(), Path.cwd()
    place = path.relative_to(here) if path.is_relative_to(here) else path
    return Source(f"captured folder {path.name} of {date:%Y-%m-%d}", ["--data", str(path)], place=str(place))


def default_source() -> Source:
    """Return the source for when none is named: the project's own answers, else the made-up universe."""
    return captured(ANSWERS) if ANSWERS.is_dir() else made_up()


def live() -> Source:
    """Return the live API."""
    return Source(LIVE_API, url=LIVE_API)
