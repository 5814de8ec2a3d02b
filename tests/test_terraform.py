"""The cloud side: format, the provider's schema and value rules, terraform's own tests, what a plan may lose, checkov, drift.

The provider comes from the registry; where that is not reached, from the stand-in beside the repository.
"""

from __future__ import annotations

import fnmatch
import gzip
import json
import os
import re
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from generated_files import write
from landing_schemas import generated
from testkit.programs import run, succeed
from testkit.required_tools import missing
from testkit.whole_pipeline import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from subprocess import CompletedProcess

TERRAFORM = ROOT / "terraform"
STAND_IN = ROOT.parent / "shared" / "tools" / "terraform-google-offline"
APPLY = TERRAFORM / "tests" / "real_provider" / "apply.py"


def terraform(folder: Path, *arguments: str, config: str = os.devnull) -> CompletedProcess[str]:
    """Run terraform in a folder with a configuration file other than the user's; without one it would warn."""
    own = {"TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1", "TF_CLI_CONFIG_FILE": config}
    return run("terraform", *arguments, cwd=folder, env={**os.environ, **own}, seconds=900)


@pytest.fixture(scope="module")
def _terraform_is_there() -> None:
    if not shutil.which("terraform"):
        missing("terraform", "put 1.11 or newer on the PATH")


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
def tested(initialized: Path, stand_in: str) -> list[dict[str, Any]]:
    """What `terraform test` says, one item per message, with the plan of each run."""
    done = terraform(initialized, "test", "-json", "-verbose", config=stand_in)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_terraforms_own_tests_pass(tested: list[dict[str, Any]]) -> None:
    """Names, permissions, lifecycle, conditions and refusals are as tests/*.tftest.hcl have them."""
    wrong = [m["diagnostic"] for m in tested if m.get("diagnostic", {}).get("severity") == "error"]
    assert not wrong, json.dumps(wrong, indent=1)[:6000]
    summary = tested[-1]["test_summary"]
    assert summary["status"] == "pass"
    assert summary["passed"] > 20


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


# --- the values that the real provider and its services take ---------------------------------------------------------

VALUE_RULES = yaml.safe_load((TERRAFORM / "tests" / "value_rules.yml").read_text(encoding="utf-8"))
# What `terraform test` makes up for an attribute that neither configuration nor mock gives; it is sent nowhere.
MADE_UP = re.compile(r"[a-z0-9]{8}|0")


def rule_of(resource: str, path: str) -> tuple[dict[str, Any] | None, bool]:
    """The rule for an attribute, and whether it is written for this type of resource."""
    for kind, own in ((resource, True), ("*", False)):
        for name, rule in VALUE_RULES["rules"].get(kind, {}).items():
            if fnmatch.fnmatchcase(path, name):
                return VALUE_RULES["kinds"][rule] if isinstance(rule, str) else rule, own
    return None, False


def is_taken(rule: dict[str, Any], value: object) -> bool:
    """Return whether a value keeps a rule of tests/value_rules.yml."""
    text = str(value)
    return (
        ("matches" not in rule or re.fullmatch(rule["matches"], text) is not None)
        and ("one_of" not in rule or text in [str(one) for one in rule["one_of"]])
        and ("from" not in rule or rule["from"] <= float(text) <= rule["to"])
        and ("longest" not in rule or len(text) <= rule["longest"])
        and (not rule.get("json") or bool(json.loads(text)))
    )


def leaves(value: object, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every text and number below a value, with its path; positions in lists do not count."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from leaves(item, f"{path}.{name}".lstrip("."))
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item, path)
    elif value is not None and not isinstance(value, bool):
        yield path, value


def computed_paths(block: dict[str, Any], above: str = "") -> Iterator[str]:
    """The paths that the provider may fill in, of a block of its schema."""
    for name, attribute in block.get("attributes", {}).items():
        if attribute.get("computed"):
            yield f"{above}{name}"
    for name, nested in block.get("block_types", {}).items():
        yield from computed_paths(nested["block"], f"{above}{name}.")


def refused_values(resource: str, values: object, computed: set[str]) -> list[str]:
    """What the rules say against the values of one resource."""
    refused = []
    for path, value in leaves(values):
        rule, own = rule_of(resource, path)
        if path in computed and not own and MADE_UP.fullmatch(str(value)):
            continue
        if rule is None:
            refused.append(f"{resource}.{path} = {str(value)[:80]!r}: tests/value_rules.yml has no rule")
        elif not is_taken(rule, value):
            refused.append(f"{resource}.{path} = {str(value)[:80]!r}: is not {rule}")
    return refused


