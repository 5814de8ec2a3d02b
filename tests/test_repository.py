"""What must hold of the files in the repository themselves."""

import itertools
import json
import os
import re
import sys
from pathlib import Path

import pytest
import yaml
from generated_files import write
from plugin_locks import about
from testkit.programs import succeed
from testkit.project_files import ROOT
from testkit.required_tools import tool
from testkit.whole_pipeline import python_program


def tracked() -> list[str]:
    """The names of the files that git tracks."""
    return [name for name in succeed("git", "ls-files", "-z", cwd=ROOT).split("\0") if name]


# What only develops and checks; everything else ships, or is what a newcomer runs.
UNHASHED = {"checkov", "dev", "sql"}


def test_every_lock_names_no_registry_and_those_that_ship_pin_by_hash() -> None:
    """Each requirement of each lock has a version, and a hash where its environment ships; no lock holds an address."""
    locks = sorted((ROOT / "requirements").glob("*.txt"))
    assert {lock.stem for lock in locks} == {lock.stem for lock in (ROOT / "requirements").glob("*.in")} | {
        "sandbox",
        "tap-rickandmorty",
        "target-bigquery",
    }
    for lock in locks:
        text = lock.read_text()
        assert "://" not in text, lock
        assert "index-url" not in text, lock
        for pin in re.split(r"\n(?=\S)", text.strip()):
            assert re.match(r"[a-z0-9._-]+(\[[a-z0-9,._-]+\])?==\S+", pin), pin
            assert ("--hash=sha256:" in pin) == (lock.stem not in UNHASHED), pin


@pytest.mark.slow
def test_every_environment_is_installed_with_bytecode() -> None:
    """Each module of each environment has been compiled: where Python may not write it, every start would compile again."""
    folders = [
        *ROOT.glob(".venvs/*/lib/python3.*/site-packages"),
        *ROOT.glob(".meltano/*/*/venv/lib/python3.*/site-packages"),
    ]
    assert len(folders) > 4
    for folder in folders:
        compiled = {(p.parent.parent, p.name.partition(".")[0]) for p in folder.rglob("__pycache__/*.pyc")}
        bare = [p for p in folder.rglob("*.py") if (p.parent, p.name.partition(".")[0]) not in compiled]
        assert bare == [], "installed without UV_COMPILE_BYTECODE; remove it and run make install"


@pytest.mark.slow
def test_what_tests_start_takes_signals_though_they_run_under_nohup_in_the_background(tmp_path: Path) -> None:
    """`nohup make test &` ignores SIGHUP and SIGINT, and what a test starts to send it one would wait for ever."""
    (tmp_path / "test_signals.py").write_text(
        "import signal, subprocess, sys, pytest\n"
        "@pytest.mark.parametrize('number', [signal.SIGHUP, signal.SIGINT])\n"
        "def test_signal(number):\n"
        "    code = f'import os, signal, time; os.kill(os.getpid(), {int(number)}); time.sleep(1)'\n"
        "    assert subprocess.run([sys.executable, '-c', code], stderr=-3).returncode == -number\n"
    )
    pytest = f"'{sys.executable}' -m pytest -q -c '{ROOT}/pyproject.toml' '{tmp_path}/test_signals.py'"
    succeed("bash", "-c", f"trap '' HUP INT; exec {pytest}", cwd=ROOT)


def test_files_of_tests_are_named_in_any_order() -> None:
    """No fixture of a folder is lost where its files and another folder's alternate, as in a list of changed files."""
    names = [name for name in sorted(tracked()) if re.match(r"tests/(\w+/)?test_\w+\.py$", name)]
    folders = [[*group][:2] for _, group in itertools.groupby(names, os.path.dirname)]
    files = [file for turn in itertools.zip_longest(*folders) for file in turn if file]
    succeed(sys.executable, "-m", "pytest", "--quiet", "--setup-plan", *files, cwd=ROOT)


def test_every_generated_file_is_current() -> None:
    """What entities.yml, tap, target and the tests' cases give today: flows, locks, landing schemas, tables of the pages."""
    succeed(sys.executable, ROOT / "scripts" / "generated_files.py", "--check")


