"""What a plan may lose: scripts/plan_guard.py on the plans of production that other commits would make, and on single changes."""

import io
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import plan_guard
import pytest
from terraform_runs import PRODUCTION, TERRAFORM, Applied, guard, terraform
from testkit.programs import run
from testkit.project_files import ROOT

TABLE = 'google_bigquery_table.landing["{}"]'


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
        f"{TABLE.format('locations')}: time_partitioning.expiration_ms would be 2592000000, today 34560000000",
        "module.landing_bucket.google_storage_bucket.this: objects would be deleted after 7 days",
        "module.network[0].google_compute_network.this: would be deleted",
        "module.network[0].google_compute_router_nat.this: would be deleted",
        f"{replaced}: would be replaced",
    ):
        assert f"plan_guard: {loss}\n" in done.stderr
    assert "_loads" not in done.stderr
    assert "make plan ALLOW=" in done.stderr.splitlines()[-1]
    assert "@example.com" not in done.stdout + done.stderr


# What another commit has in place of today's text, by module, and the guard's line about it.
UNPROTECTED = [
    ("bucket", '"enforced"', '"inherited"', 'landing_bucket.google_storage_bucket.this: public_access_prevention would be "inherited"'),
    ("bucket", "level_access = true", "level_access = false", "landing_bucket.google_storage_bucket.this: uniform_bucket_level_access would be false"),
    ("bucket", "7 * 86400", "86400", "landing_bucket.google_storage_bucket.this: soft_delete_policy.retention_duration_seconds would be 86400, today 604800"),
    ("bucket", "age            = var.delete_after_days", 'created_before = "2026-01-01"', "landing_bucket.google_storage_bucket.this: a rule would delete what stays today, by created_before, matches_suffix"),
    ("dataset", '"168"', '"48"', 'dataset["landing"].google_bigquery_dataset.this: max_time_travel_hours would be "48", today "168"'),
    ("dataset", "= !var.deletion_protection", "= true", 'dataset["marts"].google_bigquery_dataset.this: delete_contents_on_destroy would be true'),
    ("image_registry", "tags = true", "tags = false", "images.google_artifact_registry_repository.this: docker_config.immutable_tags would be false"),
    ("image_registry", "10 * 7", "10", "images.google_artifact_registry_repository.this: the newest 10 images would be kept, not 70"),
    ("image_registry", "15552000s", "86400s", "images.google_artifact_registry_repository.this: a rule would delete what stays today, by older_than"),
    ("secret", "604800s", "86400s", 'alert_webhook.google_secret_manager_secret.this: version_destroy_ttl would be "86400s", today "604800s"'),
    ("encryption", "rotation_period =", "# rotation_period =", 'encryption[0].google_kms_crypto_key.this["europe"]: rotation_period would be null'),
    ("batch_network", 'No ingress."', 'No ingress."\n  disabled = true', "network[0].google_compute_firewall.nothing_in: disabled would be true"),
    ("batch_network", '"nothing_else_out" {', '"nothing_else_out" {\n  count = 0', "network[0].google_compute_firewall.nothing_else_out[0]: would be deleted"),
    ("kestra_home", 'attachment" "nightly" {', 'attachment" "nightly" {\n  count = 0', "kestra_home[0].google_compute_disk_resource_policy_attachment.nightly[0]: would be deleted"),
    ("bucket", "# A private bucket, some of whose objects expire.", 'resource "terraform_data" "later" {\n  input = 1\n}', 'landing_bucket.google_storage_bucket.this: force_destroy would be "(known after apply)"'),
    ("bucket", "= !var.deletion_protection", "= terraform_data.later.output == 1", 'landing_bucket.google_storage_bucket.this: force_destroy would be "(known after apply)"'),
    ("dataset", '"this" {\n  for_each = var.iam', '"this" {\n  for_each = {}', 'dataset["landing"].google_bigquery_dataset_iam_member.this["container"]: would be deleted'),
    ("service_account", "toset(var.project_roles)", "toset([])", 'container.google_project_iam_member.this["roles/bigquery.jobUser"]: would be deleted'),
    ("service_account", "= var.description", "= var.description\n  disabled = true", "kestra.google_service_account.this: disabled would be true"),
    ("batch_network", "access = true", "access = false", "network[0].google_compute_subnetwork.this: private_ip_google_access would be false"),
    ("kestra_home", "35.235.240.0/20", "0.0.0.0/0", "kestra_home[0].google_compute_firewall.identity_aware_proxy_in: source_ranges would be another"),
    ("kestra_home", "= 14", "= 1", "kestra_home[0].google_compute_resource_policy.nightly: snapshot_schedule_policy.retention_policy.max_retention_days would be 1, today 14"),
    ("kestra_home", "attached_disk {", 'dynamic "attached_disk" {\n  for_each = []\n  content {', "kestra_home[0].google_compute_instance.this: attached_disk would lose 1 of its 1 entries"),
    ("kestra_home", 'device_name = "data"', 'device_name = "data"\n  }', "kestra_home[0].google_compute_instance.this: attached_disk would lose 1 of its 1 entries"),
    ("failure_alert", "google_monitoring_notification_channel.email :", "[] :", "failure_alert.google_monitoring_alert_policy.failed_run: notification_channels would be []"),
    ("failure_alert", "= true", "= false", "failure_alert.google_monitoring_alert_policy.failed_run: enabled would be false"),
    ("failure_alert", "AND severity>=ERROR", "AND severity>=ALERT", "failure_alert.google_monitoring_alert_policy.failed_run: conditions would be another"),
    ("kestra_home", "= var.subnetwork\n", "= var.subnetwork\n    access_config {}\n", "kestra_home[0].google_compute_instance.this: network_interface would be another"),
]  # fmt: skip