def test_every_value_is_one_that_the_provider_takes(tested: list[dict[str, Any]]) -> None:
    """Each value of each run of `terraform test`, of the configuration and of the mocks, keeps the documented rules."""
    refused: set[str] = set()
    seen: set[str] = set()
    for plan in (message["test_plan"] for message in tested if message["type"] == "test_plan"):
        schemas = next(iter(plan["provider_schemas"].values()))["resource_schemas"] if plan else {}
        for change in plan.get("resource_changes", []):
            if (kind := change["type"]).startswith("google_"):
                seen.add(kind)
                computed = set(computed_paths(schemas[kind]["block"]))
                refused.update(refused_values(kind, change["change"]["after"], computed))
    assert not refused, "\n".join(sorted(refused))
    declared = {
        name
        for path in TERRAFORM.rglob("*.tf")
        for name in re.findall(r'(?m)^resource "(google_\w+)"', path.read_text(encoding="utf-8"))
    }
    assert seen == declared


@pytest.mark.parametrize(
    ("resource", "values"),
    [
        ("google_service_account_iam_member", {"service_account_id": "projects/example-project/serviceAccounts/ci@example-project.iam.gserviceaccount.com"}),
        ("google_project_iam_member", {"member": "serviceAccount:plan@example-project.iam.gserviceaccount.com"}),
        ("google_service_account", {"account_id": "ci"}),
        ("google_project_iam_member", {"member": "allUsers"}),
        ("google_kms_key_ring", {"location": "EU"}),
        ("google_kms_crypto_key", {"rotation_period": "90d"}),
        ("google_kms_crypto_key", {"rotation_period": "3600s"}),
        ("google_kms_crypto_key", {"key_ring": "a1b2c3d4"}),
        ("google_bigquery_dataset", {"max_time_travel_hours": "24"}),
        ("google_compute_resource_policy", {"snapshot_schedule_policy": [{"schedule": [{"daily_schedule": [{"start_time": "03:30"}]}]}]}),
        ("google_storage_bucket", {"name": "my-google-bucket"}),
        ("google_storage_bucket", {"soft_delete_policy": [{"retention_duration_seconds": 86400}]}),
        ("google_iam_workload_identity_pool", {"display_name": "Workflows of the repository on GitHub"}),
        ("google_secret_manager_secret", {"version_destroy_ttl": "60s"}),
        ("google_project_iam_custom_role", {"role_id": "landing-writer"}),
        ("google_compute_instance", {"hostname": "no-rule-for-it"}),
    ],
)  # fmt: skip
def test_a_value_that_the_provider_refuses_is_seen(resource: str, values: dict[str, Any]) -> None:
    """The rules are not a formality: the values that broke with the real provider, and their like, are refused here."""
    assert len(refused_values(resource, values, set())) == 1


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


# --- what a plan may lose ---------------------------------------------------------------------------------------------

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
TABLE = 'module.landing_tables[0].google_bigquery_table.this["{}"]'


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

    def guard(
        self, *arguments: str, allow: tuple[str, ...] = (), **variables: object
    ) -> CompletedProcess[str]:
        """A plan with these variables, as terraform shows it, read by the guard."""
        self.variables(**variables)
        planned = self.terraform("plan", "-out=the.tfplan", *arguments)
        assert planned.returncode == 0, planned.stderr
        shown = terraform(self.folder, "show", "-json", "the.tfplan", config=self.configuration)
        return guard(shown.stdout, "--allow", *allow)


def guard(plan: str, *arguments: str) -> CompletedProcess[str]:
    """Run scripts/plan_guard.py."""
    return run(sys.executable, ROOT / "scripts" / "plan_guard.py", *arguments, stdin=plan)


