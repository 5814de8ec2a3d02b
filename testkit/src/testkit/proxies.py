"""The sandbox's fault proxies before Cloud Storage and BigQuery."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests

from testkit.programs import ending_with_us, eventually


@contextmanager
def served(command: str, *arguments: str) -> Iterator[str]:
    """Run `sandbox api`, `proxy` or `strict`; give its address."""
    with ending_with_us([command, *arguments], ["kill"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
    assert process.returncode == 0


@contextmanager
def proxied(command: str, upstream: str) -> Iterator["Proxy"]:
    """Run a proxy before one service."""
    with served(command, "proxy", upstream) as url:
        yield Proxy(url)


@dataclass
class Proxy:
    """What injects faults, and lists requests: a proxy, or the API's own server."""

    url: str

    def inject(self, *rules: dict[str, Any]) -> None:
        """Inject faults in place of those before, and forget the requests seen."""
        requests.delete(f"{self.url}/__sandbox__/faults").raise_for_status()
        requests.delete(f"{self.url}/__sandbox__/requests").raise_for_status()
        requests.put(f"{self.url}/__sandbox__/faults", json=list(rules)).raise_for_status()

    def missed(self, rules: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those of the rules in force that have matched no request yet."""
        answer = requests.get(f"{self.url}/__sandbox__/faults")
        answer.raise_for_status()
        return [rule for rule, hits in zip(rules, answer.json(), strict=True) if not hits]

    def seen(self) -> list[dict[str, Any]]:
        """The requests since rules were last injected."""
        answered: list[dict[str, Any]] = requests.get(f"{self.url}/__sandbox__/requests").json()
        return answered

    def held(self) -> int:
        """How many requests a `hold` rule holds now."""
        answer = requests.get(f"{self.url}/__sandbox__/held")
        answer.raise_for_status()
        return int(answer.json())

    def await_held(self, process: subprocess.Popen[Any]) -> bool:
        """Wait until a request is held; False when the process ended before one was."""
        outcome = eventually(
            lambda: "held" if self.held() else "ended" if process.poll() is not None else None,
            f"{self.url}: no request was held",
        )
        return bool(outcome == "held")
