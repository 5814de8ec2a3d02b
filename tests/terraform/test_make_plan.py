"""`make plan` and `make apply`: Terraform itself and its own Cloud Storage backend, on a configuration that needs no provider."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from uuid import uuid4

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client
from testkit.programs import run
from testkit.project_copy import unmarked
from testkit.project_files import ROOT
from testkit.required_tools import missing
from testkit.whole_pipeline import running_sandbox

CONFIGURATION = """\
terraform {
  backend "gcs" {}
}
variable "environment" {}
variable "rows_days" { type = number }
variable "deletion_protection" {
  type    = bool
  default = true
}
resource "terraform_data" "data" {
  input = "${var.environment} ${var.rows_days}"
}
"""


class Clone:
    """The project's Makefile and guard around that configuration, and a bucket for its states."""

    def __init__(self, folder: Path, storage: str) -> None:
        self.folder, self.storage = folder, storage
        client = Client("a-project", AnonymousCredentials(), client_options={"api_endpoint": storage})
        self.states = client.create_bucket(f"state-{uuid4().hex}")
        (folder / "scripts").mkdir(parents=True)
        (folder / "terraform" / "environments").mkdir(parents=True)
        shutil.copy(ROOT / "Makefile", folder)
        for name in ("command_line.py", "plan_guard.py"):
            shutil.copy(ROOT / "scripts" / name, folder / "scripts")
        (folder / "terraform" / "main.tf").write_text(CONFIGURATION)
        for name in ("dev", "prod"):
            (folder / "terraform" / "environments" / f"{name}.tfvars").write_text(f'environment = "{name}"\n')
            self.site(name, "rows_days = 90\n")

    def site(self, environment: str, text: str) -> None:
        """Write an environment's own values."""
        (self.folder / "terraform" / "environments" / f"{environment}.site.tfvars").write_text(text)

    def make(self, *words: str) -> CompletedProcess[str]:
        """Type a command in the folder terraform/, as its README does."""
        environment = {
            **unmarked(),
            "CHECKPOINT_DISABLE": "1",
            "GOOGLE_OAUTH_ACCESS_TOKEN": "token",
            "GOOGLE_STORAGE_CUSTOM_ENDPOINT": f"{self.storage}/storage/v1/b",
            "STORAGE_EMULATOR_HOST": self.storage,
            "TF_CLI_CONFIG_FILE": os.devnull,
            # Of a shell that works on another project.
            "TF_WORKSPACE": "another",
        }
        return run("make", "-C", "..", *words, cwd=self.folder / "terraform", env=environment)

    def plan(self, environment: str) -> tuple[str, ...]:
        """Return the command that plans an environment's changes."""
        return "plan", f"ENVIRONMENT={environment}", f"STATE_BUCKET={self.states.name}"

    def held(self, name: str) -> list[str]:
        """Return what an environment's state holds."""
        state = json.loads(self.states.blob(f"rickandmorty/{name}/default.tfstate").download_as_bytes())
        return [i["attributes"]["input"]["value"] for r in state["resources"] for i in r["instances"]]

    def must(self, *words: str) -> str:
        """Type a command that has to succeed."""
        done = self.make(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def applies_nothing(self) -> None:
        """Try to apply what was not planned."""
        done = self.make("apply", "ENVIRONMENT=dev")
        assert done.returncode != 0
        assert "make: there is no plan of dev: make plan ENVIRONMENT=dev STATE_BUCKET=… makes" in done.stderr
        assert self.held("dev") == []


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the sandbox's Cloud Storage."""
    with running_sandbox(tmp_path_factory.mktemp("storage"), "--parts", "storage") as running:
        yield running.env["STORAGE_EMULATOR_HOST"]


@pytest.fixture
def clone(tmp_path: Path, storage: str) -> Clone:
    """A clone in a folder with a space in its name, and an empty bucket for states."""
    if not shutil.which("terraform"):
        missing("terraform", "put 1.11 or newer on the PATH")
    return Clone(tmp_path / "my clone", storage)


def test_each_environment_has_a_state_of_its_own_in_one_clone(clone: Clone) -> None:
    """Production after dev and dev after production: no state is migrated, and dev's destroy, as README has it, leaves production."""
    for name in ("dev", "prod"):
        printed = clone.must(*clone.plan(name))
        assert "+   terraform_data.data\n1 changes; nothing is lost\n" in printed
        assert f"{name} 90" not in printed
        clone.must("apply", f"ENVIRONMENT={name}")
    assert [clone.held(name) for name in ("dev", "prod")] == [["dev 90"], ["prod 90"]]
    again = clone.plan("dev")
    assert "0 changes; nothing is lost" in clone.must(*again)
    assert "would be deleted" in clone.make(*again, "ARGS=-destroy").stderr
    clone.must(*again, "ARGS=-var=deletion_protection=false -destroy")
    clone.must("apply", "ENVIRONMENT=dev")
    assert [clone.held(name) for name in ("dev", "prod")] == [[], ["prod 90"]]


def test_a_plan_that_failed_leaves_none_to_apply(clone: Clone) -> None:
    """Yesterday's plan is not applied where today's failed; what is missing is one line."""
    plan = clone.plan("dev")
    clone.must(*plan)
    clone.site("dev", 'rows_days = "many"\n')
    assert clone.make(*plan).returncode != 0
    clone.applies_nothing()
    clone.site("dev", "rows_days = 90\n")
    done = clone.make(*plan, "ARGS=-detailed-exitcode")
    assert done.stderr.startswith(
        "make: no plan was made: terraform says why above; where it does not, leave -detailed-exitcode out"
    )
    clone.applies_nothing()
    for words, name in ((("plan", "ENVIRONMENT=dev"), "STATE_BUCKET"), (("plan",), "ENVIRONMENT"), (("apply",), "ENVIRONMENT")):  # fmt: skip
        done = clone.make(*words)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert f"{name} is not given: make {words[0]} ENVIRONMENT=prod STATE_BUCKET=…" in done.stderr


def test_a_misspelt_variable_is_no_plan(clone: Clone) -> None:
    """Terraform only warns of it, and its warnings are not shown for the values beside them: its name is, and no value."""
    clone.site("dev", 'rows_days = 90\nrow_days = "data@example.com"\n')
    done = clone.make(*clone.plan("dev"))
    assert done.returncode != 0
    assert 'does not declare a variable named "row_days"' in re.sub(r"[│\s]+", " ", done.stderr)
    assert "@example.com" not in done.stdout + done.stderr
    clone.applies_nothing()


def test_what_is_typed_reaches_terraform_as_it_is(clone: Clone) -> None:
    """Quotes and blanks of an address, dollars and stars: neither make nor the shell reads them, in ARGS and in ALLOW; a bucket may be an address."""
    rows = 'for_each = toset(["a b", "c"])\n  input = each.key\n  triggers_replace = var.rows_days'
    (clone.folder / "terraform/rows.tf").write_text(f'resource "terraform_data" "rows" {{\n  {rows}\n}}\n')
    plan = clone.plan("dev")
    odd = "$(HOME)*$$'x'"
    clone.must(*plan, f"ARGS=-var=environment={odd}")
    clone.must("apply", "ENVIRONMENT=dev")
    assert f"{odd} 90" in clone.held("dev")
    clone.site("dev", "rows_days = 91\n")
    one = 'terraform_data.rows["a b"]'
    done = clone.make(*plan, f"ARGS=-target={one}")
    assert (done.stdout.count("terraform_data"), done.stderr.count("would be replaced")) == (1, 1)
    assert f"-/+ {one}\n" in done.stdout
    printed = clone.must(*plan, f'ALLOW={one} terraform_data.rows["c"]', f"ARGS=-var=environment={odd}")
    assert "3 changes; nothing is lost" in printed
    address = f"STATE_BUCKET=gs://{clone.states.name}"
    clone.must("plan", "ENVIRONMENT=dev", address, f"ALLOW={one}", f"ARGS=-target={one}")
