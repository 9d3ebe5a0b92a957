-- anomaly_detection_meter: What stated thresholds find in each window of 30 s of a meter; spike, low consumption, voltage out of limits, failure.
-- Rendered from schemas/contracts by `python -m clickhouse.ddl`; do not edit. Addresses are examples.

CREATE TABLE IF NOT EXISTS anomaly_detection_meter
(
    meter_id Int32 COMMENT 'Meter that took the readings.' CODEC(T64, ZSTD(1)),
    building_id Int32 COMMENT 'Building of the meter; of its last reading, should a window hold two.' CODEC(T64, ZSTD(1)),
    window_start DateTime64(3, 'UTC') COMMENT 'First instant of the 30 s window, UTC; included. Unit: ms.' CODEC(DoubleDelta, ZSTD(1)),
    window_end DateTime64(3, 'UTC') COMMENT 'End of the window, UTC; not included. Unit: ms.' CODEC(DoubleDelta, ZSTD(1)),
    event_count Int64 COMMENT 'Distinct readings in the window; between two rows of one key and window the one with more wins. Unit: readings.' CODEC(T64, ZSTD(1)),
    power_avg_kw Float64 COMMENT 'Mean power: sum of milliwatts / (event_count x 10^6). Unit: kW.' CODEC(ZSTD(1)),
    power_min_kw Float64 COMMENT 'Least power. Unit: kW.' CODEC(ZSTD(1)),
    power_max_kw Float64 COMMENT 'Greatest power. Unit: kW.' CODEC(ZSTD(1)),
    voltage_avg_v Float64 COMMENT 'Mean voltage: sum of millivolts / (event_count x 10^3). Unit: V.' CODEC(ZSTD(1)),
    voltage_min_v Float64 COMMENT 'Least voltage. Unit: V.' CODEC(ZSTD(1)),
    voltage_max_v Float64 COMMENT 'Greatest voltage. Unit: V.' CODEC(ZSTD(1)),
    spike Bool COMMENT 'Greatest power at or above parameter spike_power_kw.' CODEC(ZSTD(1)),
    low_consumption Bool COMMENT 'Greatest power at or below parameter low_power_kw, and no failure.' CODEC(ZSTD(1)),
    voltage_anomaly Bool COMMENT 'A reading below voltage_lower_v or above voltage_upper_v.' CODEC(ZSTD(1)),
    failure Bool COMMENT 'All readings identical in power and voltage, and at least failure_min_readings of them.' CODEC(ZSTD(1)),
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
TTL produced_at + toIntervalDay(400)
COMMENT 'What stated thresholds find in each window of 30 s of a meter; spike, low consumption, voltage out of limits, failure.';

CREATE TABLE IF NOT EXISTS anomaly_detection_meter_unreadable
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
COMMENT 'Messages of topic anomaly_detection_meter that could not be read.';

CREATE VIEW IF NOT EXISTS anomaly_detection_meter_latest AS
SELECT
    meter_id,
    building_id,
    window_start,
    window_end,
    event_count,
    power_avg_kw,
    power_min_kw,
    power_max_kw,
    voltage_avg_v,
    voltage_min_v,
    voltage_max_v,
    spike,
    low_consumption,
    voltage_anomaly,
    failure,
    content_version,
    topic,
    partition,
    offset,
    produced_at
FROM anomaly_detection_meter
FINAL
COMMENT 'What stated thresholds find in each window of 30 s of a meter; spike, low consumption, voltage out of limits, failure. One row per meter_id, window_start: the one that counts.';

CREATE TABLE IF NOT EXISTS anomaly_detection_meter_messages
(
    meter_id Nullable(Int32),
    building_id Nullable(Int32),
    window_start Nullable(DateTime64(3, 'UTC')),
    window_end Nullable(DateTime64(3, 'UTC')),
    event_count Nullable(Int64),
    power_avg_kw Nullable(Float64),
    power_min_kw Nullable(Float64),
    power_max_kw Nullable(Float64),
    voltage_avg_v Nullable(Float64),
    voltage_min_v Nullable(Float64),
    voltage_max_v Nullable(Float64),
    spike Nullable(Bool),
    low_consumption Nullable(Bool),
    voltage_anomaly Nullable(Bool),
    failure Nullable(Bool),
    content_version Nullable(Decimal(38, 0)),
    topic LowCardinality(String),
    partition Int32,
    offset Int64,
    produced_at DateTime64(3, 'UTC'),
    reason String,
    message String
)
ENGINE = Null;

CREATE MATERIALIZED VIEW IF NOT EXISTS anomaly_detection_meter_view TO anomaly_detection_meter AS
SELECT
    meter_id,
    building_id,
    window_start,
    window_end,
    event_count,
    power_avg_kw,
    power_min_kw,
    power_max_kw,
    voltage_avg_v,
    voltage_min_v,
    voltage_max_v,
    spike,
    low_consumption,
    voltage_anomaly,
    failure,
    content_version,
    topic,
    partition,
    offset,
    produced_at
FROM anomaly_detection_meter_messages
WHERE reason = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS anomaly_detection_meter_unreadable_view TO anomaly_detection_meter_unreadable AS
SELECT
    topic,
    partition,
    offset,
    produced_at,
    reason,
    message
FROM anomaly_detection_meter_messages
WHERE reason != '';

CREATE TABLE IF NOT EXISTS anomaly_detection_meter_queue
(
    meter_id Nullable(Int32),
    building_id Nullable(Int32),
    window_start Nullable(DateTime64(3, 'UTC')),
    window_end Nullable(DateTime64(3, 'UTC')),
    event_count Nullable(Int64),
    power_avg_kw Nullable(Float64),
    power_min_kw Nullable(Float64),
    power_max_kw Nullable(Float64),
    voltage_avg_v Nullable(Float64),
    voltage_min_v Nullable(Float64),
    voltage_max_v Nullable(Float64),
    spike Nullable(Bool),
    low_consumption Nullable(Bool),
    voltage_anomaly Nullable(Bool),
    failure Nullable(Bool),
    content_version Nullable(Decimal(38, 0))
)
ENGINE = Kafka
SETTINGS
    kafka_broker_list = 'kafka:9092',
    kafka_topic_list = 'anomaly_detection_meter',
    kafka_group_name = 'clickhouse-anomaly_detection_meter',
    kafka_format = 'AvroConfluent',
    format_avro_schema_registry_url = 'http://schema-registry:8081',
    input_format_avro_allow_missing_fields = 1,
    kafka_handle_error_mode = 'stream',
    kafka_num_consumers = 1,
    kafka_thread_per_consumer = 1,
    kafka_flush_interval_ms = 500,
    kafka_poll_timeout_ms = 100,
    kafka_max_block_size = 65536;

CREATE MATERIALIZED VIEW IF NOT EXISTS anomaly_detection_meter_intake TO anomaly_detection_meter_messages AS
WITH multiIf(meter_id IS NULL, 'meter_id', building_id IS NULL, 'building_id', window_start IS NULL, 'window_start', window_end IS NULL, 'window_end', event_count IS NULL, 'event_count', power_avg_kw IS NULL, 'power_avg_kw', power_min_kw IS NULL, 'power_min_kw', power_max_kw IS NULL, 'power_max_kw', voltage_avg_v IS NULL, 'voltage_avg_v', voltage_min_v IS NULL, 'voltage_min_v', voltage_max_v IS NULL, 'voltage_max_v', spike IS NULL, 'spike', low_consumption IS NULL, 'low_consumption', voltage_anomaly IS NULL, 'voltage_anomaly', failure IS NULL, 'failure', '') AS missing
SELECT
    meter_id,
    building_id,
    window_start,
    window_end,
    event_count,
    power_avg_kw,
    power_min_kw,
    power_max_kw,
    voltage_avg_v,
    voltage_min_v,
    voltage_max_v,
    spike,
    low_consumption,
    voltage_anomaly,
    failure,
    content_version,
    _topic AS topic,
    _partition AS partition,
    _offset AS offset,
    ifNull(_timestamp_ms, now64(3, 'UTC')) AS produced_at,
    multiIf(length(_error) > 0, _error, missing != '', concat('no field ', missing, ': the message has the schema of something else'), NOT (meter_id >= 0), 'meter_id is out of contract: it must be at least 0', NOT (building_id >= 0), 'building_id is out of contract: it must be at least 0', NOT (event_count >= 1), 'event_count is out of contract: it must be at least 1', NOT (content_version >= 0), 'content_version is out of contract: it must be at least 0', '') AS reason,
    _raw_message AS message
FROM anomaly_detection_meter_queue
WHERE throwIf(match(_error, 'while fetching schema id = [0-9]+$') AND (NOT match(_error, '"error_code" *: *40403')), 'schema registry does not answer; reading waits for it') = 0;
