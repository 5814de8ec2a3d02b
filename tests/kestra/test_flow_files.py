"""The flows as files: Kestra's own strict validation takes them, and what they may not hold is not there."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from kestra_engine import FLOWS, LOCAL, PIPELINE, VARIANTS, Engine, flows
from testkit.project_files import ROOT


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_flow_is_valid_with_no_warning(kestra: Engine, variant: str) -> None:
    """Strict validation, as the API does it, finds neither error, warning nor deprecation; the references resolve."""
    for text in flows(f"rickandmorty.{variant}", variant):
        (found,) = kestra.ask("validate", flows={"flow.yml": text})
        assert not found.get("errors"), found
        assert not found.get("warnings"), found
        assert not found.get("deprecations"), found


@pytest.mark.parametrize(
    ("variant", "number", "right", "wrong", "error"),
    [
        ("enterprise", 0, "      region: ", "      machineTipe: x\n      region: ", "Unrecognized field"),
        ("enterprise", 0, "      region: ", "      reservation: ", "must not be null"),
        ("batch", 0, "    projectId: ", "    region: x\n    projectId: ", "Unrecognized field"),
        ("batch", 0, "    commands:\n      - ", "    outputFiles:\n      - ", "must not be null"),
        ("local", 2, "    timezone: ", "    jobz: x\n    timezone: ", "Unrecognized field"),
    ],
)
def test_validation_refuses_a_property_that_no_documentation_names(  # noqa: PLR0913, PLR0917 (a table)
    kestra: Engine, variant: str, number: int, right: str, wrong: str, error: str
) -> None:
    """A wrong or a missing property in the Enterprise runner, the gcloud task or the flow is refused: the checks above mean something."""
    text = flows(LOCAL, variant)[number].replace(right, wrong, 1)
    (found,) = kestra.ask("validate", flows={"flow.yml": text})
    assert error in (found.get("errors") or ""), found


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_task_is_retried_or_ended_by_the_engine(variant: str) -> None:
    """A kill while Kestra 2.0.0 waits for a retry never ends, and its time limit knows no attempts: both are our programs' business."""
    for text in flows(LOCAL, variant):
        for task in every_task(yaml.safe_load(text)):
            assert not {"retry", "timeout"} & set(task), task["id"]
        assert "serviceAccount:" not in text


def every_task(part: Any) -> Iterator[dict[str, Any]]:
    """Every task of a flow."""
    if isinstance(part, dict):
        if {"type", "id"} <= set(part):
            yield part
        part = list(part.values())
    if isinstance(part, list):
        for item in part:
            yield from every_task(item)


def test_the_schedule_arrives_switched_off_and_asks_for_the_usual_run() -> None:
    """The trigger is disabled in the file; Kestra's validation does not look at its inputs: they are those that the form has at first."""
    flow = yaml.safe_load((FLOWS / f"{PIPELINE}.yml").read_text())
    (trigger,) = flow["triggers"]
    assert trigger["disabled"] is True
    assert trigger["inputs"].items() <= {item["id"]: item.get("defaults") for item in flow["inputs"]}.items()


def test_the_form_names_dbts_own_tags() -> None:
    """Each tag that the form's help names is one of the dbt project, and none is left out."""
    inputs = yaml.safe_load((FLOWS / f"{PIPELINE}.yml").read_text())["inputs"]
    (pattern,) = [item for item in inputs if item["id"] == "dbt_select_pattern"]
    project = (ROOT / "transform" / "dbt_project.yml").read_text()
    tags = {tag for tags in re.findall(r"\+tags: \[(.*?)\]", project) for tag in tags.split(", ")}
    assert set(re.findall(r"`tag:(\w+)`", pattern["description"])) == tags


def test_tap_and_target_know_nothing_of_kestra() -> None:
    """Kestra gets rows and levels from the flows' own adapter: the packages do not mention Kestra."""
    sources = [
        path
        for part in ("tap-rickandmorty", "target-bigquery")
        for path in (ROOT / part / "src").rglob("*.py")
    ]
    assert sources
    assert not [path for path in sources if "kestra" in path.read_text(encoding="utf-8").lower()]
