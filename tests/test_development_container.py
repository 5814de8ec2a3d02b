"""The development container: its files fit together, and its check sees what is missing."""

import json
import re
import shutil
from pathlib import Path

import yaml
from testkit.programs import run
from testkit.project_files import ROOT

DEVCONTAINER = ROOT / ".devcontainer"
CONTAINER = json.loads((DEVCONTAINER / "devcontainer.json").read_text())
COMPOSE = yaml.safe_load((DEVCONTAINER / CONTAINER["dockerComposeFile"]).read_text())
SERVICE = COMPOSE["services"][CONTAINER["service"]]
DOCKERFILE = (DEVCONTAINER / "Dockerfile").read_text()


def test_the_development_container_names_what_is_there() -> None:
    """Its compose file, its service, its working folder and its user fit together."""
    assert SERVICE["working_dir"] == CONTAINER["workspaceFolder"]
    assert DOCKERFILE.rstrip().endswith(f"USER {CONTAINER['remoteUser']}")
    assert CONTAINER["updateRemoteUserUID"]
    assert (ROOT / CONTAINER["postCreateCommand"]).is_file()


def test_the_development_container_has_environments_of_its_own() -> None:
    """What is installed on the host is not seen in it, nor the other way round; whoever works there may write to it."""
    mounted = dict(volume.split(":")[:2] for volume in SERVICE["volumes"])
    folders = [place for name, place in mounted.items() if place.startswith("/workspace/")]
    assert sorted(folders) == [f"/workspace/{name}" for name in (".cache", ".meltano", ".sandbox", ".venvs")]
    assert {name for name in mounted if name != ".."} == set(COMPOSE["volumes"])
    made = re.search(r"install --directory --mode=1777 (.*)", DOCKERFILE)
    assert made
    assert set(folders) <= set(made[1].split())
    # Docker would make the places of the volumes on the host as root.
    assert {f"/workspace/{name}" for name in CONTAINER["initializeCommand"].split()[2:]} == set(folders)


def test_the_development_container_has_every_tool_that_a_test_asks_for() -> None:
    """Each program that a test would skip without, but for those that need a privileged container, is checked for in it."""
    asked = {
        name
        for path in (ROOT / "tests").rglob("*.py")
        for name in re.findall(r'\bmissing\(\s*"([\w.-]+)"', path.read_text(encoding="utf-8"))
    } | {"chromium"}
    not_programs = {"hashicorp/google", "terraform-google-offline", "kestra-engine", "validate-pyproject", "package-registry"}  # fmt: skip
    privileged = {"buildah", "debootstrap"}
    by_make = {
        "actionlint": "go",
        "checkov": "python",
        "dbt-2": "python",
        "metricflow": "python",
        "jdk-25": "java",
    }
    check = (DEVCONTAINER / "check.sh").read_text()
    checked = set(re.findall(r"(?m)^tool (\w+)", check))
    assert {by_make.get(name, name) for name in asked - not_programs - privileged} <= checked
    # The deployment guide's.
    assert {"gcloud", "terraform", "java", "maven", "chromium"} <= checked


def test_the_containers_check_sees_what_is_missing(tmp_path: Path) -> None:
    """Each tool that is not there, and each folder that cannot be written, is a line and status 1; here everything may be there."""
    bash = shutil.which("bash")
    assert bash
    (tmp_path / "bash").symlink_to(bash)
    for program in ("grep", "id"):
        (tmp_path / program).symlink_to(shutil.which(program) or program)
    done = run(bash, DEVCONTAINER / "check.sh", cwd=tmp_path, env={"PATH": str(tmp_path)})
    assert done.returncode == 1
    assert done.stdout.splitlines()[0].startswith("bash")
    for name in ("chromium", "gcloud", "java", "terraform", ".venvs", ".meltano"):
        assert re.search(rf"(?m)^{re.escape(name)} ", done.stderr), done.stderr
