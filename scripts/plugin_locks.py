"""Meltano's plugin locks, plugins/{extractors,loaders}/*.lock, from the `--about` of tap and target.

The programs are those beside this interpreter, or else those that Meltano has installed. A lock is a plugin definition as
Meltano Hub would serve it: name, settings, capabilities. Ours are not on the Hub, and the source of truth for their settings
is the program itself (`--about --format=json`).
"""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from generated_files import ROOT

VARIANT = "rickandmorty"
PLUGINS = {"tap-rickandmorty": "extractors", "target-bigquery": "loaders"}
# Meltano maps these by itself, or they belong to its own features; they are not settings of the plugin.
BUILT_IN = {
    "add_record_metadata",
    "batch_config",
    "faker_config",
    "flattening_enabled",
    "flattening_max_depth",
    "flattening_max_key_length",
    "flattening_separator",
    "stream_map_config",
    "stream_maps",
    "validate_records",
    "batch_size_rows",
    "batch_wait_limit_seconds",
    "process_activate_version_messages",
}


def kind(schema: dict[str, Any]) -> str:
    """Return Meltano's kind for a setting's JSON schema."""
    if "enum" in schema:
        return "options"
    types = schema.get("type", "string")
    name = next((t for t in ([types] if isinstance(types, str) else types) if t != "null"), "string")
    return "decimal" if name == "number" else str(name)


def setting(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return one entry of `settings` for a property of the plugin's settings schema."""
    entry: dict[str, Any] = {"name": name, "kind": kind(schema)}
    if "title" in schema:
        entry["label"] = schema["title"]
    if "description" in schema:
        entry["description"] = schema["description"]
    if "enum" in schema:
        entry["options"] = [{"label": str(v), "value": v} for v in schema["enum"] if v is not None]
    if schema.get("secret"):
        entry["sensitive"] = True
    return entry


@cache
def about(name: str) -> dict[str, Any]:
    """Return the --about of the plugin `name`.

    Raises:
        ValueError: Its --about failed.
    """
    beside = Path(sys.executable).with_name(name)
    program = beside if beside.exists() else ROOT / ".meltano" / PLUGINS[name] / name / "venv" / "bin" / name
    done = subprocess.run([program, "--about", "--format=json"], check=False, capture_output=True, text=True)
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2]
        raise ValueError(f"{program} --about ended with status {done.returncode}: {reason}")
    described: dict[str, Any] = json.loads(done.stdout)
    return described


def lock(name: str, folder: str) -> dict[str, Any]:
    """Return the lock of the plugin `name`, from its --about.

    Raises:
        ValueError: The plugin's --about failed.
    """
    described = about(name)
    schema = described["settings"]
    names = [n for n in schema["properties"] if n not in BUILT_IN]
    required = [n for n in schema.get("required", []) if n in names]
    return {
        "plugin_type": folder,
        "name": name,
        "namespace": name.replace("-", "_"),
        "variant": VARIANT,
        "label": described.get("description") or name,
        "pip_url": f"-r requirements/{name}.txt -e ./{name}",
        "executable": name,
        "capabilities": sorted(c if isinstance(c, str) else c["value"] for c in described["capabilities"]),
        "settings_group_validation": [required],
        "settings": [setting(n, schema["properties"][n]) for n in names],
    }


def text(lock: dict[str, Any]) -> str:
    """Return the file of a lock: one line per setting, so that a change is a line of the diff."""
    settings = ",\n    ".join(json.dumps(item, ensure_ascii=False) for item in lock["settings"])
    document = json.dumps({**lock, "settings": [None]}, indent=2, ensure_ascii=False)
    return document.replace("    null\n  ]\n}", f"    {settings}\n  ]\n}}\n")


def generated() -> dict[Path, str]:
    """Return the text of every lock.

    Raises:
        ValueError: A plugin's --about failed.
    """
    return {
        ROOT / "plugins" / folder / f"{name}--{VARIANT}.lock": text(lock(name, folder))
        for name, folder in PLUGINS.items()
    }
