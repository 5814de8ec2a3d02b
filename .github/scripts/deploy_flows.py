#!/usr/bin/env python3
"""Deploy the flows to a Kestra server: the pipeline, meltano_run with the tasks of one runner, and the image they run.

    KESTRA_URL=https://kestra.example KESTRA_TOKEN=… IMAGE=…@sha256:… deploy_flows.py
    deploy_flows.py --print                    the flows as they would be sent, to read or to paste into Kestra's editor

meltano_run is its interface (meltano_run.yml) and its tasks (runners/*.yml); `key: !include FILE`, a file below orchestrate/,
gives the text of that file. KESTRA_TOKEN is an API token, or user:password for open-source Kestra. KESTRA_RUNNER is batch (default), enterprise
or local; KESTRA_NAMESPACE is rickandmorty by default, KESTRA_TENANT main. Without IMAGE the image stays as it is.
KESTRA_CREDENTIALS_SECRET names the secret with Google credentials, for a Kestra outside Google Cloud. KESTRA_SETTINGS names a file with the other settings, as `terraform output -json kestra` writes it. Nothing is deleted;
running it again changes nothing.
"""
# ruff: noqa: T201 (a program)

from __future__ import annotations

import base64
import json
import os
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

ORCHESTRATE = Path(__file__).resolve().parents[2] / "orchestrate"
FLOWS = ORCHESTRATE / "kestra"
INCLUDE = re.compile(r"(?m)^( *)(\S+): !include (\S+)$")
# What Kestra would read as an expression.
EXPRESSION = re.compile(r"\{[{%#]")
NAMESPACE = re.compile(r"(?m)^namespace: \S+$")
RUNNERS = ("batch", "enterprise", "local")
SECONDS = 60


def fail(message: str) -> NoReturn:
    """End the program with one line."""
    print(f"deploy_flows: {message}", file=sys.stderr)
    raise SystemExit(1)


@dataclass
class Kestra:
    """A Kestra server's API; the token stays out of every message."""

    url: str
    tenant: str
    token: str

    def send(self, method: str, path: str, body: bytes, content_type: str) -> None:
        """Send one request."""
        scheme = "Basic" if ":" in self.token else "Bearer"
        secret = base64.b64encode(self.token.encode()).decode() if scheme == "Basic" else self.token
        address = f"{self.url.rstrip('/')}/api/v1/{self.tenant}/{path}"
        request = urllib.request.Request(  # noqa: S310 (http and https only, see main)
            address,
            data=body,
            method=method,
            headers={"Authorization": f"{scheme} {secret}", "Content-Type": content_type},
        )
        try:
            with urllib.request.urlopen(request, timeout=SECONDS):  # noqa: S310 (the same)
                return
        except urllib.error.HTTPError as error:
            text = " ".join(error.read(2000).decode("utf-8", "replace").split())[:400]
            fail(f"{method} {address}: status {error.code}: {text or error.reason}")
        except OSError as error:
            fail(f"{method} {address}: {error}; look at KESTRA_URL")

    def flows(self, namespace: str, texts: list[str]) -> None:
        """Make or update flows."""
        self.send(
            "POST",
            f"flows/bulk?delete=false&namespace={namespace}",
            "---\n".join(texts).encode(),
            "application/x-yaml",
        )

    def setting(self, namespace: str, key: str, value: object) -> None:
        """Set a value of the KV store."""
        self.send("PUT", f"namespaces/{namespace}/kv/{key}", json.dumps(value).encode(), "text/plain")


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
    return [NAMESPACE.sub(f"namespace: {namespace}", text, count=1) for text in whole]


def needed(variable: str) -> str:
    """Return a variable that must be set."""
    value = os.environ.get(variable, "")
    return value or fail(f"{variable} is not set; the first lines of this program explain it")


def settings() -> dict[str, object]:
    """Return what the KV store is to hold: the file's settings, and the image by its digest."""
    found: dict[str, object] = {}
    if path := os.environ.get("KESTRA_SETTINGS"):
        try:
            found = dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            fail(f"KESTRA_SETTINGS: {path}: {error}; expected what `terraform output -json kestra` writes")
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
        print("---\n".join(flows(runner, namespace)), end="")
        return 0
    if sys.argv[1:]:
        fail(f"{' '.join(sys.argv[1:])}: expected --print or nothing")
    url, token, values = needed("KESTRA_URL"), needed("KESTRA_TOKEN"), settings()
    if not url.startswith(("http://", "https://")):
        fail(f"KESTRA_URL is {url!r}: expected https://…")
    kestra = Kestra(url, os.environ.get("KESTRA_TENANT") or "main", token)
    # What a flow needs goes before it.
    for key, value in sorted(values.items()):
        kestra.setting(namespace, key, value)
    texts = flows(runner, namespace)
    kestra.flows(namespace, texts)
    print(
        f"{len(texts)} flows and {len(values)} settings in namespace {namespace}, "
        f"runner {runner}, image {values.get('image', 'as it was')}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
