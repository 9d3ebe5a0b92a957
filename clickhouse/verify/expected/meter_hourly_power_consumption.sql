-- meter_hourly_power_consumption recomputed from the readings, each of which counts once (raw_data_latest).
-- A reading holds until the meter's next one, at most hold_max_s: what of that lies before the end of its hour counts
-- there, the rest in the next hour, and what came in the last 5 min (hold_max_s) has a second piece there, if an empty
-- one: content_version counts it in both. An hour without a reading of its own has no row.
SELECT
    meter_id,
    argMaxIf(building_id, timestamp, own) AS building_id,
    toDateTime64(hour, 3, 'UTC') AS window_start,
    window_start + INTERVAL 1 HOUR AS window_end,
    countIf(own) AS event_count,
    sumIf(power_mw, own) / (countIf(own) * 1e6) AS power_avg_kw,
    minIf(power_mw, own) / 1e6 AS power_min_kw,
    maxIf(power_mw, own) / 1e6 AS power_max_kw,
    sumIf(power_mw, own) / 1e6 AS readings_sum_kw,
    sum(power_mw * share_ms) / 3.6e12 AS energy_kwh,
    sum(share_ms) / 1e3 AS covered_s,
    sum(rank) AS content_version
FROM
(
    SELECT
        *,
        next_ms = 0 ? hold_end_ms : least(next_ms, hold_end_ms) AS until_ms,
        arrayJoin(at_ms >= hour_end_ms - 300000 ? [(1, at_ms, least(hour_end_ms, until_ms)), (0, hour_end_ms, greatest(hour_end_ms, until_ms))] : [(1, at_ms, until_ms)]) AS piece,
        piece.1 AS own,
        piece.3 - piece.2 AS share_ms,
        toStartOfInterval(timestamp, INTERVAL 1 HOUR) + toIntervalHour(own ? 0 : 1) AS hour
    FROM
    (
        SELECT
            *,
            toDecimal128(toUnixTimestamp64Milli(produced_at), 0) * 4503599627370496 + toDecimal128(partition, 0) * 1099511627776 + offset AS rank,
            toInt64(floor(power_kw * 1e6 + 0.5)) AS power_mw,
            toUnixTimestamp64Milli(timestamp) AS at_ms,
            at_ms + toInt64({hold_max_s:Float64} * 1000) AS hold_end_ms,
            (intDiv(at_ms, 3600000) + 1) * 3600000 AS hour_end_ms,
            leadInFrame(at_ms, 1, 0) OVER (
                PARTITION BY meter_id ORDER BY timestamp ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
            ) AS next_ms
        FROM raw_data_latest
    )
)
GROUP BY meter_id, hour
HAVING event_count > 0
