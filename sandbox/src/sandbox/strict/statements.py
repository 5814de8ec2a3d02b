"""What a statement needs: the permissions on the datasets that it reads and writes."""

from dataclasses import dataclass

import sqlglot
from sqlglot import exp

DML = (exp.Insert, exp.Update, exp.Delete, exp.Merge)
DATASET_VERBS: dict[type[exp.Expr], str] = {exp.Create: "create", exp.Drop: "delete", exp.Alter: "update"}


@dataclass(frozen=True)
class Permission:
    """A permission on a dataset (of a table, where one is named); `updates` counts against the table's rate."""

    permission: str
    dataset: str
    table: str = ""
    updates: bool = False
    refusable: bool = True


def permissions(sql: str) -> list[Permission]:
    """Return the permissions for the statements of a query; none for what cannot be parsed, which BigQuery refuses itself."""
    try:
        statements = sqlglot.parse(sql, read="bigquery")
    except sqlglot.errors.SqlglotError:
        return []
    return [need for statement in statements if statement is not None for need in _permissions(statement)]


def _permissions(statement: exp.Expr) -> list[Permission]:
    target = _target(statement)
    required = []
    if target is not None:
        required += _writes(statement, target)
    tables = list(statement.find_all(exp.Table))
    # FROM a, a.b reads an array of a, and a CTE is no table.
    aliases = {cte.alias_or_name.lower() for cte in statement.find_all(exp.CTE)}
    aliases |= {table.alias.lower() for table in tables if table.alias}
    for table in tables:
        if table is target or table.parts[0].name.lower() in aliases:
            continue
        dataset, name = _dataset_and_table(table)
        is_view_of_catalog = (
            name.upper() == "__TABLES__" or "INFORMATION_SCHEMA" in table.sql("bigquery").upper()
        )
        required.append(
            Permission("bigquery.tables.list", dataset)
            if is_view_of_catalog
            else Permission("bigquery.tables.getData", dataset, name)
        )
    return list(dict.fromkeys(required))


def _target(statement: exp.Expr) -> exp.Table | None:
    if not isinstance(statement, (exp.Create, exp.Drop, exp.Alter, exp.TruncateTable, *DML)):
        return None
    this = statement.expressions[0] if isinstance(statement, exp.TruncateTable) else statement.this
    while isinstance(this, (exp.Schema, exp.Alias)):
        this = this.this
    return this if isinstance(this, exp.Table) else None


def _writes(statement: exp.Expr, target: exp.Table) -> list[Permission]:
    kind = str(statement.args.get("kind") or "").upper()
    dataset, table = _dataset_and_table(target)
    if kind == "SCHEMA":
        verb = DATASET_VERBS.get(type(statement), "update")
        return [Permission(f"bigquery.datasets.{verb}", target.name if verb != "create" else "")]
    if isinstance(statement, exp.Create):
        needed = [Permission("bigquery.tables.create", dataset, table, updates=True)]
        if statement.args.get("replace"):
            needed.append(Permission("bigquery.tables.updateData", dataset, table))
        return needed
    if isinstance(statement, exp.Drop):
        return [Permission("bigquery.tables.delete", dataset, table)]
    if isinstance(statement, exp.Alter):
        return [Permission("bigquery.tables.update", dataset, table, updates=True)]
    # DML counts against the rate of table updates, and is not refused for it.
    needed = [Permission("bigquery.tables.updateData", dataset, table, updates=True, refusable=False)]
    if not isinstance(statement, exp.Insert):
        needed.append(Permission("bigquery.tables.getData", dataset, table))
    return needed


def _dataset_and_table(table: exp.Table) -> tuple[str, str]:
    """Return dataset and table; a name in one pair of back-quotes may hold all three parts."""
    parts = ".".join(part.name for part in table.parts).split(".")
    if "INFORMATION_SCHEMA" in (upper := [part.upper() for part in parts]):
        at = upper.index("INFORMATION_SCHEMA")
        return (parts[at - 1] if at else ""), parts[-1]
    return (parts[-2] if len(parts) > 1 else ""), parts[-1]
