"""The tables over all dead-letter topics: a pure function to values, as in clickhouse/ddl.py.

    dead_letters_queue    reads every dead-letter topic: whole messages as bytes (Kafka engine, RawBLOB)
    dead_letters_intake   takes position and reason out of the headers
    dead_letters          one row per message of those topics: letters, and notes of what was redriven
    dead_letters_latest   one row per letter, with the time of its last redrive

The rendered text is committed beside this file; render it anew with

    python -m clickhouse.dead_letters.tables
"""

from collections.abc import Collection
from pathlib import Path

from clickhouse.ddl import EXAMPLE, INSTANT, Column, Connection, Table, create_statement, literal
from clickhouse.dead_letters.letter import CONNECT, OWN, REDRIVEN, VALUE_FROM

NAME = "dead_letters"
QUEUE, INTAKE, LATEST = (f"{NAME}_{role}" for role in ("queue", "intake", "latest"))
SQL_FILE = Path(__file__).with_name(f"{NAME}.sql")
EXAMPLE_TOPICS = ("meter_minute_trend-dead-letters", "smart-meter-data-dead-letters")
HEADERS = "Array(Tuple(name String, value String))"


def consumer_group(connection: Connection) -> str:
    """The consumer group of the queue: its offsets outlive the table."""
    return connection.deployment.named(f"clickhouse-{NAME}")


def dead_letter_tables(topics: Collection[str], connection: Connection) -> tuple[Table, ...]:
    """The tables in the order in which they are created; `topics` are all dead-letter topics."""
    return (_stored(), _latest(), _queue(topics, connection), _intake())


def render(topics: Collection[str], connection: Connection) -> str:
    """The whole SQL, ready to be run statement by statement."""
    header = (
        "-- dead_letters: every message that a consumer could not read, and what became of it.\n"
        "-- Rendered by `python -m clickhouse.dead_letters.tables`; do not edit. Addresses and topics are examples.\n"
    )
    return header + "".join(f"\n{create_statement(table)};\n" for table in dead_letter_tables(topics, connection))


def _stored() -> Table:
    columns = (
        Column("kind", "LowCardinality(String)", "`letter`, or `redriven`: the note of a redrive.", "ZSTD(1)"),
        Column("topic", "LowCardinality(String)", "Topic of the original.", "ZSTD(1)"),
        Column("partition", "Int32", "Partition of the original.", "T64, ZSTD(1)"),
        Column("offset", "Int64", "Offset of the original.", "DoubleDelta, ZSTD(1)"),
        Column(
            "produced_at", INSTANT, "Log's time of the original; of a note, of the redrive.", "DoubleDelta, ZSTD(1)"
        ),
        Column("consumer", "LowCardinality(String)", "Who could not read it.", "ZSTD(1)"),
        Column("reason", "String", "Why it could not be read.", "ZSTD(1)"),
        Column("key", "String", "Key of the original.", "ZSTD(1)"),
        Column("message", "String", "Bytes of the original.", "ZSTD(1)"),
        Column("headers", HEADERS, "Headers of the original, without those that say why it is here.", "ZSTD(1)"),
        Column(
            "value_from", "LowCardinality(String)", "Where the bytes are from: log, clickhouse, nowhere.", "ZSTD(1)"
        ),
        Column("letter_topic", "LowCardinality(String)", "Dead-letter topic.", "ZSTD(1)"),
        Column("letter_partition", "Int32", "Partition of the letter.", "T64, ZSTD(1)"),
        Column("letter_offset", "Int64", "Offset of the letter.", "DoubleDelta, ZSTD(1)"),
    )
    return Table(
        name=NAME,
        columns=columns,
        engine="ReplacingMergeTree",
        order_by="letter_topic, letter_partition, letter_offset",
        comment="Messages of all dead-letter topics: letters, and notes of what was redriven.",
    )


def _latest() -> Table:
    lines = ["topic", "partition", "offset"]
    of_letter = [column.name for column in _stored().columns if column.name not in ("kind", *lines)]
    lines += [f"anyIf({NAME}.{name}, kind = 'letter') AS {name}" for name in of_letter]
    lines += [f"maxOrNullIf({NAME}.produced_at, kind = 'redriven') AS redriven_at"]
    select = ",\n".join(f"    {line}" for line in lines)
    return Table(
        name=LATEST,
        query=f"SELECT\n{select}\nFROM {NAME}\nGROUP BY topic, partition, offset\nHAVING countIf(kind = 'letter') > 0",
        comment="One row per dead letter, with the time of its last redrive.",
    )


def _queue(topics: Collection[str], connection: Connection) -> Table:
    settings = {
        **connection.queue_settings(),
        "kafka_topic_list": literal(",".join(sorted(topics))),
        "kafka_group_name": literal(consumer_group(connection)),
        "kafka_format": literal("RawBLOB"),
        "kafka_num_consumers": "1",
        "kafka_thread_per_consumer": "1",
        "kafka_flush_interval_ms": "500",
        "kafka_poll_timeout_ms": "100",
    }
    return Table(name=QUEUE, columns=(Column("message", "String"),), engine="Kafka", settings=settings)


def _intake() -> Table:
    # Of headers with one name the last counts: the original may have had such headers before it came here.
    header = "mapFromArrays(arrayReverse(`_headers.name`), arrayReverse(`_headers.value`)) AS header"
    redriven = f"header[{literal(REDRIVEN)}]"
    is_note = f"({redriven}) != ''"
    is_original = " AND ".join(f"(NOT startsWith(h.1, {literal(prefix)}))" for prefix in (CONNECT, OWN))
    kept = f"arrayFilter(h -> ({is_original}), arrayZip(`_headers.name`, `_headers.value`))"
    lines = [
        f"if({is_note}, 'redriven', 'letter') AS kind",
        f"if({is_note}, origin[1], header[{literal(f'{CONNECT}topic')}]) AS topic",
        f"toInt32OrZero(if({is_note}, origin[2], header[{literal(f'{CONNECT}partition')}])) AS partition",
        f"toInt64OrZero(if({is_note}, origin[3], header[{literal(f'{CONNECT}offset')}])) AS offset",
        "ifNull(_timestamp_ms, now64(3, 'UTC')) AS produced_at",
        f"header[{literal(f'{CONNECT}connector.name')}] AS consumer",
        f"header[{literal(f'{CONNECT}exception.message')}] AS reason",
        "_key AS key",
        "message",
        f"CAST({kept}, {literal(HEADERS)}) AS headers",
        f"header[{literal(VALUE_FROM)}] AS value_from",
        "_topic AS letter_topic",
        "_partition AS letter_partition",
        "_offset AS letter_offset",
    ]
    select = ",\n".join(f"    {line}" for line in lines)
    query = f"WITH\n    {header},\n    splitByChar(':', {redriven}) AS origin\nSELECT\n{select}\nFROM {QUEUE}"
    return Table(name=INTAKE, target=NAME, query=query)


def main() -> None:
    """Write the SQL."""
    SQL_FILE.write_text(render(EXAMPLE_TOPICS, EXAMPLE), encoding="utf-8")


if __name__ == "__main__":
    main()