def applied(source: Path, folder: Path, stand_in: str, **variables: object) -> Applied:
    """A copy of the configuration, applied."""
    if stand_in == os.devnull:
        missing("terraform-google-offline", "../shared/tools is not beside the repository")
    shutil.copytree(source, folder, symlinks=True)
    (folder / "backend_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
    made = Applied(folder, stand_in)
    made.variables(**variables)
    for command in (["init", "-reconfigure"], ["apply", "-auto-approve"]):
        done = made.terraform(*command)
        assert done.returncode == 0, done.stdout + done.stderr
    return made


@pytest.fixture(scope="module")
def production(initialized: Path, stand_in: str, tmp_path_factory: pytest.TempPathFactory) -> Applied:
    """Production with everything on, applied."""
    folder = tmp_path_factory.mktemp("production") / "terraform"
    return applied(initialized, folder, stand_in, **PRODUCTION)


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


def test_a_second_plan_is_empty(production: Applied) -> None:
    """Nothing changes, and the guard says so."""
    done = production.guard(**PRODUCTION)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 changes; nothing is lost\n", "")


def change_schema(folder: Path, stream: str, change: str) -> None:
    """Change a landing schema as another commit, or the loader, would have it."""
    path = folder / "schemas" / f"{stream}.json"
    table = json.loads(path.read_text())
    fields = {field["name"]: field for field in table["fields"]}
    if change == "new column":
        table["fields"].append({"name": "rating", "type": "FLOAT", "mode": "NULLABLE"})
    elif change == "relaxed":
        fields["id"]["mode"] = "NULLABLE"
    elif change == "column dropped":
        table["fields"].remove(fields["species"])
    elif change == "nested column dropped":
        fields["origin"]["fields"].pop()
    elif change == "retyped":
        fields["air_date"]["type"] = "DATE"
    elif change == "tightened":
        fields["name"]["mode"] = "REQUIRED"
    path.write_text(json.dumps(table))


@pytest.fixture
def schemas(production: Applied) -> Iterator[Path]:
    """Production's folder, whose landing schemas and modules are put back when the test is over."""
    yield production.folder
    for name in ("modules", "schemas"):
        shutil.rmtree(production.folder / name)
        shutil.copytree(TERRAFORM / name, production.folder / name)


def test_a_wider_schema_passes_the_guard(production: Applied, schemas: Path) -> None:
    """A new column and a column that may be empty lose nothing; the addresses are printed, without values."""
    change_schema(schemas, "characters", "new column")
    change_schema(schemas, "episodes", "relaxed")
    done = production.guard(**PRODUCTION)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"~   {TABLE.format('characters')}\n~   {TABLE.format('episodes')}\n2 changes; nothing is lost\n"
    )


def test_what_a_plan_would_lose_is_refused(production: Applied, schemas: Path) -> None:
    """Columns, tables, the network, days of data and protection: each is one line, and together they are one no."""
    change_schema(schemas, "characters", "column dropped")
    change_schema(schemas, "characters", "nested column dropped")
    change_schema(schemas, "episodes", "retyped")
    change_schema(schemas, "episodes", "tightened")
    network = {
        "network": "projects/example-project/global/networks/shared",
        "subnetwork": "projects/example-project/regions/europe-west1/subnetworks/batch",
    }
    changed = {**PRODUCTION, "network": network, "landing_rows_days": 30, "landing_parts_days": 7}
    replaced = "module.alert_webhook.google_secret_manager_secret.this"
    done = production.guard(f"-replace={replaced}", **changed)
    assert done.returncode == 1
    for loss in (
        f"{TABLE.format('characters')}: column species would be dropped with its data",
        f"{TABLE.format('characters')}: column origin.url would be dropped with its data",
        f"{TABLE.format('episodes')}: column air_date would change from STRING to DATE",
        f"{TABLE.format('episodes')}: column name would change from NULLABLE to REQUIRED",
        f"{TABLE.format('locations')}: rows would leave after 30 days",
        "module.landing_bucket.google_storage_bucket.this: objects would be deleted after 7 days",
        "module.network[0].google_compute_network.this: would be deleted",
        "module.network[0].google_compute_router_nat.this: would be deleted",
        f"{replaced}: would be replaced, with what it holds",
    ):
        assert f"plan_guard: {loss}\n" in done.stderr
    assert "_loads" not in done.stderr
    assert "make plan ALLOW=" in done.stderr.splitlines()[-1]
    assert "@example.com" not in done.stdout + done.stderr


