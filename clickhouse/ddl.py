"""From a dataset to its ClickHouse tables: a pure function to values, and from a value to SQL text.

For a dataset X, in the direction of the data:

    X_queue       reads the topic (Kafka engine)
    X_intake      the only view on the queue, so that reading starts and stops in one step: adds position and reason
    X_messages    every message, read or not; stores nothing, feeds the two views
    X_view        what could be read                    X_unreadable_view   the rest
    X             rows, replaced by their successors    X_unreadable        bytes, position and reason
    X_latest      the merged truth, which dashboards and verify read

Why they look as they do: docs/decisions/003-tables.md. The rendered text of every dataset is committed in
clickhouse/sql; render it anew with

    python -m clickhouse.ddl
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from infra.base.deployment import Deployment, KafkaDeployment, Partitions
from infra.base.kafka_connection import KafkaConnection
from schemas.avro import ContractError, Field
from schemas.manifest import Dataset, deployed, load_datasets
from schemas.order import row_version_sql

SQL_FOLDER = Path(__file__).parent / "sql"
INSTANT = "DateTime64(3, 'UTC')"
CONSUMERS_MAX = 2
BY_TIME = "window_start TYPE minmax GRANULARITY 1"


class Names(NamedTuple):
    """Names of a dataset's tables in ClickHouse."""

    table: str
    unreadable: str
    latest: str
    messages: str
    view: str
    unreadable_view: str
    queue: str
    intake: str


@dataclass(frozen=True)
class Connection:
    """Where ClickHouse finds the log and the schemas, and what the deployment says of the tables."""

    kafka: KafkaConnection
    schema_registry_url: str
    deployment: Deployment

    def queue_settings(self) -> dict[str, str]:
        """Settings of a Kafka table that say where Kafka is, as SQL."""
        return {name: literal(value) for name, value in self.kafka.clickhouse().items()}


@dataclass(frozen=True)
class Column:
    """One column; `codec` and `materialized` are SQL as ClickHouse prints it, empty where there is none."""

    name: str
    type: str
    comment: str = ""
    codec: str = ""
    materialized: str = ""


@dataclass(frozen=True)
class Table:
    """One table or view; expressions are as ClickHouse prints them, so that declared and actual compare as text.

    `settings` are literals as SQL. A materialized view has `target` and `query`, a view `query`, both no engine.
    """

    name: str
    columns: tuple[Column, ...] = ()
    indexes: Mapping[str, str] = field(default_factory=dict)
    """Data skipping indexes by name: expression, type and granularity."""
    engine: str = ""
    order_by: str = ""
    ttl: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    comment: str = ""
    target: str = ""
    query: str = ""


EXAMPLE = Connection(
    KafkaConnection(brokers="kafka:9092"),
    schema_registry_url="http://schema-registry:8081",
    deployment=Deployment(
        name="example",
        description="As the committed SQL shows it.",
        kafka=KafkaDeployment(partitions=Partitions(default=4), replication_factor=1),
    ),
)

POSITION = (
    Column("topic", "LowCardinality(String)", "Topic of the message.", "ZSTD(1)"),
    Column("partition", "Int32", "Partition of the message.", "T64, ZSTD(1)"),
    Column("offset", "Int64", "Offset of the message.", "DoubleDelta, ZSTD(1)"),
    Column("produced_at", INSTANT, "Time of the message in the log; the TTL counts from it.", "DoubleDelta, ZSTD(1)"),
)
POSITION_QUERY = (
    "_topic AS topic",
    "_partition AS partition",
    "_offset AS offset",
    "ifNull(_timestamp_ms, now64(3, 'UTC')) AS produced_at",
)
OUTCOME = (
    Column("reason", "String", "Why the message could not be read.", "ZSTD(1)"),
    Column("message", "String", "Bytes of the message; empty where only its fields were wrong.", "ZSTD(1)"),
)
RESERVED = {*(column.name for column in (*POSITION, *OUTCOME)), "row_version", "missing"}
# A schema could not be fetched, though the registry neither said that it has none (40403) nor gave one that is no Avro
# (then more text follows). Nothing is wrong with such a message: throwing makes the Kafka table read it again later.
REGISTRY_SILENT = (
    "match(_error, 'while fetching schema id = [0-9]+$') AND (NOT match(_error, '\"error_code\" *: *40403'))"
)
REGISTRY_SILENT_REASON = "schema registry does not answer; reading waits for it"


