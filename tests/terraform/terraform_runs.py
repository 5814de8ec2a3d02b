"""Terraform in a copy of the configuration, and what the offline provider has applied there."""

import json
import os
import sys
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from testkit.programs import run
from testkit.project_files import ROOT

TERRAFORM = ROOT / "terraform"
PRODUCTION = {
    "environment": "prod",
    "project_id": "example-project",
    "location": "EU",
    "alert_emails": ["data@example.com"],
    "customer_managed_key": True,
    "landing_rows_days": 400,
    "kestra_home": {
        "users": ["group:data@example.com"],
        "kestra_image": "kestra/kestra:v2.0.0@sha256:" + "a" * 64,
        "postgres_image": "postgres:18@sha256:" + "b" * 64,
    },
}


def terraform(folder: Path, *arguments: str, config: str = os.devnull) -> CompletedProcess[str]:
    """Run terraform in a folder with a configuration file other than the user's; without one it would warn."""
    own = {"TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1", "TF_CLI_CONFIG_FILE": config}
    # A third less CPU: terraform and its provider are started often, and collect garbage that they could leave.
    own["GOGC"] = "400"
    return run("terraform", *arguments, cwd=folder, env={**os.environ, **own})


def planned(tested: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """What a run of `terraform test` plans, by address."""
    (plan,) = [m["test_plan"] for m in tested if m["type"] == "test_plan" and m["@testrun"] == name]
    return {change["address"]: change["change"]["after"] for change in plan["resource_changes"]}


class Applied:
    """A configuration that the stand-in has applied, with a state in a file of its own."""

    def __init__(self, folder: Path, configuration: str) -> None:
        """Keep the folder, and Terraform's configuration that finds the provider."""
        self.folder, self.configuration = folder, configuration

    def terraform(self, *arguments: str) -> CompletedProcess[str]:
        """One command there."""
        command, *options = arguments
        calm = ("-no-color", "-input=false")
        return terraform(self.folder, command, *calm, *options, config=self.configuration)

    def variables(self, **values: object) -> None:
        """Write the variables that the next command reads."""
        (self.folder / "terraform.tfvars.json").write_text(json.dumps(values))

    def addresses(self) -> set[str]:
        """What the state holds."""
        state = json.loads((self.folder / "terraform.tfstate").read_text())
        return {
            f"{r.get('module', '')}.{r['type']}.{r['name']}.{i.get('index_key', '')}"
            for r in state["resources"]
            for i in r["instances"]
            if r["mode"] == "managed"
        }

    def guard(self, *arguments: str, **variables: object) -> CompletedProcess[str]:
        """A plan with these variables, as terraform shows it, read by the guard."""
        self.variables(**variables)
        planned = self.terraform("plan", "-out=the.tfplan", *arguments)
        assert planned.returncode == 0, planned.stderr
        shown = terraform(self.folder, "show", "-json", "the.tfplan", config=self.configuration)
        return guard(shown.stdout)


def guard(plan: str) -> CompletedProcess[str]:
    """Run scripts/plan_guard.py."""
    return run(sys.executable, ROOT / "scripts" / "plan_guard.py", stdin=plan)
