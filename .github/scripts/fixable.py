#!/usr/bin/env python3
"""Read osv-scanner's JSON from standard input; exit with status 1 when a vulnerability has a fixed version.

    osv-scanner scan image --format json IMAGE | fixable.py

What has no fix yet is counted and does not fail: a system package's old vulnerability would keep every change waiting.
A package that is malicious (OSV's MAL-…) has none and fails.
An exception with its reason and its last day goes into osv-scanner.toml.
"""

import json
import re
import sys
from typing import Any


def spelt(name: str) -> str:
    """Return a package's name as every spelling of it has it: https://peps.python.org/pep-0503/#normalized-names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def fixed_in(package: dict[str, Any], vulnerability: dict[str, Any]) -> list[str]:
    """Return the versions that fix a vulnerability in a package."""
    about = [(entry, entry.get("package") or {}) for entry in vulnerability.get("affected") or []]
    ecosystem = package.get("ecosystem", "")
    # Advisories name a system's release in more than one way, and a part of a package by the whole.
    for closer in (
        lambda other: other.get("ecosystem", "").partition(":")[0] == ecosystem.partition(":")[0],
        lambda other: other.get("ecosystem") == ecosystem,
        lambda other: spelt(other.get("name", "")) == spelt(package["name"]),
    ):
        about = [pair for pair in about if closer(pair[1])] or about
    return sorted(
        {
            event["fixed"]
            for entry, _ in about
            for span in entry.get("ranges") or []
            if span.get("type") != "GIT"
            for event in span.get("events") or []
            if "fixed" in event
        }
    )


def vulnerabilities(report: dict[str, Any]) -> tuple[set[str], int]:
    """Return a line for each vulnerability that fails, and how many have no fix."""
    fixable, waiting = set(), 0
    for result in report["results"] or []:
        for found in result.get("packages") or []:
            package = found["package"]
            for vulnerability in found.get("vulnerabilities") or []:
                name, versions = vulnerability["id"], fixed_in(package, vulnerability)
                if versions or name.startswith("MAL-"):
                    remedy = f"fixed in {', '.join(versions)}" if versions else "malicious: remove it"
                    fixable.add(
                        f"{package['name']} {package.get('version', '')}: {name}, {remedy} ({result['source']['path']})"
                    )
                else:
                    waiting += 1
    return fixable, waiting


def main() -> int:
    """Return the exit status."""
    text = sys.stdin.read()
    try:
        fixable, waiting = vulnerabilities(json.loads(text))
    except (ValueError, LookupError, TypeError, AttributeError):
        print(
            f"fixable: expected osv-scanner's JSON, got {text[:80]!r}; look at the lines above",
            file=sys.stderr,
        )
        return 2
    for line in sorted(fixable):
        print(line)
    print(f"{len(fixable)} with a fix, {waiting} without")
    return 1 if fixable else 0


if __name__ == "__main__":
    raise SystemExit(main())
