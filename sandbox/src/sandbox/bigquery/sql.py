"""SQL the emulator's translation to DuckDB gets wrong or refuses."""

import re
import sys

from bqemulator.domain.errors import InvalidQueryError
from bqemulator.sql.rules import TranslationRule, register
from sqlglot import exp
from . import patching


def register_rules():
    """Before anything that makes a translator is imported: a translator takes the rules there are."""
    if "bqemulator.jobs.executor" in sys.modules:
        raise patching.Moved("launcher: the emulator's translator was made before the rules were registered")

    @register
    class MergeSetUnqualified(TranslationRule):
        """UPDATE SET t.`c` = ... in a MERGE: DuckDB takes no qualifier on the left."""

        name = "MERGE_SET_UNQUALIFIED"

        def applies_to(self, node):
            p = node.parent
            return (
                isinstance(node, exp.Column)
                and bool(node.table)
                and isinstance(p, exp.EQ)
                and node.arg_key == "this"
                and isinstance(p.parent, exp.Update)
                and isinstance(p.parent.parent, exp.When)
            )

        def rewrite(self, node):
            return exp.column(node.this.copy())

    @register
    class MergeInsertRow(TranslationRule):
        """INSERT ROW in a MERGE is INSERT * in DuckDB."""

        name = "MERGE_INSERT_ROW"

        def applies_to(self, node):
            return (
                isinstance(node, exp.Var)
                and node.name.upper() == "ROW"
                and isinstance(node.parent, exp.Insert)
                and isinstance(node.parent.parent, exp.When)
            )

        def rewrite(self, node):
            return exp.Var(this="*")

    patching.REASONS.extend((f"rule {r.name}", r.__doc__) for r in (MergeSetUnqualified, MergeInsertRow))


def apply():
    first_select = patching.get("sql.rewriter.create_table_schema_ctas", "_first_select")

    def inside_parentheses(body):
        while isinstance(body, (exp.Subquery, exp.Paren)):
            body = body.this
        return first_select(body)

    patching.replace(
        "sql.rewriter.create_table_schema_ctas",
        "_first_select",
        inside_parentheses,
        "CREATE TABLE t (columns) AS (SELECT ...), as a dbt contract writes it",
    )

    filter_target = patching.get("sql.rewriter.aggregate_variants", "_filter_target")

    def inside_distinct(operand):
        operand = filter_target(operand)
        return operand.expressions[0] if isinstance(operand, exp.Distinct) else operand

    patching.replace(
        "sql.rewriter.aggregate_variants",
        "_filter_target",
        inside_distinct,
        "ARRAY_AGG(DISTINCT x IGNORE NULLS)",
    )

    translate = patching.get("jobs.error_mapper", "translate_runtime_error")

    def with_required(error, **k):
        if m := re.search(r"NOT NULL constraint failed: [^.\s]+\.(\w+)", str(error)):
            return InvalidQueryError(f"Required field {m[1]} cannot be null", location="query")
        return translate(error, **k)

    patching.replace(
        "jobs.error_mapper",
        "translate_runtime_error",
        with_required,
        "NULL into a REQUIRED column: BigQuery's message",
        also=["jobs.executor"],
    )
