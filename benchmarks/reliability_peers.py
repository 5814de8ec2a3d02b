"""The same faults, done to ours and to the peers: exit status, rows and STATE of each, as a table.

    python benchmarks/reliability_peers.py [--places "Cloud Storage,BigQuery,Input,Killed,API"] [--only TEXT]

The faults are those of testkit/src/testkit/fault_matrix.py, done by the same proxies. Loaders get the same messages: a stream of three
records without versions, and STATE. Faults of the API go through the template's tap and z3, and through ours. Writes
benchmarks/results/reliability_peers.md; a fault that never hit ends it, and nothing is written.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import uuid
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from google.api_core.exceptions import NotFound
from testkit.fault_matrix import API, BIGQUERY, BY_IDS, FIRST_PAGE, INSERT, STORAGE, UPLOAD, Fault, Rule
from testkit.proxies import Proxy
from testkit.target_bench import SCHEMA, STATE, record

from cells import TAP, TARGET, python, z3_config
from services import Services

ROOT = Path(__file__).resolve().parent.parent

RESULTS = ROOT / "benchmarks" / "results"
RECORDS, CHARACTERS = 3, 60
SECONDS = 240
LOADERS = {"z3": "z3-target-bigquery 0.7.2", "ours": "ours"}
# Cases whose rules speak of what only our loader does.
OURS_ALONE = {"Ledger"}
SECOND_PAGE, ANY_PAGE = "^/api/character[?].*page=2$", "^/api/character[?]"
NEW_FIELD = "a field that the schema lacks"
INPUTS: dict[str, list[dict[str, Any]]] = {
    "no fault": [SCHEMA, *(record(n, None) for n in (1, 2, 3)), STATE],
    "a date that is none in one record": [
        SCHEMA,
        record(1, None),
        record(2, None, created="yesterday"),
        record(3, None),
        STATE,
    ],
    "a text where the schema has a number": [
        SCHEMA,
        record(1, None),
        {**record(2, None), "record": {**record(2, None)["record"], "id": "two"}},
        record(3, None),
        STATE,
    ],
    NEW_FIELD: [SCHEMA, *(record(n, None, planet="Mars") for n in (1, 2, 3)), STATE],
}
KILLED: list[tuple[str, str, Rule]] = [
    ("before the upload", "storage", UPLOAD),
    ("before the load job", "bigquery", INSERT),
    ("after the load job, before STATE", "bigquery", {**INSERT, "when": "after"}),
]


class NeverHit(Exception):  # noqa: N818 (what has not happened)
    """A fault that was to be done to a loader did not come about; no table is written."""


@dataclass
class Outcome:
    """What came of a run: the loader's exit status (None: not ended in time), rows, ids, and whether STATE came out."""

    status: int | None
    rows: int
    ids: int
    state: bool
    tap_status: int | None = None
    wrong: str = ""

    @property
    def text(self) -> str:
        """The outcome in a table's cell."""
        status = f"not ended within {SECONDS} s" if self.status is None else f"exit status {self.status}"
        if self.tap_status is not None:
            status = f"tap {self.tap_status}, target {self.status}"
        said = [status, f"{self.rows} rows" + (f" of {self.ids} ids" if self.ids != self.rows else "")]
        return ", ".join([*said, "STATE" if self.state else "no STATE"])

    def verdict(self, whole: int) -> str:
        """Says what is wrong with it: nothing, or in a word."""
        if self.wrong:
            return self.wrong
        ended_well = self.status == 0 and not self.tap_status
        if self.rows > self.ids:
            return "twice"
        if (self.state or ended_well) and self.rows < whole:
            return "lost in silence"
        if 0 < self.rows < whole:
            return "half"
        return ""


