"""The dbt project under dbt 2's engine, whose parser is another program: `make test-dbt-2` installs it."""

import os
from pathlib import Path

from testkit.programs import run
from testkit.project_files import ROOT
from testkit.required_tools import missing


def test_the_project_parses_with_no_warning(tmp_path: Path) -> None:
    """Models, macros, their descriptions, tests, and unit tests: all that `dbt parse` reads."""
    if not (dbt := ROOT / ".venvs/dbt-2/bin/dbt").is_file():
        missing("dbt-2", "`make test-dbt-2` installs it")
    folders = ["--target-path", str(tmp_path / "target"), "--log-path", str(tmp_path / "logs")]
    project = ["--project-dir", str(ROOT / "transform"), "--profiles-dir", str(ROOT / "transform")]
    own = {"GOOGLE_CLOUD_PROJECT": "any", "DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "NO_COLOR": "1"}
    # Metrics are validated by dbt's platform alone.
    own["DBT_ENGINE_NO_WARN_SEMANTIC_MANIFEST_VALIDATION"] = "true"
    done = run(dbt, "parse", *project, *folders, cwd=tmp_path, env=os.environ | own)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    warnings = [line for line in output.splitlines() if line.startswith(("[warning]", "[error]"))]
    assert warnings == [], output
    assert "Finished 'parse'" in output
