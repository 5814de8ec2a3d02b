#!/usr/bin/env python3
"""Apply this configuration with the provider that terraform finds, against the local stand-in for Google's APIs.

    make test-provider            with the provider of the registry (CI: workflow provider.yml)

For dev and prod, with everything switched on: apply, an empty second plan, a widened column, dev's destroy, dev again, production's
destroy refused. Each step is a line; the first that fails ends the program with status 1 and terraform's output.
Nothing leaves this machine but `terraform init`: every endpoint is 127.0.0.1, and the token is none.

With --schema-only, for a provider that has the schema and makes no calls: the steps are tried, what reaches the APIs is not.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import google_apis

TERRAFORM = Path(__file__).resolve().parents[2]
GUARD = TERRAFORM.parent / "scripts" / "plan_guard.py"
# Fewer resources than this are no production.
FEW = 50
EVERYTHING: dict[str, Any] = {
    "location": "EU",
    "region": "europe-west1",
    "alert_emails": ["data@example.com"],
    "budget": {"billing_account": "012345-6789AB-CDEF01"},
    "customer_managed_key": True,
    "github": {"owner_id": "1234567", "repository_id": "123456789", "plan": True},
    "kestra_home": {
        "users": ["group:data@example.com"],
        "kestra_image": "kestra/kestra:v2.0.0@sha256:" + "a" * 64,
        "postgres_image": "postgres:18@sha256:" + "b" * 64,
    },
    "kestra_principals": ["serviceAccount:example-project.svc.id.goog[kestra/kestra]"],
    "landing_rows_days": 90,
    "landing_versioning": True,
    "marts_readers": ["group:analysts@example.com"],
    "state_bucket": "example-state",
}


def fail(step: str, output: str) -> NoReturn:
    """End the program with the step and the end of the output."""
    print(f"FAILED  {step}\n{output[-6000:]}", file=sys.stderr)
    raise SystemExit(1)


@dataclass
class Environment:
    """One environment's configuration, in a folder of its own, with a state there."""

    name: str
    folder: Path
    google: google_apis.Google
    variables: dict[str, Any]
    environment: dict[str, str] = field(default_factory=dict)

    @classmethod
    def initialized(
        cls, name: str, folder: Path, google: google_apis.Google, endpoints: dict[str, str]
    ) -> "Environment":
        """Copy the configuration and initialize it."""
        ignored = shutil.ignore_patterns(".terraform", "*.tfstate*", "*.tfplan", "*.site.tfvars")
        shutil.copytree(TERRAFORM, folder, ignore=ignored)
        (folder / "backend_override.tf").write_text(
            'terraform {\n  backend "local" {}\n}\n', encoding="utf-8"
        )
        variables = {**EVERYTHING, "environment": name, "project_id": f"example-{name}"}
        calm = {"TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1", **endpoints}
        made = cls(name, folder, google, variables, {**os.environ, **calm})
        google.resources["storage/v1/b/example-state"] = {"name": "example-state", "location": "EU"}
        made.must("init", "init")
        return made

    def run(self, *arguments: str, **variables: object) -> subprocess.CompletedProcess[str]:
        """Run one terraform command with the variables, and these in their place."""
        path = self.folder / "values.json"
        path.write_text(json.dumps({**self.variables, **variables}), encoding="utf-8")
        # terraform test has values of its own.
        values = [f"-var-file={path}"] if arguments[0] in {"apply", "destroy", "plan"} else []
        return subprocess.run(
            ["terraform", arguments[0], "-no-color", *values, *arguments[1:]],
            cwd=self.folder,
            env=self.environment,
            check=False,
            capture_output=True,
            text=True,
        )

    def must(self, step: str, *arguments: str, **variables: object) -> str:
        """Run one terraform command that has to succeed; return its output."""
        done = self.run(*arguments, **variables)
        if done.returncode:
            fail(f"{self.name}: {step}", done.stdout + done.stderr)
        print(f"ok      {self.name}: {step}", flush=True)
        return done.stdout

    def apply(self, step: str, **variables: object) -> None:
        """Apply; a second plan must be empty."""
        self.must(step, "apply", "-auto-approve", "-input=false", **variables)
        second = self.run("plan", "-detailed-exitcode", "-input=false", **variables)
        if second.returncode:
            fail(f"{self.name}: {step}: the second plan is not empty", second.stdout + second.stderr)
        print(f"ok      {self.name}: {step}: the second plan is empty", flush=True)

    def refused(self, step: str, expected: str, *arguments: str, **variables: object) -> None:
        """Run one terraform command that has to be refused, with this message, and to change nothing."""
        before = set(self.google.resources)
        done = self.run(*arguments, **variables)
        if done.returncode == 0 or expected not in done.stderr:
            fail(f"{self.name}: {step}: expected {expected!r}", done.stdout + done.stderr)
        if set(self.google.resources) != before:
            fail(f"{self.name}: {step}: something went anyway", str(before ^ set(self.google.resources)))
        print(f"ok      {self.name}: {step}", flush=True)

    def guarded(self, step: str, loss: str) -> None:
        """Plan; the guard must refuse it for this loss."""
        self.must(f"{step}: planned", "plan", "-input=false", "-out=the.tfplan")
        shown = self.run("show", "-json", "the.tfplan")
        done = subprocess.run(
            [sys.executable, GUARD], input=shown.stdout, check=False, capture_output=True, text=True
        )
        if done.returncode != 1 or loss not in done.stderr:
            fail(f"{self.name}: {step}: expected {loss!r}", done.stdout + done.stderr)
        print(f"ok      {self.name}: {step}", flush=True)

    def change_schema(self, **columns: dict[str, Any] | None) -> None:
        """Add columns to the landing schema of episodes, or take them away (None)."""
        path = self.folder / "schemas" / "episodes.json"
        table = json.loads(path.read_text(encoding="utf-8"))
        table["fields"] = [column for column in table["fields"] if column["name"] not in columns]
        table["fields"] += [{"name": name, **column} for name, column in columns.items() if column]
        path.write_text(json.dumps(table), encoding="utf-8")


