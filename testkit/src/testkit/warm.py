"""A program started without its imports, which are most of a short run: a warm process forks one for each start.

`command("target_bigquery", "--config=ENV")` is a command line like `python -m target_bigquery --config=ENV`, for any use of
`subprocess`: arguments, environment, folder, the three streams, signals and the exit status are the caller's.
The process id is that of a small client (warm_client.py), whose death is the program's. What measures memory or start-up,
or sets a variable that Python reads when it starts, runs the program itself.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

MOST = 1 << 20


def command(module: str, *arguments: str) -> list[str]:
    """Return the command line that starts `python -m module` from its warm process."""
    return [
        sys.executable,
        "-I",
        "-S",
        str(Path(__file__).with_name("warm_client.py")),
        _server(module),
        *arguments,
    ]


@functools.cache
def _server(module: str) -> str:
    """Start the warm process of a module, which ends with this process; return its address."""
    folder = tempfile.TemporaryDirectory(prefix="warm-")
    address = str(Path(folder.name) / "socket")
    process = subprocess.Popen(
        [sys.executable, "-m", "testkit.warm", module, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline(), f"the warm process of {module} did not start: python -m {module}"

    def end() -> None:
        process.communicate()
        folder.cleanup()

    atexit.register(end)
    return address


def serve(module: str, address: str) -> None:
    """Import a module's package and fork for each caller; returns in each program's own process alone."""
    package = importlib.import_module(module)
    for found in pkgutil.walk_packages(package.__path__, f"{module}."):
        if not found.name.endswith(".__main__"):
            importlib.import_module(found.name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        print("ready", flush=True)  # noqa: T201 - _server waits for it
        # The end of stdin is the end of who started us.
        while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
            caller, _ = listener.accept()
            with caller:
                if os.fork() == 0:
                    listener.close()
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    _stand_in(caller, module)
                    return
    os._exit(0)


def _stand_in(caller: socket.socket, module: str) -> None:
    """Start the program, pass signals on to it, and tell how it ended; returns in the program's process alone."""
    text, files, _, _ = socket.recv_fds(caller, MOST, 3)
    while not text.endswith(b"\n"):
        text += caller.recv(MOST)
    call = json.loads(text)
    if (program := os.fork()) == 0:
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        os.chdir(call["folder"])
        os.environ.clear()
        os.environ.update(call["environment"])
        sys.argv = [module, *call["arguments"]]
        return
    for file in (*files, 0, 1, 2):
        os.close(file)
    ended = os.pidfd_open(program)
    while ended not in (ready := select.select([caller.fileno(), ended], [], [])[0]):
        if ready:
            signals = caller.recv(MOST)
            for number in signals or [signal.SIGKILL]:
                os.kill(program, number)
            if not signals:
                break
    _, status = os.waitpid(program, 0)
    with contextlib.suppress(BrokenPipeError):
        caller.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


if __name__ == "__main__":
    serve(*sys.argv[1:])
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
