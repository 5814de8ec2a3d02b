"""Peer: a tap as the Singer SDK's template makes it: paging and what is read of an answer are where the template has a place for them."""

import decimal
from collections.abc import Iterable
from typing import Any

import requests
from singer_sdk import Tap
from singer_sdk import typing as th
from singer_sdk.helpers.jsonpath import extract_jsonpath
from singer_sdk.pagination import BasePageNumberPaginator
from singer_sdk.streams import RESTStream
from singer_sdk.streams.rest import HTTPRequest, PageContext
from typing_extensions import override

PLACE = th.ObjectType(th.Property("name", th.StringType), th.Property("url", th.StringType))
LINKS = th.ArrayType(th.StringType)
TYPES = {"id": th.IntegerType, "created": th.DateTimeType, "origin": PLACE, "location": PLACE}
TYPES |= dict.fromkeys(("characters", "residents"), LINKS)


def schema(*fields: str, **types: Any) -> dict[str, Any]:  # noqa: ANN401 (the SDK's)
    """Return the schema of a stream; a field without a type is a text."""
    known = {**TYPES, **types}
    properties = [
        th.Property(name, known.get(name, th.StringType)) for name in ("id", *fields, "url", "created")
    ]
    return th.PropertiesList(*properties).to_dict()


class PagesPaginator(BasePageNumberPaginator):
    """Counts pages up to the number that the API gives."""

    @override
    def has_more(self, response: requests.Response) -> bool:
        return bool(response.json()["info"]["next"])


class TemplateStream(RESTStream[int]):
    """A listing."""

    records_jsonpath = "$.results[*]"
    primary_keys = ("id",)
    replication_key = None

    @property
    @override
    def url_base(self) -> str:
        return str(self.config["api_url"])

    @override
    def get_new_paginator(self) -> BasePageNumberPaginator:
        return PagesPaginator(start_value=1)

    @override
    def get_http_request(self, *, page: PageContext[int]) -> HTTPRequest:
        request = super().get_http_request(page=page)
        request.params["page"] = page.next_page_token
        return request

    @override
    def parse_response(self, response: requests.Response) -> Iterable[dict[str, Any]]:
        yield from extract_jsonpath(self.records_jsonpath, input=response.json(parse_float=decimal.Decimal))


class CharactersStream(TemplateStream):
    """The characters."""

    name, path = "characters", "/character"
    schema = schema(
        *("name", "status", "species", "type", "gender", "origin", "location", "image", "episode"),
        episode=LINKS,
    )


class EpisodesStream(TemplateStream):
    """The episodes."""

    name, path = "episodes", "/episode"
    schema = schema("name", "air_date", "episode", "characters")


class LocationsStream(TemplateStream):
    """The locations."""

    name, path = "locations", "/location"
    schema = schema("name", "type", "dimension", "residents")


class TapTemplate(Tap):
    """Singer tap for the Rick and Morty API."""

    name = "tap-template"

    config_jsonschema = th.PropertiesList(
        th.Property(
            "api_url",
            th.StringType,
            default="https://rickandmortyapi.com/api",
            description="Address of the API, ending in /api.",
        )
    ).to_dict()

    @override
    def discover_streams(self) -> list[TemplateStream]:
        return [CharactersStream(self), EpisodesStream(self), LocationsStream(self)]


if __name__ == "__main__":
    TapTemplate.cli()
