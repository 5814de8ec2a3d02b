"""Apply and destroy: a second plan is empty, production stays, and the script for the real provider, in which dev goes and comes again."""

import os
import sys

import pytest
from terraform_runs import PRODUCTION, TERRAFORM, Applied
from testkit.programs import run, succeed
from testkit.required_tools import missing

APPLY = TERRAFORM / "tests" / "real_provider" / "apply.py"


@pytest.mark.slow
def test_production_is_refused_to_a_destroy_as_a_whole(production: Applied) -> None:
    """Nothing goes: neither what is protected nor network, accounts and alert, which Google would let go first."""
    production.variables(**PRODUCTION)
    before = production.addresses()
    assert len(before) > 70
    done = production.terraform("destroy", "-auto-approve")
    assert done.returncode == 1
    assert "Instance cannot be destroyed" in done.stderr
    assert production.addresses() == before
    production.variables(**{**PRODUCTION, "environment": "dev"})
    done = production.terraform("apply", "-auto-approve")
    assert (done.returncode, "Instance cannot be destroyed" in done.stderr) == (1, True)
    assert production.addresses() == before


@pytest.mark.slow
def test_a_second_plan_is_empty(production: Applied) -> None:
    """Nothing changes, and the guard says so."""
    done = production.guard(**PRODUCTION)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 changes; nothing is lost\n", "")


@pytest.mark.slow
def test_the_script_of_the_real_provider_takes_every_step(stand_in: str) -> None:
    """With the offline provider, which makes no calls: each step is taken, in order, and checked."""
    if stand_in == os.devnull:
        missing("terraform-google-offline", "../shared/tools is not beside the repository")
    environment = {**os.environ, "TF_CLI_CONFIG_FILE": stand_in}
    output = succeed(sys.executable, APPLY, "--schema-only", env=environment)
    assert [line.removeprefix("ok      ") for line in output.splitlines()][:-1] == [
        "prod: init",
        "prod: validate",
        "prod: apply",
        "prod: apply: the second plan is empty",
        "prod: a widened column",
        "prod: a widened column: the second plan is empty",
        "prod: an old checkout would drop the column: planned",
        "prod: an old checkout would drop the column",
        "prod: destroy is refused as a whole",
        "prod: terraform test",
        "dev: init",
        "dev: apply",
        "dev: apply: the second plan is empty",
        "dev: protection off",
        "dev: destroy",
        "dev: again, as the next generation",
        "dev: again, as the next generation: the second plan is empty",
    ]
    refused = run(sys.executable, APPLY, env=environment)
    assert refused.returncode == 1
    assert "the provider talks to the stand-in" in refused.stderr
