"""An application on a port of this machine, in the foreground, until SIGTERM or SIGINT."""

import asyncio
import json
import signal
import socket
from collections.abc import Callable

from aiohttp import web

from sandbox.errors import SandboxError

# The real API closes idle connections after as long.
IDLE_SECONDS = 5.0


def serve(make: Callable[[], web.Application], port: int, path: str = "") -> int:
    """Serve what `make` gives; print one JSON line with the address when ready; return the exit status.

    Raises:
        SandboxError: The port is in use.
    """

    async def run() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        runner = web.AppRunner(make(), keepalive_timeout=IDLE_SECONDS, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError as error:
            raise SandboxError(f"port {port} is in use; name another, or 0 for a free one") from error
        await web.SockSite(runner, sock, backlog=512).start()
        print(json.dumps({"url": f"http://127.0.0.1:{sock.getsockname()[1]}{path}"}), flush=True)  # noqa: T201
        await stop.wait()
        await runner.cleanup()

    asyncio.run(run())
    return 0
