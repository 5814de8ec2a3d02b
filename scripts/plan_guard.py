#!/usr/bin/env python3
"""Reads a plan from standard input, lists what it does, and refuses what would lose data.

    terraform show -json prod.tfplan | scripts/plan_guard.py [--allow ADDRESS …]

Prints one line per change: action and address, no value, so that a public log may hold it; keys with an e-mail address
are masked. Ends with status 1 where the plan would, in a resource that `--allow` does not name,

- delete or replace anything but what may go (`may_go`), or make what deletes by itself (ACTING),
- drop a column of a BigQuery table, or change its type or mode in a way for which BigQuery replaces it,
- let data leave earlier, or leave less time to restore it (TIMES, and the rules by which buckets and image repositories delete),
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
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import chain, zip_longest
from typing import Any

from command_line import end_with

# What holds nothing, and by which nothing is reached, watched or saved.
EMPTY = {"google_billing_budget", "google_monitoring_notification_channel"}
# Members of grants that are people: without theirs no program stops.
PEOPLE = ("domain:", "group:", "user:")
# Values that let in everybody, after the role in `READER:allUsers`.
EVERYBODY = {"0.0.0.0/0", "::/0", "allAuthenticatedUsers", "allUsers", "authenticatedRead", "publicRead", "publicReadWrite"}  # fmt: skip
# What deletes or replaces as soon as it is made: others' grants, objects, tables, log entries.
ACTING = re.compile(
    r"google_(\w+_iam_(binding|policy)|bigquery_(data_transfer_config|job)|bigtable_gc_policy|project_default_service_accounts|logging_\w+_exclusion|storage_(batch_operations_job|bucket_object|transfer_job))"
)
UNKNOWN = "(known after apply)"
SIGNS = {"create": "+", "delete": "-", "update": "~", "read": "<", "forget": "."}
# What BigQuery changes in place: https://cloud.google.com/bigquery/docs/managing-table-schemas
RELAXED = {("REQUIRED", "NULLABLE")}
SAME = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN", "STRUCT": "RECORD"}


# Lists of which no entry may go: grants, disks, what is logged, a table's families, a role's permissions, who reaches a bucket or a cluster.
ENTRIES = ("access", "attached_disk", "audit_log_config", "column_family", "ip_filter", "master_authorized_networks_config", "permissions")  # fmt: skip
# By a type's end, whether a project's, a folder's or an organization's: what says whom a federation trusts, what a firewall
# lets through, where a machine is reached, whether a role grants anything, and what is watched. Whether another value is
# worse is not known here.
FIXED = {
    "_alert_policy": ("alert_strategy", "combiner", "conditions"),
    "_compute_firewall": ("allow", "deny", "destination_ranges", "direction", "priority", "source_ranges", "source_tags", "target_service_accounts", "target_tags"),
    "_bigquery_row_access_policy": ("filter_predicate", "grantees"),
    "_compute_instance": ("network_interface", "service_account", "tags"),
    "_firestore_field": ("ttl_config",),
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


def columns(fields: list[dict[str, Any]], above: str = "") -> Iterator[tuple[str, str, str, list[Any]]]:
    """Yield path, type, mode and policies of each column, nested ones too; names have no case in BigQuery."""
    for field in fields:
        path = f"{above}{field['name'].lower()}"
        kind = field["type"].upper()
        policies = [*((field.get("policyTags") or {}).get("names") or []), *(field.get("dataPolicies") or [])]
        yield path, SAME.get(kind, kind), (field.get("mode") or "NULLABLE").upper(), policies
        yield from columns(field.get("fields") or [], f"{path}.")


def schema_losses(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """Yield what a change of a BigQuery table's schema loses."""
    was, will = before.get("schema"), after.get("schema")
    if not was:
        return
    if will == UNKNOWN:
        yield f"schema would be {UNKNOWN}"
        return
    now = {path: rest for path, *rest in columns(json.loads(will or "[]"))}
    for path, kind, mode, policies in columns(json.loads(was)):
        if path not in now:
            yield f"column {path} would be dropped with its data"
            continue
        new_kind, new_mode, new_policies = now[path]
        if any(policy not in new_policies for policy in policies):
            yield f"column {path} would lose a policy by which it is read"
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
    if re.match(r"\d{4}-\d\d-\d\dT", text):
        return datetime.fromisoformat(text).timestamp()
    return sum(float(count) * SECONDS[unit] for count, unit in re.findall(r"(\d+(?:\.\d+)?)([smhd]?)", text))


def is_on(value: object) -> bool:
    """Return whether a switch that protects is on, whatever its type calls that."""
    return value in (True, "DELETE_PROTECTION_ENABLED", "ENABLED", "ENCRYPTED", "KEEP_AUTO_SNAPSHOTS", "NEVER", "POINT_IN_TIME_RECOVERY_ENABLED", "PREVENT", "PROTECTED", "enforced")  # fmt: skip


def time_to_leave(value: float | str | None) -> float:
    """Return a time after which data leaves: never, without one."""
    return 0 if value == UNKNOWN else number(value) or math.inf


