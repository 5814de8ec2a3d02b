"""What a plan may lose: scripts/plan_guard.py on the plans of production that other commits would make, and on single changes."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from terraform_runs import PRODUCTION, TERRAFORM, Applied, guard

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TABLE = 'module.landing_tables[0].google_bigquery_table.this["{}"]'


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


@pytest.mark.parametrize("text", ["", "{}", "[]", "Error: x"])
def test_the_guard_takes_no_other_input_for_a_plan(text: str) -> None:
    """Nothing to read is not nothing lost."""
    done = guard(text)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "terraform show -json" in done.stderr
