"""What must hold of the workflows: least rights, pins, the Makefile's targets, and one way only to the live API."""

import json
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from testkit.programs import run, succeed
from testkit.project_files import ROOT
from testkit.required_tools import missing, tool

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
ACTIONS = sorted((GITHUB / "actions").glob("*/action.yml"))
ACTIONLINT = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"
LIVE = "live-contract.yml"


def read(path: Path) -> dict[Any, Any]:
    """Return a workflow; PyYAML reads its key `on` as True."""
    found: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def jobs() -> list[tuple[str, str, dict[str, Any]]]:
    """Every job: its workflow, its id, and itself."""
    return [(path.name, name, job) for path in WORKFLOWS for name, job in read(path)["jobs"].items()]


def steps() -> list[tuple[str, dict[str, Any]]]:
    """Every step of every workflow and action."""
    of_jobs = [(workflow, step) for workflow, _, job in jobs() for step in job.get("steps", [])]
    return of_jobs + [(path.parent.name, step) for path in ACTIONS for step in read(path)["runs"]["steps"]]


@pytest.fixture(scope="module")
def actionlint() -> str:
    """The program actionlint: of the PATH, or built by Go."""
    if (program := shutil.which("actionlint")) is not None:
        return program
    built = ROOT / ".cache" / ACTIONLINT.rpartition("@")[2] / "actionlint"
    if not built.exists():
        if (go := shutil.which("go")) is None:
            missing("actionlint", "put it on the PATH, or install Go, which builds it")
        environment = {**os.environ, "GOBIN": str(built.parent), "GOFLAGS": "-mod=mod"}
        done = run(go, "install", ACTIONLINT, env=environment)
        if done.returncode:
            missing("actionlint", f"Go could not build it: {done.stderr.strip()[-300:]}")
    return str(built)


def test_actionlint_finds_nothing(actionlint: str) -> None:
    """Workflows, their expressions and their shell lines are clean."""
    succeed(actionlint, "-no-color", "-shellcheck", tool("shellcheck"), "-pyflakes=", cwd=ROOT)


def test_zizmor_finds_nothing() -> None:
    """No finding of any weight, in workflows, actions and Dependabot's file."""
    done = run(tool("zizmor"), "--offline", "--no-progress", "--persona=pedantic", GITHUB)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "anchors" not in done.stderr


def test_nothing_is_permitted_at_the_top() -> None:
    """A workflow has no permissions; each of its jobs states its own."""
    assert [path.name for path in WORKFLOWS if read(path)["permissions"] != {}] == []
    assert all("permissions" in job for *_, job in jobs())


def test_only_these_jobs_may_write_or_sign_in() -> None:
    """Whatever is more than reading the code stands in this list."""
    more = {
        f"{workflow}: {name}": {k: v for k, v in job["permissions"].items() if (k, v) != ("contents", "read")}
        for workflow, name, job in jobs()
    }
    assert {name: rights for name, rights in more.items() if rights} == {
        "main.yml: flows": {"id-token": "write"},
        "main.yml: image": {"id-token": "write", "attestations": "write"},
        "main.yml: pages": {"id-token": "write", "pages": "write"},
        "pull-request.yml: plan": {"id-token": "write"},
        "release.yml: publish": {"id-token": "write"},
    }


def test_every_action_is_pinned_by_a_commit_and_says_its_tag() -> None:
    """A tag can be moved, a commit cannot; an action has the same pin everywhere."""
    pins: dict[str, set[str]] = {}
    for path in [*WORKFLOWS, *ACTIONS]:
        for line in path.read_text(encoding="utf-8").splitlines():
            if found := re.search(r"\buses: (\S+)(.*)$", line):
                name, comment = found[1], found[2]
                if name.startswith("./"):
                    assert (ROOT / name).exists()
                    continue
                assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", name), line
                assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), line
                pins.setdefault(name.partition("@")[0], set()).add(name + comment)
    assert not {name: pin for name, pin in pins.items() if len(pin) > 1}


