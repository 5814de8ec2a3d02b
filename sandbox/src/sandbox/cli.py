"""`sandbox`: starts, stops and shows the local stand-ins, and runs commands on them."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import sys
from pathlib import Path

from sandbox.errors import SandboxError

LIVE_API = "https://rickandmortyapi.com/api"


def _serving(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--data", type=Path, help="folder with character.jsonl, location.jsonl, episode.jsonl"
    )
    source.add_argument("--universe", help="a made-up one: characters=826,locations=126,episodes=51,seed=1")
    parser.add_argument(
        "--latency-ms", type=int, default=None, help="milliseconds before each answer of the API"
    )


def _starting(parser: argparse.ArgumentParser) -> None:
    _serving(parser)
    parser.add_argument(
        "--parts", default="api,storage,bigquery", help="which parts, by commas (default: all)"
    )
    for part in ("api", "storage", "bigquery"):
        parser.add_argument(f"--port-{part}", type=int, default=0, help="a fixed port (default: a free one)")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sandbox", description=__doc__)
    parser.add_argument(
        "--home", type=Path, default=Path(".sandbox"), help="folder of data, logs and state (.sandbox)"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    _starting(commands.add_parser("start", help="starts what does not run"))
    commands.add_parser("stop", help="stops every part; data stays")
    commands.add_parser("status", help="says which part is up, where, and where its log is")
    env = commands.add_parser("env", help="the environment in which programs use the sandbox")
    env.add_argument("--format", choices=("shell", "json", "dotenv"), default="shell")
    runs = commands.add_parser("exec", help="runs a command on the sandbox: sandbox exec -- COMMAND")
    _starting(runs)
    runs.add_argument("rest", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    api = commands.add_parser("api", help="the API server alone, in the foreground")
    _serving(api)
    api.add_argument("--port", type=int, default=0)
    proxy = commands.add_parser(
        "proxy", help="a proxy before a service, with faults to order, in the foreground"
    )
    proxy.add_argument("upstream", help="the service's address, without a path")
    proxy.add_argument("--port", type=int, default=0)
    capture = commands.add_parser("capture", help="the live API into a folder")
    capture.add_argument("folder", type=Path)
    capture.add_argument("--api-url", default=LIVE_API)
    query = commands.add_parser("query", help="asks the local BigQuery")
    query.add_argument("sql", nargs="?")
    query.add_argument("--tables", action="store_true", help="every table and its rows")
    query.add_argument("--format", choices=("table", "csv", "json"), default="table")
    return parser


def _api_options(arguments: argparse.Namespace) -> list[str] | None:
    """Gives what the API is to serve as its own options; None where nothing was said."""
    from sandbox.records import check_folder  # noqa: PLC0415
    from sandbox.universe import Size  # noqa: PLC0415

    options = []
    if arguments.data is not None:
        check_folder(arguments.data)
        options += ["--data", str(arguments.data.resolve())]
    if arguments.universe is not None:
        try:
            Size.parse(arguments.universe)
        except ValueError as error:
            raise SandboxError(f"--universe: {error}") from error
        options += ["--universe", arguments.universe]
    if arguments.latency_ms is not None:
        options += ["--latency-ms", str(arguments.latency_ms)]
    return options or None


def _start(arguments: argparse.Namespace) -> list[str]:
    from sandbox.supervisor import PARTS, Sandbox  # noqa: PLC0415

    names = [name for name in arguments.parts.split(",") if name]
    if unknown := [name for name in names if name not in PARTS]:
        raise SandboxError(f"--parts: {', '.join(unknown)} unknown; expected {', '.join(PARTS)}")
    ports = {name: getattr(arguments, f"port_{name}") for name in PARTS}
    return Sandbox(arguments.home).start(names, _api_options(arguments), ports)


def _exec(arguments: argparse.Namespace) -> int:
    from sandbox.supervisor import Sandbox, run  # noqa: PLC0415

    command = arguments.rest[1:] if arguments.rest[:1] == ["--"] else arguments.rest
    if not command:
        raise SandboxError("exec: a command is needed: sandbox exec -- COMMAND")
    sandbox = Sandbox(arguments.home)
    before = {name for name, part in sandbox.parts().items() if part.alive()}
    try:
        _start(arguments)
        return run(command, sandbox.env())
    finally:
        ours = set(sandbox.parts()) - before
        sandbox.stop([name for name in sandbox.parts() if name in ours])


def _status(arguments: argparse.Namespace) -> int:
    from sandbox.supervisor import Sandbox  # noqa: PLC0415

    sandbox = Sandbox(arguments.home)
    parts = sandbox.parts()
    if not parts:
        print("nothing runs; 'sandbox start' starts it")  # noqa: T201
        return 1
    down = 0
    for name, part in parts.items():
        up = part.alive() and part.healthy()
        down += not up
        print(f"{name:9} {'up  ' if up else 'DOWN'} {part.url}  log: {sandbox.log(name)}")  # noqa: T201
    return 1 if down else 0


def _env(arguments: argparse.Namespace) -> int:
    from sandbox.supervisor import Sandbox  # noqa: PLC0415

    found = Sandbox(arguments.home).env()
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
    from sandbox.supervisor import Sandbox  # noqa: PLC0415

    if bool(arguments.sql) == arguments.tables:
        raise SandboxError('query: say what to ask: sandbox query "SELECT …", or sandbox query --tables')
    if not os.environ.get("BIGQUERY_EMULATOR_HOST"):
        os.environ.update(Sandbox(arguments.home).env())
    if arguments.tables:
        query.tables(arguments.format)
    else:
        query.query(arguments.sql, arguments.format)
    return 0


def _dispatch(arguments: argparse.Namespace) -> int:  # noqa: PLR0911 (one a command)
    from sandbox.supervisor import Sandbox  # noqa: PLC0415

    match arguments.command:
        case "start":
            _start(arguments)
            return _status(arguments)
        case "stop":
            Sandbox(arguments.home).stop()
            return 0
        case "status":
            return _status(arguments)
        case "env":
            return _env(arguments)
        case "exec":
            return _exec(arguments)
        case "api":
            return _api(arguments)
        case "proxy":
            from sandbox.proxy import serve  # noqa: PLC0415

            return serve(arguments.upstream, arguments.port)
        case "capture":
            from sandbox.capture import capture  # noqa: PLC0415

            capture(arguments.folder, arguments.api_url)
            return 0
        case _:
            return _query(arguments)


def main() -> int:
    """Runs the command line; gives the exit status: 1 for a failure, 2 for wrong arguments, 130 when interrupted."""
    try:
        return _dispatch(_parser().parse_args())
    except SandboxError as error:
        print(f"sandbox: {error}", file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        print("sandbox: interrupted", file=sys.stderr)  # noqa: T201
        return 128 + signal.SIGINT
