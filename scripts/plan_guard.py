#!/usr/bin/env python3
"""Reads a plan from standard input, lists what it does, and refuses what would lose data.

    terraform show -json prod.tfplan | scripts/plan_guard.py [--allow ADDRESS …]

Prints one line per change: action and address, no value, so that a public log may hold it; keys with an e-mail address
are masked. Ends with status 1 where the plan would, in a resource that `--allow` does not name,

- delete or replace what holds data or takes its name for good (DATA), or what it is reached, watched and saved by (AROUND),
- drop a column of a BigQuery table, or change its type or mode in a way for which BigQuery replaces it,
- let data leave earlier, or leave less time to restore it (LIMITS, and the rules by which buckets and image repositories delete),
- take protection away (PROTECTIONS),

and with status 2 where the input is no plan. With `deletion_protection = false`, which production's variables refuse, deleting
is what was asked for. The format: https://developer.hashicorp.com/terraform/internals/json-format
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = {
    "google_artifact_registry_repository",
    "google_bigquery_dataset",
    "google_bigquery_table",
    "google_compute_disk",
    "google_compute_instance",
    "google_iam_workload_identity_pool",
    "google_iam_workload_identity_pool_provider",
    "google_kms_crypto_key",
    "google_kms_key_ring",
    "google_secret_manager_secret",
    "google_storage_bucket",
    "terraform_data",
}
AROUND = {
    "google_compute_disk_resource_policy_attachment",
    "google_compute_firewall",
    "google_compute_network",
    "google_compute_resource_policy",
    "google_compute_router",
    "google_compute_router_nat",
    "google_compute_subnetwork",
    "google_monitoring_alert_policy",
    "google_project_iam_audit_config",
}
SIGNS = {"create": "+", "delete": "-", "update": "~", "read": "<", "forget": "."}
# What BigQuery changes in place: https://cloud.google.com/bigquery/docs/managing-table-schemas
RELAXED = {("REQUIRED", "NULLABLE")}
SAME = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN", "STRUCT": "RECORD"}


class Limit(NamedTuple):
    """A time after which data leaves or, with `restores`, for which it can be restored; `day` is a day in its unit."""

    path: str
    day: float
    loss: str
    restores: bool = False


LIMITS = (
    Limit("time_partitioning.expiration_ms", 86_400_000, "rows would leave after {:g} days"),
    Limit("default_partition_expiration_ms", 86_400_000, "rows of new tables would leave after {:g} days"),
    Limit("default_table_expiration_ms", 86_400_000, "new tables would leave after {:g} days"),
    Limit("expiration_time", 86_400_000, "the table would leave {:g} days after 1970"),
    Limit("max_time_travel_hours", 24, "rows could be restored for {:g} days only", restores=True),
    Limit(
        "soft_delete_policy.retention_duration_seconds",
        86_400,
        "deleted objects could be restored for {:g} days only",
        restores=True,
    ),
    Limit(
        "version_destroy_ttl",
        86_400,
        "destroyed versions could be restored for {:g} days only",
        restores=True,
    ),
)
# Attributes that protect, with the value that does; None stands for any.
PROTECTIONS = {
    "attribute_condition": None,
    "cleanup_policy_dry_run": True,
    "delete_contents_on_destroy": False,
    "deletion_policy": "PREVENT",
    "deletion_protection": True,
    "disabled": False,
    "docker_config.immutable_tags": True,
    "enabled": True,
    "force_destroy": False,
    "public_access_prevention": "enforced",
    "rotation_period": None,
    "uniform_bucket_level_access": True,
    "versioning.enabled": True,
}
# Conditions of a rule that deletes: the lower, the more it deletes.
COUNTS = {"age", "days_since_custom_time", "days_since_noncurrent_time", "num_newer_versions", "older_than"}
OF_OLD_VERSIONS = {"days_since_noncurrent_time", "noncurrent_time_before", "num_newer_versions"}


def masked(address: str) -> str:
    """Return an address without the e-mail addresses in its keys."""
    return re.sub(r'\["(?:[^"\\]|\\.)*@(?:[^"\\]|\\.)*"\]', '["…@…"]', address)


def columns(fields: list[dict[str, Any]], above: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield path, type and mode of each column, nested ones too; names have no case in BigQuery."""
    for field in fields:
        path = f"{above}{field['name'].lower()}"
        kind = field["type"].upper()
        yield path, SAME.get(kind, kind), (field.get("mode") or "NULLABLE").upper()
        yield from columns(field.get("fields") or [], f"{path}.")


def schema_losses(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """Yield what a change of a BigQuery table's schema loses."""
    was, will = before.get("schema"), after.get("schema")
    if not was:
        return
    if will is None:
        yield "its schema is not known before the apply"
        return
    now = {path: (kind, mode) for path, kind, mode in columns(json.loads(will))}
    for path, kind, mode in columns(json.loads(was)):
        if path not in now:
            yield f"column {path} would be dropped with its data"
            continue
        new_kind, new_mode = now[path]
        if new_kind != kind:
            yield f"column {path} would change from {kind} to {new_kind}"
        elif new_mode != mode and (mode, new_mode) not in RELAXED:
            yield f"column {path} would change from {mode} to {new_mode}"


def at(value: Any, path: str) -> Any:  # noqa: ANN401 (whatever JSON holds)
    """Return the value at a path, through the first item of each list; None where there is none."""
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, list):
            value = value[0] if value else None
    return value


def number(value: float | str | None) -> float:
    """Return a number, or the seconds of a duration such as `86400s`; 0 for none."""
    return float(str(value or 0).removesuffix("s"))


