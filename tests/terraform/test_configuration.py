"""The configuration: format, the provider's schema, terraform's own tests, checkov, and what its outputs and files say."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from generated_files import write
from landing_schemas import generated
from terraform_runs import TERRAFORM, planned, terraform
from testkit.programs import run
from testkit.project_files import ROOT
from testkit.required_tools import missing


@pytest.mark.usefixtures("_terraform_is_there")
def test_files_are_formatted() -> None:
    """`terraform fmt` would change nothing."""
    done = terraform(TERRAFORM, "fmt", "-check", "-recursive", "-diff")
    assert done.returncode == 0, done.stdout + done.stderr


def test_configuration_fits_the_providers_schema(initialized: Path, stand_in: str) -> None:
    """Every resource, argument and block is one that hashicorp/google 8 publishes."""
    done = terraform(initialized, "validate", "-json", config=stand_in)
    answer = json.loads(done.stdout)
    assert answer["valid"], json.dumps(answer["diagnostics"], indent=1)
    assert answer["warning_count"] == 0, answer["diagnostics"]


def test_terraforms_own_tests_pass(tested: list[dict[str, Any]]) -> None:
    """Names, permissions, lifecycle, conditions and refusals are as tests/*.tftest.hcl have them."""
    wrong = [m["diagnostic"] for m in tested if m.get("diagnostic", {}).get("severity") == "error"]
    assert not wrong, json.dumps(wrong, indent=1)[:6000]
    summary = tested[-1]["test_summary"]
    assert summary["status"] == "pass"
    assert summary["passed"] > 15


def differences(expected: object, found: Any, path: str) -> Iterator[str]:
    """Yield what is planned in another way than tests/planned.yml has it."""
    if isinstance(expected, dict) and isinstance(found, list) and len(found) == 1:
        found = found[0]
    if isinstance(expected, dict) and isinstance(found, dict):
        for name, value in expected.items():
            yield from differences(value, found.get(name), f"{path}.{name}")
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for one, other in zip(expected, found, strict=True):
            yield from differences(one, other, path)
    elif expected != found:
        yield f"{path}: expected {expected!r}, got {found!r}"


def test_resources_are_planned_as_they_are_meant(tested: list[dict[str, Any]]) -> None:
    """Access, lifecycle, layout, network, alert, budget, logs, keys: the whole configuration plans each as tests/planned.yml has it."""
    expected = yaml.safe_load((TERRAFORM / "tests" / "planned.yml").read_text(encoding="utf-8"))
    different = [
        difference
        for run, resources in expected.items()
        for address, values in resources.items()
        for difference in differences(values, planned(tested, run).get(address), address)
    ]
    assert not different, "\n".join(different)


def test_no_grant_is_beside_the_list_of_permissions(tested: list[dict[str, Any]]) -> None:
    """In each plan the output `permissions` has a line for each grant, and none replaces the grants of others."""
    counts = []
    for plan in (message["test_plan"] for message in tested if message["type"] == "test_plan"):
        listed = plan.get("output_changes", {}).get("permissions", {}).get("after")
        kinds = [change["type"] for change in plan.get("resource_changes", [])]
        grants = [kind for kind in kinds if re.search("_iam_(member|binding|policy)$", kind)]
        assert all(kind.endswith("_member") for kind in grants)
        # In a plan without addresses of its accounts the list is not known yet.
        if listed is not None:
            assert len(listed) == len(grants)
            counts.append(len(grants))
    assert max(counts) > 30


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_environment_files_are_accepted(initialized: Path, stand_in: str, environment: str) -> None:
    """Each environment's variable file sets variables that exist, and only its own environment."""
    prefix = "" if environment == "prod" else f"{environment}_"
    (initialized / "of_a_file").mkdir(exist_ok=True)
    (initialized / "of_a_file" / "environment.tftest.hcl").write_text(
        'mock_provider "google" {\n  source = "./tests/mocks"\n}\n\nrun "as_the_file_says" {\n  command = plan\n\n'
        f'  assert {{\n    condition = output.datasets.landing == "{prefix}rickandmorty_landing"\n'
        '    error_message = "The datasets are those of another environment."\n  }\n}\n'
    )
    site = ("-var=project_id=example-project", '-var=alert_emails=["data@example.com"]')
    variables = (f"-var-file=environments/{environment}.tfvars", *site)
    done = terraform(
        initialized, "test", "-no-color", "-test-directory=of_a_file", *variables, config=stand_in
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert "1 passed" in done.stdout
    assert "undeclared" not in done.stdout + done.stderr


def test_no_key_and_no_secret_is_made() -> None:
    """No resource gives a key of an account, and none holds a secret's value: both would be in the state."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in TERRAFORM.rglob("*.tf"))
    assert not set(re.findall(r'"(google_service_account_key|google_secret_manager_secret_version|google_storage_hmac_key)"', text))  # fmt: skip
    assert not re.search(r"(?m)^\s*(secret_data|private_key|password)\s*=", text)


@pytest.mark.slow
def test_checkov_finds_nothing() -> None:
    """Its rules for Google Cloud hold; each exception has its reason beside the resource."""
    checkov = ROOT / ".venvs" / "checkov" / "bin" / "checkov"
    if not checkov.is_file():
        missing("checkov", "`make test-terraform` installs it")
    options = ("--directory=.", "--framework=terraform", "--output=json", "--skip-download")
    done = run(checkov, *options, cwd=TERRAFORM)
    found = json.loads(done.stdout)
    assert [f"{c['check_id']} {c['resource']}" for c in found["results"]["failed_checks"]] == []
    assert found["summary"]["passed"] > 50
    assert all(check["check_result"]["suppress_comment"] for check in found["results"]["skipped_checks"])


def output_names(output: str) -> set[str]:
    """The keys of the map that an output of terraform/outputs.tf gives."""
    text = (TERRAFORM / "outputs.tf").read_text(encoding="utf-8")
    block = text[text.index(f'output "{output}" {{') :].partition("\n}\n")[0]
    return set(re.findall(r"(?m)^ {4}(\w+) += ", block))


def test_kestra_is_given_what_the_flows_need() -> None:
    """Each setting that a flow reads without a default is in the output, and no other than those that a flow reads."""
    flows = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "orchestrate").rglob("*.yml"))
    needed, optional = (
        set(re.findall(rf"kv\('(\w+)'{after}\)", flows)) for after in ("", ", errorOnMissing=false")
    )
    assert needed - optional <= output_names("kestra") <= needed | optional


def test_as_many_images_are_kept_as_the_page_says() -> None:
    """The registry counts manifests: of an image, its index, two per platform, and two of the signed provenance; none goes for having no tag."""
    text = (TERRAFORM / "modules" / "image_registry" / "main.tf").read_text(encoding="utf-8")
    images, manifests = map(int, re.findall(r"keep_count = (\d+) \* (\d+)", text)[0])
    workflow = (ROOT / ".github" / "workflows" / "main.yml").read_text(encoding="utf-8")
    (platforms,) = re.findall(r"(?m)^ +platforms: (\S+)$", workflow)
    assert manifests == 1 + 2 * len(platforms.split(",")) + 2
    assert images == 10
    assert "the newest ten stay" in (TERRAFORM / "README.md").read_text(encoding="utf-8")
    assert "UNTAGGED" not in text


def test_github_is_given_the_variables_that_the_workflows_read() -> None:
    """What only a person knows (where Kestra is, the site's own values) is the rest, and the runbook explains it."""
    workflows = "\n".join(
        path.read_text(encoding="utf-8") for path in (ROOT / ".github" / "workflows").glob("*.yml")
    )
    read = set(re.findall(r"\bvars\.([A-Z_]+)", workflows))
    assert read - output_names("github_variables") == {
        "ATTEST_PRIVATE",
        "KESTRA_RUNNER",
        "KESTRA_URL",
        "PYTHON_IMAGE",
    }
    assert output_names("github_variables") <= read
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert not {name for name in read if f"`{name}`" not in page}


def test_drift_of_a_landing_schema_is_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A new field in the tap, a file of no stream and a missing file each fail the check; writing mends all three."""
    source, folder = tmp_path / "source", tmp_path / "schemas"
    source.mkdir()
    schema = {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}}
    (source / "episodes.json").write_text(json.dumps(schema))
    assert write(generated(source, folder)) == 0
    assert write(generated(source, folder), check=True) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["_loads.json", "episodes.json"]

    schema["properties"]["when"] = {"type": "string", "format": "date-time"}  # type: ignore[index]
    (source / "episodes.json").write_text(json.dumps(schema))
    (folder / "others.json").write_text("{}")
    (folder / "_loads.json").unlink()
    capsys.readouterr()
    assert write(generated(source, folder), check=True) == 1
    error = capsys.readouterr().err
    assert all(name in error for name in ("episodes.json", "others.json", "_loads.json"))

    assert write(generated(source, folder)) == 0
    table = json.loads((folder / "episodes.json").read_text())
    assert table["partitioned_by"] == "_sdc_batched_at"
    assert table["clustered_by"] == ["id"]
    assert [(f["name"], f["type"], f["mode"]) for f in table["fields"][:2]] == [
        ("id", "INTEGER", "REQUIRED"),
        ("when", "TIMESTAMP", "NULLABLE"),
    ]
    assert not (folder / "others.json").exists()
