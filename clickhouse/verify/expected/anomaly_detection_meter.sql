-- anomaly_detection_meter recomputed from the readings, each of which counts once (raw_data_latest).
WITH
    uniqExact(power_mw, voltage_mv) = 1 AND count() >= {failure_min_readings:Float64} AS stuck
SELECT
    meter_id,
    argMax(building_id, timestamp) AS building_id,
    window_start,
    window_start + INTERVAL 30 SECOND AS window_end,
    count() AS event_count,
    sum(power_mw) / (count() * 1e6) AS power_avg_kw,
    min(power_mw) / 1e6 AS power_min_kw,
    max(power_mw) / 1e6 AS power_max_kw,
    sum(voltage_mv) / (count() * 1e3) AS voltage_avg_v,
    min(voltage_mv) / 1e3 AS voltage_min_v,
    max(voltage_mv) / 1e3 AS voltage_max_v,
    max(power_mw) >= {spike_power_kw:Float64} * 1e6 AS spike,
    max(abs(power_mw)) <= {low_power_kw:Float64} * 1e6 AND NOT stuck AS low_consumption,
    min(voltage_mv) < {voltage_lower_v:Float64} * 1e3 OR max(voltage_mv) > {voltage_upper_v:Float64} * 1e3 AS voltage_anomaly,
    stuck AS failure,
    sum(rank) AS content_version
FROM
(
    SELECT
        *,
        toDecimal128(toUnixTimestamp64Milli(produced_at), 0) * 4503599627370496 + toDecimal128(partition, 0) * 1099511627776 + offset AS rank,
        toInt64(floor(power_kw * 1e6 + 0.5)) AS power_mw,
        toInt64(floor(voltage_v * 1e3 + 0.5)) AS voltage_mv,
        toStartOfInterval(timestamp, INTERVAL 30 SECOND) AS window_start
    FROM raw_data_latest
)
GROUP BY meter_id, window_start
