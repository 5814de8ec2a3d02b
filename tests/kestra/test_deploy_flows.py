"""The flows as deploy_flows.py sends them to a Kestra server: image and settings first, one interface for every runner, no secret in a line."""

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
import yaml
from testkit.programs import run, succeed
from testkit.project_files import ROOT
from testkit.servers import Server

DEPLOY = ROOT / ".github" / "scripts" / "deploy_flows.py"
DIGEST = "sha256:" + "a" * 64


class Kestra(Server):
    """Takes what a Kestra server takes, and keeps method, path, authorization and body."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, str, str, str]] = []
        self.status = 200
        self.headers: dict[str, str] = {}
        self.answer: bytes | None = None

    def respond(
        self, method: str, path: str, headers: Message, body: bytes
    ) -> tuple[int, bytes] | tuple[int, bytes, dict[str, str]]:
        """Keep a request."""
        self.seen.append((method, path, headers["Authorization"], body.decode()))
        if self.answer is not None:
            return self.status, self.answer, self.headers
        # As Kestra itself cuts them: FlowController.bulkUpdateFlows.
        flows = [yaml.safe_load(text) for text in body.decode().split("---")] if method == "POST" else []
        return 200, json.dumps([{"id": flow["id"]} for flow in flows]).encode() if flows else b""


@pytest.fixture
def kestra() -> Iterator[Kestra]:
    """A local server with Kestra's routes."""
    with Kestra() as server:
        yield server


def deploy(kestra: Kestra, token: str = "t", **variables: str) -> subprocess.CompletedProcess[str]:  # noqa: S107 (made up)
    """Run deploy_flows.py against a server."""
    given = {"KESTRA_URL": kestra.url, "KESTRA_TOKEN": token, "IMAGE": "", **variables}
    return run(sys.executable, DEPLOY, env={**os.environ, **given})


def refused(kestra: Kestra, *messages: str, token: str = "t", **variables: str) -> None:  # noqa: S107 (made up)
    """Deploying ends with exit status 1 and one line, which has the messages and no secret."""
    done = deploy(kestra, token, **variables)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert all(message in done.stderr for message in messages), done.stderr
    assert "secret" not in done.stderr


def test_flows_are_deployed_with_the_image_by_digest(kestra: Kestra) -> None:
    """The image goes first, then the flows, the called before the calling; nothing else is sent, and the token is in no message.

    The token may end with a newline, as a file of a secret does.
    """
    image = f"europe-docker.example/p/r/pipeline@{DIGEST}"
    done = deploy(kestra, "secret-token\n", IMAGE=image)
    assert done.returncode == 0, done.stderr
    assert [path for _, path, _, _ in kestra.seen] == [
        "/api/v1/main/namespaces/rickandmorty/kv/image",
        "/api/v1/main/flows/bulk?delete=false&namespace=rickandmorty",
    ]
    assert json.loads(kestra.seen[-2][3]) == image
    flows = list(yaml.safe_load_all(kestra.seen[-1][3]))
    assert [flow["id"] for flow in flows] == ["meltano_run", "meltano_jobs", "rick_and_morty_pipeline"]
    program = flows[0]["tasks"][0]["inputFiles"]["meltano_job/batch.py"]
    assert program == (ROOT / "orchestrate/meltano-job/src/meltano_job/batch.py").read_text()
    assert {authorization for _, _, authorization, _ in kestra.seen} == {"Bearer secret-token"}
    assert "secret-token" not in done.stdout + done.stderr


@pytest.mark.parametrize("runner", ["batch", "enterprise", "local"])
def test_every_runner_has_the_one_interface(runner: str) -> None:
    """What is printed, to be read or pasted, is meltano_run's interface and the tasks of the runner, which adds no other key."""
    env = {**os.environ, "KESTRA_RUNNER": runner}
    done = run(sys.executable, DEPLOY, "--print", env=env)
    assert done.returncode == 0, done.stderr
    whole = next(yaml.safe_load_all(done.stdout))
    interface = yaml.safe_load((ROOT / "orchestrate/kestra/meltano_run.yml").read_text())
    assert {key: whole[key] for key in interface} == interface
    assert set(whole) - set(interface) <= {"tasks", "afterExecution"}
    full = run("sh", "-c", f"'{sys.executable}' '{DEPLOY}' --print > /dev/full", env=env)
    assert (full.returncode, full.stderr) == (1, "deploy_flows: --print: No space left on device\n")


