#!/usr/bin/env python3
"""Deploy the flows to a Kestra server: the pipeline, meltano_run with the tasks of one runner, and the image they run.

    KESTRA_URL=https://kestra.example KESTRA_TOKEN=… IMAGE=…@sha256:… deploy_flows.py
    deploy_flows.py --print                    the flows as they would be sent, to read or to paste into Kestra's editor

meltano_run is its interface (meltano_run.yml) and its tasks (runners/*.yml); `key: !include FILE`, a file below orchestrate/,
gives the text of that file. KESTRA_TOKEN is an API token, or user:password for open-source Kestra. KESTRA_RUNNER is batch
(default), enterprise or local; KESTRA_NAMESPACE is rickandmorty by default, KESTRA_TENANT main. Without IMAGE the image stays
as it is. KESTRA_CREDENTIALS_SECRET names the secret with Google credentials, for a Kestra outside Google Cloud.
KESTRA_SETTINGS names a file with the other settings, as `terraform output -json kestra` writes it.
Nothing is deleted; running it again changes nothing.
"""

import json
import os
import re
import signal
import sys
from pathlib import Path

from kestra_api import Server, fail

ORCHESTRATE = Path(__file__).resolve().parents[2] / "orchestrate"
FLOWS = ORCHESTRATE / "kestra"
INCLUDE = re.compile(r"(?m)^( *)(\S+): !include (\S+)$")
# What Kestra would read as an expression.
EXPRESSION = re.compile(r"\{[{%#]")
BETWEEN = "---"
NAMESPACE = re.compile(r"(?m)^namespace: \S+$")
RUNNERS = ("batch", "enterprise", "local")


def included(line: re.Match[str]) -> str:
    """Return a line that includes a file, with the file's text as a block of YAML."""
    indent, key, name = line.groups()
    try:
        text = (ORCHESTRATE / name).read_text(encoding="utf-8")
    except OSError as error:
        fail(f"!include {name}: {error}")
    if EXPRESSION.search(text):
        fail(f"!include {name}: it has {{{{, {{% or {{#, which Kestra would read as an expression")
    lines = [f"{indent}  {each}".rstrip() for each in text.splitlines()]
    return "\n".join([f"{indent}{key}: |", *lines])


def flows(runner: str, namespace: str) -> list[str]:
    """Return the flows as Kestra takes them: the subflow before the flow that calls it."""
    meltano_run = (FLOWS / "meltano_run.yml").read_text(encoding="utf-8")
    tasks = (FLOWS / "runners" / f"{runner}.yml").read_text(encoding="utf-8")
    pipelines = [
        path.read_text(encoding="utf-8")
        for path in sorted(FLOWS.glob("*.yml"))
        if path.name != "meltano_run.yml"
    ]
    whole = [f"{meltano_run}\n{INCLUDE.sub(included, tasks)}", *pipelines]
    for text in whole:
        # Kestra takes several flows in one text, and splits it here, wherever that is.
        if BETWEEN in text:
            fail(f"flow {identity(text)} has {BETWEEN} in it, where Kestra would cut it in two")
    return [NAMESPACE.sub(f"namespace: {namespace}", text, count=1) for text in whole]


def identity(flow: str) -> str:
    """Return a flow's id."""
    found = re.search(r"(?m)^id: (\S+)$", flow)
    return found[1] if found else fail(f"a flow without an id: {flow[:80]!r}")


def settings() -> dict[str, object]:
    """Return what the KV store is to hold: the file's settings, and the image by its digest."""
    found: dict[str, object] = {}
    if path := os.environ.get("KESTRA_SETTINGS"):
        expected = "expected what `terraform output -json kestra` writes"
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            fail(f"KESTRA_SETTINGS: {path}: {error}; {expected}")
        environment = found.get("environment") if isinstance(found, dict) else None
        if not isinstance(environment, dict):
            fail(f"KESTRA_SETTINGS: {path} has no map `environment`; {expected}")
        for name, value in {**environment, **found, "environment": ""}.items():
            if not isinstance(value, str):
                fail(f"KESTRA_SETTINGS: {path}: {name} is {json.dumps(value)[:80]}, no text; {expected}")
        # The file knows the image's name and not its digest.
        found.pop("image", None)
    if secret := os.environ.get("KESTRA_CREDENTIALS_SECRET", ""):
        found["credentials_secret"] = secret
    if image := os.environ.get("IMAGE", ""):
        if not re.fullmatch(r"\S+@sha256:[0-9a-f]{64}", image):
            fail(f"IMAGE is {image!r}: expected an image by digest, NAME@sha256:…")
        found["image"] = image
    return found


def main() -> int:
    """Deploy, or print; return the exit status."""
    runner = os.environ.get("KESTRA_RUNNER") or "batch"
    if runner not in RUNNERS:
        fail(f"KESTRA_RUNNER is {runner!r}: expected {', '.join(RUNNERS)}")
    namespace = os.environ.get("KESTRA_NAMESPACE") or "rickandmorty"
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", namespace):
        fail(f"KESTRA_NAMESPACE is {namespace!r}: expected a namespace, such as rickandmorty.dev")
    if sys.argv[1:] == ["--print"]:
        try:
            # Closed here: what could not be written is not tried again at the end.
            with open(1, "w", encoding="utf-8", closefd=False) as output:
                output.write(f"{BETWEEN}\n".join(flows(runner, namespace)))
        except BrokenPipeError:
            return 128 + signal.SIGPIPE
        except OSError as error:
            fail(f"--print: {error.strerror}")
        return 0
    if sys.argv[1:]:
        fail(f"{' '.join(sys.argv[1:])}: expected --print or nothing")
    kestra, values = Server(), settings()
    # What a flow needs goes before it.
    for key, value in sorted(values.items()):
        kestra.send("PUT", f"namespaces/{namespace}/kv/{key}", json.dumps(value).encode(), "text/plain")
    texts = flows(runner, namespace)
    path = f"flows/bulk?delete=false&namespace={namespace}"
    answer = kestra.send("POST", path, f"{BETWEEN}\n".join(texts).encode(), "application/x-yaml")
    deployed = (
        {flow.get("id") for flow in answer if isinstance(flow, dict)} if isinstance(answer, list) else set()
    )
    if missing := [name for name in map(identity, texts) if name not in deployed]:
        fail(f"Kestra has not taken {', '.join(missing)}: {json.dumps(answer)[:200]}")
    print(
        f"{len(texts)} flows and {len(values)} settings in namespace {namespace}, "
        f"runner {runner}, image {values.get('image', 'as it was')}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
