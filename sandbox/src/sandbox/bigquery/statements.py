"""Statements that the emulator's translation to DuckDB gets wrong or refuses.

Import it before anything that makes a translator, which takes the rules registered so far.
"""

from __future__ import annotations

import re
import sys
from typing import Any

from bqemulator.domain.errors import InvalidQueryError
from bqemulator.sql.rules import TranslationRule, register
from sqlglot import exp

from . import patches

if "bqemulator.jobs.executor" in sys.modules:
    raise patches.PatchTargetMissing(
        "sandbox: the emulator's translator was made before the rules were registered"
    )
NULL_IN_REQUIRED = re.compile(r"NOT NULL constraint failed: [^.\s]+\.(\w+)")


@register
class UnqualifiedSet(TranslationRule):
    """UPDATE SET t.`c` = … in a MERGE: DuckDB takes no qualifier on the left."""

    name = "MERGE_SET_UNQUALIFIED"

    def applies_to(self, node: exp.Expression) -> bool:
        """Return whether it is such a column."""
        if not isinstance(node, exp.Column) or not node.table or node.arg_key != "this":
            return False
        update = node.parent.parent if isinstance(node.parent, exp.EQ) else None
        return isinstance(update, exp.Update) and isinstance(update.parent, exp.When)

    def rewrite(self, node: exp.Expression) -> exp.Expression:
        """Return the column without its table."""
        return exp.column(node.this.copy())


@register
class InsertRow(TranslationRule):
    """INSERT ROW in a MERGE is INSERT * in DuckDB."""

    name = "MERGE_INSERT_ROW"

    def applies_to(self, node: exp.Expression) -> bool:
        """Return whether it is that ROW."""
        insert = node.parent if isinstance(node, exp.Var) and node.name.upper() == "ROW" else None
        return isinstance(insert, exp.Insert) and isinstance(insert.parent, exp.When)

    def rewrite(self, node: exp.Expression) -> exp.Expression:  # noqa: ARG002 (the interface)
        """Return the star."""
        return exp.Var(this="*")


patches.REASONS.extend((f"rule {rule.name}", rule.__doc__ or "") for rule in (UnqualifiedSet, InsertRow))
CTAS, VARIANTS = "sql.rewriter.create_table_schema_ctas", "sql.rewriter.aggregate_variants"
_first = patches.get(CTAS, "_first_select")
_casts = patches.get(CTAS, "_cast_projections_to_schema")
_filtered = patches.get(VARIANTS, "_filter_target")
_translated = patches.get("jobs.error_mapper", "translate_runtime_error")


@patches.replaces(
    CTAS, "_first_select", why="CREATE TABLE t (columns) AS (SELECT …), as a dbt contract writes it"
)
def first_select(body: Any) -> Any:  # noqa: ANN401 (expressions)
    """Return the first SELECT of a query, within its parentheses too."""
    while isinstance(body, (exp.Subquery, exp.Paren)):
        body = body.this
    return _first(body)


@patches.replaces(CTAS, "_cast_projections_to_schema", why="NOT NULL columns of CREATE TABLE AS refuse NULL")
def casts(columns: list[exp.ColumnDef], values: list[exp.Expression]) -> list[exp.Expression]:
    """Return the query's values as the declared columns."""
    values_cast: list[exp.Expression] = _casts(columns, values)
    for column, value in zip(columns, values_cast, strict=True):
        if column.find(exp.NotNullColumnConstraint):
            message = exp.Literal.string(f"Required field {column.name} cannot be null")
            refused = exp.Anonymous(this="ERROR", expressions=[message])
            value.set("this", exp.Coalesce(this=value.this, expressions=[refused]))
    return values_cast


@patches.replaces(VARIANTS, "_filter_target", why="ARRAY_AGG(DISTINCT x IGNORE NULLS)")
def filtered(operand: Any) -> Any:  # noqa: ANN401 (expressions)
    """Return what is aggregated, without DISTINCT."""
    target = _filtered(operand)
    return target.expressions[0] if isinstance(target, exp.Distinct) else target


@patches.replaces(
    "jobs.error_mapper",
    "translate_runtime_error",
    also=("jobs.executor",),
    why="NULL in a REQUIRED column: BigQuery's message",
)
def translated(error: Exception, **named: Any) -> Exception:  # noqa: ANN401 (the emulator's)
    """Return BigQuery's error in place of DuckDB's."""
    if match := NULL_IN_REQUIRED.search(str(error)):
        return InvalidQueryError(f"Required field {match[1]} cannot be null", location="query")
    mapped: Exception = _translated(error, **named)
    return mapped
