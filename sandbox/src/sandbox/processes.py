"""Processes as Linux shows them in /proc: which one it is, who holds a lock or a port, which carry a mark in their environment."""

import contextlib
import os
import signal
import socket
import sys
import time
from pathlib import Path

STOP_SECONDS = 10.0
# In /proc/net/tcp.
LISTEN = "0A"


def start_time(pid: int) -> str | None:
    """Return when a process started, which distinguishes it from a later one of the same id; None when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def marked(variable: str, value: str) -> list[int]:
    """Return the processes that were started with this variable in their environment, this one excepted."""
    entry = os.fsencode(f"{variable}={value}")
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if entry in (folder / "environ").read_bytes().split(b"\0") and int(folder.name) != os.getpid():
                pids.append(int(folder.name))
    return pids


def lock_holders(lock: Path) -> list[int]:
    """Return the processes that hold a lock of this file, this one excepted."""
    try:
        inode = lock.stat().st_ino
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return []
    # `1: FLOCK  ADVISORY  READ 1234 08:02:5678 0 EOF`; with `->` where it is waited for.
    held = [line.split() for line in lines if "->" not in line]
    pids = {int(f[4]) for f in held if f[1] == "FLOCK" and f[5].rpartition(":")[2] == str(inode)}
    return sorted(pids - {os.getpid()})


def listens(pid: int, port: int) -> bool:
    """Return whether this very process listens on a port of 127.0.0.1."""
    address = f"{int.from_bytes(socket.inet_aton('127.0.0.1'), sys.byteorder):08X}:{port:04X}"
    sockets = set()
    try:
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                sockets.add(str(file.readlink()))
        # While it starts it has none, and the list of all of this machine's may be long.
        if not any(link.startswith("socket:") for link in sockets):
            return False
        # `0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4567 …`
        rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    except OSError:
        return False
    return any((row[1], row[3]) == (address, LISTEN) and f"socket:[{row[9]}]" in sockets for row in rows)


def end(pids: list[int]) -> None:
    """End processes and wait until they are gone: SIGTERM, and SIGKILL after ten seconds."""
    births = {pid: mark for pid in pids if (mark := start_time(pid)) is not None}
    for number, limit in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, 5.0)):
        deadline = time.monotonic() + limit
        for pid in births:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        while births and time.monotonic() < deadline:
            births = {pid: mark for pid, mark in births.items() if _same(pid, mark)}
            time.sleep(0.01)
        if not births:
            return


def _same(pid: int, mark: str) -> bool:
    # A child of this process that has ended stays until its status is taken.
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    return start_time(pid) == mark
