"""What BigQuery documents as limits, on the strict sandbox: many streams, many columns, a large record."""

import hashlib
import json
import random
import subprocess
import sys
from typing import Any

import pytest
from testkit.target_bench import SCHEMA, Bench, record, refused, succeeded, whole

STREAMS, COLUMNS = 200, 2000
LARGE, COPIES = 50_000_000, 10
# Runs a program and prints the most memory it held, in KiB.
PEAK = (
    "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:]); "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(done.returncode)"
)


def stream(name: str, /, **properties: Any) -> dict[str, Any]:
    """A SCHEMA message."""
    schema = {"properties": {"id": {"type": "integer"}, **properties}}
    return {"type": "SCHEMA", "stream": name, "schema": schema, "key_properties": ["id"]}


@pytest.mark.slow
def test_200_streams_in_one_run(bench: Bench) -> None:
    """All are loaded, by one ledger job, although a table takes five updates in ten seconds."""
    names = [f"stream_{number}" for number in range(STREAMS)]
    messages = [
        message
        for name in names
        for message in (stream(name), {"type": "RECORD", "stream": name, "record": {"id": 1}})
    ]
    state: dict[str, Any] = {"bookmarks": {name: {} for name in names}}
    run = succeeded(bench.load(*messages, {"type": "STATE", "value": state}))
    assert run.stdout
    assert {row["stream"]: row["rows"] for row in bench.rows("_loads")} == dict.fromkeys(names, 1)
    jobs = bench.owner().list_jobs(all_users=True, max_results=10_000)
    assert len([job for job in jobs if job.job_id.startswith(f"{bench.dataset}-_loads-")]) == 1


def test_2000_columns(bench: Bench) -> None:
    """A record that fills them all comes back whole."""
    fields = {f"field_{number}": {"type": ["integer", "null"]} for number in range(COLUMNS)}
    values = {name: number for number, name in enumerate(fields)}
    succeeded(
        bench.load(
            stream("wide", **fields), {"type": "RECORD", "stream": "wide", "record": {"id": 1, **values}}
        )
    )
    (row,) = bench.rows("wide")
    assert {name: row[name] for name in fields} == values


def test_a_record_longer_than_bigquery_takes(bench: Bench) -> None:
    """More than 100 MB in one row is refused, with the record and the bytes."""
    refused(bench.load(SCHEMA, record(1, name="x" * 100_000_000), whole()), "things: record id 1: 100000")
    assert bench.rows() == []


@pytest.mark.slow
def test_a_record_of_50_mb(bench: Bench) -> None:
    """It comes back whole; the target holds a few copies of it and no more."""
    text = random.Random(0).randbytes(LARGE // 2).hex()  # noqa: S311 (text that gzip cannot make small)
    messages = (
        stream("large", text={"type": "string"}),
        {"type": "RECORD", "stream": "large", "record": {"id": 1, "text": text}},
    )
    lines = "".join(f"{json.dumps(message)}\n" for message in messages)
    run = subprocess.run(
        [sys.executable, "-c", PEAK, sys.executable, "-m", "target_bigquery", "--config=ENV"],
        input=lines,
        check=False,
        capture_output=True,
        text=True,
        env=bench.environment(),
    )
    assert run.returncode == 0, run.stderr
    peak = int(run.stdout.split()[-1]) * 1024
    sql = f"SELECT LENGTH(text), TO_HEX(MD5(text)) FROM `{bench.dataset}.large`"
    (row,) = bench.client().query(sql).result()
    assert tuple(row.values()) == (LARGE, hashlib.md5(text.encode()).hexdigest())  # noqa: S324 (no secret)
    assert peak < COPIES * LARGE
