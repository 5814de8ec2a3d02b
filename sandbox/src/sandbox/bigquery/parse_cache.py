"""Each statement is parsed once.

The emulator parses the text of one query some twenty times: to learn what kind of statement it is, in each of its rewriters,
and for its catalog. Nearly always the tree is only read. So trees are kept by their text: functions that only read share
them, and a rewriter that has changed its text has changed the tree too, which is then no longer shared.
"""

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, cast

import sqlglot
from bqemulator.domain.errors import InvalidQueryError
from bqemulator.domain.result import Ok
from bqemulator.scripting.ast import Script, SqlStmt
from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.parsers.bigquery import BigQueryParser

from . import patches

MOST_TREES = 1000
WHY = "each statement is parsed once"
DIALECTS = ("bigquery", "duckdb")
# Others, such as functions, are made by the emulator itself.
PLAIN_KINDS = {"TABLE", "VIEW"}
POSITIONS = {"line", "col", "start", "end"}
READERS = {
    "catalog.ddl_sync": (
        "_detect_catalog_drop",
        "_detect_create_schema",
        "_detect_plain_create_table",
        "_detect_plain_create_view",
        "_extract_ddl_metadata",
    ),
    "jobs.executor": (
        "_parse_for_classification",
        "_reject_dml_on_immutable",
        "detect_drop_routine",
        "sync_created_table",
        "sync_created_view",
    ),
    "jobs.ddl_result": ("_parse_statement",),
    "sql.inner_query": ("build_catalog_schema",),
}
# Text in, text out.
REWRITERS = {
    "jobs.executor": ("rewrite_table_refs",),
    "sql.inner_query": ("rewrite_for_row_access", "rewrite_for_system_time", "rewrite_unnest_offset"),
    "sql.translator": (
        "rewrite_aggregate_variants",
        "rewrite_collate_specifier",
        "rewrite_create_table_schema_ctas",
        "rewrite_datetime_helpers",
        "rewrite_decimal_literals",
        "rewrite_division_by_zero",
        "rewrite_json_helpers",
        "rewrite_numeric_literals",
        "rewrite_partition_pseudo_columns",
        "rewrite_safe_helpers",
        "rewrite_session_user",
        "rewrite_sha512",
        "rewrite_specialized_types",
        "rewrite_string_helpers",
        "rewrite_struct_helpers",
        "rewrite_timestamp_iso_helpers",
        "rewrite_unnest_struct",
    ),
}

Key = tuple[str, str]
_capture = patches.get("jobs.executor", "_capture_dml_snapshots")
_is_dml = patches.get("jobs.executor", "_is_dml")
_parse_script = patches.get("jobs.executor", "parse_script")
_translator = patches.get("sql.translator", "SQLTranslator")
_translate = _translator.translate
_parse = sqlglot.parse_one
_transpile = sqlglot.transpile
_new_generator = Dialect.generator
_generate = Dialect.generate
_generators: dict[tuple[Any, ...], Any] = {}
_trees: OrderedDict[Key, exp.Expr] = OrderedDict()
_translations: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
# Which trees the running function shares: those of every text, of its own text, or none.
EVERY = ""
_lent: ContextVar[str | None] = ContextVar("lent", default=None)


def _parsed(sql: str, read: Any) -> exp.Expr:  # noqa: ANN401 (sqlglot's)
    """Parse, and forget where in the text each name stood: copying that took longer than parsing.

    To find `FROM t, t.array`, sqlglot copies every table expression that is joined, which takes as long as all the rest:
    it is asked to where there is such a join.
    """
    BigQueryParser.SUPPORTS_IMPLICIT_UNNEST = False
    try:
        tree = _parse(sql, read=read)
    finally:
        BigQueryParser.SUPPORTS_IMPLICIT_UNNEST = True
    joined = {parts[0].name.lower() for j in tree.find_all(exp.Join) if len(parts := _parts(j.this)) > 1}
    if joined and joined & {table.alias_or_name.lower() for table in tree.find_all(exp.Table, exp.Subquery)}:
        tree = _parse(sql, read=read)
    for node in tree.walk():
        if meta := node._meta:  # noqa: SLF001 (`meta` makes a dictionary where there is none)
            kept = {key: value for key, value in meta.items() if key not in POSITIONS}
            node._meta = kept or None  # noqa: SLF001
    return tree


def _parts(table: exp.Expr) -> list[exp.Expr]:
    return table.parts if isinstance(table, exp.Table) else []


def parse_one(sql: str, read: Any = None, **options: Any) -> exp.Expr:  # noqa: ANN401 (sqlglot's)
    """Return the tree of one statement: the shared one inside `reading` and `rewriting`, else a copy."""
    if options or not isinstance(sql, str):
        return cast("exp.Expr", _parse(sql, read=read, **options))
    key = (sql, str(read))
    tree = _trees.get(key)
    if tree is None:
        tree = _trees[key] = _parsed(sql, read)
        if len(_trees) > MOST_TREES:
            _trees.popitem(last=False)
    else:
        _trees.move_to_end(key)
    return tree if _lent.get() in (EVERY, sql) else tree.copy()


def keep(sql: str, tree: exp.Expr) -> None:
    """Share a tree under its text."""
    _trees[sql, "bigquery"] = tree


def transpile(sql: str, read: Any = None, write: Any = None, **options: Any) -> list[str]:  # noqa: ANN401 (sqlglot's)
    """Return the statements of `sql` in the other dialect; the generator works on a copy of the tree."""
    if _several(sql, read):
        return _transpile(sql, read=read, write=write, **options)
    return [reading(parse_one)(sql, read=read).sql(dialect=write, **options)]


