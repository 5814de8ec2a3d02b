"""The same faults, injected into ours and the peers: exit status, rows and STATE of each, as a table in docs/reliability.md.

    python benchmarks/reliability_peers.py [--places "Cloud Storage,BigQuery,Input,Killed,API"] [--only TEXT]

The faults are those of testkit/src/testkit/fault_matrix.py, injected by the same proxies. Loaders get the same messages: a stream of
three records without versions, and STATE. Faults of the API go through the template's tap and z3, and through ours. A fault that never
hit ends the program, and nothing is written. Every row is printed; the page gets those in which the loaders differ, and stays as it is
with --places or --only.
"""

import argparse
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from google.api_core.exceptions import NotFound
from testkit.fault_matrix import API, BIGQUERY, BY_IDS, FIRST_PAGE, INSERT, STORAGE, UPLOAD, Fault, Rule
from testkit.project_files import ROOT
from testkit.proxies import Proxy, proxied
from testkit.target_bench import SCHEMA, STATE, record
from testkit.whole_pipeline import Sandbox, running_sandbox

from cells import TAP, TARGET, TEMPLATE_TAP, z3_target
from tables import insert

RECORDS, CHARACTERS = 3, 60
SECONDS = 240
LOADERS = {"z3": "z3-target-bigquery 0.7.2", "ours": "ours"}
PLACES = ("Input", "Cloud Storage", "BigQuery", "Killed", "API")
SECOND_PAGE, ANY_PAGE = "^/api/character[?].*page=2$", "^/api/character[?]"
NEW_FIELD = "a field that the schema lacks"
THREE = [record(number, None) for number in (1, 2, 3)]
INPUTS: dict[str, list[dict[str, Any]]] = {
    "no fault": [SCHEMA, *THREE, STATE],
    "one record's date is not a date": [
        SCHEMA,
        THREE[0],
        record(2, None, created="yesterday"),
        THREE[2],
        STATE,
    ],
    "a text where the schema has a number": [SCHEMA, THREE[0], record(2, None, id="two"), THREE[2], STATE],
    NEW_FIELD: [SCHEMA, *(record(number, None, planet="Mars") for number in (1, 2, 3)), STATE],
}
KILLED: list[tuple[str, str, Rule]] = [
    ("before the upload", "storage", UPLOAD),
    ("before the load job", "bigquery", INSERT),
    ("after the load job, before STATE", "bigquery", {**INSERT, "when": "after"}),
]


class FaultNeverHitError(Exception):
    """A fault that was to be injected did not come about; no table is written."""


@dataclass
class Outcome:
    """What came of a run: the loader's exit status (None: not ended in time), rows, ids, and whether STATE came out."""

    status: int | None
    rows: int
    ids: int
    state: bool
    whole: int
    tap_status: int | None = None
    wrong: str = ""

    @property
    def text(self) -> str:
        """The outcome in a table's cell, what is wrong with it in bold."""
        status = f"not ended within {SECONDS} s" if self.status is None else f"exit status {self.status}"
        if self.tap_status is not None:
            status = f"tap {self.tap_status}, target {self.status}"
        rows = f"{self.rows} rows" + (f" of {self.ids} ids" if self.ids != self.rows else "")
        text = ", ".join([status, rows, "STATE" if self.state else "no STATE"])
        return f"**{self.verdict}**: {text}" if self.verdict else text

    @property
    def verdict(self) -> str:
        """What is wrong with it, in a word; empty where nothing is."""
        if self.wrong:
            return self.wrong
        if self.rows > self.ids:
            return "twice"
        if (self.state or (self.status == 0 and not self.tap_status)) and self.rows < self.whole:
            return "lost in silence"
        return "half" if 0 < self.rows < self.whole else ""


