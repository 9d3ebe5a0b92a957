"""Any order, repetition and split of the same readings into batches gives identical rows (laws 3 and 5)."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from tests.spark.chain import GRAINS, Row, by_key, emitted, first_grain, grains_after_first, table
from tests.spark.hours import readings_of_hours
from tests.spark.readings import Reading

# A meter that stays in its building; what law 3 cannot undo for one that moves is in docs/decisions/010-grains.md.
settled = readings_of_hours.map(lambda drawn: [replace(r, building_id=r.meter_id % 2) for r in drawn])
few = settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def final(rows: dict[str, list[Row]]) -> dict[str, set[str]]:
    """The rows that count."""
    return {
        name: {
            str({key: value for key, value in row.items() if key != "offset"}) for row in by_key(name, found).values()
        }
        for name, found in rows.items()
    }


def in_batches(readings: Sequence[Reading], cuts: Sequence[int]) -> list[list[Reading]]:
    edges = [0, *sorted(cut % (len(readings) + 1) for cut in cuts), len(readings)]
    return [list(readings[a:b]) for a, b in pairwise(edges)]


@few
@given(
    readings=readings_of_hours, cuts=st.lists(st.integers(0, 99), max_size=2), random=st.randoms(use_true_random=False)
)
def test_any_order_repetition_and_split_give_identical_rows(
    spark: SparkSession, readings: list[Reading], cuts: list[int], random: Random
) -> None:
    """Each batch's windows are emitted with what has come so far: rows of parts of windows, too, and all of them again.

    Whatever order those rows come in, the grains behind make the same of them as of the complete ones alone.
    """
    whole = first_grain(spark, readings)
    once = {**grains_after_first(spark, whole["meter_stats_30s"]), **whole}

    sent = [*readings, *random.sample(readings, len(readings) // 3)]
    random.shuffle(sent)
    delivered = [replace(reading, offset=offset) for offset, reading in enumerate(sent)]
    batches = in_batches(delivered, cuts)
    so_far = [first_grain(spark, [r for batch in batches[: n + 1] for r in batch]) for n in range(len(batches))]
    stats = [row for rows in so_far for row in rows["meter_stats_30s"]]
    flags = [row for rows in so_far for row in rows["anomaly_detection_meter"]]
    random.shuffle(stats)

    again: dict[str, list[Row]] = {"meter_stats_30s": stats, "anomaly_detection_meter": flags}
    for name in ("meter_1min", "meter_5min"):
        again |= emitted(table(spark, "meter_stats_30s", stats), GRAINS[name])
    # Rows of 5 min from the first batch alone, delivered between the complete ones.
    partial = emitted(table(spark, "meter_stats_30s", so_far[0]["meter_stats_30s"]), GRAINS["meter_5min"])
    parts = [*again["meter_stats_5min"], *partial["meter_stats_5min"]]
    random.shuffle(parts)
    again["meter_stats_5min"] = parts
    for name in ("meter_1h", "building_1h"):
        again |= emitted(table(spark, "meter_stats_5min", parts), GRAINS[name])
    assert final(again) == final(once)