def test_a_protection_that_a_commit_takes_away_is_refused(production: Applied, schemas: Path) -> None:
    """Public access, expiry, restoring, rules that delete, grants, firewall, snapshots, alert, audit logs: each is one line, and what is not known yet."""
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


def change(
    kind: str, actions: list[str], before: Any, after: Any = None, unknown: Any = None
) -> dict[str, Any]:
    """One change of one resource, as `terraform show -json` writes it."""
    return {
        "address": f'{kind}.it["data@example.com"]',
        "type": kind,
        "change": {"actions": actions, "before": before, "after": after, "after_unknown": unknown or {}},
    }


def updated(before: dict[str, Any], after: dict[str, Any], unknown: Any = None) -> dict[str, Any]:
    """An update; of a table, since that is all that a schema is read of."""
    return change("google_bigquery_table", ["update"], before, after, unknown)


def plan_of(*changes: dict[str, Any], **variables: object) -> dict[str, Any]:
    """A plan with these changes."""
    given = {name: {"value": value} for name, value in variables.items()}
    return {"format_version": "1.2", "planned_values": {}, "variables": given, "resource_changes": changes}


class Guarded(NamedTuple):
    """What the guard said of a plan."""

    status: int
    lines: list[str]


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Guarded]:
    """The guard in this process, for the many cases that differ in one value."""

    def read(plan: dict[str, Any], *arguments: str) -> Guarded:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(plan).encode())))
        return Guarded(plan_guard.main([*arguments]), capsys.readouterr().err.splitlines())

    return read


def bucket(*conditions: dict[str, Any], versioned: bool = False) -> dict[str, Any]:
    """A bucket that deletes by these conditions, with the defaults that the provider fills in."""
    filled = {"with_state": "ANY", "matches_prefix": [], "created_before": "", "send_age_if_zero": True}
    rules = [{"action": [{"type": "Delete"}], "condition": [{**filled, **given}]} for given in conditions]
    return {"lifecycle_rule": rules, "versioning": [{"enabled": versioned}]}


def older_than(time: str) -> dict[str, Any]:
    """A policy that deletes images."""
    return {"action": "DELETE", "condition": [{"older_than": time, "tag_state": "ANY"}]}


KEEP = {"action": "KEEP", "most_recent_versions": [{"keep_count": 7}]}
OLD_VERSIONS = {"days_since_noncurrent_time": 30, "with_state": "ARCHIVED"}
SECRET = "google_secret_manager_secret"
TAGGED = '[{"name": "id", "type": "INT64", "policyTags": {"names": ["a-tag"]}}]'
PROVIDER = "google_iam_workload_identity_pool_provider"
ACCOUNT = {"member": "serviceAccount:loader@example.com"}


