"""The strict sandbox: roles, the order in which BigQuery asks, rate limits and sizes, as Google's documentation states them."""

import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from google.api_core import exceptions
from google.cloud import bigquery, storage  # type: ignore[attr-defined]  # storage has no types
from google.cloud.bigquery import Client, Table
from google.oauth2.credentials import Credentials
from sandbox_command import run
from testkit.proxies import served
from testkit.whole_pipeline import local_bigquery

ROOT = Path(__file__).resolve().parents[2]
RULES = json.loads((ROOT / "sandbox/src/sandbox/strict/rules.json").read_text())
PROJECT, BUCKET, LANDING = "local-project", "local-landing", "local_rickandmorty_landing"
PIPELINE = "sandbox"
SCHEMA = [bigquery.SchemaField("id", "INTEGER")]
# Google's types do not know it.
NO_RETRY: Any = None


class Strict:
    """Google's clients of any account on the strict services."""

    def __init__(self, bigquery_url: str, storage_url: str) -> None:
        self.bigquery_url, self.storage_url = bigquery_url, storage_url

    def account(self, **roles: Any) -> str:
        """A new account that holds these roles; its token."""
        token = f"a{uuid.uuid4().hex[:8]}"
        for url in (self.bigquery_url, self.storage_url):
            requests.put(f"{url}/__sandbox__/accounts", json={token: roles}).raise_for_status()
        return token

    def bigquery(self, token: str = PIPELINE) -> Client:
        """BigQuery's client of an account."""
        env = {"GOOGLE_CLOUD_PROJECT": PROJECT, "BIGQUERY_EMULATOR_HOST": self.bigquery_url}
        return local_bigquery(env, token)

    def bucket(self, token: str = PIPELINE, name: str = BUCKET) -> storage.Bucket:
        """The landing bucket as an account's client sees it."""
        client = storage.Client(
            project=PROJECT, credentials=Credentials(token), client_options={"api_endpoint": self.storage_url}
        )
        return client.bucket(name)

    def table(self, client: Client, dataset: str = LANDING) -> Table:
        """A new table."""
        return client.create_table(Table(f"{PROJECT}.{dataset}.t{uuid.uuid4().hex[:8]}", SCHEMA))

    def load(self, client: Client, table: Table, **options: Any) -> Any:
        """A load job from Cloud Storage, not awaited."""
        blob = self.bucket("owner").blob(f"{uuid.uuid4().hex}.jsonl")
        blob.upload_from_string(b'{"id": 1}\n')
        job_id = options.pop("job_id", None)
        config = bigquery.LoadJobConfig(source_format="NEWLINE_DELIMITED_JSON", schema=SCHEMA, **options)
        uri = f"gs://{BUCKET}/{blob.name}"
        return client.load_table_from_uri(
            uri, table.reference, job_id=job_id, job_config=config, retry=NO_RETRY
        )


@pytest.fixture(scope="module")
def strict(command: str, services: dict[str, str]) -> Iterator[Strict]:
    """The strict services."""
    with (
        served(command, "strict", "bigquery", services["BIGQUERY_EMULATOR_HOST"]) as bigquery_url,
        served(command, "strict", "storage", services["STORAGE_EMULATOR_HOST"]) as storage_url,
    ):
        yield Strict(bigquery_url, storage_url)


def test_the_stated_roles_suffice_for_tables_jobs_and_objects(strict: Strict) -> None:
    """The account of the READMEs makes tables, loads, reads, changes and drops them, and uploads objects."""
    client = strict.bigquery()
    table = strict.table(client)
    strict.load(client, table).result()
    client.query_and_wait(f"INSERT INTO {table.dataset_id}.{table.table_id} VALUES (2)")
    client.query_and_wait(
        f"CREATE OR REPLACE TABLE {LANDING}.copy AS SELECT * FROM {LANDING}.{table.table_id}"
    )
    (row,) = client.query_and_wait(
        f"WITH c AS (SELECT id FROM {LANDING}.copy) SELECT COUNT(*) FROM c, UNNEST([id])"
    )
    assert row[0] == 2
    client.delete_table(table)
    blob = strict.bucket().blob(uuid.uuid4().hex)
    blob.upload_from_string(b"x", if_generation_match=0)
    assert blob.download_as_bytes() == b"x"


