"""What all streams of the API have in common, on the hooks of the SDK's RESTStream.

A stream of another API starts here: `path`, `get_new_paginator`, `authenticator`, `records_jsonpath` and
`replication_key` are the SDK's, and do what its documentation says.
"""

import itertools
import json
import random
import re
import time
from collections.abc import Callable, Generator, Iterable
from copy import deepcopy
from datetime import UTC, datetime
from http import HTTPStatus
from importlib.resources import files
from types import NoneType
from typing import Any, cast

import backoff
import msgspec
import requests
from requests.auth import HTTPBasicAuth
from singer_sdk import RESTStream, Tap
from singer_sdk.exceptions import FatalAPIError, InvalidStreamSortException, RetriableAPIError
from singer_sdk.helpers.conform import TypeConformanceLevel
from singer_sdk.helpers.jsonpath import extract_jsonpath
from singer_sdk.helpers.types import Context
from singer_sdk.mapper import RemoveRecordTransform
from singer_sdk.pagination import BaseAPIPaginator, OffsetPaginator, PageNumberPaginator
from singer_sdk.singerlib import ActivateVersionMessage, Catalog, RecordMessage
from singer_sdk.singerlib.catalog import Metadata
from singer_sdk.singerlib.schema import Schema, resolve_schema_references
from typing_extensions import override

from tap_rickandmorty.drift import CONSEQUENCES, Drift
from tap_rickandmorty.errors import MISMAPPED, ApiError, TapError
from tap_rickandmorty.session import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    Address,
    Answer,
    PauseError,
    Session,
    retry_after,
    safe,
)
from tap_rickandmorty.writer import Writer

SHOWN_BODY = 120
# Where a JSONPath begins to name several values, and what holds them.
SEVERAL = re.compile(r"(?=\[(?:[*?]|\d*:)|\.\*)")
HOLDERS: dict[str, Any] = {"": object, "[": (list, NoneType), ".": (dict, NoneType)}


