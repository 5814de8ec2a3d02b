"""Taps of other projects, against a small API or a file: what lands is what they send.

Each is in an environment of its own; `make test` installs them.
"""

import json
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from testkit.servers import Server
from testkit.target_bench import Bench, succeeded

from testkit import programs

RUNS = {
    "1": [
        {"id": 11, "artifacts_saved": True, "finished_at": "2026-01-01 00:00:00.123456+00:00", "status": 10},
        {"id": 12, "artifacts_saved": False, "finished_at": "2026-01-02 00:00:00+00:00"},
        {"id": 13, "artifacts_saved": True, "finished_at": "2026-01-03 00:00:00+00:00"},
    ],
    "2": [{"id": 21, "artifacts_saved": True, "finished_at": "2026-01-03 00:00:00+00:00"}],
}
THINGS = [
    {"id": 1, "at": 1767225600, "name": "x", "n": 1.25},
    {"id": 2, "at": 1767225700, "name": None, "n": -1e-7},
]
LINES = [{"id": 1, "name": "Ünna", "nested": {"a": [1, None]}}, {"id": 2, "name": None, "n": 0.1}]


def answer(path: str) -> Any:
    """Return what the API answers: dbt Cloud's as tap-dbt asks for it, and a list of things."""
    path, _, query = path.partition("?")
    if path == "/things":
        return THINGS
    steps, data = path.split("/"), []  # type: tuple[list[str], list[Any]]
    if "offset=" not in query:
        match steps[-1]:
            case "accounts":
                data = [{"id": 1, "name": "A"}, {"id": 2, "name": "B"}]
            case "projects":
                data = [{"id": int(steps[3]) * 100, "name": "P", "account_id": int(steps[3])}]
            case "runs":
                data = [{"account_id": int(steps[3]), **run} for run in RUNS[steps[3]]]
            case "artifacts":
                data = [f"{steps[5]}.json", "manifest.json"]
    return {"data": data}


class Api(Server):
    """The API."""

    def respond(self, method: str, path: str, headers: Message, body: bytes) -> tuple[int, bytes]:  # noqa: ARG002
        """Answer."""
        return 200, json.dumps(answer(path)).encode()


@pytest.fixture(scope="module")
def api() -> Iterator[str]:
    """The API's address."""
    with Api() as server:
        yield server.url


def run(program: str, *arguments: str, folder: Path) -> str:
    """Run another project's program; return its output."""
    return programs.succeed(programs.foreign(program), *arguments, cwd=folder)


def configured(folder: Path, **config: Any) -> str:
    """Write a config file; return its path."""
    path = folder / f"config-{len(list(folder.glob('config-*')))}.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return str(path)


def dbt(folder: Path, api: str) -> str:
    """Run tap-dbt."""
    config = configured(folder, api_key="key", account_ids=["1", "2"], base_url=f"{api}/v2", page_size=5000)
    return run("tap-dbt", "--config", config, folder=folder)


def jsonl(folder: Path, api: str) -> str:  # noqa: ARG001 (reads a file)
    """Run tap-jsonl."""
    path = folder / "lines.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES), encoding="utf-8")
    config = configured(folder, path=str(path), stream_name="lines", primary_keys=["id"])
    return run("tap-jsonl", "--config", config, folder=folder)


def rest_api(folder: Path, api: str) -> str:
    """Run tap-rest-api on what its own discovery gives."""
    for name in ("schema", "catalog"):
        (folder / name).mkdir()
    types = {"id": "integer", "at": "integer", "name": "string", "n": "number"}
    properties = {name: {"type": ["null", kind]} for name, kind in types.items()}
    schema = {"type": "object", "properties": properties}
    (folder / "schema" / "things.json").write_text(json.dumps(schema), encoding="utf-8")
    config = configured(
        folder,
        url=f"{api}/things",
        streams="things",
        auth_method="no_auth",
        schema_dir=str(folder / "schema"),
        catalog_dir=str(folder / "catalog"),
        timestamp_key="at",
        start_datetime="2020-01-01T00:00:00",
    )
    catalog = json.loads(run("tap-rest-api", "--config", config, "--discover", folder=folder))
    for stream in catalog["streams"]:
        stream["schema"]["selected"] = True
    return run("tap-rest-api", "--config", config, "--catalog", configured(folder, **catalog), folder=folder)


def same(sent: Any, landed: Any) -> bool:
    """Whether a landed value says what was sent."""
    match landed:
        case None | []:
            return not sent and sent in (None, [])
        case datetime():
            return landed == datetime.fromisoformat(sent)
        case date() | Decimal():
            return str(landed) == str(sent)
        case dict() if isinstance(sent, dict):
            return all(same(sent.get(name), landed.get(name)) for name in {*sent, *landed})
        case list():
            return len(landed) == len(sent) and all(map(same, sent, landed))
    return bool(landed == sent)


@pytest.mark.parametrize(
    "tap", [pytest.param(dbt, marks=pytest.mark.slow), jsonl, rest_api], ids=["dbt", "jsonl", "rest-api"]
)
def test_what_lands_is_what_was_sent(tap: Any, bench: Bench, api: str, tmp_path: Path) -> None:
    """Every record once, every value, and the tap's last STATE; the ledger says that the STATE proves each stream."""
    text = tap(tmp_path, api)
    messages = [json.loads(line) for line in text.splitlines()]
    ours = succeeded(bench.load_text(text))
    states = [message["value"] for message in messages if message["type"] == "STATE"]
    assert json.loads(ours.stdout.splitlines()[-1]) == states[-1]
    records = [message for message in messages if message["type"] == "RECORD"]
    assert records
    for stream in {record["stream"] for record in records}:
        sent = [record["record"] for record in records if record["stream"] == stream]
        rows = sorted(bench.rows(stream), key=lambda row: row["_sdc_sequence"])
        assert len(rows) == len(sent)
        for record, row in zip(sent, rows, strict=True):
            assert all(same(value, row[name]) for name, value in record.items()), (record, row)
    assert {row["proof"] for row in bench.rows("_loads") if row["rows"]} == {"state"}
