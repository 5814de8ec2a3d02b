"""The real Dockerfile, built and run: the image runs the real pipeline on the sandbox, as `docker run --read-only` would.

buildah builds it and runs it, with chroot isolation, as root. Where no image registry is reached the base is made with debootstrap:
Debian with its own Python. `PYTHON_IMAGE` names a base that is reached instead.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from testkit.programs import run, succeed
from testkit.project_files import ROOT
from testkit.required_tools import missing
from testkit.whole_pipeline import Sandbox

pytestmark = pytest.mark.slow

# Debian 13, as the official Python image is; its Python is 3.13.
SUITE = "trixie"
JOBS = ["character", "episode", "location"]
# What a run may write to, besides the folders of any Unix.
WRITABLE = {"/scratch", "/tmp", "/var/tmp", "/run/lock"}  # noqa: S108 (names, nothing is written)
# Of the whole image, its base included, uncompressed.
MOST_MEGABYTES = 600
LAYERS = ["Debian and Python", "user", "Meltano", "dbt", "target-bigquery", "tap-rickandmorty", "project"]
# Whatever is installed in it; the report's image is for x86 and Arm too.
LOCKS = ["dbt-bigquery", "meltano", "report", "tap-rickandmorty", "target-bigquery", "uv"]
# A container whose root is read-only and whose user has no capability, by the means that every Debian has.
AS_USER = (
    "mount -o remount,bind,ro / && user=$1 && shift && "
    'exec setpriv --reuid "$user" --regid "$user" --clear-groups --bounding-set=-all --no-new-privs "$@"'
)
# Kestra's server comes in no package: this takes its place in the image for a laptop, and starts what the flow
# `runners/local.yml` starts.
STAND_IN = """\
FROM {base}
RUN mkdir -p /opt/java/openjdk/bin /app \\
    && printf '%s\\n' '#!/bin/sh' 'exec /bin/sh /flows/stand_in.sh "$@"' > /usr/local/bin/docker-entrypoint.sh \\
    && chmod 755 /usr/local/bin/docker-entrypoint.sh
"""
STAND_IN_RUN = """\
set -eu
export MELTANO_RUN_ID="$RUN_ID"
for job in character episode location; do
  MELTANO_JOB=$job meltano-job & started="${started:-} $!"
done
for process in $started; do wait "$process"; done
MELTANO_JOB=dbt meltano-job
"""


def buildah() -> str:
    """Return the program; skip where it is missing, and where it cannot do what it does here."""
    if (program := shutil.which("buildah")) is None:
        missing("buildah", "`apt-get install buildah debootstrap` installs it; it builds and runs the image")
    if os.geteuid() != 0:
        missing("buildah", "only root can mount the image's file system read-only: `sudo make test-image`")
    return program


def registries(folder: Path) -> list[str]:
    """Return the machine's way to the package registries as volumes: there while the image is built, and no part of it."""
    pip, uv, options = ["[global]"], [], []
    if index := os.environ.get("PIP_INDEX_URL"):
        pip.append(f"index-url = {index}")
        uv.append(f"index-url = {json.dumps(index)}")
    if certificates := os.environ.get("SSL_CERT_FILE"):
        inside = "/etc/ssl/certs/ca-certificates.crt"
        pip.append(f"cert = {inside}")
        uv.append("system-certs = true")
        options += ["--volume", f"{certificates}:{inside}:ro"]
    for name, lines in (("pip.conf", pip), ("uv/uv.toml", uv)):
        file = folder / name.rpartition("/")[2]
        file.write_text("\n".join(lines) + "\n")
        options += ["--volume", f"{file}:/etc/{name}:ro"]
    return options


