"""The commands of the documentation exist as they are written, in a clone with nothing else on the PATH."""

from __future__ import annotations

import os
import re
import subprocess
from functools import cache

import pytest
from testkit.whole_pipeline import ROOT

# What a page names by its own name: the tables of a part's commands, and programs of a cloud or a container.
COMMAND = re.compile(
    r"(?m)(?:^|`)((?:make|\.venvs/[a-z-]+/bin/[a-z-]+|scripts/[a-z_]+\.py|\.github/scripts/\S+)(?: [^`\n#]*)?)(?:`|$|  +#)"
)
FENCE = re.compile(r"(?ms)^```(?:bash|sh)?\n(.*?)^```")


@cache
def pages() -> tuple[str, ...]:
    """The pages for people, but for what tells of the past."""
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, check=True, capture_output=True, text=True)
    return tuple(
        name for name in listed.stdout.split() if not name.startswith(("CHANGELOG", "docs/decisions"))
    )


def commands(page: str) -> list[str]:
    """The commands of a page: lines of its fenced blocks, and code in its sentences and tables."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = [line.strip() for block in FENCE.findall(text) for line in block.splitlines()]
    inline = re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
    return [
        re.split(";|&&", found[1])[0].strip() for code in (*blocks, *inline) if (found := COMMAND.match(code))
    ]


@cache
def targets() -> frozenset[str]:
    """The targets of the Makefile."""
    return frozenset(re.findall(r"(?m)^([a-z][a-z-]*):", (ROOT / "Makefile").read_text()))


@pytest.mark.parametrize("page", pages())
def test_what_a_page_says_to_type_is_there(page: str) -> None:
    """Each `make` target is one, each program of `.venvs/` is installed, each script is in the repository."""
    for command in commands(page):
        program, *words = command.split()
        if program == "make":
            asked = [word for word in words if re.fullmatch(r"[a-z][a-z-]*", word)][:1]
            # `make X` of a sentence such as "make and bash" has no target either.
            assert set(asked) <= targets(), f"{page}: {command}"
        else:
            assert (ROOT / program).exists(), f"{page}: {command}"


def test_the_first_screen_has_commands_that_are_checked() -> None:
    """The check above is not empty."""
    assert {"make run", "make test"} <= set(commands("README.md"))
    assert sum(len(commands(page)) for page in pages()) > 60


@pytest.mark.parametrize(
    "command",
    [
        "make help",
        "make doctor",
        "make --dry-run run",
        "make --dry-run query SQL=x",
        "make --dry-run clean",
        "make down",
    ],
)
def test_a_bare_path_is_enough(command: str) -> None:
    """The everyday commands begin with the system's own programs and what make has installed."""
    bare = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": os.environ.get("HOME", "/")}
    done = subprocess.run(
        [*command.split(), "PYTHON=python3"],
        cwd=ROOT,
        env=bare,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
