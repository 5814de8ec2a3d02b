#!/usr/bin/env python3
"""Reads a plan from standard input, lists what it does, and refuses what would lose data.

    terraform show -json prod.tfplan | scripts/plan_guard.py [--allow ADDRESS]…

Prints one line per change: action and address, no value, so that a public log may hold it; keys with an e-mail address
are masked. Ends with status 1 where the plan would, in a resource that `--allow` does not name,

- delete or replace what holds data or takes its name for good (DATA), or the network beneath it (NETWORK),
- drop a column of a BigQuery table, or change its type or mode in a way for which BigQuery replaces it,
- let data leave earlier: expiry of partitions, age of objects, days of soft delete,
- take protection away,

and with status 2 where the input is no plan. With `deletion_protection = false`, which production's variables refuse, deleting
is what was asked for. The format: https://developer.hashicorp.com/terraform/internals/json-format
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from typing import TYPE_CHECKING, Any

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
NETWORK = {
    "google_compute_network",
    "google_compute_router",
    "google_compute_router_nat",
    "google_compute_subnetwork",
}
SIGNS = {"create": "+", "delete": "-", "update": "~", "read": "<", "forget": "."}
# What BigQuery changes in place: https://cloud.google.com/bigquery/docs/managing-table-schemas
RELAXED = {("REQUIRED", "NULLABLE")}
SAME = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN", "STRUCT": "RECORD"}


def masked(address: str) -> str:
    """Return an address without the e-mail addresses in its keys."""
    return re.sub(r'\["[^"]*@[^"]*"\]', '["…@…"]', address)


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


def first(value: Any, *path: str) -> Any:  # noqa: ANN401 (whatever JSON holds)
    """Return the value at a path, through the first item of each list; None where there is none."""
    for name in path:
        value = value[0] if isinstance(value, list) and value else value
        value = value.get(name) if isinstance(value, dict) else None
    return value


def sooner(was: float | str | None, will: float | str | None) -> bool:
    """Return whether a limit is set where there was none, or is lower than before; 0 means no limit."""
    return bool(float(will or 0)) and (not float(was or 0) or float(will or 0) < float(was or 0))


def deletion_ages(bucket: dict[str, Any]) -> list[float]:
    """Return the ages, in days, at which rules of a bucket delete objects that are in use."""
    rules = [rule for rule in bucket.get("lifecycle_rule") or [] if first(rule, "action", "type") == "Delete"]
    conditions = [first(rule, "condition") for rule in rules]
    conditions = [condition[0] if isinstance(condition, list) else condition for condition in conditions]
    return [float(found["age"]) for found in conditions if found and found.get("age") is not None]


def time_losses(kind: str, before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """Yield what would leave earlier than it does."""
    if kind == "google_bigquery_table":
        was, will = (first(side, "time_partitioning", "expiration_ms") for side in (before, after))
        if sooner(was, will):
            yield f"rows would leave after {float(will) / 86400000:g} days"
    if kind == "google_bigquery_dataset":
        for name in ("default_partition_expiration_ms", "default_table_expiration_ms"):
            if sooner(before.get(name), after.get(name)):
                yield f"{name} would be {after[name]}"
    if kind == "google_storage_bucket":
        ages = [min(deletion_ages(side), default=0.0) for side in (before, after)]
        if sooner(*ages):
            yield f"objects would be deleted after {ages[1]:g} days"
        was, will = (
            first(side, "soft_delete_policy", "retention_duration_seconds") for side in (before, after)
        )
        if was is not None and will is not None and float(will) < float(was):
            yield f"deleted objects could be restored for {float(will) / 86400:g} days only"


def protection_losses(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """Yield the protections that would be switched off."""
    for name, on in (("deletion_protection", True), ("deletion_policy", "PREVENT"), ("force_destroy", False)):
        if before.get(name) == on and after.get(name) not in (on, None):
            yield f"{name} would be {str(after[name]).lower()}"


def losses(change: dict[str, Any], *, deleting: bool) -> Iterator[str]:
    """Yield, in words, what one resource's change loses."""
    kind, actions = change["type"], set(change["change"]["actions"])
    before, after = change["change"]["before"] or {}, change["change"]["after"] or {}
    if "delete" in actions:
        if kind in DATA | NETWORK and not deleting:
            what = "replaced" if "create" in actions else "deleted"
            yield f"would be {what}" + ("" if kind in NETWORK else ", with what it holds")
        return
    if "update" not in actions:
        return
    if kind == "google_bigquery_table":
        yield from schema_losses(before, after)
    yield from time_losses(kind, before, after)
    if not deleting:
        yield from protection_losses(before, after)


def planned(text: str) -> tuple[list[dict[str, Any]], bool]:
    """Return a plan's changes, and whether deleting is what it is for.

    Raises:
        ValueError: The text is no whole plan.
    """
    plan = json.loads(text)
    if not isinstance(plan, dict) or "format_version" not in plan or plan.get("errored"):
        raise ValueError
    variables = plan.get("variables", {})
    return plan.get("resource_changes", []), variables.get("deletion_protection", {}).get("value") is False


def main(arguments: list[str] | None = None) -> int:
    """Return the exit status."""
    parser = argparse.ArgumentParser(prog="plan_guard", description="Refuses a plan that would lose data.")
    parser.add_argument("--allow", action="append", default=[], metavar="ADDRESS", help="let this one be")
    allowed = set(parser.parse_args(arguments).allow)
    text = sys.stdin.read()
    try:
        changes, deleting = planned(text)
    except ValueError:
        print(
            f"plan_guard: expected a plan as `terraform show -json PLAN` writes it, got {text[:60]!r}",
            file=sys.stderr,
        )
        return 2
    changes = [change for change in changes if change["change"]["actions"] != ["no-op"]]
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
