"""The scripts that workflows call: the tag of a release, the packages' names, what fails a scan."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from testkit.programs import run, succeed
from testkit.project_copy import copy_project
from testkit.project_files import ROOT
from testkit.required_tools import tool
from testkit.whole_pipeline import program

SCRIPTS = ROOT / ".github" / "scripts"


def script(name: str, *arguments: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script of .github/scripts."""
    return run(sys.executable, SCRIPTS / name, *arguments, stdin=stdin, env={**os.environ, **variables})


def test_a_release_tag_must_be_the_packages_version() -> None:
    """The right tag gives name and version; another is one line that names both versions."""
    done = script("release_tag.py", "tap-rickandmorty-v0.1.0")
    assert (done.returncode, done.stdout) == (0, "name=tap-rickandmorty\nversion=0.1.0\n")
    for tag, message in [
        ("tap-rickandmorty-v9.9.9", "says version 0.1.0"),
        ("report-v1.0.0", "expected"),
        ("", "expected"),
    ]:
        done = script("release_tag.py", tag)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert message in done.stderr


@pytest.mark.parametrize(
    ("folder", "package"),
    [("tap-rickandmorty", "rickandmorty-tap"), ("target-bigquery", "rickandmorty-target-bigquery")],
)
def test_packages_have_names_of_our_own_and_commands_theirs(folder: str, package: str) -> None:
    """On PyPI the commands' names belong to other projects: what is published has another, and the command is as it was."""
    installed = distribution(package)
    assert [point.name for point in installed.entry_points if point.group == "console_scripts"] == [folder]
    declared = tomllib.loads((ROOT / folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert declared["name"] == package
    assert declared["version"] in succeed(tool(folder), "--version")
    for page in (ROOT / "CONTRIBUTING.md", ROOT / folder / "README.md"):
        assert f"`{package}`" in page.read_text(encoding="utf-8")


ZLIB = ("zlib", "PyPI")


def scanned(
    identity: str = "OSV-1", found: tuple[str, str] = ZLIB, named: tuple[str, str] = ZLIB, **affected: Any
) -> str:
    """Return a scanner's report with one vulnerability; `found` and `named` are the package's name and ecosystem there and in the advisory."""
    about = {"package": {"name": named[0], "ecosystem": named[1]}, **affected}
    package = {"name": found[0], "version": "1.0", "ecosystem": found[1]}
    vulnerable = {"package": package, "vulnerabilities": [{"id": identity, "affected": [about]}]}
    return json.dumps({"results": [{"source": {"path": "requirements/dev.txt"}, "packages": [vulnerable]}]})


NO_FIX = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}]
NO_REPORTS = ("", "[]", '{"results": [3]}', '{"results": [{"packages": [{}]}]}', '{"results": [null]}')
FIXED = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.1"}]}]


