"""What a catalog may ask for: as --discover writes it, edited by hand, of another version of the tap, or hardly anything."""

import json
from pathlib import Path
from typing import Any

import pytest
from tap_api import Api, Outcome, RunTap, character


@pytest.fixture
def run(run_tap: RunTap, tmp_path: Path) -> RunTap:
    """Runs the tap with a catalog of these entries."""

    def with_entries(*entries: dict[str, Any]) -> Outcome:
        (tmp_path / "catalog.json").write_text(json.dumps({"streams": entries}))
        return run_tap("--catalog", str(tmp_path / "catalog.json"))

    return with_entries


def metadata(*path: str, **words: object) -> dict[str, Any]:
    """The metadata of a stream, or of one of its fields."""
    return {"breadcrumb": list(path), "metadata": words}


def entry(*fields: dict[str, Any], selected: bool = True, **words: object) -> dict[str, Any]:
    """The least that selects the characters, with the metadata of fields and other words added."""
    return {"tap_stream_id": "characters", "metadata": [metadata(selected=selected), *fields], **words}


TAKEN = {
    "the-least": entry(),
    "no-metadata": {"tap_stream_id": "characters"},
    "no-key": entry(key_properties=None),
    "an-empty-key": entry(key_properties=[]),
    "the-key-deselected": entry(metadata("properties", "id", inclusion="available", selected=False)),
    "a-schema-of-fewer-fields": entry(schema={"properties": {"id": {"type": "integer"}}}),
    "an-unknown-field-deselected": entry(metadata("properties", "planet", selected=False)),
    "selected-without-metadata": {"tap_stream_id": "characters", "selected": True},
    "selected-twice-as-meltano-does": entry(selected=True) | {"selected": True},
}


@pytest.mark.parametrize("catalog", TAKEN.values(), ids=TAKEN.keys())
def test_key_and_schema_are_the_taps_own(api: Api, run: RunTap, catalog: dict[str, Any]) -> None:
    """What a catalog leaves out is not missing from the SCHEMA: a target would drop it from each record."""
    done = run(catalog, {**entry(selected=False), "tap_stream_id": "planets"}).succeeded()
    (schema,) = (message for message in done.messages if message["type"] == "SCHEMA")
    assert schema["key_properties"] == ["id"]
    assert schema["schema"]["properties"].keys() == {*character(1), "new_fields"}
    assert done.records("characters") == api.records["character"]
    assert len(done.activated("characters")) == 1


REFUSED = {
    "nothing": ([], "selects no stream"),
    "nothing-selected": ([entry(selected=False)], "selects no stream"),
    "a-stream-that-is-not-there": ([entry(), {**entry(), "tap_stream_id": "planets"}], "selects planets"),
    "a-field-that-is-not-there": ([entry(metadata("properties", "planet", selected=True))], "selects planet"),
    "a-field-of-another-schema": ([entry(schema={"properties": {"planet": {}}})], "selects planet"),
    "another-key": ([entry(key_properties=["name"])], "has key_properties ['name']"),
    "deselected-without-metadata": (
        [{"tap_stream_id": "characters", "selected": False}],
        "selects no stream",
    ),
    "log-based-in-the-metadata": (
        [
            {
                **entry(),
                "metadata": [
                    {"breadcrumb": [], "metadata": {"selected": True, "replication-method": "LOG_BASED"}}
                ],
            }
        ],
        "has replication_method LOG_BASED",
    ),
    "log-based": ([entry(replication_method="LOG_BASED")], "has replication_method LOG_BASED"),
    "incremental-by-nothing": (
        [entry(replication_method="INCREMENTAL")],
        "has replication_method INCREMENTAL; expected FULL_TABLE",
    ),
    "incremental-by-a-field-that-is-not-there": (
        [entry(replication_method="INCREMENTAL", replication_key="edited")],
        "selects edited",
    ),
}


@pytest.mark.parametrize(("catalog", "named"), REFUSED.values(), ids=REFUSED.keys())
def test_what_the_tap_cannot_do_is_an_error(
    api: Api, run: RunTap, catalog: list[dict[str, Any]], named: str
) -> None:
    """Doing less than the catalog asks for is not success; the streams that there are, or the file to change, are named."""
    done = run(*catalog).failed(f"catalog {named}")
    assert done.messages == []
    assert api.requests == []


def test_deselected_fields_and_streams_are_not_sent(api: Api, run: RunTap, run_tap: RunTap) -> None:
    """A selection in what --discover writes holds: no requests for a deselected stream, no values of a deselected field."""
    catalog = json.loads(run_tap("--discover").out)
    for stream in catalog["streams"]:
        for item in stream["metadata"]:
            if item["breadcrumb"] == []:
                item["metadata"]["selected"] = stream["tap_stream_id"] == "characters"
            if item["breadcrumb"] == ["properties", "image"]:
                item["metadata"]["selected"] = False
    done = run(*catalog["streams"]).succeeded()
    assert done.records("characters")[0].keys() == character(1).keys() - {"image"}
    assert len(done.activated("characters")) == 1
    assert done.records("episodes") == []
    assert api.asked("episode") == []


def test_only_a_full_table_is_activated(run: RunTap) -> None:
    """With a replication key records carry no version, and no ACTIVATE_VERSION goes out."""
    done = run(entry(replication_method="INCREMENTAL", replication_key="created")).succeeded()
    assert len(done.records("characters")) == 45
    assert [m for m in done.messages if m["type"] == "ACTIVATE_VERSION" or m.get("version")] == []


def test_two_streams_are_not_sent_by_one_name(run_tap: RunTap) -> None:
    """To a target the second would be the next version of the first, whose records it drops."""
    maps = {stream: {"__alias__": "things"} for stream in ("characters", "locations")}
    done = run_tap(stream_maps=json.dumps(maps)).failed("locations: another stream is sent as things too")
    assert len(done.activated("things")) == 1