def test_pins_carry_the_tag_of_their_commit() -> None:
    """Where ../shared is beside the project, each pin that its list knows says the tag of its commit."""
    facts = ROOT.parent / "shared" / "facts" / "github-action-pins.md"
    if not facts.is_file():
        pytest.skip("../shared/facts is not there")
    rows = re.findall(r"(?m)^\| (\S+) \| (v[\d.]+) \| `([0-9a-f]{40})`", facts.read_text(encoding="utf-8"))
    listed = {f"{name}@{commit}": tag for name, tag, commit in rows}
    used = re.findall(
        r"uses: (?!\./)(\S+) # (\S+)", "\n".join(path.read_text() for path in [*WORKFLOWS, *ACTIONS])
    )
    assert used
    assert not [(name, tag) for name, tag in used if listed.get(name, tag) != tag]
    assert len({name for name, _ in used} & set(listed)) > 10


def test_every_job_has_a_time_limit_and_a_fixed_machine() -> None:
    """No job runs for hours, and none changes its system by itself."""
    for workflow, name, job in jobs():
        if "uses" not in job:
            assert job["timeout-minutes"] <= 60, (workflow, name)
            assert job["runs-on"] == "ubuntu-24.04", (workflow, name)


def test_every_step_runs_with_pipefail() -> None:
    """Workflows name bash, which GitHub then starts with pipefail, and no job or step another; an action's steps each do."""
    assert {path.name for path in WORKFLOWS if read(path)["defaults"] != {"run": {"shell": "bash"}}} == set()
    assert not [(workflow, name) for workflow, name, job in jobs() if "defaults" in job]
    actions = {path.parent.name for path in ACTIONS}
    for place, step in steps():
        expected = "bash" if place in actions and "run" in step else None
        assert step.get("shell") == expected, (place, step)


def test_terraforms_version_stands_once_where_dependabot_raises_it(tmp_path: Path) -> None:
    """Each workflow takes the development container's; without a version the step fails, where the action would take the newest."""
    assert {w for w, s in steps() if "hashicorp/setup-terraform@" in s.get("uses", "")} == {"terraform"}
    version, setup = read(GITHUB / "actions" / "terraform" / "action.yml")["runs"]["steps"]
    assert setup["with"]["terraform_version"] == "${{ steps.version.outputs.version }}"
    dockerfile = tmp_path / ".devcontainer" / "Dockerfile"
    dockerfile.parent.mkdir()
    output = tmp_path / "output"
    command = ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", version["run"])
    environment = {**os.environ, "GITHUB_OUTPUT": str(output)}
    shutil.copy(ROOT / ".devcontainer" / "Dockerfile", dockerfile)
    succeed(*command, cwd=tmp_path, env=environment)
    assert re.fullmatch(r"version=1\.\d+\.\d+\n", output.read_text())
    dockerfile.write_text("FROM hashicorp/terraform:latest AS terraform\n")
    assert run(*command, cwd=tmp_path, env=environment).returncode != 0


def in_github(
    script: str, folder: Path, fails: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a step's lines as GitHub runs `shell: bash`, with programs that print a line, and one that fails."""
    programs = folder / "programs"
    programs.mkdir()
    for name in ("make", "gcloud", "gh", "sudo", "terraform"):
        (programs / name).write_text(
            f'#!/bin/sh\necho "{name} $*"\n[ "{name}" != "{fails}" ] || exit 3\n', encoding="utf-8"
        )
        (programs / name).chmod(0o755)
    site = folder / "terraform" / "environments" / "prod.site.tfvars"
    site.parent.mkdir(parents=True)
    site.write_text('location     = "EU"\nalert_emails = ["data@example.com", "night@example.com"]\n')
    (folder / "step.sh").write_text(script, encoding="utf-8")
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "GITHUB_STEP_SUMMARY": str(folder / "summary"),
        "ENVIRONMENT": "prod",
        "STATE_BUCKET": "state",
        "GITHUB_REPOSITORY": "owner/name",
        **variables,
    }
    bash = ("bash", "--noprofile", "--norc", "-eo", "pipefail", "step.sh")
    return run(*bash, cwd=folder, env=environment)


