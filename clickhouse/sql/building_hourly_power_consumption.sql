-- building_hourly_power_consumption: Power and energy per building and hour.
-- Rendered from schemas/contracts by `python -m clickhouse.ddl`; do not edit. Addresses are examples.

CREATE TABLE IF NOT EXISTS building_hourly_power_consumption
(
    building_id Int32 COMMENT 'Building.' CODEC(T64, ZSTD(1)),
    window_start DateTime64(3, 'UTC') COMMENT 'First instant of the 1 h window, UTC; included. Unit: ms.' CODEC(DoubleDelta, ZSTD(1)),
    window_end DateTime64(3, 'UTC') COMMENT 'End of the window, UTC; not included. Unit: ms.' CODEC(DoubleDelta, ZSTD(1)),
    event_count Int64 COMMENT 'Distinct readings in the window; between two rows of one key and window the one with more wins. Unit: readings.' CODEC(T64, ZSTD(1)),
    meter_count Int64 COMMENT 'Meters with a reading in the window. For each 5 min a meter is in the building of its last reading there, and counts in two buildings if it moves within the hour; to each, its readings in the other are as if there were none. Unit: meters.' CODEC(T64, ZSTD(1)),
    power_avg_kw Float64 COMMENT 'Mean power: sum of milliwatts / (event_count x 10^6). Unit: kW.' CODEC(ZSTD(1)),
    power_min_kw Float64 COMMENT 'Least power. Unit: kW.' CODEC(ZSTD(1)),
    power_max_kw Float64 COMMENT 'Greatest power. Unit: kW.' CODEC(ZSTD(1)),
    readings_sum_kw Float64 COMMENT 'Sum of the readings, as the original pipeline\'s total; depends on how often the meter reports. Unit: kW.' CODEC(ZSTD(1)),
    energy_kwh Float64 COMMENT 'Energy: every reading\'s power holds until the meter\'s next reading, at most for parameter hold_max_s. What falls into the hour counts: a reading before it counts with what it still holds at the hour\'s start, the last one in it to the hour\'s end at most. Summed over the meters with a reading in the hour. Unit: kWh.' CODEC(ZSTD(1)),
    covered_s Float64 COMMENT 'Time in the hour that the energy covers, summed over the meters; less than 3600 x meter_count where readings are missing. Unit: s.' CODEC(ZSTD(1)),
    content_version Nullable(Decimal(38, 0)) COMMENT 'Sum of the ranks of the readings that the row rests on, those just before the window included where it depends on them: a rank is log time in ms x 2^52 + partition x 2^40 + offset. Between rows with equal event_count the greater wins: it rests on newer readings. Null in rows written before v2.' CODEC(ZSTD(1)),
    topic LowCardinality(String) COMMENT 'Topic of the message.' CODEC(ZSTD(1)),
    partition Int32 COMMENT 'Partition of the message.' CODEC(T64, ZSTD(1)),
    offset Int64 COMMENT 'Offset of the message.' CODEC(DoubleDelta, ZSTD(1)),
    produced_at DateTime64(3, 'UTC') COMMENT 'Time of the message in the log; the TTL counts from it.' CODEC(DoubleDelta, ZSTD(1)),
    row_version Int256 MATERIALIZED (bitShiftLeft(toInt256(event_count), 192) + bitShiftLeft(toInt256(ifNull(content_version, 0)), 64)) + offset COMMENT 'Of a key\'s rows the greatest counts: by what it rests on, offset.' CODEC(ZSTD(1)),
    INDEX by_time window_start TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(row_version)
ORDER BY (building_id, window_start)
COMMENT 'Power and energy per building and hour.';

CREATE TABLE IF NOT EXISTS building_hourly_power_consumption_unreadable
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
COMMENT 'Messages of topic building_hourly_power_consumption that could not be read.';

CREATE VIEW IF NOT EXISTS building_hourly_power_consumption_latest AS
SELECT
    building_id,
    window_start,
    window_end,
    event_count,
    meter_count,
    power_avg_kw,
    power_min_kw,
    power_max_kw,
    readings_sum_kw,
    energy_kwh,
    covered_s,
    content_version,
    topic,
    partition,
    offset,
    produced_at
FROM building_hourly_power_consumption
FINAL
COMMENT 'Power and energy per building and hour. One row per building_id, window_start: the one that counts.';

CREATE TABLE IF NOT EXISTS building_hourly_power_consumption_messages
(
    building_id Nullable(Int32),
    window_start Nullable(DateTime64(3, 'UTC')),
    window_end Nullable(DateTime64(3, 'UTC')),
    event_count Nullable(Int64),
    meter_count Nullable(Int64),
    power_avg_kw Nullable(Float64),
    power_min_kw Nullable(Float64),
    power_max_kw Nullable(Float64),
    readings_sum_kw Nullable(Float64),
    energy_kwh Nullable(Float64),
    covered_s Nullable(Float64),
    content_version Nullable(Decimal(38, 0)),
    topic LowCardinality(String),
    partition Int32,
    offset Int64,
    produced_at DateTime64(3, 'UTC'),
    reason String,
    message String
)
ENGINE = Null;

CREATE MATERIALIZED VIEW IF NOT EXISTS building_hourly_power_consumption_view TO building_hourly_power_consumption AS
SELECT
    building_id,
    window_start,
    window_end,
    event_count,
    meter_count,
    power_avg_kw,
    power_min_kw,
    power_max_kw,
    readings_sum_kw,
    energy_kwh,
    covered_s,
    content_version,
    topic,
    partition,
    offset,
    produced_at
FROM building_hourly_power_consumption_messages
WHERE reason = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS building_hourly_power_consumption_unreadable_view TO building_hourly_power_consumption_unreadable AS
SELECT
    topic,
    partition,
    offset,
    produced_at,
    reason,
    message
FROM building_hourly_power_consumption_messages
WHERE reason != '';

CREATE TABLE IF NOT EXISTS building_hourly_power_consumption_queue
(
    building_id Nullable(Int32),
    window_start Nullable(DateTime64(3, 'UTC')),
    window_end Nullable(DateTime64(3, 'UTC')),
    event_count Nullable(Int64),
    meter_count Nullable(Int64),
    power_avg_kw Nullable(Float64),
    power_min_kw Nullable(Float64),
    power_max_kw Nullable(Float64),
    readings_sum_kw Nullable(Float64),
    energy_kwh Nullable(Float64),
    covered_s Nullable(Float64),
    content_version Nullable(Decimal(38, 0))
)
ENGINE = Kafka
SETTINGS
    kafka_broker_list = 'kafka:9092',
    kafka_topic_list = 'building_hourly_power_consumption',
    kafka_group_name = 'clickhouse-building_hourly_power_consumption',
    kafka_format = 'AvroConfluent',
    format_avro_schema_registry_url = 'http://schema-registry:8081',
    input_format_avro_allow_missing_fields = 1,
    kafka_handle_error_mode = 'stream',
    kafka_num_consumers = 1,
    kafka_thread_per_consumer = 1,
    kafka_flush_interval_ms = 500,
    kafka_poll_timeout_ms = 100,
    kafka_max_block_size = 65536;

CREATE MATERIALIZED VIEW IF NOT EXISTS building_hourly_power_consumption_intake TO building_hourly_power_consumption_messages AS
WITH multiIf(building_id IS NULL, 'building_id', window_start IS NULL, 'window_start', window_end IS NULL, 'window_end', event_count IS NULL, 'event_count', meter_count IS NULL, 'meter_count', power_avg_kw IS NULL, 'power_avg_kw', power_min_kw IS NULL, 'power_min_kw', power_max_kw IS NULL, 'power_max_kw', readings_sum_kw IS NULL, 'readings_sum_kw', energy_kwh IS NULL, 'energy_kwh', covered_s IS NULL, 'covered_s', '') AS missing
SELECT
    building_id,
    window_start,
    window_end,
    event_count,
    meter_count,
    power_avg_kw,
    power_min_kw,
    power_max_kw,
    readings_sum_kw,
    energy_kwh,
    covered_s,
    content_version,
    _topic AS topic,
    _partition AS partition,
    _offset AS offset,
    ifNull(_timestamp_ms, now64(3, 'UTC')) AS produced_at,
    multiIf(length(_error) > 0, _error, missing != '', concat('no field ', missing, ': the message has the schema of something else'), NOT (building_id >= 0), 'building_id is out of contract: it must be at least 0', NOT (event_count >= 1), 'event_count is out of contract: it must be at least 1', NOT (meter_count >= 1), 'meter_count is out of contract: it must be at least 1', NOT (covered_s >= 0), 'covered_s is out of contract: it must be at least 0', NOT (content_version >= 0), 'content_version is out of contract: it must be at least 0', '') AS reason,
    _raw_message AS message
FROM building_hourly_power_consumption_queue
WHERE throwIf(match(_error, 'while fetching schema id = [0-9]+$') AND (NOT match(_error, '"error_code" *: *40403')), 'schema registry does not answer; reading waits for it') = 0;
