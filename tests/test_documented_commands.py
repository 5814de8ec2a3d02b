"""The commands of the documentation: what a page says to type is there, and is run as it stands in a fresh clone.

A fenced block of commands is run here; or is marked as needing a cloud (```bash cloud) and run up to its credentials;
or has commands that another test runs, which is named below.
"""

import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from testkit.programs import run
from testkit.project_copy import BARE_PATH, ProjectCopy, bare, copy_project
from testkit.project_files import REMOVED_FOLDERS, ROOT, project_files

# What a page names by its own name: the tables of a part's commands, and programs of a cloud or a container.
COMMAND = re.compile(
    r"(?m)(?:^|`)((?:make|\.venvs/[a-z-]+/bin/[a-z-]+|scripts/[a-z_]+\.py|\.github/scripts/\S+)(?: [^`\n#]*)?)(?:`|$|  +#)"
)
FENCE = re.compile(r"(?ms)^```([^\n]*)\n(.*?)^```$")
# Commands that cost too much here, or change the clone: who runs them.
ELSEWHERE = {
    r"make run$": "tests/test_fresh_clone.py::fresh_clone",
    r"make test$": ".ci/run::make test",
    r"make (bench|reliability-peers)": "tests/test_documented_commands.py::test_the_everyday_commands_begin",
    r"make entity ": "tests/test_add_an_entity.py::test_make_entity_writes_what_an_incremental_entity_needs",
    r"make new ": "tests/test_new_project.py::test_a_new_project_is_green",
    r"pip install \./|tap-rickandmorty \||some-tap \|": "tests/test_documented_commands.py::test_tap_and_target_are_installed_as_their_pages_say",
    r"\S+/meltano run tap-rickandmorty target-bigquery dbt-bigquery:build$|\S+/meltano (--environment=prod )?run dbt-bigquery:build$": "tests/conftest.py::built_pipeline",
    r"\S+/meltano run dbt-bigquery:unit-test$": "tests/test_marts.py::dbt-bigquery:unit-test",
    r"env MELTANO_JOB=dbt ": "tests/kestra/test_meltano_job.py::test_a_selection_that_selects_nothing_fails_with_what_is_near",
    r"\S+/meltano --environment=prod invoke dbt-bigquery run-operation retract|DBT_AS_OF=": "tests/test_build_versions.py::test_a_bad_version_ends_before_the_marts_and_leaves_no_trace_once_retracted",
    r"docker (build|run) ": "tests/test_image.py::test_the_image_runs_the_whole_pipeline_and_installs_nothing",
    r"docker compose (up|exec) ": "tests/test_image.py::test_the_image_for_a_laptop_runs_the_pipeline_on_its_own_sandbox",
}
# A page whose text is a program of its own.
FOLLOWED = {"docs/onboarding.md": "tests/test_add_an_entity.py::follow"}
# Programs that ask for an account, and what they print to a person without one.
ACCOUNTS = ("gcloud", "bq", "gh", "terraform", "docker")
NEEDED = r"credentials|GOOGLE_CLOUD_PROJECT|TARGET_BIGQUERY_BUCKET|KESTRA_TOKEN|expected an image by digest|there is no plan of"


