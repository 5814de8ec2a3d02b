"""Every YAML, TOML, HCL and JSON file is checked by the schema that its tool publishes, offline.

The table says for each file what checks it; a file that no row names fails, and so does a row that names no file.
"""

import json
import re
import tomllib
from collections.abc import Callable
from datetime import date
from fnmatch import fnmatch
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import validators
from testkit.programs import succeed
from testkit.project_files import ROOT, project_files
from testkit.required_tools import missing, tool

SUFFIXES = {".yml", ".yaml", ".toml", ".json", ".lock", ".hcl", ".tf", ".tfvars"}


def newest_schema(folder: str, pattern: str, name: str) -> Path:
    """Return a schema inside an installed environment; `latest`, or else the newest."""
    schemas = sorted(
        (ROOT / folder).glob(pattern), key=lambda path: (path.stem == "latest", len(path.stem), path.stem)
    )
    return schemas[-1] if schemas else missing(name, "`make install` installs it, with its schema")


class Yaml12(yaml.SafeLoader):
    """YAML as GitHub and dbt read it: `on` is a word, not a truth."""


Yaml12.yaml_implicit_resolvers = {
    first: [(tag, regex) for tag, regex in kinds if tag != "tag:yaml.org,2002:bool"]
    for first, kinds in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Yaml12.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|false)$"), list("tf"))


def read(path: Path) -> Any:
    """Return what a file says."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".toml":
        return tomllib.loads(text)
    return yaml.load(text, Yaml12) if path.suffix in {".yml", ".yaml"} else json.loads(text)  # noqa: S506 (a safe loader)


def by_schema(schema: dict[str, Any], file: Path) -> None:
    """Fail with every place where a file is not what a schema says."""
    checker = validators.validator_for(schema)(schema)
    wrong = [
        f"{'.'.join(map(str, e.absolute_path))}: {e.message[:300]}" for e in checker.iter_errors(read(file))
    ]
    assert not wrong, "\n".join(wrong)


def inside(package: str, file: str, name: str) -> dict[str, Any]:
    """Return a schema that a package of this environment carries."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        missing(name, "`make install` installs it")
    (path,) = Path(spec.origin).parent.rglob(file)
    schema: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return schema


def published(name: str) -> Callable[[Path], None]:
    """Check by a schema that check-jsonschema carries."""
    return lambda file: by_schema(inside("check_jsonschema", f"vendor/{name}.json", "check-jsonschema"), file)


def meltano(file: Path) -> None:
    """Check by the schema in Meltano's wheel."""
    path = newest_schema(
        ".venvs/meltano", "lib/python*/site-packages/meltano/schemas/meltano.schema.json", "meltano"
    )
    by_schema(json.loads(path.read_text()), file)


def dbt(kind: str) -> Callable[[Path], None]:
    """Check by one of the schemas in dbt's wheel."""

    def check(file: Path) -> None:
        pattern = f"venv/lib/python*/site-packages/dbt/jsonschemas/{kind}/*.json"
        path = newest_schema(".meltano/utilities/dbt-bigquery", pattern, "dbt")
        schema = json.loads(path.read_text())
        definitions = schema.get("definitions", {})
        # dbt takes a severity in any case; its schema lists one way to write it.
        for severity in definitions.get("Severity", {}), *definitions.get("Severity", {}).get("anyOf", []):
            if "enum" in severity:
                severity["enum"] = [*severity["enum"], *map(str.lower, severity["enum"])]
        # Its three parts of a partition each refuse the keys of the others.
        for part in ("BigqueryPartitionConfig", "RangeConfig", "TimeConfig"):
            definitions.get(part, {}).pop("additionalProperties", None)
        by_schema(schema, file)

    return check


@cache
def standards() -> Callable[[dict[str, Any]], Any]:
    """Return validate-pyproject's checker: the standards' tables and, of its schema store, those of the tools in our files."""
    if find_spec("validate_pyproject") is None or find_spec("validate_pyproject_schema_store") is None:
        missing("validate-pyproject", "`make install` installs it, with the schema store")
    used = {
        tool
        for name in files()
        if Path(name).name == "pyproject.toml"
        for tool in read(ROOT / name).get("tool", ())
    }
    store = import_module("validate_pyproject.plugins").list_from_entry_points()
    checks: Callable[[dict[str, Any]], Any] = import_module("validate_pyproject.api").Validator(
        plugins=[plugin for plugin in store if plugin.tool in used]
    )
    return checks


def pyproject(file: Path) -> None:
    """Check by validate-pyproject."""
    checks = standards()
    try:
        checks(read(file))
    except import_module("validate_pyproject.errors").ValidationError as error:
        pytest.fail(str(error))


def ruff(file: Path) -> None:
    """Check by Ruff's schema, as the schema store carries it."""
    by_schema(inside("validate_pyproject_schema_store", "ruff.schema.json", "validate-pyproject"), file)


def json_schema(file: Path) -> None:
    """Check that a JSON schema is one."""
    schema = read(file)
    validators.validator_for(schema, validators.Draft202012Validator).check_schema(schema)


def json_schemas(file: Path) -> None:
    """Check that each JSON schema of a file, by its name, is one."""
    for schema in read(file).values():
        validators.validator_for(schema, validators.Draft202012Validator).check_schema(schema)


def pre_commit(file: Path) -> None:
    """Check by pre-commit's own validation."""
    succeed(tool("pre-commit"), "validate-config", file)


def osv_scanner(file: Path) -> None:
    """Check that each vulnerability that is passed over says which, why, and until when; the scanner publishes no schema."""
    message = read(file)
    assert set(message) <= {"IgnoredVulns"}, f"{sorted(message)}: passes over more than named vulnerabilities"
    for entry in message.get("IgnoredVulns", []):
        assert set(entry) == {"id", "ignoreUntil", "reason"}, entry
        assert isinstance(entry["ignoreUntil"], date), entry