def names(dataset: str) -> Names:
    """The names of a dataset's tables; the only place that derives them."""
    return Names(dataset, *(f"{dataset}_{role}" for role in Names._fields[1:]))


def consumer_group(dataset: Dataset) -> str:
    """The consumer group of a dataset's queue: its offsets outlive the table."""
    return f"{dataset.prefix}clickhouse-{dataset.name}"


def tables(dataset: Dataset, connection: Connection) -> tuple[Table, ...]:
    """A dataset's tables in the order in which they are created; nothing is read before the last one is there.

    Raises ContractError where a field has a name that the tables use for the message's position.
    """
    taken = RESERVED & {f.name for f in dataset.latest.fields}
    if taken:
        raise ContractError(f"{dataset.name}: field {min(taken)}: ClickHouse's tables use that name; choose another")
    return (
        _stored(dataset),
        _unreadable(dataset),
        _latest(dataset),
        _messages(dataset),
        _view(dataset),
        _unreadable_view(dataset),
        _queue(dataset, connection),
        _intake(dataset),
    )


def create_statement(table: Table) -> str:
    """The statement that creates the table where there is none of its name; without a closing semicolon."""
    if table.target:
        return f"CREATE MATERIALIZED VIEW IF NOT EXISTS {table.name} TO {table.target} AS\n{table.query}"
    if table.query:
        return f"CREATE VIEW IF NOT EXISTS {table.name} AS\n{table.query}\nCOMMENT {literal(table.comment)}"
    lines = [column_clause(column) for column in table.columns]
    lines += [f"INDEX {name} {index}" for name, index in table.indexes.items()]
    columns = ",\n".join(f"    {line}" for line in lines)
    clauses = [f"CREATE TABLE IF NOT EXISTS {table.name}\n(\n{columns}\n)", f"ENGINE = {table.engine}"]
    if table.order_by:
        clauses.append(f"ORDER BY ({table.order_by})")
    if table.ttl:
        clauses.append(f"TTL {table.ttl}")
    if table.settings:
        settings = ",\n".join(f"    {name} = {value}" for name, value in table.settings.items())
        clauses.append(f"SETTINGS\n{settings}")
    if table.comment:
        clauses.append(f"COMMENT {literal(table.comment)}")
    return "\n".join(clauses)


def column_clause(column: Column) -> str:
    """The column as it stands in CREATE TABLE and ALTER TABLE ADD COLUMN."""
    clause = f"{column.name} {column.type}"
    if column.materialized:
        clause += f" MATERIALIZED {column.materialized}"
    if column.comment:
        clause += f" COMMENT {literal(column.comment)}"
    if column.codec:
        clause += f" CODEC({column.codec})"
    return clause


def literal(text: str) -> str:
    """Text as a string literal of ClickHouse."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def render(dataset: Dataset, connection: Connection) -> str:
    """The whole of a dataset's SQL, ready to be run statement by statement."""
    header = (
        f"-- {dataset.name}: {dataset.description}\n"
        "-- Rendered from schemas/contracts by `python -m clickhouse.ddl`; do not edit. Addresses are examples.\n"
    )
    return header + "".join(f"\n{create_statement(table)};\n" for table in tables(dataset, connection))