class Trial:
    """Loaders behind the proxies."""

    def __init__(self, services: Services, api_url: str, storage: Proxy, bigquery: Proxy, work: Path) -> None:
        self._services, self._api_url, self._work = services, api_url, work
        # Of the API's own server only the control routes are used.
        api = Proxy("", api_url, api_url.removesuffix("/api"))
        self._proxies = {"storage": storage, "bigquery": bigquery, "api": api}

    def order(self, place: str, rules: tuple[Rule, ...] | list[Rule]) -> None:
        """Orders faults at one place and clears those at the others."""
        for name, proxy in self._proxies.items():
            proxy.order(*(rules if name == place else ()))

    def require_hit(self, place: str, rules: tuple[Rule, ...]) -> None:
        """Raises where one of the faults ordered there has hit nothing.

        Raises:
            NeverHit: With the rule.
        """
        for rule in self._proxies[place].missed(rules):
            raise NeverHit(f"the fault never hit, so nothing is told of it: {place}, {rule}")

    def environment(self, loader: str, dataset: str, run_id: str) -> dict[str, str]:
        """Gives what programs get."""
        env = {
            **os.environ,
            **self._services.environment,
            "STORAGE_EMULATOR_HOST": self._proxies["storage"].url,
            "BIGQUERY_EMULATOR_HOST": self._proxies["bigquery"].url,
            "TAP_RICKANDMORTY_API_URL": self._api_url,
            "TAP_TEMPLATE_API_URL": self._api_url,
            "PYTHONPATH": str(ROOT / "benchmarks/peers"),
        }
        if loader == "ours":
            env |= {"TARGET_BIGQUERY_DATASET": dataset, "TARGET_BIGQUERY_RUN_ID": run_id}
        return env

    def loader(self, loader: str, dataset: str) -> list[str]:
        """Gives a loader's command."""
        if loader == "ours":
            return [TARGET, "--config=ENV"]
        config = self._work / f"{dataset}.json"
        config.write_text(json.dumps(z3_config(self._services.environment, dataset)))
        return [str(Path(python("z3")).with_name("target-bigquery")), "--config", str(config)]

    def rows(self, dataset: str, table: str) -> tuple[int, int]:
        """Counts rows and ids."""
        try:
            sql = f"SELECT COUNT(*), COUNT(DISTINCT id) FROM `{dataset}.{table}`"  # noqa: S608
            ((rows, ids),) = (tuple(row.values()) for row in self._services.client().query(sql).result())
        except NotFound:
            return 0, 0
        return int(rows), int(ids)

    def has_column(self, dataset: str, name: str) -> bool:
        """Says whether the table has a column of that name."""
        table = self._services.client().get_table(f"{dataset}.things")
        return name in {field.name for field in table.schema}

    def start(self, loader: str, dataset: str, run_id: str, messages: list[dict[str, Any]]) -> Any:  # noqa: ANN401
        """Starts a loader on messages from a file."""
        file = self._work / "input.jsonl"
        file.write_text("".join(json.dumps(m) + "\n" for m in messages))
        with file.open() as lines:
            return subprocess.Popen(
                self.loader(loader, dataset),
                stdin=lines,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=self.environment(loader, dataset, run_id),
            )

    def load(self, loader: str, dataset: str, run_id: str, messages: list[dict[str, Any]]) -> Outcome:
        """Runs a loader on messages."""
        with self.start(loader, dataset, run_id, messages) as process:
            status, out = _end(process)
        return Outcome(status, *self.rows(dataset, "things"), _is_state(out))

    def kill(self, loader: str, dataset: str, service: str, rule: Rule) -> Outcome:
        """Kills a loader at a stage and runs it again.

        Raises:
            NeverHit: The stage was not met.
        """
        run_id, proxy = str(uuid.uuid4()), self._proxies[service]
        self.order(service, [{"action": "hold", "times": None, **rule}])
        with self.start(loader, dataset, run_id, INPUTS["no fault"]) as process:
            met = proxy.await_held(process, SECONDS)
            process.kill()
        if not met:
            raise NeverHit(f"the stage was not met: {service}, {rule}")
        self.order("", ())
        return self.load(loader, dataset, run_id, INPUTS["no fault"])

    def pipe(self, loader: str, dataset: str) -> Outcome:
        """Runs tap and loader as a pipe, on the API."""
        env = self.environment(loader, dataset, str(uuid.uuid4()))
        tap = [TAP, "--config=ENV"]
        if loader != "ours":
            tap = [python("tap-template"), "-m", "tap_template", "--config=ENV"]
        with (
            subprocess.Popen(tap, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env) as source,
            subprocess.Popen(
                self.loader(loader, dataset),
                stdin=source.stdout,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=env,
            ) as process,
        ):
            assert source.stdout is not None  # noqa: S101 (a pipe was asked for)
            source.stdout.close()
            status, out = _end(process)
            if status is None:
                source.kill()
        return Outcome(status, *self.rows(dataset, "characters"), _is_state(out), source.returncode)


def _end(process: subprocess.Popen[str]) -> tuple[int | None, str]:
    try:
        out, _ = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return None, process.communicate()[0]
    return process.returncode, out


def _is_state(out: str) -> bool:
    return '"bookmarks"' in out


