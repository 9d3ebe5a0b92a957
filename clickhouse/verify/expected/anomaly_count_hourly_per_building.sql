-- anomaly_count_hourly_per_building recomputed from the readings, each of which counts once (raw_data_latest).
-- For each 5 min a meter is in the building of its last reading there.
SELECT
    building_id,
    toStartOfInterval(part_start, INTERVAL 1 HOUR) AS window_start,
    window_start + INTERVAL 1 HOUR AS window_end,
    sum(readings) AS event_count,
    uniqExact(meter_id) AS meter_count,
    sum(failures) AS failure_count,
    sum(spikes) AS spike_count,
    sum(low_consumptions) AS low_consumption_count,
    sum(voltage_anomalies) AS voltage_anomaly_count
FROM
(
    SELECT
        meter_id,
        toStartOfInterval(timestamp, INTERVAL 5 MINUTE) AS part_start,
        argMax(raw_data_latest.building_id, timestamp) AS building_id,
        count() AS readings,
        countIf(bitTest(status, 0)) AS failures,
        countIf(bitTest(status, 1)) AS spikes,
        countIf(bitTest(status, 2)) AS low_consumptions,
        countIf(bitTest(status, 3)) AS voltage_anomalies
    FROM raw_data_latest
    GROUP BY meter_id, part_start
)
GROUP BY building_id, window_start