@pytest.mark.parametrize(
    ("report", "status", "line"),
    [
        (scanned(ranges=FIXED), 1, "zlib 1.0: OSV-1, fixed in 1.1 (requirements/dev.txt)"),
        (scanned(ranges=NO_FIX), 0, "0 with a fix, 1 without"),
        (scanned("MAL-2026-1"), 1, "zlib 1.0: MAL-2026-1, malicious: remove it (requirements/dev.txt)"),
        ('{"results": []}', 0, "0 with a fix, 0 without"),
        ('{"results": [{"packages": null}]}', 0, "0 with a fix, 0 without"),
        # Another spelling, the whole of which a package is a part, and another name of the release are the same package.
        (scanned(found=("ruamel.yaml", "PyPI"), named=("ruamel-yaml", "PyPI"), ranges=FIXED), 1, "ruamel.yaml 1.0: OSV-1, fixed in 1.1 (requirements/dev.txt)"),
        (scanned(found=("typing_extensions", "PyPI"), named=("Typing-Extensions", "PyPI"), ranges=FIXED), 1, "typing_extensions 1.0: OSV-1, fixed in 1.1 (requirements/dev.txt)"),
        (scanned(found=("libssl3t64", "Debian:13"), named=("openssl", "Debian:13"), ranges=FIXED), 1, "libssl3t64 1.0: OSV-1, fixed in 1.1 (requirements/dev.txt)"),
        (scanned(found=("openssl", "Ubuntu:24.04"), named=("openssl", "Ubuntu:24.04:LTS"), ranges=FIXED), 1, "openssl 1.0: OSV-1, fixed in 1.1 (requirements/dev.txt)"),
        # What is no report, whatever its shape: the lines above say what the scanner complained of.
        *[(text, 2, f"fixable: expected osv-scanner's JSON, got {text!r}; look at the lines above") for text in NO_REPORTS],
    ],
)  # fmt: skip
def test_a_vulnerability_fails_the_scan_once_it_has_a_fix(report: str, status: int, line: str) -> None:
    """With a fixed version, however the advisory spells the package, the scan ends with 1 and names it; without one it is counted."""
    done = script("fixable.py", stdin=report)
    assert (done.returncode, (done.stdout or done.stderr).splitlines()[0]) == (status, line)
    assert done.stderr.count("\n") == (status == 2)


@pytest.mark.parametrize(("status", "expected"), [(0, 0), (1, 0), (127, 2)])
def test_a_scan_that_finds_what_has_no_fix_passes(tmp_path: Path, status: int, expected: int) -> None:
    """osv-scanner's status 1 means found, and fixable.py decides; any other is the scanner's own failure."""
    version = re.search(r"(?m)^OSV_VERSION := (\S+)", (ROOT / "Makefile").read_text())
    assert version
    scanner = tmp_path / ".cache" / f"osv-scanner-{version[1]}" / "osv-scanner"
    scanner.parent.mkdir(parents=True)
    report = scanned(ranges=[]) if status < 2 else ""
    (tmp_path / "report.json").write_text(report)
    scanner.write_text(f"#!/bin/sh\ncat report.json\nexit {status}\n")
    scanner.chmod(0o755)
    shutil.copytree(SCRIPTS, tmp_path / ".github" / "scripts")
    (tmp_path / "requirements").mkdir()
    shutil.copy(ROOT / "Makefile", tmp_path)
    done = run("make", "audit", cwd=tmp_path)
    assert done.returncode == expected, done.stdout + done.stderr


def test_dbt_changed_says_that_there_is_no_commit_to_compare_with(tmp_path: Path) -> None:
    """As in a shallow clone, where git itself says nothing."""
    script = shutil.copytree(SCRIPTS, tmp_path / ".github" / "scripts") / "dbt_changed.sh"
    commit = "git -c user.name=x -c user.email=x@example.com commit -qm x --allow-empty"
    history = f"git init -qb main && {commit} && git checkout -q --orphan other && {commit} -m y"
    done = run("bash", "-c", f'{history} && "{script}" main', cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "git fetch --unshallow" in done.stderr


@pytest.mark.slow
def test_dbt_changed_takes_a_change_that_takes_a_field_away(tmp_path: Path) -> None:
    """A model of the base that reads what is not landed any more fails only the change that leaves it as it is."""
    program("SANDBOX_COMMAND", ".venvs/sandbox/bin/sandbox")
    copy = copy_project(tmp_path / "copy")
    commit = "git add -A && git -c user.name=x -c user.email=x@example.com commit -qm x --allow-empty"
    copy.run(
        f"git init -q && sed -i s/landing.air_date/landing.gone/ transform/macros/records.sql && {commit}"
    )
    copy.run(f"{commit} && .github/scripts/dbt_changed.sh HEAD~1", status=1)
    copy.run(f"sed -i s/landing.gone/landing.air_date/ transform/macros/records.sql && {commit}")
    copy.run(".github/scripts/dbt_changed.sh HEAD~1")
