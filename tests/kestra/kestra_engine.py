"""Kestra's real engine: built once with Maven from this folder, one process for a session.

Where Maven or a JDK 25 is missing, or Maven Central cannot be reached for the first build, the tests are skipped and say so.
`KESTRA_JAVA_HOME` or `JAVA_HOME` names the JDK.
"""

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import deploy_flows
import pytest
from meltano_stand_in import MeltanoStandIn
from testkit.programs import eventually, run
from testkit.project_files import ROOT
from testkit.required_tools import missing

SOURCES = Path(__file__).parent
FLOWS = ROOT / "orchestrate" / "kestra"
PIPELINE = "rick_and_morty_pipeline"
# Each is deployed in a namespace of its own.
VARIANTS = ["local", "enterprise", "batch"]
LOCAL, ENTERPRISE, BATCH = (f"rickandmorty.{variant}" for variant in VARIANTS)
ALL = ["character", "episode", "location"]
NEEDED: dict[str, Any] = {
    "gcp_project": "a-project",
    "gcp_region": "europe-west1",
    "image": "europe-west1-docker.pkg.dev/a-project/pipelines/rickandmorty@sha256:0",
    "service_account": "meltano@a-project.iam.gserviceaccount.com",
}
# A value that Kestra would take for expressions of its own.
BRACES = {"DBT_BRACES": "{{ secret('ALERT_WEBHOOK') }} {% raw %} {# c #} {{{ \\ \" ' ${x} \n {}"}


class RefusedError(Exception):
    """Kestra refuses a flow, or the inputs of an execution."""


def java_home() -> Path:
    """Return a JDK 25; skips where there is none."""
    named = [os.environ.get("KESTRA_JAVA_HOME"), os.environ.get("JAVA_HOME")]
    candidates = [Path(n) for n in named if n] + sorted(Path("/usr/lib/jvm").glob("*25*"))
    if (java := shutil.which("java")) is not None:
        candidates.append(Path(java).resolve().parent.parent)
    for home in candidates:
        release = home / "release"
        is_jdk = release.is_file() and (home / "bin" / "javac").is_file()
        if is_jdk and 'JAVA_VERSION="25' in release.read_text():
            return home
    return missing("jdk-25", "install one, or name it in KESTRA_JAVA_HOME")


def built(java: Path) -> Path:
    """Return the folder with the engine's jar and class path, built when its sources have changed."""
    if (maven := shutil.which("mvn")) is None:
        missing("maven", "install it; Kestra's engine is built with it")
    sources = [SOURCES / "pom.xml", *sorted((SOURCES / "src").rglob("*"))]
    digest = hashlib.sha256(b"".join(p.read_bytes() for p in sources if p.is_file())).hexdigest()[:16]
    folder = ROOT / ".cache" / "kestra-engine" / digest
    if (folder / "classpath.txt").is_file():
        return folder
    goals = ["package", "dependency:build-classpath", f"-Dmdep.outputFile={folder}/classpath.txt"]
    command = [maven, "--batch-mode", "--quiet", f"-Dbuild.folder={folder}", *goals]
    for more in (["--offline"], []):
        environment = {**os.environ, "JAVA_HOME": str(java)}
        done = run(*command, *more, cwd=SOURCES, env=environment)
        if done.returncode == 0:
            return folder
    shutil.rmtree(folder, ignore_errors=True)
    text = done.stdout + done.stderr
    if "COMPILATION ERROR" in text:
        pytest.fail(text[-3000:])
    return missing("kestra-engine", f"Maven could not fetch it: {text[-400:]}")


@dataclass
class Run:
    """An execution and everything below it."""

    executions: list[dict[str, Any]]
    root: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.root = self.executions[0]

    @property
    def state(self) -> str:
        """The state it ended in."""
        return str(self.root["state"])

    @property
    def outputs(self) -> dict[str, Any]:
        """The flow's outputs."""
        return dict(self.root.get("outputs") or {})

    @property
    def tasks(self) -> dict[str, str]:
        """State of each task of the flow itself."""
        return {task["id"]: task["state"] for task in self.root["tasks"]}

    @property
    def jobs(self) -> dict[str, dict[str, Any]]:
        """The executions of meltano_run, by job; the last of each."""
        return {e["inputs"]["job"]: e for e in self.executions if e["flow"] == "meltano_run"}

    @property
    def states(self) -> dict[str, str]:
        """The state of each job's execution."""
        return {job: execution["state"] for job, execution in self.jobs.items()}

    def log(self, level: str | None = None) -> str:
        """The messages of every execution, or those of one level."""
        return "\n".join(
            entry["message"]
            for e in self.executions
            for entry in e["logs"]
            if level in {None, entry["level"]}
        )