def base(program: str) -> str:
    """Return the name of the base image, made with debootstrap where none is named."""
    if named := os.environ.get("PYTHON_IMAGE"):
        return named
    folder = ROOT / ".cache" / "image-base"
    archive = folder / f"{SUITE}.tar"
    if not archive.is_file():
        if shutil.which("debootstrap") is None:
            missing("debootstrap", "install it, or name a base image in PYTHON_IMAGE")
        folder.mkdir(parents=True, exist_ok=True)
        # debootstrap cannot work in a path with a space.
        with tempfile.TemporaryDirectory(dir="/var/tmp") as root:
            packages = "--include=python3,python3-venv,ca-certificates"
            succeed("debootstrap", "--variant=minbase", packages, SUITE, root)
            for waste in ("var/cache/apt/archives", "var/lib/apt/lists"):
                shutil.rmtree(Path(root, waste))
            # The official image's python is there.
            Path(root, "usr/local/bin/python").symlink_to("/usr/bin/python3")
            Path(root).chmod(0o755)
            succeed("tar", "--create", "--file", f"{archive}.part", "--directory", root, ".")
        archive.with_name(f"{archive.name}.part").rename(archive)
    name = f"localhost/rickandmorty-base:{SUITE}"
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    file = f"FROM scratch\nADD {archive.name} /\nENV PATH={path}\n"
    succeed(program, "build", "--layers", "--tag", name, "--file", "-", folder, stdin=file)
    return name


