"""Worlds of any size in ClickHouse's tables, made by the engine itself: what dashboards look like, and what they cost.

Every value follows from a meter's number and the time, so a world is the same on each run. A few meters fall silent,
some have a voltage fault, and anomalies come in episodes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

PER_BUILDING = 10
CHUNK_ROWS = 6_000_000
METERS_WITH_DETECTIONS = 500
"""Half minutes are kept of so many meters only: a dashboard reads chosen ones."""
Run = Callable[[str], object]

POSITION = "'made' AS topic, 0 AS partition, toInt64(number) AS offset, window_end AS produced_at"
# A household by the hour, each with a scale and a phase of its own; kW.
SCALE = "(0.25 + (cityHash64(meter_id) % 1000) / 800)"
PROFILE = (
    "(0.55 + 0.45 * sin((toHour(window_start) + toMinute(window_start) / 60 - 11 + meter_id % 5) * 3.14159 / 12)"
    " + 0.12 * sin(toUnixTimestamp(window_start) / 700 + meter_id))"
)
NOISE = "((cityHash64(meter_id, window_start) % 1000) / 1000 - 0.5)"
EPISODE = "cityHash64(meter_id, intDiv(toUnixTimestamp(window_start), 1800))"
"""The same for half an hour of a meter; of each thousand, the lowest are anomalous."""
KIND_OF_EPISODE = (
    f"multiIf({EPISODE} % 150 = 0, 4, {EPISODE} % 150 = 1, 3, {EPISODE} % 150 < 4, 2, {EPISODE} % 150 < 6, 1, 0)"
)
LIFE = f"greatest(0.03, {SCALE} * {PROFILE} + 0.1 * {NOISE} * {SCALE})"
POWER = f"multiIf(kind = 4, 0.42, kind = 2, 5.6, kind = 1, 0.01, {LIFE})"
VOLTAGE = f"if(kind = 3, 204., 231. - power / 2 + 2 * sin(toUnixTimestamp(window_start) / 9000) + {NOISE})"


@dataclass(frozen=True)
class Scale:
    """So many meters for so long until `end`; each `silent_every`-th meter has sent nothing in the last hour."""

    meters: int
    span: timedelta
    end: datetime
    silent_every: int = 997

    def count(self, step_s: int) -> int:
        """Windows of a meter; the one that is still open, too."""
        return int(self.end.timestamp() - 1) // step_s - int(self.start.timestamp()) // step_s + 1

    @property
    def start(self) -> datetime:
        return self.end - self.span


def fill(run: Run, scale: Scale) -> None:
    """Rows in every table that a dashboard reads."""
    minutes(run, scale)
    half_minutes(run, scale)
    five_minutes(run, scale)
    hours(run, scale)
    readings(run, scale)
    figures(run, scale)


def minutes(run: Run, scale: Scale, meters: int | None = None, ids: Sequence[int] = ()) -> None:
    """Minutes of the first `meters`, or of those with these ids."""
    _table(run, scale, "meter_minute_trend", 60, {
        "power_avg_kw": "power", "power_min_kw": "power * 0.9", "power_max_kw": "power * 1.2",
        "voltage_avg_v": "voltage", "voltage_min_v": "voltage - 0.8", "voltage_max_v": "voltage + 0.9",
    }, meters, ids)  # fmt: skip


def half_minutes(run: Run, scale: Scale, ids: Sequence[int] = ()) -> None:
    """What the thresholds find, of the first meters or of those with these ids."""
    _table(run, scale, "anomaly_detection_meter", 30, {
        "power_avg_kw": "power", "power_min_kw": "power", "power_max_kw": "power", "voltage_avg_v": "voltage",
        "voltage_min_v": "voltage", "voltage_max_v": "voltage", "spike": "kind = 2", "low_consumption": "kind = 1",
        "voltage_anomaly": "kind = 3", "failure": "kind = 4",
    }, METERS_WITH_DETECTIONS, ids)  # fmt: skip


def five_minutes(run: Run, scale: Scale, meters: int | None = None) -> None:
    """Features and predictions of the first `meters`."""
    zero = ("power_std_kw", "power_step_max_kw", "voltage_std_v", "voltage_step_max_v", "repeat_count", "run_max_count")
    _table(run, scale, "anomaly_prediction_features", 300, {
        "power_avg_kw": "power", "power_min_kw": "power", "power_max_kw": "power", "voltage_avg_v": "voltage",
        "voltage_min_v": "voltage", "voltage_max_v": "voltage", **dict.fromkeys(zero, "0"), "gap_count": "0",
        "failure_count": "if(kind = 4, 60, 0)", "spike_count": "if(kind = 2, 60, 0)",
        "low_consumption_count": "if(kind = 1, 60, 0)", "voltage_anomaly_count": "if(kind = 3, 60, 0)",
    }, meters)  # fmt: skip
    chance = "(cityHash64(meter_id, window_start, 'p') % 10000) / 10000"
    kinds = "['spike', 'low_consumption', 'spike', 'voltage', 'failure']"
    probability = f"if(kind > 0, 0.35 + 0.65 * {chance}, pow({chance}, 60))"
    _table(run, scale, "anomaly_prediction_results", 300, {
        "probability": probability, "prediction": f"{probability} >= 0.5",
        "kind": f"if({probability} >= 0.5, {kinds}[kind + 1], NULL)",
        "threshold": "0.5", "model_name": "'spike_rf_model'", "model_version": "'2026-11-25.1'",
        "feature_partition": "0", "feature_offset": "0",
    }, meters)  # fmt: skip


def hours(run: Run, scale: Scale) -> None:
    """Hours of every meter and building."""
    power = {
        "power_avg_kw": "power", "power_min_kw": "power * 0.5", "power_max_kw": "power * 2",
        "readings_sum_kw": "power * 720", "energy_kwh": "power",
        "covered_s": "3600 - cityHash64(meter_id, window_start) % 30",
    }  # fmt: skip
    _table(run, scale, "meter_hourly_power_consumption", 3600, power)
    _table(run, scale, "meter_hourly_voltage_monitoring", 3600, {
        "voltage_avg_v": "voltage", "voltage_min_v": "voltage - 2", "voltage_max_v": "voltage + 2",
            "voltage_std_v": "0.9",
        "voltage_outside_count": "if(kind = 3, 36, 0)", "voltage_outside_share": "if(kind = 3, 0.05, 0)",
    })  # fmt: skip
    sums = ", ".join(f"sum({name})" for name in ("energy_kwh", "energy_kwh * 720", "covered_s"))
    position = "'made', 0, toInt64(0), max(window_end)"
    run(
        f"""INSERT INTO building_hourly_power_consumption (building_id, window_start, window_end, event_count,
    meter_count, power_avg_kw, power_min_kw, power_max_kw, energy_kwh, readings_sum_kw, covered_s, topic, partition,
    offset, produced_at)