def test_terraforms_settings_go_to_kestra(kestra: Kestra, tmp_path: Path) -> None:
    """Each setting of the file is put, the map of variables as it is; the image there has no digest, and stays as it is."""
    file = tmp_path / "kestra.json"
    environment = {"MELTANO_ENVIRONMENT": "prod", "TARGET_BIGQUERY_LOCATION": "EU"}
    settings = {"gcp_region": "europe-west1", "environment": environment}
    file.write_text(json.dumps({**settings, "image": "pipeline"}))
    done = deploy(kestra, KESTRA_SETTINGS=str(file))
    assert done.returncode == 0, done.stderr
    puts = [(path, json.loads(body)) for method, path, _, body in kestra.seen if method == "PUT"]
    assert {path.rpartition("/kv/")[2]: value for path, value in puts} == settings


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"gcp_region": "europe-west1"}',
        '{"kestra": {"sensitive": false, "value": {"environment": {}}}}',
        '{"environment": {"sensitive": false, "value": {}}}',
        '{"environment": {}, "network": null}',
    ],
)
def test_another_files_settings_are_not_deployed(kestra: Kestra, tmp_path: Path, text: str) -> None:
    """What `terraform output` writes without `kestra`, or after an error, is one line; nothing is sent."""
    (tmp_path / "kestra.json").write_text(text)
    refused(kestra, "terraform output -json kestra", KESTRA_SETTINGS=str(tmp_path / "kestra.json"))
    assert not kestra.seen


def test_an_environment_is_a_namespace(kestra: Kestra) -> None:
    """With KESTRA_NAMESPACE settings and flows go there; the files of the flows stay as they are."""
    done = deploy(kestra, KESTRA_NAMESPACE="rickandmorty.dev", KESTRA_RUNNER="local")
    assert done.returncode == 0, done.stderr
    assert all("rickandmorty.dev" in path for _, path, _, _ in kestra.seen)
    flows = list(yaml.safe_load_all(kestra.seen[-1][3]))
    assert [flow["namespace"] for flow in flows] == ["rickandmorty.dev"] * 3


def composed(value: Any, given: dict[str, str]) -> Any:
    """The content of compose.yaml with Docker Compose's own interpolation, which follows the reading of the YAML."""
    if isinstance(value, dict):
        return {key: composed(item, given) for key, item in value.items()}
    if isinstance(value, list):
        return [composed(item, given) for item in value]
    variable = re.compile(r"\$\$|\$\{(\w+):-([^}]*)\}")
    return (
        variable.sub(lambda found: given.get(found[1], found[2]) if found[1] else "$", value)
        if isinstance(value, str)
        else value
    )


@pytest.mark.parametrize(
    ("names", "runner", "namespace", "given"),
    [
        (("kestra", "flows"), "plugin.core.runner.Process", "rickandmorty.local", {}),
        (
            ("kestra-batch", "flows-batch"),
            "plugin.gcp.cli.GCloudCLI",
            "rickandmorty",
            {"KESTRA_PASSWORD": 'It\'s #1: "x" Ü $A \\n'},
        ),
    ],
)
def test_compose_deploys_the_flows_into_the_kestra_that_it_starts(  # noqa: PLR0913, PLR0917 (a table)
    kestra: Kestra, tmp_path: Path, names: tuple[str, str], runner: str, namespace: str, given: dict[str, str]
) -> None:
    """The service that deploys, run as it stands in compose.yaml, signs in as its Kestra expects, whatever the password, and loads its variant."""
    services = composed(yaml.safe_load((ROOT / "compose.yaml").read_text()), given)["services"]
    server, flows, postgres = services[names[0]], services[names[1]], services["postgres"]["environment"]
    configuration = yaml.safe_load(server["environment"]["KESTRA_CONFIGURATION"])
    database = configuration["datasources"]["postgres"]
    assert database["url"] == f"jdbc:postgresql://postgres:5432/{postgres['POSTGRES_DB']}"
    assert [database[k] for k in ("username", "password")] == [
        postgres["POSTGRES_USER"],
        postgres["POSTGRES_PASSWORD"],
    ]
    assert all(port.startswith("127.0.0.1:") for port in server["ports"])
    short = [volume.split(":") for volume in flows["volumes"] if isinstance(volume, str)]
    places = {inside: ROOT / outside for outside, inside, _ in short}
    interpreter, script = flows["command"]
    assert interpreter == "python3"
    (path,) = [
        ROOT / outside / script.removeprefix(f"{inside}/")
        for inside, outside in places.items()
        if script.startswith(inside)
    ]
    environment = flows["environment"] | {"KESTRA_URL": kestra.url}
    if "KESTRA_SETTINGS" in environment:
        environment["KESTRA_SETTINGS"] = str(tmp_path / "kestra.json")
        (tmp_path / "kestra.json").write_text('{"environment": {}}')
    succeed(sys.executable, path, env=environment)
    account = configuration["kestra"]["server"]["basic-auth"]
    # Micronaut's own placeholder.
    assert account["password"] == "${KESTRA_PASSWORD}"
    user = f"{account['username']}:{server['environment']['KESTRA_PASSWORD']}"
    basic = base64.b64encode(user.encode()).decode()
    assert {authorization for _, _, authorization, _ in kestra.seen} == {f"Basic {basic}"}
    meltano_run, *_ = yaml.safe_load_all(kestra.seen[-1][3])
    assert runner in json.dumps(meltano_run["tasks"][0])
    assert meltano_run["namespace"] == namespace