@cache
def pages() -> tuple[str, ...]:
    """The pages for people, but for what tells of the past."""
    return tuple(
        name
        for name in project_files()
        if name.endswith(".md") and not name.startswith(("CHANGELOG", "docs/decisions"))
    )


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: the words behind the fence, and what is inside."""

    page: str
    line: int
    words: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        """The name of the block in a test report."""
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """What is typed: a command with its further lines, without comments."""
        whole = re.sub(r"\\\n\s*", "", self.text)
        if re.search(r"(?m)^(for|if|while) ", whole):
            return [whole]
        return [found for line in whole.splitlines() if (found := re.sub(r"(^|\s+)# .*", "", line).strip())]

    def elsewhere(self, command: str) -> str | None:
        """Return the test that runs a command, where it is not run here."""
        if self.page in FOLLOWED and not re.match("make (entity|new) ", command):
            return FOLLOWED[self.page]
        if "report:build" in command and not (ROOT / "report").is_dir():
            return "a part that was removed"
        bare_command = re.sub(r"^\.venvs/sandbox/bin/sandbox exec -- ", "", command)
        return next((test for known, test in ELSEWHERE.items() if re.match(known, bare_command)), None)


@cache
def blocks() -> tuple[Block, ...]:
    """Every fenced block."""
    return tuple(
        Block(page, text.count("\n", 0, fence.start()) + 1, tuple(fence[1].split()), fence[2])
        for page in pages()
        for text in [(ROOT / page).read_text(encoding="utf-8")]
        for fence in FENCE.finditer(text)
    )


SHELL = [block for block in blocks() if block.words[:1] == ("bash",)]
CLOUD = [block for block in SHELL if block.words == ("bash", "cloud")]
RUN_HERE = [block for block in SHELL if any(block.elsewhere(command) is None for command in block.commands)]


def commands(page: str) -> list[str]:
    """The commands of a page: lines of its fenced blocks, and code in its sentences and tables."""
    text = (ROOT / page).read_text(encoding="utf-8")
    fenced = [line.strip() for block in SHELL if block.page == page for line in block.text.splitlines()]
    inline = re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
    return [
        re.split(";|&&", found[1])[0].strip() for code in (*fenced, *inline) if (found := COMMAND.match(code))
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
            targets_named = [word for word in words if re.fullmatch(r"[a-z][a-z-]*", word)][:1]
            # `make X` of a sentence such as "make and bash" has no target either.
            assert set(targets_named) <= targets(), f"{page}: {command}"
        else:
            assert (ROOT / program).exists(), f"{page}: {command}"


def test_each_file_that_readme_names_is_there() -> None:
    """The way from a wish to its file leads somewhere, and each name in front of a file is in it."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"`(\.?[\w-]+/[\w./-]*)`", text)
    there = [name for name in named if (ROOT / name.split("/")[0]).is_dir()]
    assert len(there) > 15
    assert not [name for name in there if not (ROOT / name).exists()]
    for names, file in re.findall(r"((?:`\w+`, )*`\w+`) in `([\w./-]+)`", text):
        for name in re.findall(r"\w+", names):
            assert not (ROOT / file).exists() or name in (ROOT / file).read_text(encoding="utf-8"), (
                name,
                file,
            )


@pytest.mark.parametrize("package", ["tap-rickandmorty", "target-bigquery"])
def test_the_readme_of_a_package_has_no_link_into_the_repository(package: str) -> None:
    """PyPI shows it alone."""
    text = (ROOT / package / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\((?!https:)[^)]*\)", text) == []


# From Python and from uv.
OTHERS_SAY = {"UnicodeDecodeError: 'ascii' codec", "invalid peer certificate: UnknownIssuer"}


def test_each_error_of_the_troubleshooting_page_is_one_that_the_project_gives() -> None:
    """Its literal text stands in a program or a test; `…` and N stand for what differs."""
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    errors = {
        text for row in re.findall(r"(?m)^\| (`.*?) \| ", page) for text in re.findall(r"`([^`]+)`", row)
    } - {".venvs/"}
    ours = [name for name in project_files() if name.endswith((".py", "Makefile", "meltano.yml"))]
    code = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in ours)
    assert len(errors) > 10
    for error in errors - OTHERS_SAY:
        assert all(part.strip() in code for part in re.split(r"…|\bN\b", error)), error


def test_every_block_says_what_it_holds() -> None:
    """No fence is without a language: commands are bash, `cloud` is the only mark, and no command hides in text."""
    for block in blocks():
        assert block.words, block
        assert block in SHELL or len(block.words) == 1, block
        if block.words[0] == "text":
            assert not re.search(r"(?m)^(make|\.venvs/|docker|terraform|gcloud) ?", block.text), block
    assert all(len(block.words) == 1 or block in CLOUD for block in SHELL)
    # What is checked above is not nothing.
    assert {"make run", "make test"} <= set(commands("README.md"))
    assert sum(len(commands(page)) for page in pages()) > 60


def test_who_runs_a_command_is_there() -> None:
    """Each test that is named above exists, but for those of a part that was removed, and each command is on a page."""
    runners = {block.elsewhere(command) for block in SHELL for command in block.commands}
    if not REMOVED_FOLDERS:
        assert runners - {None} == {*ELSEWHERE.values(), *FOLLOWED.values()}
    for where in runners - {None}:
        file, _, name = str(where).partition("::")
        if (ROOT / file).is_file():
            assert re.search(rf"\b{re.escape(name)}\b", (ROOT / file).read_text(encoding="utf-8")), where


def typed_once() -> dict[Block, list[str]]:
    """Return what is run of each block: neither what another test runs nor what an earlier block has."""
    seen: set[str] = set()
    found: dict[Block, list[str]] = {}
    for block in RUN_HERE:
        if block not in CLOUD:
            mine = [c for c in block.commands if block.elsewhere(c) is None and c not in seen]
            seen.update(mine)
            found |= {block: mine} if mine else {}
    return found


@pytest.mark.parametrize(
    ("block", "mine"),
    [
        # `built_pipeline` writes the same page.
        pytest.param(
            block, mine, id=str(block), marks=pytest.mark.slow if "report:build" in str(mine) else ()
        )
        for block, mine in typed_once().items()
    ],
)
def test_a_block_runs_as_it_stands(fresh_clone: ProjectCopy, block: Block, mine: list[str]) -> None:  # noqa: ARG001 (its name)
    """In a clone with the system's PATH; what another test runs is left out."""
    fresh_clone.run("\n".join(mine))


