"""What dbt compiles passes Google's own SQL analyzer, and gives what Google's reference implementation gives."""

import json
import re
from datetime import date, datetime
from typing import Any

import pytest
from google.cloud.bigquery import QueryJob, SchemaField
from googlesql import Analyzer, SqlRefusedError, Table, evaluate
from test_documented_values import CASES, ERROR, undocumented
from test_history import odd, world
from test_questions import QUESTIONS
from testkit.programs import succeed
from testkit.project_files import ROOT
from testkit.whole_pipeline import BuiltPipeline
from warehouse import MARTS, Warehouse

QUERIES = ROOT / "report" / "src" / "rickandmorty_report" / "queries"
RUN = "SELECT MAX(run_id) FROM `local_rickandmorty_landing._loads`"


@pytest.fixture(scope="module")
def analyzer(built_pipeline: BuiltPipeline) -> Analyzer:
    """The analyzer over every table and view of the local BigQuery."""
    client = built_pipeline.sandbox.client()
    tables = {}
    for dataset in client.list_datasets():
        for item in client.list_tables(dataset.reference):
            name = f"{item.project}.{item.dataset_id}.{item.table_id}"
            tables[name] = list(client.get_table(item.reference).schema)
    assert len(tables) >= 11
    return Analyzer(tables)


def test_every_compiled_statement_passes(analyzer: Analyzer, built_pipeline: BuiltPipeline) -> None:
    """Every model and every data test as run, which holds it as compiled: none is refused."""
    refused = []
    compiled, run = (built_pipeline.target_dir / kind for kind in ("compiled", "run"))
    files = sorted(run.rglob("*.sql"))
    assert len(files) > 60
    assert {path.relative_to(run) for path in files} == {
        path.relative_to(compiled) for path in compiled.rglob("*.sql")
    }
    for path in files:
        try:
            analyzer.check(path.read_text().strip().rstrip(";"))
        except SqlRefusedError as error:
            refused.append(f"{path.relative_to(built_pipeline.target_dir)}: {error}")
    assert not refused, "\n".join(refused)


def test_every_function_of_a_compiled_statement_has_documented_values(built_pipeline: BuiltPipeline) -> None:
    """What a macro writes counts too: the sandbox gives the values that Google's documentation states, or says where not."""
    compiled = sorted((built_pipeline.target_dir / "compiled").rglob("*.sql"))
    assert len(compiled) > 20
    assert undocumented(compiled) == set()


def canonical(rows: list[dict[str, Any]]) -> list[str]:
    """Rows as TO_JSON_STRING writes them, but for the last digits of a float, in one order."""

    def plain(value: Any) -> Any:
        match value:
            case datetime():
                precision = "milliseconds" if value.microsecond % 1000 == 0 else "microseconds"
                text = value.isoformat(timespec=precision if value.microsecond else "seconds")
                return text.replace("+00:00", "Z")
            case date():
                return value.isoformat()
            case list():
                return [plain(one) for one in value]
            case float():
                return int(value) if value.is_integer() else round(value, 12)
        return str(value) if type(value) is int and abs(value) > 2**53 else value

    kept = [{name: plain(value) for name, value in row.items()} for row in rows]
    return sorted(json.dumps(row, sort_keys=True, ensure_ascii=False) for row in kept)


@pytest.mark.slow
def test_documented_values_are_those_of_googles_implementation() -> None:
    """What documented_values.txt states, for the limits of the sandbox too."""
    given = {}
    for case in CASES:
        sql, _ = case.values
        try:
            ((given[sql],),) = (row.values() for row in evaluate(f"SELECT {sql} AS v"))
        except SqlRefusedError:
            given[sql] = ERROR
    stated = {
        sql: v if v is ERROR else json.loads(json.dumps(v, default=str))
        for sql, v in (c.values for c in CASES)
    }
    assert given == stated


@pytest.mark.slow
def test_every_model_gives_the_rows_of_googles_implementation(warehouse: Warehouse) -> None:
    """Each model's SELECT, then each query of the page and each question, over the tables of two builds of odd records."""
    client = warehouse.sandbox.client()

    def tables() -> dict[str, Table]:
        found: dict[str, Table] = {}
        for item in (
            item for dataset in client.list_datasets() for item in client.list_tables(dataset.reference)
        ):
            rows = client.query_and_wait(f"SELECT * FROM `{item.full_table_id.replace(':', '.')}`")
            found[item.full_table_id.replace(":", ".")] = (rows.schema, [row.values() for row in rows])
        return found

    before: dict[str, Table] = {}
    for run_id, records in (("world", world()), ("odd", odd())):
        for entity, landed in records.items():
            warehouse.land(entity, landed, run_id)
        before = tables()
        run = warehouse.dbt("run", DBT_VERDICT_ORDER="ignore")
        run.succeeded()
    after = tables()
    # Other tests have compiled models of their own, and data tests into folders with the name of their YAML.
    ours = {name for name, *_ in run.results} - {"int_days"}
    compiled = (warehouse.folder / "target/compiled/rickandmorty/models").rglob("*.sql")
    models = [path for path in compiled if path.stem in ours and path.parent.suffix != ".yml"]
    assert len(models) > 25
    # An age changes from one minute to the next.
    ((decided_at,),) = warehouse.ask(f"SELECT CAST(MAX(decided_at) AS STRING) FROM `{MARTS}.rpt_verdict`")
    for path in models:
        sql = path.read_text().replace("CURRENT_TIMESTAMP()", f"TIMESTAMP '{decided_at}'")
        (name,) = (name for name in after if name.endswith(f".{path.stem}"))
        # A history reads itself, as it was before.
        read = {**after, name: before.get(name, after[name])}
        google = evaluate(sql, {n: table for n, table in read.items() if n.split(".")[-1] in sql})
        fields, rows = after[name]
        given = [dict(zip((f.name for f in fields), row, strict=True)) for row in rows]
        assert canonical(google) == canonical(given), path.stem
    named = {name.split(".")[-1]: name for name in after if f".{MARTS}." in name}
    queries = {path.stem: path.read_text() for path in QUERIES.glob("*.sql")} | QUESTIONS
    assert len(queries) >= 20
    for title, text in queries.items():
        sql = re.sub(rf"(?:{MARTS}\.)?\b({'|'.join(named)})\b", lambda m: f"`{named[m[1]]}`", text)
        google = evaluate(sql, {name: table for name, table in after.items() if f"`{name}`" in sql})
        assert canonical(google) == canonical([dict(row) for row in client.query_and_wait(sql)]), title


