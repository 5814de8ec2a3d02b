"""The client of warm.py: hands its arguments, environment and streams over, and ends as the program does."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys

address, *arguments = sys.argv[1:]
call = {"arguments": arguments, "environment": dict(os.environ), "folder": os.getcwd()}  # noqa: PTH109 - pathlib takes longer to import than this takes to run
with socket.socket(socket.AF_UNIX) as server:
    server.connect(address)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: server.send(bytes([received])))
    text = json.dumps(call).encode() + b"\n"
    sent = socket.send_fds(server, [text], [0, 1, 2])
    server.sendall(text[sent:])
    # The program alone holds them now: it says when they end.
    os.closerange(0, 3)
    status = int(server.recv(16) or b"-9")
if status < 0:
    signal.signal(-status, signal.SIG_DFL) if -status != signal.SIGKILL else None
    os.kill(os.getpid(), -status)
os._exit(status)
