-- anomaly_count_hourly_per_building recomputed from the readings, each of which counts once (raw_data_latest).
-- For each 5 min a meter is in the building of its last reading there. The last 5 min before the hour count in its
-- content_version alone: what the building's other datasets say of the hour depends on them.
SELECT
    building_id,
    toDateTime64(hour, 3, 'UTC') AS window_start,
    window_start + INTERVAL 1 HOUR AS window_end,
    sumIf(readings, own) AS event_count,
    uniqExactIf(meter_id, own) AS meter_count,
    sumIf(failures, own) AS failure_count,
    sumIf(spikes, own) AS spike_count,
    sumIf(low_consumptions, own) AS low_consumption_count,
    sumIf(voltage_anomalies, own) AS voltage_anomaly_count,
    sum(ranks) AS content_version
FROM
(
    SELECT
        meter_id,
        toStartOfInterval(timestamp, INTERVAL 5 MINUTE) AS part_start,
        argMax(raw_data_latest.building_id, timestamp) AS building_id,
        arrayJoin(toMinute(part_start) = 55 ? [1, 0] : [1]) AS own,
        toStartOfInterval(part_start, INTERVAL 1 HOUR) + toIntervalHour(own ? 0 : 1) AS hour,
        sum(toDecimal128(toUnixTimestamp64Milli(produced_at), 0) * 4503599627370496 + toDecimal128(partition, 0) * 1099511627776 + offset) AS ranks,
        count() AS readings,
        countIf(bitTest(status, 0)) AS failures,
        countIf(bitTest(status, 1)) AS spikes,
        countIf(bitTest(status, 2)) AS low_consumptions,
        countIf(bitTest(status, 3)) AS voltage_anomalies
    FROM raw_data_latest
    GROUP BY meter_id, part_start
)
GROUP BY building_id, hour
HAVING event_count > 0
