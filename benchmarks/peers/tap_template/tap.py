"""The tap's settings and streams."""

from __future__ import annotations

from singer_sdk import Tap
from singer_sdk import typing as th
from typing_extensions import override

from tap_template import streams


class TapTemplate(Tap):
    """Singer tap for the Rick and Morty API."""

    name = "tap-template"

    config_jsonschema = th.PropertiesList(
        th.Property(
            "api_url",
            th.StringType,
            default="https://rickandmortyapi.com/api",
            description="Address of the API, ending in /api.",
        ),
    ).to_dict()

    @override
    def discover_streams(self) -> list[streams.TemplateStream]:
        return [streams.CharactersStream(self), streams.EpisodesStream(self), streams.LocationsStream(self)]
