"""What `make new EMPTY=1` keeps of each file: everything but the example's entities.

Files in scripts/empty/ replace those that are about the example; `make entity` then adds the entities.
"""

import re
from pathlib import Path

EMPTY = Path(__file__).resolve().parent / "empty"
# About the example alone.
DROPPED = re.compile(
    r"""
    tap-\w+/(src/\w+/schemas/ | tests/(?!conftest|tap_api|targets/))
    | sandbox/tests/test_(api | cli | exec | faults | sources | universe)\.py
    | tests/(?!conftest | logging_filter | googlesql | kept_dbt | warehouse
        | terraform/test_google_apis
        | test_(dbt_2 | meltano_project | other_plugins | repository | run_progress | schemas | secrets | target_sql)\.py)
    | terraform/schemas/(?!_loads)
    | transform/(models/(history | marts/core)/ | tests/)
    | transform/models/.*\.sql
    | docs/(questions | performance)\.md
    """,
    re.VERBOSE,
)
# Of dbt's models, tests and macros, what every source needs.
KEPT_SQL = re.compile(r"(stg_\w+__loads|int_build_versions|int_landed|rpt_verdict|rpt_loads)\.sql$")
KEPT = re.compile(
    r"""
    stg_rickandmorty__loads | int_build_versions | int_landed | int_findings | rpt_verdict | rpt_loads | _loads
    | loads_as_the_ledger_has_them | versions_of_a_build | data_platform
    """,
    re.VERBOSE,
)
EXAMPLES_MACROS = re.compile(
    r"""
    id_from_url | ids_from_urls | unreadable_address_count | cleaned_(characters | episodes | locations) | measure
    | compared_entities | tracked_fields | last_parts | history | known_history | refuse_to_forget
    """,
    re.VERBOSE,
)
ITEM = r"(?m)^ {%d}- name: (\w+)\n(?:(?! {%d}- | {0,%d}\S).*\n)*"
ITEMS, TABLES = (ITEM.replace("%d", indent) for indent in "26")
MACRO = r"\{%-? macro (\w+)\((?:.|\n)*?endmacro -?%\}\n*"
# What leaves a file besides.
EDITS = {
    "README.md": [
        (r"The domain is a toy.*\n|The data comes from .*\n", ""),
        (
            r"(?s)What `make run` prints.*?(?=\| you want to)",
            "The first entity: `make entity NAME=… SAMPLE=…`, from a sample of its records ([docs/onboarding.md](docs/onboarding.md)).\n\n",
        ),
    ],
    "transform/models/_project.yml": [(r"(?s)\nexposures:.*", "")],
    "transform/dbt_project.yml": [
        (r"(?s)  # Most characters of an episode.*?(?=  # What a check of rpt_verdict)", ""),
        (r"(?s)    history:\n.*?(?=    marts:)", ""),
        (r"    status_values: .*\n|      int_links: .*\n", ""),
    ],
    "transform/models/marts/reports/rpt_verdict.sql": [
        (r",\n +COUNTIF\(rule = 'unknown_status_value'.*| +\('status_values'.*\n", "")
    ],
    "dbt-bouncer.yml": [
        (r"\^models/\(staging/stg_\|.*\)\n.*", "^models/staging/stg_"),
        (r"(?m)^  - name: check_model_names\n    include: \^models/history\n.*\n", ""),
    ],
    "entities.yml": [(r"(?ms)^entities:.*", "entities: []\n")],
}


def without_example(name: str, text: str) -> str | None:
    """Return what is left of a text file, None where nothing is.

    Raises:
        ValueError: A file no longer has what is to leave it.
    """
    if (EMPTY / name).is_file():
        return (EMPTY / name).read_text(encoding="utf-8")
    if DROPPED.match(name) and not KEPT_SQL.search(name):
        return None
    if not text:
        # py.typed: without it mypy refuses the package in the tests.
        return text
    for pattern, put in EDITS.get(name, []):
        text, times = re.subn(pattern, put, text)
        if not times:
            raise ValueError(
                f"{name}: expected {pattern!r}, which is not there; correct {Path(__file__).name}"
            )
    if name.startswith("transform/macros/"):
        for block in (MACRO, ITEMS):
            text = re.sub(block, lambda match: "" if EXAMPLES_MACROS.fullmatch(match[1]) else match[0], text)
    elif re.match(r"transform/models/.*\.yml", name):
        pattern = TABLES if name.endswith("_sources.yml") else ITEMS
        text = re.sub(pattern, lambda match: match[0] if KEPT.fullmatch(match[1]) else "", text)
    return f"{text.rstrip()}\n" if text.strip() else None
