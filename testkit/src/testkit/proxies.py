"""The sandbox's fault proxies before Cloud Storage and BigQuery."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import requests

from testkit.programs import eventually

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType


@dataclass
class Proxy:
    """A proxy before one service, with fault injection."""

    command: str
    upstream: str
    url: str = ""
    _process: subprocess.Popen[str] | None = field(default=None, repr=False)

    def __enter__(self) -> Self:
        """Start it."""
        self._process = subprocess.Popen(
            [self.command, "proxy", self.upstream], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.url = json.loads(self._process.stdout.readline())["url"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(timeout=10)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def inject(self, *rules: dict[str, Any]) -> None:
        """Inject faults in place of those before, and forget the requests seen."""
        requests.delete(f"{self.url}/__sandbox__/faults", timeout=10).raise_for_status()
        requests.delete(f"{self.url}/__sandbox__/requests", timeout=10).raise_for_status()
        requests.put(f"{self.url}/__sandbox__/faults", json=list(rules), timeout=10).raise_for_status()

    def missed(self, rules: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those of the rules in force that have matched no request yet."""
        answer = requests.get(f"{self.url}/__sandbox__/faults", timeout=10)
        answer.raise_for_status()
        return [rule for rule, hits in zip(rules, answer.json(), strict=True) if not hits]

    def seen(self) -> list[dict[str, Any]]:
        """The requests since rules were last injected."""
        answered: list[dict[str, Any]] = requests.get(f"{self.url}/__sandbox__/requests", timeout=10).json()
        return answered

    def held(self) -> int:
        """How many requests a `hold` rule holds now."""
        answer = requests.get(f"{self.url}/__sandbox__/held", timeout=10)
        answer.raise_for_status()
        return int(answer.json())

    def await_held(self, process: subprocess.Popen[str], seconds: float = 60) -> bool:
        """Wait until a request is held; False when the process ended before one was."""
        outcome = eventually(
            lambda: "held" if self.held() else "ended" if process.poll() is not None else None,
            f"{self.upstream}: no request was held",
            seconds,
        )
        return bool(outcome == "held")
