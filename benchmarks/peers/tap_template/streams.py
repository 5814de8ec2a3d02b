"""The three streams, their schemas written as the template shows it."""

from __future__ import annotations

from singer_sdk import typing as th

from tap_template.client import TemplateStream

PLACE = th.ObjectType(th.Property("name", th.StringType), th.Property("url", th.StringType))
LINKS = th.ArrayType(th.StringType)


class CharactersStream(TemplateStream):
    """The characters."""

    name = "characters"
    path = "/character"
    primary_keys = ("id",)
    replication_key = None
    schema = th.PropertiesList(
        th.Property("id", th.IntegerType),
        th.Property("name", th.StringType),
        th.Property("status", th.StringType),
        th.Property("species", th.StringType),
        th.Property("type", th.StringType),
        th.Property("gender", th.StringType),
        th.Property("origin", PLACE),
        th.Property("location", PLACE),
        th.Property("image", th.StringType),
        th.Property("episode", LINKS),
        th.Property("url", th.StringType),
        th.Property("created", th.DateTimeType),
    ).to_dict()


class EpisodesStream(TemplateStream):
    """The episodes."""

    name = "episodes"
    path = "/episode"
    primary_keys = ("id",)
    replication_key = None
    schema = th.PropertiesList(
        th.Property("id", th.IntegerType),
        th.Property("name", th.StringType),
        th.Property("air_date", th.StringType),
        th.Property("episode", th.StringType),
        th.Property("characters", LINKS),
        th.Property("url", th.StringType),
        th.Property("created", th.DateTimeType),
    ).to_dict()


class LocationsStream(TemplateStream):
    """The locations."""

    name = "locations"
    path = "/location"
    primary_keys = ("id",)
    replication_key = None
    schema = th.PropertiesList(
        th.Property("id", th.IntegerType),
        th.Property("name", th.StringType),
        th.Property("type", th.StringType),
        th.Property("dimension", th.StringType),
        th.Property("residents", LINKS),
        th.Property("url", th.StringType),
        th.Property("created", th.DateTimeType),
    ).to_dict()