def _several(sql: str, read: Any) -> bool:  # noqa: ANN401 (sqlglot's)
    """Return whether a semicolon stands between statements, not in a text or at the end alone."""
    return ";" in sql and any(
        token.token_type == sqlglot.TokenType.SEMICOLON for token in sqlglot.tokenize(sql, read=read)[:-1]
    )


def generator(self: Dialect, **options: Any) -> Any:  # noqa: ANN401 (sqlglot's)
    """Return the generator of this dialect and options: the compiled sqlglot parses eleven templates for each new one."""
    key = (threading.get_ident(), type(self), tuple(sorted(options.items())))
    if key not in _generators:
        _generators[key] = _new_generator(self, **options)
    return _generators[key]


def generate(self: Dialect, expression: exp.Expr, copy: bool = True, **options: Any) -> str:  # noqa: ANN401, FBT001, FBT002 (sqlglot's)
    """Return the text of a tree; one that a rewriter shares it has changed and is done with, so that it need not be copied."""
    shared = next(
        (key for dialect in DIALECTS if _trees.get(key := (_lent.get() or "", dialect)) is expression), None
    )
    if shared:
        del _trees[shared]
    return _generate(self, expression, copy=copy and not shared, **options)


def reading(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with shared trees, which it must not change."""

    @functools.wraps(function)
    def run(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 (the function's)
        token = _lent.set(EVERY)
        try:
            return function(*arguments, **options)
        finally:
            _lent.reset(token)

    return run


async def _snapshots(project_id: str, bq_sql: str, ctx: Any) -> None:  # noqa: ANN401 (the emulator's context)
    """Take snapshots after DML alone: nothing else changes tables' rows."""
    if _is_dml(reading(_quietly)(bq_sql)):
        await _capture(project_id, bq_sql, ctx)


def _quietly(sql: str) -> exp.Expr | None:
    try:
        return parse_one(sql, read="bigquery")
    except sqlglot.errors.SqlglotError:
        return None


@patches.replaces(
    "jobs.executor",
    "parse_script",
    why="a plain statement is no script: the scripts' lexer goes through it letter by letter",
)
def parse_script(sql: str) -> Script:
    """Return the statements of a script."""
    tree = None if _several(sql, "bigquery") else reading(_quietly)(sql)
    if isinstance(tree, (exp.Query, exp.DML)) or (isinstance(tree, exp.Create) and tree.kind in PLAIN_KINDS):
        return Script(statements=(SqlStmt(sql=sql.strip()),))
    script = cast("Script", _parse_script(sql))
    if not script.statements:
        raise InvalidQueryError("Syntax error: Unexpected end of script", location="query")
    return script


def rewriting(function: Callable[..., str]) -> Callable[..., str]:
    """Return the function, which gives its first argument or a changed text, with shared trees that it may change."""

    @functools.wraps(function)
    def run(sql: str, *arguments: Any, **options: Any) -> str:  # noqa: ANN401 (the function's)
        token = _lent.set(sql)
        result = None
        try:
            result = function(sql, *arguments, **options)
        finally:
            _lent.reset(token)
            if result != sql:
                for dialect in DIALECTS:
                    _trees.pop((sql, dialect), None)
        return result

    return run


# Kinds of nodes, most of each tree, that no rule is about.
PLAIN = {
    exp.Alias, exp.And, exp.Boolean, exp.Case, exp.Column, exp.CTE, exp.EQ, exp.From, exp.Group, exp.GT, exp.Having,
    exp.Identifier, exp.If, exp.Is, exp.Join, exp.Literal, exp.NEQ, exp.Not, exp.Null, exp.Or, exp.Order, exp.Ordered,
    exp.PropertyEQ, exp.Select, exp.Star, exp.Subquery, exp.Table, exp.TableAlias, exp.Union, exp.Where, exp.With,
}  # fmt: skip


@patches.replaces_method(_translator, "translate", why="each statement is translated once")
def translate(self: Any, sql: str, *, schema: dict[str, Any] | None = None, caller: Any = None) -> Any:  # noqa: ANN401 (the emulator's)
    """Return DuckDB's statement, as before where text, columns and caller are as before."""
    key = (sql, repr(schema), caller)
    result = _translations.get(key)
    if result is None:
        result = _translate(self, sql, schema=schema, caller=caller)
        if isinstance(result, Ok):
            _translations[key] = result
            if len(_translations) > MOST_TREES:
                _translations.popitem(last=False)
    return result


@patches.replaces_method(
    _translator,
    "_apply_rules",
    why="rules are asked of what they may be about; types are worked out where a rule looks at them",
)
def with_rules(self: Any, sql: str, *, schema: dict[str, Any] | None = None) -> str:  # noqa: ANN401 (the emulator's)
    """Return DuckDB's statement with the emulator's rules applied, from the leaves up."""
    try:
        tree = parse_one(sql, read="duckdb")
    except sqlglot.errors.SqlglotError:
        return sql
    if schema is not None and tree.find(exp.Avg, exp.Div):
        tree = self._annotate_tree(tree, schema)
    changed = False
    for node in reversed(list(tree.walk())):
        if type(node) not in PLAIN and self._apply_first_matching_rule(node, tree):
            changed = True
    return tree.sql(dialect="duckdb", copy=False) if changed else sql


for _functions, _how in ((READERS, reading), (REWRITERS, rewriting)):
    for _module, _names in _functions.items():
        for _name in _names:
            patches.replace(_module, _name, _how(patches.get(_module, _name)), WHY)
patches.replace("jobs.executor", "_capture_dml_snapshots", _snapshots, WHY)
sqlglot.parse_one = parse_one  # type: ignore[assignment]
Dialect.generator = generator  # type: ignore[method-assign]
Dialect.generate = generate  # type: ignore[method-assign]
sqlglot.transpile = transpile  # type: ignore[assignment]