def test_permission_comes_before_existence(strict: Strict) -> None:
    """datasets.insert without bigquery.datasets.create is 403 for a dataset that exists: no role of the README grants it."""
    with pytest.raises(exceptions.Forbidden, match=r"bigquery\.datasets\.create"):
        strict.bigquery().create_dataset(LANDING, exists_ok=True)
    strict.bigquery("owner").create_dataset(LANDING, exists_ok=True)


def test_a_role_on_a_dataset_is_there_while_the_dataset_is(strict: Strict) -> None:
    """An account without a role on the project gets 403, never 404, for a dataset that is missing."""
    with pytest.raises(exceptions.Forbidden, match="or it may not exist"):
        strict.bigquery().get_dataset("no_such_dataset")
    with pytest.raises(exceptions.NotFound):
        strict.bigquery("owner").get_dataset("no_such_dataset")


WITHOUT_JOBS = {"datasets": {"*": ["roles/bigquery.dataEditor"]}}
READER = {"project": ["roles/bigquery.jobUser"], "datasets": {"*": ["roles/bigquery.dataViewer"]}}


def test_without_jobs_create_no_job_is_made(strict: Strict) -> None:
    """jobs.insert and jobs.query need bigquery.jobs.create on the project."""
    client = strict.bigquery(strict.account(**WITHOUT_JOBS))
    table, job_id = strict.table(client), uuid.uuid4().hex
    for act in (
        lambda: client.query("SELECT 1"),
        lambda: client.query_and_wait("SELECT 1"),
        lambda: strict.load(client, table, job_id=job_id),
    ):
        with pytest.raises(exceptions.Forbidden, match=r"bigquery\.jobs\.create"):
            act()
    with pytest.raises(exceptions.NotFound):
        strict.bigquery("owner").get_job(job_id)


WRITES = {
    "tables-create": "CREATE TABLE {dataset}.new (id INT64)",
    "tables-updateData": "INSERT INTO {table} VALUES (1)",
    "tables-update": "ALTER TABLE {table} ADD COLUMN x INT64",
    "tables-delete": "DROP TABLE {table}",
    "merge": "MERGE {table} t USING (SELECT 1 AS id) s ON t.id = s.id WHEN NOT MATCHED THEN INSERT (id) VALUES (id)",
    "datasets-create": "CREATE SCHEMA other",
}


@pytest.mark.parametrize("sql", WRITES.values(), ids=WRITES.keys())
def test_a_reader_writes_nothing(strict: Strict, sql: str) -> None:
    """Each statement that changes something needs the permission of the method that does the same."""
    table = strict.table(strict.bigquery())
    client = strict.bigquery(strict.account(**READER))
    assert list(client.query_and_wait(f"SELECT * FROM {LANDING}.{table.table_id}")) == []
    with pytest.raises(exceptions.Forbidden, match="Access Denied"):
        client.query_and_wait(
            sql.format(dataset=LANDING, table=f"{LANDING}.{table.table_id}"), retry=NO_RETRY
        )


def test_a_refused_load_has_failed_and_its_id_is_taken(strict: Strict) -> None:
    """BigQuery makes the job, the job fails with accessDenied, and a second one of that id is 409."""
    table, job_id = strict.table(strict.bigquery()), uuid.uuid4().hex
    client = strict.bigquery(strict.account(**READER))
    with pytest.raises(exceptions.Forbidden, match=r"bigquery\.tables\.updateData"):
        strict.load(client, table, job_id=job_id).result()
    assert client.get_job(job_id).error_result["reason"] == "accessDenied"
    with pytest.raises(exceptions.Conflict):
        strict.load(client, table, job_id=job_id)


