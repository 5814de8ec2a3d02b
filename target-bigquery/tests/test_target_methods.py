"""The load methods: append-only is in test_target_loading.py; killed at every stage they are in the fault matrix."""

from urllib.parse import quote

import pytest
import requests
from google.cloud import bigquery
from testkit.target_bench import SCHEMA, STATE, Bench, record, refused, schema, succeeded, whole


def test_overwrite_replaces_every_row(bench: Bench) -> None:
    """The rows of the last whole version are all there is; columns the stream no longer sends, partitioning and clustering stay."""
    bench.load(SCHEMA, record(1), record(2), whole(1), STATE)
    bench.run_id = "next"
    run = bench.load(schema(links=None), record(3, 2, links=None), whole(2), STATE, load_method="overwrite")
    assert run.returncode == 1, "a record may not hold what its schema lacks"
    narrow = record(3, 2)
    del narrow["record"]["links"]
    run = succeeded(bench.load(schema(links=None), narrow, whole(2), STATE, load_method="overwrite"))
    (row,) = bench.rows()
    assert (row["id"], row["links"]) == (3, [])
    job_id = next(row["job_id"] for row in bench.rows("_loads") if row["method"] == "overwrite")
    job = bench.owner().get_job(job_id)
    assert isinstance(job, bigquery.LoadJob)
    assert job.write_disposition == "WRITE_TRUNCATE_DATA", "WRITE_TRUNCATE would drop row access policies"
    table = bench.owner().get_table(f"{bench.dataset}.things")
    assert table.time_partitioning.field == "_sdc_batched_at"
    assert table.clustering_fields == ["id"]


def test_overwrite_with_an_empty_stream_empties_the_table(bench: Bench) -> None:
    """A whole version without records means that the source has none."""
    bench.load(SCHEMA, record(1), whole(1), load_method="overwrite")
    bench.run_id = "next"
    succeeded(bench.load(SCHEMA, whole(2), STATE, load_method="overwrite"))
    assert bench.rows() == []
    assert sorted(row["rows"] for row in bench.rows("_loads")) == [0, 1]


def test_upsert_replaces_by_key(bench: Bench) -> None:
    """Keys sent are replaced whole, new ones are added, others stay; the last record of a key counts; nothing temporary is left."""
    bench.load(SCHEMA, record(1), record(2), whole(1), load_method="upsert")
    bench.run_id = "next"
    changed = [record(2, 2, name="first"), record(2, 2, name="last", links=[]), record(3, 2)]
    succeeded(bench.load(SCHEMA, *changed, whole(2), STATE, load_method="upsert"))
    rows = {row["id"]: (row["name"], row["links"], row["origin"]) for row in bench.rows()}
    origin = {"url": "u"}
    assert rows == {1: ("Ünna", ["a", "b"], origin), 2: ("last", [], origin), 3: ("Ünna", ["a", "b"], origin)}
    assert {t.table_id for t in bench.owner().list_tables(bench.dataset)} == {"things", "_loads"}


@pytest.mark.parametrize("method", ["append-only", "overwrite", "upsert"])
def test_a_run_whose_objects_have_been_deleted_is_loaded_once(bench: Bench, method: str) -> None:
    """A lifecycle rule has taken the manifests, and the run has loaded rows after an empty version: its job is found."""
    sent = [SCHEMA, whole(1), record(1, 2), whole(2), STATE]
    succeeded(bench.load(*sent, load_method=method))
    before = bench.rows(), bench.rows("_loads")
    objects = f"{bench.env['STORAGE_EMULATOR_HOST']}/storage/v1/b/local-landing/o"
    with bench.as_account(buckets={"*": ["roles/owner"]}):
        for name in [item["name"] for item in requests.get(objects).json()["items"]]:
            if bench.run_id in name:
                requests.delete(f"{objects}/{quote(name, safe='')}").raise_for_status()
    for _ in range(2):
        run = bench.load(SCHEMA, record(1, 3), whole(3), STATE, load_method=method)
        refused(run, f"run {bench.run_id} loaded rows by job", "run with another run id")
    bench.run_id = "next"
    succeeded(bench.load(SCHEMA, whole(4), STATE))
    assert bench.rows() == before[0]
    assert len(bench.rows("_loads")) == len(before[1]) + 1