def test_what_runs_for_good_is_back_after_a_power_cut() -> None:
    """On a Pi that is Kestra and its database; what deploys ends, and a trial on a laptop stays down."""
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    back = {name: service["restart"] for name, service in services.items() if "restart" in service}
    assert back == dict.fromkeys(("postgres", "kestra-batch"), "unless-stopped")


# What Kestra wants of a password: BasicAuthService.PASSWORD_PATTERN.
PASSWORD = re.compile(r"(?=.{8,})(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9]).*")


def test_every_password_of_the_documentation_is_one_that_kestra_takes() -> None:
    """With another nobody can sign in."""
    files = ("compose.yaml", "docs/kestra-outside-google-cloud.md", ".github/workflows/kestra.yml")
    said = re.compile(r"KESTRA_PASSWORD:-([^}]+)\}|KESTRA_PASSWORD='?([^'\"]+)|laptop@example.com:([^\s$]+)")
    found = {next(filter(None, match)) for file in files for match in said.findall((ROOT / file).read_text())}
    assert len(found) == 2
    assert all(map(PASSWORD.fullmatch, found)), found


def test_a_wrong_variable_is_one_line(kestra: Kestra) -> None:
    """Nothing is sent."""
    for variable, value, message in [
        ("KESTRA_TOKEN", "", "KESTRA_TOKEN is not set"),
        ("IMAGE", "pipeline:latest", "by digest"),
        ("KESTRA_RUNNER", "lambda", "batch, enterprise, local"),
        ("KESTRA_NAMESPACE", "a b", "such as rickandmorty.dev"),
        ("KESTRA_SETTINGS", "nowhere.json", "terraform output -json kestra"),
        ("KESTRA_URL", "kestra", "expected https"),
        ("KESTRA_URL", "http://a b/", "expected https"),
        ("KESTRA_URL", "https://me:secret@kestra", "expected https"),
        ("KESTRA_TOKEN", "a secret", "expected an API token"),
        ("KESTRA_TENANT", "a b", "look at KESTRA_URL"),
    ]:
        refused(kestra, message, **{variable: value})
    assert not kestra.seen


@pytest.mark.parametrize(
    ("status", "answer", "message"),
    [
        (422, b'{"message":"Invalid entity: no such task"}', 'status 422: {"message":"Invalid entity: no such task"}'),
        (200, b"<html>sign in</html>", "is no answer of Kestra's; look at KESTRA_URL"),
        (200, b"{}", "Kestra has not taken meltano_run, meltano_jobs, rick_and_morty_pipeline"),
        (200, b'[{"id": "meltano_run"}]', "Kestra has not taken meltano_jobs, rick_and_morty_pipeline"),
    ],
)  # fmt: skip
def test_flows_count_as_deployed_where_kestra_says_so(
    kestra: Kestra, status: int, answer: bytes, message: str
) -> None:
    """A refusal is one line, with Kestra's words; a page that answers 200 to everything, as a proxy's sign-in does, has deployed nothing."""
    kestra.status, kestra.answer = status, answer
    refused(kestra, message, token="me:secret")  # noqa: S106 (made up)


def test_a_redirect_is_not_followed(kestra: Kestra) -> None:
    """It would turn the flows' POST into a GET, and take the token elsewhere; the line says the right address."""
    with Kestra() as other:
        kestra.status, kestra.answer, kestra.headers = 301, b"", {"Location": f"{other.url}/"}
        refused(kestra, f"it redirects to {other.url}/; set KESTRA_URL to that")
        assert not other.seen
