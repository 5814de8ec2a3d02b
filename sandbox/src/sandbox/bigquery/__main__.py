"""`python -m sandbox.bigquery start …`: the emulator's own command line, with the patches applied first.

`python -m sandbox.bigquery patches` lists the patches with their reasons.
"""

import contextlib
import gc
import os
import sys

from sandbox.bigquery import patches


def main() -> int:
    """Apply the patches and run the emulator; return its exit status."""
    # Imports make many objects and no garbage.
    gc.disable()
    patches.skip_what_is_unused()
    patches.check_versions()
    # Importing these applies their patches. The emulator logs meanwhile.
    with contextlib.redirect_stdout(sys.stderr):
        from sandbox.bigquery import (  # noqa: F401, PLC0415
            columns,
            ddl,
            errors,
            functions,
            information_schema,
            jobs,
            parse_cache,
            refusals,
            statements,
            tables,
            unused_features,
        )

    if sys.argv[1:] == ["patches"]:
        text = "".join(f"{what:55} {why}\n" for what, why in patches.REASONS)
        try:
            os.write(sys.stdout.fileno(), text.encode())
        except OSError as error:
            raise SystemExit(f"sandbox: {error}") from None
        return 0
    from bqemulator.cli import main as run  # noqa: PLC0415 (after the patches)

    # Trees of statements are many small objects: by default a fifth of the time goes into looking for cycles among them.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    gc.enable()
    return int(run() or 0)


if __name__ == "__main__":
    raise SystemExit(main())
