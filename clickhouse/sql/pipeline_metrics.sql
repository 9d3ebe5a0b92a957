-- pipeline_metrics: What the pipeline tells of itself; lag, batches, state, versions, memory, by part and 15 s.
-- Rendered from schemas/contracts by `python -m clickhouse.ddl`; do not edit. Addresses are examples.

CREATE TABLE IF NOT EXISTS pipeline_metrics
(
    metric LowCardinality(String) COMMENT 'Name of the figure, with its unit as last word, such as lag_messages or batch_duration_s.' CODEC(ZSTD(1)),
    part LowCardinality(String) COMMENT 'Who the figure is about: a part of the stack, or a consumer.' CODEC(ZSTD(1)),
    target LowCardinality(String) COMMENT 'What it is about there: a topic, a grain, a subject, a reason; empty where there is nothing to tell.' CODEC(ZSTD(1)),
    window_start DateTime64(3, 'UTC') COMMENT 'First instant of the 15 s window, UTC; included. Unit: ms.' CODEC(DoubleDelta, ZSTD(1)),
    window_end DateTime64(3, 'UTC') COMMENT 'End of the window, UTC; not included. Unit: ms.' CODEC(DoubleDelta, ZSTD(1)),
    event_count Int64 COMMENT 'Readings of the figure in the window; between two rows of one key and window the one with more wins. Unit: readings.' CODEC(T64, ZSTD(1)),
    value_sum Float64 COMMENT 'Sum of the readings; the figure itself where each reading is a share of it, such as the late rows of each batch.' CODEC(ZSTD(1)),
    value_min Float64 COMMENT 'Least reading.' CODEC(ZSTD(1)),
    value_max Float64 COMMENT 'Greatest reading.' CODEC(ZSTD(1)),
    value_last Float64 COMMENT 'Last reading.' CODEC(ZSTD(1)),
    topic LowCardinality(String) COMMENT 'Topic of the message.' CODEC(ZSTD(1)),
    partition Int32 COMMENT 'Partition of the message.' CODEC(T64, ZSTD(1)),
    offset Int64 COMMENT 'Offset of the message.' CODEC(DoubleDelta, ZSTD(1)),
    produced_at DateTime64(3, 'UTC') COMMENT 'Time of the message in the log; the TTL counts from it.' CODEC(DoubleDelta, ZSTD(1)),
    row_version Int256 MATERIALIZED bitShiftLeft(toInt256(event_count), 192) + offset COMMENT 'Of a key\'s rows the greatest counts: by what it rests on, offset.' CODEC(ZSTD(1)),
    INDEX by_time window_start TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(row_version)
ORDER BY (metric, part, target, window_start)
TTL produced_at + toIntervalDay(35)
COMMENT 'What the pipeline tells of itself; lag, batches, state, versions, memory, by part and 15 s.';

CREATE TABLE IF NOT EXISTS pipeline_metrics_unreadable
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
COMMENT 'Messages of topic pipeline_metrics that could not be read.';

CREATE VIEW IF NOT EXISTS pipeline_metrics_latest AS
SELECT
    metric,
    part,
    target,
    window_start,
    window_end,
    event_count,
    value_sum,
    value_min,
    value_max,
    value_last,
    topic,
    partition,
    offset,
    produced_at
FROM pipeline_metrics
FINAL
COMMENT 'What the pipeline tells of itself; lag, batches, state, versions, memory, by part and 15 s. One row per metric, part, target, window_start: the one that counts.';

CREATE TABLE IF NOT EXISTS pipeline_metrics_messages
(
    metric LowCardinality(Nullable(String)),
    part LowCardinality(Nullable(String)),
    target LowCardinality(Nullable(String)),
    window_start Nullable(DateTime64(3, 'UTC')),
    window_end Nullable(DateTime64(3, 'UTC')),
    event_count Nullable(Int64),
    value_sum Nullable(Float64),
    value_min Nullable(Float64),
    value_max Nullable(Float64),
    value_last Nullable(Float64),
    topic LowCardinality(String),
    partition Int32,
    offset Int64,
    produced_at DateTime64(3, 'UTC'),
    reason String,
    message String
)
ENGINE = Null;

CREATE MATERIALIZED VIEW IF NOT EXISTS pipeline_metrics_view TO pipeline_metrics AS
SELECT
    metric,
    part,
    target,
    window_start,
    window_end,
    event_count,
    value_sum,
    value_min,
    value_max,
    value_last,
    topic,
    partition,
    offset,
    produced_at
FROM pipeline_metrics_messages
WHERE reason = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS pipeline_metrics_unreadable_view TO pipeline_metrics_unreadable AS
SELECT
    topic,
    partition,
    offset,
    produced_at,
    reason,
    message
FROM pipeline_metrics_messages
WHERE reason != '';

CREATE TABLE IF NOT EXISTS pipeline_metrics_queue
(
    metric LowCardinality(Nullable(String)),
    part LowCardinality(Nullable(String)),
    target LowCardinality(Nullable(String)),
    window_start Nullable(DateTime64(3, 'UTC')),
    window_end Nullable(DateTime64(3, 'UTC')),
    event_count Nullable(Int64),
    value_sum Nullable(Float64),
    value_min Nullable(Float64),
    value_max Nullable(Float64),
    value_last Nullable(Float64)
)
ENGINE = Kafka
SETTINGS
    kafka_broker_list = 'kafka:9092',
    kafka_topic_list = 'pipeline_metrics',
    kafka_group_name = 'clickhouse-pipeline_metrics',
    kafka_format = 'AvroConfluent',
    format_avro_schema_registry_url = 'http://schema-registry:8081',
    input_format_avro_allow_missing_fields = 1,
    kafka_handle_error_mode = 'stream',
    kafka_num_consumers = 1,
    kafka_thread_per_consumer = 1,
    kafka_flush_interval_ms = 500,
    kafka_poll_timeout_ms = 100,
    kafka_max_block_size = 65536;

CREATE MATERIALIZED VIEW IF NOT EXISTS pipeline_metrics_intake TO pipeline_metrics_messages AS
WITH multiIf(metric IS NULL, 'metric', part IS NULL, 'part', target IS NULL, 'target', window_start IS NULL, 'window_start', window_end IS NULL, 'window_end', event_count IS NULL, 'event_count', value_sum IS NULL, 'value_sum', value_min IS NULL, 'value_min', value_max IS NULL, 'value_max', value_last IS NULL, 'value_last', '') AS missing
SELECT
    metric,
    part,
    target,
    window_start,
    window_end,
    event_count,
    value_sum,
    value_min,
    value_max,
    value_last,
    _topic AS topic,
    _partition AS partition,
    _offset AS offset,
    ifNull(_timestamp_ms, now64(3, 'UTC')) AS produced_at,
    multiIf(length(_error) > 0, _error, missing != '', concat('no field ', missing, ': the message has the schema of something else'), NOT (event_count >= 1), 'event_count is out of contract: it must be at least 1', '') AS reason,
    _raw_message AS message
FROM pipeline_metrics_queue
WHERE throwIf(match(_error, 'while fetching schema id = [0-9]+$') AND (NOT match(_error, '"error_code" *: *40403')), 'schema registry does not answer; reading waits for it') = 0;
