#!/usr/bin/env python3
"""Reads a plan from standard input, lists what it does, and refuses what would lose data.

    terraform show -json prod.tfplan | scripts/plan_guard.py [--allow ADDRESS …]

Prints one line per change: action and address, no value, so that a public log may hold it; keys with an e-mail address
are masked. Ends with status 1 where the plan would, in a resource that `--allow` does not name,

- delete or replace anything but what may go (`may_go`), or make what deletes by itself (ACTING),
- drop a column of a BigQuery table, or change its type or mode in a way for which BigQuery replaces it,
- let data leave earlier, or leave less time to restore it (LIMITS, and the rules by which buckets and image repositories delete),
- take protection away (PROTECTIONS), or what is granted, logged or attached (ENTRIES), or change whom it lets in or what is
  watched (FIXED),
- open something to everybody,
- give one of these a value that is not known before the apply,

and with status 2 where the input is no plan. With `deletion_protection = false`, which production's variables refuse, deleting
is what was asked for, outside production. The format: https://developer.hashicorp.com/terraform/internals/json-format
"""

import argparse
import json
import math
import re
import sys
from collections.abc import Iterator
from datetime import datetime
from itertools import chain, zip_longest
from typing import Any, NamedTuple

from command_line import end_with

# What holds nothing, and by which nothing is reached, watched or saved.
EMPTY = {"google_billing_budget", "google_monitoring_notification_channel"}
# Members of grants that are people: without theirs no program stops.
PEOPLE = ("domain:", "group:", "user:")
# Values that let in everybody, after the role in `READER:allUsers`.
EVERYBODY = {"0.0.0.0/0", "::/0", "allAuthenticatedUsers", "allUsers", "authenticatedRead", "publicRead", "publicReadWrite"}  # fmt: skip
# What deletes or replaces as soon as it is made: others' grants, objects, tables, log entries.
ACTING = re.compile(
    r"google_(\w+_iam_(binding|policy)|bigquery_(data_transfer_config|job)|logging_\w+_exclusion|storage_(batch_operations_job|bucket_object|transfer_job))"
)
UNKNOWN = "(known after apply)"
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
    Limit("ttl", 86_400, "the secret would leave after {:g} days"),
    Limit("expire_time", 86_400, "the secret would leave {:g} days after 1970"),
    Limit("max_time_travel_hours", 24, "rows could be restored for {:g} days only", restores=True),
    Limit("soft_delete_policy.retention_duration_seconds", 86_400, "deleted objects could be restored for {:g} days only", restores=True),
    Limit("retention_policy.retention_period", 86_400, "objects could be deleted after {:g} days", restores=True),
    Limit("snapshot_schedule_policy.retention_policy.max_retention_days", 1, "snapshots would be kept for {:g} days only", restores=True),
    Limit("version_destroy_ttl", 86_400, "destroyed versions could be restored for {:g} days only", restores=True),
)  # fmt: skip
# Attributes that protect, with the value that does; None stands for any.
PROTECTIONS = {
    "cleanup_policy_dry_run": True,
    "default_encryption_configuration.kms_key_name": None,
    "default_event_based_hold": True,
    "delete_contents_on_destroy": False,
    "deletion_policy": "PREVENT",
    "deletion_protection": True,
    "disable_on_destroy": False,
    "disabled": False,
    "docker_config.immutable_tags": True,
    "enabled": True,
    "encryption.default_kms_key_name": None,
    "force_destroy": False,
    "notification_channels": None,
    "private_ip_google_access": True,
    "public_access_prevention": "enforced",
    "rotation_period": None,
    "snapshot_schedule_policy.retention_policy.on_source_disk_delete": "KEEP_AUTO_SNAPSHOTS",
    "state": "ENABLED",
    "uniform_bucket_level_access": True,
    "versioning.enabled": True,
}
# Lists of which no entry may go: a dataset's grants, what is logged, a machine's disks, a role's permissions.
ENTRIES = ("access", "attached_disk", "audit_log_config", "permissions")
# By a type's end, whether a project's, a folder's or an organization's: what says whom a federation trusts, what a firewall
# lets through, where a machine is reached, whether a role grants anything, and what is watched. Whether another value is
# worse is not known here.
FIXED = {
    "_alert_policy": ("alert_strategy", "combiner", "conditions"),
    "_compute_firewall": ("allow", "deny", "destination_ranges", "direction", "priority", "source_ranges", "source_tags", "target_service_accounts", "target_tags"),
    "_compute_instance": ("network_interface", "service_account", "tags"),
    "_firewall_policy_rule": ("action", "direction", "match", "priority", "target_service_accounts"),
    "_iam_custom_role": ("stage",),
    "_logging_metric": ("disabled", "filter"),
    "_sink": ("destination", "exclusions", "filter"),
    "_workload_identity_pool_provider": ("attribute_condition", "attribute_mapping", "oidc"),
}  # fmt: skip
SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
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
    if will == UNKNOWN:
        yield f"schema would be {UNKNOWN}"
        return
    now = {path: (kind, mode) for path, kind, mode in columns(json.loads(will or "[]"))}
    for path, kind, mode in columns(json.loads(was)):
        if path not in now:
            yield f"column {path} would be dropped with its data"
            continue
        new_kind, new_mode = now[path]
        if new_kind != kind:
            yield f"column {path} would change from {kind} to {new_kind}"
        elif new_mode != mode and (mode, new_mode) not in RELAXED:
            yield f"column {path} would change from {mode} to {new_mode}"


