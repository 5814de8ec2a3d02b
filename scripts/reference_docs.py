"""What the documentation takes from the code: settings tables, and the tables of docs/reliability.md.

A table is between `<!-- name -->` and `<!-- /name -->`.
"""

import json
from pathlib import Path
from typing import Any

from generated_files import ROOT
from plugin_locks import BUILT_IN, about

from testkit import fault_matrix


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines)


def settings(name: str) -> str:
    """Return the settings table of a plugin, from its --about."""
    schema = about(name)["settings"]
    required = set(schema.get("required", ()))

    def default(key: str, item: dict[str, Any]) -> str:
        if key in required:
            return "required"
        return f"`{json.dumps(item['default'])}`" if "default" in item else ""

    return table(
        ["setting", "default", "what it does"],
        [
            [f"`{key}`", default(key, item), str(item.get("description", ""))]
            for key, item in schema["properties"].items()
            if key not in BUILT_IN
        ],
    )


def faults() -> str:
    """Return the table of faults of the API, the cloud and the ledger: one row per place and outcome."""
    by_outcome: dict[tuple[str, str], list[str]] = {}
    for case in (*fault_matrix.API, *fault_matrix.STORAGE, *fault_matrix.BIGQUERY):
        by_outcome.setdefault((case.place, case.outcome), []).append(case.fault)
    rows = [[place, outcome, "; ".join(names)] for (place, outcome), names in by_outcome.items()]
    return table(["where", "outcome", "faults"], rows)


def kills() -> str:
    """Return the table of stages at which the target is killed."""
    return table(
        ["load method", "killed"],
        [[f"`{method}`", ", ".join(k.stage for k in found)] for method, found in fault_matrix.KILLS.items()],
    )


def singer() -> str:
    """Return the table of Singer cases, of the first line of each file and of each single value: one row per outcome."""
    tests = ROOT / "target-bigquery/tests"
    cases: dict[str, list[str]] = {}
    for file in (tests / "singer").glob("*.singer"):
        with file.open(encoding="utf-8") as lines:
            cases.setdefault(json.loads(next(lines))["outcome"], []).append(file.stem.replace("-", " "))
    for line in (tests / "values.jsonl").read_text(encoding="utf-8").splitlines():
        value = json.loads(line)
        cases.setdefault(value["outcome"], []).append(value["case"])
    return table(
        ["outcome", "cases"],
        [[outcome, "; ".join(sorted(names))] for outcome, names in sorted(cases.items())],
    )


def generated() -> dict[Path, str]:
    """Return each document's text with its tables current.

    Raises:
        ValueError: A document lacks a table's marks.
    """
    tables = {
        "tap-rickandmorty/README.md": {"settings": settings("tap-rickandmorty")},
        "target-bigquery/README.md": {"settings": settings("target-bigquery")},
        "docs/reliability.md": {"faults": faults(), "kills": kills(), "singer": singer()},
    }
    texts = {}
    for name, parts in tables.items():
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        for mark, content in parts.items():
            before, begin, rest = text.partition(f"<!-- {mark} -->\n")
            _, end, after = rest.partition(f"<!-- /{mark} -->")
            if not begin or not end:
                raise ValueError(f"{name}: no <!-- {mark} --> … <!-- /{mark} -->")
            text = f"{before}{begin}{content}\n{end}{after}"
        texts[path] = text
    return texts