@pytest.mark.parametrize(
    ("changed", "lost"),
    [
        # A later, a narrower and a vanished rule lose nothing; a rule for old versions deletes where there are some.
        (updated(bucket({"age": 90}), bucket({"age": 91})), False),
        (updated(bucket({"age": 90}), bucket()), False),
        (updated(bucket({"age": 90}), bucket({"age": 90}, {"age": 90, "matches_prefix": ["a/"]})), False),
        (updated(bucket({"age": 90}), bucket({"age": 90}, {"age": 7, "matches_prefix": ["a/"]})), True),
        (updated(bucket({"age": 90, "matches_prefix": ["a/"]}), bucket({"age": 90})), True),
        (updated(bucket(), bucket({"age": 0})), True),
        (updated(bucket({"age": 90}), bucket({"age": 90}, {"num_newer_versions": 1})), False),
        (updated(bucket({"age": 90}), bucket({"age": 90}, OLD_VERSIONS, versioned=True)), False),
        (updated(bucket(OLD_VERSIONS, versioned=True), bucket({**OLD_VERSIONS, "days_since_noncurrent_time": 7}, versioned=True)), True),
        (updated(bucket(versioned=True), bucket()), True),
        (updated({"expiration_time": 0}, {"expiration_time": 1800000000000}), True),
        (updated({"expiration_time": 1800000000000}, {"expiration_time": None}), False),
        (updated({"retention_policy": [{"retention_period": "864000"}]}, {"retention_policy": []}), True),
        (change(SECRET, ["update"], {"ttl": None, "expire_time": ""}, {"ttl": "86400s"}), True),
        (change(SECRET, ["update"], {"expire_time": "2027-02-01T00:00:00Z"}, {"expire_time": "2027-01-01T00:00:00.123456789Z"}), True),
        (change(SECRET, ["update"], {"expire_time": "2027-01-01T00:00:00Z"}, {"expire_time": "2027-02-01T00:00:00Z"}), False),
        (updated({"cleanup_policies": [KEEP]}, {"cleanup_policies": [{**KEEP, "most_recent_versions": [{"keep_count": 9}]}]}), False),
        (updated({"cleanup_policies": [KEEP]}, {"cleanup_policies": [{**KEEP, "most_recent_versions": [{"keep_count": 7, "package_name_prefixes": ["a"]}]}]}), True),
        (updated({"cleanup_policies": [{"action": "KEEP", "condition": [{"tag_state": "TAGGED"}]}]}, {"cleanup_policies": []}), True),
        (updated({"cleanup_policies": [older_than("2592000s")]}, {"cleanup_policies": [older_than("30d")]}), False),
        (updated({"cleanup_policies": [older_than("2592000s")]}, {"cleanup_policies": [older_than("29d")]}), True),
        (updated({"cleanup_policies": [older_than("2592000s")]}, {"cleanup_policies": [older_than("719h30m")]}), True),
        # The same at any depth, and in the words of other types: a list of blocks in another order is the same.
        (updated({"settings": [{"deletion_protection_enabled": True}]}, {"settings": [{"deletion_protection_enabled": False}]}), True),
        (updated({"settings": [{"deletion_protection_enabled": True}]}, {"settings": [{}]}, {"settings": [{"deletion_protection_enabled": True}]}), True),
        (updated({"settings": [{"backup_configuration": [{"point_in_time_recovery_enabled": True}]}]}, {"settings": []}), True),
        (updated({"settings": [{"ip_configuration": [{"ipv4_enabled": False}]}]}, {"settings": [{"ip_configuration": [{"ipv4_enabled": True}]}]}), True),
        (updated({"deletion_protection": "PROTECTED"}, {"deletion_protection": "UNPROTECTED"}), True),
        (updated({"automated_backup_policy": [{"retention_period": "72h0m0s"}]}, {"automated_backup_policy": [{"retention_period": "24h0m0s"}]}), True),
        (updated({"replicas": [{"kms_key_name": "a"}, {"kms_key_name": None}]}, {"replicas": [{"kms_key_name": None}, {"kms_key_name": "a"}]}), False),
        (updated({"replicas": [{"kms_key_name": "a"}, {"kms_key_name": "b"}]}, {"replicas": [{"kms_key_name": "a"}, {"kms_key_name": None}]}), True),
        (updated({"notification_channels": ["a", "b"]}, {"notification_channels": ["b"]}), False),
        (updated({"config": [{"retention_mode": "RETENTION_MODE_ENABLED"}]}, {"config": [{"retention_mode": "T"}]}), False),
        (updated({"column_family": [{"family": "a"}]}, {"column_family": []}), True),
        (updated({"ip_filter": [{"mode": "Enabled"}]}, {"ip_filter": [{"mode": "Disabled"}]}), True),
        (updated({"ddl": ["CREATE TABLE a"]}, {"ddl": ["CREATE TABLE a", "ALTER TABLE a DROP COLUMN b"]}), True),
        (updated({"ddl": ["CREATE TABLE a"]}, {"ddl": ["CREATE TABLE a", "CREATE TABLE b"]}), False),
        (updated({"schema": TAGGED}, {"schema": TAGGED.replace("a-tag", "another")}), True),
        (change("google_dns_record_set", ["update"], {"ttl": 300}, {"ttl": 60}), False),
        (change("google_bigtable_gc_policy", ["create"], None, {}), True),
        (updated({"permissions": ["a", "b"]}, {"permissions": ["c", "b"]}), True),
        (updated({"permissions": ["a"]}, {"permissions": ["b", "a"]}), False),
        (updated({"access": [{"role": "READER"}]}, {"access": [{"role": "OWNER"}]}), True),
        (updated({"encryption": [{"default_kms_key_name": "key"}]}, {"encryption": []}), True),
        (updated({"disable_on_destroy": False}, {"disable_on_destroy": True}), True),
        # Only what holds nothing goes, and people's grants; a program's grant stops it, and a list of grants takes away all others.
        (change("google_a_store_of_next_year", ["delete"], {}), True),
        (change("google_service_account", ["delete", "create"], ACCOUNT, ACCOUNT), True),
        (change("google_storage_bucket_iam_member", ["delete"], ACCOUNT), True),
        (change("google_storage_bucket_iam_member", ["delete", "create"], ACCOUNT, ACCOUNT), True),
        (change("google_project_iam_member", ["delete"], {"member": "group:analysts@example.com"}), False),
        (change("google_project_iam_member", ["create"], None, ACCOUNT), False),
        (change("google_bigquery_dataset_iam_member", ["create"], None, {"member": "allAuthenticatedUsers"}), True),
        (change("google_bigquery_dataset_access", ["create"], None, {"special_group": "allAuthenticatedUsers"}), True),
        (change("google_storage_bucket_iam_member", ["delete", "create"], {"member": "group:a@example.com"}, {"member": "allUsers"}), True),
        (updated({"access": []}, {"access": [{"role": "READER", "special_group": "allAuthenticatedUsers"}]}), True),
        (updated({"access": [{"iam_member": "allUsers"}]}, {"access": [{"iam_member": "allUsers"}]}), False),
        (change("google_storage_bucket_acl", ["create"], None, {"role_entity": ["READER:allUsers"]}), True),
        (change("google_storage_bucket_acl", ["update"], {}, {"predefined_acl": "publicRead"}), True),
        (change("google_storage_bucket_acl", ["update"], {"role_entity": ["READER:allUsers"]}, {"role_entity": ["OWNER:allUsers"]}), True),
        (change("google_storage_bucket_access_control", ["update"], {"entity": "allUsers", "role": "READER"}, {"entity": "allUsers", "role": "OWNER"}), True),
        (change("google_compute_firewall", ["update"], {"source_ranges": ["::/0"], "description": "a"}, {"source_ranges": ["::/0"], "description": "b"}), False),
        (change("google_compute_firewall", ["create"], None, {"allow": [{"protocol": "tcp"}], "deny": [], "source_ranges": ["10.0.0.0/8", "::/0"]}), True),
        (change("google_compute_firewall", ["create"], None, {"allow": [], "deny": [{"protocol": "all"}], "source_ranges": ["0.0.0.0/0"]}), False),
        (change("google_compute_firewall", ["create"], None, {"allow": [{"protocol": "tcp"}], "destination_ranges": ["0.0.0.0/0"]}), False),
        (change("google_sql_database_instance", ["update"], {}, {"settings": [{"ip_configuration": [{"authorized_networks": [{"value": "0.0.0.0/0"}]}]}]}), True),
        (change("google_compute_instance", ["update"], {"network_interface": [{"access_config": []}]}, {"network_interface": [{"access_config": [{"nat_ip": None}]}]}), True),
        (change("google_compute_instance", ["update"], {"tags": ["closed"]}, {"tags": []}), True),
        (change("google_compute_instance", ["update"], {"machine_type": "e2-small"}, {"machine_type": "e2-medium"}), False),
        (change("google_project_iam_custom_role", ["update"], {"stage": "GA"}, {"stage": "DISABLED"}), True),
        (change("google_organization_iam_custom_role", ["update"], {"stage": "GA"}, {"stage": "DISABLED"}), True),
        (change("google_logging_folder_sink", ["update"], {"filter": "severity>=ERROR"}, {"filter": "severity>ALERT"}), True),
        (change("google_compute_network_firewall_policy_rule", ["create"], None, {"action": "deny", "match": [{"src_ip_ranges": ["0.0.0.0/0"]}]}), False),
        (change("google_compute_region_network_firewall_policy_rule", ["update"], {"action": "deny"}, {"action": "allow"}), True),
        (change("google_project_iam_custom_role", ["update"], {"title": "a"}, {"title": "b"}), False),
        (change("google_monitoring_alert_policy", ["update"], {"conditions": [{"display_name": "a"}]}, {"conditions": [{"display_name": "b"}]}), True),
        (change("google_monitoring_alert_policy", ["update"], {"documentation": [{"content": "a"}]}, {"documentation": [{"content": "b"}]}), False),
        (change("google_logging_metric", ["update"], {"filter": "severity>=ERROR"}, {"filter": "severity>ALERT"}), True),
        (change("google_logging_project_exclusion", ["create"], None, {"filter": "severity>=ERROR"}), True),
        (change("google_project_iam_policy", ["create"], None, {}), True),
        (change("google_bigquery_dataset_iam_binding", ["update"], {}, {}), True),
        (change("google_bigquery_job", ["create"], None, {}), True),
        (change("google_project_service", ["delete"], {"disable_on_destroy": False}), False),
        (change("google_project_service", ["delete"], {"disable_on_destroy": True}), True),
        (change("google_billing_budget", ["delete"], {}), False),
        (change("google_storage_bucket", ["forget"], {}), False),
        (change("google_compute_disk", ["create", "forget"], {}, {}), True),
        (change("terraform_data", ["forget"], {}), True),
        (change("google_compute_firewall", ["update"], {"deny": [{"protocol": "all"}]}, {"deny": [{"protocol": "udp"}]}), True),
        (change("google_compute_firewall", ["update"], {"source_tags": None}, {"source_tags": []}), False),
        (change(PROVIDER, ["update"], {"attribute_condition": "assertion.repository_id == '1'"}, {"attribute_condition": "true"}), True),
        # A value that is not known before the apply is none at all in `after`: that is not no limit and no rule.
        (updated({"versioning": [{"enabled": True}]}, {"versioning": [{}]}, {"versioning": [{"enabled": True}]}), True),
        (updated({"versioning": [{"enabled": True}]}, {}, {"versioning": True}), True),
        (updated({"force_destroy": False}, {}, {"force_destroy": True}), True),
        (updated({"default_partition_expiration_ms": None}, {}, {"default_partition_expiration_ms": True}), True),
        (updated({"schema": '[{"name": "id", "type": "INT64"}]'}, {}, {"schema": True}), True),
        (updated({"access": [{"role": "OWNER"}]}, {}, {"access": True}), True),
        (updated(bucket(), {}, {"lifecycle_rule": True}), True),
        (updated(bucket(), {"lifecycle_rule": []}, {"lifecycle_rule": [True]}), True),
        (updated(bucket({"age": 90}), bucket({"age": None}), {"lifecycle_rule": [{"condition": [{"age": True}]}]}), True),
        (updated(bucket({"age": 90}), bucket({"age": 90}), {"updated": True, "lifecycle_rule": [{}]}), False),
        (updated({"notification_channels": ["a"]}, {"notification_channels": [None]}, {"notification_channels": [True]}), False),
    ],
)  # fmt: skip
def test_a_change_that_loses_is_seen(
    guarded: Callable[..., Guarded], changed: dict[str, Any], *, lost: bool
) -> None:
    """By its rules, by its type, and where it is not known before the apply; what loses nothing passes."""
    done = guarded(plan_of(changed))
    assert (done.status, len(done.lines)) == ((1, 2) if lost else (0, 0)), done.lines


