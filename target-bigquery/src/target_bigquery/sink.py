"""The SDK's sink: it brings a stream's schema to the stage that takes its records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from singer_sdk import Sink
from typing_extensions import override

from target_bigquery.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from target_bigquery.stage import Stage


class HasStages(Protocol):
    """The target, as far as a sink knows it."""

    def stage(self, stream: str) -> Stage:
        """Return the stage of a stream."""


class StreamSink(Sink):
    """A stream under one schema; the SDK makes another one when the schema changes, on the same stage."""

    def __init__(
        self,
        target: Any,  # noqa: ANN401 (the SDK's Target that HasStages)
        stream_name: str,
        schema: dict[str, Any],
        key_properties: Sequence[str] | None,
    ) -> None:
        super().__init__(target, stream_name, schema, key_properties)
        has_stages: HasStages = target
        has_stages.stage(stream_name).reshape(schema, key_properties)

    @override
    def process_record(self, record: dict[str, Any], context: dict[str, Any]) -> None:
        raise TargetError("records go to the stage")

    @override
    def process_batch(self, context: dict[str, Any]) -> None:
        """Nothing waits in the sink: records are on disk already."""
