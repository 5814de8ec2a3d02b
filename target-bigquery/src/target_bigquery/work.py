"""Background work while records are read: threads that prepare tables, upload parts and load versions."""

import fcntl
import os
import shutil
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from google.cloud.bigquery import SchemaField

from target_bigquery.cloud import Cloud
from target_bigquery.errors import TargetError
from target_bigquery.landing import Staged
from target_bigquery.load import Loader, Prepared, Version
from target_bigquery.parts import Part, on_disk
from target_bigquery.settings import Settings

MOST_LOADS = 4
MOST_UPLOADS = 4
PREFIX, LOCK = "target-bigquery-", ".lock"


class Work:
    """The pools of one run, and its folder of parts."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._started: list[Future[Any]] = []
        self._tables: dict[str, str] = {}
        self._last: dict[str, Future[Any]] = {}
        # Loads wait for uploads, and uploads and loads for preparations: each kind has its own threads.
        self._preparing = ThreadPoolExecutor(MOST_LOADS, thread_name_prefix="prepare")
        self._uploading = ThreadPoolExecutor(MOST_UPLOADS, thread_name_prefix="upload")
        self._loading = ThreadPoolExecutor(MOST_LOADS, thread_name_prefix="load")

    @cached_property
    def folder(self) -> Path:
        """The folder of the parts; removed at the end, and by the next process where this one is killed."""
        with on_disk(Path(os.environ.get("TMPDIR", "/tmp"))):  # noqa: S108 (only named)
            remove_abandoned_folders()
            folder, self._lock = make_folder()
        return folder

    @cached_property
    def loader(self) -> Loader:
        """The loader, on Application Default Credentials."""
        return Loader(Cloud(self._settings), self.folder)

    def prepare(
        self, stream: str, table: str, fields: list[SchemaField], keys: list[str]
    ) -> Future[Prepared]:
        """Start to prepare a stream's table."""
        other = self._tables.setdefault(table.lower(), stream)
        if other != stream:
            raise TargetError(
                f"the streams {other!r} and {stream!r} would both be table {table}; rename one with a stream map"
            )
        loader, before = self.loader, self._last.get(stream)

        def prepare() -> Prepared:
            # Until it is loaded, the table keeps the columns of the version before.
            if before is not None:
                before.result()
            return loader.prepare(stream, table, fields, keys)

        return self._start(self._preparing, prepare)

    def upload(self, part: Part, prepared: Future[Prepared]) -> Future[Staged | Part]:
        """Start the upload of a part."""
        return self._start(self._uploading, lambda: self.loader.upload(part, prepared))

    def load(self, version: Version) -> None:
        """Start the load of a version; a stream's loads keep their order."""
        before = self._last.get(version.stream)

        def load() -> None:
            if before is not None:
                before.result()
            self.loader.load(version)

        self._last[version.stream] = self._start(self._loading, load)

    def write_ledger(self) -> None:
        """Write the ledger's rows, where anything was loaded."""
        if "loader" in self.__dict__:
            self.loader.write_ledger()

    def raise_failed(self) -> None:
        """Raise the first failure so far."""
        for work in self._started:
            if work.done() and not work.cancelled() and (failed := work.exception()) is not None:
                raise failed
        self._started = [work for work in self._started if not work.done()]

    def wait(self) -> list[str]:
        """Wait for everything started; return the failures, each line once."""
        failures = []
        for work in self._started:
            failed = None if work.cancelled() else work.exception()
            if isinstance(failed, TargetError):
                failures.append(str(failed))
            elif failed is not None:
                raise failed
        self._started = []
        # Preparation, upload and load of a stream may fail for the same reason.
        return list(dict.fromkeys(failures))

    def close(self) -> None:
        """End the threads, after the loads that have started, and remove the folder of parts."""
        for pool in (self._preparing, self._uploading, self._loading):
            pool.shutdown(wait=True, cancel_futures=True)
        self.remove_folder()

    def remove_folder(self) -> None:
        """Remove the folder of parts."""
        if "folder" in self.__dict__:
            shutil.rmtree(self.folder, ignore_errors=True)
            self._lock.close()

    def _start(self, pool: ThreadPoolExecutor, work: Any) -> Future[Any]:  # noqa: ANN401 (a callable)
        future = pool.submit(work)
        self._started.append(future)
        return future


def make_folder() -> tuple[Path, IO[str]]:
    """Make a folder for parts; return it with its lock, which is held until this process ends, however it ends."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        lock = (folder / LOCK).open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Before it was held, a process that started at the same moment may have taken the folder for an abandoned one.
        if Path(lock.name).exists():
            return folder, lock
        lock.close()


def remove_abandoned_folders() -> None:
    """Remove the folders of processes that were killed: their locks are free."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            with (folder / LOCK).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if folder.stat().st_uid == os.getuid():
                    shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            # In use, another user's, or not a folder of parts.
            continue
