#!/usr/bin/env python3
"""Read a release's tag, such as tap-rickandmorty-v0.2.0, and check it against the package's metadata.

release_tag.py TAG

Prints name=… and version=…, as GitHub takes a step's outputs; exit status 1 when the package says another version.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("tap-rickandmorty", "target-bigquery")


def main(arguments: list[str]) -> int:
    """Check the tag; return the exit status."""
    tag = arguments[0] if arguments else ""
    found = re.fullmatch(rf"({'|'.join(PACKAGES)})-v(\d+\.\d+\.\d+\S*)", tag)
    if found is None:
        print(
            f"release_tag: {tag!r}: expected {' or '.join(f'{p}-v1.2.3' for p in PACKAGES)}", file=sys.stderr
        )
        return 1
    name, version = found.groups()
    project = tomllib.loads((ROOT / name / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    if project["version"] != version:
        print(
            f"release_tag: {tag}: {name}/pyproject.toml says version {project['version']}; change one of them",
            file=sys.stderr,
        )
        return 1
    print(f"name={name}\nversion={version}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
