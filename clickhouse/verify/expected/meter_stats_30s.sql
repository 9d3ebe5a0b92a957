-- meter_stats_30s recomputed from the readings, each of which counts once (raw_data_latest).
-- Arrays of a window's readings in order of time, not a fold: no code or method is shared with the stream.
WITH
    arraySort(groupArray((timestamp, power_mw, voltage_mv, status, building_id, sequence))) AS readings,
    arrayMap(r -> toInt64(toUnixTimestamp64Milli(r.1)), readings) AS times_ms,
    arrayMap(r -> r.2, readings) AS powers,
    arrayMap(r -> r.3, readings) AS voltages,
    arrayMap(r -> r.6, arrayFilter(r -> r.6 IS NOT NULL, readings)) AS sequences,
    arrayMap(i -> i > 1 AND powers[i] = powers[i - 1] AND voltages[i] = voltages[i - 1], arrayEnumerate(powers)) AS same,
    arrayMap(run -> length(run), arraySplit((power, is_same) -> NOT is_same, powers, same)) AS runs
SELECT
    meter_id,
    readings[-1].5 AS building_id,
    window_start,
    window_start + INTERVAL 30 SECOND AS window_end,
    count() AS event_count,
    sum(power_mw) AS power_sum_mw,
    sum(toInt128(power_mw) * power_mw) AS power_sum_sq_mw2,
    min(power_mw) AS power_min_mw,
    max(power_mw) AS power_max_mw,
    sum(voltage_mv) AS voltage_sum_mv,
    sum(voltage_mv * voltage_mv) AS voltage_sum_sq_mv2,
    min(voltage_mv) AS voltage_min_mv,
    max(voltage_mv) AS voltage_max_mv,
    countIf(voltage_mv < {voltage_lower_v:Float64} * 1000 OR voltage_mv > {voltage_upper_v:Float64} * 1000) AS voltage_outside_count,
    countIf(bitTest(status, 0)) AS failure_count,
    countIf(bitTest(status, 1)) AS spike_count,
    countIf(bitTest(status, 2)) AS low_consumption_count,
    countIf(bitTest(status, 3)) AS voltage_anomaly_count,
    arrayMax(arrayMap(step -> abs(step), arrayPopFront(arrayDifference(arrayConcat([powers[1]], powers))))) AS power_step_max_mw,
    arrayMax(arrayMap(step -> abs(step), arrayPopFront(arrayDifference(arrayConcat([voltages[1]], voltages))))) AS voltage_step_max_mv,
    arrayCount(same) AS repeat_count,
    runs[1] AS run_first_count,
    arrayMax(runs) AS run_max_count,
    runs[-1] AS run_last_count,
    arraySum(arrayMap(i -> powers[i] * (times_ms[i + 1] - times_ms[i]), range(1, length(powers)))) AS energy_mw_ms,
    readings[1].1 AS first_timestamp,
    readings[-1].1 AS last_timestamp,
    powers[1] AS first_power_mw,
    powers[-1] AS last_power_mw,
    voltages[1] AS first_voltage_mv,
    voltages[-1] AS last_voltage_mv,
    if(empty(sequences), NULL, sequences[1]) AS first_sequence,
    if(empty(sequences), NULL, sequences[-1]) AS last_sequence
FROM
(
    SELECT
        *,
        toInt64(floor(power_kw * 1e6 + 0.5)) AS power_mw,
        toInt64(floor(voltage_v * 1e3 + 0.5)) AS voltage_mv,
        toStartOfInterval(timestamp, INTERVAL 30 SECOND) AS window_start
    FROM raw_data_latest
)
GROUP BY meter_id, window_start
