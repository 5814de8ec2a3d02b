"""Run one command, or several in a pipe, and measure seconds, CPU and peak memory of each.

    python -I measure.py SPEC RESULT

A program of its own, and a small one: the kernel counts the memory of the process that starts a program as that
program's own, so whoever measures must be small (about 12 MB here, the least that is measured).
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path


def main(spec_file: str, result_file: str) -> int:
    """Run what the file says and write what was measured; return 0 whatever the commands' exit statuses are."""
    spec = json.loads(Path(spec_file).read_text())
    commands = spec["commands"]
    folder = Path(spec["folder"])
    source = os.open(spec["stdin"] or os.devnull, os.O_RDONLY)
    running = []
    began = time.monotonic()
    for number, command in enumerate(commands):
        last = number == len(commands) - 1
        if last:
            reader, writer = -1, os.open(folder / "stdout", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        else:
            reader, writer = os.pipe()
        with (folder / f"stderr-{command['name']}").open("wb") as log:
            process = subprocess.Popen(
                command["argv"],
                env=command["env"],
                cwd=command["cwd"],
                stdin=source,
                stdout=writer,
                stderr=log,
            )
        os.close(source)
        os.close(writer)
        source = reader
        running.append(process)
    ended: dict[int, tuple[int, float, float]] = {}
    while len(ended) < len(running):
        pid, status, used = os.wait4(-1, 0)
        ended[pid] = (os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
    seconds = time.monotonic() - began
    processes = [
        dict(zip(("name", "status", "cpu", "rss"), (command["name"], *ended[process.pid]), strict=True))
        for command, process in zip(commands, running, strict=True)
    ]
    Path(result_file).write_text(json.dumps({"seconds": seconds, "processes": processes}))
    # The children's exit statuses are taken already; the objects must not ask again.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
