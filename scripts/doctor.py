"""`make doctor`: what on this machine may keep the project from running, one line per problem with its remedy.

    python3 scripts/doctor.py [--problems]

With the standard library alone, as it must run where nothing could be installed. Exit status 1 when there is a problem.
`--problems` prints nothing else, and on stderr.
"""

from __future__ import annotations

import argparse
import importlib.util
import locale
import os
import re
import shutil
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from command_line import end_with

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ((3, 11), (3, 14))
REQUIRED_MB = 2000
REQUIRED_TEMPORARY_MB = 500
REFUSED_IN_PATHS = {":": "Python's venv", "%": "Meltano", "?": "DuckDB"}
PREFIXES = ("TAP_RICKANDMORTY_", "TARGET_BIGQUERY_", "DBT_", "MELTANO_", "DATASET_PREFIX", "REPORT_OUTPUT")
OURS = ("MELTANO_COMMAND", "MELTANO_SEND_ANONYMOUS_USAGE_STATS")


class Finding(NamedTuple):
    """What was looked at, and the remedy, empty where there is no problem."""

    text: str
    remedy: str = ""


def platform() -> Iterator[Finding]:
    """Linux, the machine, Python, and the programs that make needs."""
    machine = os.uname().machine
    supported = sys.platform == "linux" and machine in {"x86_64", "aarch64"}
    remedy = "the sandbox runs on Linux, x86-64 or arm64; use a container or a virtual machine"
    yield Finding(f"platform: {sys.platform} on {machine}", "" if supported else remedy)
    supported = PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]
    remedy = "3.11 to 3.14 is needed; name another with make PYTHON=python3.12 …"
    yield Finding(f"Python: {'.'.join(map(str, sys.version_info[:3]))}", "" if supported else remedy)
    if not shutil.which("uv") and not (ROOT / ".venvs" / "uv" / "bin" / "uv").exists():
        if importlib.util.find_spec("ensurepip"):
            yield Finding("uv: none; make installs one")
        else:
            yield Finding("Python: it has no venv", "on Debian and Ubuntu, apt-get install python3-venv")
    for program in ("bash", "git", "make"):
        if not shutil.which(program):
            yield Finding(f"{program}: not found", "install it")


def folder() -> Iterator[Finding]:
    """The project's folder: write access, free space, files of other users."""
    remedy = "it cannot be written; clone into a folder of your own"
    yield Finding(f"folder: {ROOT}", "" if os.access(ROOT, os.W_OK) else remedy)
    for character, program in REFUSED_IN_PATHS.items():
        if character in str(ROOT):
            text = f"folder: {ROOT}: {program} cannot run below a folder with {character} in its name"
            yield Finding(text, "clone into another folder")
    for name in (".venvs", ".meltano", ".meltano/run-logs", ".sandbox", "output", "transform/target"):
        path = ROOT / name
        if path.exists() and not os.access(path, os.W_OK):
            owner = path.stat().st_uid
            text = f"folder: {name} belongs to user {owner} and cannot be written (a run by sudo?)"
            yield Finding(text, f"sudo rm -r '{path}'")
    temporary = os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 (only looked at)
    for place, required in ((str(ROOT), REQUIRED_MB), (temporary, REQUIRED_TEMPORARY_MB)):
        try:
            free = shutil.disk_usage(place).free // 1_000_000
        except OSError as error:
            yield Finding(f"disk: {place}: {error.strerror}", "set TMPDIR to a folder that exists")
        else:
            remedy = f"{required:,} MB are needed; make room, or clone elsewhere"
            yield Finding(f"disk: {place} has {free:,} MB free", "" if free >= required else remedy)


def surroundings() -> Iterator[Finding]:
    """Locale, proxy, certificates."""
    encoding = locale.getpreferredencoding(do_setlocale=False)
    utf_8 = encoding.upper().replace("-", "") == "UTF8"
    yield Finding(f"locale: {encoding}", "" if utf_8 else "set LC_ALL=C.UTF-8, or PYTHONUTF8=1")
    names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
    if proxies := [name for name in names if os.environ.get(name)]:
        yield Finding(f"proxy: {', '.join(proxies)} set; the sandbox on this machine is reached past it")
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE"):
        if (value := os.environ.get(name)) and not Path(value).is_file():
            text = f"certificates: {name} names {value}, which is not a file"
            yield Finding(text, f"correct it, or unset {name}")
    if proxies and not os.environ.get("SSL_CERT_FILE") and not os.environ.get("UV_SYSTEM_CERTS"):
        remedy = "set UV_SYSTEM_CERTS=1, or SSL_CERT_FILE to its .pem file"
        text = f"certificates: none set for the proxy; where it has one of its own, {remedy}"
        yield Finding(text)


