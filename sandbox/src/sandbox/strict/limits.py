"""BigQuery's documented limits: sizes of requests, and updates of a table in a time (https://cloud.google.com/bigquery/quotas)."""

import re
import time
from typing import Any

from sandbox.strict.rules import FORBIDDEN, Rate, Refused, invalid
from sandbox.strict.statements import Permission

LABEL = re.compile(r"[\w-]*")
TROUBLE = "For more information, see https://cloud.google.com/bigquery/docs/troubleshoot-quotas"


class Limits:
    """The limits of `rules.json`, and the updates counted so far. Each method raises Refused where one is exceeded."""

    def __init__(self, limits: dict[str, float]) -> None:
        self._limits = limits
        self._updates = Rate()

    def check_query(self, sql: str) -> None:
        """Check the length of a statement."""
        if len(sql.encode()) > self._limits["query_bytes"]:
            raise invalid("The query is too large. The maximum query length is 1024.00K characters.")

    def check_sources(self, uris: list[str]) -> None:
        """Check how many sources a load job has."""
        if len(uris) > self._limits["source_uris"]:
            raise invalid(f"Too many source URIs: {len(uris)}; at most 10000 are allowed")

    def check_resource(self, resource: dict[str, Any]) -> None:
        """Check the labels and the descriptions of a resource as REST has it; BigQuery itself counts its columns."""
        labels = resource.get("labels") or {}
        if len(labels) > self._limits["labels"]:
            raise invalid(f"Too many labels: {len(labels)}; at most 64 are allowed")
        for text in (text for pair in labels.items() for text in pair if text is not None):
            if len(text) > self._limits["label_length"] or not LABEL.fullmatch(text) or text != text.lower():
                raise invalid(
                    f"Label {text!r} is not valid: at most 63 characters of lower-case letters, numbers, dashes and underscores"
                )
        if len(resource.get("description") or "") > self._limits["table_description"]:
            raise invalid("The description is too long: at most 16384 characters")
        self._check_columns((resource.get("schema") or {}).get("fields") or [])

    def _check_columns(self, fields: list[dict[str, Any]]) -> None:
        for field in fields:
            if len(field.get("description") or "") > self._limits["column_description"]:
                raise invalid(
                    f"The description for field {field.get('name')} is too long. The maximum length is 1024 characters."
                )
            self._check_columns(field.get("fields") or [])

    def count_updates(self, permissions: list[Permission]) -> None:
        """Count the updates of tables that these permissions are for, once per table."""
        now, most = time.monotonic(), self._limits["table_updates"]
        tables = {f"{need.dataset}.{need.table}": need for need in permissions if need.updates}
        for name, need in tables.items():
            if need.refusable and self._updates.full(name, most, self._limits["table_updates_seconds"], now):
                raise Refused(
                    FORBIDDEN,
                    "rateLimitExceeded",
                    f"Exceeded rate limits: too many table update operations for this table. {TROUBLE}",
                )
        for name in tables:
            self._updates.add(name, now)
