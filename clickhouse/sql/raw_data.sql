-- raw_data: Every reading of every meter, simulated or real.
-- Rendered from schemas/contracts by `python -m clickhouse.ddl`; do not edit. Addresses are examples.

CREATE TABLE IF NOT EXISTS raw_data
(
    meter_id Int32 COMMENT 'Meter that took the reading.' CODEC(T64, ZSTD(1)),
    building_id Int32 COMMENT 'Building of the meter.' CODEC(T64, ZSTD(1)),
    timestamp DateTime64(3, 'UTC') COMMENT 'Instant of the reading, UTC. Unit: ms.' CODEC(DoubleDelta, ZSTD(1)),
    power_kw Float64 COMMENT 'Active power; negative when the building feeds the grid. Unit: kW.' CODEC(ZSTD(1)),
    voltage_v Float64 COMMENT 'Voltage. Unit: V.' CODEC(ZSTD(1)),
    status Int32 COMMENT 'Injected anomalies as bits: 1 failure, 2 spike, 4 low consumption, 8 voltage. Ground truth, 0 where unknown.' CODEC(T64, ZSTD(1)),
    sequence Nullable(Int64) COMMENT 'Number of the reading in its meter\'s own count, so that gaps are visible; null where the source has none. Unit: readings.' CODEC(T64, ZSTD(1)),
    topic LowCardinality(String) COMMENT 'Topic of the message.' CODEC(ZSTD(1)),
    partition Int32 COMMENT 'Partition of the message.' CODEC(T64, ZSTD(1)),
    offset Int64 COMMENT 'Offset of the message.' CODEC(DoubleDelta, ZSTD(1)),
    produced_at DateTime64(3, 'UTC') COMMENT 'Time of the message in the log; the TTL counts from it.' CODEC(DoubleDelta, ZSTD(1)),
    row_version Int128 MATERIALIZED ((toInt128(toUnixTimestamp64Milli(produced_at)) * 4503599627370496) + (toInt128(partition) * 1099511627776)) + offset COMMENT 'Of a key\'s rows the greatest counts: by log time, partition, offset.' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(row_version)
ORDER BY (meter_id, timestamp)
TTL produced_at + toIntervalDay(35)
COMMENT 'Every reading of every meter, simulated or real.';

CREATE TABLE IF NOT EXISTS raw_data_unreadable
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
TTL produced_at + toIntervalDay(35)
COMMENT 'Messages of topic smart-meter-data that could not be read.';

CREATE VIEW IF NOT EXISTS raw_data_latest AS
SELECT
    meter_id,
    building_id,
    timestamp,
    power_kw,
    voltage_v,
    status,
    sequence,
    topic,
    partition,
    offset,
    produced_at
FROM raw_data
FINAL
COMMENT 'Every reading of every meter, simulated or real. One row per meter_id, timestamp: the one that counts.';

CREATE TABLE IF NOT EXISTS raw_data_messages
(
    meter_id Nullable(Int32),
    building_id Nullable(Int32),
    timestamp Nullable(DateTime64(3, 'UTC')),
    power_kw Nullable(Float64),
    voltage_v Nullable(Float64),
    status Nullable(Int32),
    sequence Nullable(Int64),
    topic LowCardinality(String),
    partition Int32,
    offset Int64,
    produced_at DateTime64(3, 'UTC'),
    reason String,
    message String
)
ENGINE = Null;

CREATE MATERIALIZED VIEW IF NOT EXISTS raw_data_view TO raw_data AS
SELECT
    meter_id,
    building_id,
    timestamp,
    power_kw,
    voltage_v,
    status,
    sequence,
    topic,
    partition,
    offset,
    produced_at
FROM raw_data_messages
WHERE reason = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS raw_data_unreadable_view TO raw_data_unreadable AS
SELECT
    topic,
    partition,
    offset,
    produced_at,
    reason,
    message
FROM raw_data_messages
WHERE reason != '';

CREATE TABLE IF NOT EXISTS raw_data_queue
(
    meter_id Nullable(Int32),
    building_id Nullable(Int32),
    timestamp Nullable(DateTime64(3, 'UTC')),
    power_kw Nullable(Float64),
    voltage_v Nullable(Float64),
    status Nullable(Int32),
    sequence Nullable(Int64)
)
ENGINE = Kafka
SETTINGS
    kafka_broker_list = 'kafka:9092',
    kafka_topic_list = 'smart-meter-data',
    kafka_group_name = 'clickhouse-raw_data',
    kafka_format = 'AvroConfluent',
    format_avro_schema_registry_url = 'http://schema-registry:8081',
    input_format_avro_allow_missing_fields = 1,
    kafka_handle_error_mode = 'stream',
    kafka_num_consumers = 2,
    kafka_thread_per_consumer = 1,
    kafka_flush_interval_ms = 500,
    kafka_poll_timeout_ms = 100,
    kafka_max_block_size = 65536;

CREATE MATERIALIZED VIEW IF NOT EXISTS raw_data_intake TO raw_data_messages AS
WITH multiIf(meter_id IS NULL, 'meter_id', building_id IS NULL, 'building_id', timestamp IS NULL, 'timestamp', power_kw IS NULL, 'power_kw', voltage_v IS NULL, 'voltage_v', status IS NULL, 'status', '') AS missing
SELECT
    meter_id,
    building_id,
    timestamp,
    power_kw,
    voltage_v,
    status,
    sequence,
    _topic AS topic,
    _partition AS partition,
    _offset AS offset,
    ifNull(_timestamp_ms, now64(3, 'UTC')) AS produced_at,
    multiIf(length(_error) > 0, _error, missing != '', concat('no field ', missing, ': the message has the schema of something else'), NOT (meter_id >= 0), 'meter_id is out of contract: it must be at least 0', NOT (building_id >= 0), 'building_id is out of contract: it must be at least 0', NOT ((toUnixTimestamp64Milli(timestamp) >= 0) AND (toUnixTimestamp64Milli(timestamp) <= 4102444799999)), 'timestamp is out of contract: it must be at least 0 and at most 4102444799999', NOT ((power_kw >= -1000) AND (power_kw <= 1000)), 'power_kw is out of contract: it must be at least -1000 and at most 1000', NOT ((voltage_v >= 0) AND (voltage_v <= 1000)), 'voltage_v is out of contract: it must be at least 0 and at most 1000', NOT ((status >= 0) AND (status <= 15)), 'status is out of contract: it must be at least 0 and at most 15', NOT (sequence >= 0), 'sequence is out of contract: it must be at least 0', timestamp > (ifNull(_timestamp_ms, now64(3, 'UTC')) + toIntervalSecond(3600)), 'timestamp is more than 3600 s ahead of the log\'s time', '') AS reason,
    _raw_message AS message
FROM raw_data_queue
WHERE throwIf(match(_error, 'while fetching schema id = [0-9]+$') AND (NOT match(_error, '"error_code" *: *40403')), 'schema registry does not answer; reading waits for it') = 0;
