-- meter_hourly_voltage_monitoring: Voltage per meter and hour, with the share of readings outside the limits.
-- Rendered from schemas/contracts by `python -m clickhouse.ddl`; do not edit. Addresses are examples.

CREATE TABLE IF NOT EXISTS meter_hourly_voltage_monitoring
(
    meter_id Int32 COMMENT 'Meter that took the readings.' CODEC(T64, ZSTD(1)),
    building_id Int32 COMMENT 'Building of the meter; of its last reading, should a window hold two.' CODEC(T64, ZSTD(1)),
    window_start DateTime64(3, 'UTC') COMMENT 'First instant of the 1 h window, UTC; included. Unit: ms.' CODEC(DoubleDelta, ZSTD(1)),
    window_end DateTime64(3, 'UTC') COMMENT 'End of the window, UTC; not included. Unit: ms.' CODEC(DoubleDelta, ZSTD(1)),
    event_count Int64 COMMENT 'Distinct readings in the window; between two rows of one key and window the one with more wins. Unit: readings.' CODEC(T64, ZSTD(1)),
    voltage_avg_v Float64 COMMENT 'Mean voltage: sum of millivolts / (event_count x 10^3). Unit: V.' CODEC(ZSTD(1)),
    voltage_min_v Float64 COMMENT 'Least voltage. Unit: V.' CODEC(ZSTD(1)),
    voltage_max_v Float64 COMMENT 'Greatest voltage. Unit: V.' CODEC(ZSTD(1)),
    voltage_std_v Float64 COMMENT 'Population standard deviation from the integer sums: sqrt(max(0, n x S2 - S1^2)) / (n x 10^3), n event_count, S1 and S2 the sum and the sum of squares in mV; the difference is exact. Unit: V.' CODEC(ZSTD(1)),
    voltage_outside_count Int64 COMMENT 'Readings below the lower or above the upper voltage limit. Unit: readings.' CODEC(T64, ZSTD(1)),
    voltage_outside_share Float64 COMMENT 'voltage_outside_count / event_count. Unit: 1.' CODEC(ZSTD(1)),
    content_version Nullable(Decimal(38, 0)) COMMENT 'Sum of the ranks of the readings that the row rests on, those just before the window included where it depends on them: a rank is log time in ms x 2^52 + partition x 2^40 + offset. Between rows with equal event_count the greater wins: it rests on newer readings. Null in rows written before v2.' CODEC(ZSTD(1)),
    topic LowCardinality(String) COMMENT 'Topic of the message.' CODEC(ZSTD(1)),
    partition Int32 COMMENT 'Partition of the message.' CODEC(T64, ZSTD(1)),
    offset Int64 COMMENT 'Offset of the message.' CODEC(DoubleDelta, ZSTD(1)),
    produced_at DateTime64(3, 'UTC') COMMENT 'Time of the message in the log; the TTL counts from it.' CODEC(DoubleDelta, ZSTD(1)),
    row_version Int256 MATERIALIZED (bitShiftLeft(toInt256(event_count), 192) + bitShiftLeft(toInt256(ifNull(content_version, 0)), 64)) + offset COMMENT 'Of a key\'s rows the greatest counts: by what it rests on, offset.' CODEC(ZSTD(1)),
    INDEX by_time window_start TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(row_version)
ORDER BY (meter_id, window_start)
COMMENT 'Voltage per meter and hour, with the share of readings outside the limits.';

CREATE TABLE IF NOT EXISTS meter_hourly_voltage_monitoring_unreadable
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
COMMENT 'Messages of topic meter_hourly_voltage_monitoring that could not be read.';

CREATE VIEW IF NOT EXISTS meter_hourly_voltage_monitoring_latest AS
SELECT
    meter_id,
    building_id,
    window_start,
    window_end,
    event_count,
    voltage_avg_v,
    voltage_min_v,
    voltage_max_v,
    voltage_std_v,
    voltage_outside_count,
    voltage_outside_share,
    content_version,
    topic,
    partition,
    offset,
    produced_at
FROM meter_hourly_voltage_monitoring
FINAL
COMMENT 'Voltage per meter and hour, with the share of readings outside the limits. One row per meter_id, window_start: the one that counts.';

CREATE TABLE IF NOT EXISTS meter_hourly_voltage_monitoring_messages
(
    meter_id Nullable(Int32),
    building_id Nullable(Int32),
    window_start Nullable(DateTime64(3, 'UTC')),
    window_end Nullable(DateTime64(3, 'UTC')),
    event_count Nullable(Int64),
    voltage_avg_v Nullable(Float64),
    voltage_min_v Nullable(Float64),
    voltage_max_v Nullable(Float64),
    voltage_std_v Nullable(Float64),
    voltage_outside_count Nullable(Int64),
    voltage_outside_share Nullable(Float64),
    content_version Nullable(Decimal(38, 0)),
    topic LowCardinality(String),
    partition Int32,
    offset Int64,
    produced_at DateTime64(3, 'UTC'),
    reason String,
    message String
)
ENGINE = Null;

CREATE MATERIALIZED VIEW IF NOT EXISTS meter_hourly_voltage_monitoring_view TO meter_hourly_voltage_monitoring AS
SELECT
    meter_id,
    building_id,
    window_start,
    window_end,
    event_count,
    voltage_avg_v,
    voltage_min_v,
    voltage_max_v,
    voltage_std_v,
    voltage_outside_count,
    voltage_outside_share,
    content_version,
    topic,
    partition,
    offset,
    produced_at
FROM meter_hourly_voltage_monitoring_messages
WHERE reason = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS meter_hourly_voltage_monitoring_unreadable_view TO meter_hourly_voltage_monitoring_unreadable AS
SELECT
    topic,
    partition,
    offset,
    produced_at,
    reason,
    message
FROM meter_hourly_voltage_monitoring_messages
WHERE reason != '';

CREATE TABLE IF NOT EXISTS meter_hourly_voltage_monitoring_queue
(
    meter_id Nullable(Int32),
    building_id Nullable(Int32),
    window_start Nullable(DateTime64(3, 'UTC')),
    window_end Nullable(DateTime64(3, 'UTC')),
    event_count Nullable(Int64),
    voltage_avg_v Nullable(Float64),
    voltage_min_v Nullable(Float64),
    voltage_max_v Nullable(Float64),
    voltage_std_v Nullable(Float64),
    voltage_outside_count Nullable(Int64),
    voltage_outside_share Nullable(Float64),
    content_version Nullable(Decimal(38, 0))
)
ENGINE = Kafka
SETTINGS
    kafka_broker_list = 'kafka:9092',
    kafka_topic_list = 'meter_hourly_voltage_monitoring',
    kafka_group_name = 'clickhouse-meter_hourly_voltage_monitoring',
    kafka_format = 'AvroConfluent',
    format_avro_schema_registry_url = 'http://schema-registry:8081',
    input_format_avro_allow_missing_fields = 1,
    kafka_handle_error_mode = 'stream',
    kafka_num_consumers = 1,
    kafka_thread_per_consumer = 1,
    kafka_flush_interval_ms = 500,
    kafka_poll_timeout_ms = 100,
    kafka_max_block_size = 65536;

CREATE MATERIALIZED VIEW IF NOT EXISTS meter_hourly_voltage_monitoring_intake TO meter_hourly_voltage_monitoring_messages AS
WITH multiIf(meter_id IS NULL, 'meter_id', building_id IS NULL, 'building_id', window_start IS NULL, 'window_start', window_end IS NULL, 'window_end', event_count IS NULL, 'event_count', voltage_avg_v IS NULL, 'voltage_avg_v', voltage_min_v IS NULL, 'voltage_min_v', voltage_max_v IS NULL, 'voltage_max_v', voltage_std_v IS NULL, 'voltage_std_v', voltage_outside_count IS NULL, 'voltage_outside_count', voltage_outside_share IS NULL, 'voltage_outside_share', '') AS missing
SELECT
    meter_id,
    building_id,
    window_start,
    window_end,
    event_count,
    voltage_avg_v,
    voltage_min_v,
    voltage_max_v,
    voltage_std_v,
    voltage_outside_count,
    voltage_outside_share,
    content_version,
    _topic AS topic,
    _partition AS partition,
    _offset AS offset,
    ifNull(_timestamp_ms, now64(3, 'UTC')) AS produced_at,
    multiIf(length(_error) > 0, _error, missing != '', concat('no field ', missing, ': the message has the schema of something else'), NOT (meter_id >= 0), 'meter_id is out of contract: it must be at least 0', NOT (building_id >= 0), 'building_id is out of contract: it must be at least 0', NOT (event_count >= 1), 'event_count is out of contract: it must be at least 1', NOT (voltage_outside_count >= 0), 'voltage_outside_count is out of contract: it must be at least 0', NOT ((voltage_outside_share >= 0) AND (voltage_outside_share <= 1)), 'voltage_outside_share is out of contract: it must be at least 0 and at most 1', NOT (content_version >= 0), 'content_version is out of contract: it must be at least 0', '') AS reason,
    _raw_message AS message
FROM meter_hourly_voltage_monitoring_queue
WHERE throwIf(match(_error, 'while fetching schema id = [0-9]+$') AND (NOT match(_error, '"error_code" *: *40403')), 'schema registry does not answer; reading waits for it') = 0;