# By an attribute's path, at any depth and of any type: by what it is safe, of which a change may leave no less.
PROTECTIONS: dict[Callable[[Any], float], str] = {
    is_on: r"""
        \w*(delet|drop)\w*_protection\w* deletion_policy delete_rule on_source_disk_delete create_snapshot_before_destroy
        (is_)?locked \w*_hold \w*immutable\w* cleanup_policy_dry_run retain_backups_on_delete enable_object_retention
        \w*(backups?|binary_log|recovery|replication)_enable(d|ment) \w*(backup|encryption|log|snapshot|versioning)\w*\.(enabled|state)
        google_\w+\.(enabled|state) uniform_bucket_level_access public_access_prevention private_ip_google_access
        enable_private_(endpoint|nodes) private_endpoint_enforcement_enabled disable_public_ip\w* require_(ssl|tls) auth_enabled
        iap\.enabled enforced?""",
    lambda value: not value: r"""
        force_(delete|destroy) hard_delete auto_delete (delete|disable|remove)_(\w+_)?on_destroy ignore_\w+_on_deletion
        skip_grace_period google_\w+\.disabled disable_resource_versioning invoker_iam_disabled ipv4_enabled allow_external_traffic
        (allow|enable)_public_(access|ips?) public_(endpoint|ip)_enabled gcp_public_cidrs_access_enabled""",
    bool: r"\w*(kms|encryption)_key(_names?|_self_link)? log_bucket notification_channels rotation_period security_policy",
}
TIMES: dict[Callable[[Any], float], str] = {
    number: r"""
        \w*(retain|retention|recovery_window|time_travel)\w* \w*destroy_(ttl|scheduled_duration) snapshots_to_keep \w+_backup_limit
        deletion_delay_hours backup_delete_lock_days""",
    time_to_leave: r"""
        \w*expiration_ms google_bigquery_table\.expiration_time google_secret_manager_\w+\.(ttl|expire_time) expiration_policy\.ttl
        (auto|idle)_delete_(ttl|time) default_consent_ttl""",
}


def pairs(was: Any, will: Any, path: str) -> Iterator[tuple[str, Any, Any]]:  # noqa: ANN401 (whatever JSON holds)
    """Yield the path, today's and the planned value of each attribute; of two lists of blocks, block by block where they differ."""
    sides = (was, will)
    if names := [name for side in sides if isinstance(side, dict) for name in side]:
        for name in dict.fromkeys(names):
            one, other = (side.get(name) if isinstance(side, dict) else side for side in sides)
            yield from pairs(one, other, f"{path}.{name}")
    elif any(isinstance(item, dict) for side in sides if isinstance(side, list) for item in side):
        old, new = (side if isinstance(side, list) else [side] for side in sides)
        for one, other in zip_longest([i for i in old if i not in new], [i for i in new if i not in old]):
            yield from pairs(one, other, path)
    else:
        yield path, was, will


def rules(resource: dict[str, Any], action: str) -> list[dict[str, Any]]:
    """Return the conditions of each rule by which a bucket or an image repository deletes or keeps.

    A condition that says nothing is left out, and so is one that is not known yet: without it a rule takes more.
    """
    found = []
    for name in ("lifecycle_rule", "cleanup_policies"):
        for rule in resource.get(name) or []:
            if str(at(rule, "action.type") or at(rule, "action")).upper() in {action, UNKNOWN.upper()}:
                parts = (at(rule, "condition"), at(rule, "most_recent_versions"))
                said = [item for part in parts if isinstance(part, dict) for item in part.items()]
                given = {k: v for k, v in said if v not in ("ANY", UNKNOWN) and not k.startswith("send_")}
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


def safety_losses(
    kind: str, before: dict[str, Any], after: dict[str, Any], *, deleting: bool
) -> Iterator[str]:
    """Yield what would be less safe: protections, times, and what is let in by another rule than today's."""
    attributes = [*pairs(before, after, kind)]
    for safety, names in (TIMES if deleting else PROTECTIONS | TIMES).items():
        ends = re.compile(rf"\b({'|'.join(names.split())})$")
        for path, was, will in attributes:
            if ends.search(path) and safety(will) < safety(was):
                today = f", today {json.dumps(was)}" if safety in TIMES else ""
                yield f"{path.partition('.')[2]} would be {json.dumps(will)}{today}"
    if deleting:
        return
    known = before.get("ddl") or []
    if any(re.search(r"(?i)\bDROP\b", line) for line in after.get("ddl") or [] if line not in known):
        yield "ddl would drop what is there"
    for name in ENTRIES:
        was, will = (before.get(name) or [], after.get(name) or [])
        unknown = will == UNKNOWN
        if gone := [entry for entry in was if unknown or entry not in will]:
            loss = f"be {UNKNOWN}" if unknown else f"lose {len(gone)} of its {len(was)} entries"
            yield f"{name} would {loss}"
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
        return set().union(*(everybody(v, grant) for k, v in value.items() if not k.startswith("dest")))
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
        yield from rule_losses(before, after)
        yield from safety_losses(kind, before, after, deleting=deleting)


def planned(text: str) -> tuple[list[dict[str, Any]], bool]:
    """Return a plan's changes, and whether deleting is what it is for.

    Raises:
        ValueError: The text is no whole plan, or has a format or actions that are not known here.
    """
    try:
        plan = json.loads(text)
    except ValueError:
        plan = None
    if not isinstance(plan, dict) or not plan.keys() >= {"format_version", "planned_values"}:
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
    found = [(c["address"], loss) for c in changes for loss in losses(c, gone, deleting=deleting)]
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
