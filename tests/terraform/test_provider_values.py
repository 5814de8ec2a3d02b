"""Each value of the configuration and of its tests' mocks is one that the real provider and its services take."""

import fnmatch
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from terraform_runs import TERRAFORM

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
