"""The stand-in of Google's APIs for Terraform's provider: with Google's own clients, and with plain HTTP where these have no call."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import google_apis
import pytest
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import BadRequest, Conflict, NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.storage import Client
from testkit.project_files import ROOT

PROJECT = "projects/example-project"


class Apis(google_apis.GoogleApis):
    """A running stand-in."""

    def call(self, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
        """One request; its status and its JSON."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/{path}", data=data, method=method)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())


@pytest.fixture
def apis() -> Iterator[Apis]:
    """A stand-in of its own for each test."""
    with Apis() as running:
        yield running


def test_every_product_of_the_configuration_has_an_endpoint() -> None:
    """No resource's calls would go to Google: each type's product is one of the endpoints, and they are this machine's."""
    endpoints = {n: v for n, v in google_apis.environment("http://127.0.0.1:1").items() if "_ENDPOINT" in n}
    assert all(address.startswith("http://127.0.0.1:1/") for address in endpoints.values())
    # Where the endpoint is not called as the type's prefix.
    others = {
        "iam_workload": "IAM_BETA",
        "project_service": "SERVICE_USAGE",
        "project": "RESOURCE_MANAGER",
        "service_account": "IAM",
    }
    names = {name.removeprefix("GOOGLE_").removesuffix("_CUSTOM_ENDPOINT") for name in google_apis.ENDPOINTS}
    assert set(others.values()) <= names
    prefixes = (*others, *(name.lower() for name in names))
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "terraform").rglob("*.tf"))
    used = {
        word.removeprefix("google_")
        for line in text.splitlines()
        if line.startswith(("resource ", "data "))
        for word in [line.split('"')[1]]
        if word.startswith("google_")
    }
    assert used
    assert not [kind for kind in used if not kind.startswith(prefixes)]


def test_a_key_ring_is_made_once_and_never_goes(apis: Apis) -> None:
    """409 the second time, and no delete: the name of a key ring is never free again."""
    rings = f"kms/v1/{PROJECT}/locations/europe/keyRings"
    assert apis.call("POST", f"{rings}?keyRingId=one", {})[0] == 200
    status, answer = apis.call("POST", f"{rings}?keyRingId=one", {})
    assert (status, answer["error"]["status"]) == (409, "ALREADY_EXISTS")
    assert apis.call("DELETE", f"{rings}/one")[0] == 501
    assert apis.call("GET", f"{rings}/one")[1]["name"] == f"{PROJECT}/locations/europe/keyRings/one"


def test_a_deleted_federation_pool_keeps_its_name(apis: Apis) -> None:
    """It is there as DELETED, another of that name is refused, and undelete brings it back."""
    pools = f"iam/v1/{PROJECT}/locations/global/workloadIdentityPools"
    status, operation = apis.call("POST", f"{pools}?workloadIdentityPoolId=pool-1", {"displayName": "GitHub"})
    assert (status, operation["done"], operation["response"]["state"]) == (200, True, "ACTIVE")
    assert apis.call("DELETE", f"{pools}/pool-1")[0] == 200
    assert apis.call("GET", f"{pools}/pool-1")[1]["state"] == "DELETED"
    assert apis.call("POST", f"{pools}?workloadIdentityPoolId=pool-1", {})[0] == 409
    assert apis.call("POST", f"{pools}/pool-1:undelete", {})[1]["state"] == "ACTIVE"


def test_permissions_are_kept_for_each_resource(apis: Apis) -> None:
    """What is set is what is got; another resource has none of it."""
    binding = {"role": "roles/viewer", "members": ["user:a@example.com"]}
    for path in (f"cloudresourcemanager/v1/{PROJECT}", f"iap/v1/{PROJECT}/iap_tunnel/zones/z/instances/i"):
        assert "bindings" not in apis.call("POST", f"{path}:getIamPolicy", {})[1]
        apis.call("POST", f"{path}:setIamPolicy", {"policy": {"bindings": [binding]}})
        assert apis.call("POST", f"{path}:getIamPolicy", {})[1]["bindings"] == [binding]