class Trial:
    """Loaders behind the proxies."""

    def __init__(self, sandbox: Sandbox, storage: Proxy, bigquery: Proxy, work: Path) -> None:
        self._sandbox, self._work = sandbox, work
        # Of the API's own server only the control routes are used.
        api = sandbox.api
        self._proxies = {"storage": storage, "bigquery": bigquery, "api": api}

    def inject(self, place: str = "", rules: Sequence[Rule] = ()) -> None:
        """Inject faults at one place and clear those at the others."""
        for name, proxy in self._proxies.items():
            proxy.inject(*(rules if name == place else ()))

    def require_hit(self, place: str, rules: Sequence[Rule]) -> None:
        """See that each of the faults injected there has hit.

        Raises:
            FaultNeverHitError: One has hit nothing.
        """
        for rule in self._proxies[place].missed(rules):
            raise FaultNeverHitError(f"{place}: {rule}")

    def _start(self, command: list[str], dataset: str, stdin: Any, stdout: int = subprocess.PIPE) -> Any:  # noqa: ANN401
        env = {
            **os.environ,
            **self._sandbox.env,
            "STORAGE_EMULATOR_HOST": self._proxies["storage"].url,
            "BIGQUERY_EMULATOR_HOST": self._proxies["bigquery"].url,
            "TAP_TEMPLATE_API_URL": self._sandbox.api_url,
            "TARGET_BIGQUERY_DATASET": dataset,
            # A run that is repeated has its own id.
            "TARGET_BIGQUERY_RUN_ID": str(uuid.uuid5(uuid.NAMESPACE_OID, dataset)),
        }
        return subprocess.Popen(
            command, stdin=stdin, stdout=stdout, stderr=subprocess.DEVNULL, text=True, env=env
        )

    def _loader(self, loader: str, dataset: str) -> list[str]:
        return [TARGET, "--config=ENV"] if loader == "ours" else z3_target(self._sandbox, dataset, self._work)

    def _outcome(self, process: subprocess.Popen[str], table: str, whole: int) -> Outcome:
        try:
            out, _ = process.communicate(timeout=SECONDS)
            status: int | None = process.returncode
        except subprocess.TimeoutExpired:
            process.kill()
            out, status = process.communicate()[0], None
        try:
            ((rows, ids),) = self._sandbox.ask(f"SELECT COUNT(*), COUNT(DISTINCT id) FROM `{table}`")  # noqa: S608
        except NotFound:
            rows = ids = 0
        return Outcome(status, rows, ids, '"bookmarks"' in out, whole)

    def has_column(self, dataset: str, name: str) -> bool:
        """Return whether the table has a column of that name."""
        table = self._sandbox.client().get_table(f"{dataset}.things")
        return name in {column.name for column in table.schema}

    def _loading(self, loader: str, dataset: str, messages: list[dict[str, Any]]) -> Any:  # noqa: ANN401
        file = self._work / "input.jsonl"
        file.write_text("".join(json.dumps(message) + "\n" for message in messages))
        with file.open() as lines:
            return self._start(self._loader(loader, dataset), dataset, lines)

    def load(self, loader: str, dataset: str, messages: list[dict[str, Any]]) -> Outcome:
        """Run a loader on messages."""
        with self._loading(loader, dataset, messages) as process:
            return self._outcome(process, f"{dataset}.things", RECORDS)

    def kill(self, loader: str, dataset: str, service: str, rule: Rule) -> Outcome:
        """Kill a loader at a stage and run it again.

        Raises:
            FaultNeverHitError: The stage was not reached.
        """
        self.inject(service, [{"action": "hold", "times": None, **rule}])
        with self._loading(loader, dataset, INPUTS["no fault"]) as process:
            reached = self._proxies[service].await_held(process)
            process.kill()
        if not reached:
            raise FaultNeverHitError(f"the stage was not reached: {service}, {rule}")
        self.inject()
        return self.load(loader, dataset, INPUTS["no fault"])

    def pipe(self, loader: str, dataset: str) -> Outcome:
        """Run tap and loader as a pipe, on the API."""
        tap = [TAP] if loader == "ours" else TEMPLATE_TAP
        with (
            self._start([*tap, "--config=ENV"], dataset, subprocess.DEVNULL) as source,
            self._start(self._loader(loader, dataset), dataset, source.stdout) as process,
        ):
            source.stdout.close()
            outcome = self._outcome(process, f"{dataset}.characters", CHARACTERS)
            if outcome.status is None:
                source.kill()
        return replace(outcome, tap_status=source.returncode)


