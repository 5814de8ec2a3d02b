"""`make new`, and a project without its optional parts: each on a copy, by the commands that a person types."""

import re
import shlex
import shutil
import sys
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import new_project
import pytest
from new_project import PARTS
from testkit.programs import run
from testkit.project_copy import unmarked
from testkit.project_files import OPTIONAL_FOLDERS, ROOT, project_files
from testkit.whole_pipeline import program

FOLDERS = {part: paths[0].rstrip("/") for part, paths in PARTS.items()}
HERE = [part for part, folder in FOLDERS.items() if (ROOT / folder).is_dir()]
# By default none and all.
CHOICES = [
    pytest.param(list(parts), marks=pytest.mark.slow if 0 < size < len(HERE) else ())
    for size in range(len(HERE) + 1)
    for parts in combinations(HERE, size)
]
NEW_PROJECT = (sys.executable, str(ROOT / "scripts" / "new_project.py"))
PYTEST = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider")


def output_of(folder: Path, *command: str, status: int = 0) -> str:
    """What a command in a folder says; its exit status is as expected."""
    done = run(*command, cwd=folder, env=unmarked() | {"NO_COLOR": "1"})
    text = done.stdout + done.stderr
    assert done.returncode == status, text[-6000:]
    return text


def new(folder: Path, *parts: str) -> None:
    """Make a project named library."""
    output_of(ROOT, *NEW_PROJECT, "library", str(folder), *parts)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A copy of this project from which every optional folder was removed by hand."""
    folder = tmp_path / "bare project"
    for name in project_files():
        if not name.startswith(tuple(f"{f}/" for f in FOLDERS.values())):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    output_of(folder, "git", "init", "--quiet")
    return folder


@pytest.fixture
def refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """What `make new` says in the test's folder, in one line and with status 2."""
    monkeypatch.chdir(tmp_path)

    def refusal(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["new_project.py", *arguments])
        with pytest.raises(SystemExit) as ended:
            new_project.main()
        text = capfd.readouterr().err
        assert (ended.value.code, text.count("\n")) == (2, 1), text
        assert text.startswith("make new: ")
        return text

    return refusal


def test_every_folder_that_can_be_removed_can_be_left_out() -> None:
    """`make new` knows the same folders as the tests and the site."""
    assert set(FOLDERS.values()) == set(OPTIONAL_FOLDERS)


def test_without_its_optional_parts_every_rule_is_there(bare: Path) -> None:
    """Make finds a rule for everything that install, check, run and test need."""
    output_of(bare, "make", "--dry-run", "install", "check", "run", "docs", "pytest")


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_project_without_its_optional_parts_makes_others(bare: Path, *, by_hand: bool) -> None:
    """Whether or not all that docs/onboarding.md says of a removed part was done by hand."""
    leftovers = {
        "meltano.yml": r"(?ms)^    - name: report\n.*?(?=^\S)",
        "Dockerfile": r"(?m)^# The program of Kestra's flows\.\n(.+\n)+",
        ".github/dependabot.yml": r'(?m)^  - package-ecosystem: (docker-c|maven|terra).*\n(    .*\n)+|, "/report"',
    }
    for name, pattern in leftovers.items() if by_hand else ():
        text = (bare / name).read_text(encoding="utf-8")
        (bare / name).write_text(re.sub(pattern, "", text), encoding="utf-8")
    (bare / ".venvs").mkdir()
    (bare / ".venvs" / "dev").symlink_to(ROOT / ".venvs" / "dev")
    own = ("env", f"PYTHONPATH={bare / 'testkit' / 'src'}", sys.executable, "scripts/new_project.py")
    output_of(bare, *own, "library", "../library")
    for name, pattern in leftovers.items():
        assert not re.search(pattern, (bare.parent / "library" / name).read_text(encoding="utf-8")), name


@pytest.mark.slow
def test_tests_of_a_removed_part_are_skipped_by_its_name(bare: Path) -> None:
    """A file of tests whose part is not there says so, and is no error."""
    files = [
        f"tests/{name}.py"
        for name in ("kestra/test_flow_runs", "test_report", "terraform/test_configuration")
    ]
    there = [name for name in files if (bare / name).is_file()]
    assert there
    # Exit status 5: every test was left out.
    text = output_of(bare, *PYTEST, "-rs", *there, status=5)
    assert text.count(" was removed from this project") == len(there), text
    # The rest is read with the copy's own testkit, so that no file of a removed part is found elsewhere.
    own = ("env", f"PYTHONPATH={bare / 'testkit' / 'src'}")
    output_of(bare, *own, *PYTEST, "--collect-only", "-q", "tests")
    output_of(bare, *PYTEST, "-k", "variable or site", "tests/test_repository.py")


