"""The values of the sandbox's BigQuery against Google's documentation, for everything that the models use."""

import json
import re
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from testkit.whole_pipeline import local_bigquery

TRANSFORM = Path(__file__).resolve().parents[2] / "transform"
ERROR = object()
# What is no SQL: texts, names in back-quotes, comments, Jinja.
OPAQUE = re.compile(
    r"""'{3}.*?'{3}|"{3}.*?"{3}|'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`[^`]*`|--[^\n]*|/\*.*?\*/|\{(?:#.*?#|%.*?%|\{.*?\})\}""",
    re.DOTALL,
)
# Names that are called, and operators; `>>` closes two types where nothing stands before it.
FEATURES = re.compile(
    r"\w+(?=\()|\bSAFE\.|\b(?:AND|BETWEEN|CASE|DISTINCT\s+FROM|EXISTS|IN|IS|LIKE|NOT|OR|ORDER\s+BY|OVER|QUALIFY|XOR)\b"
    r"|[<>!]=|<>|<<|(?<=\s)>>|\|\||[-+*/=<>&|^~\[]",
    re.IGNORECASE,
)


def documented() -> tuple[set[str], list[Any]]:
    """Return the functions and operators of documented_values.txt, and its cases."""
    names, cases, name = set(), [], ""
    text = Path(__file__).with_name("documented_values.txt").read_text("utf-8").partition("\n\n")[2]
    for line in text.splitlines():
        if line.startswith("#"):
            _, name, *more, _ = line.split()
            names |= {name, *more}
            continue
        sql, _, rest = line.partition("  =>  ")
        stated, _, limit = rest.partition("  -- ")
        answer = ERROR if stated == "ERROR" else json.loads(stated, object_hook=_date)
        marks = [pytest.mark.xfail(reason=limit)] if limit else []
        sql = sql.replace("FROM NOTHING", "FROM UNNEST(CAST([] AS ARRAY<INT64>))")
        cases.append(pytest.param(sql, answer, id=f"{name}: {sql}", marks=marks))
    return names, cases


def _date(value: dict[str, Any]) -> Any:
    return date.fromisoformat(value["DATE"]) if value.keys() == {"DATE"} else value


NAMES, CASES = documented()


# Google's types do not know that None is "no retry".
ONCE: dict[str, Any] = {"retry": None, "job_retry": None}


@pytest.fixture(scope="module")
def client(services: dict[str, str]) -> bigquery.Client:
    """Google's client on the local BigQuery."""
    return local_bigquery(services)


@pytest.mark.parametrize(("sql", "answer"), CASES)
def test_a_value_is_that_of_the_documentation(client: bigquery.Client, sql: str, answer: Any) -> None:
    """One edge of one function or operator."""
    if answer is ERROR:
        with pytest.raises(exceptions.GoogleAPICallError):
            client.query_and_wait(f"SELECT {sql} AS v", **ONCE)
        return
    (row,) = client.query_and_wait(f"SELECT {sql} AS v", **ONCE)
    assert (type(row["v"]), row["v"]) == (type(answer), answer)


def test_a_json_text_of_null_differs_from_null(client: bigquery.Client) -> None:
    """What made rpt_data_quality report a new field of every record: TO_JSON_STRING(NULL) is the text null."""
    (row,) = client.query_and_wait(
        "SELECT COUNT(*) FROM UNNEST([CAST(NULL AS JSON), JSON '{}']) AS fields WHERE TO_JSON_STRING(fields) IS NOT NULL"
    )
    assert row[0] == 2


def undocumented(files: Iterable[Path]) -> set[str]:
    """Return the functions and operators of files of SQL, or of SQL among Jinja, that have no heading here."""
    texts = (OPAQUE.sub(" '' ", path.read_text("utf-8")) for path in files)
    return {"_".join(name.upper().split()) for text in texts for name in FEATURES.findall(text)} - NAMES


def test_every_function_of_the_models_is_documented_here() -> None:
    """A function or operator in a model, macro or test of transform/ has cases of its own."""
    files = TRANSFORM.rglob("*.sql")
    assert undocumented(p for p in files if not {"target", "dbt_packages"} & set(p.parts)) == set()