def test_an_accounts_grants_go_with_it(guarded: Callable[..., Guarded]) -> None:
    """An account that is deleted is one line, and so is what it is allowed by; the address as it is printed is enough."""
    changes = [
        change(kind, ["delete"], ACCOUNT) for kind in ("google_service_account", "google_project_iam_member")
    ]
    done = guarded(plan_of(*changes))
    assert done.lines[0] == 'plan_guard: google_service_account.it["…@…"]: would be deleted'
    assert (done.status, len(done.lines)) == (1, 2)
    for name in ("…@…", "data@example.com"):
        assert guarded(plan_of(*changes), "--allow", f'google_service_account.it["{name}"]') == (0, [])


@pytest.mark.parametrize(
    ("given", "environment", "goes"),
    [(False, "dev", True), ("false", "dev", True), ("0", "dev", True), (True, "dev", False), ("true", "dev", False), (None, "dev", False), (False, "prod", False)],
)  # fmt: skip
def test_protection_is_off_however_it_was_said(
    guarded: Callable[..., Guarded], given: object, environment: str, *, goes: bool
) -> None:
    """By a file it is a truth value; by -var, as README says, and by TF_VAR_…, terraform shows a text. In production it is never off."""
    gone = change("google_storage_bucket", ["delete"], {})
    done = guarded(plan_of(gone, deletion_protection=given, environment=environment))
    assert done.status == (0 if goes else 1)