@pytest.fixture(scope="module")
def without_account(tmp_path_factory: pytest.TempPathFactory) -> ProjectCopy:
    """A clone without any account, whose network ends at this machine."""
    folder = tmp_path_factory.mktemp("without-account")
    copy = copy_project(folder / "clone")
    (folder / "bin").mkdir()
    for name in ACCOUNTS:
        program = folder / "bin" / name
        program.write_text('#!/bin/sh\necho "no credentials: ${0##*/} $*" >&2\nexit 77\n')
        program.chmod(0o755)
    nowhere = "http://127.0.0.1:9"
    copy.env = bare(folder) | {
        "PATH": f"{folder / 'bin'}:{BARE_PATH}",
        "https_proxy": nowhere,
        "TAP_RICKANDMORTY_API_URL": f"{nowhere}/api",
        "MELTANO_SEND_ANONYMOUS_USAGE_STATS": "false",
    }
    return copy


@pytest.mark.parametrize("block", [block for block in RUN_HERE if block in CLOUD], ids=str)
def test_a_block_for_a_cloud_runs_up_to_its_credentials(without_account: ProjectCopy, block: Block) -> None:
    """What comes before the first line that needs an account works, and that line says what it needs; no traceback."""
    mine = [command for command in block.commands if block.elsewhere(command) is None]
    # A page is read from its top, in the folder that it is about.
    before = [
        command
        for other in CLOUD
        if other.page == block.page and other.line < block.line
        for command in other.commands
        if re.match(r"export [^$]*$", command)
    ]
    folder = "cd terraform" if block.page.startswith("terraform/") else "cd ."
    output = without_account.run("\n".join([folder, *before, *mine]), status=None)
    assert re.search(NEEDED, output), output
    assert "Traceback" not in output


# What the pages tell a person to commit.
COMMITTED = {"terraform/.terraform.lock.hcl"}


def test_no_file_that_a_page_makes_is_committed_by_mistake() -> None:
    """Keys, settings and values of a site that commands for a cloud write into the clone are ignored by git."""
    written = set()
    for block in CLOUD:
        folder = ROOT / "terraform" if block.page.startswith("terraform/") else ROOT
        for file in re.findall(
            r"(?:>>? |--output-file=|keys create |^cp \S+ |\(cat )([\w./-]+\.?\w+)", block.text, re.MULTILINE
        ):
            written.add(os.path.relpath(folder / file, ROOT))
    assert written or REMOVED_FOLDERS
    for file in written - COMMITTED:
        done = run("git", "check-ignore", "--quiet", "--no-index", file, cwd=ROOT)
        assert done.returncode == 0, f"{file} is written as the pages say, and git would commit it"


@pytest.mark.parametrize(
    "command",
    [
        "make help",
        "make doctor",
        "make --dry-run run",
        "make --dry-run query SQL=x",
        "make --dry-run clean",
        *(
            f"make --dry-run {command.removeprefix('make ')}"
            for block in SHELL
            for command in block.commands
            if re.match("make (bench|reliability-peers)", command)
        ),
        "make down",
    ],
)
def test_the_everyday_commands_begin(fresh_clone: ProjectCopy, command: str) -> None:
    """They begin with the system's own programs and what make has installed."""
    # The doctor may find something on this machine.
    output = fresh_clone.run(command, status=None if command == "make doctor" else 0)
    assert "Traceback" not in output


@pytest.mark.slow
def test_tap_and_target_are_installed_as_their_pages_say(fresh_clone: ProjectCopy, tmp_path: Path) -> None:
    """`pip install` in an environment of one's own, the tap's first lines, and its output into the target; needs a registry."""
    # A test before may have typed `make down`.
    fresh_clone.run("make up")
    home = fresh_clone.run(".venvs/sandbox/bin/sandbox env --format shell")
    typed = [
        command
        for block in SHELL
        if block.page in {"tap-rickandmorty/README.md", "target-bigquery/README.md"}
        for command in block.commands
    ]
    venv = f"python3 -m venv {tmp_path / 'venv'}\nPATH={tmp_path / 'venv' / 'bin'}:$PATH\n"
    lines = "\n".join(typed).replace("some-tap", "tap-rickandmorty").replace("my-landing", "local-landing")
    # The sandbox's API in place of the live one; a person's shell has no pipefail.
    lines = "set +o pipefail\n" + lines.replace("tap-rickandmorty |", "tap-rickandmorty --config=ENV |")
    output = fresh_clone.run(f"{venv}unset http_proxy https_proxy\n{home}{lines}")
    assert '"type":"SCHEMA"' in output.replace(" ", "")
    assert "Traceback" not in output
