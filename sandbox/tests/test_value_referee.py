"""The values of the sandbox's BigQuery against Google's documentation, for everything that the models use."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from google.api_core import exceptions
from testkit.whole_pipeline import local_bigquery
from value_referee import ERROR, LIMITS, REFEREE, SYNTAX

if TYPE_CHECKING:
    from google.cloud import bigquery

TRANSFORM = Path(__file__).resolve().parents[2] / "transform"
CASES = [
    pytest.param(
        sql,
        answer,
        id=f"{name}: {sql}",
        marks=[pytest.mark.xfail(reason=LIMITS[sql])] if sql in LIMITS else [],
    )
    for name, (_, cases) in REFEREE.items()
    for sql, answer in cases
]


@pytest.fixture(scope="module")
def client(services: dict[str, str]) -> bigquery.Client:
    """Google's client on the local BigQuery."""
    return local_bigquery(services)


@pytest.mark.parametrize(("sql", "answer"), CASES)
def test_a_value_is_that_of_the_documentation(client: bigquery.Client, sql: str, answer: Any) -> None:
    """One edge of one function or operator; its page is beside it in value_referee.py."""
    if answer is ERROR:
        with pytest.raises(exceptions.GoogleAPICallError):
            client.query_and_wait(f"SELECT {sql} AS v", retry=None, job_retry=None)
        return
    (row,) = client.query_and_wait(f"SELECT {sql} AS v", retry=None, job_retry=None)
    assert (type(row["v"]), row["v"]) == (type(answer), answer)


def test_a_json_text_of_null_differs_from_null(client: bigquery.Client) -> None:
    """What made rpt_data_quality report a new field of every record: TO_JSON_STRING(NULL) is the text null."""
    (row,) = client.query_and_wait(
        "SELECT COUNT(*) FROM UNNEST([CAST(NULL AS JSON), JSON '{}']) AS fields WHERE TO_JSON_STRING(fields) IS NOT NULL"
    )
    assert row[0] == 2


def _used(command: str, paths: list[Path]) -> set[str]:
    """What these files use, asked of the sandbox's environment, which has sqlglot."""
    python = Path(command).resolve().parent / "python"
    script = Path(__file__).with_name("functions_used.py")
    done = subprocess.run([python, script, *paths], capture_output=True, text=True, check=True, timeout=120)
    return set(json.loads(done.stdout))


def test_the_referee_knows_every_function_that_the_models_call(command: str) -> None:
    """A function named in a model, macro or test of transform/ has cases of its own."""
    paths = [
        path
        for path in sorted(TRANSFORM.rglob("*.sql"))
        if not {"target", "dbt_packages"} & set(path.relative_to(TRANSFORM).parts)
    ]
    assert _used(command, paths) - REFEREE.keys() - SYNTAX == set()


def test_the_referee_knows_everything_in_the_compiled_models(command: str) -> None:
    """Every function and operator of the compiled models, where a build has left them."""
    compiled = sorted((TRANSFORM / "target" / "compiled").rglob("*.sql"))
    if not compiled:
        pytest.skip("transform/target holds no compiled models: build first")
    assert _used(command, compiled) - REFEREE.keys() - SYNTAX == set()
