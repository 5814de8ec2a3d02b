"""The sandbox's command line as a person uses it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
from sandbox_command import refusal, run, served
from testkit.programs import alive, eventually

from testkit import programs

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def home(command: str, tmp_path: Path) -> Iterator[Path]:
    """A home whose parts are stopped at the end."""
    folder = tmp_path / "home"
    yield folder
    run(command, folder, "stop")


def state(home: Path) -> dict[str, Any]:
    """Return what a home knows of its parts."""
    parts: dict[str, Any] = json.loads((home / "state.json").read_text())
    return parts


def write_records(folder: Path, text: str = '{"id": 1}\n') -> Path:
    """Write a data folder with one record per resource."""
    folder.mkdir(exist_ok=True)
    for name in ("character", "location", "episode"):
        (folder / f"{name}.jsonl").write_text(text)
    return folder


def test_parts_start_once_show_where_they_are_and_stop(command: str, tmp_path: Path) -> None:
    """A second start changes nothing, status shows addresses and logs, stop leaves nothing running."""
    assert run(command, tmp_path, "start", "--parts", "api,storage").returncode == 0
    first = (tmp_path / "state.json").read_text()
    assert run(command, tmp_path, "start", "--parts", "api,storage").returncode == 0
    assert (tmp_path / "state.json").read_text() == first
    status = run(command, tmp_path, "status")
    assert status.returncode == 0
    assert status.stdout.count(" up   http") == 2
    assert str(tmp_path / "logs" / "api.log") in status.stdout
    pids = [part["pid"] for part in json.loads(first).values()]
    assert run(command, tmp_path, "stop").returncode == 0
    assert not any(map(alive, pids))


def test_a_killed_part_is_named_with_its_log_and_started_again(command: str, home: Path) -> None:
    """Status ends with 1 and names the part that is down; start brings it back on its port."""
    run(command, home, "start", "--parts", "api,storage")
    before = state(home)["storage"]
    os.kill(before["pid"], signal.SIGKILL)
    status = run(command, home, "status")
    assert status.returncode == 1
    (line,) = [text for text in status.stdout.splitlines() if "DOWN" in text]
    assert line.startswith("storage")
    assert line.endswith(str(home / "logs" / "storage.log"))
    assert run(command, home, "start", "--parts", "storage").returncode == 0
    after = state(home)["storage"]
    assert after["port"] == before["port"]
    assert after["pid"] != before["pid"]


def test_exec_gives_the_environment_and_the_status_and_stops(command: str, tmp_path: Path) -> None:
    """The command sees the addresses, its exit status comes through, and what exec started is stopped."""
    script = "echo $STORAGE_EMULATOR_HOST; exit 7"
    done = run(command, tmp_path, "exec", "--parts", "storage", "--", "sh", "-c", script)
    assert done.returncode == 7
    assert done.stdout.startswith("http://127.0.0.1:")
    assert run(command, tmp_path, "status").stdout.startswith("nothing runs")


def test_an_interrupted_start_is_one_line_and_leaves_nothing(command: str, tmp_path: Path) -> None:
    """Ctrl-C while the parts come up ends them, with a line in place of a traceback."""
    arguments = [command, "--home", str(tmp_path), "exec", "--parts", "bigquery", "--", "true"]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "state.json").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, message = process.communicate(timeout=60)
    assert (process.returncode, message) == (130, "sandbox: interrupted\n")
    assert run(command, tmp_path, "status").stdout.startswith("nothing runs")


REFUSED = {
    "empty-folder": ("start --data {empty}", "character.jsonl, episode.jsonl, location.jsonl not found"),
    "no-json": ("api --data {no_json}", "character.jsonl, line 1: expected a JSON object in UTF-8 with id"),
    "no-utf-8": ("api --data {latin}", "character.jsonl, line 1: expected a JSON object in UTF-8 with id"),
    "id-twice": ("api --data {twice}", "line 2: id 1 is not an integer or a string, or occurs twice"),
    "universe": ("start --universe planets=3", "expected characters=N"),
    "program": ("exec --parts storage -- no-such-program", "sandbox: no-such-program: no such program\n"),
    "nothing-runs": ("env", "nothing runs of"),
    "folder-of-no-system": ("capture /proc/new", "/proc"),
    "home-is-a-file": (
        "--home {twice}/character.jsonl exec --parts api -- true",
        "Not a directory; name another",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_wrong_arguments_are_refused_in_one_line(
    command: str, tmp_path: Path, arguments: str, message: str
) -> None:
    """The line says what is missing or wrong, in a data folder by file and line."""
    folders = {
        "empty": tmp_path,
        "no_json": write_records(tmp_path / "no_json", "{"),
        "twice": write_records(tmp_path / "twice", '{"id": 1}\n{"id": 1}'),
        "latin": write_records(tmp_path / "latin"),
    }
    (tmp_path / "latin" / "character.jsonl").write_bytes('{"id": 1, "name": "é"}'.encode("latin-1"))
    assert message in refusal(
        command, tmp_path / "home", *(part.format(**folders) for part in arguments.split())
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("start", "--port-api", "99999"),
        ("api", "--port", "-1"),
        ("start", "--latency-ms", "soon"),
        ("start", "--data", ""),
    ],
    ids=" ".join,
)
def test_an_option_that_cannot_be_is_named(command: str, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Ports outside 0 to 65535 and an empty name end with status 2 and the option, before anything is written."""
    done = run(command, tmp_path / "home", *arguments)
    assert done.returncode == 2
    assert f"argument {arguments[1]}: expected a " in done.stderr
    assert not (tmp_path / "home").exists()


