-- anomaly_prediction_features: Windows of 5 min as the model sees them, with the injected anomalies as labels.
-- Rendered from schemas/contracts by `python -m clickhouse.ddl`; do not edit. Addresses are examples.

CREATE TABLE IF NOT EXISTS anomaly_prediction_features
(
    meter_id Int32 COMMENT 'Meter that took the readings.' CODEC(T64, ZSTD(1)),
    building_id Int32 COMMENT 'Building of the meter; of its last reading, should a window hold two.' CODEC(T64, ZSTD(1)),
    window_start DateTime64(3, 'UTC') COMMENT 'First instant of the 5 min window, UTC; included. Unit: ms.' CODEC(DoubleDelta, ZSTD(1)),
    window_end DateTime64(3, 'UTC') COMMENT 'End of the window, UTC; not included. Unit: ms.' CODEC(DoubleDelta, ZSTD(1)),
    event_count Int64 COMMENT 'Distinct readings in the window; between two rows of one key and window the one with more wins. Unit: readings.' CODEC(T64, ZSTD(1)),
    power_avg_kw Float64 COMMENT 'Mean power: sum of milliwatts / (event_count x 10^6). Unit: kW.' CODEC(ZSTD(1)),
    power_std_kw Float64 COMMENT 'Population standard deviation from the integer sums: sqrt(max(0, n x S2 - S1^2)) / (n x 10^6), n event_count, S1 and S2 the sum and the sum of squares in mW; the difference is exact. Unit: kW.' CODEC(ZSTD(1)),
    power_min_kw Float64 COMMENT 'Least power. Unit: kW.' CODEC(ZSTD(1)),
    power_max_kw Float64 COMMENT 'Greatest power. Unit: kW.' CODEC(ZSTD(1)),
    voltage_avg_v Float64 COMMENT 'Mean voltage: sum of millivolts / (event_count x 10^3). Unit: V.' CODEC(ZSTD(1)),
    voltage_std_v Float64 COMMENT 'Population standard deviation from the integer sums: sqrt(max(0, n x S2 - S1^2)) / (n x 10^3), n event_count, S1 and S2 the sum and the sum of squares in mV; the difference is exact. Unit: V.' CODEC(ZSTD(1)),
    voltage_min_v Float64 COMMENT 'Least voltage. Unit: V.' CODEC(ZSTD(1)),
    voltage_max_v Float64 COMMENT 'Greatest voltage. Unit: V.' CODEC(ZSTD(1)),
    power_step_max_kw Float64 COMMENT 'Largest absolute step of power between neighbouring readings in the window. Unit: kW.' CODEC(ZSTD(1)),
    voltage_step_max_v Float64 COMMENT 'Largest absolute step of voltage between neighbouring readings in the window. Unit: V.' CODEC(ZSTD(1)),
    repeat_count Int64 COMMENT 'Readings whose power and voltage equal those of the reading before, within the window. Unit: readings.' CODEC(T64, ZSTD(1)),
    run_max_count Int64 COMMENT 'Length of the longest run of identical readings in the window. Unit: readings.' CODEC(T64, ZSTD(1)),
    gap_count Nullable(Int64) COMMENT 'Last sequence minus first sequence, plus 1, minus event_count, but at least 0: readings missing between the first and the last one by the meter\'s own count; null where no reading in the window has a sequence. Unit: readings.' CODEC(T64, ZSTD(1)),
    failure_count Int64 COMMENT 'Readings with status bit 0, failure. Unit: readings.' CODEC(T64, ZSTD(1)),
    spike_count Int64 COMMENT 'Readings with status bit 1, spike. Unit: readings.' CODEC(T64, ZSTD(1)),
    low_consumption_count Int64 COMMENT 'Readings with status bit 2, low consumption. Unit: readings.' CODEC(T64, ZSTD(1)),
    voltage_anomaly_count Int64 COMMENT 'Readings with status bit 3, voltage. Unit: readings.' CODEC(T64, ZSTD(1)),
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
COMMENT 'Windows of 5 min as the model sees them, with the injected anomalies as labels.';

CREATE TABLE IF NOT EXISTS anomaly_prediction_features_unreadable
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
COMMENT 'Messages of topic anomaly_prediction_features that could not be read.';

CREATE VIEW IF NOT EXISTS anomaly_prediction_features_latest AS
SELECT
    meter_id,
    building_id,
    window_start,
    window_end,
    event_count,
    power_avg_kw,
    power_std_kw,
    power_min_kw,
    power_max_kw,
    voltage_avg_v,
    voltage_std_v,
    voltage_min_v,
    voltage_max_v,
    power_step_max_kw,
    voltage_step_max_v,
    repeat_count,
    run_max_count,
    gap_count,
    failure_count,
    spike_count,
    low_consumption_count,
    voltage_anomaly_count,
    content_version,
    topic,
    partition,
    offset,
    produced_at
FROM anomaly_prediction_features
FINAL
COMMENT 'Windows of 5 min as the model sees them, with the injected anomalies as labels. One row per meter_id, window_start: the one that counts.';

CREATE TABLE IF NOT EXISTS anomaly_prediction_features_messages
(
    meter_id Nullable(Int32),
    building_id Nullable(Int32),
    window_start Nullable(DateTime64(3, 'UTC')),
    window_end Nullable(DateTime64(3, 'UTC')),
    event_count Nullable(Int64),
    power_avg_kw Nullable(Float64),
    power_std_kw Nullable(Float64),
    power_min_kw Nullable(Float64),
    power_max_kw Nullable(Float64),
    voltage_avg_v Nullable(Float64),
    voltage_std_v Nullable(Float64),
    voltage_min_v Nullable(Float64),
    voltage_max_v Nullable(Float64),
    power_step_max_kw Nullable(Float64),
    voltage_step_max_v Nullable(Float64),
    repeat_count Nullable(Int64),
    run_max_count Nullable(Int64),
    gap_count Nullable(Int64),
    failure_count Nullable(Int64),
    spike_count Nullable(Int64),
    low_consumption_count Nullable(Int64),
    voltage_anomaly_count Nullable(Int64),
    content_version Nullable(Decimal(38, 0)),
    topic LowCardinality(String),
    partition Int32,
    offset Int64,
    produced_at DateTime64(3, 'UTC'),
    reason String,
    message String
)
ENGINE = Null;

CREATE MATERIALIZED VIEW IF NOT EXISTS anomaly_prediction_features_view TO anomaly_prediction_features AS
SELECT
    meter_id,
    building_id,
    window_start,
    window_end,
    event_count,
    power_avg_kw,
    power_std_kw,
    power_min_kw,
    power_max_kw,
    voltage_avg_v,
    voltage_std_v,
    voltage_min_v,
    voltage_max_v,
    power_step_max_kw,
    voltage_step_max_v,
    repeat_count,
    run_max_count,
    gap_count,
    failure_count,
    spike_count,
    low_consumption_count,
    voltage_anomaly_count,
    content_version,
    topic,
    partition,
    offset,
    produced_at
FROM anomaly_prediction_features_messages
WHERE reason = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS anomaly_prediction_features_unreadable_view TO anomaly_prediction_features_unreadable AS
SELECT
    topic,
    partition,
    offset,
    produced_at,
    reason,
    message
FROM anomaly_prediction_features_messages
WHERE reason != '';

CREATE TABLE IF NOT EXISTS anomaly_prediction_features_queue
(
    meter_id Nullable(Int32),
    building_id Nullable(Int32),
    window_start Nullable(DateTime64(3, 'UTC')),
    window_end Nullable(DateTime64(3, 'UTC')),
    event_count Nullable(Int64),
    power_avg_kw Nullable(Float64),
    power_std_kw Nullable(Float64),
    power_min_kw Nullable(Float64),
    power_max_kw Nullable(Float64),
    voltage_avg_v Nullable(Float64),
    voltage_std_v Nullable(Float64),
    voltage_min_v Nullable(Float64),
    voltage_max_v Nullable(Float64),
    power_step_max_kw Nullable(Float64),
    voltage_step_max_v Nullable(Float64),
    repeat_count Nullable(Int64),
    run_max_count Nullable(Int64),
    gap_count Nullable(Int64),
    failure_count Nullable(Int64),
    spike_count Nullable(Int64),
    low_consumption_count Nullable(Int64),
    voltage_anomaly_count Nullable(Int64),
    content_version Nullable(Decimal(38, 0))
)
ENGINE = Kafka
SETTINGS
    kafka_broker_list = 'kafka:9092',
    kafka_topic_list = 'anomaly_prediction_features',
    kafka_group_name = 'clickhouse-anomaly_prediction_features',
    kafka_format = 'AvroConfluent',
    format_avro_schema_registry_url = 'http://schema-registry:8081',
    input_format_avro_allow_missing_fields = 1,
    kafka_handle_error_mode = 'stream',
    kafka_num_consumers = 1,
    kafka_thread_per_consumer = 1,
    kafka_flush_interval_ms = 500,
    kafka_poll_timeout_ms = 100,
    kafka_max_block_size = 65536;

CREATE MATERIALIZED VIEW IF NOT EXISTS anomaly_prediction_features_intake TO anomaly_prediction_features_messages AS
WITH multiIf(meter_id IS NULL, 'meter_id', building_id IS NULL, 'building_id', window_start IS NULL, 'window_start', window_end IS NULL, 'window_end', event_count IS NULL, 'event_count', power_avg_kw IS NULL, 'power_avg_kw', power_std_kw IS NULL, 'power_std_kw', power_min_kw IS NULL, 'power_min_kw', power_max_kw IS NULL, 'power_max_kw', voltage_avg_v IS NULL, 'voltage_avg_v', voltage_std_v IS NULL, 'voltage_std_v', voltage_min_v IS NULL, 'voltage_min_v', voltage_max_v IS NULL, 'voltage_max_v', power_step_max_kw IS NULL, 'power_step_max_kw', voltage_step_max_v IS NULL, 'voltage_step_max_v', repeat_count IS NULL, 'repeat_count', run_max_count IS NULL, 'run_max_count', failure_count IS NULL, 'failure_count', spike_count IS NULL, 'spike_count', low_consumption_count IS NULL, 'low_consumption_count', voltage_anomaly_count IS NULL, 'voltage_anomaly_count', '') AS missing
SELECT
    meter_id,
    building_id,
    window_start,
    window_end,
    event_count,
    power_avg_kw,
    power_std_kw,
    power_min_kw,
    power_max_kw,
    voltage_avg_v,
    voltage_std_v,
    voltage_min_v,
    voltage_max_v,
    power_step_max_kw,
    voltage_step_max_v,
    repeat_count,
    run_max_count,
    gap_count,
    failure_count,
    spike_count,
    low_consumption_count,
    voltage_anomaly_count,
    content_version,
    _topic AS topic,
    _partition AS partition,
    _offset AS offset,
    ifNull(_timestamp_ms, now64(3, 'UTC')) AS produced_at,
    multiIf(length(_error) > 0, _error, missing != '', concat('no field ', missing, ': the message has the schema of something else'), NOT (meter_id >= 0), 'meter_id is out of contract: it must be at least 0', NOT (building_id >= 0), 'building_id is out of contract: it must be at least 0', NOT (event_count >= 1), 'event_count is out of contract: it must be at least 1', NOT (repeat_count >= 0), 'repeat_count is out of contract: it must be at least 0', NOT (run_max_count >= 0), 'run_max_count is out of contract: it must be at least 0', NOT (gap_count >= 0), 'gap_count is out of contract: it must be at least 0', NOT (failure_count >= 0), 'failure_count is out of contract: it must be at least 0', NOT (spike_count >= 0), 'spike_count is out of contract: it must be at least 0', NOT (low_consumption_count >= 0), 'low_consumption_count is out of contract: it must be at least 0', NOT (voltage_anomaly_count >= 0), 'voltage_anomaly_count is out of contract: it must be at least 0', NOT (content_version >= 0), 'content_version is out of contract: it must be at least 0', '') AS reason,
    _raw_message AS message
FROM anomaly_prediction_features_queue
WHERE throwIf(match(_error, 'while fetching schema id = [0-9]+$') AND (NOT match(_error, '"error_code" *: *40403')), 'schema registry does not answer; reading waits for it') = 0;