SELECT building_id, window_start, max(window_end), sum(event_count), count(), avg(power_avg_kw), min(power_min_kw),
    max(power_max_kw), {sums}, {position}
FROM meter_hourly_power_consumption GROUP BY building_id, window_start"""
    )
    # An hour has two episodes of half an hour, 360 readings each.
    later = EPISODE.replace("window_start", "(window_start + INTERVAL 30 MINUTE)")
    counted = {"failure": "= 0", "spike": "IN (2, 3)", "low consumption": "IN (4, 5)", "voltage": "= 1"}
    kinds = ", ".join(f"360 * (sum({EPISODE} % 150 {n}) + sum({later} % 150 {n}))" for n in counted.values())
    run(
        f"""INSERT INTO anomaly_count_hourly_per_building (building_id, window_start, window_end, event_count,
    meter_count, failure_count, spike_count, low_consumption_count, voltage_anomaly_count, topic, partition, offset,
    produced_at)
SELECT building_id, window_start, max(window_end), sum(event_count), count(), {kinds}, {position}
FROM meter_hourly_power_consumption GROUP BY building_id, window_start"""
    )


def readings(run: Run, scale: Scale) -> None:
    """Readings every 5 s of the last two hours of ten meters."""
    meters, count = min(10, scale.meters), min(scale.count(5), 1440)
    start = int(scale.end.timestamp()) - count * 5
    run(
        f"""INSERT INTO raw_data (meter_id, building_id, timestamp, power_kw, voltage_v, status, sequence,
    topic, partition, offset, produced_at)
