"""One offline provider, one initialized copy of the configuration and one production that is applied, for all tests of it.

The provider comes from the registry; where that is not reached, from the stand-in beside the repository.
"""

import gzip
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from terraform_runs import PRODUCTION, TERRAFORM, Applied, terraform
from testkit.programs import succeed
from testkit.project_files import ROOT
from testkit.required_tools import missing

STAND_IN = ROOT.parent / "shared" / "tools" / "terraform-google-offline"


@pytest.fixture(scope="session")
def _terraform_is_there() -> None:
    if not shutil.which("terraform"):
        missing("terraform", "put 1.11 or newer on the PATH")


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Terraform's configuration that takes hashicorp/google from the stand-in; empty where there is none.

    The stand-in is built with the types that this configuration names: terraform reads the whole schema at each run of a test.
    """
    if not (STAND_IN / "build.sh").is_file():
        return os.devnull
    if not shutil.which("go"):
        missing("go", "the offline provider is built with it")
    source = tmp_path_factory.mktemp("stand-in-source") / "stand-in"
    shutil.copytree(STAND_IN, source, copy_function=shutil.copyfile)
    packed = source / "schema.json.gz"
    schema = json.loads(gzip.decompress(packed.read_bytes()))
    named = set(re.findall(r"\bgoogle_\w+", "\n".join(f.read_text() for f in TERRAFORM.rglob("*.tf"))))
    for part in ("resource_schemas", "data_source_schemas"):
        schema[part] = {name: block for name, block in schema[part].items() if name in named}
    packed.write_bytes(gzip.compress(json.dumps(schema, separators=(",", ":")).encode()))
    folder = tmp_path_factory.mktemp("stand-in")
    succeed("sh", source / "build.sh", folder, cwd=folder)
    return str(folder / "offline.tfrc")


@pytest.fixture(scope="session")
def initialized(_terraform_is_there: None, stand_in: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of terraform/, initialized: neither lock file nor state of a test reaches the project."""
    folder = tmp_path_factory.mktemp("configuration") / "terraform"
    shutil.copytree(
        TERRAFORM, folder, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*", "*.site.tfvars")
    )
    done = terraform(folder, "init", "-backend=false", "-input=false", config=stand_in)
    if done.returncode and "registry" in done.stderr and stand_in == os.devnull:
        missing("hashicorp/google", "neither its registry nor ../shared/tools/terraform-google-offline")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="session")
def production(initialized: Path, stand_in: str, tmp_path_factory: pytest.TempPathFactory) -> Applied:
    """Production with everything on, applied."""
    if stand_in == os.devnull:
        missing("terraform-google-offline", "../shared/tools is not beside the repository")
    folder = tmp_path_factory.mktemp("production") / "terraform"
    shutil.copytree(initialized, folder, symlinks=True)
    (folder / "backend_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
    made = Applied(folder, stand_in)
    made.variables(**PRODUCTION)
    for command in (["init", "-reconfigure"], ["apply", "-auto-approve"]):
        done = made.terraform(*command)
        assert done.returncode == 0, done.stdout + done.stderr
    return made


@pytest.fixture(scope="session")
def tested(initialized: Path, stand_in: str) -> list[dict[str, Any]]:
    """What `terraform test` says, one item per message, with the plan of each run."""
    done = terraform(initialized, "test", "-json", "-verbose", config=stand_in)
    return [json.loads(line) for line in done.stdout.splitlines()]
