"""The cloud side: format, validation against the provider's schema, terraform's own tests, checkov, drift.

The provider comes from the registry; where that is not reached, from the stand-in beside the repository.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from testkit.required_tools import missing
from testkit.whole_pipeline import ROOT

if TYPE_CHECKING:
    from pathlib import Path

TERRAFORM = ROOT / "terraform"
STAND_IN = ROOT.parent / "shared" / "tools" / "terraform-google-offline"
LANDING_SCHEMAS = ROOT / "scripts" / "landing_schemas.py"


def terraform(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """One terraform command in a folder, without the user's own configuration."""
    # Terraform warns of a configuration file that is not there; an empty one is the absence of one.
    environment.setdefault("TF_CLI_CONFIG_FILE", os.devnull)
    return subprocess.run(
        ["terraform", *arguments],
        cwd=folder,
        env={**os.environ, "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1", **environment},
        check=False,
        capture_output=True,
        text=True,
    )


def landing_schemas(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """One run of scripts/landing_schemas.py."""
    return subprocess.run(
        [sys.executable, LANDING_SCHEMAS, *arguments], check=False, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def _terraform_is_there() -> None:
    if not shutil.which("terraform"):
        missing("terraform", "put 1.11 or newer on the PATH")


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Terraform's configuration that takes hashicorp/google from the stand-in; empty where there is none."""
    if not (STAND_IN / "build.sh").is_file():
        return os.devnull
    if not shutil.which("go"):
        missing("go", "the offline provider is built with it")
    folder = tmp_path_factory.mktemp("stand-in")
    built = subprocess.run(
        [STAND_IN / "build.sh", folder], check=False, capture_output=True, text=True, cwd=folder
    )
    assert built.returncode == 0, built.stderr[-2000:]
    return str(folder / "offline.tfrc")


@pytest.fixture(scope="module")
def initialized(_terraform_is_there: None, stand_in: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of terraform/, initialized: neither lock file nor state of a test reaches the project."""
    folder = tmp_path_factory.mktemp("configuration") / "terraform"
    shutil.copytree(
        TERRAFORM, folder, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*", "*.site.tfvars")
    )
    done = terraform(folder, "init", "-backend=false", "-input=false", TF_CLI_CONFIG_FILE=stand_in)
    if done.returncode and "registry" in done.stderr and stand_in == os.devnull:
        missing("hashicorp/google", "neither its registry nor ../shared/tools/terraform-google-offline")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.usefixtures("_terraform_is_there")
def test_files_are_formatted() -> None:
    """`terraform fmt` would change nothing."""
    done = terraform(TERRAFORM, "fmt", "-check", "-recursive", "-diff")
    assert done.returncode == 0, done.stdout + done.stderr


def test_configuration_fits_the_providers_schema(initialized: Path, stand_in: str) -> None:
    """Every resource, argument and block is one that hashicorp/google 8 publishes."""
    done = terraform(initialized, "validate", "-json", TF_CLI_CONFIG_FILE=stand_in)
    answer = json.loads(done.stdout)
    assert answer["valid"], json.dumps(answer["diagnostics"], indent=1)
    assert answer["warning_count"] == 0, answer["diagnostics"]


def test_terraforms_own_tests_pass(initialized: Path, stand_in: str) -> None:
    """Names, permissions, lifecycle, conditions and refusals are as tests/*.tftest.hcl have them."""
    done = terraform(initialized, "test", "-no-color", TF_CLI_CONFIG_FILE=stand_in)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]


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
    done = terraform(
        initialized,
        "test",
        "-no-color",
        "-test-directory=of_a_file",
        f"-var-file=environments/{environment}.tfvars",
        "-var=project_id=example-project",
        TF_CLI_CONFIG_FILE=stand_in,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert "1 passed" in done.stdout
    assert "undeclared" not in done.stdout + done.stderr


def test_checkov_finds_nothing() -> None:
    """Its rules for Google Cloud hold; each exception has its reason beside the resource."""
    checkov = ROOT / ".venvs" / "checkov" / "bin" / "checkov"
    if not checkov.is_file():
        missing("checkov", "`make test-terraform` installs it")
    done = subprocess.run(
        [checkov, "--directory=.", "--framework=terraform", "--output=json", "--skip-download"],
        cwd=TERRAFORM,
        check=False,
        capture_output=True,
        text=True,
    )
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


def test_github_is_given_the_variables_that_the_workflows_read() -> None:
    """What only a person knows (where Kestra is, the site's own values) is the rest, and the runbook tells it."""
    workflows = "\n".join(
        path.read_text(encoding="utf-8") for path in (ROOT / ".github" / "workflows").glob("*.yml")
    )
    read = set(re.findall(r"\bvars\.([A-Z_]+)", workflows))
    assert read - output_names("github_variables") == {
        "KESTRA_RUNNER",
        "KESTRA_URL",
        "PYTHON_IMAGE",
        "TF_SITE",
    }
    assert output_names("github_variables") <= read
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert not {name for name in read if f"`{name}`" not in page}


def test_landing_schemas_are_what_tap_and_target_say() -> None:
    """terraform/schemas/*.json are what the target makes of the tap's schemas today."""
    done = landing_schemas("--check")
    assert done.returncode == 0, done.stderr


def test_drift_of_a_landing_schema_is_seen(tmp_path: Path) -> None:
    """A new field in the tap, a file of no stream and a missing file each fail the check; writing mends all three."""
    source, folder = tmp_path / "source", tmp_path / "schemas"
    source.mkdir()
    schema = {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}}
    (source / "things.json").write_text(json.dumps(schema))
    options = ("--source", source, "--folder", folder)
    assert landing_schemas(*options).returncode == 0
    assert landing_schemas("--check", *options).returncode == 0
    assert sorted(path.name for path in folder.iterdir()) == ["_loads.json", "things.json"]

    schema["properties"]["when"] = {"type": "string", "format": "date-time"}  # type: ignore[index]
    (source / "things.json").write_text(json.dumps(schema))
    (folder / "others.json").write_text("{}")
    (folder / "_loads.json").unlink()
    done = landing_schemas("--check", *options)
    assert done.returncode == 1
    assert all(name in done.stderr for name in ("things.json", "others.json", "_loads.json"))

    assert landing_schemas(*options).returncode == 0
    table = json.loads((folder / "things.json").read_text())
    assert table["partitioned_by"] == "_sdc_batched_at"
    assert table["clustered_by"] == ["id"]
    assert [(f["name"], f["type"], f["mode"]) for f in table["fields"][:2]] == [
        ("id", "INTEGER", "REQUIRED"),
        ("when", "TIMESTAMP", "NULLABLE"),
    ]
    assert not (folder / "others.json").exists()