def with_unknown(after: Any, unknown: Any) -> Any:  # noqa: ANN401 (whatever JSON holds)
    """Return what is planned, with UNKNOWN in the places that `after_unknown` has."""
    if unknown is True:
        return UNKNOWN
    if isinstance(unknown, dict) and unknown:
        after = after or {}
        return {name: with_unknown(after.get(name), unknown.get(name)) for name in {*after, *unknown}}
    if isinstance(unknown, list) and unknown:
        return [with_unknown(*pair) for pair in zip_longest(after or [], unknown)]
    return after


def at(value: Any, path: str) -> Any:  # noqa: ANN401 (whatever JSON holds)
    """Return the value at a path, through the first item of each list; None where there is none."""
    for name in path.split("."):
        if value == UNKNOWN:
            return value
        value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, list):
            value = value[0] if value else None
    return value


def number(value: float | str | None) -> float:
    """Return a number, the seconds of a duration such as `86400s` or `30d`, or of a time since 1970; 0 for none."""
    text = str(value or 0)
    if "T" in text:
        return datetime.fromisoformat(text).timestamp()
    return sum(float(count) * SECONDS[unit] for count, unit in re.findall(r"(\d+(?:\.\d+)?)([smhd]?)", text))


def time_losses(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """Yield what would leave earlier than it does, or could be restored for less time."""
    for limit in LIMITS:
        today, planned_for = at(before, limit.path), at(after, limit.path)
        if planned_for == UNKNOWN:
            yield f"{limit.path} would be {UNKNOWN}"
        if planned_for in (today, UNKNOWN):
            continue
        was, will = number(today), number(planned_for)
        if not limit.restores:
            # No limit, or 0: it stays.
            was, will = was or math.inf, will or math.inf
        if will < was:
            yield limit.loss.format(will / limit.day)


def rules(resource: dict[str, Any], action: str) -> list[dict[str, Any]]:
    """Return the conditions of each rule by which a bucket or an image repository deletes or keeps.

    A condition that says nothing is left out, and so is one that is not known yet: without it a rule takes more.
    """
    found = []
    for name in ("lifecycle_rule", "cleanup_policies"):
        for rule in resource.get(name) or []:
            if str(at(rule, "action.type") or at(rule, "action")).upper() in {action, UNKNOWN.upper()}:
                parts = (at(rule, "condition"), at(rule, "most_recent_versions"))
                conditions = [item for part in parts if isinstance(part, dict) for item in part.items()]
                given = {
                    k: v for k, v in conditions if v not in ("ANY", UNKNOWN) and not k.startswith("send_")
                }
                found.append({k: number(v) if k in COUNTS else v for k, v in given.items() if v})
    return found


def deletes_all_of(rule: dict[str, Any], other: dict[str, Any]) -> bool:
    """Return whether a rule deletes whatever another one does, and no later."""
    return all(
        name in other and (value <= other[name] if name in COUNTS else value == other[name])
        for name, value in rule.items()
    )


def rule_losses(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """Yield what rules would delete that stays today."""
    for name in ("lifecycle_rule", "cleanup_policies"):
        if after.get(name) == UNKNOWN:
            yield f"{name} would be {UNKNOWN}"
            return
    known, versioned = rules(before, "DELETE"), at(before, "versioning.enabled")
    for rule in rules(after, "DELETE"):
        of_old_versions = rule.get("with_state") == "ARCHIVED" or rule.keys() & OF_OLD_VERSIONS
        if any(deletes_all_of(one, rule) for one in known) or (of_old_versions and not versioned):
            continue
        if "age" in rule:
            yield f"objects would be deleted after {rule['age']:g} days"
        else:
            yield f"a rule would delete what stays today, by {', '.join(sorted(rule)) or 'no condition'}"
    keeping = rules(after, "KEEP")
    for rule in rules(before, "KEEP"):
        alike = [one for one in keeping if {**one, "keep_count": 0} == {**rule, "keep_count": 0}]
        was, will = rule.get("keep_count"), max((one.get("keep_count", 0) for one in alike), default=0)
        if was and will < was:
            yield f"the newest {will:g} images would be kept, not {was:g}"
        elif not alike:
            yield f"a rule would no longer keep what it keeps today, by {', '.join(sorted(rule))}"


def protection_losses(kind: str, before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """Yield the protections that would be switched off, and what is let in by another rule than today's."""
    for path, on in PROTECTIONS.items():
        was, will = (at(side, path) or False for side in (before, after))
        if (was and not will) if on is None else (was == on != will):
            yield f"{path} would be {json.dumps(at(after, path))}"
    for name in ENTRIES:
        was, will = (before.get(name) or [], after.get(name) or [])
        if gone := [entry for entry in was if entry not in will]:
            yield f"{name} would lose {len(gone)} of its {len(was)} entries"
    for name in chain.from_iterable(names for end, names in FIXED.items() if kind.endswith(end)):
        if (before.get(name) or None) != (after.get(name) or None):
            yield f"{name} would be another"


def everybody(value: Any, within: str = "") -> set[tuple[str, str]]:  # noqa: ANN401 (whatever JSON holds)
    """Return what of a resource lets in everybody, each with the grant that it is in: of another role it is another.

    A rule that denies lets in nobody, and a destination is no door.
    """
    if isinstance(value, dict):
        if value.get("deny") or value.get("action") == "deny":
            return set()
        grant = json.dumps(value, sort_keys=True)
        return set().union(
            *(everybody(item, grant) for name, item in value.items() if not name.startswith("dest"))
        )
    if isinstance(value, list):
        return set().union(*map(everybody, value))
    text = str(value)
    return {(name, within or text) for name in {text, text.rpartition(":")[2]} & EVERYBODY}


def may_go(kind: str, before: dict[str, Any], gone: set[str]) -> bool:
    """Return whether a resource may be deleted: it holds no data, and no program stops without it.

    Args:
        kind: The resource's type.
        before: Its attributes.
        gone: The accounts that the same plan deletes, as members of grants: theirs go with them.
    """
    if kind.endswith("_iam_member"):
        member = str(before.get("member"))
        return member.startswith(PEOPLE) or member in gone
    return kind in EMPTY or (kind == "google_project_service" and before.get("disable_on_destroy") is False)


def losses(change: dict[str, Any], gone: set[str], *, deleting: bool) -> Iterator[str]:
    """Yield, in words, what one resource's change loses."""
    kind, actions = change["type"], set(change["change"]["actions"])
    before = change["change"]["before"] or {}
    after = with_unknown(change["change"]["after"], change["change"].get("after_unknown")) or {}
    if actions & {"create", "update"} and (opened := everybody(after) - everybody(before)):
        yield f"would be open to {', '.join(sorted({name for name, _ in opened}))}"
    # What is forgotten stays, but nothing uses it where another takes its place; and a protection that is forgotten is gone.
    if "delete" in actions or ("forget" in actions and ("create" in actions or kind == "terraform_data")):
        if not deleting and not may_go(kind, before, gone):
            yield f"would be {'replaced' if 'create' in actions else 'deleted'}"
    elif actions & {"create", "update"} and ACTING.fullmatch(kind):
        yield "would take away or replace what it does not name"
    elif "update" in actions:
        if kind == "google_bigquery_table":
            yield from schema_losses(before, after)
        yield from time_losses(before, after)
        yield from rule_losses(before, after)
        if not deleting:
            yield from protection_losses(kind, before, after)


def planned(text: str) -> tuple[list[dict[str, Any]], bool]:
    """Return a plan's changes, and whether deleting is what it is for.

    Raises:
        ValueError: The text is no whole plan, or has a format or actions that are not known here.
    """
    try:
        plan = json.loads(text)
    except ValueError:
        plan = None
    if not isinstance(plan, dict) or "format_version" not in plan:
        raise ValueError(f"expected a plan as `terraform show -json PLAN` writes it, got {text[:60]!r}")
    if not str(plan["format_version"]).startswith("1."):
        raise ValueError(f"the plan has format {plan['format_version']}: only 1 is known here")
    if plan.get("errored"):
        raise ValueError("this plan failed: correct what terraform says, and plan again")
    changes = [c for c in plan.get("resource_changes") or [] if c["change"]["actions"] != ["no-op"]]
    actions = {action for change in changes for action in change["change"]["actions"]}
    actions |= {f"{invoked.get('type')} of a provider" for invoked in plan.get("action_invocations") or []}
    if unknown := sorted(actions - SIGNS.keys()):
        raise ValueError(f"the plan has the action {', '.join(unknown)}: what it loses is not known here")
    given = {name: variable.get("value") for name, variable in (plan.get("variables") or {}).items()}
    # As it was given: a text where it came from -var or TF_VAR_….
    unprotected = str(given.get("deletion_protection")) in {"False", "false", "0"}
    return changes, unprotected and given.get("environment") != "prod"


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
    gone = {
        change["change"]["before"].get("member")
        for change in changes
        if change["type"] == "google_service_account" and change["change"]["actions"] == ["delete"]
    }
    found = [
        (change["address"], loss) for change in changes for loss in losses(change, gone, deleting=deleting)
    ]
    # As it is, or as it is printed.
    named = {name for address, _ in found for name in (address, masked(address))}
    for address in sorted(allowed - named):
        print(f"plan_guard: --allow {address}: this plan loses nothing there", file=sys.stderr)
    refused = [(address, loss) for address, loss in found if not {address, masked(address)} & allowed]
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
    end_with(main)
