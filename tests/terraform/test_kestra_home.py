"""What Kestra's machine starts with: one file that can be read as YAML, no password in it, and no disk made empty that has data."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from terraform_runs import planned
from testkit.programs import run

SERVICES = ["kestra-postgres.service", "kestra.service"]


@pytest.fixture
def files(tested: list[dict[str, Any]]) -> dict[str, str]:
    """The files that the machine writes when it starts, by name."""
    machine = planned(tested, "everything_on")["module.kestra_home[0].google_compute_instance.this"]
    written = yaml.safe_load(machine["metadata"]["user-data"])["write_files"]
    return {file["path"].rpartition("/")[2]: file["content"] for file in written}


def test_the_database_is_on_the_disk_and_its_password_in_no_metadata(files: dict[str, str]) -> None:
    """Whatever PostgreSQL's version: at data/ the images before 18 have a volume of their own, which goes with the container."""
    assert list(files) == ["application.yaml", "prepare.sh", "secrets.sh", *SERVICES]
    application = yaml.safe_load(files["application.yaml"])
    assert application["datasources"]["postgres"]["password"] == "${POSTGRES_PASSWORD}"
    (mounted,) = re.findall(r"--volume /mnt/disks/data/postgres:(\S+)", files[SERVICES[0]])
    assert re.search(rf" --env PGDATA={mounted}/(?!data\b)\S", files[SERVICES[0]])


@pytest.mark.parametrize(
    ("content", "formats"),
    [(bytes(4096), True), (bytes(1024) + b"data", False), (None, False)],
    ids=["new", "data", "cannot be read"],
)
def test_only_a_new_disk_is_formatted(
    files: dict[str, str], tmp_path: Path, content: bytes | None, *, formats: bool
) -> None:
    """Zeros alone are new; any data stays, and a disk that cannot be read ends the script."""
    disk, programs = tmp_path / "disk", tmp_path / "programs"
    if content is not None:
        disk.write_bytes(content)
    programs.mkdir()
    for name, status in {"docker": 0, "mkdir": 0, "mkfs.ext4": 0, "mount": 7, "mountpoint": 1}.items():
        (programs / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/calls\nexit {status}\n')
        (programs / name).chmod(0o755)
    script = files["prepare.sh"].replace("/dev/disk/by-id/google-data", str(disk))
    assert str(disk) in script
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    done = run("bash", "-c", script, env=environment)
    calls = (tmp_path / "calls").read_text() if (tmp_path / "calls").exists() else ""
    assert (f"mkfs.ext4 -m 0 {disk}\n" in calls) is formats
    # The disk is mounted after that, or the script has ended.
    assert done.returncode == (1 if content is None else 7)