class Engine:
    """The running engine."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        """Boot it; `folder` takes its files."""
        java = java_home()
        home = built(java)
        (folder / "scratch").mkdir(parents=True, exist_ok=True)
        options = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "--sun-misc-unsafe-memory-access=allow"]
        class_path = f"{home}/kestra-engine-1.jar:{(home / 'classpath.txt').read_text().strip()}"
        self._settings: dict[str, dict[str, Any]] = {}
        self._errors = (folder / "engine.log").open("w+")
        self._process = subprocess.Popen(
            [
                *(str(java / "bin" / "java"), *options, f"-Djava.io.tmpdir={folder}/scratch"),
                *("-cp", class_path, "rickandmorty.kestra.Server"),
            ],
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        if not self._read().get("ready"):
            self._errors.seek(0)
            pytest.fail(f"Kestra's engine did not start: {self._errors.read()[-4000:]}")

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line else {}

    def ask(self, op: str, **request: Any) -> Any:
        """One request.

        Raises:
            RefusedError: The engine refuses it.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"op": op, **request}) + "\n")
        self._process.stdin.flush()
        reply = self._read()
        if isinstance(reply, dict) and "error" in reply:
            raise RefusedError(f"{reply['error']}: {reply['message']}")
        return reply

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._errors.close()

    def deploy(self, namespace: str, variant: str, **replaced: str) -> None:
        """Deploy the pipeline and meltano_run with the tasks of one variant, as `make deploy-flows` does."""
        for text in flows(namespace, variant, **replaced):
            self.ask("create", source=text)

    def settings(self, namespace: str, **values: Any) -> None:
        """Set the namespace's settings; None removes one."""
        self.ask("kv", namespace=namespace, values=values)
        self._settings.setdefault(namespace, {}).update(values)

    def run_locally(self, namespace: str, fakes: MeltanoStandIn, **variables: str) -> None:
        """Set what a namespace needs whose jobs are processes with a stand-in of Meltano; the jobs get the variables."""
        environment = {"FAKES": str(fakes.folder), **variables}
        self.settings(namespace, meltano=fakes.variables["MELTANO"], environment=environment)

    @contextmanager
    def changed(self, namespace: str, **values: Any) -> Iterator[None]:
        """Change the namespace's settings for as long as this lasts."""
        before = {name: self._settings.get(namespace, {}).get(name) for name in values}
        self.settings(namespace, **values)
        try:
            yield
        finally:
            self.settings(namespace, **before)

    def start(self, namespace: str, name: str = PIPELINE, **inputs: Any) -> str:
        """Start an execution; gives its id."""
        return str(self.ask("start", namespace=namespace, flow=name, inputs=inputs)["id"])

    def look(self, execution: str) -> tuple[bool, Run]:
        """Return whether an execution has ended, and what is known of it."""
        tree = self.ask("tree", id=execution)
        # An iteration of a Loop is an execution that began when its root did.
        return tree["terminated"], Run(sorted(tree["executions"], key=lambda e: e["id"] != execution))

    def restart(self, execution: str, seconds: float = 1200) -> Run:
        """Restart an execution that has ended, and wait for it."""
        before = len(self.look(execution)[1].root["states"])
        self.ask("restart", id=execution)
        eventually(lambda: len(self.look(execution)[1].root["states"]) > before, "it was not restarted")
        return self.wait(execution, seconds)

    def wait(self, execution: str, seconds: float = 1200) -> Run:
        """Wait for an execution and all below it, their logs included."""
        deadline = time.monotonic() + seconds
        known = -1
        while time.monotonic() < deadline:
            # A look reads every execution that there has been: dear, while this one runs.
            if self.ask("ended", id=execution):
                ended, run = self.look(execution)
                entries = sum(len(e["logs"]) + len(e["metrics"]) for e in run.executions)
                if ended and entries == known:
                    return run
                known = entries if ended else -1
            time.sleep(0.2)
        executions = json.dumps(self.look(execution)[1].executions)
        pytest.fail(f"execution {execution} has not ended in {seconds} s: {executions[-3000:]}")

    def run(self, namespace: str, name: str = PIPELINE, /, seconds: float = 1200, **inputs: Any) -> Run:
        """Start an execution and wait for it."""
        return self.wait(self.start(namespace, name, **inputs), seconds)


def flows(namespace: str, variant: str, **replaced: str) -> list[str]:
    """The flows as they are deployed: meltano_run with the tasks of a variant, then the pipeline."""
    texts: list[str] = deploy_flows.flows(variant, namespace)
    for old, new in replaced.items():
        texts = [text.replace(old, new) for text in texts]
    return texts
