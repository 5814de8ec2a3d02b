"""The tracker's streams: issues by their change date, the comments of those that came, and the labels whole."""

from typing import Any, ClassVar

from singer_sdk.authenticators import BearerTokenAuthenticator
from singer_sdk.helpers.types import Context
from singer_sdk.pagination import HeaderLinkPaginator
from tap_tracker.client import ApiStream
from typing_extensions import override

PER_PAGE = 100


class TrackerStream(ApiStream):
    """A listing with Link headers, behind a bearer token."""

    primary_keys: ClassVar[tuple[str, ...]] = ("id",)
    records_jsonpath = "$[*]"

    @property
    @override
    def authenticator(self) -> BearerTokenAuthenticator:
        return BearerTokenAuthenticator(token=self.config["token"])

    @override
    def get_new_paginator(self) -> HeaderLinkPaginator:
        return HeaderLinkPaginator()

    @override
    def get_url_params(self, context: Context | None, next_page_token: Any) -> Any:
        # The link to the next page holds every parameter.
        return next_page_token.query if next_page_token else {"per_page": PER_PAGE}


class IssuesStream(TrackerStream):
    """The issues that have changed since the last run."""

    name = "issues"
    path = "/repos/acme/shop/issues"
    replication_key = "updated_at"
    is_sorted = True

    @override
    def get_url_params(self, context: Context | None, next_page_token: Any) -> Any:
        params = super().get_url_params(context, next_page_token)
        if next_page_token or self.replication_method == "FULL_TABLE":
            return params
        since = self.get_starting_replication_key_value(context)
        return {**params, "sort": "updated", "direction": "asc"} | ({"since": since} if since else {})

    @override
    def post_process(self, row: dict[str, Any], context: Context | None = None) -> dict[str, Any] | None:
        # A column's name has no sign: +1 and -1 would be one.
        reactions = row["reactions"]
        reactions["minus_one"] = reactions.pop("-1")
        return super().post_process(row, context)

    @override
    def generate_child_contexts(self, record: dict[str, Any], context: Context | None) -> Any:
        if record["comments"]:
            yield {"number": record["number"]}


class CommentsStream(TrackerStream):
    """The comments of each issue that came."""

    name = "comments"
    path = "/repos/acme/shop/issues/{number}/comments"
    parent_stream_type = IssuesStream
    state_partitioning_keys: ClassVar[list[str]] = []
    replication_key = "updated_at"


class LabelsStream(TrackerStream):
    """The labels, whole: their ids are texts, and they have no change date."""

    name = "labels"
    path = "/repos/acme/shop/labels"


STREAMS: list[type[TrackerStream]] = [IssuesStream, CommentsStream, LabelsStream]