@dataclass
class Image:
    """A built image, and the one way in which the tests run it."""

    program: str
    name: str

    @property
    def about(self) -> dict[str, Any]:
        """What the image says of itself."""
        found: dict[str, Any] = json.loads(succeed(self.program, "inspect", "--type", "image", self.name))
        return found

    def run(
        self,
        scratch: Path,
        *arguments: str,
        user: int = 10001,
        entrypoint: list[str] | None = None,
        environment: Mapping[str, str] | None = None,
        volumes: Mapping[Path, str] | None = None,
    ) -> tuple[int, str]:
        """Run a container: its root is read-only, /scratch is the folder given; return its exit status and its log."""
        command = entrypoint or self.about["Docker"]["config"]["Entrypoint"]
        # The sandbox's lies in a folder that the container does not have.
        given = {name: value for name, value in (environment or {}).items() if name != "MELTANO_DATABASE_URI"}
        options = [
            "--isolation=chroot",
            "--user=0",
            "--cap-add=CAP_SYS_ADMIN",
            f"--volume={scratch}:/scratch",
            # Google Batch starts its containers there, whatever the image says.
            "--workingdir=/",
        ]
        options += [f"--volume={path}:{inside}:ro" for path, inside in (volumes or {}).items()]
        if credentials := given.get("GOOGLE_APPLICATION_CREDENTIALS"):
            options.append(f"--volume={credentials}:{credentials}:ro")
        options += [f"--env={name}={value}" for name, value in given.items()]
        container = succeed(self.program, "from", self.name).strip()
        try:
            inside = ["sh", "-c", AS_USER, "sh", str(user), *command, *arguments]
            ran = subprocess.run(
                [self.program, "run", *options, container, "--", *inside],
                check=False,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        finally:
            succeed(self.program, "rm", container)
        return ran.returncode, ran.stdout

    def shell(self, scratch: Path, script: str) -> str:
        """Run a shell script in it; return what it wrote."""
        status, log = self.run(scratch, "-c", script, entrypoint=["sh"])
        assert status == 0, log
        return log


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that builds the real Dockerfile, up to the image's name."""
    program = buildah()
    return [
        *(program, "build", "--isolation=chroot", "--layers", "--force-rm", "--format=docker"),
        *("--build-arg", f"PYTHON_IMAGE={base(program)}"),
        *registries(tmp_path_factory.mktemp("settings")),
    ]


@pytest.fixture(scope="module")
def image(build: list[str]) -> Image:
    """The image."""
    name = "localhost/rickandmorty-test"
    succeed(*build, "--build-arg", "REVISION=a-commit", "--tag", name, ROOT)
    return Image(build[0], name)


def writable_by_all(folder: Path) -> Path:
    """Make a folder that any user may write to, as the image's own /scratch is."""
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """A folder to be mounted as /scratch."""
    folder = writable_by_all(tmp_path / "scratch")
    yield folder
    shutil.rmtree(folder)


def test_the_image_runs_the_whole_pipeline_and_installs_nothing(
    image: Image, build: list[str], sandbox: Sandbox, scratch: Path
) -> None:
    """Each job lands, dbt builds and the report's image shows it, with a read-only root and under two user ids; no package is installed."""
    run_id = str(uuid.uuid4())
    environment = {**sandbox.env, "MELTANO_ENVIRONMENT": "local", "MELTANO_RUN_ID": run_id}
    for number, job in enumerate(JOBS):
        # Each container has a folder of its own, as with --tmpfs.
        own = writable_by_all(scratch / job)
        status, log = image.run(own, "run", job, user=(10001, 4242)[number % 2], environment=environment)
        assert status == 0, log[-4000:]
        landed = f"SELECT COUNT(*) FROM `local_rickandmorty_landing.{job}s` WHERE _sdc_run_id = '{run_id}'"
        assert sandbox.value(landed) == len(sandbox.served(job))
    status, log = image.run(scratch, "invoke", "dbt-bigquery:build", user=4242, environment=environment)
    assert status == 0, log[-4000:]
    assert "ERROR=0 SKIP=0" in log
    succeed(*build, "--target", "report", "--tag", "localhost/rickandmorty-report-test", ROOT)
    page = Image(image.program, "localhost/rickandmorty-report-test")
    status, log = page.run(scratch, "run", "report:build", user=4242, environment=environment)
    assert status == 0, log[-4000:]
    assert (scratch / "report.html").stat().st_size
    for job in JOBS:
        mart = f"SELECT COUNT(*) FROM `local_rickandmorty_marts.dim_{job}s`"
        assert sandbox.value(mart) == len(sandbox.served(job))
    written = {path.name for path in scratch.rglob("*")}
    assert "manifest.json" in written
    assert not written & {"site-packages", "pyvenv.cfg", "venv", "uv"}


def test_a_failed_job_ends_the_container_with_an_error(image: Image, sandbox: Sandbox, scratch: Path) -> None:
    """The exit status of the container is the job's, and the log names what cannot be reached."""
    environment = {**sandbox.env, "MELTANO_ENVIRONMENT": "local", "TAP_RICKANDMORTY_MAX_ATTEMPTS": "1"}
    environment["TAP_RICKANDMORTY_API_URL"] = "http://127.0.0.1:9/api"
    status, log = image.run(scratch, "run", "episode", environment=environment)
    assert status == 1
    assert "127.0.0.1:9" in log


def test_the_image_says_what_it_is(image: Image) -> None:
    """Entry point, fixed user and labels are in the image's own configuration."""
    config = image.about["Docker"]["config"]
    assert config["Entrypoint"] == ["meltano"]
    assert config["User"] == "10001:10001"
    assert config["Labels"]["org.opencontainers.image.revision"] == "a-commit"
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert config["Healthcheck"]["Test"] == ["NONE"]


def test_its_user_can_write_to_the_scratch_folder_only(image: Image, scratch: Path) -> None:
    """The root is read-only; and by their modes too nothing else in the image is the user's to change."""
    status, log = image.run(scratch, "/tmp/x", entrypoint=["touch"])  # noqa: S108 (is refused)
    assert status == 1
    assert "Read-only file system" in log
    mine = r"\( -user 10001 -o -group 10001 -o -perm -o=w \)"
    script = f"id -u; find / -xdev ! -type l ! -type c {mine} -print 2>/dev/null || true"
    user, *found = image.shell(scratch, script).split()
    assert user == "10001"
    assert "/scratch" in found
    assert {path for path in found if not path.startswith(("/proc", "/sys", "/dev"))} <= WRITABLE


def test_it_holds_the_project_and_no_tool_of_the_developer(image: Image, scratch: Path) -> None:
    """The project's folder has what runs; tests, Terraform, the sandbox, compilers and linters are not there."""
    held = set(image.shell(scratch, "ls -A /project").split())
    parts = {"tap-rickandmorty", "target-bigquery", "transform", "plugins", "requirements"}
    assert held == parts | {".meltano", "LICENSE", "meltano.yml"}
    tools = "pytest ruff mypy sqlfluff pre-commit sandbox git gcc make curl java"
    assert image.shell(scratch, f"for tool in {tools}; do command -v $tool; done; true") == ""
    names = "pytest|ruff|mypy|hypothesis|sandbox|tests"
    packages = (
        rf"find / -xdev -regextype egrep -type d -regex '.*/site-packages/({names})' 2>/dev/null || true"
    )
    assert image.shell(scratch, packages) == ""


def test_every_module_is_compiled(image: Image, scratch: Path) -> None:
    """Our own sources and every installed package have their bytecode, since nothing can be written at run time."""
    script = (
        "cd /project && for part in tap-rickandmorty/src target-bigquery/src .meltano /opt/meltano; do "
        "find $part -name '*.py' | wc -l; find $part -name '*.pyc' | wc -l; done"
    )
    counts = [int(word) for word in image.shell(scratch, script).split()]
    for sources, compiled in zip(counts[::2], counts[1::2], strict=True):
        # A few files of packages are templates or of another Python, and cannot be compiled.
        assert 0 < sources * 0.99 <= compiled


def test_nothing_of_the_machine_that_built_it_is_inside(image: Image, scratch: Path) -> None:
    """The settings for the package registries were there for the build alone."""
    assert image.shell(scratch, "cat /etc/pip.conf /etc/uv/uv.toml 2>/dev/null || true") == ""


def test_the_size_by_layer_is_printed_and_has_a_limit(image: Image) -> None:
    """Each layer's size is printed, and the whole image stays below its limit."""
    sizes = [layer["size"] for layer in json.loads(image.about["Manifest"])["layers"]]
    # A base from a registry has layers of its own.
    for name, size in zip(reversed(LAYERS), reversed(sizes), strict=False):
        print(f"{size / 1e6:6.0f} MB  {name}")  # noqa: T201 (`pytest -rP` shows it)
    assert sum(sizes) < MOST_MEGABYTES * 1e6


@pytest.mark.parametrize("lock", LOCKS)
def test_every_lock_is_there_for_arm64(lock: str, tmp_path: Path) -> None:
    """Each package of the image has a wheel for arm64, with a hash of the lock: nothing needs a compiler on a Raspberry Pi."""
    uv = shutil.which("uv") or ROOT / ".venvs" / "uv" / "bin" / "uv"
    ran = run(
        *(uv, "pip", "install", "--dry-run", "--no-deps", "--only-binary=:all:", "--require-hashes"),
        *("--python-platform=aarch64-unknown-linux-gnu", "--python-version=3.13"),
        *(f"--python={sys.executable}", f"--target={tmp_path}"),
        *("--requirement", ROOT / "requirements" / f"{lock}.txt"),
    )
    if "error sending request" in ran.stderr or "dns error" in ran.stderr:
        missing("package-registry", "the network does not reach it")
    assert ran.returncode == 0, ran.stderr
    assert "Would install" in ran.stderr


def test_the_image_for_a_laptop_runs_the_pipeline_on_its_own_sandbox(
    image: Image, build: list[str], scratch: Path, tmp_path: Path
) -> None:
    """The stage of compose.yaml: its command starts the sandbox, then Kestra's, whose jobs run Meltano concurrently, then dbt."""
    stand_in, name = "localhost/kestra-stand-in", "localhost/rickandmorty-laptop-test"
    python = next(value for value in build if value.startswith("PYTHON_IMAGE=")).partition("=")[2]
    file = STAND_IN.format(base=python)
    empty = tmp_path / "empty"
    empty.mkdir()
    succeed(*build, "--tag", stand_in, "--file", "-", empty, stdin=file)
    succeed(*build, "--build-arg", f"KESTRA_IMAGE={stand_in}", "--target", "laptop", "--tag", name, ROOT)
    laptop = Image(image.program, name)
    script = tmp_path / "stand_in.sh"
    script.write_text(STAND_IN_RUN)
    status, log = laptop.run(
        scratch,
        *laptop.about["Docker"]["config"]["Cmd"],
        environment={"RUN_ID": str(uuid.uuid4())},
        volumes={script: "/flows/stand_in.sh"},
    )
    assert status == 0, log[-4000:]
    for stream, rows in (("characters", 826), ("episodes", 51), ("locations", 126)):
        assert f'"{stream}":{{"rows":{rows},' in log
    assert '"failed":0,"skipped":0' in log