def _stored(dataset: Dataset) -> Table:
    columns = tuple(
        Column(f.name, _stored_type(f), f.doc + (f" Unit: {f.unit}." if f.unit else ""), _codec(f))
        for f in dataset.latest.fields
    )
    kind, order = (
        ("Int128", "log time, partition") if dataset.version_by == "offset" else ("Int256", "what it rests on")
    )
    comment = f"Of a key's rows the greatest counts: by {order}, offset."
    row_version = Column("row_version", kind, comment, "ZSTD(1)", row_version_sql(dataset))
    return Table(
        name=names(dataset.name).table,
        columns=(*columns, *POSITION, row_version),
        # The key begins with the meter: without this, what is asked about the last minutes reads every meter's last
        # granule in the largest part, which holds nothing of them.
        indexes={"by_time": BY_TIME} if "window_start" in dataset.order_by[1:] else {},
        engine=f"ReplacingMergeTree({row_version.name})",
        order_by=", ".join(dataset.order_by),
        ttl=_ttl(dataset),
        comment=dataset.description,
    )


def _unreadable(dataset: Dataset) -> Table:
    return Table(
        name=names(dataset.name).unreadable,
        columns=(*POSITION, *OUTCOME),
        engine="ReplacingMergeTree",
        order_by="topic, partition, offset",
        ttl=_ttl(dataset),
        comment=f"Messages of topic {dataset.topic} that could not be read.",
    )


def _latest(dataset: Dataset) -> Table:
    columns = [f.name for f in dataset.latest.fields] + [column.name for column in POSITION]
    named = names(dataset.name)
    return Table(
        name=named.latest,
        query=f"SELECT\n{_lines(columns)}\nFROM {named.table}\nFINAL",
        comment=f"{dataset.description} One row per {', '.join(dataset.order_by)}: the one that counts.",
    )


def _queue(dataset: Dataset, connection: Connection) -> Table:
    # Readings come by the ten thousand a second, rows of an aggregate do not; each consumer costs threads.
    consumers = min(CONSUMERS_MAX, dataset.partitions) if dataset.version_by == "offset" else 1
    settings = {
        **connection.queue_settings(),
        "kafka_topic_list": literal(dataset.topic),
        "kafka_group_name": literal(consumer_group(dataset)),
        "kafka_format": literal("AvroConfluent"),
        "format_avro_schema_registry_url": literal(connection.schema_registry_url),
        "input_format_avro_allow_missing_fields": "1",
        "kafka_handle_error_mode": literal("stream"),
        "kafka_num_consumers": str(consumers),
        "kafka_thread_per_consumer": "1",
        # A reading shows after at most flush + poll + 500 ms (the engine's pause after an empty poll).
        "kafka_flush_interval_ms": "500",
        "kafka_poll_timeout_ms": "100",
        "kafka_max_block_size": "65536",
    }
    return Table(name=names(dataset.name).queue, columns=_as_read(dataset), engine="Kafka", settings=settings)


def _as_read(dataset: Dataset) -> tuple[Column, ...]:
    """The fields as the queue reads them: all nullable, because a missing field would be 0 otherwise."""
    return tuple(Column(f.name, _nullable(f)) for f in dataset.latest.fields)


def _intake(dataset: Dataset) -> Table:
    required = [f.name for f in dataset.latest.fields if not f.nullable]
    missing = ", ".join(f"{name} IS NULL, '{name}'" for name in required)
    columns = [f.name for f in dataset.latest.fields]
    foreign = "concat('no field ', missing, ': the message has the schema of something else')"
    faults = ", ".join((f"length(_error) > 0, _error, missing != '', {foreign}", *_out_of_contract(dataset)))
    reason = f"multiIf({faults}, '') AS reason"
    query = (
        f"WITH multiIf({missing}, '') AS missing\n"
        f"SELECT\n{_lines([*columns, *POSITION_QUERY, reason, '_raw_message AS message'])}\n"
        f"FROM {names(dataset.name).queue}\nWHERE throwIf({REGISTRY_SILENT}, {literal(REGISTRY_SILENT_REASON)}) = 0"
    )
    return Table(name=names(dataset.name).intake, target=names(dataset.name).messages, query=query)


