"""Makes a new project from this one: a copy under another name, with the parts that are wanted.

    python scripts/new_project.py [--empty] [--api URL] NAME FOLDER [PART ...]

PART is report, kestra, terraform or benchmarks; tap, target, Meltano project, dbt project, sandbox and tests always come
along. The copy's `make run` and `make test` work at once, on the example's own entities. With --empty these stay away, and
what is about them alone (without_example.py): `make entity` adds yours. With --api it reads another address than the
example's. Exit status 2 for bad arguments, a full disk, or files that git does not list; there is no new folder then.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import yaml
from command_line import OneLine, end_with
from testkit.project_files import ROOT, project_files
from without_example import without_example

EXAMPLES_API = "https://rickandmortyapi.com/api"
RUFF = ROOT / ".venvs" / "dev" / "bin" / "ruff"
# What belongs to a part alone. Everything else does without it: rules and tests of what is not there are left out.
PARTS = {
    "report": ("report/", "tests/test_report.py"),
    "kestra": (
        "orchestrate/",
        "compose.yaml",
        "tests/kestra/",
        ".github/scripts/deploy_flows.py",
        ".github/scripts/kestra_api.py",
        ".github/scripts/kestra_pictures.py",
        ".github/scripts/try_kestra.py",
        ".github/workflows/kestra.yml",
    ),
    "terraform": (
        "terraform/",
        "tests/terraform/",
        "tests/test_failure_alert.py",
        "tests/logging_filter.py",
        "scripts/plan_guard.py",
        ".github/workflows/provider.yml",
    ),
    "benchmarks": ("benchmarks/", "docs/performance.md", "tests/test_reliability_peers.py"),
}
# By Dependabot's name, what it fails without.
UPDATED = {"docker-compose": "compose.yaml", "maven": "tests/kestra/pom.xml", "terraform": "terraform"}
# What makes new projects; a new project makes none.
OURS_ALONE = {
    "scripts/new_project.py",
    "scripts/without_example.py",
    "scripts/empty/",
    "tests/test_new_project.py",
    "tests/test_foreign_sources.py",
    "tests/foreign/",
}
# Parts that show or measure the example.
OF_THE_EXAMPLE = {"report", "benchmarks"}
# Account ids of Google Cloud have 30 characters at most, and the longest of Terraform's adds 18 to the name.
NAME = re.compile(r"[a-z][a-z0-9]{1,11}")
# What YAML does not read as a string, dbt's own project, what a macro calls of Jinja's, and the names that dbt allows no
# project (BANNED_PROJECT_NAMES in its contracts/project.py).
WORDS = """
true false yes no on off null dbt namespace
adapter api column config context database env exceptions execute flags fromjson fromyaml graph log model modules ref render
return schema source sql target this tojson toyaml var write
"""
# It stands in committed files of several languages: Meltano fills in $x, an f-string {x}.
ADDRESS = re.compile(r"""https?://(\[[0-9a-fA-F:]+\]|[^\s/:@"'\\${}|`#]+)(:\d+)?(/[^\s"'\\${}|`#]*)?""")
# What a row of the README leads to or names: of a folder's own files, as `max_attempts` is none.
NAMED = re.compile(r"\]\((?!http)([\w./-]+\w)|`([\w.-]+/[\w./-]+)`")
# The example's API keeps its address: its recorded answers name it.
OURS = re.compile(r"rick(?:_and_|-and-|and)morty(?!api\.com)|Rick ?[aA]nd ?Morty|RICKANDMORTY")


def renamed(text: str, name: str) -> str:
    """Return a text with the project's name in each of its forms replaced by `name`."""

    def form(found: re.Match[str]) -> str:
        old = found[0]
        return name.upper() if old.isupper() else name.capitalize() if old[0] == "R" else name

    return OURS.sub(form, text)