def for_peers(fault: Fault) -> Fault:
    """Gives the fault for a loader whose job ids have no stream in them, and a tap that reads page by page."""
    paths = {BY_IDS["path"]: SECOND_PAGE, FIRST_PAGE["path"]: ANY_PAGE}
    rules = [(rule, rule.get("path", "").replace("-things-", "")) for rule in fault.rules]
    return replace(fault, rules=tuple({**rule, "path": paths.get(path, path)} for rule, path in rules))


def cases(places: list[str], only: str) -> list[tuple[str, str, Any]]:
    """Gives place, fault and what it takes to do it."""
    found: list[tuple[str, str, Any]] = [("Input", name, messages) for name, messages in INPUTS.items()]
    found += [(fault.place, fault.fault, fault) for fault in (*STORAGE, *BIGQUERY)]
    found += [("Killed", f"SIGKILL {stage}; then again", (service, rule)) for stage, service, rule in KILLED]
    found += [("API", fault.fault, fault) for fault in API]
    return [c for c in found if c[0] in places and c[0] not in OURS_ALONE and only in c[1]]


def attempt(trial: Trial, loader: str, place: str, what: Any) -> tuple[Outcome, int]:  # noqa: ANN401
    """Does one case to one loader; gives what came of it, and the rows that a whole load has.

    Raises:
        NeverHit: The fault did not come about.
    """
    dataset = f"p_{uuid.uuid4().hex[:8]}"
    if place == "Killed":
        return trial.kill(loader, dataset, *what), RECORDS
    if place == "Input":
        trial.order("", ())
        outcome = trial.load(loader, dataset, str(uuid.uuid4()), what)
        if what is INPUTS[NEW_FIELD] and outcome.state and not trial.has_column(dataset, "planet"):
            outcome.wrong = "the field's values lost in silence"
        return outcome, RECORDS
    where = {"Cloud Storage": "storage", "BigQuery": "bigquery", "API": "api"}[place]
    rules = (what if loader == "ours" else for_peers(what)).rules
    trial.order(where, rules)
    if place == "API":
        outcome, whole = trial.pipe(loader, dataset), CHARACTERS
    else:
        outcome, whole = trial.load(loader, dataset, str(uuid.uuid4()), INPUTS["no fault"]), RECORDS
    trial.require_hit(where, rules)
    return outcome, whole


def table(lines: list[dict[str, Any]]) -> str:
    """Gives the outcomes as Markdown, what went wrong in bold."""
    text = [
        f"| where | fault | {' | '.join(LOADERS.values())} |",
        f"| --- | --- | {' | '.join('---' for _ in LOADERS)} |",
    ]
    for line in lines:
        told = []
        for name in LOADERS:
            outcome = line[name]
            wrong = f"**{outcome['verdict']}**: " if outcome["verdict"] else ""
            told.append(wrong + outcome["text"])
        text.append(f"| {line['place']} | {line['fault']} | {' | '.join(told)} |")
    return "\n".join(text)


def main() -> int:
    """Does every case; writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--places", default="Input,Cloud Storage,BigQuery,Killed,API")
    parser.add_argument("--only", default="", help="only faults whose name has this text")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    work = ROOT / ".cache" / "reliability-peers"
    work.mkdir(parents=True, exist_ok=True)
    services = Services(os.environ.get("SANDBOX_COMMAND") or str(ROOT / ".venvs/sandbox/bin/sandbox"), work)
    lines = []
    universe = f"characters={CHARACTERS},locations=5,episodes=4"
    with (
        services.running(),
        services.api(universe, 0) as api_url,
        Proxy(services.command, services.environment["STORAGE_EMULATOR_HOST"]) as storage,
        Proxy(services.command, services.environment["BIGQUERY_EMULATOR_HOST"]) as bigquery,
    ):
        trial = Trial(services, api_url, storage, bigquery, work)
        for place, fault, what in cases(arguments.places.split(","), arguments.only):
            line: dict[str, Any] = {"place": place, "fault": fault}
            for loader in LOADERS:
                outcome, whole = attempt(trial, loader, place, what)
                line[loader] = {
                    **asdict(outcome),
                    "text": outcome.text,
                    "verdict": outcome.verdict(whole),
                }
                print(f"{place}: {fault}: {loader}: {outcome.text}", flush=True)
            lines.append(line)
    arguments.results.mkdir(parents=True, exist_ok=True)
    (arguments.results / "reliability_peers.md").write_text(table(lines) + "\n")
    print(table(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
