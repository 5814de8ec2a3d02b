"""`make doctor`: a line for each problem of this machine, with its remedy."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from testkit.programs import run
from testkit.project_files import ROOT


def test_the_doctor_names_what_is_wrong_with_its_remedy(tmp_path: Path) -> None:
    """Empty lines of .env, a certificate without a file, a home that is gone: one line each, status 1."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    (tmp_path / ".env").write_text(
        "# a comment\nTARGET_BIGQUERY_LOCATION=\n\nGOOGLE_CLOUD_PROJECT=mine\nexport DBT_TARGET='' \nA= # b\nwords\n"
        "TARGET_BIGQUERY BUCKET=b\n"
        "TAP_RICKANDMORTY_USER_AGENT='it is me' # quoted\n"
    )
    gone = tmp_path / "gone"
    with subprocess.Popen(
        ["sleep", "infinity"], env={"SANDBOX_PART": str(gone), "PATH": os.environ["PATH"]}
    ) as part:
        env = {"PATH": os.environ["PATH"], "SSL_CERT_FILE": "/nowhere.pem", "LC_ALL": "C.UTF-8"}
        doctor = tmp_path / "scripts" / "doctor.py"
        done = run(sys.executable, doctor, "--problems", env=env)
        closed = run("sh", "-c", f"'{sys.executable}' '{doctor}' >&-", env=env)
        part.kill()
    assert (done.returncode, closed.returncode, closed.stderr) == (1, 1, "")
    output = done.stderr.splitlines()
    assert all(line.startswith("PROBLEM  ") for line in output)
    assert sum("line" in line for line in output) == 5
    for problem in (
        ".env: line 2: TARGET_BIGQUERY_LOCATION has no value; put a # before it",
        ".env: line 5: DBT_TARGET has no value; put a # before it",
        ".env: line 6: A has no value; put a # before it",
        ".env: line 7 is not NAME=value; put a # before it",
        ".env: line 8 is not NAME=value; put a # before it",
        "certificates: SSL_CERT_FILE names /nowhere.pem, which is not a file; correct it, or unset SSL_CERT_FILE",
        f"leftovers: process {part.pid} serves {gone}, which is gone; kill {part.pid}",
    ):
        assert f"PROBLEM  {problem}" in output


def test_the_doctor_names_an_environment_file_that_is_no_file(tmp_path: Path) -> None:
    """Docker makes a folder of the name where a file was to be mounted: one line, no traceback."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    (tmp_path / ".env").mkdir()
    done = run(sys.executable, tmp_path / "scripts" / "doctor.py", "--problems")
    assert done.returncode == 1
    assert "PROBLEM  .env: Is a directory; make it a file that you may read, or remove it\n" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_doctor_names_what_a_program_refuses_in_the_folders_path(tmp_path: Path) -> None:
    """Meltano's migrations end with a traceback below a folder with a percent sign, after a minute of installing."""
    shutil.copytree(ROOT / "scripts", folder := tmp_path / "100%: mine" / "scripts")
    lines = run(sys.executable, folder / "doctor.py", "--problems").stderr.splitlines()
    start = f"PROBLEM  folder: {folder.parent}: "
    assert [line.removeprefix(start) for line in lines if line.startswith(start)] == [
        "Python's venv cannot run below a folder with : in its name; clone into another folder",
        "Meltano cannot run below a folder with % in its name; clone into another folder",
    ]
