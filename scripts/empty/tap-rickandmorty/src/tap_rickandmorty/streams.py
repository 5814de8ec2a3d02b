"""The streams of the API; `make entity` adds one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tap_rickandmorty.client import ApiStream

STREAMS: list[type[ApiStream]] = []