def test_in_prod_the_loader_makes_no_table_in_landing(strict: Strict) -> None:
    """Terraform's custom role of prod appends, and neither makes nor drops."""
    table = strict.table(strict.bigquery())
    client = strict.bigquery("prod")
    strict.load(client, table).result()
    with pytest.raises(exceptions.Forbidden, match=r"bigquery\.tables\.create"):
        strict.table(client)
    with pytest.raises(exceptions.Forbidden, match=r"bigquery\.tables\.delete"):
        client.delete_table(table)


def test_a_load_reads_its_sources_as_the_account(strict: Strict) -> None:
    """A load job needs storage.objects.get on what it reads."""
    table = strict.table(strict.bigquery())
    roles = {**RULES["accounts"]["sandbox"], "buckets": {"*": ["roles/storage.objectCreator"]}}
    with pytest.raises(exceptions.Forbidden, match=r"storage\.objects\.get"):
        strict.load(strict.bigquery(strict.account(**roles)), table).result()


def test_a_job_whose_permissions_are_not_stated_is_the_owners(strict: Strict) -> None:
    """Nothing of ours copies or extracts tables; what the rules do not state is refused rather than let through."""
    table = strict.table(strict.bigquery())
    copy = f"{PROJECT}.{LANDING}.copy_{table.table_id}"
    with pytest.raises(exceptions.Forbidden, match="copy jobs, whose permissions are not stated"):
        strict.bigquery().copy_table(table, copy, retry=NO_RETRY).result()
    strict.bigquery("owner").copy_table(table, copy, retry=NO_RETRY).result()
    with pytest.raises(exceptions.Forbidden, match="extract jobs"):
        strict.bigquery().extract_table(table, f"gs://{BUCKET}/x.jsonl", retry=NO_RETRY).result()


def test_jobs_of_others_are_not_seen(strict: Strict) -> None:
    """jobs.get of another account's job needs bigquery.jobs.get, and jobs.list shows one's own."""
    job = strict.bigquery("owner").query("SELECT 1")
    job.result()
    with pytest.raises(exceptions.Forbidden, match=r"bigquery\.jobs\.get"):
        strict.bigquery().get_job(job.job_id)
    assert job.job_id not in {listed.job_id for listed in strict.bigquery().list_jobs(max_results=1000)}


def test_a_table_is_updated_five_times_in_ten_seconds(strict: Strict) -> None:
    """Load jobs count with metadata updates: the sixth in 10 s fails with rateLimitExceeded; DML counts and is let through."""
    client = strict.bigquery()
    table = strict.table(client)
    name = f"{LANDING}.{table.table_id}"
    for _ in range(4):
        strict.load(client, table).result(retry=None)
    for value in (7, 8):
        client.query_and_wait(f"INSERT INTO {name} VALUES ({value})")
    job = strict.load(client, table)
    with pytest.raises(exceptions.TooManyRequests, match="too many table update operations"):
        job.result(retry=None)
    assert job.error_result["reason"] == "rateLimitExceeded"
    table.description = "more"
    with pytest.raises(exceptions.Forbidden, match="too many table update operations"):
        client.update_table(table, ["description"], retry=NO_RETRY)
    strict.load(client, strict.table(client)).result(retry=None)


SIZES: dict[str, dict[str, Any]] = {
    "labels": {"labels": {f"k{i}": "v" for i in range(65)}},
    "label-in-capitals": {"labels": {"key": "Value"}},
    "label-too-long": {"labels": {"key": "v" * 64}},
    "column-description": {"schema": [bigquery.SchemaField("id", "INTEGER", description="x" * 1025)]},
    "columns": {"schema": [bigquery.SchemaField(f"c{i}", "INTEGER") for i in range(10_001)]},
}


