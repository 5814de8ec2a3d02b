"""The sandbox around the benchmarks: services, the API with its latency, and what counts requests and connections."""

from __future__ import annotations

import json
import subprocess
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import requests
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from testkit.relay import Relay

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

API = "TAP_RICKANDMORTY_API_URL"
STORAGE = "STORAGE_EMULATOR_HOST"
BIGQUERY = "BIGQUERY_EMULATOR_HOST"


@contextmanager
def served(command: list[str]) -> Iterator[str]:
    """Runs a server that prints its address as one JSON line when it is ready; gives the address; ends it."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # noqa: S101 (a pipe was asked for)
        try:
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"bench: {' '.join(command)} has ended before it was ready")
            yield json.loads(line)["url"]
        finally:
            process.terminate()


def seen(url: str) -> list[dict[str, Any]]:
    """Gives the requests that a server of the sandbox has seen since `forget`."""
    found: list[dict[str, Any]] = requests.get(f"{url}/__sandbox__/requests", timeout=60).json()
    return found


def forget(url: str) -> None:
    """Makes a server of the sandbox forget them."""
    requests.delete(f"{url}/__sandbox__/requests", timeout=60).raise_for_status()


@dataclass
class Services:
    """Cloud Storage and BigQuery of a sandbox of the benchmarks' own, and the API in front of them."""

    command: str
    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Starts Cloud Storage and BigQuery, and stops them."""
        base = [self.command, "--home", str(self.home)]
        subprocess.run([*base, "start", "--parts", "storage,bigquery"], check=True, stdout=subprocess.DEVNULL)
        try:
            done = subprocess.run(
                [*base, "env", "--format", "json"], check=True, capture_output=True, text=True
            )
            self.environment = json.loads(done.stdout)
            yield
        finally:
            subprocess.run([*base, "stop"], check=True)

    @contextmanager
    def api(self, universe: str, latency_ms: int) -> Iterator[str]:
        """Serves a universe; gives the API's address, ending in /api."""
        options = ["--universe", universe, "--latency-ms", str(latency_ms)]
        with served([self.command, "api", *options]) as url:
            yield url

    @contextmanager
    def counting(self, api_url: str) -> Iterator[Counting]:
        """Puts what counts before the API, Cloud Storage and BigQuery."""
        with ExitStack() as stack:
            relay = stack.enter_context(Relay(api_url.removesuffix("/api")))
            storage, warehouse = (
                stack.enter_context(served([self.command, "proxy", self.environment[name]]))
                for name in (STORAGE, BIGQUERY)
            )
            yield Counting(relay, storage, warehouse)

    def client(self) -> bigquery.Client:
        """Gives Google's client on the local BigQuery."""
        return bigquery.Client(
            project=self.environment["GOOGLE_CLOUD_PROJECT"],
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": self.environment[BIGQUERY]},
        )


@dataclass
class Counting:
    """What counts: a relay before the API, the sandbox's proxies before the others."""

    relay: Relay
    storage: str
    bigquery: str

    @property
    def environment(self) -> dict[str, str]:
        """The addresses that programs are given."""
        return {API: f"{self.relay.url}/api", STORAGE: self.storage, BIGQUERY: self.bigquery}

    def restart(self) -> None:
        """Begins to count anew."""
        self.relay.connections = 0
        forget(self.storage)
        forget(self.bigquery)

    def counts(self) -> dict[str, int]:
        """Gives connections to the API, and calls to Cloud Storage and BigQuery."""
        return {
            "connections": self.relay.connections,
            "storage_calls": len(seen(self.storage)),
            "bigquery_calls": len(seen(self.bigquery)),
        }
