"""How a dataset's tables in ClickHouse differ from their declaration, and the statements that mend it. Pure.

What stores rows is altered in place where that keeps every row as it was, and is breaking otherwise. What reads is
dropped and created again as a whole: the queue's offsets are in Kafka, so reading goes on where it stopped.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from clickhouse.ddl import (
    Column,
    Connection,
    Table,
    column_clause,
    consumer_group,
    create_statement,
    literal,
    names,
    tables,
)
from clickhouse.dead_letters import tables as dead_letters
from clickhouse.dead_letters.tables import dead_letter_tables
from clickhouse.tables import normalised
from infra.deploy.changes import Action, Change, Detail, ForgetOffsets, RunSql, Step, config_details
from schemas.manifest import Dataset

Found = tuple[list[Detail], list[str], list[str]]
"""Differences, statements that mend them, and what cannot be mended in place."""


@dataclass(frozen=True)
class _Tables:
    """Tables that one queue fills: which of them store rows, which are views on those, which read, in this order."""

    name: str
    declared: Mapping[str, Table]
    stored: tuple[str, ...]
    view: str
    reading: tuple[str, ...]
    group: str
    source: str


def table_change(dataset: Dataset, connection: Connection, actual: Mapping[str, Table]) -> Change | None:
    """How a dataset's tables differ, None if they do not. `actual` are all tables there are, by name.

    A table that stores rows and is missing is filled from its topic again: the steps forget the reader's offsets.
    """
    named = names(dataset.name)
    return _change(
        _Tables(
            name=dataset.name,
            declared={table.name: table for table in tables(dataset, connection)},
            stored=(named.table, named.unreadable),
            view=named.latest,
            reading=(named.messages, named.view, named.unreadable_view, named.queue, named.intake),
            group=consumer_group(dataset),
            source=f"topic {dataset.topic}",
        ),
        actual,
    )


def dead_letter_change(topics: Collection[str], connection: Connection, actual: Mapping[str, Table]) -> Change | None:
    """How the tables over all dead-letter topics differ, in the same way."""
    return _change(
        _Tables(
            name=dead_letters.NAME,
            declared={table.name: table for table in dead_letter_tables(topics, connection)},
            stored=(dead_letters.NAME,),
            view=dead_letters.LATEST,
            reading=(dead_letters.QUEUE, dead_letters.INTAKE),
            group=dead_letters.consumer_group(connection),
            source="the dead-letter topics",
        ),
        actual,
    )


def _change(together: _Tables, actual: Mapping[str, Table]) -> Change | None:
    declared = together.declared
    missing = {name for name in together.stored if name not in actual}
    details, alterations, breaking = (
        [Detail(name, "", "new, filled from the start of the topic") for name in missing],
        [],
        [],
    )
    for name in (*together.stored, together.view):
        if name in actual:
            found = _differences(declared[name], actual[name])
            details += found[0]
            alterations += found[1]
            breaking += found[2]
        elif name not in missing:
            details.append(Detail(name, "", "new"))
            alterations.append(create_statement(declared[name]))
    reading = _reading_details(together, actual)
    if not details and not reading:
        return None
    details = sorted(details, key=lambda detail: detail.what) + reading
    if breaking:
        return Change("table", "breaking", together.name, tuple(details), advice=_advice(together, breaking))
    steps = _steps(together, actual, missing, alterations, bool(missing or reading))
    action: Action = "create" if together.name in missing else "change"
    return Change("table", action, together.name, tuple(details), steps)


def undeclared(
    datasets: Iterable[Dataset], topics: Collection[str], connection: Connection, actual: Mapping[str, Table]
) -> list[str]:
    """Tables, and columns of stored tables, that exist and are not declared; they are left alone."""
    every = [*(table for dataset in datasets for table in tables(dataset, connection))]
    declared = {table.name: table for table in (*every, *dead_letter_tables(topics, connection))}
    found = [f"table {name}" for name in actual if name not in declared]
    for name, table in declared.items():
        if name in actual and table.order_by:
            known = {column.name for column in table.columns}
            found += [f"column {name}.{column.name}" for column in actual[name].columns if column.name not in known]
    return found


def _reading_details(together: _Tables, actual: Mapping[str, Table]) -> list[Detail]:
    details = []
    for name in together.reading:
        if name not in actual:
            details.append(Detail(name, "", "new"))
        elif (wanted := normalised(together.declared[name])) != actual[name]:
            details += _parts(wanted, actual[name])
    return details


def _steps(
    together: _Tables,
    actual: Mapping[str, Table],
    missing: set[str],
    alterations: list[str],
    reads_anew: bool,
) -> tuple[Step, ...]:
    """In an order in which a run that stops anywhere has lost nothing: the next one begins from what is there then."""
    declared, reading = together.declared, together.reading
    stop = [f"DROP TABLE IF EXISTS {name}" for name in reversed(reading) if name in actual] if reads_anew else []
    # Offsets go before the table comes: were it the other way round, a run stopped in between would leave it empty.
    forget = [ForgetOffsets(together.group)] if missing else []
    create = [create_statement(table) for name, table in declared.items() if name in missing]
    start = [create_statement(declared[name]) for name in reading] if reads_anew else []
    return (*map(RunSql, stop), *forget, *map(RunSql, [*create, *alterations, *start]))


def _differences(declared: Table, actual: Table) -> Found:
    wanted = normalised(declared)
    if wanted.query:
        statement = create_statement(declared).replace("CREATE VIEW IF NOT EXISTS", "CREATE OR REPLACE VIEW", 1)
        details = _parts(wanted, actual)
        is_view = bool(actual.query) and not actual.target
        return details, [statement] if details else [], [] if is_view else [f"{wanted.name} is not a view"]
    details, statements, breaking = [], [], []
    for what in ("engine", "order_by", "query", "target"):
        there, ours = getattr(actual, what), getattr(wanted, what)
        if there != ours:
            name = what.replace("_", " ")
            details.append(Detail(f"{wanted.name}: {name}", there, ours))
            breaking.append(f"the {name} of {wanted.name} is fixed when it is created")
    for found in (_column_differences(wanted, actual), _option_differences(wanted, actual)):
        details += found[0]
        statements += found[1]
        breaking += found[2]
    return details, statements, breaking


def _column_differences(wanted: Table, actual: Table) -> Found:
    details, statements, breaking = [], [], []
    there = {column.name: column for column in actual.columns}
    place = "FIRST"
    for column in wanted.columns:
        name = f"{wanted.name}: column {column.name}"
        if column.name not in there:
            details.append(Detail(name, "", column.type))
            statements.append(f"ALTER TABLE {wanted.name} ADD COLUMN IF NOT EXISTS {column_clause(column)} {place}")
            if not column.type.startswith(("Nullable(", "LowCardinality(Nullable(")):
                breaking.append(f"rows of {wanted.name} have no value for {column.name}, and it may not be null")
        else:
            found = _one_column(wanted.name, column, there[column.name])
            details += found[0]
            statements += found[1]
            breaking += found[2]
        place = f"AFTER {column.name}"
    return details, statements, breaking


def _one_column(table: str, wanted: Column, actual: Column) -> Found:
    details, statements, breaking = [], [], []
    for what in ("type", "materialized", "comment", "codec"):
        there, ours = getattr(actual, what), getattr(wanted, what)
        if there == ours:
            continue
        details.append(Detail(f"{table}: {what} of column {wanted.name}", there, ours))
        if what == "comment":
            statements.append(f"ALTER TABLE {table} COMMENT COLUMN {wanted.name} {literal(ours)}")
        elif what == "codec":
            codec = f"CODEC({ours})" if ours else "REMOVE CODEC"
            statements.append(f"ALTER TABLE {table} MODIFY COLUMN {wanted.name} {codec}")
        else:
            breaking.append(f"column {wanted.name} of {table} already holds values of another kind")
    return details, statements, breaking


def _option_differences(wanted: Table, actual: Table) -> Found:
    details, statements = [], []
    alter = f"ALTER TABLE {wanted.name}"
    if wanted.ttl != actual.ttl:
        details.append(Detail(f"{wanted.name}: TTL", actual.ttl, wanted.ttl))
        statements.append(f"{alter} MODIFY TTL {wanted.ttl}" if wanted.ttl else f"{alter} REMOVE TTL")
    if wanted.comment != actual.comment:
        details.append(Detail(f"{wanted.name}: comment", actual.comment, wanted.comment))
        statements.append(f"{alter} MODIFY COMMENT {literal(wanted.comment)}")
    ours = {name: index for name, index in actual.indexes.items() if name in wanted.indexes}
    for detail in config_details(wanted.indexes, ours):
        details.append(replace(detail, what=f"{wanted.name}: index {detail.what}"))
        if detail.actual:
            statements.append(f"{alter} DROP INDEX IF EXISTS {detail.what}")
        # Rows that are there already are indexed by the next merges, or by MATERIALIZE INDEX.
        statements.append(f"{alter} ADD INDEX IF NOT EXISTS {detail.what} {detail.declared}")
    for detail in config_details(wanted.settings, actual.settings):
        details.append(replace(detail, what=f"{wanted.name}: setting {detail.what}"))
        change = (
            f"MODIFY SETTING {detail.what} = {detail.declared}" if detail.declared else f"RESET SETTING {detail.what}"
        )
        statements.append(f"{alter} {change}")
    return details, statements, []


def _parts(wanted: Table, actual: Table) -> list[Detail]:
    """Every part in which two tables differ, by name."""
    parts = ("engine", "order_by", "ttl", "comment", "target", "query")
    details = [
        Detail(f"{wanted.name}: {part.replace('_', ' ')}", getattr(actual, part), getattr(wanted, part))
        for part in parts
        if getattr(actual, part) != getattr(wanted, part)
    ]
    details += config_details(wanted.settings, actual.settings, f"{wanted.name}: setting ")
    types = [{column.name: column.type for column in table.columns} for table in (wanted, actual)]
    return details + config_details(types[0], types[1], f"{wanted.name}: column ")


def _advice(together: _Tables, breaking: Iterable[str]) -> str:
    return (
        f"{'; '.join(dict.fromkeys(breaking))}. Either declare a new dataset, or drop table {together.name} and apply: "
        f"it is created anew and filled from {together.source}, which must hold what you want to keep"
    )