# What another commit has in place of today's text, by module, and the guard's line about it.
UNPROTECTED = [
    ("bucket", '"enforced"', '"inherited"', 'landing_bucket.google_storage_bucket.this: public_access_prevention would be "inherited"'),
    ("bucket", "level_access = true", "level_access = false", "landing_bucket.google_storage_bucket.this: uniform_bucket_level_access would be false"),
    ("bucket", "7 * 86400", "86400", "landing_bucket.google_storage_bucket.this: deleted objects could be restored for 1 days only"),
    ("bucket", "age            = var.delete_after_days", 'created_before = "2026-01-01"', "landing_bucket.google_storage_bucket.this: a rule would delete what stays today, by created_before, matches_suffix"),
    ("dataset", '"168"', '"48"', 'dataset["landing"].google_bigquery_dataset.this: rows could be restored for 2 days only'),
    ("dataset", "= !var.deletion_protection", "= true", 'dataset["marts"].google_bigquery_dataset.this: delete_contents_on_destroy would be true'),
    ("image_registry", "tags = true", "tags = false", "images.google_artifact_registry_repository.this: docker_config.immutable_tags would be false"),
    ("image_registry", "10 * 7", "10", "images.google_artifact_registry_repository.this: the newest 10 images would be kept, not 70"),
    ("image_registry", "15552000s", "86400s", "images.google_artifact_registry_repository.this: a rule would delete what stays today, by older_than"),
    ("secret", "604800s", "86400s", "alert_webhook.google_secret_manager_secret.this: destroyed versions could be restored for 1 days only"),
    ("encryption", "rotation_period =", "# rotation_period =", 'encryption[0].google_kms_crypto_key.this["europe"]: rotation_period would be null'),
    ("batch_network", 'No ingress."', 'No ingress."\n  disabled = true', "network[0].google_compute_firewall.nothing_in: disabled would be true"),
    ("batch_network", '"nothing_else_out" {', '"nothing_else_out" {\n  count = 0', "network[0].google_compute_firewall.nothing_else_out[0]: would be deleted"),
    ("kestra_home", 'attachment" "nightly" {', 'attachment" "nightly" {\n  count = 0', "kestra_home[0].google_compute_disk_resource_policy_attachment.nightly[0]: would be deleted"),
    ("failure_alert", "= true", "= false", "failure_alert.google_monitoring_alert_policy.failed_run: enabled would be false"),
]  # fmt: skip


def test_a_protection_that_a_commit_takes_away_is_refused(production: Applied, schemas: Path) -> None:
    """Public access, expiry, restoring, rules that delete, firewall, snapshots, alert, audit logs: each is one line."""
    for module, today, another, _ in UNPROTECTED:
        path = schemas / "modules" / module / "main.tf"
        text = path.read_text()
        assert today in text, (module, today)
        path.write_text(text.replace(today, another))
    done = production.guard(**{**PRODUCTION, "audit_logs": False})
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    unseen = [loss for *_, loss in UNPROTECTED if f"plan_guard: module.{loss}" not in lines]
    assert not unseen, done.stderr
    audit = 'module.project.google_project_iam_audit_config.this["storage.googleapis.com"]: would be deleted'
    assert f"plan_guard: {audit}" in lines


def plan_of(kind: str, action: str, before: object, after: object, **variables: object) -> str:
    """Return a plan with one change of one resource, as `terraform show -json` writes it."""
    change = {"actions": [action], "before": before, "after": after}
    changes = [{"address": "it", "type": kind, "change": change}]
    return json.dumps({"format_version": "1.2", "variables": variables, "resource_changes": changes})


def bucket(*conditions: dict[str, Any], versioned: bool = False) -> dict[str, Any]:
    """A bucket that deletes by these conditions, with the defaults that the provider fills in."""
    filled = {"with_state": "ANY", "matches_prefix": [], "created_before": "", "send_age_if_zero": True}
    rules = [{"action": [{"type": "Delete"}], "condition": [{**filled, **given}]} for given in conditions]
    return {"lifecycle_rule": rules, "versioning": [{"enabled": versioned}]}


OLD_VERSIONS = {"days_since_noncurrent_time": 30, "with_state": "ARCHIVED"}


