"""What a person at the terminal sees of `make run`, and what it leaves when it is ended."""

import contextlib
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from testkit.programs import afterwards, eventually, run, succeed
from testkit.project_copy import copy_project, unmarked
from testkit.project_files import ROOT
from testkit.whole_pipeline import program, python_program


@pytest.fixture
def command() -> Path:
    """The sandbox's command; the Python of `make run` is beside it."""
    return Path(program("SANDBOX_COMMAND", ".venvs/sandbox/bin/sandbox"))


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (
            "--data=.",
            "episode.jsonl, location.jsonl not found; make such a folder with '.venvs/sandbox/bin/sandbox capture",
        ),
        ("--data=~nobody-here/x", "DATA=~nobody-here/x: not a folder; make one with"),
        ("--version=0", "VERSION=0: expected 1, 2, 3"),
        pytest.param(f"--version={'9' * 5000}", "9: expected 1, 2, 3", id="a number without end"),
        ("--version=-1", "VERSION=-1: expected 1, 2, 3"),
        ("--version=1.4.2", "VERSION=1.4.2: expected 1, 2, 3"),
        ("--live --version=2", "VERSION: not allowed with LIVE"),
    ],
)
def test_a_source_not_there_is_one_line(command: Path, tmp_path: Path, typed: str, expected: str) -> None:
    """It says what is missing and what to type; no such version is taken for version 1."""
    (tmp_path / "character.jsonl").write_text("")
    done = run(command.with_name("python"), ROOT / "scripts/run_pipeline.py", *typed.split(), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert expected in done.stderr


NASTY = """it's `id` $HOME $(id) $(shell id) "quoted" \\ # é -- the end"""


def test_make_query_hands_the_sql_over_as_it_is(tmp_path: Path) -> None:
    """Backticks, dollars and quotes reach the sandbox unread by make and shell, from the line and from the environment."""
    spy = python_program(tmp_path / "spy", "import json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    command = ["make", "--old-file=.venvs/sandbox/.done", "query", f"SANDBOX_COMMAND={spy}"]
    sql = f"{NASTY}\nSELECT 2\n"
    for arguments, environment in (([f"SQL={sql}"], {}), ([], {"SQL": sql})):
        output = succeed(*command, *arguments, cwd=ROOT, env=unmarked() | environment)
        assert json.loads(output)[-2:] == ["--", sql]


def test_no_variable_leads_to_another_project(tmp_path: Path) -> None:
    """A hook's GIT_DIR, which `make new` would write to, a shell's Meltano project, code before the locks', no zone's TZ."""
    names = (
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "MELTANO_PROJECT_ROOT",
        "PYTHONPATH",
        "PYTHONHOME",
        "PIP_PREFIX",
        "PIP_TARGET",
        "TZ",
    )
    spy = python_program(tmp_path / "spy", "import json, os\nprint(json.dumps(sorted(os.environ)))\n")
    command = ("make", "--old-file=.venvs/sandbox/.done", "query", f"SANDBOX_COMMAND={spy}", "SQL=x")
    given = succeed(*command, cwd=ROOT, env=unmarked() | dict.fromkeys(names, str(tmp_path)))
    assert not {*json.loads(given)} & {*names}


def test_make_run_hands_the_folder_over_as_it_is() -> None:
    """A folder whose name has a quote and a dollar is named in the one line, as it was typed."""
    installed = (f"--old-file={part}/.done" for part in (".venvs/sandbox", ".venvs/meltano", ".meltano"))
    done = run("make", *installed, "run", f"DATA={NASTY}", cwd=ROOT, env=unmarked())
    assert done.returncode == 2
    assert f"DATA={NASTY}: not a folder" in done.stderr


@pytest.mark.parametrize("goal", ["run", "up", "build", "retract", "entity", "new", "plan", "apply"])
def test_what_is_in_the_environment_is_not_typed(tmp_path: Path, goal: str) -> None:
    """A shell's own NAME, KEY, VERSION or LIVE changes no command and is named; what is typed counts."""
    recipe = re.search(rf"(?m)^{goal}:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    if not recipe:
        pytest.skip("a new project makes none")
    names = " ".join(re.findall(r"call (?:typed|option|flag),([A-Z_ ]+)", recipe[1])).split()
    assert names
    (tmp_path / "show.mk").write_text(f"$(info {' '.join(f'{name}=$({name})' for name in names)})\n")
    command = ("make", "--dry-run", "--file=Makefile", f"--file={tmp_path}/show.mk", goal)
    done = run(*command, cwd=ROOT, env=unmarked() | dict.fromkeys(names, "1"))
    assert done.stdout.splitlines()[0].split() == [f"{name}=" for name in names]
    for name in names:
        assert f"{name} of the environment is not used; type: make {goal} {name}=…" in done.stderr
    typed = run(*command, *(f"{name}=1" for name in names), cwd=ROOT, env=unmarked())
    assert typed.stdout.splitlines()[0].split() == [f"{name}=1" for name in names]
    assert "environment is not used" not in typed.stderr


@pytest.mark.parametrize(
    ("there", "typed", "expected"),
    [
        ((".python",), "UV=false", "behind a proxy with a certificate of its own set UV_SYSTEM_CERTS=1, or SSL_CERT_FILE"),
        ((), "PYTHON=python9", "make: Python 3.11 to 3.14 is needed, and python9 is not found; install one, or name one: make PYTHON="),
        ((".python", "sandbox", "meltano"), "PYTHON=false", "make: Python 3.11 to 3.14 is needed, and false is "),
    ],
    ids=["registry", "no python", "another python, none, after the installation"],
)  # fmt: skip
def test_what_cannot_be_installed_is_said_with_its_remedy(
    tmp_path: Path, there: tuple[str, ...], typed: str, expected: str
) -> None:
    """The last line but make's own says what to set."""
    copy = copy_project(tmp_path / "clone", there, plugins=False)
    output = copy.run(f"make run {typed}", status=2)
    assert expected in output.splitlines()[-2]
    assert "Traceback" not in output


INSTALLER = """#!/bin/sh
[ "$1" = venv ] || exit 0
echo venv >> log
mkdir -p .venvs/sandbox
until [ -e go ]; do sleep 0.1; done
"""


def test_two_makes_install_once(tmp_path: Path) -> None:
    """The second waits for the first and says so, and finds what it needs: it does not clear what is being filled."""
    folder = copy_project(tmp_path / "clone", (".python",), plugins=False).folder
    # Not every system has the program flock.
    for name, text in {"uv": INSTALLER, "flock": "#!/bin/sh\nexit 127\n"}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    log = folder / "log"
    log.touch()
    command = ["make", ".venvs/sandbox/.done", f"UV={folder}/uv"]
    env = unmarked() | {"PATH": f"{folder}:{os.environ['PATH']}"}

    def start(last: str) -> subprocess.Popen[bytes]:
        made = subprocess.Popen(command, cwd=folder, env=env, stdout=output)
        eventually(lambda: log.read_text().endswith(last), f"make's line {last}")
        return made

    with log.open("a") as output, afterwards("touch", folder / "go"):
        made = [start("venv\n"), start("waiting for it\n")]
    assert [make.wait() for make in made] == [0, 0]
    waiting = "Another make installs .venvs/sandbox: waiting for it"
    assert log.read_text().splitlines() == ["Installing .venvs/sandbox", "venv", waiting]
    assert succeed(*command, "--always-make", cwd=folder, env=env) == "Installing .venvs/sandbox\n"


MELTANO = """import json, os, pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(86400)"])
print(json.dumps({{"name": "dbt-bigquery", "event": "{{}}"}}), flush=True)
pathlib.Path({begun!r}).write_text(str(child.pid))
child.wait()
"""


class Clone:
    """The driver in a folder of its own, on the real sandbox, with a Meltano that goes on until it is ended."""

    def __init__(self, folder: Path, command: Path) -> None:
        self.folder = folder
        self.begun = folder / "begun"
        self.mark = f"MAKE_RUN_TEST={uuid.uuid4()}"
        shutil.copytree(ROOT / "scripts", folder / "scripts")
        meltano = python_program(folder / "meltano", MELTANO.format(begun=str(self.begun)))
        name, value = self.mark.split("=")
        self.env = {
            **os.environ,
            "SANDBOX_COMMAND": str(command),
            "MELTANO_COMMAND": str(meltano),
            name: value,
        }
        python = command.with_name("python")
        self.command = [python, folder / "scripts" / "run_pipeline.py"]
        # Of `make build` and `make retract`.
        self.alone = [python, folder / "scripts" / "run_alone.py"]

    def start(self) -> subprocess.Popen[str]:
        """Start a run and wait until its Meltano is under way."""
        process = subprocess.Popen(
            self.command, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        eventually(lambda: self.begun.exists() or process.poll() is not None, "Meltano has not begun")
        assert process.poll() is None, process.communicate()
        return process


def left(mark: str) -> list[str]:
    """The processes that were started with a variable in their environment and have not ended."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
            if state != "Z" and mark.encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


def until_nothing_is_left(mark: str) -> None:
    """Wait for the end of what a run has started."""
    eventually(lambda: not left(mark), f"processes with {mark} have not ended")


@pytest.fixture
def clone(tmp_path: Path, command: Path) -> Clone:
    """The driver in a folder of its own."""
    return Clone(tmp_path, command)


# SIGHUP goes the way of SIGTERM.
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.slow), signal.SIGKILL]
)
def test_a_run_that_is_ended_leaves_no_process(clone: Clone, number: signal.Signals) -> None:
    """Meltano, what it has started and the sandbox are gone; a second run meanwhile is refused in one line."""
    with clone.start() as process:
        second = run(*clone.command, env=clone.env)
        assert second.returncode == 1
        assert second.stderr == (
            f"make: another run is under way in this folder (process {process.pid}); wait for it, or end it: kill {process.pid}\n"
        )
        assert run(*clone.alone, "true", env=clone.env).stderr == second.stderr
        process.send_signal(number)
        output, _ = process.communicate()
    if number != signal.SIGKILL:
        assert process.returncode == 128 + number
        assert output.endswith(
            f"make run: ended by {number.name}; what was not whole is not loaded, run it again\n"
        )
    until_nothing_is_left(clone.mark)


@pytest.mark.parametrize("name", [".sandbox", pytest.param(".meltano", marks=pytest.mark.slow)])
def test_a_folder_that_cannot_be_written_is_one_line(clone: Clone, name: str) -> None:
    """It is another user's, the disk is full, or here a file: the line names it, without a traceback."""
    (clone.folder / name).touch()
    done = run(*clone.command, env=clone.env)
    assert done.returncode == 1
    assert str(clone.folder / name) in done.stderr.splitlines()[-1]
    assert done.stderr.startswith("make")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("output", "status", "last"),
    [
        pytest.param("| head -1", 128 + signal.SIGPIPE, "", marks=pytest.mark.slow),
        ("> /dev/full", 1, "make run: [Errno 28] No space left on device\n"),
        ("--help > /dev/full", 1, "run_pipeline: [Errno 28] No space left on device\n"),
    ],
)
def test_a_run_whose_output_goes_nowhere_ends(clone: Clone, output: str, status: int, last: str) -> None:
    """Quietly before `| head`, as any program; in one line below the doctor's where the disk is full."""
    typed = f"PYTHONUNBUFFERED= {shlex.join(map(str, clone.command))} {output}; echo ${{PIPESTATUS[0]}}"
    done = run("bash", "-c", typed, env=clone.env | {"SSL_CERT_FILE": "/nowhere.pem"})
    assert done.stdout.splitlines()[-1] == str(status)
    assert (done.stderr == "") == (last == "")
    assert done.stderr.endswith(last)
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    until_nothing_is_left(clone.mark)


def test_what_changes_the_local_warehouse_is_local(clone: Clone) -> None:
    """`make build` and `make retract` too, whatever a shell or a .env says for the cloud."""
    cloud = {"MELTANO_ENVIRONMENT": "prod", "DATASET_PREFIX": "", "TARGET_BIGQUERY_LOCATION": "EU"}
    names = [*cloud, "DBT_BIGQUERY_LOCATION"]
    done = run(*clone.alone, "printenv", *names, env=clone.env | cloud | {"DBT_BIGQUERY_LOCATION": "EU"})
    assert done.stdout.split() == ["local", "local_", "US", "US"]


@pytest.mark.parametrize(
    ("typed", "file", "misspelt"),
    [
        ({"DBT_VERDCT_DROP": "warn"}, "DBT_VERDICT_STALE_HOURS=9\n", "DBT_VERDCT_DROP"),
        (
            {"DBT_VERDICT_DROP": "warn"},
            "#DBT_VERDICT_X=1\nexport DBT_VERDICT_DORP = warn\n",
            "DBT_VERDICT_DORP",
        ),
        ({"DBT_VERDICT_DROP": "warn"}, "DBT_VERDICT_STALE_HOURS=9\n", ""),
    ],
)
def test_a_misspelt_variable_of_the_verdict_is_refused(
    clone: Clone, typed: dict[str, str], file: str, misspelt: str
) -> None:
    """Of the environment and of `.env`, before anything runs and by the doctor: dbt itself cannot see it."""
    (clone.folder / "transform").mkdir()
    shutil.copy(ROOT / "transform" / "dbt_project.yml", clone.folder / "transform")
    (clone.folder / ".env").write_text(file)
    for command in ([sys.executable, clone.folder / "scripts" / "doctor.py"], [*clone.alone, Path("true")]):
        done = run(*command, env=clone.env | typed)
        assert (done.returncode == 1) == bool(misspelt), done.stderr
        assert f"nothing reads {misspelt}; expected one of DBT_V" in done.stdout + done.stderr or not misspelt


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("run LIVE=0", "LIVE=0: expected LIVE=1, or leave it out"),
        ("up LIVE=no", "LIVE=no: expected LIVE=1"),
        ("retract UNDO=0", "UNDO=0: expected UNDO=1"),
        ("new EMPTY=false", "EMPTY=false: expected EMPTY=1"),
        ("run DATA=", "DATA= has no value: type one, or leave it out"),
        ("up LIVE=", "LIVE= has no value"),
        ("build AS_OF=", "AS_OF= has no value"),
        ("retract RUN=7d1c REASON=half STREAM=", "STREAM= has no value"),
        ("entity NAME=issues SAMPLE=x SINCE=", "SINCE= has no value"),
        ("retract REASON=half", "RUN is not given: make retract RUN=run REASON='why'"),
        ("retract RUN=7d1c", "REASON is not given: make retract RUN="),
        ("run data=answers", "data: expected a name that make help shows"),
        ("retract RUN=7d1c REASON=half STREAMS=episodes", "STREAMS: expected a name"),
    ],
)
def test_a_value_that_says_nothing_is_refused(typed: str, expected: str) -> None:
    """One that says no does not switch on what it names; an empty one, of a shell's unset variable, is not taken for left out."""
    if typed.startswith("new") and not (ROOT / "scripts" / "new_project.py").exists():
        pytest.skip("a new project makes none")
    done = run("make", "--dry-run", *typed.split(), cwd=ROOT, env=unmarked())
    assert done.returncode == 2
    assert expected in done.stderr


def test_what_a_program_reads_may_be_typed_behind_make() -> None:
    """Make hands it on, as it does with the names of the environment."""
    typed = "DBT_VERDICT_DROP=warn TAP_RICKANDMORTY_TIMEOUT=5"
    done = run("make", "--dry-run", "run", *typed.split(), cwd=ROOT, env=unmarked())
    assert done.returncode == 0, done.stderr


PYTHON = os.path.realpath(sys.executable)


@pytest.mark.parametrize(
    ("folder", "python", "typed", "anew"),
    [
        (".", PYTHON, [], ""),
        (".", PYTHON, [f"PYTHON={PYTHON}"], ""),
        ("..", PYTHON, [], "folder"),
        (".", "/bin/true", [], ""),
        (".", "/bin/true", [f"PYTHON={PYTHON}"], "Python"),
        (".", "/bin/true", ["--dry-run", f"PYTHON={PYTHON}"], "Python"),
        (".", "/bin/true", ["PYTHON=python9"], ""),
        (".", "/removed/python3.11", [], "Python"),
    ],
)
def test_environments_of_another_folder_or_python_are_installed_anew(
    tmp_path: Path, folder: str, python: str, typed: list[str], anew: str
) -> None:
    """A copy's programs would run the first folder's code; a Python that is named, and one that is gone, count too."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    done = tmp_path / ".venvs" / "sandbox" / ".done"
    done.parent.mkdir(parents=True)
    done.touch()
    (tmp_path / ".venvs" / ".folder").write_text(f"{(tmp_path / folder).resolve()}\n")
    (tmp_path / ".venvs" / ".python").write_text(f"{python}\n")
    env = {name: value for name, value in unmarked().items() if name != "PYTHON"}
    said = run("make", "help", *typed, cwd=tmp_path, env=env).stderr
    assert done.exists() == (not anew or "--dry-run" in typed)
    assert (f"installed for another {anew}; what is needed is installed anew" in said) == bool(anew)


@pytest.mark.slow
def test_twenty_runs_ended_at_random_leave_nothing_and_the_next_is_right() -> None:
    """SIGTERM to make, or SIGHUP to all of the terminal, at any moment of the real run."""
    mark = f"MAKE_RUN_TEST={uuid.uuid4()}"
    name, value = mark.split("=")
    env = unmarked() | {name: value}
    chance = random.Random(20)  # noqa: S311 (moments)

    def whole() -> float:
        began = time.monotonic()
        succeed("make", "run", cwd=ROOT, env=env)
        assert left(mark) == []
        return time.monotonic() - began

    # On this machine, as busy as it is.
    seconds = whole()
    for _ in range(20):
        with subprocess.Popen(
            ["make", "run"],
            cwd=ROOT,
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(chance.uniform(0.2, seconds))
            if chance.random() < 0.5:
                process.terminate()
            else:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGHUP)
            process.wait(60)
        until_nothing_is_left(mark)
    whole()