def rewrite(file: Path, pattern: str, text: str = "", least: int = 1) -> None:
    """Replace what is found once in a file; with `least` 0, where a person may have taken it out already.

    Raises:
        ValueError: It is not there, or more than once.
    """
    changed, times = re.subn(pattern, text, file.read_text(encoding="utf-8"))
    if not least <= times <= 1:
        raise ValueError(
            f"{file}: expected {pattern!r} once, got it {times} times; correct {Path(__file__).name}"
        )
    file.write_text(changed, encoding="utf-8")


def copy_files(files: set[str], folder: Path, parts: list[str], options: argparse.Namespace) -> None:
    """Copy the project's files under its new name, without the parts that are not wanted."""
    left_out = {path for part, paths in PARTS.items() if part not in parts for path in paths} | OURS_ALONE
    if options.empty:
        files |= {file.removeprefix("scripts/empty/") for file in files if file.startswith("scripts/empty/")}
    for file in sorted(file for file in files if not file.startswith(tuple(left_out))):
        source, target = ROOT / file, folder / renamed(file, options.name)
        content = source.read_bytes() if source.is_file() else b""
        try:
            text = content.decode()
        except UnicodeDecodeError:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        else:
            kept = without_example(file, text) if options.empty else text
            if kept is None:
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            text = renamed(kept.replace(EXAMPLES_API, options.api.rstrip("/")), options.name)
            target.write_text(text, encoding="utf-8", newline="")
        if source.is_file():
            shutil.copymode(source, target)


def without_what_is_not_there(line: str, folder: Path) -> str:
    """Return a line of the README without tests that did not come along; none where it is about anything else of that kind."""
    if line.startswith("The page") and not (folder / PARTS["report"][0]).exists():
        return ""
    for link, name in NAMED.findall(line) if line.startswith("|") else ():
        if not (folder / (link or name)).exists():
            if not name.startswith("tests/"):
                return ""
            line = re.sub(rf"`{re.escape(name)}`(, )?", "", line)
    return line


def adapt(folder: Path, parts: list[str], *, empty: bool) -> None:
    """Give the copy an id and a repository of its own, and take out of its files what is not there."""
    rewrite(folder / "meltano.yml", r"(?m)^project_id: .*$", f"project_id: {uuid.uuid4()}")
    rewrite(folder / "Makefile", r"(?m)^new: .*\n(\t.*\n)+\n")
    rewrite(folder / "scripts" / "README.md", r"(?m)^\| `make new` .*\n")
    readme = folder / "README.md"
    lines = readme.read_text(encoding="utf-8").splitlines(keepends=True)
    readme.write_text("".join(without_what_is_not_there(line, folder) for line in lines), encoding="utf-8")
    dependabot = folder / ".github" / "dependabot.yml"
    for ecosystem in (name for name, file in UPDATED.items() if not (folder / file).exists()):
        rewrite(dependabot, rf"(?m)^  - package-ecosystem: {ecosystem}\n(    .*\n)+", least=0)
    if "report" not in parts:
        rewrite(dependabot, ', "/report"', least=0)
        # The last of the utilities: up to the next line without indentation.
        rewrite(folder / "meltano.yml", r"(?ms)^    - name: report\n.*?(?=^\S)", "\n", least=0)
    if "kestra" not in parts:
        rewrite(folder / "Dockerfile", r"(?m)^# The program of Kestra's flows\.\n(.+\n)+", least=0)
    commands: list[list[str | Path]] = [
        # Under another name, imports sort and lines wrap differently.
        [RUFF, "check", "--quiet", "--fix-only", "--select", "I,RUF022", "."],
        [RUFF, "format", "--quiet", "."],
        ["git", "init", "--quiet", "--initial-branch", "main"],
        # Whatever this person's other projects ignore, such as *.lock.
        ["git", "-c", "core.excludesFile=", "add", "--all"],
    ]
    if empty:
        commands.insert(0, [sys.executable, "scripts/generated_files.py", "entities"])
    for command in commands:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)


