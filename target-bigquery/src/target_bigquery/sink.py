"""The SDK's sink: passes a stream's schema to the stage that takes its records."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from singer_sdk import Sink
from typing_extensions import override

from target_bigquery.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from target_bigquery.target import TargetBigQuery


class StreamSink(Sink):
    """A stream under one schema; the SDK makes another one when the schema changes, on the same stage."""

    def __init__(
        self,
        target: TargetBigQuery,
        stream_name: str,
        schema: dict[str, Any],
        key_properties: Sequence[str] | None,
    ) -> None:
        # The SDK's constructor removes its own metadata from the schema, even a key.
        super().__init__(target, stream_name, copy.deepcopy(schema), key_properties)
        target.stage(stream_name).reshape(schema, key_properties)

    @override
    def get_validator(self) -> None:
        """Return None: the stage checks records against their columns, for schemas of every draft."""

    @override
    def process_record(self, record: dict[str, Any], context: dict[str, Any]) -> None:
        raise TargetError("records go to the stage")

    @override
    def process_batch(self, context: dict[str, Any]) -> None:
        """Do nothing: the records are on disk already."""