def test_two_starts_on_one_port_never_answer_for_each_other(command: str, tmp_path: Path) -> None:
    """Of two sandboxes that begin at once on one port, one is up, and the other says that the port is in use."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = str(sock.getsockname()[1])
    homes = [tmp_path / "first", tmp_path / "second"]
    starts = [
        subprocess.Popen(
            [command, "--home", home, "start", "--parts", "api", "--port-api", port],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for home in homes
    ]
    try:
        errors = [start.communicate(timeout=90)[1] for start in starts]
        assert sorted(start.returncode for start in starts) == [0, 1], errors
        assert f"port {port} is in use" in "".join(errors)
    finally:
        for home in homes:
            run(command, home, "stop")


def test_a_start_on_another_port_moves_the_part(command: str, home: Path) -> None:
    """A fixed port is not ignored because the part runs already, on another one."""

    def start(port: int) -> int:
        assert run(command, home, "start", "--parts", "api", "--port-api", str(port)).returncode == 0
        return int(state(home)["api"]["port"])

    first = start(0)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        other = sock.getsockname()[1]
    assert start(other) == other != first


def test_a_state_that_is_lost_or_of_a_copied_folder_harms_nothing(
    command: str, home: Path, tmp_path: Path
) -> None:
    """Parts that no state names are replaced; a copy of the home neither uses nor stops the parts of the first."""
    copy = tmp_path / "copy"
    assert run(command, home, "start", "--parts", "api").returncode == 0
    lost = state(home)["api"]["pid"]
    (home / "state.json").write_text('{"api": {"na')
    assert run(command, home, "start", "--parts", "api").returncode == 0
    assert not alive(lost)
    shutil.copytree(home, copy)
    assert run(command, copy, "status").stdout.startswith("nothing runs")
    assert run(command, copy, "stop").stdout == "nothing runs\n"
    assert run(command, home, "status").returncode == 0
    (home / "source.json").write_text("{")
    assert "source.json cannot be read" in refusal(command, home, "start")


def test_a_port_in_use_is_one_line(command: str, tmp_path: Path) -> None:
    """The line names part and port, and the option to change it."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        refused = refusal(command, tmp_path, "start", "--parts", "storage", "--port-storage", str(port))
    assert refused == f"sandbox: storage: port {port} is in use; name another with --port-storage\n"


def test_a_full_disk_is_one_line(command: str, tmp_path: Path) -> None:
    """With less room than is needed nothing starts, and the line has both figures."""
    refused = refusal(command, tmp_path, "start", SANDBOX_MIN_FREE_MB="999999999")
    assert "MB free, 999999999 MB are needed" in refused
    refused = refusal(command, tmp_path, "start", SANDBOX_MIN_FREE_MB="much")
    assert refused == "sandbox: SANDBOX_MIN_FREE_MB=much: expected a number of megabytes\n"


