"""The three streams."""

from tap_rickandmorty.client import ApiStream
from tap_rickandmorty.listing import ListingStream


class CharactersStream(ListingStream):
    """The characters of the show: one record per character."""

    name = "characters"
    path = "/character"


class EpisodesStream(ListingStream):
    """The episodes of the show: one record per episode."""

    name = "episodes"
    path = "/episode"


class LocationsStream(ListingStream):
    """The places of the show: one record per place."""

    name = "locations"
    path = "/location"


STREAMS: list[type[ApiStream]] = [CharactersStream, EpisodesStream, LocationsStream]
