"""The sandboxes below `.sandbox`: a home per source, and `.sandbox/current`, which names the one chosen last."""

import os
from pathlib import Path

from sandbox.errors import SandboxError
from sandbox.source import Source, default_source
from sandbox.supervisor import Sandbox

ROOT = Path(".sandbox")
CURRENT = ROOT / "current"


def choose(home: Path | None, source: Source | None = None) -> Sandbox:
    """Return the sandbox of a home, else of a source, which is the one chosen last from now on, else the one chosen last.

    Raises:
        SandboxError: `.sandbox` cannot be written.
    """
    if home:
        return Sandbox(home)
    if source is None and CURRENT.exists():
        chosen = Sandbox(ROOT / CURRENT.read_text("utf-8").strip())
        # Not one that was removed since, or has never held a version.
        if chosen.source():
            return chosen
    folder = (source or default_source()).folder
    try:
        ROOT.mkdir(exist_ok=True)
        work = ROOT / f".current-{os.getpid()}"
        work.write_text(folder + "\n", "utf-8")
        work.replace(CURRENT)
    except OSError as error:
        raise SandboxError(
            f"{ROOT.resolve()} cannot be written: {error.strerror}; name another folder with --home"
        ) from error
    return Sandbox(ROOT / folder)


def all_of(home: Path | None) -> list[Sandbox]:
    """Return the sandbox of a home; without one every sandbox that was ever started, the one chosen last first."""
    if home or not ROOT.exists():
        return [Sandbox(home)] if home else []
    homes = [lock.parent for lock in ROOT.glob("*/change.lock")]
    first = choose(None).home
    return [Sandbox(path) for path in sorted(homes, key=lambda path: (path.resolve() != first, path))]
