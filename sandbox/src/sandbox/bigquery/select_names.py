"""GROUP BY, HAVING, ORDER BY and QUALIFY read a name as BigQuery does: one of the SELECT list before a table's column.

DuckDB reads the column first, but for a name that is all of an item of ORDER BY, and gives other groups, rows and orders
in silence. https://cloud.google.com/bigquery/docs/reference/standard-sql/query-syntax#alias_ambiguity
"""

from collections import Counter
from collections.abc import Iterator

from bqemulator.domain.errors import InvalidQueryError
from sqlglot import exp


def resolve(tree: exp.Expr) -> bool:
    """Put what a name stands for in its place, in each SELECT of a statement; return whether there was one.

    Raises:
        InvalidQueryError: A name stands for two items of the list, or for an aggregate within another.
    """
    resolved = [_resolve(select) for select in tree.find_all(exp.Select)]
    return any(resolved)


def _resolve(select: exp.Select) -> bool:
    names = _names(select)
    replaced = False
    listed = Counter(item.alias_or_name.lower() for item in select.expressions)
    for column in _grouped(select):
        if listed[column.name.lower()] > 1:
            raise InvalidQueryError(f"Name {column.name} in GROUP BY clause is ambiguous", location="query")
        if place := names.get(column.name.lower()):
            column.replace(_by(select, column, place))
            replaced = True
    for clause in filter(None, map(select.args.get, ("having", "qualify", "order"))):
        for column in _columns(clause):
            place = names.get(column.name.lower())
            inside = column.find_ancestor(exp.AggFunc, exp.Window, exp.Select)
            if place and isinstance(inside, exp.AggFunc) and not isinstance(inside.parent, exp.Window):
                _refuse_aggregation(select.expressions[place - 1])
            if place and not _is_read_so(column, clause, select, names):
                column.replace(_item(select, place))
                replaced = True
    return replaced


def _refuse_aggregation(item: exp.Expr) -> None:
    aggregates = item.find_all(exp.AggFunc)
    if any(not isinstance(found.parent, exp.Window) for found in aggregates):
        raise InvalidQueryError("Aggregations of aggregations are not allowed", location="query")


def _is_read_so(column: exp.Column, clause: exp.Expr, select: exp.Select, names: dict[str, int]) -> bool:
    """Whether DuckDB reads a name of the list as BigQuery does."""
    if isinstance(clause, exp.Having):
        # It reads the list's names within the item as well, which stands for a column there.
        item = _item(select, names[column.name.lower()])
        return any(inner.name.lower() in names for inner in _columns(item))
    # All of an item of ORDER BY, but where the SELECT becomes a value.
    whole = isinstance(column.parent, exp.Ordered) and column.parent.parent is clause
    is_value = bool(select.args.get("kind")) or isinstance(select.parent, exp.Array)
    return whole and not is_value


def _names(select: exp.Select) -> dict[str, int]:
    """The places of the list's names that are not a column of that name as it is; BigQuery refuses one that is there twice."""
    listed = [item.alias_or_name.lower() for item in select.expressions]
    counts = Counter(listed)
    return {
        name: place
        for place, (name, item) in enumerate(zip(listed, select.expressions, strict=True), 1)
        if counts[name] == 1
        and name
        and not item.is_star
        and not (
            isinstance(column := item.unalias(), exp.Column)
            and not column.table
            and column.name.lower() == name
        )
    }


def _grouped(select: exp.Select) -> Iterator[exp.Column]:
    """Yield the names that are all of an item of GROUP BY; within an item, BigQuery knows columns only."""
    group = select.args.get("group")
    parts = group.args if group else {}
    items = [
        item for part in ("expressions", "rollup", "cube", "grouping_sets") for item in parts.get(part) or ()
    ]
    while items:
        item = items.pop()
        if isinstance(item, (exp.Rollup, exp.Cube, exp.GroupingSets, exp.Tuple)):
            items += item.expressions
        elif isinstance(item, exp.Paren):
            items.append(item.this)
        elif isinstance(item, exp.Column) and not item.table:
            yield item


def _by(select: exp.Select, column: exp.Column, place: int) -> exp.Expr:
    """Return what GROUP BY has for an item of the list: its place, or the item where a place cannot be or is not known."""
    starred = any(item.is_star for item in select.expressions[:place])
    if isinstance(column.parent, exp.Group) and not starred:
        return exp.Literal.number(place)
    return _item(select, place)


def _item(select: exp.Select, place: int) -> exp.Expr:
    return exp.Paren(this=select.expressions[place - 1].unalias().copy())


def _columns(clause: exp.Expr) -> list[exp.Column]:
    """The plain names of a clause, without those of its subqueries, which have lists of their own."""
    nodes = clause.walk(prune=lambda node: isinstance(node, exp.Query))
    return [node for node in nodes if isinstance(node, exp.Column) and not node.table]
