-- late_readings: Readings that came after their windows were closed, per meter and hour, as found before each repair.
-- Rendered from schemas/contracts by `python -m clickhouse.ddl`; do not edit. Addresses are examples.

CREATE TABLE IF NOT EXISTS late_readings
(
    meter_id Int32 COMMENT 'Meter that took the readings.' CODEC(T64, ZSTD(1)),
    building_id Int32 COMMENT 'Building of the meter.' CODEC(T64, ZSTD(1)),
    window_start DateTime64(3, 'UTC') COMMENT 'First instant of the 1 h window, UTC; included. Unit: ms.' CODEC(DoubleDelta, ZSTD(1)),
    window_end DateTime64(3, 'UTC') COMMENT 'End of the window, UTC; not included. Unit: ms.' CODEC(DoubleDelta, ZSTD(1)),
    event_count Int64 COMMENT 'Distinct readings of the hour at that time; between two rows of one key and window the one with more wins. Unit: readings.' CODEC(T64, ZSTD(1)),
    late_count Int64 COMMENT 'Those of them that no row of meter_stats_30s counted. Unit: readings.' CODEC(T64, ZSTD(1)),
    topic LowCardinality(String) COMMENT 'Topic of the message.' CODEC(ZSTD(1)),
    partition Int32 COMMENT 'Partition of the message.' CODEC(T64, ZSTD(1)),
    offset Int64 COMMENT 'Offset of the message.' CODEC(DoubleDelta, ZSTD(1)),
    produced_at DateTime64(3, 'UTC') COMMENT 'Time of the message in the log; the TTL counts from it.' CODEC(DoubleDelta, ZSTD(1)),
    row_version Int256 MATERIALIZED bitShiftLeft(toInt256(event_count), 192) + offset COMMENT 'Of a key\'s rows the greatest counts: by what it rests on, offset.' CODEC(ZSTD(1)),
    INDEX by_time window_start TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(row_version)
ORDER BY (meter_id, window_start)
TTL produced_at + toIntervalDay(400)
COMMENT 'Readings that came after their windows were closed, per meter and hour, as found before each repair.';

CREATE TABLE IF NOT EXISTS late_readings_unreadable
(
    topic LowCardinality(String) COMMENT 'Topic of the message.' CODEC(ZSTD(1)),
    partition Int32 COMMENT 'Partition of the message.' CODEC(T64, ZSTD(1)),
    offset Int64 COMMENT 'Offset of the message.' CODEC(DoubleDelta, ZSTD(1)),
    produced_at DateTime64(3, 'UTC') COMMENT 'Time of the message in the log; the TTL counts from it.' CODEC(DoubleDelta, ZSTD(1)),
    reason String COMMENT 'Why the message could not be read.' CODEC(ZSTD(1)),
    message String COMMENT 'Bytes of the message; empty where only its fields were wrong.' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY (topic, partition, offset)
TTL produced_at + toIntervalDay(400)
COMMENT 'Messages of topic late_readings that could not be read.';

CREATE VIEW IF NOT EXISTS late_readings_latest AS
SELECT
    meter_id,
    building_id,
    window_start,
    window_end,
    event_count,
    late_count,
    topic,
    partition,
    offset,
    produced_at
FROM late_readings
FINAL
COMMENT 'Readings that came after their windows were closed, per meter and hour, as found before each repair. One row per meter_id, window_start: the one that counts.';

CREATE TABLE IF NOT EXISTS late_readings_messages
(
    meter_id Nullable(Int32),
    building_id Nullable(Int32),
    window_start Nullable(DateTime64(3, 'UTC')),
    window_end Nullable(DateTime64(3, 'UTC')),
    event_count Nullable(Int64),
    late_count Nullable(Int64),
    topic LowCardinality(String),
    partition Int32,
    offset Int64,
    produced_at DateTime64(3, 'UTC'),
    reason String,
    message String
)
ENGINE = Null;

CREATE MATERIALIZED VIEW IF NOT EXISTS late_readings_view TO late_readings AS
SELECT
    meter_id,
    building_id,
    window_start,
    window_end,
    event_count,
    late_count,
    topic,
    partition,
    offset,
    produced_at
FROM late_readings_messages
WHERE reason = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS late_readings_unreadable_view TO late_readings_unreadable AS
SELECT
    topic,
    partition,
    offset,
    produced_at,
    reason,
    message
FROM late_readings_messages
WHERE reason != '';

CREATE TABLE IF NOT EXISTS late_readings_queue
(
    meter_id Nullable(Int32),
    building_id Nullable(Int32),
    window_start Nullable(DateTime64(3, 'UTC')),
    window_end Nullable(DateTime64(3, 'UTC')),
    event_count Nullable(Int64),
    late_count Nullable(Int64)
)
ENGINE = Kafka
SETTINGS
    kafka_broker_list = 'kafka:9092',
    kafka_topic_list = 'late_readings',
    kafka_group_name = 'clickhouse-late_readings',
    kafka_format = 'AvroConfluent',
    format_avro_schema_registry_url = 'http://schema-registry:8081',
    input_format_avro_allow_missing_fields = 1,
    kafka_handle_error_mode = 'stream',
    kafka_num_consumers = 1,
    kafka_thread_per_consumer = 1,
    kafka_flush_interval_ms = 500,
    kafka_poll_timeout_ms = 100,
    kafka_max_block_size = 65536;

CREATE MATERIALIZED VIEW IF NOT EXISTS late_readings_intake TO late_readings_messages AS
WITH multiIf(meter_id IS NULL, 'meter_id', building_id IS NULL, 'building_id', window_start IS NULL, 'window_start', window_end IS NULL, 'window_end', event_count IS NULL, 'event_count', late_count IS NULL, 'late_count', '') AS missing
SELECT
    meter_id,
    building_id,
    window_start,
    window_end,
    event_count,
    late_count,
    _topic AS topic,
    _partition AS partition,
    _offset AS offset,
    ifNull(_timestamp_ms, now64(3, 'UTC')) AS produced_at,
    multiIf(length(_error) > 0, _error, missing != '', concat('no field ', missing, ': the message has the schema of something else'), NOT (meter_id >= 0), 'meter_id is out of contract: it must be at least 0', NOT (building_id >= 0), 'building_id is out of contract: it must be at least 0', NOT (event_count >= 1), 'event_count is out of contract: it must be at least 1', NOT (late_count >= 1), 'late_count is out of contract: it must be at least 1', '') AS reason,
    _raw_message AS message
FROM late_readings_queue
WHERE throwIf(match(_error, 'while fetching schema id = [0-9]+$') AND (NOT match(_error, '"error_code" *: *40403')), 'schema registry does not answer; reading waits for it') = 0;
