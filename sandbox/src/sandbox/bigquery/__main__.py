"""`python -m sandbox.bigquery start …`: the emulator's own command line, with its changes applied first.

BQEMU_HOME names a folder for DuckDB's extensions. `python -m sandbox.bigquery patches` lists what is changed and why.
"""

import os
import sys
import tempfile
from pathlib import Path

from sandbox.bigquery import extensions, patching, sql


def main() -> int:
    """Applies the changes and runs the emulator; returns its exit status."""
    patching.check_versions()
    extensions.install(os.environ.get("BQEMU_HOME") or Path(tempfile.gettempdir()) / "bqemulator-home")
    sql.register_rules()
    # They import the emulator; importing the first two applies their patches.
    from sandbox.bigquery import columns, errors, catalog, copying, jobs, load, parsing, tables, values  # noqa: PLC0415, F401

    for part in (sql, catalog, tables, jobs, load, copying, parsing):
        part.apply()
    if sys.argv[1:] == ["patches"]:
        print("\n".join(f"{what:55} {why}" for what, why in patching.REASONS))  # noqa: T201 (what was asked for)
        return 0
    from bqemulator.cli import main as run  # noqa: PLC0415 (after the changes)

    return int(run() or 0)


if __name__ == "__main__":
    raise SystemExit(main())