def step_of(workflow: str, name: str) -> dict[str, Any]:
    """One step by its name."""
    (found,) = [step for path, step in steps() if path == workflow and step.get("name") == name]
    return found


@pytest.mark.parametrize(("fails", "status"), [("", 0), ("make", 3), ("gcloud", 3)])
def test_a_step_ends_as_its_programs_did(tmp_path: Path, fails: str, status: int) -> None:
    """A plan that fails fails the pull request, its summary written."""
    done = in_github(step_of("pull-request.yml", "make plan")["run"], tmp_path, fails)
    assert done.returncode == status
    if fails != "gcloud":
        # Before anything may print them: Terraform's errors have the line of the file in them.
        masked, _, _ = done.stdout.partition("```")
        assert [line for line in masked.splitlines() if line.startswith("::")] == [
            "::add-mask::data@example.com",
            "::add-mask::night@example.com",
        ]
        assert "@example.com" not in (tmp_path / "summary").read_text()
        assert "make plan ENVIRONMENT=prod STATE_BUCKET=state" in (tmp_path / "summary").read_text()


@pytest.mark.parametrize(
    ("commit", "status"), [("gh api repos/owner/name/commits/main --jq .sha", 0), ("older", 1)]
)
def test_a_run_that_is_run_again_deploys_no_older_commit(tmp_path: Path, commit: str, status: int) -> None:
    """GitHub runs it on its own commit: where main has moved on, its flows and image would replace newer ones."""
    steps_of_flows = read(GITHUB / "workflows" / "main.yml")["jobs"]["flows"]["steps"]
    assert steps_of_flows[0]["if"] == "github.run_attempt > 1"
    done = in_github(steps_of_flows[0]["run"], tmp_path, GITHUB_SHA=commit)
    assert (done.returncode, "::error::main is at gh api" in done.stdout) == (status, bool(status))


def test_no_value_of_the_site_is_in_a_log_of_the_plan() -> None:
    """GitHub prints a step's variables: those of the plan name an environment and a bucket, and the guard prints addresses only."""
    step = step_of("pull-request.yml", "make plan")
    assert set(step["env"]) == {"ENVIRONMENT", "STATE_BUCKET"}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    plan = makefile[makefile.index("\nplan:") :].partition("\n\n")[0]
    assert re.search(r"\$\(TERRAFORM\) plan .*\\\n.*\| \{ ! grep .* 'undeclared variable' >&2; \}", plan)


def test_an_image_is_shipped_where_github_signs_nothing() -> None:
    """Provenance is signed where GitHub does so for this repository; elsewhere the flows are deployed all the same."""
    steps_of_image = read(GITHUB / "workflows" / "main.yml")["jobs"]["image"]["steps"]
    (sign,) = [s for s in steps_of_image if s.get("uses", "").startswith("actions/attest-build-provenance@")]
    assert sign["if"] == "github.event.repository.visibility == 'public' || vars.ATTEST_PRIVATE == 'true'"
    (build,) = [s for s in steps_of_image if s.get("id") == "build"]
    assert (build["with"]["provenance"], build["with"]["sbom"]) == ("mode=max", True)


def test_the_runbook_takes_the_digest_from_the_build() -> None:
    """The registry's newest manifest may be an attestation: the digest is the one that the build gave."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert 'gh run download "$RUN" --name image-reference' in page
    assert "docker images list" not in page
    printed = step_of("main.yml", "Print the image's digest")
    assert printed["env"]["IMAGE"] == "${{ vars.GCP_IMAGE }}@${{ steps.build.outputs.digest }}"


def test_each_step_of_the_first_deployment_says_what_one_sees() -> None:
    """Whoever follows the guide sees at each step, and after each block of commands, whether it worked."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    guide = page[page.index("## First deployment") :].partition("\n## ")[0]
    steps = re.split(r"(?m)^\*\*(\d+)\. ", guide)
    assert [int(number) for number in steps[1::2]] == list(range(1, 10))
    assert all("You see: " in step for step in steps[2::2])
    _, _, *after_commands = re.split(r"(?ms)^```bash cloud\n.*?^```\n", guide)
    assert all(text.startswith("\nYou see: ") for text in after_commands)


