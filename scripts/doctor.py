"""`make doctor`: what on this machine may keep the project from running, one line per problem with its remedy.

    python3 scripts/doctor.py [--problems]

With the standard library alone, as it must run where nothing could be installed. Exit status 1 when there is a problem.
`--problems` leaves out what is well.
"""

from __future__ import annotations

import argparse
import locale
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ((3, 11), (3, 14))
LEAST_MB = 2000
LEAST_TEMPORARY_MB = 500
PREFIXES = ("TAP_RICKANDMORTY_", "TARGET_BIGQUERY_", "DBT_", "MELTANO_", "DATASET_PREFIX", "REPORT_OUTPUT")
OURS = ("MELTANO_COMMAND", "MELTANO_SEND_ANONYMOUS_USAGE_STATS")
Finding = tuple[bool, str]  # whether all is well, and the line to print


def finding(well: bool, text: str, remedy: str) -> Finding:  # noqa: FBT001 (what is found)
    """Return a line about `text`; the remedy is printed where something is wrong."""
    return well, text if well else f"{text}: {remedy}"


def platform() -> Iterator[Finding]:
    """Linux, the machine, Python, and the programs that make needs."""
    yield finding(
        sys.platform == "linux" and os.uname().machine in {"x86_64", "aarch64"},
        f"platform: {sys.platform} on {os.uname().machine}",
        "the sandbox runs on Linux, x86-64 or arm64; use a container or a virtual machine",
    )
    yield finding(
        PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1],
        f"Python: {'.'.join(map(str, sys.version_info[:3]))}",
        "3.11 to 3.14 is needed; name another with make PYTHON=python3.12 …",
    )
    if not shutil.which("uv") and not (ROOT / ".venvs" / "uv" / "bin" / "uv").exists():
        try:
            import ensurepip  # noqa: F401, PLC0415 (Debian leaves it out)
        except ImportError:
            yield False, "Python: it has no venv: on Debian and Ubuntu, apt-get install python3-venv"
        else:
            yield True, "uv: none; make installs one"
    for program in ("bash", "git", "make"):
        if not shutil.which(program):
            yield False, f"{program}: not found; install it"


def folder() -> Iterator[Finding]:
    """The project's folder: write access, free space, files of other users."""
    yield finding(
        os.access(ROOT, os.W_OK), f"folder: {ROOT}", "it cannot be written; clone into a folder of your own"
    )
    for name in (".venvs", ".meltano", ".sandbox", "output", "transform/target"):
        path = ROOT / name
        if path.exists() and not os.access(path, os.W_OK):
            owner = path.stat().st_uid
            yield (
                False,
                f"folder: {name} belongs to user {owner} and cannot be written (a run by sudo?); sudo rm -r '{path}'",
            )
    temporary = os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 (only looked at)
    for place, least in ((str(ROOT), LEAST_MB), (temporary, LEAST_TEMPORARY_MB)):
        try:
            free = shutil.disk_usage(place).free // 1_000_000
        except OSError as error:
            yield False, f"disk: {place}: {error.strerror}; set TMPDIR to a folder that exists"
        else:
            yield finding(
                free >= least,
                f"disk: {place} has {free:,} MB free",
                f"{least:,} MB are needed; make room, or clone elsewhere",
            )


def surroundings() -> Iterator[Finding]:
    """Locale, proxy, certificates."""
    encoding = locale.getpreferredencoding(do_setlocale=False)
    utf_8 = encoding.upper().replace("-", "") == "UTF8"
    yield finding(utf_8, f"locale: {encoding}", "set LC_ALL=C.UTF-8, or PYTHONUTF8=1")
    names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
    if proxies := [name for name in names if os.environ.get(name)]:
        yield True, f"proxy: {', '.join(proxies)} set; the sandbox on this machine is reached past it"
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE"):
        if (value := os.environ.get(name)) and not Path(value).is_file():
            yield (
                False,
                f"certificates: {name} names {value}, which is not a file; correct it, or unset {name}",
            )
    if proxies and not os.environ.get("SSL_CERT_FILE") and not os.environ.get("UV_SYSTEM_CERTS"):
        remedy = "set UV_SYSTEM_CERTS=1, or SSL_CERT_FILE to its .pem file"
        yield True, f"certificates: none given for the proxy; where it has one of its own, {remedy}"


def settings() -> Iterator[Finding]:
    """`.env` and the variables that change what a run does; names only, never values."""
    dotenv = ROOT / ".env"
    if dotenv.exists():
        lines = dotenv.read_text(encoding="utf-8", errors="replace").splitlines()
        for number, line in enumerate(lines, 1):
            name, equals, value = (part.strip() for part in line.partition("="))
            if not name or name.startswith("#"):
                continue
            name = name.removeprefix("export ").strip()
            # A comment, and quotes with nothing in them, are no value either.
            value = "" if value.startswith("#") else value.strip("'\"")
            if not equals:
                yield False, f".env: line {number} is not NAME=value; put a # before it"
            elif not value:
                yield False, f".env: line {number}: {name} has no value; put a # before it"
        yield True, f".env: {len(lines)} lines"
    given = sorted(name for name in os.environ if name.startswith(PREFIXES) and name not in OURS)
    if given and "SANDBOX_EXEC" not in os.environ:
        yield True, f"environment: {', '.join(given)} set: they go before meltano.yml and .env"


def leftovers() -> Iterator[Finding]:
    """Parts of this folder's sandbox that run though their home is gone, and a free port."""
    mark = b"SANDBOX_PART="
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environ = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        for home in (
            Path(os.fsdecode(entry.removeprefix(mark))) for entry in environ if entry.startswith(mark)
        ):
            if home.is_relative_to(ROOT) and not (home / "state.json").exists():
                yield (
                    False,
                    f"leftovers: process {process.name} serves {home}, which is gone; kill {process.name}",
                )
    try:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
        yield True, "ports: 127.0.0.1 has free ones"
    except OSError as error:
        yield (
            False,
            f"ports: none can be opened on 127.0.0.1: {error.strerror}; look at the container's network",
        )


def main() -> int:
    """Print the findings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--problems", action="store_true", help="leave out what is well")
    only = parser.parse_args().problems
    status = 0
    for look in (platform, folder, surroundings, settings, leftovers):
        for good, text in look():
            status = status or int(not good)
            if not (good and only):
                sys.stdout.buffer.write(f"{'well   ' if good else 'PROBLEM'}  {text}\n".encode())
    return status


if __name__ == "__main__":
    raise SystemExit(main())
