-- meter_stats_5min: Sufficient statistics per meter and 5 min, joined across those of 30 s; final rows, the source of the hours.
-- Rendered from schemas/contracts by `python -m clickhouse.ddl`; do not edit. Addresses are examples.

CREATE TABLE IF NOT EXISTS meter_stats_5min
(
    meter_id Int32 COMMENT 'Meter that took the readings.' CODEC(T64, ZSTD(1)),
    building_id Int32 COMMENT 'Building of the meter; of its last reading, should a window hold two.' CODEC(T64, ZSTD(1)),
    window_start DateTime64(3, 'UTC') COMMENT 'First instant of the 5 min window, UTC; included. Unit: ms.' CODEC(DoubleDelta, ZSTD(1)),
    window_end DateTime64(3, 'UTC') COMMENT 'End of the window, UTC; not included. Unit: ms.' CODEC(DoubleDelta, ZSTD(1)),
    event_count Int64 COMMENT 'Distinct readings in the window; between two rows of one key and window the one with more wins. Unit: readings.' CODEC(T64, ZSTD(1)),
    power_sum_mw Int64 COMMENT 'Sum of power. Unit: mW.' CODEC(T64, ZSTD(1)),
    power_sum_sq_mw2 Decimal(38, 0) COMMENT 'Sum of squared power; decimal, because 64 bits do not hold it for large loads. Unit: mW2.' CODEC(ZSTD(1)),
    power_min_mw Int64 COMMENT 'Least power. Unit: mW.' CODEC(T64, ZSTD(1)),
    power_max_mw Int64 COMMENT 'Greatest power. Unit: mW.' CODEC(T64, ZSTD(1)),
    voltage_sum_mv Int64 COMMENT 'Sum of voltage. Unit: mV.' CODEC(T64, ZSTD(1)),
    voltage_sum_sq_mv2 Int64 COMMENT 'Sum of squared voltage. Unit: mV2.' CODEC(T64, ZSTD(1)),
    voltage_min_mv Int64 COMMENT 'Least voltage. Unit: mV.' CODEC(T64, ZSTD(1)),
    voltage_max_mv Int64 COMMENT 'Greatest voltage. Unit: mV.' CODEC(T64, ZSTD(1)),
    voltage_outside_count Int64 COMMENT 'Readings below the lower or above the upper voltage limit. Unit: readings.' CODEC(T64, ZSTD(1)),
    failure_count Int64 COMMENT 'Readings with status bit 0, failure. Unit: readings.' CODEC(T64, ZSTD(1)),
    spike_count Int64 COMMENT 'Readings with status bit 1, spike. Unit: readings.' CODEC(T64, ZSTD(1)),
    low_consumption_count Int64 COMMENT 'Readings with status bit 2, low consumption. Unit: readings.' CODEC(T64, ZSTD(1)),
    voltage_anomaly_count Int64 COMMENT 'Readings with status bit 3, voltage. Unit: readings.' CODEC(T64, ZSTD(1)),
    power_step_max_mw Int64 COMMENT 'Largest absolute step of power between neighbouring readings; 0 with one reading. Unit: mW.' CODEC(T64, ZSTD(1)),
    voltage_step_max_mv Int64 COMMENT 'Largest absolute step of voltage between neighbouring readings; 0 with one reading. Unit: mV.' CODEC(T64, ZSTD(1)),
    repeat_count Int64 COMMENT 'Readings whose power and voltage equal those of the reading before, within the window. Unit: readings.' CODEC(T64, ZSTD(1)),
    run_first_count Int64 COMMENT 'Length of the run of identical readings that the window begins with. Unit: readings.' CODEC(T64, ZSTD(1)),
    run_max_count Int64 COMMENT 'Length of the longest run of identical readings. Unit: readings.' CODEC(T64, ZSTD(1)),
    run_last_count Int64 COMMENT 'Length of the run of identical readings that the window ends with. Unit: readings.' CODEC(T64, ZSTD(1)),
    energy_mw_ms Int64 COMMENT 'Sum over neighbouring readings of the earlier one\'s power times the time to the next; what lies before the first and after the last reading is joined across windows. Unit: mW.ms.' CODEC(T64, ZSTD(1)),
    first_timestamp DateTime64(3, 'UTC') COMMENT 'Instant of the first reading. Unit: ms.' CODEC(DoubleDelta, ZSTD(1)),
    last_timestamp DateTime64(3, 'UTC') COMMENT 'Instant of the last reading. Unit: ms.' CODEC(DoubleDelta, ZSTD(1)),
    first_power_mw Int64 COMMENT 'Power of the first reading. Unit: mW.' CODEC(T64, ZSTD(1)),
    last_power_mw Int64 COMMENT 'Power of the last reading. Unit: mW.' CODEC(T64, ZSTD(1)),
    first_voltage_mv Int64 COMMENT 'Voltage of the first reading. Unit: mV.' CODEC(T64, ZSTD(1)),
    last_voltage_mv Int64 COMMENT 'Voltage of the last reading. Unit: mV.' CODEC(T64, ZSTD(1)),
    first_sequence Nullable(Int64) COMMENT 'Sequence of the first reading that has one. Unit: readings.' CODEC(T64, ZSTD(1)),
    last_sequence Nullable(Int64) COMMENT 'Sequence of the last reading that has one. Unit: readings.' CODEC(T64, ZSTD(1)),
    content_version Nullable(Decimal(38, 0)) COMMENT 'Sum of the ranks of the readings that the row rests on, those just before the window included where it depends on them: a rank is log time in ms x 2^52 + partition x 2^40 + offset. Between rows with equal event_count the greater wins: it rests on newer readings. Null in rows written before v2.' CODEC(ZSTD(1)),
    topic LowCardinality(String) COMMENT 'Topic of the message.' CODEC(ZSTD(1)),
    partition Int32 COMMENT 'Partition of the message.' CODEC(T64, ZSTD(1)),
    offset Int64 COMMENT 'Offset of the message.' CODEC(DoubleDelta, ZSTD(1)),
    produced_at DateTime64(3, 'UTC') COMMENT 'Time of the message in the log; the TTL counts from it.' CODEC(DoubleDelta, ZSTD(1)),
    row_version Int256 MATERIALIZED (bitShiftLeft(toInt256(event_count), 192) + bitShiftLeft(toInt256(ifNull(content_version, 0)), 64)) + offset COMMENT 'Of a key\'s rows the greatest counts: by what it rests on, offset.' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(row_version)
ORDER BY (meter_id, window_start)
TTL produced_at + toIntervalDay(35)
COMMENT 'Sufficient statistics per meter and 5 min, joined across those of 30 s; final rows, the source of the hours.';

CREATE TABLE IF NOT EXISTS meter_stats_5min_unreadable
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
COMMENT 'Messages of topic meter_stats_5min that could not be read.';

CREATE VIEW IF NOT EXISTS meter_stats_5min_latest AS
SELECT
    meter_id,
    building_id,
    window_start,
    window_end,
    event_count,
    power_sum_mw,
    power_sum_sq_mw2,
    power_min_mw,
    power_max_mw,
    voltage_sum_mv,
    voltage_sum_sq_mv2,
    voltage_min_mv,
    voltage_max_mv,
    voltage_outside_count,
    failure_count,
    spike_count,
    low_consumption_count,
    voltage_anomaly_count,
    power_step_max_mw,
    voltage_step_max_mv,
    repeat_count,
    run_first_count,
    run_max_count,
    run_last_count,
    energy_mw_ms,
    first_timestamp,
    last_timestamp,
    first_power_mw,
    last_power_mw,
    first_voltage_mv,
    last_voltage_mv,
    first_sequence,
    last_sequence,
    content_version,
    topic,
    partition,
    offset,
    produced_at
FROM meter_stats_5min
FINAL
COMMENT 'Sufficient statistics per meter and 5 min, joined across those of 30 s; final rows, the source of the hours. One row per meter_id, window_start: the one that counts.';

CREATE TABLE IF NOT EXISTS meter_stats_5min_messages
(
    meter_id Nullable(Int32),
    building_id Nullable(Int32),
    window_start Nullable(DateTime64(3, 'UTC')),
    window_end Nullable(DateTime64(3, 'UTC')),
    event_count Nullable(Int64),
    power_sum_mw Nullable(Int64),
    power_sum_sq_mw2 Nullable(Decimal(38, 0)),
    power_min_mw Nullable(Int64),
    power_max_mw Nullable(Int64),
    voltage_sum_mv Nullable(Int64),
    voltage_sum_sq_mv2 Nullable(Int64),
    voltage_min_mv Nullable(Int64),
    voltage_max_mv Nullable(Int64),
    voltage_outside_count Nullable(Int64),
    failure_count Nullable(Int64),
    spike_count Nullable(Int64),
    low_consumption_count Nullable(Int64),
    voltage_anomaly_count Nullable(Int64),
    power_step_max_mw Nullable(Int64),
    voltage_step_max_mv Nullable(Int64),
    repeat_count Nullable(Int64),
    run_first_count Nullable(Int64),
    run_max_count Nullable(Int64),
    run_last_count Nullable(Int64),
    energy_mw_ms Nullable(Int64),
    first_timestamp Nullable(DateTime64(3, 'UTC')),
    last_timestamp Nullable(DateTime64(3, 'UTC')),
    first_power_mw Nullable(Int64),
    last_power_mw Nullable(Int64),
    first_voltage_mv Nullable(Int64),
    last_voltage_mv Nullable(Int64),
    first_sequence Nullable(Int64),
    last_sequence Nullable(Int64),
    content_version Nullable(Decimal(38, 0)),
    topic LowCardinality(String),
    partition Int32,
    offset Int64,
    produced_at DateTime64(3, 'UTC'),
    reason String,
    message String
)
ENGINE = Null;

CREATE MATERIALIZED VIEW IF NOT EXISTS meter_stats_5min_view TO meter_stats_5min AS
SELECT
    meter_id,
    building_id,
    window_start,
    window_end,
    event_count,
    power_sum_mw,
    power_sum_sq_mw2,
    power_min_mw,
    power_max_mw,
    voltage_sum_mv,
    voltage_sum_sq_mv2,
    voltage_min_mv,
    voltage_max_mv,
    voltage_outside_count,
    failure_count,
    spike_count,
    low_consumption_count,
    voltage_anomaly_count,
    power_step_max_mw,
    voltage_step_max_mv,
    repeat_count,
    run_first_count,
    run_max_count,
    run_last_count,
    energy_mw_ms,
    first_timestamp,
    last_timestamp,
    first_power_mw,
    last_power_mw,
    first_voltage_mv,
    last_voltage_mv,
    first_sequence,
    last_sequence,
    content_version,
    topic,
    partition,
    offset,
    produced_at
FROM meter_stats_5min_messages
WHERE reason = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS meter_stats_5min_unreadable_view TO meter_stats_5min_unreadable AS
SELECT
    topic,
    partition,
    offset,
    produced_at,
    reason,
    message
FROM meter_stats_5min_messages
WHERE reason != '';

CREATE TABLE IF NOT EXISTS meter_stats_5min_queue
(
    meter_id Nullable(Int32),
    building_id Nullable(Int32),
    window_start Nullable(DateTime64(3, 'UTC')),
    window_end Nullable(DateTime64(3, 'UTC')),
    event_count Nullable(Int64),
    power_sum_mw Nullable(Int64),
    power_sum_sq_mw2 Nullable(Decimal(38, 0)),
    power_min_mw Nullable(Int64),
    power_max_mw Nullable(Int64),
    voltage_sum_mv Nullable(Int64),
    voltage_sum_sq_mv2 Nullable(Int64),
    voltage_min_mv Nullable(Int64),
    voltage_max_mv Nullable(Int64),
    voltage_outside_count Nullable(Int64),
    failure_count Nullable(Int64),
    spike_count Nullable(Int64),
    low_consumption_count Nullable(Int64),
    voltage_anomaly_count Nullable(Int64),
    power_step_max_mw Nullable(Int64),
    voltage_step_max_mv Nullable(Int64),
    repeat_count Nullable(Int64),
    run_first_count Nullable(Int64),
    run_max_count Nullable(Int64),
    run_last_count Nullable(Int64),
    energy_mw_ms Nullable(Int64),
    first_timestamp Nullable(DateTime64(3, 'UTC')),
    last_timestamp Nullable(DateTime64(3, 'UTC')),
    first_power_mw Nullable(Int64),
    last_power_mw Nullable(Int64),
    first_voltage_mv Nullable(Int64),
    last_voltage_mv Nullable(Int64),
    first_sequence Nullable(Int64),
    last_sequence Nullable(Int64),
    content_version Nullable(Decimal(38, 0))
)
ENGINE = Kafka
SETTINGS
    kafka_broker_list = 'kafka:9092',
    kafka_topic_list = 'meter_stats_5min',
    kafka_group_name = 'clickhouse-meter_stats_5min',
    kafka_format = 'AvroConfluent',
    format_avro_schema_registry_url = 'http://schema-registry:8081',
    input_format_avro_allow_missing_fields = 1,
    kafka_handle_error_mode = 'stream',
    kafka_num_consumers = 1,
    kafka_thread_per_consumer = 1,
    kafka_flush_interval_ms = 500,
    kafka_poll_timeout_ms = 100,
    kafka_max_block_size = 65536;

CREATE MATERIALIZED VIEW IF NOT EXISTS meter_stats_5min_intake TO meter_stats_5min_messages AS
WITH multiIf(meter_id IS NULL, 'meter_id', building_id IS NULL, 'building_id', window_start IS NULL, 'window_start', window_end IS NULL, 'window_end', event_count IS NULL, 'event_count', power_sum_mw IS NULL, 'power_sum_mw', power_sum_sq_mw2 IS NULL, 'power_sum_sq_mw2', power_min_mw IS NULL, 'power_min_mw', power_max_mw IS NULL, 'power_max_mw', voltage_sum_mv IS NULL, 'voltage_sum_mv', voltage_sum_sq_mv2 IS NULL, 'voltage_sum_sq_mv2', voltage_min_mv IS NULL, 'voltage_min_mv', voltage_max_mv IS NULL, 'voltage_max_mv', voltage_outside_count IS NULL, 'voltage_outside_count', failure_count IS NULL, 'failure_count', spike_count IS NULL, 'spike_count', low_consumption_count IS NULL, 'low_consumption_count', voltage_anomaly_count IS NULL, 'voltage_anomaly_count', power_step_max_mw IS NULL, 'power_step_max_mw', voltage_step_max_mv IS NULL, 'voltage_step_max_mv', repeat_count IS NULL, 'repeat_count', run_first_count IS NULL, 'run_first_count', run_max_count IS NULL, 'run_max_count', run_last_count IS NULL, 'run_last_count', energy_mw_ms IS NULL, 'energy_mw_ms', first_timestamp IS NULL, 'first_timestamp', last_timestamp IS NULL, 'last_timestamp', first_power_mw IS NULL, 'first_power_mw', last_power_mw IS NULL, 'last_power_mw', first_voltage_mv IS NULL, 'first_voltage_mv', last_voltage_mv IS NULL, 'last_voltage_mv', '') AS missing
SELECT
    meter_id,
    building_id,
    window_start,
    window_end,
    event_count,
    power_sum_mw,
    power_sum_sq_mw2,
    power_min_mw,
    power_max_mw,
    voltage_sum_mv,
    voltage_sum_sq_mv2,
    voltage_min_mv,
    voltage_max_mv,
    voltage_outside_count,
    failure_count,
    spike_count,
    low_consumption_count,
    voltage_anomaly_count,
    power_step_max_mw,
    voltage_step_max_mv,
    repeat_count,
    run_first_count,
    run_max_count,
    run_last_count,
    energy_mw_ms,
    first_timestamp,
    last_timestamp,
    first_power_mw,
    last_power_mw,
    first_voltage_mv,
    last_voltage_mv,
    first_sequence,
    last_sequence,
    content_version,
    _topic AS topic,
    _partition AS partition,
    _offset AS offset,
    ifNull(_timestamp_ms, now64(3, 'UTC')) AS produced_at,
    multiIf(length(_error) > 0, _error, missing != '', concat('no field ', missing, ': the message has the schema of something else'), NOT (meter_id >= 0), 'meter_id is out of contract: it must be at least 0', NOT (building_id >= 0), 'building_id is out of contract: it must be at least 0', NOT (event_count >= 1), 'event_count is out of contract: it must be at least 1', NOT (voltage_outside_count >= 0), 'voltage_outside_count is out of contract: it must be at least 0', NOT (failure_count >= 0), 'failure_count is out of contract: it must be at least 0', NOT (spike_count >= 0), 'spike_count is out of contract: it must be at least 0', NOT (low_consumption_count >= 0), 'low_consumption_count is out of contract: it must be at least 0', NOT (voltage_anomaly_count >= 0), 'voltage_anomaly_count is out of contract: it must be at least 0', NOT (power_step_max_mw >= 0), 'power_step_max_mw is out of contract: it must be at least 0', NOT (voltage_step_max_mv >= 0), 'voltage_step_max_mv is out of contract: it must be at least 0', NOT (repeat_count >= 0), 'repeat_count is out of contract: it must be at least 0', NOT (run_first_count >= 0), 'run_first_count is out of contract: it must be at least 0', NOT (run_max_count >= 0), 'run_max_count is out of contract: it must be at least 0', NOT (run_last_count >= 0), 'run_last_count is out of contract: it must be at least 0', NOT (content_version >= 0), 'content_version is out of contract: it must be at least 0', '') AS reason,
    _raw_message AS message
FROM meter_stats_5min_queue
WHERE throwIf(match(_error, 'while fetching schema id = [0-9]+$') AND (NOT match(_error, '"error_code" *: *40403')), 'schema registry does not answer; reading waits for it') = 0;