@pytest.mark.parametrize(
    ("plan", "named"),
    [
        (plan_of(change("google_storage_bucket", ["shred"], {}, {})), "shred"),
        ({**plan_of(), "action_invocations": [{"address": "action.x", "type": "google_storage_purge"}]}, "google_storage_purge"),
        ({**plan_of(), "format_version": "2.0"}, "2.0"),
        ({**plan_of(), "errored": True}, "this plan failed"),
    ],
)  # fmt: skip
def test_what_is_not_known_of_a_plan_is_refused(
    guarded: Callable[..., Guarded], plan: dict[str, Any], named: str
) -> None:
    """A newer terraform's action or format may lose anything: it is named, and the plan is refused."""
    done = guarded(plan)
    assert (done.status, len(done.lines), named in done.lines[0]) == (2, 1, True)


def test_what_is_named_may_go(guarded: Callable[..., Guarded]) -> None:
    """--allow exempts one resource and no other; one that loses nothing is reported."""
    gone = [{**change("google_storage_bucket", ["delete"], {}), "address": name} for name in ("one", "two")]
    done = guarded(plan_of(*gone), "--allow", "one", "three")
    assert (done.status, done.lines[:-1]) == (
        1,
        ["plan_guard: --allow three: this plan loses nothing there", "plan_guard: two: would be deleted"],
    )


