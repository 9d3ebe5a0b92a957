"""Worlds of any size in ClickHouse's tables, made by the engine itself: what dashboards look like, and what they cost.

Every value follows from a meter's number and the time, so a world is the same on each run. A few meters fall silent,
some have a voltage fault, and anomalies come in episodes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

PER_BUILDING = 10
WHERE_IN_LOG = "topic, partition, offset, produced_at"
CHUNK_ROWS = 6_000_000
METERS_WITH_DETECTIONS = 500
"""Half minutes are kept of so many meters only: a dashboard reads chosen ones."""
Run = Callable[[str], object]

POSITION = "'made' AS topic, 0 AS partition, toInt64(number) AS offset, window_end AS produced_at"
# A household by the hour, with a size and habits of its own, and an appliance for a quarter of an hour; kW.
SIZE = "(0.5 + (cityHash64(meter_id) % 1000) / 800)"
HOUR = "(toHour(window_start) + toMinute(window_start) / 60 + meter_id % 5 / 2)"
PROFILE = f"(0.2 + 0.5 * exp(-pow(({HOUR} - 20) / 2.5, 2)) + 0.3 * exp(-pow(({HOUR} - 8.5) / 1.5, 2)))"
QUARTER = "cityHash64(meter_id, intDiv(toUnixTimestamp(window_start), 900), 'appliance')"
APPLIANCE = f"if({QUARTER} % 14 = 0, 0.8 + {QUARTER} % 97 / 60, 0)"
NOISE = "((cityHash64(meter_id, window_start) % 1000) / 1000 - 0.5)"
EPISODE = "cityHash64(meter_id, intDiv(toUnixTimestamp(window_start), 1800))"
"""The same for half an hour of a meter; of each `calm`, the lowest six are anomalous."""
FAILED_KW, SPIKE_KW, LITTLE_KW, LOW_V = 0.42, 5.6, 0.01, 204.0
LIFE = f"{SIZE} * ({PROFILE} + 0.06 * {NOISE}) + {APPLIANCE}"
POWER = f"multiIf(kind = 4, {FAILED_KW}, kind = 2, {SPIKE_KW}, kind = 1, {LITTLE_KW}, {LIFE})"
VOLTAGE = f"if(kind = 3, {LOW_V}, 231. - power / 2 + 2 * sin(toUnixTimestamp(window_start) / 9000) + {NOISE})"


@dataclass(frozen=True)
class Scale:
    """So many meters for so long until `end`; each `silent_every`-th meter has sent nothing in the last hour."""

    meters: int
    span: timedelta
    end: datetime
    silent_every: int = 997
    calm: int = 150
    """Of so many half hours six are anomalous."""

    def count(self, step_s: int) -> int:
        """Windows of a meter; the one that is still open, too."""
        return int(self.end.timestamp() - 1) // step_s - int(self.start.timestamp()) // step_s + 1

    @property
    def start(self) -> datetime:
        return self.end - self.span

    @property
    def kind(self) -> str:
        """What is wrong in a half hour: 4 failure, 3 voltage, 2 spike, 1 low consumption."""
        lot = f"{EPISODE} % {self.calm}"
        return f"multiIf({lot} = 0, 4, {lot} = 1, 3, {lot} < 4, 2, {lot} < 6, 1, 0)"


def fill(run: Run, scale: Scale) -> None:
    """Rows in every table that a dashboard reads."""
    fill_windows(run, scale)
    readings(run, scale)
    figures(run, scale)


def fill_windows(run: Run, scale: Scale) -> None:
    """Rows in every table of windows: all but readings and figures."""
    minutes(run, scale)
    half_minutes(run, scale)
    five_minutes(run, scale)
    hours(run)


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


def hours(run: Run) -> None:
    """Hours of every meter and building, summed up from the minutes that are there."""
    key = "min(building_id), toStartOfHour(window_start) AS hour, hour + INTERVAL 1 HOUR, sum(event_count)"
    position = "'made', 0, toInt64(0), max(window_end)"
    by_hour = "GROUP BY meter_id, hour SETTINGS optimize_aggregation_in_order = 1, max_execution_time = 0"
    mean, low, high = "sum(power_avg_kw * event_count)", "min(power_min_kw)", "max(power_max_kw)"
    run(
        f"""INSERT INTO meter_hourly_power_consumption (meter_id, building_id, window_start, window_end, event_count,
    power_avg_kw, power_min_kw, power_max_kw, readings_sum_kw, energy_kwh, covered_s, {WHERE_IN_LOG})
