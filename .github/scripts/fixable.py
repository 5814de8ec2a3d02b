#!/usr/bin/env python3
"""Read osv-scanner's JSON from standard input; exit with status 1 when a vulnerability has a fixed version.

    osv-scanner scan image --format json IMAGE | fixable.py

What has no fix yet is counted and does not fail: a system package's old vulnerability would keep every change waiting.
An exception with its reason and its last day goes into osv-scanner.toml.
"""
# ruff: noqa: T201 (a program)

from __future__ import annotations

import json
import sys
from typing import Any


def fixed_in(package: dict[str, Any], vulnerability: dict[str, Any]) -> list[str]:
    """Return the versions that fix a vulnerability in a package."""
    return sorted(
        {
            event["fixed"]
            for affected in vulnerability.get("affected", [])
            if affected.get("package", {}).get("name", "").lower() == package["name"].lower()
            and affected["package"].get("ecosystem") == package.get("ecosystem")
            for span in affected.get("ranges", [])
            if span.get("type") != "GIT"
            for event in span.get("events", [])
            if "fixed" in event
        }
    )


def main() -> int:
    """Return the exit status."""
    text = sys.stdin.read()
    try:
        report = json.loads(text)
        results = report["results"] or []
    except (ValueError, KeyError, TypeError):
        print(
            f"fixable: expected osv-scanner's JSON, got {text[:80]!r}; look at the lines above",
            file=sys.stderr,
        )
        return 2
    fixable, waiting = [], 0
    for result in results:
        for found in result.get("packages", []):
            package = found["package"]
            for vulnerability in found.get("vulnerabilities", []):
                if versions := fixed_in(package, vulnerability):
                    fixable.append(
                        f"{package['name']} {package['version']}: {vulnerability['id']}, fixed in "
                        f"{', '.join(versions)} ({result['source']['path']})"
                    )
                else:
                    waiting += 1
    for line in sorted(set(fixable)):
        print(line)
    print(f"{len(set(fixable))} with a fix, {waiting} without")
    return 1 if fixable else 0


if __name__ == "__main__":
    raise SystemExit(main())