@pytest.mark.parametrize(
    ("before", "after", "lost"),
    [
        (bucket({"age": 90}), bucket({"age": 91}), False),
        (bucket({"age": 90}), bucket(), False),
        (bucket({"age": 90}), bucket({"age": 90}, {"age": 90, "matches_prefix": ["a/"]}), False),
        (bucket({"age": 90}), bucket({"age": 90}, {"age": 7, "matches_prefix": ["a/"]}), True),
        (bucket({"age": 90, "matches_prefix": ["a/"]}), bucket({"age": 90}), True),
        (bucket(), bucket({"age": 0}), True),
        (bucket({"age": 90}), bucket({"age": 90}, {"num_newer_versions": 1}), False),
        (bucket({"age": 90}), bucket({"age": 90}, OLD_VERSIONS, versioned=True), False),
        (bucket(OLD_VERSIONS, versioned=True), bucket({**OLD_VERSIONS, "days_since_noncurrent_time": 7}, versioned=True), True),
        (bucket(versioned=True), bucket(), True),
        ({"expiration_time": 0}, {"expiration_time": 1800000000000}, True),
        ({"expiration_time": 1800000000000}, {"expiration_time": None}, False),
        ({"attribute_condition": "assertion.repository_id == '1'"}, {"attribute_condition": ""}, True),
    ],
)  # fmt: skip
def test_a_change_that_loses_is_seen(before: dict[str, Any], after: dict[str, Any], lost: bool) -> None:  # noqa: FBT001 (a case's outcome)
    """A later, a narrower and a vanished rule lose nothing; a rule for old versions deletes where there are some."""
    done = guard(plan_of("it", "update", before, after))
    assert done.returncode == lost, done.stderr


@pytest.mark.parametrize(("given", "goes"), [(False, True), ("false", True), ("0", True), (True, False), ("true", False), (None, False)])  # fmt: skip
def test_protection_is_off_however_it_was_said(given: object, goes: bool) -> None:  # noqa: FBT001 (a case's outcome)
    """By a file it is a truth value; by -var, as README says, and by TF_VAR_…, terraform shows a text."""
    plan = plan_of("google_storage_bucket", "delete", {}, None, deletion_protection={"value": given})
    assert guard(plan).returncode == (0 if goes else 1)


def test_an_action_that_is_not_known_is_refused() -> None:
    """A newer terraform's action may lose anything: it is named, and the plan is refused."""
    done = guard(plan_of("google_storage_bucket", "shred", {}, {}))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "shred" in done.stderr


def test_what_is_named_may_go(production: Applied, schemas: Path) -> None:
    """--allow exempts one resource and no other; one that loses nothing is reported."""
    change_schema(schemas, "characters", "column dropped")
    change_schema(schemas, "episodes", "retyped")
    done = production.guard(allow=(TABLE.format("characters"), "module.nothing"), **PRODUCTION)
    assert done.returncode == 1
    assert "species" not in done.stderr
    assert "air_date" in done.stderr
    assert "--allow module.nothing: this plan loses nothing there" in done.stderr


@pytest.mark.slow
def test_dev_can_be_destroyed_and_created_again(initialized: Path, stand_in: str, tmp_path: Path) -> None:
    """With protection off the guard lets everything go, nothing stays, and the next generation has names of its own."""
    dev = {
        "environment": "dev",
        "project_id": "example-project",
        "customer_managed_key": True,
        "alert_emails": ["data@example.com"],
        "github": {"owner_id": "1234567", "repository_id": "123456789"},
    }
    made = applied(initialized, tmp_path / "dev", stand_in, **dev)
    done = made.guard("-destroy", **dev)
    assert done.returncode == 1
    assert "module.landing_bucket.google_storage_bucket.this: would be deleted" in done.stderr
    unprotected = "-var=deletion_protection=false"
    done = made.guard(unprotected, **dev)
    assert done.returncode == 0, done.stderr
    assert made.terraform("apply", "the.tfplan").returncode == 0
    done = made.guard("-destroy", unprotected, **dev)
    assert (done.returncode, done.stderr) == (0, "")
    assert '["…@…"]' in done.stdout
    assert "@example.com" not in done.stdout
    assert made.terraform("apply", "the.tfplan").returncode == 0
    assert made.addresses() == set()
    done = made.guard(**dev, generation=2)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("text", ["", "{}", "[]", "Error: x"])
def test_the_guard_takes_no_other_input_for_a_plan(text: str) -> None:
    """Nothing to read is not nothing lost."""
    done = guard(text)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "terraform show -json" in done.stderr


@pytest.mark.slow
def test_the_script_of_the_real_provider_takes_every_step(stand_in: str) -> None:
    """With the offline provider, which makes no calls: each step is taken, in order, and checked."""
    if stand_in == os.devnull:
        missing("terraform-google-offline", "../shared/tools is not beside the repository")
    environment = {**os.environ, "TF_CLI_CONFIG_FILE": stand_in}
    output = succeed(sys.executable, APPLY, "--schema-only", env=environment, seconds=1800)
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
    refused = run(sys.executable, APPLY, env=environment, seconds=1800)
    assert refused.returncode == 1
    assert "the provider talks to the stand-in" in refused.stderr


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