def test_no_check_of_a_change_depends_on_what_became_known_today() -> None:
    """Scans for vulnerabilities are the audit's, which no branch rule requires; it runs on changes to what it scans."""
    for path, step in steps():
        if re.search(r"\bmake (scan-image|audit)\b", step.get("run", "")):
            assert path == "audit.yml"
    audit = read(GITHUB / "workflows" / "audit.yml")
    assert audit[True]["pull_request"]["paths"] == ["Dockerfile", "osv-scanner.toml", "requirements/**"]
    assert "./.github/workflows/audit.yml" not in (GITHUB / "workflows" / "pull-request.yml").read_text()


def test_steps_run_targets_that_the_makefile_has() -> None:
    """What CI runs, anyone can: each `make` of a workflow is a target."""
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    asked = {t for _, step in steps() for t in re.findall(r"\bmake ([a-z0-9-]+)", step.get("run", ""))}
    assert len(asked) >= 10
    assert not asked - targets


def test_no_tool_is_missing_unseen() -> None:
    """Each tool without which a test is skipped is required in CI, but for what no runner has."""
    tests = succeed("git", "ls-files", "*.py", cwd=ROOT).split()
    asked = set(re.findall(r'\bmissing\(\s*"([^"]+)"', "\n".join((ROOT / t).read_text() for t in tests)))
    environments = [*ROOT.glob("tap-*/tests/targets/*.txt"), *ROOT.glob("target-*/tests/taps/*.txt")]
    asked |= {f"{path.parent.name[:-1]}-{path.stem}" for path in environments}
    required = " ".join(
        part.get("env", {}).get("REQUIRE_TOOLS", "")
        for _, part in [*steps(), *((w, j) for w, _, j in jobs())]
    )
    nowhere = {"debootstrap", "go", "package-registry", "terraform-google-offline"}
    assert len(asked) > 5
    assert not asked - nowhere - set(re.findall(r"[\w/-]+", required))


def test_no_long_lived_key_is_anywhere() -> None:
    """No workflow reads a secret: Google, PyPI and Pages trust the run's own identity."""
    for path in [*WORKFLOWS, *ACTIONS]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(
            r"\bsecrets\b\s*(\.|\[|:)|credentials_json|\.json_key|password: \$\{\{ secrets", text
        ), path


def test_the_live_api_is_within_reach_of_one_workflow_only() -> None:
    """Each job that runs the project goes through the set-up action, and one alone leaves the live API within reach."""
    setups = [(workflow, step) for workflow, step in steps() if step.get("uses") == "./.github/actions/setup"]
    assert {w for w, step in setups if (step.get("with") or {}).get("live-api") == "true"} == {LIVE}
    for workflow, name, job in jobs():
        text = json.dumps(job.get("steps", []))
        # These touch neither tap nor sandbox: Docker's build, a scan, a plan.
        neither = {"image", "scan-image", "audit", "plan", "test-provider", "deploy-flows"}
        asked = set(re.findall(r"\bmake ([a-z0-9-]+)", text)) - neither
        assert not asked or "./.github/actions/setup" in text, (workflow, name)
    action = read(GITHUB / "actions" / "setup" / "action.yml")
    first = action["runs"]["steps"][0]
    assert action["inputs"]["live-api"]["default"] == "false"
    assert (first["if"], "/etc/hosts" in first["run"]) == ("inputs.live-api != 'true'", True)


def test_nothing_privileged_runs_a_strangers_code() -> None:
    """The plan, which signs in, is for this repository's own branches; zizmor refuses the triggers that give a fork such rights."""
    plan = read(GITHUB / "workflows" / "pull-request.yml")["jobs"]["plan"]
    assert "head.repo.full_name == github.repository" in plan["if"]


