"""One whole run on the project's own answers: landed, decided, in the marts."""

import yaml
from testkit.project_files import ROOT
from testkit.whole_pipeline import RESOURCES, BuiltPipeline

ENTITIES = {e["name"]: e for e in yaml.safe_load((ROOT / "entities.yml").read_text())["entities"]}


def test_every_record_of_the_answers_is_in_its_mart(built_pipeline: BuiltPipeline) -> None:
    """Each entity's mart has one row per record that was kept, and nothing failed."""
    assert ENTITIES
    ask = built_pipeline.sandbox.ask
    for name, resource in RESOURCES.items():
        with (ROOT / "answers" / f"{resource}.jsonl").open(encoding="utf-8") as lines:
            count = sum(not line.isspace() for line in lines)
        assert ask(f"SELECT COUNT(*) FROM local_rickandmorty_marts.dim_{name}") == [(count,)], name
    failed = ask("SELECT message FROM local_rickandmorty_marts.rpt_verdict WHERE status = 'fail'")
    assert failed == []