@pytest.mark.parametrize("parts", CHOICES, ids=lambda parts: "-".join(parts) or "none")
def test_a_new_project_has_its_name_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: list[str]
) -> None:
    """The example's name is left in the API's address alone, what was not chosen is away, make has its rules, and lint takes it."""
    # Files that this person ignores everywhere else are in its repository all the same.
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "git").mkdir()
    (tmp_path / "git" / "ignore").write_text("*.lock\n")
    folder = tmp_path / "library"
    new(folder, *parts)
    names = output_of(folder, "git", "ls-files").split()
    assert "plugins/loaders/target-bigquery--library.lock" in names
    assert not [name for name in names if "rickandmorty" in name.lower()]
    assert {part for part, top in FOLDERS.items() if (folder / top).is_dir()} == set(parts)
    assert ("The page" in (folder / "README.md").read_text(encoding="utf-8")) == ("report" in parts)
    # Dependabot fails where it finds nothing to update.
    dependabot = (folder / ".github" / "dependabot.yml").read_text(encoding="utf-8")
    for place in (
        *re.findall(r'"/([\w/-]*)"', dependabot),
        *["compose.yaml"] * ("docker-compose" in dependabot),
    ):
        assert (folder / place).exists(), place
    if "terraform" not in parts:
        assert not (folder / ".github" / "workflows" / "provider.yml").exists()
        assert "skipped, as terraform/" in output_of(folder, "make", "test-provider")
    for name in names:
        text = (folder / name).read_bytes().lower().replace(b"rickandmortyapi.com", b"")
        assert not re.search(rb"rick.?and.?morty", text), name
    output_of(folder, "make", "help")
    output_of(folder, "make", "--dry-run", "install", "check", "run", "docs", "pytest")
    # The stages of the image and of the sandbox beside it; the report's is built where it is asked for.
    dockerfile = (folder / "Dockerfile").read_text(encoding="utf-8")
    copied = re.findall(r"(?m)^COPY ((?!--from)(?!.*report).*) \S+$", dockerfile)
    assert not [name for names in copied for name in names.split() if not (folder / name).exists()]
    if parts in ([], HERE):
        # Under another name, imports are sorted and lines wrapped elsewhere.
        for check in (["ruff", "check", "-q"], ["ruff", "format", "-q", "--check"], ["yamllint", "--strict"]):
            output_of(folder, sys.executable, "-m", *check, ".")


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("Library x", "lower-case letters"),
        ("l x", "2 to 12"),
        ("my-lib x", "lower-case letters"),
        ("my.lib x", "lower-case letters"),
        ("'my lib' x", "lower-case letters"),
        ("'' x", "NAME='': expected"),
        ("yes x", "a word of YAML or dbt"),
        ("target x", "a word of YAML or dbt"),
        ("namespace x", "a word of YAML or dbt"),
        ("character x", "or an entity's job"),
        ("library x reports", "reports unknown; choose from report kestra"),
        ("library x report,kestra", "with spaces between"),
        ("library x none", "PARTS= for none"),
        ("library x --api books.example", "begins with https://"),
        ("library x --api https://me:p@ss/w0rd@books.example", "got https://***@books.example\n"),
        ("library x --api https://me:p/hunter2@books.example", "are for the setting api_url"),
        ("""library x --api 'https://books.example/"a"'""", "without quotes"),
        ("library x --api 'https://books.example/{y}'", "%24 for $"),
        ("library x --api 'https://$HOST/api'", "%24 for $"),
        ("library x report --empty", "cannot be without the example"),
        ("library .", "exists already"),
        ("library ''", "FOLDER is not given"),
        ("library 'a file/x'", "cannot be created: "),
        ("library '~nobody-of-that-name/../a file'", "exists already"),
        (f"library '{ROOT}/inside'", "lies in this project"),
    ],
)
def test_a_new_project_that_cannot_be_made_says_why(
    refused: Callable[..., str], tmp_path: Path, typed: str, expected: str
) -> None:
    """One line says what was expected and got; nothing is written, and the exit status is 2."""
    (tmp_path / "a file").touch()
    before = sorted(tmp_path.rglob("*"))
    assert expected in refused(*shlex.split(typed))
    assert sorted(tmp_path.rglob("*")) == before


GIT_INIT = "; git has to be there, and this folder a repository: git init\n"


