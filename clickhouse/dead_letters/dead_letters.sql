-- dead_letters: every message that a consumer could not read, and what became of it.
-- Rendered by `python -m clickhouse.dead_letters.tables`; do not edit. Addresses and topics are examples.

CREATE TABLE IF NOT EXISTS dead_letters
(
    kind LowCardinality(String) COMMENT '`letter`, or `redriven`: the note of a redrive.' CODEC(ZSTD(1)),
    topic LowCardinality(String) COMMENT 'Topic of the original.' CODEC(ZSTD(1)),
    partition Int32 COMMENT 'Partition of the original.' CODEC(T64, ZSTD(1)),
    offset Int64 COMMENT 'Offset of the original.' CODEC(DoubleDelta, ZSTD(1)),
    produced_at DateTime64(3, 'UTC') COMMENT 'Log\'s time of the original; of a note, of the redrive.' CODEC(DoubleDelta, ZSTD(1)),
    consumer LowCardinality(String) COMMENT 'Who could not read it.' CODEC(ZSTD(1)),
    reason String COMMENT 'Why it could not be read.' CODEC(ZSTD(1)),
    key String COMMENT 'Key of the original.' CODEC(ZSTD(1)),
    message String COMMENT 'Bytes of the original.' CODEC(ZSTD(1)),
    headers Array(Tuple(name String, value String)) COMMENT 'Headers of the original, without those that say why it is here.' CODEC(ZSTD(1)),
    value_from LowCardinality(String) COMMENT 'Where the bytes are from: log, clickhouse, nowhere.' CODEC(ZSTD(1)),
    letter_topic LowCardinality(String) COMMENT 'Dead-letter topic.' CODEC(ZSTD(1)),
    letter_partition Int32 COMMENT 'Partition of the letter.' CODEC(T64, ZSTD(1)),
    letter_offset Int64 COMMENT 'Offset of the letter.' CODEC(DoubleDelta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY (letter_topic, letter_partition, letter_offset)
COMMENT 'Messages of all dead-letter topics: letters, and notes of what was redriven.';

CREATE VIEW IF NOT EXISTS dead_letters_latest AS
SELECT
    topic,
    partition,
    offset,
    anyIf(dead_letters.produced_at, kind = 'letter') AS produced_at,
    anyIf(dead_letters.consumer, kind = 'letter') AS consumer,
    anyIf(dead_letters.reason, kind = 'letter') AS reason,
    anyIf(dead_letters.key, kind = 'letter') AS key,
    anyIf(dead_letters.message, kind = 'letter') AS message,
    anyIf(dead_letters.headers, kind = 'letter') AS headers,
    anyIf(dead_letters.value_from, kind = 'letter') AS value_from,
    anyIf(dead_letters.letter_topic, kind = 'letter') AS letter_topic,
    anyIf(dead_letters.letter_partition, kind = 'letter') AS letter_partition,
    anyIf(dead_letters.letter_offset, kind = 'letter') AS letter_offset,
    maxOrNullIf(dead_letters.produced_at, kind = 'redriven') AS redriven_at
FROM dead_letters
GROUP BY topic, partition, offset
HAVING countIf(kind = 'letter') > 0
COMMENT 'One row per dead letter, with the time of its last redrive.';

CREATE TABLE IF NOT EXISTS dead_letters_queue
(
    message String
)
ENGINE = Kafka
SETTINGS
    kafka_broker_list = 'kafka:9092',
    kafka_topic_list = 'meter_minute_trend-dead-letters,smart-meter-data-dead-letters',
    kafka_group_name = 'clickhouse-dead_letters',
    kafka_format = 'RawBLOB',
    kafka_num_consumers = 1,
    kafka_thread_per_consumer = 1,
    kafka_flush_interval_ms = 500,
    kafka_poll_timeout_ms = 100;

CREATE MATERIALIZED VIEW IF NOT EXISTS dead_letters_intake TO dead_letters AS
WITH
    mapFromArrays(arrayReverse(`_headers.name`), arrayReverse(`_headers.value`)) AS header,
    splitByChar(':', header['smartmeter.redriven.from']) AS origin
SELECT
    if((header['smartmeter.redriven.from']) != '', 'redriven', 'letter') AS kind,
    if((header['smartmeter.redriven.from']) != '', origin[1], header['__connect.errors.topic']) AS topic,
    toInt32OrZero(if((header['smartmeter.redriven.from']) != '', origin[2], header['__connect.errors.partition'])) AS partition,
    toInt64OrZero(if((header['smartmeter.redriven.from']) != '', origin[3], header['__connect.errors.offset'])) AS offset,
    ifNull(_timestamp_ms, now64(3, 'UTC')) AS produced_at,
    header['__connect.errors.connector.name'] AS consumer,
    header['__connect.errors.exception.message'] AS reason,
    _key AS key,
    message,
    CAST(arrayFilter(h -> ((NOT startsWith(h.1, '__connect.errors.')) AND (NOT startsWith(h.1, 'smartmeter.'))), arrayZip(`_headers.name`, `_headers.value`)), 'Array(Tuple(name String, value String))') AS headers,
    header['smartmeter.value.from'] AS value_from,
    _topic AS letter_topic,
    _partition AS letter_partition,
    _offset AS letter_offset
FROM dead_letters_queue;