def production(prod: Environment, *, schema_only: bool) -> None:
    """Apply, widen, refuse to narrow, refuse the destroy."""
    prod.apply("apply")
    if not schema_only and len(prod.google.resources) < FEW:
        fail("prod: the provider talks to the stand-in", f"{len(prod.google.calls)} calls")
    prod.change_schema(rating={"type": "FLOAT", "mode": "NULLABLE"})
    prod.apply("a widened column")
    prod.change_schema(rating=None)
    prod.guarded("an old checkout would drop the column", "column rating would be dropped with its data")
    prod.change_schema(rating={"type": "FLOAT", "mode": "NULLABLE"})
    prod.refused("destroy is refused as a whole", "Instance cannot be destroyed", "destroy", "-auto-approve")
    if prod.google.dropped:
        fail("prod: nothing was dropped", str(prod.google.dropped))


def development(dev: Environment, *, schema_only: bool) -> None:
    """Apply, destroy, and make again what Google lets be made again."""
    dev.apply("apply")
    if not schema_only:
        tables = [path for path in dev.google.resources if "example-dev" in path and "/tables/" in path]
        if tables:
            fail("dev: the loader alone makes landing tables", str(tables))
    dev.must("protection off", "apply", "-auto-approve", "-input=false", "-var=deletion_protection=false")
    dev.must("destroy", "destroy", "-auto-approve", "-input=false", "-var=deletion_protection=false")
    if not schema_only:
        taken(dev)
    dev.apply("again, as the next generation", generation=2)


def taken(dev: Environment) -> None:
    """See that the names of the first generation are taken, as Google has it."""
    done = dev.run("apply", "-auto-approve", "-input=false")
    if done.returncode == 0 or "already exists" not in done.stderr:
        fail("dev: the first generation's names are taken", done.stdout + done.stderr)
    print("ok      dev: the first generation's names are taken", flush=True)


def main() -> int:
    """Return the exit status."""
    parser = argparse.ArgumentParser(
        description="Applies the configuration against local stand-ins of Google's APIs."
    )
    parser.add_argument("--schema-only", action="store_true", help="the provider makes no calls")
    schema_only = parser.parse_args().schema_only
    with google_apis.GoogleApis() as apis, tempfile.TemporaryDirectory(prefix="apply-") as scratch:
        google, endpoints = apis.google, google_apis.environment(apis.url)
        prod = Environment.initialized("prod", Path(scratch) / "prod", google, endpoints)
        prod.must("validate", "validate")
        production(prod, schema_only=schema_only)
        prod.must("terraform test", "test")
        dev = Environment.initialized("dev", Path(scratch) / "dev", google, endpoints)
        development(dev, schema_only=schema_only)
    print(f"ok      {len(google.calls)} calls, {len(google.resources)} resources are left")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