def test_a_protected_machine_does_not_go(apis: Apis) -> None:
    """400 until protection is off; the disk it started from is a disk of its own."""
    zone = f"compute/v1/{PROJECT}/zones/europe-west1-b"
    machine = {
        "name": "kestra",
        "deletionProtection": True,
        "disks": [{"boot": True, "initializeParams": {"sourceImage": "cos", "diskSizeGb": "20"}}],
        "networkInterfaces": [{"subnetwork": "projects/p/regions/r/subnetworks/s"}],
    }
    status, operation = apis.call("POST", f"{zone}/instances", machine)
    assert (status, operation["status"]) == (200, "DONE")
    assert apis.call("GET", operation["selfLink"].removeprefix(f"{apis.url}/"))[1]["status"] == "DONE"
    made = apis.call("GET", f"{zone}/instances/kestra")[1]
    assert made["disks"][0]["source"] == f"{apis.url}/{zone}/disks/kestra-boot"
    assert apis.call("DELETE", f"{zone}/instances/kestra")[0] == 400
    apis.call("POST", f"{zone}/instances/kestra/setDeletionProtection?deletionProtection=false", {})
    assert apis.call("DELETE", f"{zone}/instances/kestra")[0] == 200
    assert apis.call("GET", f"{zone}/instances/kestra")[0] == 404


def test_bigquery_as_googles_library_calls_it(apis: Apis) -> None:
    """A full dataset stays, a schema without a column is refused, and ALTER TABLE drops it with its data."""
    client = bigquery.Client(
        "example-project",
        credentials=AnonymousCredentials(),
        client_options=ClientOptions(api_endpoint=apis.url),
    )
    dataset = client.create_dataset("landing")
    with pytest.raises(Conflict):
        client.create_dataset("landing")
    schema = [bigquery.SchemaField("id", "INTEGER"), bigquery.SchemaField("rating", "FLOAT")]
    table = client.create_table(bigquery.Table("example-project.landing.episodes", schema))
    with pytest.raises(BadRequest, match="in use"):
        client.delete_dataset("landing")
    table.schema = schema[:1]
    with pytest.raises(BadRequest, match="Field rating is missing"):
        client.update_table(table, ["schema"])
    apis.call(
        "POST",
        f"bigquery/v2/{PROJECT}/queries",
        {"query": "ALTER TABLE `example-project`.`landing`.`episodes` DROP COLUMN IF EXISTS `rating`"},
    )
    assert [f.name for f in client.get_table(table.reference).schema] == ["id"]
    assert apis.google.dropped == [f"bigquery/v2/{PROJECT}/datasets/landing/tables/episodes.rating"]
    client.delete_dataset(dataset, delete_contents=True)
    with pytest.raises(NotFound):
        client.get_table(table.reference)


def test_cloud_storage_as_googles_library_calls_it(apis: Apis) -> None:
    """A bucket is made, described, given permissions and deleted."""
    client = Client(
        "example-project",
        credentials=AnonymousCredentials(),
        client_options=ClientOptions(api_endpoint=apis.url),
    )
    bucket = client.create_bucket("example-bucket", location="EU")
    with pytest.raises(Conflict):
        client.create_bucket("example-bucket", location="EU")
    policy = bucket.get_iam_policy()
    policy.bindings.append({"role": "roles/storage.objectViewer", "members": {"user:a@example.com"}})
    bucket.set_iam_policy(policy)
    assert bucket.get_iam_policy().bindings[0]["role"] == "roles/storage.objectViewer"
    assert client.get_bucket("example-bucket").location == "EU"
    bucket.delete()
    with pytest.raises(NotFound):
        client.get_bucket("example-bucket")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "compute/v1/projects/p/global/networks/none", None, 404),
        ("POST", "compute/v1/projects/p/global/networks", {}, 400),
        ("GET", "pubsub/v1/projects/p/topics", None, 404),
        ("POST", "bigquery/v2/projects/p/queries", {"query": "DROP TABLE x"}, 400),
    ],
)
def test_what_it_does_not_know_is_an_error(
    apis: Apis, method: str, path: str, body: object, status: int
) -> None:
    """No call that is not understood is answered as if it were."""
    assert apis.call(method, path, body)[0] == status