@pytest.mark.slow
def test_every_statement_of_a_retraction_passes(analyzer: Analyzer, built_pipeline: BuiltPipeline) -> None:
    """What `make retract` asks and changes, undone before it is done: no file of dbt's holds these statements."""
    runner = built_pipeline.project
    arguments = json.dumps({"run_id": built_pipeline.sandbox.value(RUN), "undo": True})
    retraction = ("run-operation", "retract", "--args", arguments)
    succeed(runner.command, "invoke", "dbt-bigquery", *retraction, cwd=ROOT, env=runner.environment())
    jobs = built_pipeline.sandbox.client().list_jobs(max_results=20)
    sent = [
        job.query for job in jobs if isinstance(job, QueryJob) and "._loads`" in job.query.replace("`.`", ".")
    ]
    sent = [sql for sql in sent if sql.startswith("/* {") and '"node"' not in sql]
    assert any("UPDATE" in sql for sql in sent)
    assert len(sent) >= 3
    for sql in sent:
        analyzer.check(sql.strip().rstrip(";"))


def type_of(field: SchemaField) -> str:
    """A column's type in BigQuery's words; no table of dbt's holds a RECORD."""
    one = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}.get(field.field_type, field.field_type)
    return f"ARRAY<{one}>" if field.mode == "REPEATED" else one


def test_built_columns_are_those_that_the_analyzer_derives(
    analyzer: Analyzer, built_pipeline: BuiltPipeline
) -> None:
    """Every view and table has the columns and types that Google's analyzer gives its statement."""
    nodes = built_pipeline.manifest["nodes"].values()
    derived, built = {}, {}
    for node in nodes:
        if node["resource_type"] == "model":
            statement = built_pipeline.target_dir / "run" / node["package_name"] / node["original_file_path"]
            derived[node["name"]] = analyzer.columns(statement.read_text().strip().rstrip(";"))
            table = built_pipeline.sandbox.client().get_table(f"{node['schema']}.{node['name']}")
            built[node["name"]] = [(field.name, type_of(field)) for field in table.schema]
    assert len(built) > 20
    assert built == derived


def test_sources_are_the_landed_columns(built_pipeline: BuiltPipeline) -> None:
    """Each landing table is a source, and each of its columns is described there."""
    sources = built_pipeline.manifest["sources"].values()
    described = {
        source["name"]: {name for name, column in source["columns"].items() if column["description"]}
        for source in sources
    }
    client = built_pipeline.sandbox.client()
    landed = {
        item.table_id: {field.name for field in client.get_table(item.reference).schema}
        for item in client.list_tables("local_rickandmorty_landing")
    }
    assert described == landed


def test_descriptions_and_labels_are_in_the_warehouse(built_pipeline: BuiltPipeline) -> None:
    """Every table carries its layer; they, the views and all columns say what they are."""
    client = built_pipeline.sandbox.client()
    bare = []
    for layer in ("staging", "marts", "snapshots"):
        for item in client.list_tables(f"local_rickandmorty_{layer}"):
            table = client.get_table(item.reference)
            # The local BigQuery does not keep a view's labels.
            if not table.description or ("layer" not in table.labels and table.table_type == "TABLE"):
                bare.append(table.table_id)
            bare += [f"{table.table_id}.{field.name}" for field in table.schema if not field.description]
    assert bare == []


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT nam FROM `local-project.local_rickandmorty_landing.characters`", "Did you mean name"),
        (
            "SELECT name + 1 FROM `local-project.local_rickandmorty_landing.characters`",
            "No matching signature",
        ),
        ("SELECT origin.nam FROM `local-project.local_rickandmorty_landing.characters`", "nam"),
    ],
    ids=["unknown-column", "string-plus-number", "unknown-nested-field"],
)
def test_the_analyzer_refuses_what_bigquery_refuses(analyzer: Analyzer, sql: str, message: str) -> None:
    """What BigQuery would refuse is refused here, with Google's own words."""
    with pytest.raises(SqlRefusedError, match=message):
        analyzer.check(sql)
