-- anomaly_prediction_results: Predictions of the anomaly model, one per meter, window and model version.
-- Rendered from schemas/contracts by `python -m clickhouse.ddl`; do not edit. Addresses are examples.

CREATE TABLE IF NOT EXISTS anomaly_prediction_results
(
    meter_id Int32 COMMENT 'Meter that took the readings.' CODEC(T64, ZSTD(1)),
    building_id Int32 COMMENT 'Building of the meter; of its last reading, should a window hold two.' CODEC(T64, ZSTD(1)),
    window_start DateTime64(3, 'UTC') COMMENT 'First instant of the 5 min window, UTC; included. Unit: ms.' CODEC(DoubleDelta, ZSTD(1)),
    window_end DateTime64(3, 'UTC') COMMENT 'End of the window, UTC; not included. Unit: ms.' CODEC(DoubleDelta, ZSTD(1)),
    event_count Int64 COMMENT 'event_count of the feature row that was judged; the row with more wins. Unit: readings.' CODEC(T64, ZSTD(1)),
    probability Float64 COMMENT 'Probability of an anomaly in the window. Unit: 1.' CODEC(ZSTD(1)),
    prediction Bool COMMENT 'probability >= threshold.' CODEC(ZSTD(1)),
    kind LowCardinality(Nullable(String)) COMMENT 'Kind of anomaly, where the model tells: failure, spike, low_consumption, voltage, gap.' CODEC(ZSTD(1)),
    threshold Float64 COMMENT 'Threshold in force. Unit: 1.' CODEC(ZSTD(1)),
    model_name LowCardinality(String) COMMENT 'Name of the model.' CODEC(ZSTD(1)),
    model_version LowCardinality(String) COMMENT 'Version of the model; predictions of several versions coexist.' CODEC(ZSTD(1)),
    feature_partition Int32 COMMENT 'Partition of the feature row that was judged.' CODEC(T64, ZSTD(1)),
    feature_offset Int64 COMMENT 'Offset of the feature row that was judged.' CODEC(T64, ZSTD(1)),
    content_version Nullable(Decimal(38, 0)) COMMENT 'content_version of the feature row that was judged; between rows with equal event_count the greater wins.' CODEC(ZSTD(1)),
    topic LowCardinality(String) COMMENT 'Topic of the message.' CODEC(ZSTD(1)),
    partition Int32 COMMENT 'Partition of the message.' CODEC(T64, ZSTD(1)),
    offset Int64 COMMENT 'Offset of the message.' CODEC(DoubleDelta, ZSTD(1)),
    produced_at DateTime64(3, 'UTC') COMMENT 'Time of the message in the log; the TTL counts from it.' CODEC(DoubleDelta, ZSTD(1)),
    row_version Int256 MATERIALIZED (bitShiftLeft(toInt256(event_count), 192) + bitShiftLeft(toInt256(ifNull(content_version, 0)), 64)) + offset COMMENT 'Of a key\'s rows the greatest counts: by what it rests on, offset.' CODEC(ZSTD(1)),
    INDEX by_time window_start TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(row_version)
ORDER BY (meter_id, window_start, model_name, model_version)
TTL produced_at + toIntervalDay(400)
COMMENT 'Predictions of the anomaly model, one per meter, window and model version.';

CREATE TABLE IF NOT EXISTS anomaly_prediction_results_unreadable
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
COMMENT 'Messages of topic anomaly_prediction_results that could not be read.';

CREATE VIEW IF NOT EXISTS anomaly_prediction_results_latest AS
SELECT
    meter_id,
    building_id,
    window_start,
    window_end,
    event_count,
    probability,
    prediction,
    kind,
    threshold,
    model_name,
    model_version,
    feature_partition,
    feature_offset,
    content_version,
    topic,
    partition,
    offset,
    produced_at
FROM anomaly_prediction_results
FINAL
COMMENT 'Predictions of the anomaly model, one per meter, window and model version. One row per meter_id, window_start, model_name, model_version: the one that counts.';

CREATE TABLE IF NOT EXISTS anomaly_prediction_results_messages
(
    meter_id Nullable(Int32),
    building_id Nullable(Int32),
    window_start Nullable(DateTime64(3, 'UTC')),
    window_end Nullable(DateTime64(3, 'UTC')),
    event_count Nullable(Int64),
    probability Nullable(Float64),
    prediction Nullable(Bool),
    kind LowCardinality(Nullable(String)),
    threshold Nullable(Float64),
    model_name LowCardinality(Nullable(String)),
    model_version LowCardinality(Nullable(String)),
    feature_partition Nullable(Int32),
    feature_offset Nullable(Int64),
    content_version Nullable(Decimal(38, 0)),
    topic LowCardinality(String),
    partition Int32,
    offset Int64,
    produced_at DateTime64(3, 'UTC'),
    reason String,
    message String
)
ENGINE = Null;

CREATE MATERIALIZED VIEW IF NOT EXISTS anomaly_prediction_results_view TO anomaly_prediction_results AS
SELECT
    meter_id,
    building_id,
    window_start,
    window_end,
    event_count,
    probability,
    prediction,
    kind,
    threshold,
    model_name,
    model_version,
    feature_partition,
    feature_offset,
    content_version,
    topic,
    partition,
    offset,
    produced_at
FROM anomaly_prediction_results_messages
WHERE reason = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS anomaly_prediction_results_unreadable_view TO anomaly_prediction_results_unreadable AS
SELECT
    topic,
    partition,
    offset,
    produced_at,
    reason,
    message
FROM anomaly_prediction_results_messages
WHERE reason != '';

CREATE TABLE IF NOT EXISTS anomaly_prediction_results_queue
(
    meter_id Nullable(Int32),
    building_id Nullable(Int32),
    window_start Nullable(DateTime64(3, 'UTC')),
    window_end Nullable(DateTime64(3, 'UTC')),
    event_count Nullable(Int64),
    probability Nullable(Float64),
    prediction Nullable(Bool),
    kind LowCardinality(Nullable(String)),
    threshold Nullable(Float64),
    model_name LowCardinality(Nullable(String)),
    model_version LowCardinality(Nullable(String)),
    feature_partition Nullable(Int32),
    feature_offset Nullable(Int64),
    content_version Nullable(Decimal(38, 0))
)
ENGINE = Kafka
SETTINGS
    kafka_broker_list = 'kafka:9092',
    kafka_topic_list = 'anomaly_prediction_results',
    kafka_group_name = 'clickhouse-anomaly_prediction_results',
    kafka_format = 'AvroConfluent',
    format_avro_schema_registry_url = 'http://schema-registry:8081',
    input_format_avro_allow_missing_fields = 1,
    kafka_handle_error_mode = 'stream',
    kafka_num_consumers = 1,
    kafka_thread_per_consumer = 1,
    kafka_flush_interval_ms = 500,
    kafka_poll_timeout_ms = 100,
    kafka_max_block_size = 65536;

CREATE MATERIALIZED VIEW IF NOT EXISTS anomaly_prediction_results_intake TO anomaly_prediction_results_messages AS
WITH multiIf(meter_id IS NULL, 'meter_id', building_id IS NULL, 'building_id', window_start IS NULL, 'window_start', window_end IS NULL, 'window_end', event_count IS NULL, 'event_count', probability IS NULL, 'probability', prediction IS NULL, 'prediction', threshold IS NULL, 'threshold', model_name IS NULL, 'model_name', model_version IS NULL, 'model_version', feature_partition IS NULL, 'feature_partition', feature_offset IS NULL, 'feature_offset', '') AS missing
SELECT
    meter_id,
    building_id,
    window_start,
    window_end,
    event_count,
    probability,
    prediction,
    kind,
    threshold,
    model_name,
    model_version,
    feature_partition,
    feature_offset,
    content_version,
    _topic AS topic,
    _partition AS partition,
    _offset AS offset,
    ifNull(_timestamp_ms, now64(3, 'UTC')) AS produced_at,
    multiIf(length(_error) > 0, _error, missing != '', concat('no field ', missing, ': the message has the schema of something else'), NOT (meter_id >= 0), 'meter_id is out of contract: it must be at least 0', NOT (building_id >= 0), 'building_id is out of contract: it must be at least 0', NOT (event_count >= 1), 'event_count is out of contract: it must be at least 1', NOT ((probability >= 0) AND (probability <= 1)), 'probability is out of contract: it must be at least 0 and at most 1', NOT ((threshold >= 0) AND (threshold <= 1)), 'threshold is out of contract: it must be at least 0 and at most 1', NOT (feature_partition >= 0), 'feature_partition is out of contract: it must be at least 0', NOT (feature_offset >= 0), 'feature_offset is out of contract: it must be at least 0', NOT (content_version >= 0), 'content_version is out of contract: it must be at least 0', '') AS reason,
    _raw_message AS message
FROM anomaly_prediction_results_queue
WHERE throwIf(match(_error, 'while fetching schema id = [0-9]+$') AND (NOT match(_error, '"error_code" *: *40403')), 'schema registry does not answer; reading waits for it') = 0;
