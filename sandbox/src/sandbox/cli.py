"""Start, stop and show the local stand-ins, and run commands on them."""

import argparse
import dataclasses
import json
import os
import shlex
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from sandbox import homes
from sandbox import source as sources
from sandbox.errors import Ended, SandboxError, sandbox_command
from sandbox.execution import run, using
from sandbox.parts import EXEC_MARK, PARTS
from sandbox.signals import ended_by_signals
from sandbox.source import LIVE_API, Source
from sandbox.supervisor import Sandbox


def _integer(most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) > most:
            raise argparse.ArgumentTypeError(f"expected a whole number from 0 to {most}, got {text!r}")
        return int(text)

    return parse


def _folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("expected a folder, got an empty name")
    return Path(text)


def _address(text: str) -> str:
    address = urlsplit(text)
    if address.scheme not in {"http", "https"} or not address.hostname:
        raise argparse.ArgumentTypeError(f"expected an address like http://127.0.0.1:9050, got {text!r}")
    return text


PORT, MILLISECONDS = _integer(65535), _integer(3_600_000)


def _add_source_options(parser: argparse.ArgumentParser) -> argparse._MutuallyExclusiveGroup:
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--data", type=_folder, help="folder with a file of JSON lines per resource, such as character.jsonl"
    )
    source.add_argument("--universe", help="a made-up one: characters=826,locations=126,episodes=51,seed=1")
    parser.add_argument(
        "--latency-ms", type=MILLISECONDS, default=None, help="milliseconds before each answer of the API"
    )
    return source


def _add_start_options(parser: argparse.ArgumentParser) -> None:
    source = _add_source_options(parser)
    source.add_argument("--live", action="store_true", help=f"the live API, {LIVE_API}, not the sandbox's")
    parser.add_argument("--source", metavar="NAME", help="the source's name (default: of what is served)")
    parser.add_argument(
        "--strict",
        action="store_true",
        help="with roles, rate limits and sizes as Google documents them (sandbox/README.md)",
    )
    parser.add_argument("--parts", help="which of api, storage and bigquery, by commas (default: all)")
    for part in PARTS:
        parser.add_argument(f"--port-{part}", type=PORT, default=0, help="a fixed port (default: a free one)")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sandbox", description=__doc__)
    parser.add_argument(
        "--home",
        type=_folder,
        default=os.environ.get("SANDBOX_HOME") or None,
        help="folder of data, logs and state (default: SANDBOX_HOME, else a folder per source below .sandbox)",
    )
    commands = parser.add_subparsers(required=True)

    def command(run: Callable[[argparse.Namespace], int], summary: str) -> argparse.ArgumentParser:
        added = commands.add_parser(run.__name__.strip("_"), help=summary)
        added.set_defaults(run=run)
        return added

    _add_start_options(command(_start, "start what does not run"))
    command(_stop, "stop every part of every source; data stays")
    command(_status, "show which part is up, its address and its log")
    env = command(_env, "print the environment in which programs use the sandbox")
    env.add_argument("--format", choices=("shell", "json", "dotenv"), default="shell")
    runs = command(_exec, "run a command on the sandbox: sandbox exec -- COMMAND")
    _add_start_options(runs)
    runs.add_argument("rest", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    api = command(_api, "run the API server alone, in the foreground")
    _add_source_options(api)
    proxy = command(_proxy, "run a proxy that injects faults into a service, in the foreground")
    strict = command(_strict, "run a proxy that applies Google's rules to a service, in the foreground")
    strict.add_argument("kind", choices=("bigquery", "storage"))
    for before in (proxy, strict):
        before.add_argument("upstream", type=_address, help="the service's address, without a path")
    for foreground in (api, proxy, strict):
        foreground.add_argument("--port", type=PORT, default=0)
    capture = command(_capture, "copy the live API into a folder")
    capture.add_argument("folder", type=Path)
    capture.add_argument("--api-url", type=_address, default=LIVE_API)
    query = command(_query, "query the local BigQuery")
    query.add_argument("sql", nargs="?")
    query.add_argument("--tables", action="store_true", help="list every table and its rows")
    query.add_argument("--format", choices=("table", "csv", "json"), default="table")
    command(_shell, "open an SQL prompt on the local BigQuery")
    return parser


def _source(arguments: argparse.Namespace) -> Source | None:
    """Return the source that the arguments name; None where they name none."""
    source = None
    if arguments.data is not None:
        source = sources.captured(arguments.data)
    elif arguments.universe is not None:
        source = sources.made_up(arguments.universe)
    elif arguments.live:
        source = sources.live()
    if source and arguments.source:
        source = dataclasses.replace(source, name=arguments.source, place="")
    return source


def _start_parts(
    arguments: argparse.Namespace, sandbox: Sandbox, source: Source | None, *, keep: bool
) -> None:
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
        names, source, latency_ms=arguments.latency_ms, ports=ports, keep=keep, strict=arguments.strict
    )


def _start(arguments: argparse.Namespace) -> int:
    ended_by_signals()
    source = _source(arguments)
    sandbox = homes.choose(arguments.home, source)
    _start_parts(arguments, sandbox, source, keep=True)
    return _print_status([sandbox])


def _exec(arguments: argparse.Namespace) -> int:
    command = arguments.rest[1:] if arguments.rest[:1] == ["--"] else arguments.rest
    if not command:
        raise SandboxError(f"exec: a command is needed: {sandbox_command('exec -- COMMAND')}")
    source = _source(arguments)
    sandbox = homes.choose(arguments.home, source)
    ended_by_signals()
    with using(sandbox) as mark:
        _start_parts(arguments, sandbox, source, keep=False)
        return run(command, {**sandbox.env(), EXEC_MARK: mark})