def assignments() -> list[tuple[str, str | None]]:
    """Return each line of `.env` as its name, empty for a comment, and its value; None where it assigns nothing."""
    path, found = ROOT / ".env", []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        name, equals, value = (part.strip() for part in line.partition("="))
        name = "" if name.startswith("#") else name.removeprefix("export ").strip()
        # A comment, and quotes with nothing in them, are no value either.
        value = "" if value.startswith("#") else value.strip("'\"")
        found.append((name, value if equals and len(name.split()) == 1 else None))
    return found


def misspelt() -> Iterator[Finding]:
    """Yield each name, of the environment or `.env`, that starts as the verdict's do and is none: dbt cannot see it."""
    project = ROOT / "transform" / "dbt_project.yml"
    text = project.read_text(encoding="utf-8") if project.is_file() else ""
    checks = re.findall(r"(?m)^    (\w+): (?:fail|warn|ignore)\b", text)
    limits = re.findall(r"(?m)^  verdict_(\w+): \d", text)
    read = {f"DBT_VERDICT_{name.upper()}" for name in checks + limits}
    given = assignments() if (ROOT / ".env").is_file() else []
    for name in sorted({*os.environ, *(name for name, value in given if value is not None)} - read):
        if name.startswith("DBT_VERD"):
            yield Finding(f"environment: nothing reads {name}", f"expected one of {', '.join(sorted(read))}")


def dotenv() -> Iterator[Finding]:
    """`.env`: its lines, and names that the verdict does not know; names only, never values."""
    try:
        lines = assignments()
    except OSError as error:
        yield Finding(f".env: {error.strerror}", "make it a file that you may read, or remove it")
        return
    for number, (name, value) in enumerate(lines, 1):
        if name and value is None:
            yield Finding(f".env: line {number} is not NAME=value", "put a # before it")
        elif name and not value:
            yield Finding(f".env: line {number}: {name} has no value", "put a # before it")
    if lines:
        yield Finding(f".env: {len(lines)} lines")
    yield from misspelt()


def variables() -> Iterator[Finding]:
    """The variables that change what a run does; names only, never values."""
    present = sorted(name for name in os.environ if name.startswith(PREFIXES) and name not in OURS)
    if present and "SANDBOX_EXEC" not in os.environ:
        text = f"environment: {', '.join(present)} set: they go before meltano.yml and .env"
        yield Finding(text)


def leftovers() -> Iterator[Finding]:
    """Parts of this folder's sandbox that run though their home is gone, and a free port."""
    mark = b"SANDBOX_PART="
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environ = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        homes = [Path(os.fsdecode(entry.removeprefix(mark))) for entry in environ if entry.startswith(mark)]
        for home in homes:
            if home.is_relative_to(ROOT) and not (home / "state.json").exists():
                text = f"leftovers: process {process.name} serves {home}, which is gone"
                yield Finding(text, f"kill {process.name}")
    try:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
        yield Finding("ports: 127.0.0.1 has free ones")
    except OSError as error:
        text = f"ports: none can be opened on 127.0.0.1: {error.strerror}"
        yield Finding(text, "look at the container's network")


LOOKS = (platform, folder, surroundings, dotenv, variables, leftovers)


def show(*, problems_only: bool) -> int:
    """Print the findings, or beside an error the problems alone; return the exit status."""
    findings = [finding for look in LOOKS for finding in look()]
    output = sys.stderr if problems_only else sys.stdout
    for text, remedy in findings:
        if remedy or not problems_only:
            line = f"PROBLEM  {text}; {remedy}" if remedy else f"ok       {text}"
            output.buffer.write(f"{line}\n".encode())
    return int(any(finding.remedy for finding in findings))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--problems", action="store_true", help="print problems only, on stderr")
    arguments = parser.parse_args()
    end_with(lambda: show(problems_only=arguments.problems))
