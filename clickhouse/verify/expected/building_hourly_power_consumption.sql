-- building_hourly_power_consumption recomputed from the readings, each of which counts once (raw_data_latest).
-- For each 5 min a meter is in the building of its last reading there, and its readings in one building are a series of
-- their own. A reading holds until the next one of its series, at most hold_max_s: what of that lies before the end of
-- its hour counts there, the rest in the next hour, if the series has a reading in it. What came in the last 5 min
-- (hold_max_s) has a second piece there, if an empty one: content_version counts it in both hours.
-- Integers beyond 2^53 become double as high * 2^52 + low, which is rounded once; the engine's own conversion rounds twice.
WITH
    sumIf(energy, readings > 0) AS total
SELECT
    building_id,
    toDateTime64(hour, 3, 'UTC') AS window_start,
    window_start + INTERVAL 1 HOUR AS window_end,
    sum(readings) AS event_count,
    uniqExactIf(meter_id, readings > 0) AS meter_count,
    sum(powers) / (event_count * 1e6) AS power_avg_kw,
    minIf(least_power, readings > 0) / 1e6 AS power_min_kw,
    maxIf(greatest_power, readings > 0) / 1e6 AS power_max_kw,
    sum(powers) / 1e6 AS readings_sum_kw,
    (toInt64(intDiv(total, 4503599627370496)) * 4503599627370496. + toInt64(total % 4503599627370496)) / 3.6e12 AS energy_kwh,
    sumIf(covered_ms, readings > 0) / 1e3 AS covered_s,
    sum(ranks) AS content_version
FROM
(
    SELECT
        meter_id,
        building AS building_id,
        hour,
        countIf(own) AS readings,
        sumIf(power_mw, own) AS powers,
        minIf(power_mw, own) AS least_power,
        maxIf(power_mw, own) AS greatest_power,
        toInt128(sum(power_mw * share_ms)) AS energy,
        sum(share_ms) AS covered_ms,
        sum(rank) AS ranks
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
                    PARTITION BY meter_id, building ORDER BY timestamp
                    ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
                ) AS next_ms
            FROM
            (
                SELECT
                    *,
                    last_value(building_id) OVER (
                        PARTITION BY meter_id, toStartOfInterval(timestamp, INTERVAL 5 MINUTE) ORDER BY timestamp
                        ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
                    ) AS building
                FROM raw_data_latest
            )
        )
    )
    GROUP BY meter_id, building, hour
)
GROUP BY building_id, hour
HAVING event_count > 0
