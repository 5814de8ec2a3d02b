"""Singer as other taps send it: messages, one file per case in singer/, and single values, one line per case in values.jsonl.

The first line of a file is a JSON object: `outcome` in words, exit `status`, what the `log` says (the last line where the run
fails), the `rows` of each table without metadata, the types of some `columns`, and the `state` that goes out. It may give
`settings` of the target, an `environment`, and a `run_id`. A line with `then` starts another run into the same tables,
under another run id where it gives no `run_id`. A run without a SCHEMA gets that of `things`, whose key is `id`, an integer, and
whose `name` is a text or null; what is refused and has no STATE gets one at its end, which must not go out.

A line of values.jsonl has the `schema` of a field, the values `sent`, and either mode and type of the `column` with what has
`landed` in it, or why the value is `refused`.
"""

import json
import re
import subprocess
import uuid
from collections.abc import Iterator
from decimal import Decimal
from itertools import zip_longest
from pathlib import Path
from typing import Any

import msgspec
import pytest
from target_bigquery.errors import ValueRefusedError
from target_bigquery.schema import METADATA, translate
from testkit.target_bench import STATE, Bench, refused, schema, succeeded

FOLDER = Path(__file__).parent / "singer"
FILES = sorted(FOLDER.glob("*.singer"))
# Numbers keep the digits that the file has.
VALUES = [
    json.loads(line, parse_float=Decimal)
    for line in FOLDER.with_name("values.jsonl").read_text(encoding="utf-8").splitlines()
]
LANDED = [case for case in VALUES if "landed" in case]
REFUSED = [case for case in VALUES if "refused" in case]
encoder = msgspec.json.Encoder(decimal_format="number")
THINGS = schema(origin=None, links=None, created=None)


def text(value: Any) -> Any:
    """Return dates, times and decimals as text, other values as they are."""
    if isinstance(value, Decimal):
        return f"{value:f}".rstrip("0").rstrip(".") if "." in f"{value:f}" else f"{value:f}"
    return str(value) if hasattr(value, "isoformat") else value


def plain(row: dict[str, Any], wanted: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a row as text, without metadata that the case does not name."""
    named = {name for expected in wanted for name in expected}
    return {name: text(value) for name, value in row.items() if name not in METADATA or name in named}


def in_order(rows: list[dict[str, Any]]) -> list[str]:
    """Return rows as sorted text."""
    return sorted(json.dumps(row, sort_keys=True, ensure_ascii=False) for row in rows)


def expected(line: str) -> dict[str, Any]:
    """Return what a line says of a run, with every digit of its STATE."""
    case, exact = json.loads(line), json.loads(line, parse_float=Decimal)
    return {**case.get("then", case), "state": exact.get("then", exact)["state"]}


def runs(text: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the runs of a file: the expected result of each, and its messages."""
    for run in re.split(r'^(?={"then")', text, flags=re.MULTILINE):
        header, _, messages = run.partition("\n")
        case = expected(header)
        if '"SCHEMA"' not in messages and not case.get("without_schema"):
            messages = f"{json.dumps(THINGS)}\n{messages}"
        if case["status"] and '"STATE"' not in messages:
            messages += '{"type": "STATE", "value": {"bookmarks": {}}}\n'
        yield case, messages


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_case(file: Path, bench: Bench) -> None:
    """Exit status, last line, rows, columns and STATE are what the file's first line says, run by run."""
    for case, messages in runs(file.read_text(encoding="utf-8")):
        bench.run_id = f"{bench.dataset}-{case['run_id']}" if "run_id" in case else str(uuid.uuid4())
        target = Bench({**bench.env, **case.get("environment", {})}, bench.dataset, bench.run_id)
        run = target.load_text(messages.replace("{FOLDER}", str(FOLDER)), **case.get("settings", {}))
        check(case, run, bench)


def check(case: dict[str, Any], run: subprocess.CompletedProcess[str], bench: Bench) -> None:
    """Compare a run with its expected result."""
    assert run.returncode == case["status"], run.stderr
    assert "Traceback" not in run.stderr
    assert case["log"] in (run.stderr.strip().rpartition("\n")[2] if case["status"] else run.stderr)
    state = json.loads(run.stdout.splitlines()[-1], parse_float=Decimal) if run.stdout else None
    assert state == case["state"]
    for table, wanted in case["rows"].items():
        rows = [plain(row, wanted) for row in bench.rows(table)]
        assert in_order(rows) == in_order(wanted)
    if case["status"] and not case["rows"]:
        assert bench.rows() == []
    for table, columns in case["columns"].items():
        types = {f.name: f.field_type for f in bench.client().get_table(f"{bench.dataset}.{table}").schema}
        assert {name: types[name] for name in columns} == columns


def field_of(case: dict[str, Any]) -> str:
    """Return the name of a case's field."""
    return str(case["case"]).replace(" ", "_")


def input_of(fields: dict[str, Any], *records: dict[str, Any]) -> str:
    """Return the messages of records of these fields, and a STATE."""
    schema = {"properties": {"id": {"type": "integer"}, **fields}}
    messages = [{"type": "SCHEMA", "stream": "things", "key_properties": ["id"], "schema": schema}]
    messages += [
        {"type": "RECORD", "stream": "things", "record": {"id": number, **values}}
        for number, values in enumerate(records)
    ]
    messages.append(STATE)
    return "".join(f"{encoder.encode(message).decode()}\n" for message in messages)


@pytest.fixture(scope="module")
def table(cloud: dict[str, str]) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """The columns of one table with all values that land, and its rows: the n-th has each case's n-th value."""
    bench = Bench(cloud)
    bench.owner().create_dataset(bench.dataset)
    columns = zip_longest(*([(field_of(case), value) for value in case["sent"]] for case in LANDED))
    records = [dict(filter(None, sent)) for sent in columns]
    succeeded(bench.load_text(input_of({field_of(case): case["schema"] for case in LANDED}, *records)))
    types = bench.client().get_table(f"{bench.dataset}.things").schema
    rows = sorted(bench.rows(), key=lambda row: int(row["id"]))
    return {field.name: f"{field.mode} {field.field_type}" for field in types}, rows


@pytest.mark.parametrize("case", LANDED, ids=field_of)
def test_a_value_that_lands(case: dict[str, Any], table: tuple[dict[str, str], list[dict[str, Any]]]) -> None:
    """The column has the type, and the table the values, that the line says."""
    columns, rows = table
    name = field_of(case)
    assert columns[name] == case["column"]
    landed = [text(row[name]) for row in rows[: len(case["sent"])]]
    assert json.dumps(landed, sort_keys=True) == json.dumps(
        json.loads(encoder.encode(case["landed"])), sort_keys=True
    )


@pytest.mark.parametrize("case", REFUSED, ids=field_of)
def test_a_value_that_is_refused(case: dict[str, Any]) -> None:
    """The error names the field, and why."""
    (value,) = case["sent"]
    stream = translate("things", {"properties": {"x": case["schema"]}}, [])
    with pytest.raises(ValueRefusedError, match=re.escape(case["refused"])):
        stream.row({"x": value})


def test_a_refused_value_ends_the_run(bench: Bench) -> None:
    """The one line names stream and record too; nothing is loaded, not the records before it either."""
    case = REFUSED[0]
    run = bench.load_text(input_of({"x": case["schema"]}, {}, {"x": case["sent"][0]}))
    refused(run, "things: record id 1: field x", case["refused"])
    assert bench.rows() == []
