-- meter_hourly_voltage_monitoring recomputed from the readings, each of which counts once (raw_data_latest).
-- Integers beyond 2^53 become double as high * 2^52 + low, which is rounded once; the engine's own conversion rounds twice.
WITH
    toInt128(sum(voltage_mv * voltage_mv)) * count() - toInt128(sum(voltage_mv)) * sum(voltage_mv) AS difference,
    countIf(voltage_mv < {voltage_lower_v:Float64} * 1000 OR voltage_mv > {voltage_upper_v:Float64} * 1000) AS outside
SELECT
    meter_id,
    argMax(building_id, timestamp) AS building_id,
    window_start,
    window_start + INTERVAL 1 HOUR AS window_end,
    count() AS event_count,
    sum(voltage_mv) / (count() * 1e3) AS voltage_avg_v,
    min(voltage_mv) / 1e3 AS voltage_min_v,
    max(voltage_mv) / 1e3 AS voltage_max_v,
    sqrt(toInt64(bitShiftRight(difference, 52)) * 4503599627370496. + toInt64(difference % 4503599627370496)) / (count() * 1e3) AS voltage_std_v,
    outside AS voltage_outside_count,
    outside / count() AS voltage_outside_share
FROM
(
    SELECT
        *,
        toInt64(floor(voltage_v * 1e3 + 0.5)) AS voltage_mv,
        toStartOfInterval(timestamp, INTERVAL 1 HOUR) AS window_start
    FROM raw_data_latest
)
GROUP BY meter_id, window_start
