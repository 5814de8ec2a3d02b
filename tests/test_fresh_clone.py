"""A fresh clone where little is as usual: its path, its locale, a proxy that leads nowhere, no uv; and a source that collapses."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from testkit.project_copy import ProjectCopy, bare, copy_project
from testkit.project_files import ROOT

WITH_PAGE = (ROOT / "report").is_dir()
RUN = 'make run DATA="it\'s données"'


def marts(clone: ProjectCopy) -> str:
    """What the marts hold: of which runs, and how much."""
    counts = ", ".join(
        f"(SELECT AS STRUCT COUNT(*) AS n, MIN(run_id) AS a, MAX(run_id) AS z FROM local_rickandmorty_marts.dim_{e}s) AS {e}"
        for e in ("character", "episode", "location")
    )
    printed = clone.run(f"make query SQL='SELECT {counts}'")
    return printed[printed.index("│") :]


def test_the_first_run_says_what_it_did(fresh_clone: ProjectCopy) -> None:
    """Source, phases, verdict, counts, page; the proxy is not asked for what is on this machine."""
    printed = fresh_clone.output
    assert "Source: captured folder it's données of " in printed
    assert "Verdict: pass" in printed
    assert ", dbt 0.0," not in printed
    assert ("The page: output/report.html" in printed) == WITH_PAGE
    assert [line.split()[:6] for line in printed.splitlines() if line.startswith("characters ")] == [
        ["characters", *["60"] * 5]
    ]


@pytest.fixture
def source(fresh_clone: ProjectCopy) -> Iterator[Path]:
    """The folder that is served; afterwards it is as it was."""
    folder = fresh_clone.folder / "it's données"
    # The API reads the folder when it starts.
    fresh_clone.run("make down")
    before = {file: file.read_text(encoding="utf-8") for file in folder.glob("*.jsonl")}
    yield folder
    for file, text in before.items():
        file.write_text(text, encoding="utf-8")


def keep(file: Path, share: float) -> None:
    """Leaves the first records of a file."""
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_text("".join(lines[: int(len(lines) * share)]), encoding="utf-8")


@pytest.mark.slow
def test_a_source_that_counts_0_ends_the_run_with_the_marts_as_they_were(
    fresh_clone: ProjectCopy, source: Path
) -> None:
    """The tap itself refuses an empty listing: one line names the stream; nothing is built."""
    before = marts(fresh_clone)
    keep(source / "character.jsonl", 0)
    printed = fresh_clone.run(RUN, status=2)
    assert "characters" in printed[printed.index("What failed:") :]
    assert "Verdict: pass" not in printed
    assert "All counts" not in printed
    assert marts(fresh_clone) == before


@pytest.mark.slow
def test_a_source_that_shrinks_fails_the_verdict_with_the_marts_as_they_were(
    fresh_clone: ProjectCopy, source: Path
) -> None:
    """Where the tap lets it through, 12 % fewer characters and an unknown status are in the verdict, on the page too."""
    before = marts(fresh_clone)
    keep(source / "character.jsonl", 0.88)
    lines = (source / "character.jsonl").read_text(encoding="utf-8").splitlines()
    first = json.loads(lines[0]) | {"status": "Frozen"}
    (source / "character.jsonl").write_text("\n".join([json.dumps(first), *lines[1:], ""]), encoding="utf-8")
    printed = fresh_clone.run(RUN, status=2, TAP_RICKANDMORTY_MAX_SHRINK_PERCENT="100")
    assert "Verdict: fail" in printed
    assert (
        "fail: characters: drop: expected at most 10 % fewer records than 60, got 52; retract the version"
        in printed
    )
    assert "warn: characters: status_values: expected none, got 1" in printed
    assert "the verdict is fail, the marts are as they were" in printed
    assert marts(fresh_clone) == before
    if WITH_PAGE:
        page = (fresh_clone.folder / "output" / "report.html").read_text(encoding="utf-8")
        assert "Verdict: fail. The marts are those of the last build that passed" in page


@pytest.mark.slow
@pytest.mark.usefixtures("source")
def test_an_entity_the_api_lacks_ends_the_run_with_the_marts_as_they_were(fresh_clone: ProjectCopy) -> None:
    """Characters and episodes answer, locations are 404 for good: the line names the address."""
    before = marts(fresh_clone)
    fresh_clone.run(RUN.replace("run", "up", 1))
    env = json.loads(fresh_clone.run(".venvs/sandbox/bin/sandbox env --format json"))
    control = env["TAP_RICKANDMORTY_API_URL"].removesuffix("/api") + "/__sandbox__/faults"
    rule = {"path": "^/api/location", "action": "status", "status": 404}
    requests.put(control, json=[rule]).raise_for_status()
    printed = fresh_clone.run(RUN, status=2)
    fresh_clone.run("make down")
    assert "/api/location" in printed[printed.index("What failed:") :]
    assert "Verdict: pass" not in printed
    assert marts(fresh_clone) == before


@pytest.mark.slow
def test_a_build_that_fails_shows_no_earlier_verdict(fresh_clone: ProjectCopy) -> None:
    """An unknown policy ends dbt before the verdict: the one of the run before is not taken for this one's."""
    before = marts(fresh_clone)
    printed = fresh_clone.run(f"make down\n{RUN}", status=2, DBT_VERDICT_EMPTY="never")
    assert "Verdict" not in printed
    assert "the policy of the check empty is fail, warn or ignore, got 'never'" in printed
    assert marts(fresh_clone) == before


@pytest.mark.slow
def test_another_source_gets_a_warehouse_of_its_own(fresh_clone: ProjectCopy) -> None:
    """The made-up universe after the folder: nothing of one is in the other's tables or on its page."""
    before = marts(fresh_clone)
    printed = fresh_clone.run("make down\nmake run")
    assert "Source: made-up universe characters=826" in printed
    assert "The warehouse holds 1 version of this source" in printed
    fresh_clone.run(f"{RUN.replace('run', 'up', 1)}\nmake down")
    assert marts(fresh_clone) == before


@pytest.mark.slow
@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="another user needs root and setpriv"
)
def test_an_ordinary_user_starts_from_nothing() -> None:
    """Nothing is installed: no uv, no environments, LC_ALL=C, an odd path, no write access elsewhere; needs a registry.

    pip is to install for the user, as Gitpod has it.
    """
    # pytest's own folders are closed to others.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy = copy_project(folder / "à côté", (), plugins=False)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, 65534, 65534, follow_symlinks=False)
        given = {name: os.environ[name] for name in ("SSL_CERT_FILE", "PIP_CERT") if name in os.environ}
        copy.env = bare(folder) | given | {"LC_ALL": "C", "PIP_USER": "yes"}
        user = "setpriv --reuid 65534 --regid 65534 --clear-groups"
        printed = copy.run(f"{user} make run PYTHON=/usr/bin/python3")
    assert "Verdict: pass" in printed