SELECT meter_id, 1, window_start, power + {NOISE} * 0.02, voltage + {NOISE} * 0.5,
    [0, 4, 2, 8, 1][kind + 1], number % {count} + if(number % {count} > {count // 2}, 3, 0),
    'smart-meter-data', 0, toInt64(number), window_start
FROM (
    SELECT number, toInt32(intDiv(number, {count})) + 1 AS meter_id,
        toDateTime64({start} + (number % {count}) * 5, 3, 'UTC') AS window_start,
        {KIND_OF_EPISODE} AS kind, {POWER} AS power, {VOLTAGE} AS voltage
    FROM numbers({meters * count})
)"""
    )


GRAINS = ("meter_30s", "meter_1min", "meter_5min", "meter_1h", "building_1h")
TABLES = (
    *(
        "raw_data",
        "meter_minute_trend",
        "anomaly_detection_meter",
        "meter_hourly_power_consumption",
        "pipeline_metrics",
    ),
    *("anomaly_prediction_features", "anomaly_prediction_results", "building_hourly_power_consumption"),
)


def figures(run: Run, scale: Scale) -> None:
    """What the pipeline tells about itself: each figure every 15 s. A backfill at the beginning, then live."""
    rate, start = max(1, scale.meters // 5), int(scale.start.timestamp())
    backlog = f"greatest(0, {rate * 600} - toFloat64(at) * {rate * 20})"
    live = f"(cityHash64(intDiv(at, 12), part) % 100) * {rate} / 20 * (at % 12) / 12"
    topics = {name: "smart-meter-data" if name == "raw_data" else name for name in TABLES}
    consumers = [(f"clickhouse-{name}", topic) for name, topic in topics.items()]
    tables, stream = [("clickhouse", name) for name in TABLES], [("stream", grain) for grain in GRAINS]
    unreadable = "if(part = 'clickhouse-raw_data', 25, 0)"
    parts = [(part, "") for part in ("kafka", "registry", "clickhouse", "stream", "metrics", "predict")]
    ends = f"if(at < 20, at * {rate * 300}, {rate * 6000} + at * {rate * 15})"
    sizes = f"{scale.meters} * 900. * (1 + cityHash64(target) % 5 + (at % 240) / 240)"
    durations = "1.2 + (cityHash64(target) % 100) / 60 + (cityHash64(at, target) % 100) / 200"
    told: list[tuple[str, list[tuple[str, str]], str]] = [
        ("end_offset_messages", [("kafka", "smart-meter-data")], ends),
        (
            "lag_messages",
            consumers + [(f"stream-{grain}", "meter_stats_30s") for grain in GRAINS],
            f"{backlog} + {live}",
        ),
        ("newest_row_age_s", tables, "2. + cityHash64(target) % 40 + cityHash64(at, target) % 6"),
        ("batch_duration_s", stream, durations),
        ("state_bytes", stream, sizes),
        ("late_rows", stream, "if(cityHash64(at, target) % 700 = 0, 3, 0)"),
        ("unreadable_messages", [(f"clickhouse-{name}", "") for name in TABLES], unreadable),
        (
            "unreadable_by_reason_messages",
            [("clickhouse-raw_data", "Message with schema id … has no magic byte")],
            "25",
        ),
        ("schema_versions", [("registry", f"{name}-value") for name in TABLES], "if(target = 'raw_data-value', 2, 1)"),
        ("resident_bytes", parts, "300e6 + cityHash64(part) % 900000000"),
    ]
    count = scale.count(15)
    for metric, whom, value in told:
        pairs = ", ".join(f"('{part}', '{target}')" for part, target in whom)
        run(
            f"""INSERT INTO pipeline_metrics (metric, part, target, window_start, window_end, event_count, value_sum,
    value_min, value_max, value_last, topic, partition, offset, produced_at)
SELECT '{metric}', part, target, toDateTime64({start} + at * 15, 3, 'UTC') AS window_start,
    window_start + INTERVAL 15 SECOND AS window_end, 3, toFloat64({value}) AS value, value, value, value,
    'pipeline_metrics', 0, toInt64(number), window_end
FROM (
    SELECT number, number % {count} AS at, whom.1 AS part, whom.2 AS target
    FROM (SELECT number, [{pairs}][intDiv(number, {count}) + 1] AS whom FROM numbers({count * len(whom)}))
)"""
        )


def _table(
    run: Run,
    scale: Scale,
    table: str,
    step_s: int,
    columns: dict[str, str],
    meters: int | None = None,
    ids: Sequence[int] = (),
) -> None:
    """One row per meter and window, in the order of the key; beyond some meters the first ones again.

    `meters` bounds their number; with `ids` it is those alone.
    """
    count, meters = scale.count(step_s), min(scale.meters, meters or scale.meters)
    start = int(scale.start.timestamp()) // step_s * step_s
    first = len(ids) or min(meters, max(PER_BUILDING, CHUNK_ROWS // count // PER_BUILDING * PER_BUILDING))
    meter = f"{list(ids)}[intDiv(number, {count}) + 1]" if ids else f"intDiv(number, {count}) + 1"
    run(
        f"""INSERT INTO {table} (meter_id, building_id, window_start, window_end, event_count, {", ".join(columns)},
    topic, partition, offset, produced_at)
SELECT meter_id, intDiv(meter_id - 1, {PER_BUILDING}) + 1, window_start,
    window_start + INTERVAL {step_s} SECOND AS window_end,
    {max(1, step_s // 5)}, {", ".join(columns.values())}, {POSITION}
FROM (
    SELECT number, toInt32({meter}) AS meter_id,
        toDateTime64({start} + (number % {count}) * {step_s}, 3, 'UTC') AS window_start,
        {KIND_OF_EPISODE} AS kind, {POWER} AS power, {VOLTAGE} AS voltage
    FROM numbers({first * count})
)
WHERE NOT (meter_id % {scale.silent_every} = 0 AND window_start >= toDateTime({int(scale.end.timestamp()) - 3600}))"""
    )
    for shift in range(first, 0 if ids else meters, first):
        moved = f"meter_id + {shift} AS meter_id, building_id + {shift // PER_BUILDING} AS building_id"
        run(
            f"INSERT INTO {table} SELECT * REPLACE ({moved}) FROM {table} "
            f"WHERE meter_id <= {min(first, meters - shift)} SETTINGS max_insert_threads = 2"
        )


def newest_minute() -> datetime:
    """The end of a world that is of now, but lies on a full minute."""
    return datetime.now(UTC).replace(second=0, microsecond=0)