def test_releases_use_no_cache() -> None:
    """What is shipped is built from what the locks name, not from what another run has left; zizmor refuses actions/cache itself."""
    found = [step for workflow, step in steps() if workflow == "release.yml"]
    assert all(s["with"]["cache"] == "false" for s in found if s.get("uses") == "./.github/actions/setup")


def test_dependabot_waits_a_week_and_sees_every_kind() -> None:
    """Each ecosystem of the repository is there, with a cool-down of at least seven days."""
    updates = yaml.safe_load((GITHUB / "dependabot.yml").read_text())["updates"]
    kinds = {"github-actions", "pip", "docker"}
    optional = {"docker-compose": "compose.yaml", "terraform": "terraform", "maven": "tests/kestra/pom.xml"}
    kinds |= {kind for kind, file in optional.items() if (ROOT / file).exists()}
    assert kinds <= {u["package-ecosystem"] for u in updates}
    assert all(u["cooldown"]["default-days"] >= 7 for u in updates)


def test_what_security_claims_is_held_by_something() -> None:
    """Each row of SECURITY.md names a file that is there, and a test in it where it names one."""
    rows = re.findall(r"(?m)^\| (.+) \| (`.+`) \|$", (ROOT / "SECURITY.md").read_text(encoding="utf-8"))
    assert len(rows) > 10
    part_is_removed = not all((ROOT / part).is_dir() for part in ("orchestrate", "terraform"))
    for claim, held_by in rows:
        for name in re.findall(r"`([^`]+)`", held_by):
            path, _, test = name.partition("::")
            assert (ROOT / path).is_file() or part_is_removed, f"{claim}: {name}"
            if test and (ROOT / path).is_file():
                text = (ROOT / path).read_text(encoding="utf-8")
                assert re.search(rf"(?m)^def {test}\(", text), f"{claim}: {name}"


def test_the_environment_of_releases_admits_the_tags_that_release() -> None:
    """The runbook's rule for `pypi` is the workflow's trigger."""
    release = read(GITHUB / "workflows" / "release.yml")
    assert release["jobs"]["publish"]["environment"] == "pypi"
    for page in ("docs/operations.md", "CONTRIBUTING.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        assert all(f"`{tag}`" in text for tag in release[True]["push"]["tags"])


@pytest.mark.slow
def test_line_ends_are_lf_on_every_system(tmp_path: Path) -> None:
    """A clone as Git for Windows makes it has no carriage return in any text file."""
    clone = tmp_path / "clone"
    succeed("git", "clone", "--quiet", "--config", "core.autocrlf=true", ROOT, clone)
    # What is not committed yet is part of the project too.
    shutil.copy(ROOT / ".gitattributes", clone)
    succeed("git", "rm", "--cached", "-r", "-q", ".", cwd=clone)
    succeed("git", "reset", "--hard", "-q", cwd=clone)
    listed = succeed("git", "ls-files", "--eol", cwd=clone).splitlines()
    assert len(listed) > 300
    assert not [line for line in listed if "w/crlf" in line or "w/mixed" in line]


@pytest.mark.parametrize("name", ["tap-rickandmorty", "target-bigquery"])
def test_a_released_package_has_its_files_and_its_license(name: str, tmp_path: Path) -> None:
    """The wheel is made from the source archive, as the workflow makes it; Apache-2.0 goes with every copy."""
    uv = shutil.which("uv") or ROOT / ".venvs" / "uv" / "bin" / "uv"
    built = run(uv, "build", "--offline", "--out-dir", tmp_path, ROOT / name)
    if "network was disabled" in built.stderr:
        missing("package-registry", "uv has kept no build backend")
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    held = {path.partition("/")[2]: path for path in zipfile.ZipFile(wheel).namelist()}
    (source,) = (ROOT / name / "src").iterdir()
    files = {str(path.relative_to(source)) for path in source.rglob("*") if path.suffix not in {"", ".pyc"}}
    assert {"licenses/LICENSE", "entry_points.txt", *files} <= set(held)
    assert zipfile.ZipFile(wheel).read(held["licenses/LICENSE"]) == (ROOT / "LICENSE").read_bytes()