def problems(options: argparse.Namespace, folder: Path, parts: list[str]) -> Iterator[str]:
    """Yield what is wrong with the arguments."""
    if not NAME.fullmatch(options.name):
        yield (
            f"NAME={options.name!r}: expected 2 to 12 lower-case letters and digits, a letter first, such as NAME=library: "
            "datasets, packages and accounts are named after it"
        )
    entities = yaml.safe_load((ROOT / "entities.yml").read_text(encoding="utf-8"))["entities"]
    if options.name in {*WORDS.split(), *(entity["singular"] for entity in entities if not options.empty)}:
        yield f"NAME={options.name}: is a word of YAML or dbt, or an entity's job; choose another, such as NAME=library"
    if not options.folder:
        yield "FOLDER is not given: name a folder that does not exist yet, such as FOLDER=../library"
    if unknown := sorted(set(parts) - set(PARTS)):
        yield f"PARTS: {' '.join(unknown)} unknown; choose from {' '.join(PARTS)}, with spaces between; PARTS= for none"
    if absent := [part for part in parts if part in PARTS and not (ROOT / PARTS[part][0]).is_dir()]:
        yield f"PARTS: {' '.join(absent)} was removed here; name what is there"
    if not ADDRESS.fullmatch(options.api):
        yield (
            "API: expected an address that begins with https:// or http://, without quotes, with %24 for $ and so on for {}|`#; "
            f"user and password are for the setting api_url, since this address is committed; got {re.sub('//.*@', '//***@', options.api)}"
        )
    if os.path.lexists(folder):
        yield f"FOLDER={options.folder}: exists already; name a new folder"
    if folder.is_relative_to(ROOT):
        yield f"FOLDER={options.folder}: lies in this project; name one beside it, such as ../library"
    if options.empty and (shown := sorted(OF_THE_EXAMPLE & set(parts))):
        yield f"PARTS: {' '.join(shown)} cannot be without the example that it is about; leave it out, or EMPTY"


def reason(error: Exception) -> str:
    """Return in one line what a program that failed has said, or what failed here."""
    return " ".join((getattr(error, "stderr", None) or str(error)).split())


def main() -> int:
    """Make the copy; return the exit status."""
    parser = OneLine(prog="make new", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("name", help="2 to 12 lower-case letters and digits, a letter first")
    parser.add_argument("folder", help="the new folder")
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; or none")
    parser.add_argument("--empty", action="store_true", help="without the example's entities")
    parser.add_argument("--api", default=EXAMPLES_API, help="address of the API that it reads")
    options = parser.parse_args()
    folder = Path(os.path.realpath(os.path.expanduser(options.folder)))  # noqa: PTH111 (~nobody raises there)
    parts = list(dict.fromkeys(options.parts))
    if problem := next(problems(options, folder, parts), None):
        parser.error(problem)
    try:
        files = set(project_files())
    except (OSError, subprocess.CalledProcessError) as error:
        parser.error(
            f"this project's files cannot be listed: {reason(error)}; git has to be there, and this folder a repository: git init"
        )
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        parser.error(f"FOLDER={options.folder}: cannot be created: {error.strerror}")
    try:
        copy_files(files, folder, parts, options)
        adapt(folder, parts, empty=options.empty)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, (OSError, ValueError, subprocess.CalledProcessError)):
            parser.error(f"FOLDER={options.folder}: not made: {reason(error)}")
        raise
    there = shlex.quote(str(folder))
    print(
        f"{folder}: {options.name}, with {', '.join(parts) or 'no optional part'}.\n"
        + (
            f"  cd {there} && make entity NAME=… SAMPLE=…   the first entity, from a sample of its records\n"
            if options.empty
            else f"  cd {there} && make run     the example's data, under the new name\n"
        )
        + "  docs/onboarding.md          how your source takes the example's place",
        file=sys.stderr,
    )
    return 0


if __name__ == "__main__":
    end_with(main)
