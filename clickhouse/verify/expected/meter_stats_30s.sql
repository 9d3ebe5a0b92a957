-- meter_stats_30s recomputed from the readings, each of which counts once (raw_data_latest).
-- Arrays of a window's readings in order of time, not a fold: no code or method is shared with the stream.
SELECT
    meter_id,
    readings[-1].5 AS building_id,
    window_start,
    window_start + INTERVAL 30 SECOND AS window_end,
    length(readings) AS event_count,
    power_sum_mw,
    power_sum_sq_mw2,
    arrayMin(powers) AS power_min_mw,
    arrayMax(powers) AS power_max_mw,
    arraySum(voltages) AS voltage_sum_mv,
    arraySum(v -> v * v, voltages) AS voltage_sum_sq_mv2,
    arrayMin(voltages) AS voltage_min_mv,
    arrayMax(voltages) AS voltage_max_mv,
    arrayCount(v -> v < {voltage_lower_v:Float64} * 1000 OR v > {voltage_upper_v:Float64} * 1000, voltages) AS voltage_outside_count,
    arrayCount(s -> bitTest(s, 0), statuses) AS failure_count,
    arrayCount(s -> bitTest(s, 1), statuses) AS spike_count,
    arrayCount(s -> bitTest(s, 2), statuses) AS low_consumption_count,
    arrayCount(s -> bitTest(s, 3), statuses) AS voltage_anomaly_count,
    arrayMax(arrayMap(step -> abs(step), arrayDifference(powers))) AS power_step_max_mw,
    arrayMax(arrayMap(step -> abs(step), arrayDifference(voltages))) AS voltage_step_max_mv,
    arrayCount(same) AS repeat_count,
    runs[1] AS run_first_count,
    arrayMax(runs) AS run_max_count,
    runs[-1] AS run_last_count,
    arraySum(arrayMap((power, held_ms) -> power * held_ms, arrayPopBack(powers), arrayPopFront(steps_ms))) AS energy_mw_ms,
    readings[1].1 AS first_timestamp,
    readings[-1].1 AS last_timestamp,
    powers[1] AS first_power_mw,
    powers[-1] AS last_power_mw,
    voltages[1] AS first_voltage_mv,
    voltages[-1] AS last_voltage_mv,
    if(empty(sequences), NULL, sequences[1]) AS first_sequence,
    if(empty(sequences), NULL, sequences[-1]) AS last_sequence,
    content_version
FROM
(
    SELECT
        *,
        arrayMap(run -> length(run), arraySplit((power, is_same) -> NOT is_same, powers, same)) AS runs
    FROM
    (
        SELECT
            *,
            arrayDifference(arrayMap(r -> toInt64(toUnixTimestamp64Milli(r.1)), readings)) AS steps_ms,
            arrayMap(r -> r.4, readings) AS statuses,
            arrayMap(
                (i, power, voltage) -> i > 1 AND power = powers[i - 1] AND voltage = voltages[i - 1],
                arrayEnumerate(powers), powers, voltages
            ) AS same,
            arrayFilter(s -> s IS NOT NULL, arrayMap(r -> r.6, readings)) AS sequences
        FROM
        (
            SELECT
                meter_id,
                window_start,
                sum(power_mw) AS power_sum_mw,
                sum(toDecimal128(toUnixTimestamp64Milli(produced_at), 0) * 4503599627370496 + toDecimal128(partition, 0) * 1099511627776 + offset) AS content_version,
                sum(toDecimal128(power_mw, 0) * power_mw) AS power_sum_sq_mw2,
                arraySort(groupArray((timestamp, power_mw, voltage_mv, status, building_id, sequence))) AS readings,
                arrayMap(r -> r.2, readings) AS powers,
                arrayMap(r -> r.3, readings) AS voltages
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
        )
    )
)
