"""A program started without its imports, which are most of a short run: a warm process forks one for each start.

`command("target_bigquery", "--config=ENV")` is a command line like `python -m target_bigquery --config=ENV`, for any use of
`subprocess`: arguments, environment, folder, the three streams, signals and the exit status are the caller's.
`script(program, …)` does the same for any script of Python, and `stand_in` makes a program of it that is started by its path.
The process id is that of a small client (warm_client.py), whose death is the program's. What measures memory or start-up,
or sets a variable that Python reads when it starts, runs the program itself.
"""

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
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

MOST = 1 << 20


def command(module: str, *arguments: str, imports: str = "") -> list[str]:
    """Return the command line that starts `python -m module` from its warm process.

    A module that is found by the caller's PYTHONPATH alone names another's `imports`, which are nearly its own.
    """
    return [*_client(sys.executable, module, imports or f"{module}.*"), *arguments]


def script(program: Path, *imports: str, python: Path | None = None) -> list[str]:
    """Return the command line that starts a script of Python from its warm process.

    Args:
        program: The script.
        imports: What the warm process imports: modules, or `package.*` for all that is in one.
        python: Its interpreter; without one it is beside the script.
    """
    return _client(str(python or program.with_name("python")), str(program), *imports)


def stand_in(file: Path, command: list[str]) -> None:
    """Write a program that runs this command line, for who starts a program by its path."""
    file.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    file.chmod(0o755)


def _client(python: str, program: str, *imports: str) -> list[str]:
    client = str(Path(__file__).with_name("warm_client.py"))
    return [sys.executable, "-I", "-S", client, _server(python, program, *imports)]


@functools.cache
def _server(python: str, program: str, *imports: str) -> str:
    """Start the warm process of a program, which ends with this process; return its address."""
    folder = tempfile.TemporaryDirectory(prefix="warm-")
    address = str(Path(folder.name) / Path(program).name)
    process = subprocess.Popen(
        [python, "-P", __file__, address, program, *imports], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline(), f"the warm process of {program} did not start"

    def end() -> None:
        process.communicate()
        folder.cleanup()

    atexit.register(end)
    return address


def serve(address: str, program: str, *imports: str) -> None:
    """Import and fork for each caller; returns in each program's own process alone."""
    if Path(program).is_file():
        sys.path.insert(0, str(Path(program).parent))
    for name in imports:
        package = importlib.import_module(name.removesuffix(".*"))
        inside = package.__path__ if name.endswith(".*") else ()
        for module in pkgutil.walk_packages(inside, f"{package.__name__}."):
            if not module.name.endswith(".__main__"):
                importlib.import_module(module.name)
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
                    _become(caller, program)
                    return
    os._exit(0)


def _become(caller: socket.socket, name: str) -> None:
    """Start the program, pass signals on to it, and tell how it ended; returns in the program's process alone."""
    text, files, _, _ = socket.recv_fds(caller, MOST, 3)
    while not text.endswith(b"\n"):
        text += caller.recv(MOST)
    call = json.loads(text)
    # Not a descriptor of the process: the Python of gcloud lacks os.pidfd_open.
    ended, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(write)
    if (program := os.fork()) == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(ended)
        os.close(write)
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        os.chdir(call["folder"])
        os.environ.clear()
        os.environ.update(call["environment"])
        sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
        sys.argv = [name, *call["arguments"]]
        return
    for file in (*files, 0, 1, 2):
        os.close(file)
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
    if Path(sys.argv[0]).is_file():
        runpy.run_path(sys.argv[0], run_name="__main__")
    else:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
