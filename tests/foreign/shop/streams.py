"""The shop's stream: a listing by offset that holds numbers only, and a request for each record."""

from collections.abc import Iterable
from typing import Any, ClassVar

import requests
from singer_sdk.helpers.types import Context
from singer_sdk.pagination import BaseOffsetPaginator
from tap_shop.client import ApiStream, decoded
from typing_extensions import override

LIMIT = 25


class Paginator(BaseOffsetPaginator):
    """Goes on while there are records beyond the offset."""

    @override
    def has_more(self, response: requests.Response) -> bool:
        return bool(decoded(response)["total"] > self.current_value + LIMIT)


class ArticlesStream(ApiStream):
    """The articles, whole: the listing names them, a request each tells the rest."""

    name = "articles"
    path = "/v2/articles"
    primary_keys: ClassVar[tuple[str, ...]] = ("sku",)
    records_jsonpath = "$.items[*]"

    @override
    def get_new_paginator(self) -> Paginator:
        return Paginator(0, LIMIT)

    @override
    def get_url_params(self, context: Context | None, next_page_token: Any) -> dict[str, Any]:
        return {"offset": next_page_token or 0, "limit": LIMIT}

    @override
    def parse_response(self, response: requests.Response) -> Iterable[dict[str, Any]]:
        ask = self.request_decorator(self._request)
        for listed in super().parse_response(response):
            request = self.build_prepared_request(
                method="GET", url=f"{self.url_base}{self.path}/{listed['sku']}"
            )
            yield decoded(ask(request, None))


STREAMS: list[type[ApiStream]] = [ArticlesStream]