def _out_of_contract(dataset: Dataset) -> list[str]:
    """Conditions and reasons in turn, for multiIf: a value outside the contract's bounds, a clock that is fast.

    NaN compares as false with everything, and so lies outside every bound.
    """
    pairs = []
    for f in dataset.latest.fields:
        value = f"toUnixTimestamp64Milli({f.name})" if f.type == "timestamp-millis" else f.name
        bounds = {"at least": (">=", f.minimum), "at most": ("<=", f.maximum)}
        within = [f"({value} {sign} {bound})" for sign, bound in bounds.values() if bound is not None]
        demand = " and ".join(f"{words} {bound}" for words, (_, bound) in bounds.items() if bound is not None)
        if within:
            inside = f"({' AND '.join(within)})" if len(within) > 1 else within[0]
            pairs += [f"NOT {inside}", literal(f"{f.name} is out of contract: it must be {demand}")]
    tolerance_s = dataset.parameters.get("future_tolerance_s")
    if tolerance_s is not None:
        pairs += [
            f"timestamp > (ifNull(_timestamp_ms, now64(3, 'UTC')) + toIntervalSecond({tolerance_s}))",
            literal(f"timestamp is more than {tolerance_s} s ahead of the log's time"),
        ]
    return pairs


def _messages(dataset: Dataset) -> Table:
    position_and_outcome = tuple(Column(column.name, column.type) for column in (*POSITION, *OUTCOME))
    return Table(name=names(dataset.name).messages, columns=(*_as_read(dataset), *position_and_outcome), engine="Null")


def _view(dataset: Dataset) -> Table:
    named = names(dataset.name)
    columns = [f.name for f in dataset.latest.fields] + [column.name for column in POSITION]
    query = f"SELECT\n{_lines(columns)}\nFROM {named.messages}\nWHERE reason = ''"
    return Table(name=named.view, target=named.table, query=query)


def _unreadable_view(dataset: Dataset) -> Table:
    named = names(dataset.name)
    columns = [column.name for column in (*POSITION, *OUTCOME)]
    query = f"SELECT\n{_lines(columns)}\nFROM {named.messages}\nWHERE reason != ''"
    return Table(name=named.unreadable_view, target=named.unreadable, query=query)


def _ttl(dataset: Dataset) -> str:
    return f"produced_at + toIntervalDay({dataset.ttl_days})" if dataset.ttl_days else ""


def _lines(expressions: list[str]) -> str:
    return ",\n".join(f"    {expression}" for expression in expressions)


def _type(f: Field) -> str:
    types = {"int": "Int32", "long": "Int64", "double": "Float64", "boolean": "Bool", "string": "String"}
    types |= {"timestamp-millis": INSTANT, "decimal": f"Decimal({f.precision}, {f.scale})"}
    return types[f.type]


def _nullable(f: Field) -> str:
    nullable = f"Nullable({_type(f)})"
    return f"LowCardinality({nullable})" if f.type == "string" else nullable


def _stored_type(f: Field) -> str:
    if f.nullable:
        return _nullable(f)
    return f"LowCardinality({_type(f)})" if f.type == "string" else _type(f)


def _codec(f: Field) -> Literal["T64, ZSTD(1)", "DoubleDelta, ZSTD(1)", "ZSTD(1)"]:
    match f.type:
        case "int" | "long":
            return "T64, ZSTD(1)"
        case "timestamp-millis":
            return "DoubleDelta, ZSTD(1)"
        case _:
            return "ZSTD(1)"


def main() -> None:
    """Write the SQL of every dataset to clickhouse/sql, and remove that of datasets that are gone."""
    datasets = deployed(load_datasets(), EXAMPLE.deployment)
    rendered = {name: render(dataset, EXAMPLE) for name, dataset in datasets.items()}
    for path in SQL_FOLDER.glob("*.sql"):
        if path.stem not in rendered:
            path.unlink()
    for name, text in rendered.items():
        (SQL_FOLDER / f"{name}.sql").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