def test_query_shows_rows_and_errors_in_one_line(
    command: str, services: dict[str, str], tmp_path: Path
) -> None:
    """Rows come as csv, json or a table; a wrong query is BigQuery's own message in one line."""
    good = run(command, tmp_path, "query", "SELECT 1 AS x, 'a' AS y", "--format", "csv", **services)
    assert good.stdout.split() == ["x,y", "1,a"]
    refused = refusal(command, tmp_path, "query", "SELECT nothing FROM nowhere.at_all", **services)
    assert refused.startswith("sandbox: BigQuery: ")
    gone = services | {"BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:1"}
    assert "http://127.0.0.1:1, does not answer" in refusal(command, tmp_path, "query", "SELECT 1", **gone)


AS_IT_IS = f"SELECT '[bold]a[/b] :warning: ö {'x' * 90}' AS `[red]t`, [DATE '2026-01-02'] AS d, b'abc' AS b, STRUCT(NULL AS n) AS s"


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_query_shows_values_as_they_are(
    command: str, services: dict[str, str], tmp_path: Path, form: str
) -> None:
    """Brackets and colons are no markup, nothing is cut off in a pipe, whatever the locale; bytes and arrays are as in JSON."""
    done = run(command, tmp_path, "query", AS_IT_IS, "--format", form, **services, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    shown = done.stdout.replace('""', '"')
    for text in ("[red]t", f"[bold]a[/b] :warning: ö {'x' * 90}", '["2026-01-02"]', "YWJj", '{"n": null}'):
        assert text in shown


def test_a_reader_that_has_enough_is_no_error(command: str, services: dict[str, str]) -> None:
    """`sandbox query … | head -1` shows its line, and nothing of a broken pipe; a full disk is one line."""
    script = f'"{command}" query "SELECT x FROM UNNEST(GENERATE_ARRAY(1, 20000)) AS x" --format csv'
    env = os.environ | services
    done = programs.run("sh", "-c", f"{script} | head -1", env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, "x\n", "")
    done = programs.run("sh", "-c", f"{script} > /dev/full", env=env)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "No space left" in done.stderr


def test_capture_makes_a_folder_that_serves_the_same(command: str, tmp_path: Path) -> None:
    """What is captured is what the API serves, with a failed request repeated; a folder that exists is refused."""
    arguments = ("capture", str(tmp_path / "data"), "--api-url")
    with served(command, "api", "--universe", "characters=41,locations=3,episodes=2") as url:
        faults = [
            {"path": "page=2", "action": "status", "status": 503},
            {"path": "location", "action": "reset"},
        ]
        requests.put(url.replace("/api", "/__sandbox__/faults"), json=faults, timeout=5)
        done = run(command, tmp_path, *arguments, url)
        other = {"path": "page=1", "action": "status", "status": 200, "body": "[1]"}
        requests.put(url.replace("/api", "/__sandbox__/faults"), json=[other], timeout=5)
        refused = refusal(command, tmp_path, "capture", str(tmp_path / "other"), "--api-url", url)
        assert "page=1: expected info.count, info.pages and results" in refused
        assert "exists already" in refusal(command, tmp_path, *arguments, url)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "data" / "character.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == list(range(1, 42))


# What exec starts in these tests: the quickest of the parts.
API = ("exec", "--parts", "api", "--universe", "characters=3")


@contextmanager
def held(command: str, home: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """`sandbox exec` with a command that waits, with a child of its own: the process, and the ids of both and of the parts."""
    pids = home / "pids"
    script = f'sleep 600 & echo $$ $! > "{pids}.new" && mv "{pids}.new" "{pids}" && wait'
    process = subprocess.Popen(
        [command, "--home", str(home), *arguments, "--", "sh", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        eventually(lambda: pids.exists() or process.poll() is not None, "the command has not begun", 60)
        assert process.poll() is None, process.communicate()
        parts = state(home).values()
        yield process, [*map(int, pids.read_text().split()), *(part["pid"] for part in parts)]
    finally:
        pids.unlink(missing_ok=True)
        process.kill()
        process.communicate(timeout=60)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_signal_to_exec_leaves_nothing(command: str, tmp_path: Path, number: signal.Signals) -> None:
    """The command, what it has started and the parts are gone, also when exec had no time to end them."""
    with held(command, tmp_path, *API) as (process, pids):
        process.send_signal(number)
        process.wait(timeout=60)
        eventually(lambda: not any(map(alive, pids)), f"{number.name} leaves processes", 60)
        eventually(lambda: state(tmp_path) == {}, "the state names parts", 60)


def test_the_death_of_its_parent_ends_exec(command: str, tmp_path: Path) -> None:
    """A shell that is killed takes the command and the parts with it."""
    pids = tmp_path / "pids"
    inner = f'"{command}" --home "{tmp_path}" {" ".join(API)} -- sh -c \'echo $$ > "{pids}"; exec sleep 600\'; true'
    with subprocess.Popen(["sh", "-c", inner]) as shell:
        eventually(lambda: pids.exists() and pids.read_text().endswith("\n"), "the command has not begun", 60)
        parts = state(tmp_path).values()
        started = [int(pids.read_text()), *(part["pid"] for part in parts)]
        shell.kill()
    eventually(lambda: not any(map(alive, started)), "processes are left", 60)


def test_commands_share_the_parts_and_the_last_one_stops_them(command: str, tmp_path: Path) -> None:
    """A second command finds the parts of the first; their end comes with the end of the last."""
    with held(command, tmp_path, *API) as (first, pids):
        done = run(command, tmp_path, *API, "--", "sh", "-c", "echo $TAP_RICKANDMORTY_API_URL")
        (part,) = state(tmp_path).values()
        assert done.stdout == f"http://127.0.0.1:{part['port']}/api\n"
        assert all(map(alive, pids))
        first.terminate()
        first.wait(timeout=60)
    assert not any(map(alive, pids))


def test_what_is_in_use_is_not_replaced_or_stopped(command: str, tmp_path: Path) -> None:
    """Other options, and stop, are refused in one line that names the process that uses the sandbox."""
    with held(command, tmp_path, *API) as (process, _):
        for arguments in ((*API, "--latency-ms", "1", "--", "true"), ("stop",)):
            assert f"process {process.pid}" in refusal(command, tmp_path, *arguments)


def test_exec_neither_stops_nor_replaces_what_start_has_started(command: str, home: Path) -> None:
    """The parts of `sandbox start` go on after a command, and keep what they serve."""
    run(command, home, "start", "--parts", "api", "--universe", "characters=3")
    before = (home / "state.json").read_text()
    assert run(command, home, "exec", "--parts", "api", "--", "true").returncode == 0
    refused = refusal(command, home, *API, "--latency-ms", "1", "--", "true")
    assert "sandbox stop' ends what" in refused
    assert (home / "state.json").read_text() == before
    assert all(alive(part["pid"]) for part in json.loads(before).values())


def test_a_folder_that_has_changed_is_read_again_or_refused(command: str, home: Path, tmp_path: Path) -> None:
    """An API that `start` has left running never serves the records of before: a command is refused, start reads again."""
    data = write_records(tmp_path / "data")
    served = ("--parts", "api", "--data", str(data))
    run(command, home, "start", *served)
    assert run(command, home, "exec", *served, "--", "true").returncode == 0
    (data / "character.jsonl").write_text('{"id": 1}\n{"id": 2}\n')
    refused = refusal(command, home, "exec", *served, "--", "true")
    assert "serves something else than asked for" in refused
    assert run(command, home, "start", *served).returncode == 0
    assert run(command, home, "exec", *served, "--", "true").returncode == 0


def test_each_source_has_its_name_and_its_own_warehouse(command: str, tmp_path: Path) -> None:
    """Made-up, captured and live data get homes of their own; the last one chosen is meant where none is named."""
    data = write_records(tmp_path / "a folder")
    (data / "captured.json").write_text('{"captured_at": "2026-02-03T10:00:00+00:00"}')
    show = ["--", "sh", "-c", 'echo "$TARGET_BIGQUERY_SOURCE|$TAP_RICKANDMORTY_API_URL|$SANDBOX_HOME"']

    def shown(*options: str) -> list[str]:
        return programs.succeed(command, "exec", *options, *show, cwd=tmp_path).strip().split("|")

    made_up = shown("--parts", "api", "--universe", "characters=3,seed=4")
    captured = shown("--parts", "api", "--data", str(data))
    assert shown("--parts", "api")[2] == captured[2]
    namesake = tmp_path / "elsewhere" / data.name
    shutil.copytree(data, namesake)
    other = shown("--parts", "api", "--data", str(namesake))
    shutil.rmtree(other[2])
    assert shown("--parts", "api")[0].startswith("made-up universe characters=826")
    live = shown("--live", "--parts", "storage")
    assert made_up[0] == "made-up universe characters=3,locations=1,episodes=1 seed=4"
    assert captured[0] == "captured folder a folder of 2026-02-03"
    assert live[:2] == ["https://rickandmortyapi.com/api"] * 2
    assert other[0] == captured[0]
    assert len({made_up[2], captured[2], other[2], live[2]}) == 4


def test_a_home_takes_no_second_source(command: str, tmp_path: Path) -> None:
    """Where a home is named, another source is refused in one line, unless one name is given to both."""
    assert run(command, tmp_path, *API, "--", "true").returncode == 0
    refused = refusal(command, tmp_path, "exec", "--live", "--", "true")
    assert "holds the warehouse of made-up universe characters=3" in refused
    home = tmp_path / "named"
    for universe in ("characters=3", "characters=4"):
        options = ("--source", "mine", "--universe", universe, "--parts", "api")
        done = run(command, home, "exec", *options, "--", "sh", "-c", "echo $TARGET_BIGQUERY_SOURCE")
        assert done.stdout == "mine\n"


def test_stop_and_status_with_nothing_running_are_one_line(command: str, tmp_path: Path) -> None:
    """Neither is an error of the program's own, whether or not there was ever a sandbox."""
    status = programs.run(command, "status", cwd=tmp_path)
    # The command that it names can be typed as it stands.
    (named,) = re.findall(r"'(.+) start'", status.stdout)
    programs.succeed(*shlex.split(named), "--help", cwd=tmp_path)
    for home in ([], ["--home", str(tmp_path / "none")]):
        stop = programs.run(command, *home, "stop", cwd=tmp_path)
        assert (stop.returncode, stop.stdout, stop.stderr) == (0, "nothing runs\n", "")
    assert list(tmp_path.iterdir()) == []


def test_an_error_quotes_no_earlier_start(command: str, tmp_path: Path) -> None:
    """The log of a part starts afresh; the one before it is kept beside it."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "api.log").write_text("an old complaint\n")
    assert run(command, tmp_path, *API, "--", "true").returncode == 0
    assert "old" not in (tmp_path / "logs" / "api.log").read_text()
    assert "old" in (tmp_path / "logs" / "api.log.before").read_text()


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(command: str, tmp_path: Path) -> None:
    """With http_proxy set to nothing that answers, the parts come up and commands go past it."""
    proxy = dict.fromkeys(("http_proxy", "HTTP_PROXY", "https_proxy"), "http://127.0.0.1:1")
    done = run(command, tmp_path, *API, "--", "sh", "-c", "echo $NO_PROXY", **proxy, NO_PROXY="example.org")
    assert (done.returncode, done.stdout) == (0, "example.org,127.0.0.1,localhost\n")


def test_a_project_with_answers_of_its_own_uses_them_by_default(command: str, tmp_path: Path) -> None:
    """A folder answers/ in the project is the source where none is named; without it, it is the made-up universe."""

    def home() -> str:
        programs.run(command, "env", cwd=tmp_path)
        return (tmp_path / ".sandbox" / "current").read_text()

    assert home().startswith("made-up-universe")
    (tmp_path / ".sandbox" / "current").unlink()
    write_records(tmp_path / "answers")
    assert home().startswith("captured-folder-answers")


def test_keys_are_whole_numbers_or_texts_of_any_number_of_fields(command: str, tmp_path: Path) -> None:
    """Records are sorted by their key, which need not be one whole number."""
    records = [{"order": "b", "line": 2}, {"order": "a", "line": 10}, {"order": "a", "line": 9}]
    # As editors leave it: a mark at the beginning, empty lines.
    (tmp_path / "line.jsonl").write_text("\ufeff" + "\r\n\r\n".join(map(json.dumps, records)) + "\n\n")
    code = (
        "import json, sys, pathlib; from sandbox import records; records.KEYS = {'line': ['order', 'line']}; "
        "print(json.dumps(records.read_folder(pathlib.Path(sys.argv[1]))))"
    )
    python = Path(command).with_name("python")
    assert json.loads(programs.succeed(python, "-c", code, tmp_path)) == {
        "line": [records[2], records[1], records[0]]
    }
