"""The page of a whole run, built as Meltano builds it: it tells what the run has done."""

import re
from pathlib import Path

import yaml
from testkit.programs import succeed
from testkit.project_files import ROOT
from testkit.whole_pipeline import BuiltPipeline


def test_the_page_tells_the_counts_of_the_run(built_pipeline: BuiltPipeline, tmp_path: Path) -> None:
    """`meltano run report:build` writes the page, with the counts of the newest load, which the mart agrees with."""
    output = tmp_path / "page.html"
    runner = built_pipeline.project
    environment = runner.environment() | {"REPORT_OUTPUT": str(output)}
    succeed(runner.command, "run", "report:build", cwd=ROOT, env=environment)
    html = output.read_text(encoding="utf-8")
    assert "Verdict: " in html
    assert "Verdict: fail" not in html
    assert f"Data: <b>{runner.environment()['TARGET_BIGQUERY_SOURCE']}</b>" in html
    for entity in ("character", "episode", "location"):
        row = html[html.index(f'<th scope="row">{entity}s</th>') :]
        numbers = re.findall(r'<td class="number" data-heading="[^"]+">([\d,]+)</td>', row)
        count = f"SELECT COUNT(*) FROM `local_rickandmorty_marts.dim_{entity}s`"
        assert numbers[:3] == [f"{built_pipeline.sandbox.value(count):,}"] * 3


def test_the_exposure_names_each_mart_that_the_page_reads() -> None:
    """The lineage of the dbt docs ends at the page, with all that its queries read."""
    queries = (ROOT / "report" / "src" / "rickandmorty_report" / "queries").glob("*.sql")
    read = {mart for query in queries for mart in re.findall(r"\b(?:dim|fct|rpt)_\w+", query.read_text())}
    project = yaml.safe_load((ROOT / "transform" / "models" / "_project.yml").read_text())
    (exposure,) = [found for found in project["exposures"] if found["name"] == "report"]
    assert {re.sub(r"ref\('(\w+)'\)", r"\1", ref) for ref in exposure["depends_on"]} == read
