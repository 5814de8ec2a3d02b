#!/usr/bin/env python3
"""Puts the flows into a Kestra server: their files, the flows of one runner, and the image they run.

    KESTRA_URL=https://kestra.example KESTRA_TOKEN=… IMAGE=…@sha256:… deploy_flows.py

KESTRA_TOKEN is an API token, or user:password for open-source Kestra. KESTRA_RUNNER is batch (default), enterprise
or local; KESTRA_NAMESPACE is rickandmorty by default, KESTRA_TENANT main. Without IMAGE the image stays as it is.
KESTRA_SETTINGS names a file with the other settings, as `terraform output -json kestra` writes it. Nothing is deleted;
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
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

FLOWS = Path(__file__).resolve().parents[2] / "orchestrate" / "kestra"
NAMESPACE = re.compile(r"(?m)^namespace: \S+$")
RUNNERS = ("batch", "enterprise", "local")
SECONDS = 60


def fail(message: str) -> NoReturn:
    """Ends the program with one line."""
    print(f"deploy_flows: {message}", file=sys.stderr)
    raise SystemExit(1)


@dataclass
class Kestra:
    """A Kestra server's API; the token stays out of every message."""

    url: str
    tenant: str
    token: str

    def send(self, method: str, path: str, body: bytes, content_type: str) -> None:
        """Sends one request."""
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

    def file(self, namespace: str, path: Path) -> None:
        """Puts one namespace file."""
        boundary = uuid.uuid4().hex
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="fileContent"; filename="{path.name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        body = head.encode() + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
        where = urllib.parse.quote(f"/{path.name}", safe="")
        self.send(
            "POST",
            f"namespaces/{namespace}/files?path={where}",
            body,
            f"multipart/form-data; boundary={boundary}",
        )

    def flows(self, namespace: str, paths: list[Path]) -> None:
        """Makes or updates flows; the namespace takes the place of the one in their files."""
        texts = [
            NAMESPACE.sub(f"namespace: {namespace}", path.read_text(encoding="utf-8"), count=1)
            for path in paths
        ]
        text = "\n---\n".join(text.strip() for text in texts) + "\n"
        self.send(
            "POST", f"flows/bulk?delete=false&namespace={namespace}", text.encode(), "application/x-yaml"
        )

    def setting(self, namespace: str, key: str, value: str) -> None:
        """Sets a value of the KV store."""
        self.send("PUT", f"namespaces/{namespace}/kv/{key}", json.dumps(value).encode(), "text/plain")


def needed(variable: str) -> str:
    """Gives a variable that must be there."""
    value = os.environ.get(variable, "")
    return value or fail(f"{variable} is not set; the first lines of this program tell what it is")


def settings() -> dict[str, str]:
    """Gives what the KV store is to hold: the file's settings, and the image by its digest."""
    found: dict[str, str] = {}
    if path := os.environ.get("KESTRA_SETTINGS"):
        try:
            found = dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            fail(f"KESTRA_SETTINGS: {path}: {error}; expected what `terraform output -json kestra` writes")
        # The file knows the image's name and not its digest.
        found.pop("image", None)
    if image := os.environ.get("IMAGE", ""):
        if not re.fullmatch(r"\S+@sha256:[0-9a-f]{64}", image):
            fail(f"IMAGE is {image!r}: expected an image by digest, NAME@sha256:…")
        found["image"] = image
    return found


def main() -> int:
    """Returns the exit status."""
    url, token, values = needed("KESTRA_URL"), needed("KESTRA_TOKEN"), settings()
    if not url.startswith(("http://", "https://")):
        fail(f"KESTRA_URL is {url!r}: expected https://…")
    runner = os.environ.get("KESTRA_RUNNER") or "batch"
    if runner not in RUNNERS:
        fail(f"KESTRA_RUNNER is {runner!r}: expected {', '.join(RUNNERS)}")
    namespace = os.environ.get("KESTRA_NAMESPACE") or "rickandmorty"
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", namespace):
        fail(f"KESTRA_NAMESPACE is {namespace!r}: expected a namespace, such as rickandmorty.dev")
    kestra = Kestra(url, os.environ.get("KESTRA_TENANT") or "main", token)
    files = sorted(path for path in (FLOWS / "files").iterdir() if path.is_file())
    # What a flow needs goes before it.
    for path in files:
        kestra.file(namespace, path)
    for key, value in sorted(values.items()):
        kestra.setting(namespace, key, value)
    flows = [*sorted((FLOWS / runner).glob("*.yml")), *sorted(FLOWS.glob("*.yml"))]
    kestra.flows(namespace, flows)
    print(
        f"{len(flows)} flows, {len(files)} files and {len(values)} settings in namespace {namespace}, "
        f"runner {runner}, image {values.get('image', 'as it was')}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