def time_losses(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """Yield what would leave earlier than it does, or could be restored for less time."""
    for limit in LIMITS:
        was, will = (number(at(side, limit.path)) for side in (before, after))
        if not limit.restores:
            # No limit, or 0: it stays.
            was, will = was or math.inf, will or math.inf
        if will < was:
            yield limit.loss.format(will / limit.day)


def deletions(resource: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the conditions of each rule by which a bucket or an image repository deletes; those that say nothing are left out."""
    found = []
    for rule in [*(resource.get("lifecycle_rule") or []), *(resource.get("cleanup_policies") or [])]:
        if str(at(rule, "action.type") or at(rule, "action")).upper() == "DELETE":
            conditions = (at(rule, "condition") or {}).items()
            given = {name: value for name, value in conditions if value and not name.startswith("send_")}
            found.append({k: number(v) if k in COUNTS else v for k, v in given.items() if v != "ANY"})
    return found


def deletes_all_of(rule: dict[str, Any], other: dict[str, Any]) -> bool:
    """Return whether a rule deletes whatever another one does, and no later."""
    return all(
        name in other and (value <= other[name] if name in COUNTS else value == other[name])
        for name, value in rule.items()
    )


def rule_losses(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """Yield what rules would delete that stays today."""
    known, versioned = deletions(before), at(before, "versioning.enabled")
    for rule in deletions(after):
        of_old_versions = rule.get("with_state") == "ARCHIVED" or rule.keys() & OF_OLD_VERSIONS
        if any(deletes_all_of(one, rule) for one in known) or (of_old_versions and not versioned):
            continue
        if "age" in rule:
            yield f"objects would be deleted after {rule['age']:g} days"
        else:
            yield f"a rule would delete what stays today, by {', '.join(sorted(rule)) or 'no condition'}"
    was, will = (
        max((number(at(p, "most_recent_versions.keep_count")) for p in policies), default=0)
        for policies in (side.get("cleanup_policies") or [] for side in (before, after))
    )
    if will < was:
        yield f"the newest {will:g} images would be kept, not {was:g}"


def protection_losses(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """Yield the protections that would be switched off."""
    for path, on in PROTECTIONS.items():
        was, will = (at(side, path) or False for side in (before, after))
        if (was and not will) if on is None else (was == on != will):
            yield f"{path} would be {json.dumps(at(after, path))}"


def losses(change: dict[str, Any], *, deleting: bool) -> Iterator[str]:
    """Yield, in words, what one resource's change loses."""
    kind, actions = change["type"], set(change["change"]["actions"])
    before, after = change["change"]["before"] or {}, change["change"]["after"] or {}
    if "delete" in actions:
        if kind in DATA | AROUND and not deleting:
            what = "replaced" if "create" in actions else "deleted"
            yield f"would be {what}" + ("" if kind in AROUND else ", with what it holds")
        return
    if "update" not in actions:
        return
    if kind == "google_bigquery_table":
        yield from schema_losses(before, after)
    yield from time_losses(before, after)
    yield from rule_losses(before, after)
    if not deleting:
        yield from protection_losses(before, after)


def planned(text: str) -> tuple[list[dict[str, Any]], bool]:
    """Return a plan's changes, and whether deleting is what it is for.

    Raises:
        ValueError: The text is no whole plan, or has actions that are not known here.
    """
    try:
        plan = json.loads(text)
    except ValueError:
        plan = None
    if not isinstance(plan, dict) or "format_version" not in plan:
        raise ValueError(f"expected a plan as `terraform show -json PLAN` writes it, got {text[:60]!r}")
    if plan.get("errored"):
        raise ValueError("this plan failed: correct what terraform says, and plan again")
    changes = [c for c in plan.get("resource_changes", []) if c["change"]["actions"] != ["no-op"]]
    actions = {action for change in changes for action in change["change"]["actions"]}
    if unknown := sorted(actions - SIGNS.keys()):
        raise ValueError(f"the plan has the action {', '.join(unknown)}: what it loses is not known here")
    # As it was given: a text where it came from -var or TF_VAR_….
    given = plan.get("variables", {}).get("deletion_protection", {}).get("value")
    return changes, str(given) in {"False", "false", "0"}


def main(arguments: list[str] | None = None) -> int:
    """Return the exit status."""
    parser = argparse.ArgumentParser(prog="plan_guard", description="Refuses a plan that would lose data.")
    parser.add_argument("--allow", nargs="*", default=[], metavar="ADDRESS", help="let these be")
    allowed = set(parser.parse_args(arguments).allow)
    try:
        changes, deleting = planned(sys.stdin.buffer.read().decode(errors="replace"))
    except ValueError as error:
        print(f"plan_guard: {error}", file=sys.stderr)
        return 2
    for change in changes:
        signs = "/".join(SIGNS[action] for action in change["change"]["actions"])
        print(f"{signs:3} {masked(change['address'])}")
    found = [(change["address"], loss) for change in changes for loss in losses(change, deleting=deleting)]
    named = {address for address, _ in found}
    for address in sorted(allowed - named):
        print(f"plan_guard: --allow {address}: this plan loses nothing there", file=sys.stderr)
    refused = [(address, loss) for address, loss in found if address not in allowed]
    for address, loss in refused:
        print(f"plan_guard: {masked(address)}: {loss}", file=sys.stderr)
    if refused:
        print(
            f"plan_guard: refused: {len(refused)} losses. Is this the newest commit? Then keep what is above, or say "
            "--allow ADDRESS (make plan ALLOW='ADDRESS …') for what may go",
            file=sys.stderr,
        )
        return 1
    print(f"{len(changes)} changes; nothing is lost")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