@pytest.mark.parametrize("text", ["", "{}", "[]", "Error: x", '{"format_version": "1.0"}'])
def test_the_guard_takes_no_other_input_for_a_plan(text: str) -> None:
    """Nothing to read is not nothing lost, nor is the state, which `terraform show -json` without a plan writes."""
    done = guard(text)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "terraform show -json" in done.stderr


def test_a_list_that_cannot_be_written_is_no_pass() -> None:
    """On a full disk a plan that loses nothing has not been shown: one line, and not status 0."""
    program = ROOT / "scripts" / "plan_guard.py"
    done = run("sh", "-c", f"'{program}' > /dev/full", stdin=json.dumps(plan_of()))
    assert (done.returncode, done.stderr) == (1, "plan_guard: [Errno 28] No space left on device\n")


def test_what_was_a_module_before_is_moved_not_made_anew(production: Applied) -> None:
    """A state in which the landing tables were a module's: the plan loses nothing, and the state has their addresses of today."""
    now = production.addresses()
    before = "module.landing_tables[0].google_bigquery_table.this"
    renamed = terraform(production.folder, "state", "mv", "google_bigquery_table.landing", before)
    assert renamed.returncode == 0, renamed.stderr
    assert production.addresses() != now
    guarded = production.guard(**PRODUCTION)
    assert guarded.returncode == 0, guarded.stderr
    assert production.terraform("apply", "the.tfplan").returncode == 0
    assert production.addresses() == now
