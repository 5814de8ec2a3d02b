"""Start, stop and show the local stand-ins, and run commands on them."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox.errors import Ended, SandboxError
from sandbox.errors import sandbox as sandbox_command

if TYPE_CHECKING:
    from sandbox.source import Source
    from sandbox.supervisor import Sandbox

ROOT = Path(".sandbox")
LIVE_API = "https://rickandmortyapi.com/api"


def _serving(parser: argparse.ArgumentParser) -> argparse._MutuallyExclusiveGroup:
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--data",
        type=Path,
        help="folder with a file of JSON lines for each resource, such as character.jsonl",
    )
    source.add_argument("--universe", help="a made-up one: characters=826,locations=126,episodes=51,seed=1")
    parser.add_argument(
        "--latency-ms", type=int, default=None, help="milliseconds before each answer of the API"
    )
    return source


def _starting(parser: argparse.ArgumentParser) -> None:
    source = _serving(parser)
    source.add_argument(
        "--live", action="store_true", help=f"the live API, {LIVE_API}, in place of the sandbox's"
    )
    parser.add_argument(
        "--source", metavar="NAME", help="the source's name (default: made of what is served)"
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="with roles, rate limits and sizes as Google documents them (sandbox/README.md)",
    )
    parser.add_argument(
        "--accounts", type=Path, metavar="FILE", help="accounts in JSON, in place of those of --strict"
    )
    parser.add_argument("--parts", help="which of api, storage and bigquery, by commas (default: all)")
    for part in ("api", "storage", "bigquery"):
        parser.add_argument(f"--port-{part}", type=int, default=0, help="a fixed port (default: a free one)")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sandbox", description=__doc__)
    parser.add_argument(
        "--home",
        type=Path,
        default=os.environ.get("SANDBOX_HOME") or None,
        help="folder of data, logs and state (default: SANDBOX_HOME, else a folder for each source below .sandbox)",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    _starting(commands.add_parser("start", help="start what does not run"))
    commands.add_parser("stop", help="stop every part of every source; data stays")
    commands.add_parser("status", help="show which part is up, its address and its log")
    env = commands.add_parser("env", help="print the environment in which programs use the sandbox")
    env.add_argument("--format", choices=("shell", "json", "dotenv"), default="shell")
    runs = commands.add_parser("exec", help="run a command on the sandbox: sandbox exec -- COMMAND")
    _starting(runs)
    runs.add_argument("rest", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    api = commands.add_parser("api", help="run the API server alone, in the foreground")
    _serving(api)
    api.add_argument("--port", type=int, default=0)
    proxy = commands.add_parser(
        "proxy", help="put a proxy that injects faults before a service, in the foreground"
    )
    proxy.add_argument("upstream", help="the service's address, without a path")
    proxy.add_argument("--port", type=int, default=0)
    strict = commands.add_parser("strict", help="put Google's rules before a service, in the foreground")
    strict.add_argument("kind", choices=("bigquery", "storage"))
    strict.add_argument("upstream", help="the service's address, without a path")
    strict.add_argument("--accounts", type=Path)
    strict.add_argument("--port", type=int, default=0)
    capture = commands.add_parser("capture", help="copy the live API into a folder")
    capture.add_argument("folder", type=Path)
    capture.add_argument("--api-url", default=LIVE_API)
    query = commands.add_parser("query", help="ask the local BigQuery")
    query.add_argument("sql", nargs="?")
    query.add_argument("--tables", action="store_true", help="list every table and its rows")
    query.add_argument("--format", choices=("table", "csv", "json"), default="table")
    commands.add_parser("shell", help="open an SQL prompt on the local BigQuery")
    return parser


def _source(arguments: argparse.Namespace) -> Source | None:
    """Return the source that the arguments name; None where they name none."""
    from sandbox import source  # noqa: PLC0415

    found = None
    if arguments.data is not None:
        found = source.captured(arguments.data)
    elif arguments.universe is not None:
        found = source.made_up(arguments.universe)
    elif arguments.live:
        found = source.live()
    if found and arguments.source:
        found = dataclasses.replace(found, name=arguments.source)
    return found


def _sandbox(arguments: argparse.Namespace, source: Source | None = None) -> Sandbox:
    """Return the sandbox that is meant: the home named, else that of the source named, else the one chosen last.

    A source named here is the one chosen last from now on.
    """
    from sandbox.source import usual  # noqa: PLC0415
    from sandbox.supervisor import Sandbox  # noqa: PLC0415

    if arguments.home:
        return Sandbox(Path(arguments.home))
    current = ROOT / "current"
    if source is None and current.exists():
        return Sandbox(ROOT / current.read_text("utf-8").strip())
    folder = (source or usual()).folder
    try:
        ROOT.mkdir(exist_ok=True)
        work = ROOT / f".current-{os.getpid()}"
        work.write_text(folder + "\n", "utf-8")
        work.replace(current)
    except OSError as error:
        raise SandboxError(
            f"{ROOT.resolve()} cannot be written: {error.strerror}; name another folder with --home"
        ) from error
    return Sandbox(ROOT / folder)


def _sandboxes(arguments: argparse.Namespace) -> list[Sandbox]:
    """Return every sandbox that is meant, the one chosen last first."""
    from sandbox.supervisor import Sandbox  # noqa: PLC0415

    if arguments.home or not ROOT.exists():
        return [_sandbox(arguments)] if arguments.home else []
    homes = [state.parent for state in ROOT.glob("*/state.json")]
    first = _sandbox(arguments).home
    return [Sandbox(home) for home in sorted(homes, key=lambda home: (home.resolve() != first, home))]


def _start(arguments: argparse.Namespace, sandbox: Sandbox, source: Source | None, *, keep: bool) -> None:
    from sandbox.supervisor import PARTS  # noqa: PLC0415

    served = source or sandbox.source()
    default = [name for name in PARTS if not (name == "api" and served and served.url)]
    names = default if arguments.parts is None else [name for name in arguments.parts.split(",") if name]
    if unknown := [name for name in names if name not in PARTS]:
        raise SandboxError(f"--parts: {', '.join(unknown)} unknown; expected {', '.join(PARTS)}")
    if "api" in names and served and served.url:
        raise SandboxError(
            f"--parts: api: the source of {sandbox.home} is {served.url}, which is not the sandbox's"
        )
    ports = {name: getattr(arguments, f"port_{name}") for name in PARTS}
    sandbox.start(
        names, source, latency_ms=arguments.latency_ms, ports=ports, keep=keep, strict=_strict(arguments)
    )


def _strict(arguments: argparse.Namespace) -> list[str] | None:
    """Return the options of the strict services; None where they are not asked for."""
    if not arguments.strict and arguments.accounts is None:
        return None
    if arguments.accounts is None:
        return []
    from sandbox.strict.service import read_rules  # noqa: PLC0415

    read_rules(arguments.accounts)
    return ["--accounts", str(arguments.accounts.resolve())]


def _exec(arguments: argparse.Namespace) -> int:
    from sandbox.supervisor import EXEC_MARK, ended_by_signals, run, using  # noqa: PLC0415

    command = arguments.rest[1:] if arguments.rest[:1] == ["--"] else arguments.rest
    if not command:
        raise SandboxError(f"exec: a command is needed: {sandbox_command('exec -- COMMAND')}")
    source = _source(arguments)
    sandbox = _sandbox(arguments, source)
    ended_by_signals()
    with using(sandbox) as mark:
        _start(arguments, sandbox, source, keep=False)
        return run(command, {**sandbox.env(), EXEC_MARK: mark})


def _status(sandboxes: list[Sandbox]) -> int:
    running = [(sandbox, parts) for sandbox in sandboxes if (parts := sandbox.parts())]
    if not running:
        print(f"nothing runs; {sandbox_command('start')} starts it")  # noqa: T201
        return 1
    down = 0
    for sandbox, parts in running:
        if source := sandbox.source():
            print(f"source    {source.name}")  # noqa: T201
        for name, part in parts.items():
            up = part.alive() and part.healthy()
            down += not up
            print(f"{name:9} {'up  ' if up else 'DOWN'} {part.url}  log: {sandbox.log(name)}")  # noqa: T201
    return 1 if down else 0


def _stop(sandboxes: list[Sandbox]) -> int:
    stopped = 0
    for sandbox in sandboxes:
        stopped += len(sandbox.parts())
        sandbox.stop()
    if not stopped:
        print("nothing runs")  # noqa: T201
    return 0


def _env(arguments: argparse.Namespace) -> int:
    found = _sandbox(arguments).env()
    if arguments.format == "json":
        print(json.dumps(found, indent=2))  # noqa: T201
    else:
        before = "export " if arguments.format == "shell" else ""
        for name, value in found.items():
            print(f"{before}{name}={shlex.quote(value)}")  # noqa: T201
    return 0


def _api(arguments: argparse.Namespace) -> int:
    from sandbox.api import serve  # noqa: PLC0415
    from sandbox.records import read_folder  # noqa: PLC0415
    from sandbox.universe import Size, make  # noqa: PLC0415

    try:
        records = (
            read_folder(arguments.data) if arguments.data else make(Size.parse(arguments.universe or ""))
        )
    except ValueError as error:
        raise SandboxError(f"--universe: {error}") from error
    return serve(records, arguments.port, arguments.latency_ms or 0)


def _query(arguments: argparse.Namespace) -> int:
    from sandbox import query  # noqa: PLC0415

    if bool(arguments.sql) == arguments.tables:
        raise SandboxError(
            f"query: say what to ask: {sandbox_command('query --tables')}, or a statement; make query SQL='SELECT …'"
        )
    if not os.environ.get("BIGQUERY_EMULATOR_HOST"):
        os.environ.update(_sandbox(arguments).env())
    if arguments.tables:
        query.tables(arguments.format)
    else:
        query.query(arguments.sql, arguments.format)
    return 0


def _dispatch(arguments: argparse.Namespace) -> int:  # noqa: C901, PLR0911 (one per command)
    match arguments.command:
        case "start":
            from sandbox.supervisor import ended_by_signals  # noqa: PLC0415

            ended_by_signals()
            source = _source(arguments)
            sandbox = _sandbox(arguments, source)
            _start(arguments, sandbox, source, keep=True)
            return _status([sandbox])
        case "stop":
            return _stop(_sandboxes(arguments))
        case "status":
            return _status(_sandboxes(arguments))
        case "env":
            return _env(arguments)
        case "exec":
            return _exec(arguments)
        case "api":
            return _api(arguments)
        case "proxy":
            from sandbox.proxy import serve  # noqa: PLC0415

            return serve(arguments.upstream, arguments.port)
        case "strict":
            from sandbox.strict.service import serve as serve_strict  # noqa: PLC0415

            return serve_strict(arguments.kind, arguments.upstream, arguments.port, arguments.accounts)
        case "capture":
            from sandbox.capture import capture  # noqa: PLC0415

            capture(arguments.folder, arguments.api_url)
            return 0
        case "shell":
            from sandbox.query import shell  # noqa: PLC0415

            if not os.environ.get("BIGQUERY_EMULATOR_HOST"):
                os.environ.update(_sandbox(arguments).env())
            shell()
            return 0
        case _:
            return _query(arguments)


def main() -> int:
    """Run the command line.

    Returns:
        The exit status: 1 for a failure, 2 for wrong arguments, 128 and the signal's number when ended by one.
    """
    try:
        return _dispatch(_parser().parse_args())
    except SandboxError as error:
        print(f"sandbox: {error}", file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        ended = Ended(signal.SIGINT)
    except Ended as error:
        ended = error
    number = signal.Signals(ended.args[0])
    said = "interrupted" if number == signal.SIGINT else f"ended by {number.name}"
    print(f"sandbox: {said}", file=sys.stderr)  # noqa: T201
    return 128 + number