def test_generated_files_are_written_all_or_none(tmp_path: Path) -> None:
    """What cannot be written, as on a full disk, leaves every file as a person has it."""
    (tmp_path / "a file").write_text("mine")
    with pytest.raises(FileExistsError):
        write({tmp_path / "a file": "generated", tmp_path / "a file" / "another": "generated"})
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_a_plugin_that_does_not_start_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Generating its lock ends with its last line, not with a traceback."""
    python_program(tmp_path / "tap-broken", "raise SystemExit('no settings.json')\n")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(ValueError, match=r"tap-broken --about ended with status 1: no settings\.json"):
        about("tap-broken")


def test_the_tap_has_the_streams_of_the_list_of_entities() -> None:
    """Exactly these, by the names and keys of entities.yml."""
    tap = next(ROOT.glob("tap-*/pyproject.toml")).parent.name
    discovered = json.loads(succeed(tool(tap), "--discover"))
    listed = yaml.safe_load((ROOT / "entities.yml").read_text(encoding="utf-8"))["entities"]
    assert {stream["stream"]: stream["key_properties"] for stream in discovered["streams"]} == {
        entity["name"]: entity["key"] for entity in listed
    }


def test_every_variable_of_the_environment_is_explained() -> None:
    """What meltano.yml, dbt and Terraform's output read or write stands in .env.example, below a comment."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    found = {
        match[1]: above
        for above, line in itertools.pairwise(lines)
        if (match := re.fullmatch(r"#?([A-Z_]+)=.*", line))
    }
    assert all(above.startswith("# ") for above in found.values()), found
    terraform = ROOT / "terraform" / "outputs.tf"
    outputs = terraform.read_text() if terraform.is_file() else "output "
    needed = {
        *re.findall(r"\$\{([A-Z_]+)\}", (ROOT / "meltano.yml").read_text()),
        *re.findall(r"(?m)^ +([A-Z_]+) += ", outputs[: outputs.index("output ")]),
        *(
            name
            for folder in ("models", "macros", "snapshots", "tests", "*.yml")
            for path in (ROOT / "transform").glob(folder if folder == "*.yml" else f"{folder}/**/*.*")
            for name in re.findall(r"env_var\('([A-Z_]+)'", path.read_text())
        ),
    } - {"MELTANO_PROJECT_ROOT", "MELTANO_EXTRACT_API_URL"}
    assert len(needed) >= 6
    # `DBT_VERDICT_` and the name of a check.
    assert not [
        name
        for name in needed
        if not any(f == name or (name[-1] == "_" and f.startswith(name)) for f in found)
    ]


def test_the_documentation_is_a_site(tmp_path: Path) -> None:
    """Every page is reached, no link within the repository leads nowhere, and a browser asks no other host for a page."""
    succeed(tool("sphinx-build"), "-q", "-W", "--keep-going", "-b", "html", ROOT / "docs", tmp_path)
    # What a browser fetches by itself; links are for people.
    fetched = re.compile(
        r"""<(?:script|img|iframe|object|source|link)\b[^>]*?\b(?:src|data|href)="(?:https?:)?//|@import\s|url\(["']?(?:https?:)?//|import\b[^;]*https?://"""
    )
    loaded = [path for path in tmp_path.rglob("*") if path.suffix in {".html", ".css", ".js", ".svg"}]
    assert any(path.suffix == ".svg" and path.name.startswith("mermaid-") for path in loaded)
    assert not [path.name for path in loaded if fetched.search(path.read_text(encoding="utf-8"))]


def test_make_clean_removes_what_git_ignores() -> None:
    """Everything that is built goes; what a person has written as the pages say stays."""
    theirs = {".env", "credentials.json", "image-reference.txt", "kestra.json"}
    ignored = set((ROOT / ".gitignore").read_text().split()) - theirs
    removed = set(re.findall(r"[\w./*-]+", succeed("make", "--dry-run", "clean", cwd=ROOT)))
    assert not {name.rstrip("/") for name in ignored if name != "*.pyc"} - removed
    assert not theirs & removed


def test_what_does_not_belong_in_the_repository_is_not_tracked() -> None:
    """Locks of another format, which name a registry's host, and records of the real API, which stay in ../shared."""
    others = {"uv.lock", "package-lock.json", "character.jsonl", "location.jsonl", "episode.jsonl"}
    assert not [name for name in tracked() if name.rsplit("/", 1)[-1] in others]
