-- anomaly_prediction_features recomputed from the readings, each of which counts once (raw_data_latest).
-- Neighbours by array functions over a window's readings in order of time.
-- Integers beyond 2^53 become double as high * 2^52 + low, which is rounded once; the engine's own conversion rounds twice.
WITH
    event_count * power_squares - toInt128(power_sum) * power_sum AS power_difference,
    event_count * voltage_squares - toInt128(voltage_sum) * voltage_sum AS voltage_difference
SELECT
    meter_id,
    readings[-1].5 AS building_id,
    window_start,
    window_start + INTERVAL 5 MINUTE AS window_end,
    event_count,
    power_sum / (event_count * 1e6) AS power_avg_kw,
    sqrt(toInt64(bitShiftRight(power_difference, 52)) * 4503599627370496. + toInt64(power_difference % 4503599627370496)) / (event_count * 1e6) AS power_std_kw,
    power_min / 1e6 AS power_min_kw,
    power_max / 1e6 AS power_max_kw,
    voltage_sum / (event_count * 1e3) AS voltage_avg_v,
    sqrt(toInt64(bitShiftRight(voltage_difference, 52)) * 4503599627370496. + toInt64(voltage_difference % 4503599627370496)) / (event_count * 1e3) AS voltage_std_v,
    voltage_min / 1e3 AS voltage_min_v,
    voltage_max / 1e3 AS voltage_max_v,
    arrayMax(step -> abs(step), arrayDifference(powers)) / 1e6 AS power_step_max_kw,
    arrayMax(step -> abs(step), arrayDifference(voltages)) / 1e3 AS voltage_step_max_v,
    arraySum(same) AS repeat_count,
    arrayMax(run -> length(run), arraySplit((power, is_same) -> NOT is_same, powers, same)) AS run_max_count,
    if(empty(sequences), NULL, greatest(0, greatest(0, sequences[-1] - sequences[1]) - (event_count - 1))) AS gap_count,
    failure_count,
    spike_count,
    low_consumption_count,
    voltage_anomaly_count,
    content_version
FROM
(
    SELECT
        *,
        arrayMap(
            (i, power, voltage) -> i > 1 AND power = powers[i - 1] AND voltage = voltages[i - 1],
            arrayEnumerate(powers), powers, voltages
        ) AS same
    FROM
    (
        SELECT
            meter_id,
            window_start,
            toInt64(count()) AS event_count,
            sum(toDecimal128(toUnixTimestamp64Milli(produced_at), 0) * 4503599627370496 + toDecimal128(partition, 0) * 1099511627776 + offset) AS content_version,
            sum(power_mw) AS power_sum,
            sum(toInt128(power_mw) * power_mw) AS power_squares,
            min(power_mw) AS power_min,
            max(power_mw) AS power_max,
            sum(voltage_mv) AS voltage_sum,
            sum(toInt128(voltage_mv * voltage_mv)) AS voltage_squares,
            min(voltage_mv) AS voltage_min,
            max(voltage_mv) AS voltage_max,
            countIf(bitTest(status, 0)) AS failure_count,
            countIf(bitTest(status, 1)) AS spike_count,
            countIf(bitTest(status, 2)) AS low_consumption_count,
            countIf(bitTest(status, 3)) AS voltage_anomaly_count,
            arraySort(groupArray((timestamp, power_mw, voltage_mv, sequence, building_id))) AS readings,
            arrayMap(r -> r.2, readings) AS powers,
            arrayMap(r -> r.3, readings) AS voltages,
            arrayFilter(s -> s IS NOT NULL, arrayMap(r -> r.4, readings)) AS sequences
        FROM
        (
            SELECT
                *,
                toInt64(floor(power_kw * 1e6 + 0.5)) AS power_mw,
                toInt64(floor(voltage_v * 1e3 + 0.5)) AS voltage_mv,
                toStartOfInterval(timestamp, INTERVAL 5 MINUTE) AS window_start
            FROM raw_data_latest
        )
        GROUP BY meter_id, window_start
    )
)