@pytest.mark.parametrize("request_body", SIZES.values(), ids=SIZES.keys())
def test_a_request_beyond_the_limits_is_400(strict: Strict, request_body: dict[str, Any]) -> None:
    """Sizes of "Quotas and limits" and "Requirements for labels"."""
    table = bigquery.Table(f"{PROJECT}.{LANDING}.t{uuid.uuid4().hex[:8]}", request_body.get("schema", SCHEMA))
    table.labels = request_body.get("labels", {})
    with pytest.raises(exceptions.BadRequest):
        strict.bigquery().create_table(table)


def test_a_query_has_at_most_1_mb(strict: Strict) -> None:
    """The text of a query is at most 1,024 KB."""
    with pytest.raises(exceptions.BadRequest, match="too large"):
        strict.bigquery().query_and_wait(f"SELECT '{'x' * (1 << 20)}'")


CREATOR = {"buckets": {BUCKET: ["roles/storage.objectCreator"]}}


def test_an_object_creator_neither_reads_nor_overwrites_nor_deletes(strict: Strict) -> None:
    """roles/storage.objectCreator holds storage.objects.create alone; overwriting needs storage.objects.delete."""
    token = strict.account(**CREATOR)
    blob = strict.bucket(token).blob(uuid.uuid4().hex)
    blob.upload_from_string(b"one")
    with pytest.raises(exceptions.Forbidden, match=r"storage\.objects\.delete"):
        blob.upload_from_string(b"two")
    with pytest.raises(exceptions.Forbidden, match=r"storage\.objects\.get"):
        blob.download_as_bytes()
    with pytest.raises(exceptions.Forbidden, match=r"storage\.objects\.delete"):
        blob.delete()
    with pytest.raises(exceptions.PreconditionFailed):
        blob.upload_from_string(b"two", if_generation_match=0)
    assert strict.bucket("owner").blob(blob.name).download_as_bytes() == b"one"


def test_reading_a_bucket_needs_its_own_permission(strict: Strict) -> None:
    """Neither objectCreator nor objectViewer holds storage.buckets.get; a bucket that is missing is 404 to everybody."""
    with pytest.raises(exceptions.Forbidden, match=r"storage\.buckets\.get"):
        strict.bucket().reload()
    with pytest.raises(exceptions.NotFound):
        strict.bucket(name="no-such-bucket").reload()
    reader = strict.account(buckets={BUCKET: ["roles/storage.legacyBucketReader"]})
    strict.bucket(reader).reload()


def test_permissions_can_be_asked_for(strict: Strict) -> None:
    """The method testIamPermissions gives what an account has, of a bucket and of a table."""
    asked = ["storage.objects.create", "storage.objects.get", "storage.objects.delete", "storage.buckets.get"]
    assert strict.bucket().test_iam_permissions(asked) == asked[:2]
    table = strict.table(strict.bigquery())
    wanted = ["bigquery.tables.getData", "bigquery.tables.setIamPolicy"]
    held = strict.bigquery().test_iam_permissions(table.reference, wanted)
    assert held["permissions"] == wanted[:1]


def test_a_large_object_is_created_once(strict: Strict) -> None:
    """IfGenerationMatch 0 holds for a resumable upload too: "Request preconditions"."""
    blob = strict.bucket().blob(uuid.uuid4().hex, chunk_size=1 << 20)
    large = b"x" * ((9 << 20) + 1)
    blob.upload_from_string(large, if_generation_match=0)
    with pytest.raises(exceptions.PreconditionFailed):
        strict.bucket().blob(blob.name, chunk_size=1 << 20).upload_from_string(large, if_generation_match=0)


def test_a_token_of_nobody_is_401(strict: Strict) -> None:
    """A token that is no account's is refused before anything else."""
    for url in (
        f"{strict.bigquery_url}/bigquery/v2/projects/{PROJECT}/datasets",
        f"{strict.storage_url}/storage/v1/b",
    ):
        answer = requests.get(url, headers={"Authorization": "Bearer stranger"})
        assert (answer.status_code, answer.json()["error"]["errors"][0]["reason"]) == (401, "authError")


