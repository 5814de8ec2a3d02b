"""The parts of the sandbox together: started, known by a state file, stopped by their own ids.

A home has users: the commands that `sandbox exec` runs hold a shared lock of `users.lock` for as long as they live.
A guardian beside each of them (`sandbox.guardian`) ends what they leave, and stops the parts after the last of them,
unless `sandbox start` has started the parts: these stay until `sandbox stop`.
"""

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sandbox import processes
from sandbox.errors import SandboxError, sandbox_command
from sandbox.parts import (
    BUCKET,
    EXEC_MARK,
    LOCATION,
    PART_MARK,
    PROJECT,
    STRICT,
    Part,
    choose_port,
    launch,
    wait_until_healthy,
)
from sandbox.source import Source, default_source


class Sandbox:
    """The sandbox of one home folder."""

    def __init__(self, home: Path) -> None:
        self.home = home.resolve()
        self._state = self.home / "state.json"
        self._source = self.home / "source.json"
        self.users = self.home / "users.lock"

    def parts(self) -> dict[str, Part]:
        """Return the parts that were started and not stopped.

        None where that cannot be read: `start` and `stop` find them by their mark. A copied folder has a state of the first one's parts.
        """
        try:
            parts = [Part(**part) for part in json.loads(self._state.read_text()).values()]
        except (OSError, ValueError, TypeError, AttributeError):
            return {}
        return {part.name: part for part in parts if part.home == str(self.home)}

    def source(self) -> Source | None:
        """Return the source whose versions this home holds, None where it holds none yet.

        Raises:
            SandboxError: It cannot be read.
        """
        try:
            return Source(**json.loads(self._source.read_text()))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, TypeError) as error:
            raise SandboxError(
                f"{self._source} cannot be read ({error}), so that the source of this warehouse is not known; "
                f"remove {self.home}, or name another folder with --home"
            ) from error

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
        strict: bool = False,
    ) -> None:
        """Start the parts that do not run.

        Args:
            names: Of PARTS.
            source: What the API serves; None keeps what it serves now, at first the default source.
            latency_ms: Milliseconds before each of its answers; None keeps what it has.
            ports: Fixed ports; others are free ones, and a part keeps its port when it is restarted.
            keep: Whether the parts run until `sandbox stop`.
            strict: Whether the strict services are started too.

        Raises:
            SandboxError: No room, a port in use, another source than the home's, an API in use that would have to be
                started again, or a part that does not come up.
        """
        self.prepare()
        with self.changing():
            serves = self._adopt_source(source, serves="api" in names)
            parts = self.parts()
            if not parts and not self.used_by():
                # What a start that was killed has left.
                processes.end(processes.marked(PART_MARK, str(self.home)))
            started: list[Part] = []
            stricts = [name for name, of in STRICT.items() if strict and of in names]
            try:
                for name in [*names, *stricts]:
                    options = self._options(name, parts.get(name), serves if source else None, latency_ms)
                    if name in STRICT:
                        options = [STRICT[name], parts[STRICT[name]].url]
                    stamp = serves.stamp if serves and name == "api" else ""
                    before, port = parts.get(name), (ports or {}).get(name, 0)
                    if before and before.alive():
                        same_port = port in (0, before.port)
                        if before.options == options and same_port and (not stamp or before.stamp == stamp):
                            before.kept = before.kept or keep
                            continue
                        self._refuse_restart(before, keep=keep)
                        processes.end([before.pid])
                    port = choose_port(name, port, before)
                    part = launch(self.home, self.log(name), name, port, options)
                    parts[name] = replace(part, kept=keep, stamp=stamp)
                    started.append(parts[name])
                    self._save(parts)
                self._save(parts)
                for name in [*names, *stricts]:
                    wait_until_healthy(parts[name], self.log(name))
            except BaseException:
                self._end(started)
                raise

    def stop(self) -> None:
        """Stop every part.

        Raises:
            SandboxError: A command uses them.
        """
        if not self.home.is_dir():
            return
        with self.changing():
            if users := self.used_by():
                raise SandboxError(
                    f"{self.home} is in use by a command (process {users[0]}); wait for it, or end it: kill {users[0]}"
                )
            self._end([*self.parts().values()])
            # What an interrupted start may have left.
            processes.end(processes.marked(PART_MARK, str(self.home)))

    def release(self, mark: str) -> None:
        """End what carries the mark of a command that has ended, and parts without a user that `sandbox start` has not started."""
        processes.end(processes.marked(EXEC_MARK, mark))
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
        parts = {name: part for name, part in self.parts().items() if part.alive()}
        source = self.source()
        env = {"SANDBOX_HOME": str(self.home)}
        url = f"{parts['api'].url}/api" if "api" in parts else source and source.url
        if url:
            env["TAP_RICKANDMORTY_API_URL"] = url
            if source:
                env["TARGET_BIGQUERY_SOURCE"] = source.name
        parts |= {STRICT[name]: part for name, part in parts.items() if name in STRICT}
        if "storage" in parts:
            env["STORAGE_EMULATOR_HOST"] = parts["storage"].url
            env["TARGET_BIGQUERY_BUCKET"] = BUCKET
        if "bigquery" in parts:
            env["BIGQUERY_EMULATOR_HOST"] = parts["bigquery"].url
        env["GOOGLE_CLOUD_PROJECT"] = PROJECT
        env["TARGET_BIGQUERY_LOCATION"] = env["DBT_BIGQUERY_LOCATION"] = LOCATION
        env["GOOGLE_APPLICATION_CREDENTIALS"] = str(self.home / "credentials.json")
        # Meltano's state (bookmarks, counts) belongs to the warehouse that it describes.
        env["MELTANO_DATABASE_URI"] = f"sqlite:///{self.home}/meltano.db"
        env["MELTANO_STATE_BACKEND_URI"] = "systemdb"
        before = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
        names = [*filter(None, before.split(",")), "127.0.0.1", "localhost"]
        env["NO_PROXY"] = env["no_proxy"] = ",".join(dict.fromkeys(names))
        return env

    def _adopt_source(self, source: Source | None, *, serves: bool) -> Source | None:
        before = self.source()
        if source is None:
            source = before or (default_source() if serves else None)
        elif before and (before.name, before.place) != (source.name, source.place):
            raise SandboxError(
                f"{self.home} holds the warehouse of {before.title}; {source.title} gets one of its own: "
                "leave --home and SANDBOX_HOME out, or name another"
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
        asked = f"{part.name} of {self.home} serves something else than asked for, or on another port"
        if users := self.used_by():
            raise SandboxError(
                f"{asked}, and a command uses it (process {users[0]}); wait for it, or end it: kill {users[0]}"
            )
        if part.kept and not keep:
            raise SandboxError(
                f"{asked}; {sandbox_command('stop')} ends what {sandbox_command('start')} began"
            )

    def prepare(self) -> None:
        """Make the home's folders.

        Raises:
            SandboxError: It cannot be written or hold a database, or the disk has no room.
        """
        if "?" in self.home.as_posix():
            raise SandboxError(
                f"{self.home}: DuckDB writes no database below a folder with ? in its name; name another folder with --home"
            )
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
        least = os.environ.get("SANDBOX_MIN_FREE_MB") or "500"
        if not least.isdecimal():
            raise SandboxError(f"SANDBOX_MIN_FREE_MB={least}: expected a number of megabytes")
        free = shutil.disk_usage(self.home).free // 1_000_000
        if free < int(least):
            raise SandboxError(f"{self.home} has {free} MB free, {least} MB are needed (SANDBOX_MIN_FREE_MB)")

    def _end(self, parts: list[Part]) -> None:
        processes.end([part.pid for part in parts if part.alive()])
        before, ended = self.parts(), {part.pid for part in parts}
        left = {name: part for name, part in before.items() if part.pid not in ended}
        if left != before:
            self._save(left)

    def _save(self, parts: dict[str, Part]) -> None:
        if parts:
            _write_whole(self._state, {name: asdict(part) for name, part in parts.items()})
        else:
            # Which a full disk has room for.
            self._state.unlink(missing_ok=True)


def _write_whole(path: Path, content: dict[str, Any]) -> None:
    work = path.with_suffix(".new")
    work.write_text(json.dumps(content, indent=2))
    work.replace(path)
