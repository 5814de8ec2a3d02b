"""A tap that has changed since Meltano last ran it: its new fields and settings count at the next run."""

import json
import shlex
from pathlib import Path

import pytest
from testkit.project_copy import copy_project
from testkit.project_files import ROOT
from testkit.whole_pipeline import program

MELTANO = 'PATH="$PWD/.venvs/uv/bin:$PATH" .venvs/meltano/bin/meltano --environment=dev'
CATALOG = f"{MELTANO} invoke --dump=catalog tap-rickandmorty 2>/dev/null"
LOCK = "plugins/extractors/tap-rickandmorty--rickandmorty.lock"


@pytest.mark.slow
def test_a_new_field_and_a_new_setting_count_at_the_next_run(tmp_path: Path) -> None:
    """Meltano has run the tap and kept its catalog; then schema and settings grow, and a stale lock is reported."""
    program("SANDBOX_COMMAND", ".venvs/sandbox/bin/sandbox")
    copy = copy_project(tmp_path / "project", (".python", "dev", "meltano", "sandbox", "uv"), plugins=False)
    copy.run(f"{MELTANO} install extractor tap-rickandmorty")
    (copy.folder / ".meltano" / "loaders").symlink_to(ROOT / ".meltano" / "loaders")
    (copy.folder / ".meltano" / ".done").touch()
    assert "planet" not in copy.run(CATALOG)
    package = copy.folder / "tap-rickandmorty" / "src" / "tap_rickandmorty"

    schema = json.loads((package / "schemas" / "characters.json").read_text())
    schema["properties"]["planet"] = {"type": ["string", "null"], "description": "Where it lives."}
    (package / "schemas" / "characters.json").write_text(json.dumps(schema))
    settings = json.loads((package / "settings.json").read_text())
    settings["properties"]["token"] = {"type": "string", "description": "A token.", "secret": True}
    (package / "settings.json").write_text(json.dumps(settings))

    assert "planet" in copy.run(CATALOG)
    assert "token" not in copy.run(f"{MELTANO} config list tap-rickandmorty --all")
    assert f"{LOCK}: out of date; run make docs" in copy.run("make .meltano/.locks")
    pins = {path.name: path.read_text() for path in (copy.folder / "requirements").iterdir()}
    tap = shlex.quote(str(copy.folder / ".venvs" / "sandbox" / "bin" / "python"))
    copy.run(f"{tap} scripts/generated_files.py plugin_locks")
    assert pins == {path.name: path.read_text() for path in (copy.folder / "requirements").iterdir()}
    assert "token" in copy.run(f"{MELTANO} config list tap-rickandmorty --all")
    assert "out of date" not in copy.run("make .meltano/.locks")