def test_the_roles_are_those_of_the_readmes_and_of_terraform() -> None:
    """What the strict account holds is what the READMEs ask for and what Terraform grants; its datasets are Terraform's."""
    account = RULES["accounts"]["sandbox"]
    held = {*account["project"], *account["datasets"]["*"], *account["buckets"]["*"]}
    for readme in ("docs/real-project.md", "target-bigquery/README.md"):
        (stated,) = re.findall(r"^.*roles/bigquery\.jobUser.*$", (ROOT / readme).read_text(), re.MULTILINE)
        assert set(re.findall(r"roles/[\w.]+", stated)) == held, readme
    if not (ROOT / "terraform").is_dir():
        pytest.skip("terraform/ was removed from this project")
    terraform = "\n".join(path.read_text() for path in sorted((ROOT / "terraform").rglob("*.tf")))
    assert held <= set(re.findall(r"roles/[\w.]+", terraform))
    custom = re.search(
        r'"google_project_iam_custom_role" "landing_writer".*?permissions = \[(.*?)\]', terraform, re.DOTALL
    )
    assert custom is not None
    assert (
        sorted(re.findall(r'"(bigquery[^"]+)"', custom[1])) == RULES["roles"]["rickandmorty_landing_writer"]
    )


def test_a_command_runs_on_a_strict_sandbox(command: str, tmp_path: Path) -> None:
    """`sandbox exec --strict` gives the strict services' addresses, with Terraform's datasets made."""
    code = (
        "import os, urllib.request as u;"
        "print(u.urlopen(os.environ['BIGQUERY_EMULATOR_HOST'] + '/bigquery/v2/projects/local-project/datasets').read().decode());"
        "u.urlopen(u.Request(os.environ['BIGQUERY_EMULATOR_HOST'] + '/bigquery/v2/projects/local-project/datasets', method='POST'))"
    )
    arguments = ("exec", "--strict", "--parts", "storage,bigquery", "--", "python3", "-c", code)
    done = run(command, tmp_path, *arguments)
    assert "HTTP Error 403" in done.stderr
    assert all(f'"{name}"' in done.stdout for name in RULES["datasets"])


BODIES = {
    "no-json": "{",
    "no-utf-8": b'{"configuration": "\xff"}',
    "a-list": "[]",
    "a-text-for-an-object": '{"configuration": "query"}',
    "a-list-for-a-reference": '{"jobReference": ["a"], "configuration": {"query": {"query": "SELECT 1"}}}',
    "a-number-for-sql": '{"configuration": {"query": {"query": 1}}}',
    "a-number-for-sources": '{"configuration": {"load": {"sourceUris": 1}}}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_a_body_that_is_not_understood_is_400(strict: Strict, services: dict[str, str], body: str) -> None:
    """It is the client's fault, and not to be tried again: with the rules and without them."""
    for url in (strict.bigquery_url, services["BIGQUERY_EMULATOR_HOST"]):
        answer = requests.post(f"{url}/bigquery/v2/projects/{PROJECT}/jobs", data=body)
        assert (answer.status_code, answer.json()["error"]["errors"][0]["reason"]) == (400, "invalid")


@pytest.mark.parametrize("words", [["proxy"], ["strict", "bigquery"]], ids=" ".join)
def test_a_dead_service_is_named(command: str, capfd: pytest.CaptureFixture[str], words: list[str]) -> None:
    """What stands before it answers 502 with its address, and its log has no traceback."""
    nowhere = "http://127.0.0.1:9"
    with served(command, *words, nowhere) as url:
        answer = requests.get(f"{url}/bigquery/v2/projects/{PROJECT}/datasets/x")
    assert (answer.status_code, nowhere in answer.json()["error"]["message"]) == (502, True)
    assert capfd.readouterr().err == ""
