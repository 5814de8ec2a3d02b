"""The streams of the API; `make entity` adds one."""

from tap_rickandmorty.client import ApiStream

STREAMS: list[type[ApiStream]] = []