@pytest.mark.parametrize("name", ["PATH", "GIT_DIR"])
def test_without_git_there_is_no_new_project(
    refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """No git, and a folder that is no repository of its, as a downloaded archive: one line, and no folder is left."""
    monkeypatch.setenv(name, "/nowhere")
    text = refused("library", "x")
    assert text.startswith("make new: this project's files cannot be listed: ")
    assert text.endswith(GIT_INIT)
    assert list(tmp_path.iterdir()) == []


def test_a_new_project_that_cannot_be_written_is_not_left_half_made(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    """Its path is too long for some of its files; a folder that is named git asks nobody to install git."""
    folder = "git" + ("/" + "d" * 50) * ((4050 - len(str(tmp_path))) // 51)
    text = refused("library", folder)
    assert text.startswith(f"make new: FOLDER={folder}: not made: [Errno 36] File name too long: ")
    assert not text.endswith(GIT_INIT)
    assert not (tmp_path / folder).exists()


def test_a_new_project_may_lie_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home, a space, letters beyond ASCII, folders that are not there yet; a part that is named twice comes once."""
    monkeypatch.setenv("HOME", str(tmp_path))
    text = output_of(tmp_path, *NEW_PROJECT, "library", "~/a shelf/bücherei", *HERE[:1] * 2)
    made = tmp_path / "a shelf" / "bücherei"
    assert f"cd {shlex.quote(str(made))} && make run" in text
    assert f"with {HERE[0] if HERE else 'no optional part'}." in text
    output_of(made, "make", "--dry-run", "run")


def uncalled_macros(project: Path) -> set[str]:
    """Names of macros that no other SQL of dbt's, and no template of `make entity`, has."""
    folders = (project / "transform", project / "scripts" / "entity_templates")
    files = [file for folder in folders for file in folder.rglob("*") if file.suffix in {".sql", ".j2"}]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files if "target" not in file.parts)
    return {name for name in re.findall(r"macro (\w+)\(", text) if len(re.findall(rf"\b{name}\b", text)) == 1}


def test_an_empty_project_has_types_and_no_macro_of_the_example(tmp_path: Path) -> None:
    """What calls a macro leaves with the example's entities; so does the macro. `make check` needs the packages' types.

    What needs an entity says how to add one, and the README leads to what is there.
    """
    folder = tmp_path / "library"
    output_of(ROOT, *NEW_PROJECT, "--empty", "library", str(folder))
    packages = [file.parent for file in folder.glob("*/src/*/__init__.py")]
    assert [package for package in packages if not (package / "py.typed").exists()] == []
    assert uncalled_macros(folder) == uncalled_macros(ROOT)
    for command in ("run", "build", "retract", "up", "test", "lint-sql", "site"):
        refused = output_of(folder, "make", "--dry-run", command, status=2)
        assert "there is no entity yet: make entity NAME=… SAMPLE=…" in refused
    assert "sqlfluff" not in output_of(folder, "make", "--dry-run", "check")
    for tests in ("faults", "kestra", "image"):
        assert "skipped, as tests/" in output_of(folder, "make", f"test-{tests}")
    readme = (folder / "README.md").read_text(encoding="utf-8")
    named = [link or name for link, name in new_project.NAMED.findall(readme)]
    assert "docs/onboarding.md" in named
    assert [name for name in named if not (folder / name).exists()] == []
    assert "`make entity NAME=… SAMPLE=…`" in readme.partition("| you want to |")[0]
    assert not re.search("universe|characters|episodes|locations|The page|toy|rickandmortyapi", readme)


@pytest.mark.slow
def test_the_tests_that_an_empty_project_keeps_have_types(tmp_path: Path) -> None:
    """Checked alone, and without what mypy has seen before: another file may import what one forgot."""
    output_of(
        ROOT,
        *NEW_PROJECT,
        "--empty",
        "library",
        str(tmp_path / "library"),
        *{*HERE} - {"report", "benchmarks"},
    )
    for folder in ("tests", "tests/terraform"):
        if files := [str(file) for file in (tmp_path / "library" / folder).glob("*.py")]:
            mypy = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / folder)]
            output_of(tmp_path / "library", *mypy, *files)


@pytest.mark.slow
@pytest.mark.parametrize("parts", [[], HERE], ids=["smallest", "largest"])
def test_a_new_project_is_green(tmp_path: Path, parts: list[str]) -> None:
    """Its `make check`, `make run` and the tests of its files and of its tap and target pass."""
    program("SANDBOX_COMMAND", ".venvs/sandbox/bin/sandbox")
    folder = tmp_path / "library"
    new(folder, *parts)
    output_of(folder, "make", "install", "check")
    try:
        text = output_of(folder, "make", "run")
        assert ("report.html" in text) == ("report" in parts), text
        files = [
            "tests/test_repository.py",
            "tests/test_schemas.py",
            "tests/test_meltano_project.py",
            "tap-library/tests/test_tap_standard.py",
            "target-bigquery/tests/test_target_standard.py",
        ]
        output_of(folder, "make", "pytest", f"ARGS=-q {' '.join(files)}")
    finally:
        output_of(folder, ".venvs/sandbox/bin/sandbox", "stop")
