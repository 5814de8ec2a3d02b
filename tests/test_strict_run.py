"""The whole pipeline under Google's rules: the roles that the READMEs and Terraform state, and no other, suffice for it."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from testkit.whole_pipeline import RUN_ALL, Project, Sandbox, local_bigquery, running_sandbox

UNIVERSE = "characters=60,locations=20,episodes=10"
MARTS = "local_rickandmorty_marts"


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[Project]:
    """The Meltano project on a strict sandbox of the test's own."""
    with running_sandbox(tmp_path / "sandbox", "--strict", "--universe", UNIVERSE) as running:
        folder = tmp_path / "project"
        folder.mkdir()
        yield Project(running, folder)


def as_account(project: Project, name: str, **env: str) -> Project:
    """The project as another account of the strict sandbox, with these variables."""
    given = Path(project.sandbox.env["GOOGLE_APPLICATION_CREDENTIALS"])
    theirs = project.folder / f"{name}.json"
    token = {"token": name, "client_secret": name, "refresh_token": name}
    theirs.write_text(json.dumps({**json.loads(given.read_text()), **token}))
    changed = {**project.sandbox.env, "GOOGLE_APPLICATION_CREDENTIALS": str(theirs), **env}
    return replace(project, sandbox=Sandbox(project.sandbox.command, project.sandbox.home, changed))


@pytest.mark.slow
def test_the_stated_roles_suffice(strict: Project) -> None:
    """As the pipeline's account makes its tables, and then as that of production, which makes none in the landing dataset."""
    status, log = strict.run(*RUN_ALL)
    assert status == 0, log[-6000:]
    status, log = as_account(strict, "prod", TARGET_BIGQUERY_CREATE_TABLES="false").run(*RUN_ALL)
    assert status == 0, log[-6000:]
    owner = local_bigquery(strict.sandbox.env, "owner")
    ((characters,),) = owner.query(f"SELECT COUNT(*) FROM `{MARTS}.dim_characters`").result()
    assert characters == 60
    # An account without roles is refused: the runs were not let through whoever asked.
    nobody = as_account(strict, "nobody")
    accounts = f"{strict.sandbox.env['BIGQUERY_EMULATOR_HOST']}/__sandbox__/accounts"
    requests.put(accounts, json={"nobody": {}}).raise_for_status()
    for blocks in (RUN_ALL[:2], RUN_ALL[2:]):
        status, log = nobody.run(*blocks)
        assert status != 0
        assert re.search("permission|Access Denied", log), log[-6000:]
