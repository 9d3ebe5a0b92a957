"""Tables as they are: read back from ClickHouse's system tables into the same values that ddl.py declares."""

import re
from collections.abc import Mapping, Sequence

from clickhouse.ddl import Column, Table
from infra.base.query import Query

TABLES_QUERY = """
SELECT name, engine_full, as_select, comment, create_table_query
FROM system.tables
WHERE database = currentDatabase() AND NOT is_temporary
ORDER BY name
"""
COLUMNS_QUERY = """
SELECT table, name, type, comment, compression_codec, default_kind, default_expression
FROM system.columns
WHERE database = currentDatabase()
ORDER BY table, position
"""
INDEXES_QUERY = """
SELECT table, name, concat(expr, ' TYPE ', type_full, ' GRANULARITY ', toString(granularity))
FROM system.data_skipping_indices
WHERE database = currentDatabase()
ORDER BY table, name
"""
# What the engine adds by itself to a table that does not say otherwise.
IMPLICIT_SETTINGS = {"index_granularity": "8192"}
HIDDEN = "[HIDDEN]"

ENGINE = re.compile(
    r"(?P<engine>.*?)( PARTITION BY (?P<partition_by>.*?))?( PRIMARY KEY (?P<primary_key>.*?))?"
    r"( ORDER BY (?P<order_by>.*?))?( TTL (?P<ttl>.*?))?( SETTINGS (?P<settings>.*))?",
    re.DOTALL,
)
SETTING = re.compile(r"(\w+) = ('(?:[^'\\]|\\.)*'|[^,]+)")
TARGET = re.compile(r"^CREATE MATERIALIZED VIEW \S+ TO (\S+)")


def read_tables(query: Query) -> dict[str, Table]:
    """Every table and view of the connection's database by name, in the form that `normalised` gives."""
    database = str(query("SELECT currentDatabase()")[0][0])
    columns: dict[str, list[Column]] = {}
    for table, *column in query(COLUMNS_QUERY):
        columns.setdefault(table, []).append(_column(column))
    indexes: dict[str, dict[str, str]] = {}
    for table, name, index in query(INDEXES_QUERY):
        indexes.setdefault(table, {})[name] = index
    return {
        row[0]: _table(row, columns.get(row[0], []), indexes.get(row[0], {}), database) for row in query(TABLES_QUERY)
    }


def normalised(table: Table) -> Table:
    """A declared table in the form in which it is read back: queries on one line, secrets hidden.

    A view's columns follow from its query and are left out. That a password alone has changed is not visible.
    """
    settings = {name: _masked(name, value) for name, value in table.settings.items()}
    columns = () if table.query else table.columns
    return Table(
        name=table.name,
        columns=columns,
        indexes=table.indexes,
        engine=table.engine,
        order_by=table.order_by,
        ttl=table.ttl,
        settings=settings,
        comment=table.comment,
        target=table.target,
        query=_one_line(table.query),
    )


def _column(row: Sequence[str]) -> Column:
    name, type_, comment, codec, default_kind, default = row
    computed = default if default_kind == "MATERIALIZED" else f"{default_kind} {default}".strip()
    return Column(name, type_, comment, codec.removeprefix("CODEC(").removesuffix(")"), computed)


def _table(row: Sequence[str], columns: Sequence[Column], indexes: Mapping[str, str], database: str) -> Table:
    name, engine_full, query, comment, create = row
    query = _one_line(re.sub(rf"\b(FROM|JOIN) `?{re.escape(database)}`?\.", r"\1 ", query))
    target = TARGET.match(create)
    if query:
        named = target[1].removeprefix(f"{database}.") if target else ""
        return Table(name=name, comment=comment, target=named, query=query)
    match = ENGINE.fullmatch(engine_full)
    clauses: Mapping[str, str] = {} if match is None else {key: value or "" for key, value in match.groupdict().items()}
    engine = clauses.get("engine", engine_full).replace("`", "")  # the engine called Null is printed in them
    for clause in ("partition_by", "primary_key"):
        if clauses.get(clause):
            engine += f" {clause.replace('_', ' ').upper()} {clauses[clause]}"
    settings = {key: _masked(key, value.strip()) for key, value in SETTING.findall(clauses.get("settings", ""))}
    return Table(
        name=name,
        columns=tuple(columns),
        indexes=indexes,
        engine=engine,
        order_by=_without_brackets(clauses.get("order_by", "")),
        ttl=clauses.get("ttl", ""),
        settings={key: value for key, value in settings.items() if IMPLICIT_SETTINGS.get(key) != value},
        comment=comment,
    )


def _one_line(query: str) -> str:
    return " ".join(query.split())


def _without_brackets(key: str) -> str:
    return key[1:-1] if key.startswith("(") and key.endswith(")") else key


def _masked(name: str, value: str) -> str:
    if "password" in name or "secret" in name:
        return f"'{HIDDEN}'"
    return re.sub(r"(//[^:/@']*):[^@/']*@", rf"\1:{HIDDEN}@", value)
