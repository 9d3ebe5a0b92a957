"""Two datasets as the README's "Add a dataset" has them, as files: one on a grain that is there, one with a new grain.

Nothing else belongs to them: the tests put these files beside the repository's, and edit none of those.
"""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import fmean
from typing import Any

from schemas.manifest import CONTRACTS

NEIGHBOUR = "meter_hourly_power_consumption"
KEY_FIELDS = ("meter_id", "building_id", "window_start", "window_end", "event_count")
FIELDS = (*KEY_FIELDS, "power_avg_kw", "power_min_kw", "power_max_kw")
WINDOW_S = {"meter_hourly_peak": 3600, "meter_daily_peak": 86400}

MODULE = '''"""{name}: the greatest power of one meter."""

from pyspark.sql import Column

from schemas.manifest import Dataset
from stream_processing.grains.{module} import {grain}
from stream_processing.statistics import key_and_window, power

GRAIN = {grain}


def fields(_dataset: Dataset) -> dict[str, Column]:
    """The contract's fields over the grain's rows."""
    return {{**key_and_window("meter_id", "building_id"), **power()}}
'''

GRAIN = '''"""(meter, 1 day) of meter_stats_5min; in update mode, so the running day is visible."""

from stream_processing.grain import Grain
from stream_processing.statistics import MAXIMA, MINIMA, roll_up

WINDOW_S = 86400

METER_1DAY = Grain(
    name="meter_1day",
    source="meter_stats_5min",
    window_s=WINDOW_S,
    output_mode="update",
    aggregate=lambda stats, _: roll_up(stats, WINDOW_S, ("event_count", "power_sum_mw", *MINIMA, *MAXIMA)),
    lateness_s=3600,
)
'''

SQL = """SELECT
    meter_id,
    argMax(building_id, timestamp) AS building_id,
    window_start,
    window_start + INTERVAL {seconds} SECOND AS window_end,
    count() AS event_count,
    sum(power_mw) / (count() * 1e6) AS power_avg_kw,
    min(power_mw) / 1e6 AS power_min_kw,
    max(power_mw) / 1e6 AS power_max_kw
FROM
(
    SELECT
        *,
        toInt64(floor(power_kw * 1e6 + 0.5)) AS power_mw,
        toDateTime64(toStartOfInterval(timestamp, INTERVAL {seconds} SECOND), 3, 'UTC') AS window_start
    FROM raw_data_latest
)
GROUP BY meter_id, window_start
"""


def files() -> dict[str, str]:
    """By path within the repository, the text of every file that the two datasets need."""
    texts = {
        "stream_processing/grains/meter_1day.py": GRAIN,
        "stream_processing/datasets/meter_hourly_peak.py": MODULE.format(
            name="meter_hourly_peak", module="hours", grain="METER_1H"
        ),
        "stream_processing/datasets/meter_daily_peak.py": MODULE.format(
            name="meter_daily_peak", module="meter_1day", grain="METER_1DAY"
        ),
    }
    for name, seconds in WINDOW_S.items():
        manifest, _, _ = (CONTRACTS / f"{NEIGHBOUR}.yaml").read_text().partition("parameters:")
        manifest = manifest.replace("versions: [1, 2]", "versions: [1]")
        texts[f"schemas/contracts/{name}.yaml"] = manifest.replace(NEIGHBOUR, name)
        record = json.loads((CONTRACTS / f"{NEIGHBOUR}.v1.avsc").read_text())
        record |= {"name": name.title().replace("_", ""), "fields": _chosen(record["fields"])}
        texts[f"schemas/contracts/{name}.v1.avsc"] = json.dumps(record)
        examples = json.loads((CONTRACTS / f"{NEIGHBOUR}.v1.json").read_text())
        texts[f"schemas/contracts/{name}.v1.json"] = json.dumps([_example(row, seconds) for row in examples])
        texts[f"clickhouse/verify/expected/{name}.sql"] = SQL.format(seconds=seconds)
    return texts


def _chosen(fields: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [field for field in fields if field["name"] in FIELDS]


def _example(row: dict[str, Any], seconds: int) -> dict[str, Any]:
    """The neighbour's example in the window of so many seconds around it: what the raw examples in that give."""
    at = int(datetime.fromisoformat(row["window_start"]).timestamp())
    start = datetime.fromtimestamp(at - at % seconds, UTC)
    end = start + timedelta(seconds=seconds)
    readings = json.loads((CONTRACTS / "raw_data.v2.json").read_text())
    powers = [
        reading["power_kw"]
        for reading in readings
        if reading["meter_id"] == row["meter_id"] and start <= datetime.fromisoformat(reading["timestamp"]) < end
    ]
    return {
        **{name: row[name] for name in ("meter_id", "building_id")},
        **{"window_start": start.isoformat(), "window_end": end.isoformat(), "event_count": len(powers)},
        **{"power_avg_kw": fmean(powers), "power_min_kw": min(powers), "power_max_kw": max(powers)},
    }


def write(root: Path) -> list[Path]:
    """Write the files below `root`, of which none may be there; return their paths."""
    paths = []
    for relative, text in files().items():
        path = root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
        paths.append(path)
    return paths