SELECT meter_id, {key}, {mean} / sum(event_count), {low}, {high}, {mean}, {mean} / 720, 5 * sum(event_count), {position}
FROM meter_minute_trend {by_hour}"""
    )
    outside = f"12 * countIf(voltage_min_v < {LOW_V + 1})"
    run(
        f"""INSERT INTO meter_hourly_voltage_monitoring (meter_id, building_id, window_start, window_end, event_count,
    voltage_avg_v, voltage_min_v, voltage_max_v, voltage_std_v, voltage_outside_count, voltage_outside_share,
    {WHERE_IN_LOG})
SELECT meter_id, {key}, avg(voltage_avg_v), min(voltage_min_v), max(voltage_max_v), stddevPop(voltage_avg_v), {outside},
    {outside} / sum(event_count), {position}
FROM meter_minute_trend {by_hour}"""
    )
    sums = ", ".join(f"sum({name})" for name in ("energy_kwh", "readings_sum_kw", "covered_s"))
    run(
        f"""INSERT INTO building_hourly_power_consumption (building_id, window_start, window_end, event_count,
    meter_count, power_avg_kw, power_min_kw, power_max_kw, energy_kwh, readings_sum_kw, covered_s, {WHERE_IN_LOG})
SELECT building_id, window_start, max(window_end), sum(event_count), count(), avg(power_avg_kw), min(power_min_kw),
    max(power_max_kw), {sums}, {position}
FROM meter_hourly_power_consumption GROUP BY building_id, window_start"""
    )
    kinds = (f"power_avg_kw = {FAILED_KW}", f"power_avg_kw = {SPIKE_KW}", f"power_avg_kw = {LITTLE_KW}")
    counts = ", ".join(f"12 * countIf({kind})" for kind in (*kinds, f"voltage_avg_v = {LOW_V}"))
    run(
        f"""INSERT INTO anomaly_count_hourly_per_building (building_id, window_start, window_end, event_count,
    meter_count, failure_count, spike_count, low_consumption_count, voltage_anomaly_count, {WHERE_IN_LOG})
SELECT building_id, toStartOfHour(window_start) AS hour, hour + INTERVAL 1 HOUR, sum(event_count), uniq(meter_id),
    {counts}, {position}
FROM meter_minute_trend GROUP BY building_id, hour"""
    )


def readings(run: Run, scale: Scale, hours: int = 2) -> None:
    """Readings every 5 s of the last `hours` of ten meters."""
    meters, count = min(10, scale.meters), min(scale.count(5), hours * 720)
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
        {scale.kind} AS kind, {POWER} AS power, {VOLTAGE} AS voltage
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
    live = f"if(cityHash64(at, part) % 7 = 0, toFloat64(cityHash64(part, at) % {rate + 5}), 0)"
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
    """One row per meter and window, in the order of the key. `meters` bounds their number; with `ids` it is those."""
    count = scale.count(step_s)
    start = int(scale.start.timestamp()) // step_s * step_s
    everyone = ids or range(1, min(scale.meters, meters or scale.meters) + 1)
    at_once = max(1, CHUNK_ROWS // count)
    for chunk in (everyone[at : at + at_once] for at in range(0, len(everyone), at_once)):
        meter = f"{list(chunk)}[intDiv(number, {count}) + 1]"
        run(
            f"""INSERT INTO {table} (meter_id, building_id, window_start, window_end, event_count, {", ".join(columns)},
    {WHERE_IN_LOG})
SELECT meter_id, intDiv(meter_id - 1, {PER_BUILDING}) + 1, window_start,
    window_start + INTERVAL {step_s} SECOND AS window_end,
    {max(1, step_s // 5)}, {", ".join(columns.values())}, {POSITION}
FROM (
    SELECT number, toInt32({meter}) AS meter_id,
        toDateTime64({start} + (number % {count}) * {step_s}, 3, 'UTC') AS window_start,
        {scale.kind} AS kind, {POWER} AS power, {VOLTAGE} AS voltage
    FROM numbers({len(chunk) * count})
)
WHERE NOT (meter_id % {scale.silent_every} = 0 AND window_start >= toDateTime({int(scale.end.timestamp()) - 3600}))
SETTINGS max_insert_threads = 2"""
        )


def newest_minute() -> datetime:
    """The end of a world that is of now, but lies on a full minute."""
    return datetime.now(UTC).replace(second=0, microsecond=0)