def _status(arguments: argparse.Namespace) -> int:
    return _print_status(homes.all_of(arguments.home))


def _print_status(sandboxes: list[Sandbox]) -> int:
    running = [(sandbox, parts) for sandbox in sandboxes if (parts := sandbox.parts())]
    if not running:
        print(f"nothing runs; {sandbox_command('start')} starts it")
        return 1
    down = 0
    for sandbox, parts in running:
        if source := sandbox.source():
            print(f"source    {source.name}")
        for name, part in parts.items():
            up = part.alive() and part.healthy()
            down += not up
            print(f"{name:9} {'up  ' if up else 'DOWN'} {part.url}  log: {sandbox.log(name)}")
    return 1 if down else 0


def _stop(arguments: argparse.Namespace) -> int:
    stopped = 0
    for sandbox in homes.all_of(arguments.home):
        stopped += len(sandbox.parts())
        sandbox.stop()
    if not stopped:
        print("nothing runs")
    return 0


def _env(arguments: argparse.Namespace) -> int:
    sandbox = homes.choose(arguments.home)
    parts = sandbox.parts()
    down = [name for name, part in parts.items() if not part.alive()]
    if down or not parts:
        what = (
            f"{', '.join(down)} of {sandbox.home} has ended" if parts else f"nothing runs of {sandbox.home}"
        )
        raise SandboxError(f"{what}; {sandbox_command('start')} starts it")
    environment = sandbox.env()
    if arguments.format == "json":
        print(json.dumps(environment, indent=2))
    else:
        prefix = "export " if arguments.format == "shell" else ""
        for name, value in environment.items():
            print(f"{prefix}{name}={shlex.quote(value)}")
    return 0


def _api(arguments: argparse.Namespace) -> int:
    from sandbox.api import Api  # noqa: PLC0415
    from sandbox.records import entities, read_folder  # noqa: PLC0415
    from sandbox.serving import serve  # noqa: PLC0415
    from sandbox.universe import Size, make  # noqa: PLC0415

    try:
        records = (
            read_folder(arguments.data) if arguments.data else make(Size.parse(arguments.universe or ""))
        )
    except ValueError as error:
        raise SandboxError(f"--universe: {error}") from error
    if unknown := ", ".join(sorted(entities()[0].keys() - records)):
        raise SandboxError(
            f"--universe: it has no {unknown}, which entities.yml names; serve answers of yours: --data FOLDER, or a folder answers/"
        )
    return serve(Api(records, (arguments.latency_ms or 0) / 1000).app, arguments.port, "/api")


def _proxy(arguments: argparse.Namespace) -> int:
    from sandbox.proxy import Proxy  # noqa: PLC0415
    from sandbox.serving import serve  # noqa: PLC0415

    return serve(Proxy(arguments.upstream).app, arguments.port)


def _strict(arguments: argparse.Namespace) -> int:
    from sandbox.serving import serve  # noqa: PLC0415
    from sandbox.strict.bigquery import StrictBigQuery  # noqa: PLC0415
    from sandbox.strict.rules import Rules  # noqa: PLC0415
    from sandbox.strict.storage import StrictStorage  # noqa: PLC0415

    strict = {"bigquery": StrictBigQuery, "storage": StrictStorage}[arguments.kind]
    return serve(strict(arguments.upstream, Rules()).app, arguments.port)


def _capture(arguments: argparse.Namespace) -> int:
    from sandbox.capture import capture  # noqa: PLC0415

    ended_by_signals()
    capture(arguments.folder, arguments.api_url)
    return 0


def _query(arguments: argparse.Namespace) -> int:
    from sandbox import query  # noqa: PLC0415

    if bool(arguments.sql) == arguments.tables:
        raise SandboxError(
            f"query: give a statement, or list the tables: {sandbox_command('query --tables')}; make query SQL='SELECT …'"
        )
    _name_bigquery(arguments)
    if arguments.tables:
        query.tables(arguments.format)
    else:
        query.query(arguments.sql, arguments.format)
    return 0


def _shell(arguments: argparse.Namespace) -> int:
    from sandbox.query import shell  # noqa: PLC0415

    _name_bigquery(arguments)
    return shell()


def _name_bigquery(arguments: argparse.Namespace) -> None:
    if not os.environ.get("BIGQUERY_EMULATOR_HOST"):
        os.environ.update(homes.choose(arguments.home).env())


def _run() -> int:
    try:
        arguments = _parser().parse_args()
        status = int(arguments.run(arguments))
    finally:
        # After --help too.
        sys.stdout.flush()
    return status


def main() -> int:
    """Run the command line.

    Returns:
        The exit status: 1 for a failure, 2 for wrong arguments, 128 and the signal's number when ended by one.
    """
    for number, (name, mode) in enumerate({"stdin": "r", "stdout": "w", "stderr": "w"}.items()):
        if getattr(sys, name) is None:
            # Closed by the caller: a file opened later would take its place.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # noqa: FBT003
            setattr(sys, name, open(number, mode))  # noqa: PTH123, SIM115 (a descriptor, for good)
    for stream in (sys.stdout, sys.stderr):
        # Whatever the locale, as the data is.
        stream.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
    try:
        return _run()
    except SandboxError as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        # `| head` has read enough, or the disk is full: what is left goes nowhere, at the interpreter's end too.
        with suppress(OSError):
            sys.stdout.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 128 + signal.SIGPIPE
        print(f"sandbox: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        ended = Ended(signal.SIGINT)
    except Ended as error:
        ended = error
    number = signal.Signals(ended.args[0])
    how = "interrupted" if number == signal.SIGINT else f"ended by {number.name}"
    print(f"sandbox: {how}", file=sys.stderr)
    return 128 + number
