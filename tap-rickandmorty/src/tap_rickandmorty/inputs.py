"""What the tap is given: settings, STATE and catalog. What it could not use is an error of one line."""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from typing import IO, Any
from urllib.parse import urlsplit

import jsonschema_rs
from dotenv import load_dotenv
from singer_sdk.singerlib import Catalog

from tap_rickandmorty.errors import TapError
from tap_rickandmorty.session import safe

PREFIX = "TAP_RICKANDMORTY_"
# Option -> the schema of its file.
SCHEMAS: dict[str, Any] = json.loads((files("tap_rickandmorty") / "inputs.json").read_bytes())
REMEDIES = {
    "state": 'give the value of the last STATE message, {"bookmarks": …}, or {} to begin anew',
    "catalog": "give what --discover writes; what is selected stands in its metadata",
}


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


# Whether a variable of the environment can be read as a setting of such a type.
FORMS: dict[str, Callable[[str], object]] = {
    "integer": re.compile(r"\s*[+-]?[0-9]+\s*").fullmatch,
    "boolean": re.compile(r"true|false|yes|no|on|off|1|0", re.IGNORECASE).fullmatch,
    "object": _is_json_object,
}


def read_json(option: str, file: IO[str]) -> str:
    """Return the JSON text in the file of an option.

    Raises:
        TapError: The file does not hold what the option is for.
    """
    try:
        # Bytes, since the locale may have another encoding than the file.
        content = json.loads(file.buffer.read())  # type: ignore[attr-defined]
    except ValueError as error:
        raise TapError(
            f"--{option} {file.name}: expected a JSON object, got what is not JSON: {error}"
        ) from error
    # An empty STATE is that of a first run.
    wrong = [] if content == {} else list(jsonschema_rs.validator_for(SCHEMAS[option]).iter_errors(content))
    if wrong:
        place = "".join(f"{step}: " for step in wrong[0].instance_path)
        raise TapError(f"--{option} {file.name}: {place}{wrong[0].message[:200]}; {REMEDIES[option]}")
    for entry in content.get("streams", []) if option == "catalog" else []:
        # Other tools ask for a method in the metadata, where the SDK reads what a tap offers, and select beside it.
        metadata = entry.setdefault("metadata", [])
        root: dict[str, Any] = next((item["metadata"] for item in metadata if not item["breadcrumb"]), {})
        entry["replication_method"] = entry.get("replication_method") or root.get("replication-method")
        if "selected" in entry:
            metadata.append({"breadcrumb": [], "metadata": {"selected": entry["selected"], **root}})
    return json.dumps(content)


def invalid_variables(settings: dict[str, Any]) -> Iterator[str]:
    """Remove blank variables, and yield what is wrong with others.

    The SDK takes any other word for false, fails on a number that is none, and skips a name that it does not know.
    """
    # As the SDK does, but before the variables are looked at.
    load_dotenv()
    for variable, value in list(os.environ.items()):
        name = variable.removeprefix(PREFIX)
        # The SDK's own variable, and Meltano's, which have two underscores.
        if not variable.startswith(PREFIX) or name == "LOGLEVEL" or name.startswith("_"):
            continue
        if not value.strip():
            del os.environ[variable]
        elif name not in map(str.upper, settings):
            yield f"{variable}: the tap has no such setting"
        else:
            for kind, fits in FORMS.items():
                if kind in settings[name.lower()]["type"] and not fits(value):
                    yield f"{name.lower()}: {value!r} is not of type '{kind}'"


def invalid_settings(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the settings beyond their JSON schema, without secrets."""
    url = config["api_url"]
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and parts.hostname and (parts.port or 1)
    except ValueError:
        good = False
    if not good or re.search(r"\s", url):
        # What makes it no address may be a sign of the password.
        shown = safe(re.sub(r"//.*@", "//***@", url, flags=re.DOTALL))
        yield f"api_url: expected http://HOST/api or https://HOST/api, no blanks, a password's signs as %2F, got {shown!r}"
    if not config["user_agent"].isprintable() or not config["user_agent"].isascii():
        yield f"user_agent: expected letters, digits and signs of ASCII, got {config['user_agent']!r}"


def check_streams(catalog: Catalog, streams: Mapping[str, Any]) -> None:
    """Refuse a catalog that selects no stream, or one that the tap does not have.

    Raises:
        TapError: It does.
    """
    selected = [name for name, entry in catalog.items() if entry.metadata.resolve_selection()[()]]
    unknown = ", ".join(name for name in selected if name not in streams)
    if not selected or unknown:
        raise TapError(
            f"the catalog selects {unknown or 'no stream'}; look at it, or at 'select' in meltano.yml: the streams are "
            f"{', '.join(streams)}"
        )
