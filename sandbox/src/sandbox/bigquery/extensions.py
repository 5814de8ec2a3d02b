"""DuckDB's spatial extension from its PyPI wheel, so that the emulator starts without a network."""

import os
import platform
from pathlib import Path

import duckdb
import duckdb_extension_spatial

PLATFORM = {
    ("Linux", "x86_64"): "linux_amd64",
    ("Linux", "aarch64"): "linux_arm64",
    ("Darwin", "arm64"): "osx_arm64",
    ("Darwin", "x86_64"): "osx_amd64",
}


def install(home):
    """Link the extension where DuckDB looks for it under `home`, and make that the process's HOME."""
    release = "v" + duckdb.__version__
    source = (
        Path(duckdb_extension_spatial.__file__).parent / "extensions" / release / "spatial.duckdb_extension"
    )
    if not source.exists():
        raise SystemExit(f"sandbox: duckdb-extension-spatial holds nothing for DuckDB {release}")
    target = (
        Path(home)
        / ".duckdb"
        / "extensions"
        / release
        / PLATFORM[platform.system(), platform.machine()]
        / source.name
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)  # a link left by an environment that is gone
    target.symlink_to(source)
    os.environ["HOME"] = str(home)