def for_peers(fault: Fault) -> Fault:
    """Return the fault for a loader whose job ids have no stream in them, and a tap that reads page by page."""
    paths = {BY_IDS["path"]: SECOND_PAGE, FIRST_PAGE["path"]: ANY_PAGE}
    rules = [(rule, rule.get("path", "").replace("-things-", "")) for rule in fault.rules]
    return replace(fault, rules=tuple({**rule, "path": paths.get(path, path)} for rule, path in rules))


def cases(places: list[str], only: str) -> list[tuple[str, str, Any]]:
    """Return place, fault and what it takes to inject it; what only our loader does (the ledger) is left out."""
    every: list[tuple[str, str, Any]] = [("Input", name, messages) for name, messages in INPUTS.items()]
    every += [(fault.place, fault.fault, fault) for fault in (*STORAGE, *BIGQUERY)]
    every += [("Killed", f"SIGKILL {stage}; then again", (service, rule)) for stage, service, rule in KILLED]
    every += [("API", fault.fault, fault) for fault in API]
    return [case for case in every if case[0] in places and only in case[1]]


def attempt(trial: Trial, loader: str, place: str, what: Any) -> Outcome:  # noqa: ANN401
    """Inject one case into one loader; return what came of it.

    Raises:
        FaultNeverHitError: The fault did not come about.
    """
    dataset = f"p_{uuid.uuid4().hex[:8]}"
    if place == "Killed":
        return trial.kill(loader, dataset, *what)
    if place == "Input":
        trial.inject()
        outcome = trial.load(loader, dataset, what)
        if what is INPUTS[NEW_FIELD] and outcome.state and not trial.has_column(dataset, "planet"):
            outcome.wrong = "the field's values lost in silence"
        return outcome
    where = {"Cloud Storage": "storage", "BigQuery": "bigquery", "API": "api"}[place]
    rules = (what if loader == "ours" else for_peers(what)).rules
    trial.inject(where, rules)
    outcome = (
        trial.pipe(loader, dataset) if place == "API" else trial.load(loader, dataset, INPUTS["no fault"])
    )
    trial.require_hit(where, rules)
    return outcome


def main() -> int:
    """Inject every case; write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--places", default=",".join(PLACES))
    parser.add_argument("--only", default="", help="only faults whose name has this text")
    arguments = parser.parse_args()
    work = ROOT / ".cache" / "reliability-peers"
    work.mkdir(parents=True, exist_ok=True)
    lines = [f"| where | fault | {' | '.join(LOADERS.values())} |", "| --- " * (2 + len(LOADERS)) + "|"]
    with (
        running_sandbox(work, "--universe", f"characters={CHARACTERS},locations=5,episodes=4") as sandbox,
        proxied(sandbox.command, sandbox.env["STORAGE_EMULATOR_HOST"]) as storage,
        proxied(sandbox.command, sandbox.env["BIGQUERY_EMULATOR_HOST"]) as bigquery,
    ):
        trial = Trial(sandbox, storage, bigquery, work)
        for place, fault, what in cases(arguments.places.split(","), arguments.only):
            outcomes = [attempt(trial, loader, place, what).text for loader in LOADERS]
            row = f"| {place} | {fault} | {' | '.join(outcomes)} |"
            print(row, flush=True)
            if len(set(outcomes)) > 1:
                lines.append(row)
    if not arguments.only and arguments.places == ",".join(PLACES):
        insert("peers", "\n".join(lines), ROOT / "docs" / "reliability.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
