"""Any order, repetition and split of the same readings into batches gives identical rows (laws 3 and 5)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from random import Random

from hypothesis import strategies as st
from pyspark.sql import SparkSession

from tests.spark.chain import GRAINS, Row, by_key, emitted, first_grain, grains_after_first, table
from tests.spark.hours import KNOWN, readings_of_hours
from tests.spark.readings import Reading, assert_equal_by_example, drawn, side_by_side

COUNT = 100
"""Examples that are drawn."""
BATCHES = 3
PLACES = {"offset", "content_version"}
"""Where rows and their readings stand in their topics, which differs here from order to order."""


@dataclass(frozen=True)
class Delivery:
    """In which order an example's readings come, which of them twice, and where batches end."""

    seed: int
    cuts: Sequence[int]

    def batches(self, readings: Sequence[Reading]) -> list[list[Reading]]:
        """BATCHES of them, some perhaps empty."""
        random = Random(self.seed)
        sent = [*readings, *random.sample(readings, len(readings) // 3)]
        random.shuffle(sent)
        edges = [0, *sorted(cut % (len(sent) + 1) for cut in self.cuts), len(sent)]
        delivered = [replace(reading, offset=offset) for offset, reading in enumerate(sent)]
        return [delivered[begin:end] for begin, end in pairwise(edges)]


deliveries = st.builds(
    Delivery, st.integers(0, 2**32 - 1), st.lists(st.integers(0, 199), min_size=BATCHES - 1, max_size=BATCHES - 1)
)
random_deliveries = st.tuples(readings_of_hours, deliveries)


def assert_same_final_rows(
    actual: dict[str, list[Row]], expected: dict[str, list[Row]], examples: Sequence[Sequence[Reading]]
) -> None:
    """The rows that count are the same, wherever in their topics they stand."""

    def final(name: str, rows: Iterable[Row]) -> dict[tuple[object, ...], Row]:
        return {
            key: {field: value for field, value in row.items() if field not in PLACES}
            for key, row in by_key(name, rows).items()
        }

    assert actual.keys() == expected.keys()
    for name, rows in expected.items():
        assert_equal_by_example(final(name, actual[name]), final(name, rows), examples)


def test_any_order_repetition_and_split_give_identical_rows(spark: SparkSession) -> None:
    """After each batch all windows are emitted again, with the readings so far: so there are rows of half windows.

    In whatever order those rows come, the longer grains make the same of them as of the complete rows alone. Meters
    stay in their buildings: what law 3 cannot undo for one that moves is in docs/decisions/010-grains.md.
    """
    known = [(readings, Delivery(seed, (len(readings) // 2, 0))) for seed, readings in enumerate(KNOWN)]
    orders = drawn(random_deliveries, COUNT, known)
    settled = [[replace(r, building_id=r.meter_id % 2) for r in readings] for readings, _ in orders]
    examples = side_by_side(settled)
    whole = first_grain(spark, list(chain(*examples)))
    once = {**grains_after_first(spark, whole["meter_stats_30s"]), **whole}

    batches = [delivery.batches(example) for example, (_, delivery) in zip(examples, orders, strict=True)]
    so_far = [
        first_grain(spark, [r for of_example in batches for batch in of_example[: n + 1] for r in batch])
        for n in range(BATCHES)
    ]
    random = Random(orders[-1][1].seed)
    stats = [row for rows in so_far for row in rows["meter_stats_30s"]]
    random.shuffle(stats)
    again: dict[str, list[Row]] = {
        "meter_stats_30s": stats,
        "anomaly_detection_meter": [row for rows in so_far for row in rows["anomaly_detection_meter"]],
    }
    for name in ("meter_1min", "meter_5min"):
        again |= emitted(table(spark, "meter_stats_30s", stats), GRAINS[name])
    # Rows of 5 min from the first batch alone come between the complete ones.
    early = emitted(table(spark, "meter_stats_30s", so_far[0]["meter_stats_30s"]), GRAINS["meter_5min"])
    again["meter_stats_5min"] += early["meter_stats_5min"]
    random.shuffle(again["meter_stats_5min"])
    for name in ("meter_1h", "building_1h"):
        again |= emitted(table(spark, "meter_stats_5min", again["meter_stats_5min"]), GRAINS[name])
    assert_same_final_rows(again, once, examples)