# The first row that matches a file counts.
TABLE: list[tuple[str, Callable[[Path], None]]] = [
    (".github/workflows/*.yml", published("github-workflows")),
    (".github/actions/*/action.yml", published("github-actions")),
    (".github/dependabot.yml", published("dependabot")),
    (".github/ISSUE_TEMPLATE/config.yml", published("github-issue-config")),
    (".github/ISSUE_TEMPLATE/*.yml", published("github-issue-forms")),
    (".devcontainer/compose.yaml", published("compose-spec")),
    ("compose.yaml", published("compose-spec")),
    (".pre-commit-config.yaml", pre_commit),
    ("meltano.yml", meltano),
    ("benchmarks/*/meltano.yml", meltano),
    ("transform/dbt_project.yml", dbt("project")),
    ("transform/*/*.yml", dbt("resources")),
    ("osv-scanner.toml", osv_scanner),
    ("pyproject.toml", pyproject),
    ("*/pyproject.toml", pyproject),
    ("*/ruff.toml", ruff),
    ("tap-rickandmorty/src/tap_rickandmorty/schemas/*.json", json_schema),
    ("tap-rickandmorty/src/tap_rickandmorty/inputs.json", json_schemas),
    ("tap-rickandmorty/src/tap_rickandmorty/settings.json", json_schema),
    ("target-bigquery/src/target_bigquery/settings.json", json_schema),
]
# Files without a published schema, or whose tool is run over them by another test.
ELSEWHERE = {
    "entities.yml": "our own; scripts/entities.py refuses what it does not know",
    "dbt-bouncer.yml": "no package carries its schema; dbt-bouncer reads it in `make lint-sql`, and knows no other checks",
    ".yamllint.yaml": "no schema is published; yamllint reads it in `make lint`",
    ".github/zizmor.yml": "zizmor reads it in test_workflows.py and refuses what it does not know",
    ".devcontainer/devcontainer.json": "its schema is in no package; test_development_container.py looks at what it names",
    "plugins/*.lock": "generated; test_repository.py: current; Meltano reads them in every run",
    "transform/profiles.yml": "no schema is published; dbt reads it in every run",
    "orchestrate/kestra/*.yml": "test_flow_files.py: Kestra's own engine, strictly",
    "tests/kestra/src/*": "settings of the tests' engine; it does not boot on wrong ones",
    "terraform/*.tf": "tests/terraform: terraform validate, with the provider's published schema",
    "terraform/*.hcl": "tests/terraform: terraform test",
    "terraform/.terraform.lock.hcl": "terraform init reads it",
    "terraform/*.tfvars": "tests/terraform: terraform test reads them",
    "terraform/tests/planned.yml": "our own; test_configuration.py compares each value with the plan's",
    "terraform/tests/value_rules.yml": "our own; test_provider_values.py reads it and fails for a value without a rule",
    "sandbox/src/sandbox/strict/rules.json": "our own; the strict sandbox does not start on a wrong one",
    "terraform/schemas/*.json": "generated; test_repository.py: current",
    "report/src/*/charts/*.json": "without their data, which Vega-Lite's schema asks for; the report's tests draw them",
    "target-bigquery/tests/*": "inputs of the target's tests, some of them wrong on purpose",
}


def files() -> list[str]:
    """The names of the files that git tracks or would track."""
    return sorted(name for name in set(project_files()) if Path(name).suffix in SUFFIXES)


def checker(name: str) -> Callable[[Path], None] | None:
    """Return what checks a file."""
    return next((check for pattern, check in TABLE if fnmatch(name, pattern)), None)


CHECKED = [name for name in files() if checker(name) and not any(fnmatch(name, p) for p in ELSEWHERE)]


# Its checker takes seconds to be made, in each process anew.
ONE_PROCESS = pytest.mark.xdist_group("pyproject")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=ONE_PROCESS if checker(name) is pyproject else ()) for name in CHECKED]
)
def test_a_file_is_what_its_published_schema_says(name: str) -> None:
    """Its tool's schema finds nothing wrong."""
    check = checker(name)
    assert check is not None
    check(ROOT / name)


def test_no_file_is_forgotten() -> None:
    """Each YAML, TOML, HCL and JSON file is in the table, or its reason is."""
    known = [*ELSEWHERE, *(pattern for pattern, _ in TABLE)]
    assert not [name for name in files() if not any(fnmatch(name, pattern) for pattern in known)]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("wrong.yml", "on: push\njobs:\n  a:\n    runs-on: x\n    step: []\n", "step"),
        ("pyproject.toml", "[tool.ruff]\nline-lenght = 1\n", "line-lenght"),
        ("meltano.yml", "plugins: {extractors: [{nam: tap}]}\n", "name"),
        ("osv-scanner.toml", '[[IgnoredVulns]]\nid = "GHSA-1"\nreason = "none"\n', "ignoreUntil"),
        ("osv-scanner.toml", '[[PackageOverrides]]\nname = "zlib"\nignore = true\n', "PackageOverrides"),
    ],
    ids=["workflow", "pyproject", "meltano", "osv-scanner", "osv-scanner-package"],
)
def test_the_checks_find_mistakes(tmp_path: Path, name: str, text: str, message: str) -> None:
    """A mistake is found, and the message names it."""
    file = tmp_path / name
    file.write_text(text)
    check = {**dict(TABLE), "wrong.yml": published("github-workflows")}[name]
    with pytest.raises((AssertionError, pytest.fail.Exception), match=message):
        check(file)
