-- meter_hourly_voltage_monitoring recomputed from the readings, each of which counts once (raw_data_latest).
-- The last 5 min before the hour count in its content_version alone: the hour's energy depends on them.
-- Integers beyond 2^53 become double as high * 2^52 + low, which is rounded once; the engine's own conversion rounds twice.
WITH
    toInt128(sumIf(voltage_mv * voltage_mv, own)) * event_count - toInt128(sumIf(voltage_mv, own)) * sumIf(voltage_mv, own) AS difference,
    countIf(own AND (voltage_mv < {voltage_lower_v:Float64} * 1000 OR voltage_mv > {voltage_upper_v:Float64} * 1000)) AS outside
SELECT
    meter_id,
    argMaxIf(building_id, timestamp, own) AS building_id,
    toDateTime64(hour, 3, 'UTC') AS window_start,
    window_start + INTERVAL 1 HOUR AS window_end,
    countIf(own) AS event_count,
    sumIf(voltage_mv, own) / (event_count * 1e3) AS voltage_avg_v,
    minIf(voltage_mv, own) / 1e3 AS voltage_min_v,
    maxIf(voltage_mv, own) / 1e3 AS voltage_max_v,
    sqrt(toInt64(bitShiftRight(difference, 52)) * 4503599627370496. + toInt64(difference % 4503599627370496)) / (event_count * 1e3) AS voltage_std_v,
    outside AS voltage_outside_count,
    outside / event_count AS voltage_outside_share,
    sum(rank) AS content_version
FROM
(
    SELECT
        *,
        toDecimal128(toUnixTimestamp64Milli(produced_at), 0) * 4503599627370496 + toDecimal128(partition, 0) * 1099511627776 + offset AS rank,
        toInt64(floor(voltage_v * 1e3 + 0.5)) AS voltage_mv,
        arrayJoin(toMinute(timestamp) >= 55 ? [1, 0] : [1]) AS own,
        toStartOfInterval(timestamp, INTERVAL 1 HOUR) + toIntervalHour(own ? 0 : 1) AS hour
    FROM raw_data_latest
)
GROUP BY meter_id, hour
HAVING event_count > 0