class ApiStream(RESTStream[Any]):
    """A stream of the API: its schema is a file in schemas/, its requests are retried within a budget."""

    extra_retry_statuses = (408, 425, 429)
    # The drift check sees every value; conformance would check them again, and drop fields in silence.
    TYPE_CONFORMANCE_LEVEL = TypeConformanceLevel.NONE
    # The SDK would send ACTIVATE_VERSION before the first record.
    emit_activate_version_messages = False

    def __init__(self, tap: Tap, address: Address, session: Session) -> None:
        self.tap, self.address, self._session = tap, address, session
        self.version: int | None = None
        # As the SDK's constructor has them: a stream may be without keys.
        self._primary_keys = self._replication_key = None
        policies = {kind: str(tap.config[f"drift_{kind}"]) for kind in CONSEQUENCES}
        try:
            file = files("tap_rickandmorty") / "schemas" / f"{self.name}.json"
            keys = [*self.primary_keys, *filter(None, [self.replication_key])]
            self.drift = Drift(self.name, json.loads(file.read_bytes()), policies, keys)
            # The SDK's catalog has no place for definitions.
            outgoing = resolve_schema_references(deepcopy(self.drift.outgoing))
            Schema.from_dict(outgoing)
        except Exception as error:
            raise TapError(
                f"{self.name}: schemas/{self.name}.json: expected a JSON schema that has the keys and that the SDK reads, where every "
                f"subschema is an object ({{}} for true), got {type(error).__name__}: {safe(error)[:200]}; look at the file"
            ) from error
        super().__init__(tap, schema=outgoing)
        new_paginator = self.get_new_paginator
        self.get_new_paginator = lambda: _patient(new_paginator())  # type: ignore[method-assign]

    @property
    @override
    def url_base(self) -> str:
        return self.address.base

    @override
    def get_url_params(self, context: Context | None, next_page_token: Any) -> dict[str, Any]:
        return dict(self.address.params)

    @override
    def get_new_paginator(self) -> BaseAPIPaginator[Any]:
        """Refuse the SDK's default, which would take the first of several pages for a whole version.

        Raises:
            TapError: The stream does not define its paginator.
        """
        raise TapError(
            f"{self.name}: the stream has no paginator; define get_new_paginator in {type(self).__name__}, with "
            "singer_sdk.pagination's SinglePagePaginator where one answer holds everything"
        )

    @property
    @override
    def http_headers(self) -> dict[str, str]:
        return {"Accept": "application/json"}

    @property
    @override
    def authenticator(self) -> Any:
        # The SDK's own takes parameters without a value out of the address.
        return HTTPBasicAuth(*self.address.login) if self.address.login else lambda request: request

    @property
    @override
    def requests_session(self) -> requests.Session:
        return self._session

    @property
    @override
    def timeout(self) -> int:
        return int(self.config["timeout"])

    @override
    def validate_response(self, response: requests.Response) -> None:
        super().validate_response(response)
        if response.status_code != HTTPStatus.OK:
            raise FatalAPIError(self.response_error_message(response))
        cast("Answer", response).document = decoded(response)

    @override
    def response_error_message(self, response: requests.Response) -> str:
        return f"status {response.status_code}, body {excerpt(response.content)}"

    @override
    def parse_response(self, response: requests.Response) -> Iterable[dict[str, Any]]:
        """Yield the records of an answer.

        Raises:
            ApiError: The answer has no place for records; an empty one is a list without records, or null.
        """
        document = cast("Answer", response).document
        place, several = (*SEVERAL.split(self.records_jsonpath, 1), "")[:2]
        held = list(extract_jsonpath(place, input=document))
        if not held or not isinstance(held[0], HOLDERS[several[:1]]):
            raise ApiError(
                f"{self._shown(response.request)}: {self.name}: expected records at {self.records_jsonpath}, got "
                f"{excerpt(response.content)}; look at the API, and at records_jsonpath and parse_response in {type(self).__name__}"
            )
        if held[0] is not None:
            yield from extract_jsonpath(self.records_jsonpath, input=document)

    @property
    @override
    def replication_method(self) -> str:
        """FULL_TABLE where there is no replication key, or where the setting `full_read`, if the tap has one, is on.

        A full read finds what the source has deleted. Child streams are read for the parents extracted, never whole.
        """
        if self.parent_stream_type is None and self.config.get("full_read"):
            return "FULL_TABLE"
        return super().replication_method

    @property
    @override
    def effective_schema(self) -> dict[str, Any]:
        """The stream's own schema, whatever a catalog says: records are checked against it."""
        return self.schema

    @override
    def apply_catalog(self, catalog: Catalog) -> None:
        """Take selection and replication from a catalog; the key, which is always sent, and the schema are the stream's.

        Raises:
            TapError: The catalog asks for a field, a key or a replication that the stream does not have.
        """
        keys, entry = list(self.primary_keys), catalog.get(self.name)
        super().apply_catalog(catalog)
        if entry is None:
            return
        for name in (*keys, self.replication_key):
            if ("properties", name) in entry.metadata:
                entry.metadata["properties", str(name)].inclusion = Metadata.InclusionType.AUTOMATIC
        named = {name for path in entry.metadata for name in path[1:2]} | {*(entry.schema.properties or ())}
        named |= {self.replication_key} - {None}
        unknown = sorted(n for n in named - self.schema["properties"].keys() if self.mask["properties", n])
        methods = ("FULL_TABLE", "INCREMENTAL") if self.replication_key else ("FULL_TABLE",)
        wrong = ""
        if unknown:
            wrong = f"selects {', '.join(unknown)}, which schemas/{self.name}.json lacks"
        elif list(self.primary_keys) not in ([], keys):
            wrong = f"has key_properties {self.primary_keys}, and the key is {keys}"
        elif self.replication_method not in methods:
            wrong = f"has replication_method {self.replication_method}; expected FULL_TABLE, or INCREMENTAL with a replication_key"
        if wrong and self.selected:
            raise TapError(f"{self.name}: the catalog {wrong}; look at it, or make it anew with --discover")
        self.primary_keys = keys

    @override
    def get_records(self, context: Context | None) -> Iterable[dict[str, Any]]:
        """Yield every record; a FULL_TABLE stream is a version, activated after its last record."""
        self.begin_version()
        try:
            yield from self.request_records(context)
        except RuntimeError as error:
            if "Loop detected" not in str(error):
                raise
            raise ApiError(
                f"{self.name}: the API names the page that it has just sent as the next one, too; run again later, or look "
                f"at get_new_paginator in {type(self).__name__}"
            ) from error
        self.finish()

    def begin_version(self) -> None:
        """Number the records that follow as a version of their own, where the stream is read whole.

        Raises:
            TapError: Another stream is sent by the same name: to a target its records would be of an old version.
        """
        if self.replication_method == "FULL_TABLE" and self.parent_stream_type is None:
            versions = cast("Writer", self.tap.message_writer).versions
            names = {stream_map.stream_alias for stream_map in self.stream_maps}
            if self.version is None and (taken := names & versions.keys()):
                raise TapError(
                    f"{self.name}: another stream is sent as {', '.join(taken)} too; look at stream_maps, and give each "
                    "stream a name of its own"
                )
            self.version = max(time.time_ns() // 1_000_000, (self.version or 0) + 1)
            versions |= dict.fromkeys(names, self.version)

    def finish(self) -> None:
        """Report the drift of the records read, and activate their version, where they have one."""
        self.drift.report()
        if self.version and self.selected:
            for stream_map in self.stream_maps:
                if not isinstance(stream_map, RemoveRecordTransform):
                    self.tap.write_message(ActivateVersionMessage(stream_map.stream_alias, self.version))

    @override
    def post_process(self, row: dict[str, Any], context: Context | None = None) -> dict[str, Any] | None:
        return self.drift.check(row)

    @override
    def _generate_record_messages(self, record: dict[str, Any]) -> Generator[RecordMessage, None, None]:
        try:
            yield from super()._generate_record_messages(record)
        except Exception as error:
            which = ", ".join(str(record.get(key)) for key in self.primary_keys)
            raise TapError(f"{self.name}: {MISMAPPED.format(f'record {which}', safe(error))}") from error

    @override
    def _increment_stream_state(self, latest_record: Any, *, context: Context | None = None) -> None:
        try:
            super()._increment_stream_state(latest_record, context=context)
        except (InvalidStreamSortException, TypeError) as error:
            raise TapError(
                f"{self.name}: the STATE's bookmark {self.get_context_state(context)} does not go on by {self.replication_key}: {safe(error)}; "
                f"look at is_sorted and replication_key in {type(self).__name__}, and at the API's order; --full-refresh forgets the bookmark"
            ) from error

    @override
    def backoff_max_tries(self) -> int:
        return int(self.config["max_attempts"])

    def tries(self, status: int | None) -> int:  # noqa: ARG002 (for overrides)
        """Return how many times a request may be sent when its last answer has this status, None without an answer."""
        return self.backoff_max_tries()

    @override
    def backoff_wait_generator(self) -> Generator[float, Any, None]:
        """Yield pauses in seconds: half a second, doubled each time, and no shorter than the API asks for."""
        began = time.monotonic()
        pause, failure = FIRST_PAUSE, (yield 0.0)
        for tries in itertools.count(1):
            wait = max(pause, _requested_pause(failure))
            late = time.monotonic() - began + wait > self.config["retry_seconds"]
            if late or tries >= self.tries(_status(failure)):
                return
            failure = yield wait
            pause = min(LONGEST_PAUSE, pause * 2)

    @override
    def backoff_jitter(self, value: float) -> float:
        return value * random.uniform(1, 1.2)  # noqa: S311 (so that clients do not come back together)

    @override
    def backoff_handler(self, details: Any) -> None:
        self.logger.warning(
            "%s: %s; attempt %d, again in %.1f s",
            self._shown(details["args"][0]),
            details["exception"],
            details["tries"],
            details["wait"],
        )

    @override
    def request_decorator(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return a request that is retried while that may help, and then raises ApiError with the reason."""
        return backoff.on_exception(
            self.backoff_wait_generator,
            (RetriableAPIError, FatalAPIError),
            max_tries=self.backoff_max_tries,
            giveup=lambda error: isinstance(error, (FatalAPIError, PauseError)),
            on_backoff=self.backoff_handler,
            on_giveup=self._give_up,
            jitter=self.backoff_jitter,
            logger=None,
        )(func)

    def _give_up(self, details: Any) -> None:  # noqa: ANN401 (backoff's)
        error, tries, pause = details["exception"], details["tries"], _requested_pause(details["exception"])
        raise ApiError(
            f"{self._shown(details['args'][0])}: {error} after {tries} attempt{'s'[: tries > 1]} in "
            f"{details['elapsed']:.0f} s (allowed: max_attempts {self.config['max_attempts']}, "
            f"retry_seconds {self.config['retry_seconds']}"
            + (f"; the API asks for a pause of {pause:.0f} s" if pause else "")
            + f"); {'run again when the API answers' if isinstance(error, RetriableAPIError) else 'look at the api_url setting'}",
            _status(error),
        ) from error

    def _shown(self, request: requests.PreparedRequest) -> str:
        return safe(f"{request.method} {request.url}")


def _patient(paginator: Any) -> Any:  # noqa: ANN401 (of any token)
    """Let a paginator without a rule of its own go on after an answer without records, where it knows another end."""
    counts = isinstance(paginator, (PageNumberPaginator, OffsetPaginator))
    kind, sdk = type(paginator), BaseAPIPaginator
    if kind.continue_if_empty is sdk.continue_if_empty and (not counts or kind.has_more is not sdk.has_more):
        paginator.continue_if_empty = lambda _: True
    return paginator


def _status(error: Any) -> int | None:  # noqa: ANN401 (an exception)
    return getattr(getattr(error, "response", None), "status_code", None)


def _requested_pause(error: Any) -> float:  # noqa: ANN401 (an exception)
    """Return the pause in seconds that the failed response asks for."""
    response = getattr(error, "response", None)
    return 0.0 if response is None else retry_after(response.headers.get("Retry-After"), datetime.now(UTC))


def decoded(response: requests.Response) -> Any:  # noqa: ANN401 (JSON)
    """Return an answer's JSON document.

    Raises:
        RetriableAPIError: The body is not JSON.
    """
    try:
        return msgspec.json.decode(response.content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RetriableAPIError(
            f"status {response.status_code}, but not JSON: {excerpt(response.content)}", response
        ) from None


def excerpt(body: bytes) -> str:
    """Return the beginning of a body for a log line."""
    text = " ".join(body[: SHOWN_BODY * 2].decode("utf-8", "replace").split())
    return f"{text[:SHOWN_BODY]!r}" if text else "nothing"
