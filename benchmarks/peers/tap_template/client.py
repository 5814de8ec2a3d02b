"""The streams' common base: address, paging and what is read of an answer, in the places that the template has for it."""

from __future__ import annotations

import decimal
from typing import TYPE_CHECKING, Any

from singer_sdk.helpers.jsonpath import extract_jsonpath
from singer_sdk.pagination import BasePageNumberPaginator
from singer_sdk.streams import RESTStream
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterable

    import requests
    from singer_sdk.streams.rest import HTTPRequest, PageContext


class PagesPaginator(BasePageNumberPaginator):
    """Counts pages up to the number that the API gives."""

    @override
    def has_more(self, response: requests.Response) -> bool:
        return bool(response.json()["info"]["next"])


class TemplateStream(RESTStream[int]):
    """A listing."""

    records_jsonpath = "$.results[*]"

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
