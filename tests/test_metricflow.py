"""The metrics as MetricFlow, dbt's own engine for them, asks for them: `make test-metricflow` installs it."""

import csv
import shutil
from pathlib import Path

from testkit.programs import succeed
from testkit.project_files import ROOT
from testkit.required_tools import missing
from testkit.whole_pipeline import BuiltPipeline

FIGURES = ("episode_count", "appearance_count", "first_appearance_count", "characters_per_episode")


def test_metricflow_gives_the_reports_figures(built_pipeline: BuiltPipeline, tmp_path: Path) -> None:
    """Each dimension and metric can be asked for, and a season's figures, over three marts, are rpt_season_summary's."""
    programs = ROOT / ".venvs" / "metricflow" / "bin"
    if not (programs / "mf").is_file():
        missing("metricflow", "`make test-metricflow` installs it")
    folder = tmp_path / "transform"
    shutil.copytree(ROOT / "transform", folder, ignore=shutil.ignore_patterns("target", "logs"))
    own = {"DBT_PROFILES_DIR": str(folder), "DBT_TARGET_PATH": str(folder / "target")}
    environment = {**built_pipeline.project.environment(), **own}

    def metricflow(*arguments: str) -> str:
        return succeed(programs / "mf", *arguments, cwd=folder, env=environment)

    succeed(programs / "dbt", "--quiet", "parse", cwd=folder, env=environment)
    assert "ERROR:" not in metricflow("validate-configs")
    by_season = ("--group-by", "episode__season_number", "--order", "episode__season_number")
    metricflow("query", "--metrics", ",".join(FIGURES), *by_season, "--csv", "seasons.csv")
    with (folder / "seasons.csv").open() as file:
        got = [
            [float(row["episode__season_number"]), *(float(row[name]) for name in FIGURES)]
            for row in csv.DictReader(file)
        ]
    report = f"SELECT season_number, {', '.join(FIGURES)} FROM local_rickandmorty_marts.rpt_season_summary ORDER BY 1"
    assert got == [[float(value) for value in row] for row in built_pipeline.sandbox.ask(report)]
